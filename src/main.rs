//! The `countersign` program: flags in, exit code out.
//!
//! Installs the one crypto provider and hands over to `cli`; nothing is decided here.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A second installation would be the only failure, and nothing has installed one before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    countersign::cli::run()
}
