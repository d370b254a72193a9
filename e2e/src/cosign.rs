//! cosign itself, with key pairs and without any network but the registry.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{Outcome, run};
use crate::registry::PushedImage;

/// Signing without a transparency log. An empty `--signing-config` would do too, but then cosign asks the public TUF mirror first.
const OFFLINE: [&str; 4] = ["--yes", "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry"];

/// cosign, with a home of its own.
#[derive(Clone, Debug)]
pub struct Cosign {
    program: PathBuf,
    home: PathBuf,
    credentials: Option<PathBuf>,
}

/// How a signature is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A Sigstore bundle as a referrer of the image: cosign 3's default.
    Bundle,
    /// A simple-signing payload under the tag `sha256-<hex>.sig`: the format of cosign 1 and 2.
    Legacy,
}

/// A key pair in two files.
#[derive(Clone, Debug)]
pub struct KeyPair {
    private: PathBuf,
    public: PathBuf,
    /// The public key as PEM.
    pub public_pem: String,
}

impl Cosign {
    /// `home` takes its caches.
    pub fn new(program: PathBuf, home: &Path) -> Self {
        Self { program, home: home.to_owned(), credentials: None }
    }

    /// The same cosign with the registry credentials in `folder/config.json`.
    #[must_use]
    pub fn with_credentials(&self, folder: &Path) -> Self {
        Self { credentials: Some(folder.to_owned()), ..self.clone() }
    }

    /// Makes a key pair with an empty password.
    pub fn generate_key_pair(&self, folder: &Path, name: &str) -> Result<KeyPair> {
        let prefix = folder.join(name);
        self.run([OsStr::new("generate-key-pair"), OsStr::new("--output-key-prefix"), prefix.as_os_str()])?
            .success()?;
        let (private, public) = (prefix.with_extension("key"), prefix.with_extension("pub"));
        let public_pem = fs::read_to_string(&public).with_context(|| format!("cannot read {}", public.display()))?;
        Ok(KeyPair { private, public, public_pem })
    }

    /// Signs an image.
    pub fn sign(&self, key: &KeyPair, image: &PushedImage, format: Format) -> Result<()> {
        let mut command = self.command("sign");
        command.args(OFFLINE).arg("--key").arg(&key.private);
        if format == Format::Legacy {
            command.arg("--new-bundle-format=false");
        }
        run(command.arg(image.reference()), &[])?.success().map(drop)
    }

    /// Attests an in-toto predicate of this type (an alias of cosign's, or a URI) for an image, as a bundle.
    pub fn attest(&self, key: &KeyPair, image: &PushedImage, predicate_type: &str, predicate: &Path) -> Result<()> {
        let mut command = self.command("attest");
        command
            .args(OFFLINE)
            .arg("--key")
            .arg(&key.private)
            .args(["--type", predicate_type])
            .arg("--predicate")
            .arg(predicate);
        run(command.arg(image.reference()), &[])?.success().map(drop)
    }

    /// What cosign itself says about the image's signatures under this key.
    pub fn verify(&self, key: &KeyPair, image: &PushedImage) -> Result<Outcome> {
        let mut command = self.command("verify");
        command.args(["--insecure-ignore-tlog", "--allow-http-registry", "--key"]).arg(&key.public);
        run(command.arg(image.reference()), &[])
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<Outcome> {
        let mut arguments = arguments.into_iter();
        let mut command = self.command(arguments.next().unwrap_or_default());
        run(command.args(arguments), &[])
    }

    fn command(&self, subcommand: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).env("HOME", &self.home).env("COSIGN_PASSWORD", "").env_remove("DOCKER_CONFIG");
        if let Some(folder) = &self.credentials {
            command.env("DOCKER_CONFIG", folder);
        }
        command
    }
}
