//! A client for the conformance suite of Sigstore clients: `verify-bundle` by the same `verify` as the webhook, and nothing else.
//!
//! ```text
//! sigstore_conformance verify-bundle [--staging] --bundle FILE [--trusted-root FILE]
//!     (--certificate-identity ID --certificate-oidc-issuer URL | --key PEM) FILE_OR_DIGEST
//! ```
//!
//! The last argument is a file, or `sha256:` with 64 hexadecimal digits. Exit code 0 exactly if the bundle verifies. Signing is not what
//! countersign does. Protocol: <https://github.com/sigstore/sigstore-conformance/blob/main/docs/cli_protocol.md>.

#![expect(clippy::disallowed_methods, reason = "a command line reads its files")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference};
use countersign::policy::Proofs;
use countersign::trust::{PUBLIC_GOOD, PublicKey, STAGING, TrustMaterial};
use countersign::verify::{Anchor, Evidence, Signer};

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify a bundle.
    VerifyBundle(Arguments),
}

#[derive(Args)]
struct Arguments {
    #[arg(long)]
    staging: bool,
    #[arg(long)]
    bundle: PathBuf,
    #[arg(long)]
    certificate_identity: Option<String>,
    #[arg(long)]
    certificate_oidc_issuer: Option<String>,
    #[arg(long, conflicts_with_all = ["certificate_identity", "certificate_oidc_issuer"])]
    key: Option<PathBuf>,
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    file_or_digest: String,
}

fn main() -> ExitCode {
    let Cli { command: Command::VerifyBundle(arguments) } = Cli::parse();
    match verify(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn verify(arguments: &Arguments) -> Result<(), Error> {
    let bundle = std::fs::read(&arguments.bundle)?;
    let digest = Digest::of(&bundle);
    let origin = Origin { path: DiscoveryPath::ReferrersApi, manifest: digest.clone(), layer: digest };
    let media_type = "application/vnd.dev.sigstore.bundle+json".to_owned();
    let candidate = Discovered::untrusted(origin, media_type, bundle, BTreeMap::new());

    let root = match (&arguments.trusted_root, arguments.staging) {
        (Some(path), _) => TrustMaterial::parse("given", &std::fs::read_to_string(path)?)?,
        (None, staging) => TrustMaterial::embedded(if staging { STAGING } else { PUBLIC_GOOD })?,
    };
    let key = arguments.key.as_ref().map(std::fs::read_to_string).transpose()?;
    let key = key.map(|pem| PublicKey::parse_pem(&pem)).transpose()?;

    let anchor = match key {
        Some(key) => Anchor::Key { key, dating: Some(root.clone()) },
        None => Anchor::Root(root.clone()),
    };
    // A file is an artifact like a manifest: its bytes, under their digest.
    let evidence = if let Ok(digest) = Digest::parse(&arguments.file_or_digest) {
        countersign::verify::verify(&candidate, &digest, &anchor)?
    } else {
        let file = ImageReference::parse("conformance.example/file")?
            .resolve(std::fs::read(&arguments.file_or_digest)?, String::new())?;
        countersign::verify::verify(&candidate, &file, &anchor)?
    };
    check_proofs(&evidence, &root)?;
    if arguments.key.is_some() { Ok(()) } else { check_identity(arguments, &evidence) }
}

/// The proofs that a policy wants if it asks for no others, as far as the root has services that could give them.
fn check_proofs(evidence: &Evidence, root: &TrustMaterial) -> Result<(), Error> {
    let mut proofs = match evidence.signer() {
        Signer::Certificate { .. } => Proofs::keyless(root.name()),
        Signer::Key { .. } => Proofs::keys(true),
    };
    if !root.has_logs() {
        proofs = proofs.without_logs();
    }
    if !root.has_certificate_transparency() {
        proofs = proofs.without_certificate_transparency();
    }
    Ok(proofs.check(evidence, jiff::Timestamp::now())?)
}

/// Both identity and issuer must be given, and must be the certificate's.
fn check_identity(arguments: &Arguments, evidence: &Evidence) -> Result<(), Error> {
    let (Some(identity), Some(wanted)) = (&arguments.certificate_identity, &arguments.certificate_oidc_issuer) else {
        return Err("who must have signed is not given".into());
    };
    match evidence.signer() {
        Signer::Certificate { issuer: Some(issuer), subjects, .. }
            if issuer == wanted && subjects.iter().any(|subject| subject.as_str() == identity) =>
        {
            Ok(())
        }
        signer => Err(format!("signed by {signer}").into()),
    }
}
