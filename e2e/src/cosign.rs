//! cosign itself: with key pairs and no network but the registry, or with the services of a private Sigstore instance.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{Outcome, run};
use crate::registry::PushedImage;
use crate::sigstore::{Identity, Services};

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

/// Who signs with the services of a Sigstore instance.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// The holder of a key; only logs and timestamp authorities are of use to it.
    Key(&'a KeyPair),
    /// Whoever has an identity token, by a certificate of the instance.
    Identity(&'a Identity),
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

    /// Signs an image in the old format with a timestamp beside the signature, and without a log.
    pub fn sign_legacy_with_timestamp(&self, key: &KeyPair, image: &PushedImage, url: &str) -> Result<()> {
        let mut command = self.command("sign");
        command.args(OFFLINE).args(["--new-bundle-format=false", "--timestamp-server-url", url]);
        run(command.arg("--key").arg(&key.private).arg(image.reference()), &[])?.success().map(drop)
    }

    /// Attests a predicate for an image in the old format with a timestamp beside the signature, and without a log.
    pub fn attest_legacy_with_timestamp(
        &self,
        key: &KeyPair,
        image: &PushedImage,
        url: &str,
        predicate_type: &str,
        predicate: &Path,
    ) -> Result<()> {
        let mut command = self.command("attest");
        command.args(OFFLINE).args([
            "--new-bundle-format=false",
            "--timestamp-server-url",
            url,
            "--type",
            predicate_type,
        ]);
        command.arg("--predicate").arg(predicate).arg("--key").arg(&key.private);
        run(command.arg(image.reference()), &[])?.success().map(drop)
    }

    /// Signs an image as a bundle, with the services that a signing configuration names.
    pub fn sign_with(
        &self,
        services: &Services,
        signing_config: &Path,
        signer: Signer<'_>,
        image: &PushedImage,
    ) -> Result<()> {
        let mut command = self.command_with("sign", services, signing_config, signer)?;
        run(command.arg(image.reference()), &[])?.success().map(drop)
    }

    /// Attests a predicate for an image as a bundle, with the services that a signing configuration names.
    pub fn attest_with(
        &self,
        services: &Services,
        signing_config: &Path,
        signer: Signer<'_>,
        image: &PushedImage,
        predicate_type: &str,
        predicate: &Path,
    ) -> Result<()> {
        let mut command = self.command_with("attest", services, signing_config, signer)?;
        command.args(["--type", predicate_type]).arg("--predicate").arg(predicate);
        run(command.arg(image.reference()), &[])?.success().map(drop)
    }

    /// What cosign itself says about the image's keyless signatures under a trusted root.
    pub fn verify_with(&self, services: &Services, identity: &Identity, image: &PushedImage) -> Result<Outcome> {
        let mut command = self.command("verify");
        command.arg("--allow-http-registry").arg("--trusted-root").arg(&services.trusted_root);
        command.args(["--certificate-identity", &identity.subject, "--certificate-oidc-issuer", &identity.issuer]);
        run(command.arg(image.reference()), &[])
    }

    /// Has cosign write a file, such as a trusted root.
    pub fn write(&self, subcommand: &[&str; 2], arguments: &[String], file: &Path) -> Result<()> {
        let [command, subcommand] = subcommand;
        let mut command = self.command(command);
        run(command.arg(subcommand).args(arguments).arg("--out").arg(file), &[])?.success().map(drop)
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

    fn command_with(
        &self,
        subcommand: &str,
        services: &Services,
        signing_config: &Path,
        signer: Signer<'_>,
    ) -> Result<Command> {
        let mut command = self.command(subcommand);
        command.args(["--yes", "--allow-http-registry", "--signing-config"]).arg(signing_config);
        command.arg("--trusted-root").arg(&services.trusted_root);
        match signer {
            Signer::Key(key) => command.arg("--key").arg(&key.private),
            Signer::Identity(identity) => {
                let file = self.home.join("identity-token");
                fs::write(&file, &identity.token).with_context(|| format!("cannot write {}", file.display()))?;
                command.arg("--identity-token").arg(file)
            }
        };
        Ok(command)
    }

    fn command(&self, subcommand: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).env("HOME", &self.home).env("COSIGN_PASSWORD", "").env_remove("DOCKER_CONFIG");
        // Registries and services are on loopback, whatever proxy the machine has.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        if let Some(folder) = &self.credentials {
            command.env("DOCKER_CONFIG", folder);
        }
        command
    }
}
