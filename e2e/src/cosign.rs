//! cosign itself: with key pairs and no network but the registry, or with the services of a private Sigstore instance.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use crate::process::{Outcome, run};
use crate::registry::PushedImage;
use crate::sigstore::{Identity, Services};

/// Signing without a transparency log. An empty `--signing-config` would do too, but then cosign asks the public TUF mirror first.
const OFFLINE: [&str; 4] = ["--yes", "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry"];

/// How many identity tokens were written.
static TOKENS: AtomicU64 = AtomicU64::new(0);

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
    /// The holder of a key with a certificate of an own authority.
    Certificate {
        /// The certificate's key.
        key: &'a KeyPair,
        /// The certificate, a file of PEM.
        certificate: &'a Path,
        /// The certificates above it up to the root, a file of PEM, if the signature is to carry those below the root.
        chain: Option<&'a Path>,
    },
    /// Whoever has an identity token, by a certificate of the instance.
    Identity(&'a Identity),
}

/// The services of a signature that is in no log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlogged<'a> {
    /// Who issues a certificate to whoever has an identity token.
    pub fulcio_url: Option<&'a str>,
    /// Who dates the signature.
    pub timestamp_url: Option<&'a str>,
}

/// A key pair in two files.
#[derive(Clone, Debug)]
pub struct KeyPair {
    private: PathBuf,
    public: PathBuf,
    /// The public key as PEM.
    pub public_pem: String,
}

impl KeyPair {
    fn read(prefix: &Path) -> Result<Self> {
        let (private, public) = (prefix.with_extension("key"), prefix.with_extension("pub"));
        let public_pem = fs::read_to_string(&public).with_context(|| format!("cannot read {}", public.display()))?;
        Ok(Self { private, public, public_pem })
    }
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
        KeyPair::read(&prefix)
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

    /// Makes a key pair of a PKCS#8 private key, with an empty password.
    pub fn import_key_pair(&self, private_pem: &str, folder: &Path, name: &str) -> Result<KeyPair> {
        let (file, prefix) = (folder.join(format!("{name}.pkcs8.pem")), folder.join(name));
        fs::write(&file, private_pem).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = self.command("import-key-pair");
        run(command.arg("--key").arg(file).arg("--output-key-prefix").arg(&prefix), &[])?.success()?;
        KeyPair::read(&prefix)
    }

    /// Signs an image without a log, and with no service that is not given.
    pub fn sign_unlogged(
        &self,
        services: &Unlogged<'_>,
        signer: Signer<'_>,
        image: &PushedImage,
        format: Format,
    ) -> Result<()> {
        let mut command = self.command_unlogged("sign", services, signer, format)?;
        run(command.arg(image.reference()), &[])?.success().map(drop)
    }

    /// Attests a predicate for an image without a log, and with no service that is not given.
    pub fn attest_unlogged(
        &self,
        services: &Unlogged<'_>,
        signer: Signer<'_>,
        image: &PushedImage,
        format: Format,
        (predicate_type, predicate): (&str, &Path),
    ) -> Result<()> {
        let mut command = self.command_unlogged("attest", services, signer, format)?;
        command.args(["--type", predicate_type]).arg("--predicate").arg(predicate);
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
        self.sign_as(&mut command, signer)?;
        Ok(command)
    }

    fn command_unlogged(
        &self,
        subcommand: &str,
        services: &Unlogged<'_>,
        signer: Signer<'_>,
        format: Format,
    ) -> Result<Command> {
        let mut command = self.command(subcommand);
        command.args(OFFLINE);
        if format == Format::Legacy {
            command.arg("--new-bundle-format=false");
        }
        // What is not given is switched off: cosign would go to the public instance.
        command.args(["--fulcio-url", services.fulcio_url.unwrap_or_default()]);
        command.args(["--timestamp-server-url", services.timestamp_url.unwrap_or_default()]);
        self.sign_as(&mut command, signer)?;
        Ok(command)
    }

    fn sign_as(&self, command: &mut Command, signer: Signer<'_>) -> Result<()> {
        match signer {
            Signer::Key(key) => drop(command.arg("--key").arg(&key.private)),
            Signer::Certificate { key, certificate, chain } => {
                command.arg("--key").arg(&key.private).arg("--certificate").arg(certificate);
                if let Some(chain) = chain {
                    command.arg("--certificate-chain").arg(chain);
                }
            }
            Signer::Identity(identity) => {
                // A file of its own, since cases run at the same time.
                let number = TOKENS.fetch_add(1, Ordering::Relaxed);
                let file = self.home.join(format!("identity-token-{number}"));
                fs::write(&file, &identity.token).with_context(|| format!("cannot write {}", file.display()))?;
                command.arg("--identity-token").arg(file);
            }
        }
        Ok(())
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
