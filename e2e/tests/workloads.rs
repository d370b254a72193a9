//! Every kind of object from which Pods come, and the ways to bring a container into a Pod.

use anyhow::{Context, Result};
use countersign_e2e::cosign::Format;
use countersign_e2e::manifest::{Kind, pod, signed_by};
use countersign_e2e::registry::PushedImage;
use countersign_e2e::stack::{Policy, Sandbox};

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("a Deployment is judged, by digest and by tag", Run::Admission(deployment)),
    ("a CronJob is judged", Run::Admission(cron_job)),
    ("every other pod-bearing kind is judged", Run::Admission(every_kind)),
    ("an ephemeral container is judged when kubectl debug adds it", Run::Admission(ephemeral_container)),
    ("a Pod must name the digest", Run::Admission(pod_by_tag)),
];

struct Images<'s> {
    policy: Policy<'s>,
    signed: PushedImage,
    unsigned: PushedImage,
}

/// A signed image with the tag `signed`, an unsigned one with the tag `unsigned`, and the policy that tells them apart.
fn images<'s>(sandbox: &Sandbox<'s>) -> Result<Images<'s>> {
    let (stack, path) = (sandbox.stack(), sandbox.path("app"));
    let signed = stack.with_referrers.push_minimal(&path, &sandbox.path("signed"))?;
    let unsigned = stack.with_referrers.push_minimal(&path, &sandbox.path("unsigned"))?;
    stack.with_referrers.copy_tag(&path, &signed.digest, "signed")?;
    stack.with_referrers.copy_tag(&path, &unsigned.digest, "unsigned")?;
    stack.cosign.sign(&stack.key, &signed, Format::Bundle)?;
    let policy = sandbox.govern(&signed_by(&[("2026", &stack.key.public_pem)]))?;
    Ok(Images { policy, signed, unsigned })
}

fn by_tag(image: &PushedImage, tag: &str) -> String {
    format!("{}:{tag}", image.repository)
}

fn deployment(sandbox: &Sandbox<'_>) -> Result<()> {
    let images = images(sandbox)?;
    sandbox.accepts(&Kind::Deployment.object("by-digest", &images.signed.reference()))?;
    sandbox.accepts(&Kind::Deployment.object("by-tag", &by_tag(&images.signed, "signed")))?;
    let parts = [images.policy.name(), "spec.template.spec.containers[0].image", &images.unsigned.digest];
    sandbox.rejects(&Kind::Deployment.object("unsigned", &images.unsigned.reference()), &parts)?;
    sandbox.rejects(&Kind::Deployment.object("unsigned", &by_tag(&images.unsigned, "unsigned")), &parts)?;
    Ok(())
}

fn cron_job(sandbox: &Sandbox<'_>) -> Result<()> {
    let images = images(sandbox)?;
    sandbox.accepts(&Kind::CronJob.object("signed", &images.signed.reference()))?;
    let field = "spec.jobTemplate.spec.template.spec.containers[0].image";
    sandbox.rejects(&Kind::CronJob.object("unsigned", &images.unsigned.reference()), &[images.policy.name(), field])?;
    Ok(())
}

fn every_kind(sandbox: &Sandbox<'_>) -> Result<()> {
    let images = images(sandbox)?;
    for kind in Kind::ALL {
        sandbox.accepts(&kind.object("signed", &images.signed.reference())).with_context(|| format!("{kind:?}"))?;
        sandbox
            .rejects(
                &kind.object("unsigned", &images.unsigned.reference()),
                &[images.policy.name(), &images.unsigned.digest],
            )
            .with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

fn ephemeral_container(sandbox: &Sandbox<'_>) -> Result<()> {
    let images = images(sandbox)?;
    sandbox.accepts(&pod("app", &images.signed.reference()))?;
    let debug = |container: &str, image: &PushedImage| {
        let image = format!("--image={}", image.reference());
        ["debug", "pod/app", "--attach=false", &image, "--container", container].map(str::to_owned)
    };
    let signed = debug("signed", &images.signed);
    sandbox.accepts_command(&signed.each_ref().map(String::as_str), None)?;
    let unsigned = debug("unsigned", &images.unsigned);
    let parts = [images.policy.name(), "spec.ephemeralContainers[1].image", &images.unsigned.digest];
    sandbox.rejects_command(&unsigned.each_ref().map(String::as_str), None, &parts)?;
    Ok(())
}

fn pod_by_tag(sandbox: &Sandbox<'_>) -> Result<()> {
    let images = images(sandbox)?;
    sandbox.rejects(&pod("by-tag", &by_tag(&images.signed, "signed")), &["[NotPinned]", &images.signed.digest])?;
    let pinned = format!("{}@{}", by_tag(&images.signed, "signed"), images.signed.digest);
    sandbox.accepts(&pod("by-tag-and-digest", &pinned))?;
    Ok(())
}
