//! The real image, signed by a GitHub workflow under the public-good Sigstore instance, judged by the embedded trust root.

use anyhow::{Context, Result, ensure};
use countersign_e2e::manifest::{ISSUER, PREDICATE_TYPE, SUBJECT, pod, provenance_by};
use countersign_e2e::registry::{PushedImage, Registry};
use countersign_e2e::stack::{Sandbox, Stack};
use serde_json::{Value, json};

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("a Pod with the attested image is admitted, from both registries", Run::Admission(attested)),
    ("the same image without its attestation is denied, from both registries", Run::Admission(unsigned)),
    ("another identity is denied, and the message names both", Run::Admission(other_identity)),
    ("another issuer is denied, and the message names both", Run::Admission(other_issuer)),
    ("another trust root is denied", Run::Admission(other_trust_root)),
    ("another predicate type is denied", Run::Admission(other_predicate_type)),
    ("kubectl apply --dry-run=server gives the same verdicts", Run::Admission(dry_run)),
    ("one unsigned init container is enough for a denial, which names it", Run::Admission(init_container)),
];

/// The real image with its provenance, in a repository of this case.
pub(crate) fn push_attested(sandbox: &Sandbox<'_>, registry: &Registry) -> Result<PushedImage> {
    let (layout, path) = (Stack::real_layout()?, sandbox.path("slsa-framework/example-package"));
    layout.push_attestations(registry, &path)?;
    layout.push_image(registry, &path, None)
}

/// The real image without its provenance, in another repository of this case.
pub(crate) fn push_unsigned(sandbox: &Sandbox<'_>, registry: &Registry) -> Result<PushedImage> {
    Stack::real_layout()?.push_image(registry, &sandbox.path("unsigned/example-package"), None)
}

fn attested(sandbox: &Sandbox<'_>) -> Result<()> {
    let _policy = sandbox.govern(&provenance_by(ISSUER, SUBJECT))?;
    for registry in sandbox.stack().registries() {
        let image = push_attested(sandbox, registry)?;
        sandbox.accepts(&pod(registry.name(), &image.reference())).context(registry.name())?;
    }
    Ok(())
}

fn unsigned(sandbox: &Sandbox<'_>) -> Result<()> {
    let policy = sandbox.govern(&provenance_by(ISSUER, SUBJECT))?;
    for registry in sandbox.stack().registries() {
        let image = push_unsigned(sandbox, registry)?;
        let parts = [policy.name(), &image.reference(), "spec.containers[0].image", "[NoSignature]"];
        sandbox.rejects(&pod(registry.name(), &image.reference()), &parts).context(registry.name())?;
    }
    Ok(())
}

fn other_identity(sandbox: &Sandbox<'_>) -> Result<()> {
    let wanted = SUBJECT.replace("v1.10.0", "v1.9.0");
    let policy = sandbox.govern(&provenance_by(ISSUER, &wanted))?;
    let image = push_attested(sandbox, &sandbox.stack().with_referrers)?;
    sandbox.rejects(&pod("app", &image.reference()), &[policy.name(), &wanted, SUBJECT, "[IdentityMismatch]"])?;
    Ok(())
}

fn other_issuer(sandbox: &Sandbox<'_>) -> Result<()> {
    let wanted = "https://accounts.google.com";
    let policy = sandbox.govern(&provenance_by(wanted, SUBJECT))?;
    let image = push_attested(sandbox, &sandbox.stack().with_referrers)?;
    sandbox.rejects(&pod("app", &image.reference()), &[policy.name(), wanted, ISSUER, "[IssuerMismatch]"])?;
    Ok(())
}

fn other_trust_root(sandbox: &Sandbox<'_>) -> Result<()> {
    let policy = sandbox.govern(&changed(provenance_by(ISSUER, SUBJECT), "/0/keyless/trustRoot", "staging")?)?;
    let image = push_attested(sandbox, &sandbox.stack().with_referrers)?;
    sandbox.rejects(&pod("app", &image.reference()), &[policy.name(), "staging"])?;
    Ok(())
}

fn other_predicate_type(sandbox: &Sandbox<'_>) -> Result<()> {
    let wanted = "https://slsa.dev/provenance/v1";
    let policy = sandbox.govern(&changed(provenance_by(ISSUER, SUBJECT), "/0/attestation/predicateType", wanted)?)?;
    let image = push_attested(sandbox, &sandbox.stack().with_referrers)?;
    sandbox.rejects(
        &pod("app", &image.reference()),
        &[policy.name(), wanted, PREDICATE_TYPE, "[PredicateTypeMismatch]"],
    )?;
    Ok(())
}

fn dry_run(sandbox: &Sandbox<'_>) -> Result<()> {
    let _policy = sandbox.govern(&provenance_by(ISSUER, SUBJECT))?;
    let registry = &sandbox.stack().with_referrers;
    let good = pod("app", &push_attested(sandbox, registry)?.reference());
    let bad = pod("app", &push_unsigned(sandbox, registry)?.reference());
    let dry = ["apply", "--dry-run=server"];
    sandbox.accepts_command(&dry, Some(&good))?;
    let dry_denial = denial(&sandbox.rejects_command(&dry, Some(&bad), &[])?.stderr);
    let denial = denial(&sandbox.rejects_command(&["apply"], Some(&bad), &[])?.stderr);
    ensure!(dry_denial == denial, "two messages for one verdict:\n{dry_denial}\n{denial}");
    Ok(())
}

fn init_container(sandbox: &Sandbox<'_>) -> Result<()> {
    let policy = sandbox.govern(&provenance_by(ISSUER, SUBJECT))?;
    let registry = &sandbox.stack().with_referrers;
    let mut object = pod("app", &push_attested(sandbox, registry)?.reference());
    let spec = object.pointer_mut("/spec").and_then(Value::as_object_mut).context("a Pod without a spec")?;
    let unsigned = push_unsigned(sandbox, registry)?.reference();
    spec.insert("initContainers".to_owned(), json!([{"name": "setup", "image": unsigned}]));
    sandbox.rejects(&object, &[policy.name(), "spec.initContainers[0].image", &unsigned])?;
    Ok(())
}

/// The denial itself: a dry run comes with warnings before it.
fn denial(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with("Warning: ")).collect::<Vec<_>>().join("\n")
}

fn changed(mut object: Value, pointer: &str, to: &str) -> Result<Value> {
    *object.pointer_mut(pointer).with_context(|| format!("no {pointer}"))? = json!(to);
    Ok(object)
}
