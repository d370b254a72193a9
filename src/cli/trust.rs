//! `countersign trust`: what is trusted, and TUF repositories on a workstation: shown, verified, fetched into a folder, exported.
//!
//! The client is the controllers'. What a folder holds is verified from the pinned root each time, and is the floor below which nothing
//! newer than it is taken for new.

mod repository;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::output::Format;
use super::{Error, Exit, output};
use crate::settings::{RegistryFlags, TrustRootFlag};
use crate::trust::TrustMaterial;
use repository::Repository;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is in trust roots: services, how revocations name them, and when they are believed.
    Show(ShowArguments),
    /// Refresh a trust root's TUF repository into a folder, which can be a mirror where there is no network.
    Update(UpdateArguments),
    /// Print the `trusted_root.json` of an embedded root, or of a TUF repository.
    Export(ExportArguments),
    /// Verify a TUF repository from its pinned root, and say what it delivers.
    VerifyTuf(VerifyArguments),
}

#[derive(Args, Debug)]
struct ShowArguments {
    /// public-good, staging, github, or NAME=FILE with a `trusted_root.json`. None: all embedded roots.
    #[arg(value_name = "NAME[=FILE]")]
    roots: Vec<TrustRootFlag>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Args, Debug)]
struct UpdateArguments {
    #[command(flatten)]
    source: SourceFlags,
    /// The folder: made if it is not there, and never taken back to what is older than it holds.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Args, Debug)]
struct ExportArguments {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    time: TimeFlags,
}

#[derive(Args, Debug)]
struct VerifyArguments {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    time: TimeFlags,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Which repository, and what it is verified from.
#[derive(Args, Debug)]
struct SourceFlags {
    /// An embedded root: its pinned TUF root and its mirror.
    #[arg(value_name = "NAME", required_unless_present_any = ["file", "tuf_root"], conflicts_with_all = ["file", "tuf_root"])]
    name: Option<String>,
    /// A `SignatureTrustRoot`, YAML or JSON.
    #[arg(short, long, value_name = "FILE", conflicts_with = "tuf_root")]
    file: Option<PathBuf>,
    /// A TUF root to verify from.
    #[arg(long, value_name = "FILE", requires = "mirror")]
    tuf_root: Option<PathBuf>,
    /// Where the repository is, in place of where its root says: https://, file:// or oci://.
    #[arg(long, value_name = "ADDRESS")]
    mirror: Option<String>,
    /// The target with the trusted root.
    #[arg(long, value_name = "PATH", requires = "tuf_root")]
    target: Option<String>,
    /// Certificate authorities of the mirror, PEM, in place of the usual ones.
    #[arg(long, value_name = "FILE")]
    mirror_ca: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryFlags,
}

#[derive(Args, Debug)]
struct TimeFlags {
    /// The time at which expiry is judged, such as 2026-01-01T00:00:00Z. None: now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Error> {
    match arguments.command {
        Command::Show(ShowArguments { roots, output }) => show::run(&roots, output),
        Command::Update(UpdateArguments { source, into, output }) => {
            Repository::read(&source)?.update(&into, super::now(), output).await
        }
        Command::Export(ExportArguments { source, time }) => export(&source, &time).await,
        Command::VerifyTuf(VerifyArguments { source, time, output }) => {
            let now = time.at.unwrap_or_else(super::now);
            Repository::read(&source)?.verify(now, output).await
        }
    }
}

async fn export(source: &SourceFlags, time: &TimeFlags) -> Result<Exit, Error> {
    // An embedded root needs no network, unless somebody wants what a mirror has.
    if let (Some(name), None) = (&source.name, &source.mirror) {
        let json = TrustMaterial::embedded_json(name).map_err(|error| Error::Usage(error.to_string()))?;
        output::print(json)?;
        return Ok(Exit::Allowed);
    }
    let now = time.at.unwrap_or_else(super::now);
    Repository::read(source)?.export(now).await
}
