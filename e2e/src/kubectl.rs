//! kubectl as a child process, and what it must answer: `accepts`, `rejects`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::countersign::WEBHOOK_NAME;
use crate::process::{Outcome, run};

/// kubectl with a kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// `home` takes its caches.
    pub fn new(program: PathBuf, kubeconfig: &Path, home: &Path) -> Self {
        Self { program, kubeconfig: kubeconfig.to_owned(), home: home.to_owned() }
    }

    /// Runs kubectl, whatever comes of it.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<Outcome> {
        run(&self.command(arguments), input.as_bytes())
    }

    /// kubectl with these arguments, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).args(arguments);
        command
    }

    /// Runs kubectl, which must succeed.
    pub fn accepts(&self, arguments: &[&str], object: Option<&Value>) -> Result<Outcome> {
        self.run_on(arguments, object)?.success()
    }

    /// Runs kubectl, which must fail because our webhook answered with a message that holds all `parts`.
    pub fn rejects(&self, arguments: &[&str], object: Option<&Value>, parts: &[&str]) -> Result<Outcome> {
        let outcome = self.run_on(arguments, object)?;
        denied(&outcome, parts)?;
        Ok(outcome)
    }

    /// Runs kubectl with the object, if any, as its `-f -`.
    pub fn run_on(&self, arguments: &[&str], object: Option<&Value>) -> Result<Outcome> {
        let Some(object) = object else {
            return self.run(arguments, "");
        };
        let mut arguments = arguments.to_vec();
        arguments.extend(["-f", "-"]);
        self.run(&arguments, &object.to_string())
    }
}

/// Whether the outcome is a denial in our webhook's own words, not a time-out, nor a refusal by somebody else.
fn is_denial(outcome: &Outcome) -> bool {
    !outcome.status.success()
        && outcome.stderr.contains(&format!("admission webhook \"{WEBHOOK_NAME}\" denied the request: "))
}

/// Fails unless the outcome is a denial by our webhook whose message holds all `parts`.
pub fn denied(outcome: &Outcome, parts: &[&str]) -> Result<()> {
    ensure!(!outcome.status.success(), "was admitted, expected a denial: {}", outcome.unexpected());
    ensure!(is_denial(outcome), "failed, but not by a denial of {WEBHOOK_NAME}: {}", outcome.unexpected());
    for part in parts {
        ensure!(outcome.stderr.contains(part), "was denied, but the message lacks {part:?}: {}", outcome.unexpected());
    }
    Ok(())
}
