//! The command line: subcommands, wiring, exit codes.
//!
//! Results go to standard output, everything else to standard error. Exit codes of every subcommand: 0 nothing enforced fails;
//! 1 denied, or no policy selects the image; 2 usage or unreadable input; 3 could not be judged. 1 wins over 3, 2 over both.

mod crd;
mod input;
mod monitor;
mod output;
mod review;
mod revoke;
mod serve;
mod trust;
mod verify;
mod yaml;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::decision::Answer;

/// Demands the countersign: admits only images whose signatures satisfy the policies.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify one image, against policies or against an identity or key.
    Verify(Box<verify::Arguments>),
    /// Judge manifests or an AdmissionReview as the webhook would.
    Review(Box<review::Arguments>),
    /// Write a SignatureRevocation: what is no longer to be believed.
    Revoke(Box<revoke::Arguments>),
    /// Serve the admission webhook.
    Serve(Box<serve::Arguments>),
    /// Show trust roots; verify, update and export what TUF repositories deliver.
    Trust(Box<trust::Arguments>),
    /// Print the custom resource definitions.
    Crd,
}

/// How a subcommand ended, from best to worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Exit {
    Allowed,
    Undecided,
    Denied,
}

impl From<Answer> for Exit {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Allow => Self::Allowed,
            Answer::Undecided => Self::Undecided,
            Answer::Deny => Self::Denied,
        }
    }
}

/// Input that cannot be used, or surroundings that fail; exit code 2.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A file that cannot be read.
    #[error("{path}: {reason}")]
    Input { path: String, reason: String },
    /// Flags that do not fit together or hold what nobody understands.
    #[error("{0}")]
    Usage(String),
    /// The server, the cluster or standard output.
    #[error("{doing}: {reason}")]
    Surroundings { doing: &'static str, reason: String },
}

/// How long the end waits for threads whose results nobody waits for any more.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Runs the program on its arguments.
pub fn run() -> ExitCode {
    // Clap prints usage errors itself and ends with 2.
    let Cli { command } = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(|error| surroundings("starting", &error)).and_then(|runtime| {
        let result = runtime.block_on(async {
            match command {
                Command::Verify(arguments) => verify::run(*arguments).await,
                Command::Review(arguments) => review::run(*arguments).await,
                Command::Revoke(arguments) => revoke::run(*arguments).await,
                Command::Serve(arguments) => Box::pin(serve::run(*arguments)).await,
                Command::Trust(arguments) => trust::run(*arguments).await,
                Command::Crd => crd::run(),
            }
        });
        // Dropping it would wait for threads that nobody can end, such as one that asks for the address of a host.
        runtime.shutdown_timeout(LAST_WAIT);
        result
    });
    match result {
        Ok(Exit::Allowed) => ExitCode::SUCCESS,
        Ok(Exit::Denied) => ExitCode::from(1),
        Ok(Exit::Undecided) => ExitCode::from(3),
        Err(error) => {
            output::complain(&format!("countersign: {error}"));
            ExitCode::from(2)
        }
    }
}

fn surroundings(doing: &'static str, error: &dyn std::fmt::Display) -> Error {
    Error::Surroundings { doing, reason: error.to_string() }
}

/// The time of day: read here, once a command or review, and handed down.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock; everything below takes `now`")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
