//! Our own objects on their way into the cluster: what means nothing is refused, in words that say where, and nothing stored is ever stuck.
//!
//! Beside each object that is refused stands one that is taken, with one thing changed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign_e2e::api::Answer;
use countersign_e2e::certificate::Authority;
use countersign_e2e::countersign::{CONFIGURATION_WEBHOOK_NAME, JUDGED_LABEL};
use countersign_e2e::manifest::{signed_by, signed_keyless};
use countersign_e2e::process::eventually;
use countersign_e2e::resource::{OwnKind, Resource};
use countersign_e2e::stack::Sandbox;
use countersign_e2e::tuf::{TRUSTED_ROOT, TufRepository};
use serde_json::{Value, json};

use crate::proofs::with;
use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("a policy that means nothing is refused, and says where", Run::Admission(policies)),
    ("a trust root that cannot be used is refused, and says where", Run::Admission(trust_roots)),
    ("a revocation is refused only if nothing of it can act", Run::Admission(revocations)),
    ("what refers to a trust root that is not there is taken with a warning", Run::Admission(references)),
];

const POLICIES: &str = "/apis/policy.countersign.dev/v1alpha1/clustersignaturepolicies";

/// What would become of an object, fields that the schema does not know included.
fn try_create(sandbox: &Sandbox<'_>, path: &str, object: &Value) -> Result<Answer> {
    let object = &with(object, "/metadata", "labels", &json!({JUDGED_LABEL: "true"}))?;
    sandbox.stack().cluster.api().post(&format!("{path}?dryRun=All&fieldValidation=Ignore"), object)
}

fn taken(sandbox: &Sandbox<'_>, path: &str, object: &Value) -> Result<Vec<String>> {
    match try_create(sandbox, path, object)? {
        Answer::Admitted(warnings) => Ok(warnings),
        answer => anyhow::bail!("{answer:?}: {object}"),
    }
}

fn refused(sandbox: &Sandbox<'_>, path: &str, object: &Value, parts: &[&str]) -> Result<()> {
    match try_create(sandbox, path, object)? {
        Answer::Refused(message) if parts.iter().all(|part| message.contains(part)) => Ok(()),
        answer => anyhow::bail!("not refused with {parts:?}: {answer:?}: {object}"),
    }
}

/// Has the API server ask about our own objects, and waits until it does.
fn ask(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    stack.countersign()?.register_configuration(stack.cluster.kubectl())?;
    let typo = with(
        &sandbox.policy(&["127.0.0.1/**".to_owned()], &signed_by(&[("k", &stack.key.public_pem)])),
        "/spec",
        "typo",
        &json!(1),
    )?;
    eventually("the API server does not ask the webhook", Duration::from_secs(15), || {
        let answer = try_create(sandbox, POLICIES, &typo)?;
        Ok(matches!(answer, Answer::Refused(message) if message.contains(CONFIGURATION_WEBHOOK_NAME)).then_some(()))
    })
}

fn policies(sandbox: &Sandbox<'_>) -> Result<()> {
    ask(sandbox)?;
    let key = sandbox.stack().key.public_pem.as_str();
    let good = sandbox.policy(&["127.0.0.1/**".to_owned()], &signed_by(&[("2026", key)]));
    ensure!(taken(sandbox, POLICIES, &good)?.is_empty(), "a warning");
    let keyless = sandbox.policy(
        &["127.0.0.1/**".to_owned()],
        &signed_keyless("public-good", "https://accounts.example", "alice@acme.test"),
    );
    ensure!(taken(sandbox, POLICIES, &keyless)?.is_empty(), "a warning");
    let subject = "/spec/authorities/0/keyless/identities/0/subject";
    let bad = [
        (with(&good, "/spec", "requier", &json!({}))?, "requier"),
        (with(&good, "/spec", "images", &json!(["127.0.0.1/app:v1"]))?, "spec.images[0]"),
        (
            with(&good, "/spec/authorities/0/keys/0", "pem", &json!("-----BEGIN PUBLIC KEY-----"))?,
            "spec.authorities[0]",
        ),
        (
            with(&keyless, subject, "exact", &Value::Null).and_then(|it| with(&it, subject, "regex", &json!("(")))?,
            "subject",
        ),
    ];
    for (object, part) in &bad {
        refused(sandbox, POLICIES, object, &[part, "[PolicyInvalid]"])?;
    }
    Ok(())
}

fn trust_roots(sandbox: &Sandbox<'_>) -> Result<()> {
    ask(sandbox)?;
    let (sigstore, _) = sandbox.with_sigstore()?;
    let (path, kind) = (OwnKind::TrustRoot.path(), OwnKind::TrustRoot);
    let trusted_root = sigstore.private.services().read_trusted_root()?;
    let stack = sandbox.stack();
    let repository = TufRepository::create(stack.tools(), &stack.new_folder()?, &trusted_root)?;
    let (tuf, fixed) = (repository.mirror().spec()?, json!({"trustedRoot": trusted_root.to_string()}));
    let object = |spec: &Value| kind.object(sandbox.name(), spec);
    for spec in [&tuf, &fixed, &with(&with(&tuf, "", "maxAge", &json!("72h"))?, "", "refreshInterval", &json!("1h"))?] {
        ensure!(taken(sandbox, &path, &object(spec))?.is_empty(), "a warning");
    }
    let root: Value = serde_json::from_str(&repository.mirror().first_root()?)?;
    let inline = |root: &Value| with(&tuf, "/tuf/root", "inline", &json!(root.to_string()));
    let signatures = root.get("signatures").and_then(Value::as_array).context("no signatures")?;
    let mut other = root.clone();
    *other.pointer_mut("/signed/version").context("no version")? = json!(7);
    let bad = [
        // One of two signatures, a changed root, no root at all.
        (inline(&with(&root, "", "signatures", &json!(signatures.get(..1)))?)?, "spec.tuf.root"),
        (inline(&other)?, "spec.tuf.root"),
        (inline(&json!({}))?, "spec.tuf.root"),
        (with(&tuf, "/tuf/root", "inline", &json!("no JSON"))?, "spec.tuf.root"),
        (with(&tuf, "/tuf", "mirror", &json!("https://user:password@mirror.example"))?, "spec.tuf.mirror"),
        (with(&tuf, "/tuf", "target", &json!(format!("../{TRUSTED_ROOT}")))?, "spec.tuf.target"),
        (
            with(&tuf, "", "maxAge", &json!("59m")).and_then(|it| with(&it, "", "refreshInterval", &json!("1h")))?,
            "spec.maxAge",
        ),
        (with(&tuf, "", "ca", &json!("no PEM"))?, "spec.ca"),
        (with(&tuf, "", "ca", &json!(Authority::new("a")?.certificate().replace('M', "N")))?, "spec.ca"),
        (with(&tuf, "", "maxage", &json!("1h"))?, "maxage"),
        (json!({"trustedRoot": "{}"}), "spec.trustedRoot"),
        (
            json!({"trustedRoot": trusted_root.to_string().replacen("rawBytes\":\"M", "rawBytes\":\"N", 1)}),
            "spec.trustedRoot",
        ),
    ];
    for (spec, part) in &bad {
        refused(sandbox, &path, &object(spec), &[part, "[TrustRootInvalid]"])?;
    }
    // Names of instances whose roots are compiled in are theirs.
    refused(sandbox, &path, &kind.object("staging", &tuf), &["staging", "[TrustRootInvalid]"])?;
    refused(sandbox, &path, &object(&json!({"staging": {}})), &["staging", "[TrustRootInvalid]"])?;
    taken(sandbox, &path, &kind.object("staging", &json!({"staging": {}})))?;
    // By the schema already.
    for spec in [json!({}), with(&tuf, "", "trustedRoot", &json!("{}"))?] {
        refused(sandbox, &path, &object(&spec), &["exactly one of"])?;
    }
    Ok(())
}

fn revocations(sandbox: &Sandbox<'_>) -> Result<()> {
    ask(sandbox)?;
    let (path, kind) = (OwnKind::Revocation.path(), OwnKind::Revocation);
    let object =
        |spec: &Value| kind.object(sandbox.name(), &with(spec, "", "reason", &json!("stolen")).unwrap_or_default());
    let (good, bad) = (format!("sha256:{}", "ab".repeat(32)), "sha256:beef");
    let artifacts = |digests: &[&str]| {
        let entries: Vec<_> = digests.iter().map(|digest| json!({"digest": digest})).collect();
        json!({"artifacts": entries})
    };
    ensure!(taken(sandbox, &path, &object(&artifacts(&[&good])))?.is_empty(), "a warning");
    let window = |after: &str, before: &str| json!({"identities": [{"subject": {"exact": "a@b.c"}, "signedAfter": after, "signedBefore": before}]});
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    ensure!(taken(sandbox, &path, &object(&window(first, second)))?.is_empty(), "a warning");
    refused(sandbox, &path, &object(&window(second, first)), &["spec.identities[0]", "[RevocationInvalid]"])?;
    refused(sandbox, &path, &object(&artifacts(&[bad])), &["spec.artifacts[0]", "[RevocationInvalid]"])?;
    let half = taken(sandbox, &path, &object(&artifacts(&[&good, bad])))?;
    ensure!(half.iter().any(|warning| warning.contains("spec.artifacts[1]")), "{half:?}");
    let typo = taken(sandbox, &path, &object(&with(&artifacts(&[&good]), "", "suspend", &json!(true))?))?;
    ensure!(typo.iter().any(|warning| warning.contains("spec.suspend")), "{typo:?}");
    Ok(())
}

fn references(sandbox: &Sandbox<'_>) -> Result<()> {
    ask(sandbox)?;
    let stack = sandbox.stack();
    let name = sandbox.name();
    let authorities = signed_keyless(name, "https://accounts.example", "alice@acme.test");
    let policy = sandbox.policy(&["127.0.0.1/**".to_owned()], &authorities);
    let warnings = taken(sandbox, POLICIES, &policy)?;
    ensure!(warnings.iter().any(|it| it.contains("[ReferenceNotFound]") && it.contains(name)), "{warnings:?}");
    let trusted_root = sandbox.with_sigstore()?.0.private.services().read_trusted_root()?;
    let spec = json!({"trustedRoot": trusted_root.to_string()});
    let root = Resource::create(&stack.cluster, OwnKind::TrustRoot, name, &spec)?;
    root.eventually("Ready", "True", &[])?;
    ensure!(taken(sandbox, POLICIES, &policy)?.is_empty(), "a warning");
    Ok(())
}
