//! The client of `tuf-conformance` (<https://github.com/theupdateframework/tuf-conformance>): the controller's TUF code on a command line.
//!
//! ```text
//! tuf_conformance --metadata-dir DIR init ROOT
//! tuf_conformance --metadata-dir DIR --metadata-url URL refresh
//! tuf_conformance --metadata-dir DIR --metadata-url URL --target-name PATH.. --target-base-url URL --target-dir DIR download
//! ```
//!
//! Metadata is kept in the folder under names without versions. It decides nothing: what is verified, and how, `trust_store` says. The
//! suite serves plain HTTP on this machine and moves the system's clock, which is why both are allowed here.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign::trust_store::{Files, HttpMirror, HttpOptions, TufClient};
use jiff::Timestamp;

#[derive(Parser)]
struct Arguments {
    /// Where trusted metadata is kept.
    #[arg(long, global = true)]
    metadata_dir: Option<PathBuf>,
    /// Where the repository's metadata is.
    #[arg(long, global = true)]
    metadata_url: Option<String>,
    /// A target to download. May be repeated.
    #[arg(long, global = true)]
    target_name: Vec<String>,
    /// Where the repository's targets are.
    #[arg(long, global = true)]
    target_base_url: Option<String>,
    /// Where targets are put.
    #[arg(long, global = true)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Takes a root as trusted.
    Init {
        /// The file.
        root: PathBuf,
    },
    /// Refreshes the metadata.
    Refresh,
    /// Refreshes the metadata and downloads targets.
    Download,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the suite shows it")]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf_conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let folder = arguments.metadata_dir.ok_or("--metadata-dir is needed")?;
    if let Command::Init { root } = arguments.command {
        std::fs::copy(root, folder.join("root.json"))?;
        return Ok(());
    }
    let mut kept = read(&folder)?;
    let root = kept.remove("root.json").ok_or("there is no root.json")?;
    let address = arguments.metadata_url.ok_or("--metadata-url is needed")?;
    let options = HttpOptions { plain_loopback: true, ..HttpOptions::default() };
    let mirror = match &arguments.target_base_url {
        Some(targets) => HttpMirror::with_targets(&address, targets, &options)?,
        None => HttpMirror::new(&address, &options)?,
    };
    // What was downloaded before is not downloaded again while it is the target.
    let targets: BTreeMap<&String, PathBuf> = match &arguments.target_dir {
        Some(folder) => arguments.target_name.iter().map(|name| (name, folder.join(escaped(name)))).collect(),
        None => BTreeMap::new(),
    };
    for (name, path) in &targets {
        if path.is_file() {
            kept.insert(format!("targets/{name}"), read_file(path)?);
        }
    }
    let now = now();
    let mut client = TufClient::open(&root, kept, mirror.into())?;
    let result = async {
        client.refresh(now).await?;
        if matches!(arguments.command, Command::Download) {
            for name in &arguments.target_name {
                let target = client.target(name, now).await?;
                let path = targets.get(name).ok_or("--target-dir is needed")?;
                if !path.is_file() || read_file(path)? != target.bytes {
                    std::fs::write(path, target.bytes)?;
                }
            }
        }
        Ok(())
    }
    .await;
    // What was verified stays so if a later step failed.
    for (name, bytes) in client.files().iter().filter(|(name, _)| !name.contains('/')) {
        std::fs::write(folder.join(name), bytes)?;
    }
    result
}

fn read(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
            files.insert(name.to_owned(), read_file(&path)?);
        }
    }
    Ok(files)
}

#[expect(clippy::disallowed_methods, reason = "the files of a test suite")]
fn read_file(path: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(path)?)
}

#[expect(clippy::disallowed_methods, reason = "the suite moves the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A name of a file for a target, whatever its path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
