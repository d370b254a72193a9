//! Signers with a certificate of an own authority, whose signatures a private Sigstore instance dates.
//!
//! As in `private_sigstore`, what one policy admits, its neighbours refuse.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use countersign_e2e::certificate::Authority;
use countersign_e2e::cosign::{Format, KeyPair, Signer, Unlogged};
use countersign_e2e::registry::PushedImage;
use countersign_e2e::sigstore::{MIXED, PRIVATE, STRANGER, Services};
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::private_sigstore::{admitted_only_under, admitted_under, carries, denied_under, push};
use crate::proofs::{proving, with};
use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("a chain and a timestamp beside the signature are enough", Run::Admission(authority)),
    ("the intermediate is the signer's or the policy's", Run::Admission(intermediate)),
    ("a signature in a log is admitted where a log is asked for", Run::Admission(in_log)),
];

/// An authority of our own, and a person with a certificate below its intermediate.
struct Own {
    root: Authority,
    intermediate: Authority,
    key: KeyPair,
    certificate: PathBuf,
    chain: PathBuf,
}

impl Own {
    fn new(sandbox: &Sandbox<'_>) -> Result<Self> {
        let folder = sandbox.stack().new_folder()?;
        let root = Authority::new("acme-root")?;
        let intermediate = root.intermediate("acme-intermediate")?;
        let leaf = intermediate.code_signing("alice@acme.test")?;
        let (certificate, chain) = (folder.join("leaf.pem"), folder.join("chain.pem"));
        fs::write(&certificate, &leaf.certificate)?;
        fs::write(&chain, format!("{}{}", intermediate.certificate(), root.certificate()))?;
        let key = sandbox.stack().cosign.import_key_pair(&leaf.key, &folder, "leaf")?;
        Ok(Self { root, intermediate, key, certificate, chain })
    }

    /// Alice, with the intermediate or alone.
    fn signer(&self, chain: bool) -> Signer<'_> {
        Signer::Certificate { key: &self.key, certificate: &self.certificate, chain: chain.then_some(&self.chain) }
    }
}

/// Whoever has a certificate of an own authority with this name.
fn certified(root: &Authority, trust_root: &str, subject: &str) -> Value {
    json!([{"name": "release", "certificates": {
        "roots": root.certificate(), "trustRoot": trust_root, "identities": [{"subject": {"exact": subject}}],
    }}])
}

fn authority(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (own, other, cosign) = (Own::new(&sandbox)?, Own::new(&sandbox)?, &sandbox.stack().cosign);
    let (services, registry) = (sigstore.private.services(), &sandbox.stack().with_referrers);
    let stamp = Unlogged { timestamp_url: Some(&services.timestamp_url), ..Unlogged::default() };
    let sign_as = |own: &Own, stamp: &Unlogged<'_>, name: &str, proofs: &[&str]| -> Result<[PushedImage; 1]> {
        let image = push(&sandbox, registry, name)?;
        cosign.sign_unlogged(stamp, own.signer(true), &image, Format::Legacy)?;
        carries(&sandbox, registry, &image, "sig", &[&["certificate", "chain"], proofs].concat())?;
        Ok([image])
    };
    let images = sign_as(&own, &stamp, "own", &["rfc3161timestamp"])?;
    let alice = "alice@acme.test";
    let usual = certified(&own.root, PRIVATE, alice);
    admitted_only_under(
        &sandbox,
        &images,
        &usual,
        &[
            (certified(&other.root, PRIVATE, alice), &["[CertificateInvalid]"]),
            (certified(&own.root, PRIVATE, "bob@acme.test"), &[alice, "bob@acme.test", "[IdentityMismatch]"]),
            (certified(&own.root, STRANGER, alice), &["[TimestampInvalid]"]),
            (proving(&usual, &json!({"logs": 1}))?, &["[LogMissing]"]),
            (proving(&usual, &json!({"timestamps": 2}))?, &["[TimestampMissing]"]),
        ],
    )?;
    // The same names below another root with the same name.
    let strange = sign_as(&other, &stamp, "strange", &["rfc3161timestamp"])?;
    denied_under(&sandbox, &strange, &[(usual.clone(), &["[CertificateInvalid]"])])?;
    let undated = sign_as(&own, &Unlogged::default(), "undated", &[])?;
    denied_under(&sandbox, &undated, &[(usual, &["no time is verified"])])
}

fn intermediate(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (own, other) = (Own::new(&sandbox)?, Own::new(&sandbox)?);
    let services = sigstore.private.services();
    let stamp = Unlogged { timestamp_url: Some(&services.timestamp_url), ..Unlogged::default() };
    let registry = &sandbox.stack().with_referrers;
    let (legacy, bundle) = (push(&sandbox, registry, "legacy")?, push(&sandbox, registry, "bundle")?);
    for (image, format) in [(&legacy, Format::Legacy), (&bundle, Format::Bundle)] {
        sandbox.stack().cosign.sign_unlogged(&stamp, own.signer(false), image, format)?;
    }
    carries(&sandbox, registry, &legacy, "sig", &["certificate", "rfc3161timestamp"])?;
    let root_only = certified(&own.root, PRIVATE, "alice@acme.test");
    let below = |authority: &Own| {
        with(&root_only, "/0/certificates", "intermediates", &json!(authority.intermediate.certificate()))
    };
    let invalid: &[&str] = &["[CertificateInvalid]"];
    let neighbours = [(root_only.clone(), invalid), (below(&other)?, invalid)];
    admitted_only_under(&sandbox, &[legacy, bundle], &below(&own)?, &neighbours)
}

fn in_log(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let own = Own::new(&sandbox)?;
    let services = sigstore.private.services();
    // cosign verifies what it logs, and is told about the authority as if it were Fulcio.
    let mut root = services.read_trusted_root()?;
    let certificates = [&own.intermediate, &own.root].map(|authority| {
        let lines = authority.certificate().lines().filter(|line| !line.starts_with("-----"));
        json!({"rawBytes": lines.collect::<String>()})
    });
    *root.pointer_mut("/certificateAuthorities/0/certChain/certificates").context("no authority")? =
        json!(certificates);
    root.as_object_mut().context("no trusted root")?.remove("ctlogs");
    let services = Services { trusted_root: sandbox.stack().new_folder()?.join("root.json"), ..services.clone() };
    fs::write(&services.trusted_root, root.to_string())?;

    let image = push(&sandbox, &sandbox.stack().with_referrers, "logged")?;
    sandbox.stack().cosign.sign_with(&services, &services.signing_config, own.signer(false), &image)?;
    let usual = certified(&own.root, PRIVATE, "alice@acme.test");
    let usual = with(&usual, "/0/certificates", "intermediates", &json!(own.intermediate.certificate()))?;
    let accepted = [usual.clone(), proving(&usual, &json!({"logs": 1, "inclusionProof": true}))?];
    admitted_under(&sandbox, std::slice::from_ref(&image), &accepted)?;
    let [_, _, (strange_log, code), _] = MIXED;
    let strange_log = with(&usual, "/0/certificates", "trustRoot", &json!(strange_log))?;
    denied_under(
        &sandbox,
        &[image],
        &[(proving(&usual, &json!({"logs": 2}))?, &["[LogMissing]"]), (strange_log, &[code])],
    )
}
