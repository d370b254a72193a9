//! Images that cosign signed with a key, in both of its formats, without a transparency log.

use std::fs;

use anyhow::{Context, Result};
use countersign_e2e::cosign::{Format, KeyPair};
use countersign_e2e::manifest::{PREDICATE_TYPE, pod, signed_by};
use countersign_e2e::registry::{PushedImage, Registry};
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("a bundle by the right key is admitted, from both registries", Run::Admission(bundle_right_key)),
    ("a bundle by another key is denied, from both registries", Run::Admission(bundle_other_key)),
    ("a .sig by the right key is admitted, from both registries", Run::Admission(legacy_right_key)),
    ("a .sig by another key is denied, from both registries", Run::Admission(legacy_other_key)),
    ("any of several keys is enough", Run::Admission(any_key)),
    ("a signature by another key beside the right one does not matter", Run::Admission(two_signatures)),
    ("a signature of another image is denied", Run::Admission(signature_of_another)),
    ("an attestation is no signature, and counts where it is asked for", Run::Admission(attestation)),
];

fn push_signed(sandbox: &Sandbox<'_>, registry: &Registry, key: &KeyPair, format: Format) -> Result<PushedImage> {
    let image = registry.push_minimal(&sandbox.path("app"), &sandbox.path(registry.name()))?;
    sandbox.stack().cosign.sign(key, &image, format)?;
    Ok(image)
}

fn right_key(sandbox: &Sandbox<'_>, format: Format) -> Result<()> {
    let key = &sandbox.stack().key;
    let _policy = sandbox.govern(&signed_by(&[("2026", &key.public_pem)]))?;
    for registry in sandbox.stack().registries() {
        let image = push_signed(sandbox, registry, key, format)?;
        sandbox.accepts(&pod(registry.name(), &image.reference())).context(registry.name())?;
    }
    Ok(())
}

fn other_key(sandbox: &Sandbox<'_>, format: Format) -> Result<()> {
    let policy = sandbox.govern(&signed_by(&[("2026", &sandbox.stack().other_key.public_pem)]))?;
    for registry in sandbox.stack().registries() {
        let image = push_signed(sandbox, registry, &sandbox.stack().key, format)?;
        let parts = [policy.name(), &image.digest, "2026"];
        sandbox.rejects(&pod(registry.name(), &image.reference()), &parts).context(registry.name())?;
    }
    Ok(())
}

fn bundle_right_key(sandbox: &Sandbox<'_>) -> Result<()> {
    right_key(sandbox, Format::Bundle)
}

fn bundle_other_key(sandbox: &Sandbox<'_>) -> Result<()> {
    other_key(sandbox, Format::Bundle)
}

fn legacy_right_key(sandbox: &Sandbox<'_>) -> Result<()> {
    right_key(sandbox, Format::Legacy)
}

fn legacy_other_key(sandbox: &Sandbox<'_>) -> Result<()> {
    other_key(sandbox, Format::Legacy)
}

fn any_key(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let keys = [("2025", stack.other_key.public_pem.as_str()), ("2026", stack.key.public_pem.as_str())];
    let _policy = sandbox.govern(&signed_by(&keys))?;
    for (name, key, format) in [("new", &stack.key, Format::Bundle), ("old", &stack.other_key, Format::Legacy)] {
        let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path(name))?;
        stack.cosign.sign(key, &image, format)?;
        sandbox.accepts(&pod(name, &image.reference())).context(name)?;
    }
    Ok(())
}

fn two_signatures(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let _policy = sandbox.govern(&signed_by(&[("2026", &stack.key.public_pem)]))?;
    for (name, first, second) in [("last", &stack.other_key, &stack.key), ("first", &stack.key, &stack.other_key)] {
        let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path(name))?;
        stack.cosign.sign(first, &image, Format::Bundle)?;
        stack.cosign.sign(second, &image, Format::Bundle)?;
        sandbox.accepts(&pod(name, &image.reference())).context(name)?;
    }
    Ok(())
}

/// The signature of one image under the tag of another: the layer says for which digest it is.
fn signature_of_another(sandbox: &Sandbox<'_>) -> Result<()> {
    let (stack, registry) = (sandbox.stack(), &sandbox.stack().without_referrers);
    let policy = sandbox.govern(&signed_by(&[("2026", &stack.key.public_pem)]))?;
    let path = sandbox.path("app");
    let signed = registry.push_minimal(&path, &sandbox.path("signed"))?;
    stack.cosign.sign(&stack.key, &signed, Format::Legacy)?;
    let other = registry.push_minimal(&path, &sandbox.path("other"))?;
    registry.copy_tag(&path, &signature_tag(&signed), &signature_tag(&other))?;
    sandbox.accepts(&pod("signed", &signed.reference()))?;
    sandbox.rejects(&pod("other", &other.reference()), &[policy.name(), &other.digest])?;
    Ok(())
}

fn signature_tag(image: &PushedImage) -> String {
    format!("{}.sig", image.digest.replace(':', "-"))
}

fn attestation(sandbox: &Sandbox<'_>) -> Result<()> {
    let (stack, registry) = (sandbox.stack(), &sandbox.stack().with_referrers);
    let signature = signed_by(&[("2026", &stack.key.public_pem)]);
    let mut provenance = signature.clone();
    let authority = provenance.pointer_mut("/0").and_then(Value::as_object_mut).context("no authority")?;
    authority.insert("attestation".to_owned(), json!({"predicateType": PREDICATE_TYPE}));

    let predicate = stack.new_folder()?.join("predicate.json");
    fs::write(
        &predicate,
        json!({"builder": {"id": "https://example.test"}, "buildType": "https://example.test"}).to_string(),
    )?;
    let attested = registry.push_minimal(&sandbox.path("app"), &sandbox.path("attested"))?;
    stack.cosign.attest(&stack.key, &attested, "slsaprovenance", &predicate)?;
    let signed = registry.push_minimal(&sandbox.path("app"), &sandbox.path("signed"))?;
    stack.cosign.sign(&stack.key, &signed, Format::Bundle)?;
    let (attested, signed) = (pod("attested", &attested.reference()), pod("signed", &signed.reference()));

    let policy = sandbox.govern(&signature)?;
    sandbox.rejects(&attested, &[policy.name(), "[AttestationOnly]"])?;
    sandbox.accepts_command(&["create", "--dry-run=server"], Some(&signed))?;
    policy.delete();
    sandbox.eventually_admitted(&sandbox.canary())?;
    let policy = sandbox.govern(&provenance)?;
    sandbox.accepts(&attested)?;
    sandbox.rejects(&signed, &[policy.name(), PREDICATE_TYPE, "[PredicateTypeMismatch]"])?;
    Ok(())
}
