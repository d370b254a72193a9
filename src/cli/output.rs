//! Standard output and standard error.
//!
//! Colour only on a terminal, and not where `NO_COLOR` is set (<https://no-color.org>). Whoever closes the pipe has read enough: that is
//! no error, and the exit code still tells the verdict.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use super::{Error, surroundings};
use crate::decision::escaped;

/// `-o`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON with a `schemaVersion`.
    Json,
}

/// Writes to standard output as it is.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(surroundings("writing the result", &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a result for people: the verdict words in colour where that helps.
pub(super) fn print_text(text: &str) -> Result<(), Error> {
    // Only whether it is set matters, so that reading the environment here hides no setting.
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    print(&if coloured { colour(text) } else { format!("{text}\n") })
}

/// Writes JSON, indented.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| surroundings("writing the result", &error))?;
    print(&format!("{text}\n"))
}

/// Writes one line to standard error; there is nobody to tell if that fails.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", escaped(text));
}

/// Writes what is no reason to end to standard error.
pub(super) fn warn(text: &str) {
    complain(&format!("countersign: {text}"));
}

fn colour(text: &str) -> String {
    let line = |line: &str| match (line.strip_prefix("allowed"), line.strip_prefix("denied")) {
        (Some(rest), _) => format!("\x1b[1;32mallowed\x1b[0m{rest}\n"),
        (_, Some(rest)) => format!("\x1b[1;31mdenied\x1b[0m{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
