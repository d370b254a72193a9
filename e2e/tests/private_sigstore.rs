//! Images signed with a private Sigstore instance, by cosign and by sigstore-python, and a second instance with the same names.
//!
//! What one policy admits, its neighbours refuse: the same image, one thing in the policy changed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use countersign_e2e::cosign::{Format, Signer, Unlogged};
use countersign_e2e::manifest::{attested, pod, signed_by, signed_keyless};
use countersign_e2e::registry::{PushedImage, Registry, hex, sha256};
use countersign_e2e::sigstore::{Account, BORROWER, Identity, MIXED, PRIVATE, STRANGER, Services, Sigstore};
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("cosign itself tells the two instances apart", Run::Admission(cosign_verifies)),
    ("a person's signature is admitted, from both registries", Run::Admission(person)),
    ("a workflow's signature is admitted, from both registries", Run::Admission(workflow)),
    ("a workflow is known by a pattern, and by no pattern beside it", Run::Admission(patterns)),
    ("a user's signature and a workload's are admitted", Run::Admission(user_and_workload)),
    ("a root in which one service is a stranger's refuses", Run::Admission(mixed_roots)),
    ("a signature by the stranger of the same names is denied", Run::Admission(stranger)),
    ("a stranger's certificate beside the right log and timestamps is denied", Run::Admission(borrower)),
    ("an attestation is no signature, and counts where it is asked for", Run::Admission(attestation)),
    ("of two signers that are both needed, one is not enough", Run::Admission(two_signers)),
    ("a key's signature with log and timestamp, or timestamp alone, is admitted", Run::Admission(keys)),
    ("a .sig and a .att by a key, with timestamps, are admitted", Run::Admission(legacy_with_timestamps)),
    ("sigstore-python's signature of the manifest is admitted", Run::Admission(python_signature)),
    ("sigstore-python's statement is admitted as an attestation", Run::Admission(python_statement)),
];

pub(crate) const ALICE: Account<'static> = Account::Person("alice@acme.test");
pub(crate) const RELEASE: Account<'static> =
    Account::Workflow("acme/app/.github/workflows/release.yml@refs/heads/main");
pub(crate) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// A policy's authorities that must refuse, and what the message must say.
pub(crate) type Neighbour<'a> = (Value, &'a [&'a str]);

/// A signer that is known by its certificate: who it is under which root.
pub(crate) fn by(trust_root: &str, identity: &Identity) -> Value {
    signed_keyless(trust_root, &identity.issuer, &identity.subject)
}

pub(crate) fn push(sandbox: &Sandbox<'_>, registry: &Registry, name: &str) -> Result<PushedImage> {
    registry.push_minimal(&sandbox.path("app"), &sandbox.path(name))
}

/// An image that cosign signed with these services.
pub(crate) fn push_signed(
    sandbox: &Sandbox<'_>,
    registry: &Registry,
    services: &Services,
    identity: &Identity,
) -> Result<PushedImage> {
    let image = push(sandbox, registry, &identity.subject)?;
    sign(sandbox, services, identity, &image)?;
    Ok(image)
}

pub(crate) fn sign(sandbox: &Sandbox<'_>, services: &Services, identity: &Identity, image: &PushedImage) -> Result<()> {
    sandbox.stack().cosign.sign_with(services, &services.signing_config, Signer::Identity(identity), image)
}

/// All images are admitted under the first authorities, and none under any of the others.
pub(crate) fn admitted_only_under(
    sandbox: &Sandbox<'_>,
    images: &[PushedImage],
    authorities: &Value,
    neighbours: &[Neighbour<'_>],
) -> Result<()> {
    admitted_under(sandbox, images, std::slice::from_ref(authorities))?;
    denied_under(sandbox, images, neighbours)
}

/// All images are admitted under each of the authorities.
pub(crate) fn admitted_under(sandbox: &Sandbox<'_>, images: &[PushedImage], all: &[Value]) -> Result<()> {
    for authorities in all {
        sandbox.eventually_admitted(&sandbox.canary())?;
        let _policy = sandbox.govern(authorities)?;
        for image in images {
            // A name of its own for each image under each policy: a Pod stays.
            let seed = sha256(format!("{authorities} {}", image.reference()).as_bytes());
            let name: String = format!("app-{}", hex(&seed)?).chars().take(20).collect();
            sandbox.accepts(&pod(&name, &image.reference())).with_context(|| authorities.to_string())?;
        }
    }
    sandbox.eventually_admitted(&sandbox.canary())
}

/// All images are denied under each of the authorities.
pub(crate) fn denied_under(sandbox: &Sandbox<'_>, images: &[PushedImage], neighbours: &[Neighbour<'_>]) -> Result<()> {
    for (authorities, parts) in neighbours {
        sandbox.eventually_admitted(&sandbox.canary())?;
        let policy = sandbox.govern(authorities)?;
        for image in images {
            let parts = [&[policy.name(), &image.digest], *parts].concat();
            sandbox.rejects(&pod("neighbour", &image.reference()), &parts).with_context(|| authorities.to_string())?;
        }
    }
    sandbox.eventually_admitted(&sandbox.canary())
}

fn cosign_verifies(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let verify = |services: &Services| sandbox.stack().cosign.verify_with(services, &identity, &image);
    verify(sigstore.private.services())?.success()?;
    let other = verify(sigstore.stranger.services())?;
    ensure!(!other.status.success(), other.unexpected());
    Ok(())
}

/// The signer's image in both registries, under its policy and under its neighbours.
fn keyless(sandbox: &Sandbox<'_>, account: Account<'_>, other: Account<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (identity, other) = (sigstore.issuer.identity(account)?, sigstore.issuer.identity(other)?);
    let images = sandbox.stack().registries().map(|registry| {
        push_signed(&sandbox, registry, sigstore.private.services(), &identity).context(registry.name())
    });
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    let elsewhere = Identity { issuer: sigstore.issuer.other_url(), ..identity.clone() };
    admitted_only_under(
        &sandbox,
        &images,
        &by(PRIVATE, &identity),
        &[
            (by(PRIVATE, &other), &[&other.subject, &identity.subject, "[IdentityMismatch]"]),
            (by(PRIVATE, &elsewhere), &[&elsewhere.issuer, &identity.issuer, "[IssuerMismatch]"]),
            (by("public-good", &identity), &["[TimestampInvalid]"]),
            (by(STRANGER, &identity), &["[TimestampInvalid]"]),
        ],
    )
}

fn person(sandbox: &Sandbox<'_>) -> Result<()> {
    keyless(sandbox, ALICE, Account::Person("mallory@acme.test"))
}

fn workflow(sandbox: &Sandbox<'_>) -> Result<()> {
    keyless(sandbox, RELEASE, Account::Workflow("acme/app/.github/workflows/release.yml@refs/heads/main-copy"))
}

fn patterns(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(RELEASE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let by = |way: &str, pattern: &str| {
        json!([{"name": "release", "keyless": {"trustRoot": PRIVATE, "identities": [
            {"issuer": {"exact": identity.issuer}, "subject": {way: pattern}},
        ]}}])
    };
    let parts: &[&str] = &[&identity.subject, "[IdentityMismatch]"];
    admitted_only_under(
        &sandbox,
        &[image],
        &by("glob", "https://github.com/acme/*/.github/workflows/release.yml@refs/heads/*"),
        &[
            (by("glob", "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/*"), parts),
            (by("glob", "https://github.com/*/.github/workflows/release.yml@refs/heads/*"), parts),
            (by("regex", r"https://github\.com/acme/app/\.github/workflows/release\.yml"), parts),
        ],
    )
}

fn user_and_workload(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    for (account, other) in [
        (Account::User("alice"), Account::User("mallory")),
        (Account::Workload("ns/release/sa/signer"), Account::Workload("ns/release/sa/other")),
    ] {
        let (identity, other) = (sigstore.issuer.identity(account)?, sigstore.issuer.identity(other)?);
        let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
        let parts = [other.subject.as_str(), &identity.subject, "[IdentityMismatch]"];
        admitted_only_under(&sandbox, &[image], &by(PRIVATE, &identity), &[(by(PRIVATE, &other), &parts)])?;
    }
    Ok(())
}

/// Certificate authority, certificate transparency log, log and timestamp authority each count by themselves.
fn mixed_roots(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let neighbours = MIXED.each_ref().map(|(root, code)| (by(root, &identity), std::slice::from_ref(code)));
    admitted_only_under(&sandbox, &[image], &by(PRIVATE, &identity), &neighbours)
}

/// Roots never merge: both are known to the same instance of countersign, and each counts only where a policy names it.
fn stranger(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let registry = &sandbox.stack().with_referrers;
    let (private, stranger) = (by(PRIVATE, &identity), by(STRANGER, &identity));

    let strange = push(&sandbox, registry, "strange")?;
    sign(&sandbox, sigstore.stranger.services(), &identity, &strange)?;
    let refused: Neighbour<'_> = (private.clone(), &["[TimestampInvalid]"]);
    admitted_only_under(&sandbox, &[strange], &stranger, &[refused])?;

    let both = push(&sandbox, registry, "both")?;
    sign(&sandbox, sigstore.private.services(), &identity, &both)?;
    sign(&sandbox, sigstore.stranger.services(), &identity, &both)?;
    for (name, authorities) in [("private", &private), ("stranger", &stranger)] {
        let policy = sandbox.govern(authorities)?;
        sandbox.accepts(&pod(name, &both.reference()))?;
        policy.delete();
        sandbox.eventually_admitted(&sandbox.canary())?;
    }
    denied_under(&sandbox, &[both], &[(by("public-good", &identity), &["[TimestampInvalid]"])])
}

/// Only the certificate tells: log entry and timestamp are those of the right instance.
fn borrower(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, &sigstore.borrower, &identity)?;
    admitted_only_under(
        &sandbox,
        &[image],
        &by(BORROWER, &identity),
        &[(by(PRIVATE, &identity), &["[CertificateInvalid]"]), (by(STRANGER, &identity), &["[TimestampInvalid]"])],
    )
}

fn attestation(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (identity, other) = (sigstore.issuer.identity(RELEASE)?, sigstore.issuer.identity(ALICE)?);
    let (services, predicate) = (sigstore.private.services(), predicate(&sandbox)?);
    let mut images = Vec::new();
    for registry in sandbox.stack().registries() {
        let image = push(&sandbox, registry, "attested")?;
        sandbox.stack().cosign.attest_with(
            services,
            &services.signing_config,
            Signer::Identity(&identity),
            &image,
            "slsaprovenance1",
            &predicate,
        )?;
        images.push(image);
    }
    admitted_only_under(
        &sandbox,
        &images,
        &attested(by(PRIVATE, &identity), PROVENANCE),
        &[
            (by(PRIVATE, &identity), &["[AttestationOnly]"]),
            (attested(by(PRIVATE, &identity), "https://spdx.dev/Document"), &[PROVENANCE, "[PredicateTypeMismatch]"]),
            (attested(by(PRIVATE, &other), PROVENANCE), &[&identity.subject, "[IdentityMismatch]"]),
            (attested(by(STRANGER, &identity), PROVENANCE), &["[TimestampInvalid]"]),
        ],
    )
}

pub(crate) fn predicate(sandbox: &Sandbox<'_>) -> Result<PathBuf> {
    let file = sandbox.stack().new_folder()?.join("predicate.json");
    let predicate = json!({
        "buildDefinition": {
            "buildType": "https://acme.test/build/v1", "externalParameters": {"ref": "refs/heads/main"},
            "internalParameters": {}, "resolvedDependencies": [],
        },
        "runDetails": {"builder": {"id": "https://acme.test/builder"}, "metadata": {"invocationId": "42"}},
    });
    fs::write(&file, predicate.to_string())?;
    Ok(file)
}

fn two_signers(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (alice, release) = (sigstore.issuer.identity(ALICE)?, sigstore.issuer.identity(RELEASE)?);
    let registry = &sandbox.stack().with_referrers;
    let both = push_signed(&sandbox, registry, sigstore.private.services(), &alice)?;
    sign(&sandbox, sigstore.private.services(), &release, &both)?;
    let one = push_signed(&sandbox, registry, sigstore.private.services(), &release)?;

    let named = |name: &str, identity: &Identity| {
        json!({"name": name, "keyless": {"trustRoot": PRIVATE, "identities": [
            {"issuer": {"exact": identity.issuer}, "subject": {"exact": identity.subject}},
        ]}})
    };
    let authorities = json!([named("alice", &alice), named("release", &release)]);
    let mut policy = sandbox.policy(&[sandbox.pattern(registry)], &authorities);
    let spec = policy.pointer_mut("/spec").and_then(Value::as_object_mut).context("a policy without a spec")?;
    spec.insert("require".to_owned(), json!({"allOf": [{"authority": "alice"}, {"authority": "release"}]}));
    let policy = sandbox.apply_policy(&policy, true)?;
    sandbox.accepts(&pod("both", &both.reference()))?;
    let parts = [policy.name(), &one.digest, &alice.subject, "[IdentityMismatch]"];
    sandbox.rejects(&pod("one", &one.reference()), &parts)?;
    Ok(())
}

/// To a key without a trust root, log and timestamp prove nothing more, and take nothing away.
fn keys(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (stack, services) = (sandbox.stack(), sigstore.private.services());
    let mut images = Vec::new();
    for registry in stack.registries() {
        for (name, config) in [("log", &services.signing_config), ("timestamp", &services.timestamps_only)] {
            let image = push(&sandbox, registry, name)?;
            stack.cosign.sign_with(services, config, Signer::Key(&stack.key), &image).context(name)?;
            images.push(image);
        }
    }
    let alice = sigstore.issuer.identity(ALICE)?;
    admitted_only_under(
        &sandbox,
        &images,
        &signed_by(&[("2026", &stack.key.public_pem)]),
        &[
            (signed_by(&[("2026", &stack.other_key.public_pem)]), &["[SignatureInvalid]"]),
            (by(PRIVATE, &alice), &["[NoCertificate]"]),
        ],
    )
}

fn legacy_with_timestamps(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (stack, registry) = (sandbox.stack(), &sandbox.stack().without_referrers);
    let (predicate, key) = (predicate(&sandbox)?, Signer::Key(&stack.key));
    let services = Unlogged { timestamp_url: Some(&sigstore.private.services().timestamp_url), ..Unlogged::default() };
    let (signed, statement) = (push(&sandbox, registry, "signed")?, push(&sandbox, registry, "attested")?);
    stack.cosign.sign_unlogged(&services, key, &signed, Format::Legacy)?;
    stack.cosign.attest_unlogged(&services, key, &statement, Format::Legacy, ("slsaprovenance1", &predicate))?;
    for (image, extension) in [(&signed, "sig"), (&statement, "att")] {
        carries(&sandbox, registry, image, extension, &["rfc3161timestamp"])?;
    }

    let key = signed_by(&[("2026", &stack.key.public_pem)]);
    let other_key = signed_by(&[("2026", &stack.other_key.public_pem)]);
    admitted_only_under(
        &sandbox,
        &[signed],
        &key,
        &[
            (other_key.clone(), &["[SignatureInvalid]"]),
            (attested(key.clone(), PROVENANCE), &["[PredicateTypeMismatch]"]),
        ],
    )?;
    admitted_only_under(
        &sandbox,
        &[statement],
        &attested(key.clone(), PROVENANCE),
        &[(attested(other_key, PROVENANCE), &["[SignatureInvalid]"]), (key, &["[AttestationOnly]"])],
    )
}

/// The image's old-format signature (`sig`) or attestation (`att`) carries exactly these of cosign's annotations for proofs.
pub(crate) fn carries(
    sandbox: &Sandbox<'_>,
    registry: &Registry,
    image: &PushedImage,
    extension: &str,
    wanted: &[&str],
) -> Result<()> {
    let tag = format!("{}.{extension}", image.digest.replace(':', "-"));
    let (_, manifest) = registry.manifest(&sandbox.path("app"), &tag)?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let layer = manifest.pointer("/layers/0").context("no signature")?;
    ensure!(manifest.pointer("/layers/1").is_none(), "{tag} holds more than one signature");
    for name in ["bundle", "certificate", "chain", "rfc3161timestamp"] {
        let found = layer.pointer(&format!("/annotations/dev.sigstore.cosign~1{name}"));
        let found = found.and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        ensure!(found == wanted.contains(&name), "{tag}: {name}: {manifest}");
    }
    Ok(())
}

fn python_signature(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (identity, services) = (sigstore.issuer.identity(ALICE)?, sigstore.private.services());
    let folder = sandbox.stack().new_folder()?;
    let signature = by(PRIVATE, &identity);
    python(
        &sandbox,
        sigstore,
        &identity,
        |manifest| sandbox.stack().python.sign(services, &identity, manifest, &folder),
        &signature,
        (attested(signature.clone(), PROVENANCE), &["[PredicateTypeMismatch]"]),
    )
}

fn python_statement(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (identity, services) = (sigstore.issuer.identity(RELEASE)?, sigstore.private.services());
    let (folder, predicate) = (sandbox.stack().new_folder()?, predicate(&sandbox)?);
    let statement = (PROVENANCE, predicate.as_path());
    let signature = by(PRIVATE, &identity);
    python(
        &sandbox,
        sigstore,
        &identity,
        |manifest| sandbox.stack().python.attest(services, &identity, manifest, &folder, statement),
        &attested(signature.clone(), PROVENANCE),
        (signature, &["[AttestationOnly]"]),
    )
}

/// A bundle that sigstore-python makes of the image's manifest, attached to the image in both registries, and to another image.
fn python(
    sandbox: &Sandbox<'_>,
    sigstore: &Sigstore,
    identity: &Identity,
    make: impl Fn(&[u8]) -> Result<Vec<u8>>,
    authorities: &Value,
    other_claim: Neighbour<'_>,
) -> Result<()> {
    let path = sandbox.path("app");
    let (mut images, mut copies) = (Vec::new(), Vec::new());
    for registry in sandbox.stack().registries() {
        let (image, copy) = (push(sandbox, registry, "signed")?, push(sandbox, registry, "copy")?);
        let (_, manifest) = registry.manifest(&path, &image.digest)?;
        let bundle = make(&manifest)?;
        registry.attach_bundle(&path, &image, &bundle)?;
        registry.attach_bundle(&path, &copy, &bundle)?;
        images.push(image);
        copies.push(copy);
    }
    let changed = |identity: &Identity, root: &str| -> Result<Value> {
        let mut authorities = authorities.clone();
        let keyless = authorities.pointer_mut("/0/keyless").context("no authority")?;
        *keyless = by(root, identity).pointer("/0/keyless").context("no authority")?.clone();
        Ok(authorities)
    };
    let other = sigstore.issuer.identity(Account::Person("mallory@acme.test"))?;
    admitted_only_under(
        sandbox,
        &images,
        authorities,
        &[
            other_claim,
            (changed(&other, PRIVATE)?, &[&identity.subject, "[IdentityMismatch]"]),
            (changed(identity, STRANGER)?, &["[TimestampInvalid]"]),
        ],
    )?;
    denied_under(sandbox, &copies, &[(authorities.clone(), &["[OtherArtifact]"])])
}
