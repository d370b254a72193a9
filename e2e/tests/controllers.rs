//! What the controllers keep, tell and refuse: our own kinds at admission, status and Events, the Lease, revocations, trust roots.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use countersign_e2e::cosign::Format;
use countersign_e2e::countersign::{CONFIGURATION_WEBHOOK_NAME, JUDGED_LABEL};
use countersign_e2e::kubectl::Kubectl;
use countersign_e2e::manifest::{self, pod, signed_by};
use countersign_e2e::process::eventually;
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    (
        "our own kinds are refused in the parser's words, and never kept from being deleted",
        Run::Admission(configuration),
    ),
    ("a policy tells whether it can be judged by", Run::Admission(status)),
    ("the Lease moves when its holder ends, and when it dies", Run::Alone(lease)),
    ("a revoked digest is denied within a second, whoever governs it", Run::Admission(revoked)),
    ("what a revoked index holds is denied by itself too", Run::Admission(revoked_index)),
    ("a broken trust root keeps nobody from being ready", Run::Admission(broken_root)),
];

/// A hang guard; what is awaited takes a second, or a Lease of 15 s.
const LIMIT: Duration = Duration::from_mins(1);

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The object with another value in its spec.
fn with(mut object: Value, field: &str, value: Value) -> Result<Value> {
    let spec = object.get_mut("spec").and_then(Value::as_object_mut).context("an object without a spec")?;
    spec.insert(field.to_owned(), value);
    Ok(object)
}

fn judged(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata") {
        metadata.as_object_mut().map(|metadata| metadata.insert("labels".to_owned(), json!({JUDGED_LABEL: "true"})));
    }
    object
}

/// Reads an object back.
fn get(kubectl: &Kubectl, kind: &str, name: &str) -> Result<Value> {
    let outcome = kubectl.accepts(&["get", kind, name, "--output=json"], None)?;
    serde_json::from_str(&outcome.stdout).context("kubectl's JSON")
}

/// Truth, reason and message of a condition, and the generation that it is about.
fn condition(object: &Value, kind: &str) -> Option<(String, String, String, i64)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?;
    let text = |field: &str| found.get(field).and_then(Value::as_str).map(str::to_owned);
    Some((text("status")?, text("reason")?, text("message")?, found.get("observedGeneration")?.as_i64()?))
}

/// Waits until an object is ready, or not, for this reason; the message.
fn eventually_ready(kubectl: &Kubectl, kind: &str, name: &str, reason: &str) -> Result<String> {
    let mut last = Value::Null;
    let found = eventually("the status does not say it", LIMIT, || {
        last = get(kubectl, kind, name)?;
        let generation = last.pointer("/metadata/generation").and_then(Value::as_i64);
        let observed = last.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let ready = condition(&last, "Ready");
        Ok(ready.filter(|ready| ready.1 == reason && observed == generation && Some(ready.3) == generation))
    });
    found
        .map(|ready| ready.2)
        .with_context(|| format!("{kind} {name}, {reason}: {:#}", last.get("status").unwrap_or(&Value::Null)))
}

fn configuration(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    stack.countersign()?.register_configuration(kubectl)?;
    let key = signed_by(&[("2026", &stack.key.public_pem)]);
    let policy =
        |images: &str| object("ClusterSignaturePolicy", "e2e-judged", &json!({"images": [images], "authorities": key}));
    let revocation = |digests: &[&str]| {
        let artifacts: Vec<Value> = digests.iter().map(|digest| json!({"digest": digest})).collect();
        object("SignatureRevocation", "e2e-judged", &json!({"reason": "leaked", "artifacts": artifacts}))
    };
    let root = |text: &str| object("SignatureTrustRoot", "e2e-judged", &json!({"trustedRoot": text}));
    let good = format!("sha256:{}", "a".repeat(64));
    let denial = format!("admission webhook \"{CONFIGURATION_WEBHOOK_NAME}\" denied the request: ");
    // A webhook configuration takes a moment to be heard of.
    eventually("the webhook is not asked", LIMIT, || {
        let outcome = kubectl.run_on(&["create", "--dry-run=server"], Some(&judged(revocation(&["sha256:beef"]))))?;
        Ok(outcome.stderr.contains(&denial).then_some(()))
    })?;
    for (object, parts) in [
        (policy("127.0.0.1/app:tag"), &["spec.images[0]", "[PolicyInvalid]"][..]),
        (revocation(&["sha256:beef"]), &["spec.artifacts[0]", "beef", "[RevocationInvalid]"]),
        (root("{}"), &["spec.trustedRoot", "[TrustRootInvalid]"]),
        (object("SignatureTrustRoot", "staging", &json!({"publicGood": {}})), &["staging", "publicGood"]),
        (object("CountersignConfig", "cluster", &json!({"typo": 1})), &["typo", "[ConfigInvalid]"]),
    ] {
        let outcome = kubectl.run_on(&["create", "--validate=false"], Some(&judged(object)))?;
        ensure!(!outcome.status.success() && outcome.stderr.contains(&denial), "{}", outcome.unexpected());
        for part in parts {
            ensure!(outcome.stderr.contains(part), "the message lacks {part:?}: {}", outcome.unexpected());
        }
    }
    // One valid entry is enough, and the other is told.
    let outcome = kubectl.accepts(&["create"], Some(&judged(revocation(&["sha256:beef", &good]))))?;
    ensure!(outcome.stderr.contains("Warning: spec.artifacts[0]"), "{}", outcome.unexpected());
    kubectl.accepts(&["delete", "signaturerevocation", "e2e-judged"], None)?;
    // What was stored before there was a webhook can be labelled, which changes no spec, and deleted, but not changed for the worse.
    kubectl.accepts(&["create"], Some(&policy("127.0.0.1/e2e-judged/app:tag")))?;
    let label = format!("{JUDGED_LABEL}=true");
    let outcome = kubectl.accepts(&["label", "csp", "e2e-judged", &label], None)?;
    ensure!(outcome.stderr.contains("[PolicyInvalid]"), "no warning: {}", outcome.unexpected());
    let outcome = kubectl.run_on(&["apply"], Some(&judged(policy("127.0.0.1/e2e-judged/app:other"))))?;
    ensure!(!outcome.status.success() && outcome.stderr.contains(&denial), "{}", outcome.unexpected());
    kubectl.accepts(&["delete", "csp", "e2e-judged"], None)?;
    let warned = policy_with_root("e2e-judged", "e2e-nowhere");
    let outcome = kubectl.accepts(&["create", "--dry-run=server"], Some(&judged(warned)))?;
    ensure!(outcome.stderr.contains("[ReferenceNotFound]"), "no warning: {}", outcome.unexpected());
    Ok(())
}

/// A policy that needs a trust root, and governs nothing that there is.
fn policy_with_root(name: &str, root: &str) -> Value {
    let identity = json!({"issuer": {"exact": manifest::ISSUER}, "subject": {"exact": manifest::SUBJECT}});
    let authorities = json!([{"name": "a", "keyless": {"trustRoot": root, "identities": [identity]}}]);
    object(
        "ClusterSignaturePolicy",
        name,
        &json!({"images": [format!("127.0.0.1/{name}/**")], "authorities": authorities}),
    )
}

fn status(sandbox: &Sandbox<'_>) -> Result<()> {
    let kubectl = sandbox.stack().cluster.kubectl();
    let name = "e2e-status";
    kubectl.accepts(&["create"], Some(&policy_with_root(name, name)))?;
    let message = eventually_ready(kubectl, "csp", name, "ReferenceNotFound")?;
    ensure!(message.contains(name), "{message}");
    // The event of it, on the object.
    eventually("no Event tells it", LIMIT, || {
        let outcome =
            kubectl.accepts(&["get", "events.events.k8s.io", "--namespace=default", "--output=json"], None)?;
        let events: Value = serde_json::from_str(&outcome.stdout)?;
        let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let is_told = |event: &Value| {
            text(event, "/regarding/name").as_deref() == Some(name)
                && text(event, "/reason").as_deref() == Some("ReferenceNotFound")
                && text(event, "/type").as_deref() == Some("Warning")
        };
        let events = events.get("items").and_then(Value::as_array);
        Ok(events.is_some_and(|events| events.iter().any(is_told)).then_some(()))
    })?;
    let root = include_str!("../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
    kubectl.accepts(&["create"], Some(&object("SignatureTrustRoot", name, &json!({"trustedRoot": root}))))?;
    eventually_ready(kubectl, "str", name, "Usable")?;
    ensure!(get(kubectl, "str", name)?.pointer("/status/digest").is_some(), "no digest");
    eventually_ready(kubectl, "csp", name, "Accepted")?;
    // Another generation is told of as such.
    let changed = with(policy_with_root(name, name), "action", json!("Warn"))?;
    kubectl.accepts(&["apply"], Some(&changed))?;
    eventually_ready(kubectl, "csp", name, "Accepted")?;
    ensure!(get(kubectl, "csp", name)?.pointer("/status/observedGeneration") == Some(&json!(2)), "one generation");
    kubectl.accepts(&["delete", "str", name], None)?;
    eventually_ready(kubectl, "csp", name, "ReferenceNotFound")?;
    kubectl.accepts(&["delete", "csp", name], None).map(drop)
}

fn lease(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let namespace = "e2e-lease";
    stack.create_own_namespace(namespace)?;
    let holder = || -> Result<String> {
        let arguments =
            ["get", "lease", "countersign", "--namespace", namespace, "--output=jsonpath={.spec.holderIdentity}"];
        Ok(stack.cluster.kubectl().run(&arguments, "")?.stdout)
    };
    let eventually_held = |by: &str| {
        let start = Instant::now();
        let held = eventually("the Lease does not move", LIMIT, || Ok((holder()? == by).then_some(())));
        held.map(|()| start.elapsed().as_secs_f64())
    };
    let leads = |instance: &countersign_e2e::countersign::Countersign| -> Result<bool> {
        Ok(instance.probe("/metrics")?.lines().any(|line| line == "countersign_leads 1"))
    };
    let first = stack.start_within(namespace, "lease-a", &[])?;
    eventually_held(first.name())?;
    let second = stack.start_within(namespace, "lease-b", &[])?;
    ensure!(holder()? == first.name() && !leads(&second)?, "{} took the Lease of {}", holder()?, first.name());
    // It gives the Lease back.
    first.stop();
    let given = eventually_held(second.name())?;
    let third = stack.start_within(namespace, "lease-c", &[])?;
    second.kill()?;
    let died = eventually_held(third.name())?;
    eventually("the new holder does not know it", LIMIT, || Ok(leads(&third)?.then_some(())))?;
    crate::say(&format!("the Lease moved {given:.1} s after its holder ended, {died:.1} s after the next one died"));
    Ok(())
}

fn revoked(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("revoked"))?;
    stack.cosign.sign(&stack.key, &image, Format::Bundle)?;
    let policy = sandbox.govern(&signed_by(&[("2026", &stack.key.public_pem)]))?;
    let ungoverned = sandbox.labelled("ungoverned", &json!({}))?;
    let digest = image.digest.as_str();
    let by_digest = pod("app", &image.reference());
    sandbox.eventually_admitted(&by_digest)?;
    let revocation = object(
        "SignatureRevocation",
        "e2e-revoked",
        &json!({"reason": "the builder was compromised",
        "artifacts": [{"digest": digest}, {"digest": "sha256:beef"}]}),
    );
    kubectl.accepts(&["create"], Some(&revocation))?;
    let start = Instant::now();
    sandbox.eventually_denied(&by_digest, &["[Revoked]", "e2e-revoked", "the builder was compromised"])?;
    let took = start.elapsed();
    crate::say(&format!("a revocation was created {:.2} s before the first denial", took.as_secs_f64()));
    ensure!(took < Duration::from_secs(10), "it took {took:?}");
    let tag = stack.with_referrers.copy_tag(&sandbox.path("app"), digest, "v1")?;
    ensure!(tag.digest == digest, "another digest");
    let tagged = pod("tagged", &format!("{}:v1", image.repository));
    sandbox.rejects(&tagged, &["[Revoked]"])?;
    policy.delete();
    ungoverned.eventually_denied(&by_digest, &["[Revoked]"])?;
    ungoverned.rejects(&tagged, &["[Revoked]"])?;
    let message = eventually_ready(kubectl, "srev", "e2e-revoked", "RevocationInvalid")?;
    ensure!(message.contains("spec.artifacts[1]"), "{message}");
    kubectl.accepts(&["delete", "srev", "e2e-revoked"], None)?;
    ungoverned.eventually_admitted(&by_digest)
}

fn revoked_index(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    let (registry, path) = (&stack.with_referrers, sandbox.path("app"));
    let child = registry.push_minimal(&path, &sandbox.path("child"))?;
    let other = registry.push_minimal(&path, &sandbox.path("other"))?;
    let (media_type, bytes) = registry.manifest(&path, &child.digest)?;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": media_type, "digest": child.digest, "size": bytes.len(),
            "platform": {"os": "linux", "architecture": "amd64"}}],
    });
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = registry.push_manifest(&path, None, media_type, index.to_string().as_bytes())?;
    let revocation = object(
        "SignatureRevocation",
        "e2e-index",
        &json!({"reason": "leaked", "artifacts": [{"digest": index.digest}]}),
    );
    kubectl.accepts(&["create"], Some(&revocation))?;
    sandbox.eventually_denied(&pod("app", &index.reference()), &["[Revoked]"])?;
    // The denial told where the index is.
    sandbox.eventually_denied(&pod("app", &child.reference()), &["[Revoked]", "e2e-index"])?;
    sandbox.accepts(&pod("other", &other.reference()))?;
    let found = get(kubectl, "srev", "e2e-index")?;
    let descendants = found.pointer("/status/descendants").cloned().unwrap_or_default();
    ensure!(descendants == json!([child.digest]), "{descendants}");
    let expanding = eventually("it is expanding for ever", LIMIT, || {
        let found = condition(&get(kubectl, "srev", "e2e-index")?, "Expanding");
        Ok(found.filter(|found| found.0 == "False"))
    })?;
    ensure!(expanding.1 == "Expanded", "{}", expanding.2);
    kubectl.accepts(&["delete", "srev", "e2e-index"], None)?;
    sandbox.eventually_admitted(&pod("app", &child.reference()))
}

fn broken_root(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    let name = "e2e-broken-root";
    kubectl.accepts(&["create"], Some(&object("SignatureTrustRoot", name, &json!({"trustedRoot": "{}"}))))?;
    let message = eventually_ready(kubectl, "str", name, "TrustRootInvalid")?;
    ensure!(message.contains("spec.trustedRoot"), "{message}");
    // One that starts with it in the way.
    let instance = stack.start_instance("broken-root", "Allow", &[])?;
    let started = sandbox.with_instance("broken-root")?;
    instance.probe("/readyz")?;
    let good = stack.with_referrers.push_minimal(&started.path("good"), &started.path("good"))?;
    stack.cosign.sign(&stack.key, &good, Format::Bundle)?;
    let bad = stack.without_referrers.push_minimal(&started.path("bad"), &started.path("bad"))?;
    let _good = started
        .govern_images(&[started.pattern(&stack.with_referrers)], &signed_by(&[("2026", &stack.key.public_pem)]))?;
    started.accepts(&pod("good", &good.reference()))?;
    let images = json!([started.pattern(&stack.without_referrers)]);
    let policy = with(policy_with_root("e2e-broken-root", name), "images", images)?;
    kubectl.accepts(&["create"], Some(&policy))?;
    started.eventually_denied(&pod("bad", &bad.reference()), &["[TrustRootUnavailable]", name])?;
    started.accepts(&pod("good-again", &good.reference()))?;
    instance.probe("/readyz")?;
    kubectl.accepts(&["delete", "csp/e2e-broken-root", &format!("str/{name}")], None).map(drop)
}
