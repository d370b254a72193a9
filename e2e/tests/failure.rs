//! countersign itself: its probes, and what the API server does without it.

use anyhow::{Result, ensure};
use countersign_e2e::countersign::INSTANCE_LABEL;
use countersign_e2e::manifest::{ISSUER, Kind, SUBJECT, pod, provenance_by};
use countersign_e2e::process::eventually;
use countersign_e2e::stack::Sandbox;
use serde_json::json;
use std::time::Duration;

use crate::keyless::{push_attested, push_unsigned};
use crate::proofs::with;
use crate::{Case, Run, say};

pub(crate) const CASES: &[Case] = &[
    ("the probes and the metrics answer", Run::Admission(probes)),
    ("without a network it is ready with the embedded roots", Run::Admission(offline)),
    ("a trust root that is missing leaves open what names it, and nothing else", Run::Admission(missing_root)),
    ("with the webhook down and failurePolicy Fail everything is refused", Run::Admission(webhook_down)),
];

fn probes(sandbox: &Sandbox<'_>) -> Result<()> {
    let countersign = sandbox.stack().countersign()?;
    countersign.probe("/livez")?;
    countersign.probe("/readyz")?;
    let metrics = countersign.probe("/metrics")?;
    ensure!(metrics.lines().any(|line| line.starts_with("# TYPE countersign_")), "no metric of ours:\n{metrics}");
    Ok(())
}

/// Nothing is asked for the embedded roots. The time is printed; it has no limit here.
fn offline(sandbox: &Sandbox<'_>) -> Result<()> {
    let instance = sandbox.stack().start_offline_instance("offline")?;
    say(&format!("ready {:.0} ms after its start", instance.ready_after().as_secs_f64() * 1e3));
    let sandbox = sandbox.with_instance("offline")?;
    let registry = &sandbox.stack().with_referrers;
    let _policy = sandbox.govern(&provenance_by(ISSUER, SUBJECT))?;
    let unsigned = push_unsigned(&sandbox, registry)?;
    sandbox.rejects(&pod("unsigned", &unsigned.reference()), &["[NoSignature]"])?;
    sandbox.accepts(&pod("attested", &push_attested(&sandbox, registry)?.reference()))?;
    Ok(())
}

/// The replica starts and is ready with a policy that names a root which is not there.
fn missing_root(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let registry = &stack.with_referrers;
    let [named, other] = ["named", "other"].map(|name| sandbox.labelled(name, &json!({})));
    let (named, other) = (named?, other?);
    let image = push_attested(sandbox, registry)?;
    let images = [sandbox.pattern(registry)];
    let authorities = with(&provenance_by(ISSUER, SUBJECT), "/0/keyless", "trustRoot", &json!("nowhere"))?;
    let policy = named.govern_images(&images, &authorities)?;
    let _other = other.govern_images(&images, &provenance_by(ISSUER, SUBJECT))?;
    let instance = stack.start_instance("rootless", "Allow", &[])?;
    instance.probe("/readyz")?;
    // From now on it is that instance that judges both.
    for place in [&named, &other] {
        let label = format!("{INSTANCE_LABEL}=rootless");
        stack.cluster.kubectl().accepts(&["label", "namespace", place.name(), &label], None)?;
    }
    let parts = [policy.name(), "could not be judged", "nowhere", "[TrustRootUnknown]"];
    named.rejects(&pod("app", &image.reference()), &parts)?;
    other.accepts(&pod("app", &image.reference()))?;
    Ok(())
}

fn webhook_down(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let instance = stack.start_instance("down", "Allow", &[])?;
    let down = sandbox.with_instance("down")?;
    let image = stack.with_referrers.push_minimal(&down.path("app"), &down.path("any"))?.reference();
    down.accepts(&pod("before", &image))?;
    instance.stop();
    let called = eventually("the API server does not ask the webhook", Duration::from_secs(15), || {
        let outcome = down.run(&["create", "--dry-run=server"], Some(&pod("app", &image)))?;
        Ok((!outcome.status.success()).then_some(outcome))
    })?;
    ensure!(called.stderr.contains("failed calling webhook"), "another refusal: {}", called.unexpected());
    for object in [pod("after", &image), Kind::Deployment.object("after", &image)] {
        let outcome = down.run(&["create"], Some(&object))?;
        ensure!(!outcome.status.success(), "admitted with the webhook down: {}", outcome.unexpected());
    }
    Ok(())
}
