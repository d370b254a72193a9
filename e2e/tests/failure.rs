//! countersign itself: its probes, and what the API server does without it.

use anyhow::{Result, ensure};
use countersign_e2e::manifest::{Kind, pod};
use countersign_e2e::process::eventually;
use countersign_e2e::stack::Sandbox;
use std::time::Duration;

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("the probes and the metrics answer", Run::Admission(probes)),
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
