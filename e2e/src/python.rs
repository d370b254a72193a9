//! sigstore-python: signatures in the same formats by an implementation that shares no code with cosign.
//!
//! It knows files and no registries: what it signs is the image's manifest as a file, and what it writes is a bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process::run;
use crate::sigstore::{Identity, Services};

/// sigstore-python, with a home of its own.
#[derive(Clone, Debug)]
pub struct SigstorePython {
    program: PathBuf,
    home: PathBuf,
}

impl SigstorePython {
    /// `home` takes its caches.
    pub fn new(program: PathBuf, home: &Path) -> Self {
        Self { program, home: home.to_owned() }
    }

    /// A bundle with a signature of these bytes themselves. `folder` takes the files.
    pub fn sign(&self, services: &Services, identity: &Identity, artifact: &[u8], folder: &Path) -> Result<Vec<u8>> {
        self.run(services, identity, artifact, folder, "sign", &[])
    }

    /// A bundle with an in-toto statement about these bytes. `folder` takes the files.
    pub fn attest(
        &self,
        services: &Services,
        identity: &Identity,
        artifact: &[u8],
        folder: &Path,
        (predicate_type, predicate): (&str, &Path),
    ) -> Result<Vec<u8>> {
        let predicate = predicate.to_str().context("a predicate's path that is no text")?;
        let arguments = ["--predicate-type", predicate_type, "--predicate", predicate];
        self.run(services, identity, artifact, folder, "attest", &arguments)
    }

    fn run(
        &self,
        services: &Services,
        identity: &Identity,
        artifact: &[u8],
        folder: &Path,
        subcommand: &str,
        arguments: &[&str],
    ) -> Result<Vec<u8>> {
        let (file, bundle, trust) = (folder.join("artifact"), folder.join("bundle.json"), folder.join("trust.json"));
        fs::write(&file, artifact)?;
        let read = |path: &Path| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(path)?)?) };
        let config = json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": read(&services.trusted_root)?, "signingConfig": read(&services.signing_config)?,
        });
        fs::write(&trust, config.to_string())?;
        let mut command = Command::new(&self.program);
        command.env("HOME", &self.home).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.arg("--trust-config").arg(&trust).arg(subcommand).args(arguments);
        command.env("SIGSTORE_IDENTITY_TOKEN", &identity.token);
        command.arg("--bundle").arg(&bundle).arg("--overwrite").arg(&file);
        run(&command, &[])?.success()?;
        fs::read(&bundle).with_context(|| format!("cannot read {}", bundle.display()))
    }
}
