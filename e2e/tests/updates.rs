//! Objects that are older than the policy: they may be scaled, paused, annotated and ended, but not given another unsigned image.

use anyhow::Result;
use countersign_e2e::cosign::Format;
use countersign_e2e::manifest::{Kind, pod, signed_by};
use countersign_e2e::registry::PushedImage;
use countersign_e2e::stack::{Policy, Sandbox};
use serde_json::Value;

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("an older Deployment is scaled and annotated freely, an image change is judged", Run::Admission(deployment)),
    ("an older Pod is labelled and deleted freely, an image change is judged", Run::Admission(pods)),
];

struct Images {
    old: PushedImage,
    unsigned: PushedImage,
    signed: PushedImage,
}

/// Makes the object with an unsigned image, and then the policy.
fn older<'s>(sandbox: &Sandbox<'s>, object: impl Fn(&str) -> Value) -> Result<(Images, Policy<'s>)> {
    let stack = sandbox.stack();
    let push = |name: &str| stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path(name));
    let images = Images { old: push("old")?, unsigned: push("unsigned")?, signed: push("signed")? };
    stack.cosign.sign(&stack.key, &images.signed, Format::Bundle)?;
    sandbox.accepts(&object(&images.old.reference()))?;
    let policy = sandbox.govern(&signed_by(&[("2026", &stack.key.public_pem)]))?;
    Ok((images, policy))
}

fn deployment(sandbox: &Sandbox<'_>) -> Result<()> {
    let (images, policy) = older(sandbox, |image| Kind::Deployment.object("app", image))?;
    sandbox.accepts_command(&["scale", "deployment/app", "--replicas=3"], None)?;
    sandbox.accepts_command(&["patch", "deployment/app", "--patch", r#"{"spec": {"replicas": 2}}"#], None)?;
    sandbox.accepts_command(&["rollout", "pause", "deployment/app"], None)?;
    sandbox.accepts_command(&["annotate", "deployment/app", "note=checked"], None)?;
    let set = |image: &PushedImage| format!("main={}", image.reference());
    let parts = [policy.name(), "spec.template.spec.containers[0].image", &images.unsigned.digest];
    sandbox.rejects_command(&["set", "image", "deployment/app", &set(&images.unsigned)], None, &parts)?;
    sandbox.accepts_command(&["set", "image", "deployment/app", &set(&images.signed)], None)?;
    sandbox.rejects_command(
        &["set", "image", "deployment/app", &set(&images.old)],
        None,
        &[policy.name(), &images.old.digest],
    )?;
    Ok(())
}

fn pods(sandbox: &Sandbox<'_>) -> Result<()> {
    let (images, policy) = older(sandbox, |image| pod("app", image))?;
    sandbox.accepts_command(&["label", "pod/app", "checked=yes"], None)?;
    let set = |image: &PushedImage| format!("main={}", image.reference());
    let parts = [policy.name(), "spec.containers[0].image", &images.unsigned.digest];
    sandbox.rejects_command(&["set", "image", "pod/app", &set(&images.unsigned)], None, &parts)?;
    sandbox.accepts_command(&["delete", "pod/app", "--wait=false"], None)?;
    Ok(())
}
