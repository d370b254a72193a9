//! A log that signs two histories with its one key: found in evidence that verifies, told once, and not again after a restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign_e2e::countersign::{Countersign, INSTANCE_LABEL};
use countersign_e2e::manifest::pod;
use countersign_e2e::process::eventually;
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::private_sigstore::{ALICE, by, push, push_signed, sign};
use crate::{Case, Run};

pub(crate) const CASES: &[Case] =
    &[("a log that shows two histories under its own key is told of once, over a restart too", Run::Alone(fork))];

/// A hang guard; what is awaited takes some seconds.
const LIMIT: Duration = Duration::from_mins(1);
/// The trust root of this case: the private instance's, alone.
const ROOT: &str = "watched";
/// Where the instances of this case keep what they remember.
const NAMESPACE: &str = "e2e-monitor";

/// How many trees stand so, as an instance sees it.
fn trees(instance: &Countersign, state: &str) -> Result<u64> {
    let name = format!("countersign_log_trees{{state=\"{state}\"}} ");
    let metrics = instance.probe("/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(Ok(0), |number| number.parse().context("a figure"))
}

fn fork(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, _) = sandbox.with_sigstore()?;
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    let told = || -> Result<Vec<Value>> {
        let outcome =
            kubectl.accepts(&["get", "events.events.k8s.io", "--namespace=default", "--output=json"], None)?;
        let events: Value = serde_json::from_str(&outcome.stdout)?;
        let events = events.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(events.into_iter().filter(|event| event.get("reason") == Some(&json!("LogForked"))).collect())
    };
    stack.create_own_namespace(NAMESPACE)?;
    stack.let_suggest()?;
    let root = format!("{ROOT}={}", sigstore.private.services().trusted_root.display());
    let arguments = ["--trust-root", &root, "--monitor-logs", "--monitor-interval", "1"];
    // By one name, so that the webhook of the first is that of the second.
    let start = || -> Result<Countersign> {
        let instance = stack.start_within(NAMESPACE, "monitor", &arguments)?;
        instance.register(kubectl, &json!({"matchLabels": {INSTANCE_LABEL: "monitor"}}))?;
        Ok(instance)
    };
    let first = start()?;
    let judged = sandbox.with_instance("monitor")?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let registry = &stack.with_referrers;
    let images = [(); 2].map(|()| push_signed(&judged, registry, sigstore.private.services(), &identity));
    let [honest, another] = images;
    let (honest, _another) = (honest?, another?);
    let _policy = judged.govern(&by(ROOT, &identity))?;
    judged.accepts(&pod("honest", &honest.reference()))?;
    eventually("the log is not watched", LIMIT, || Ok((trees(&first, "Consistent")? == 1).then_some(())))?;
    ensure!(told()?.is_empty() && trees(&first, "Forked")? == 0, "an alarm without a fire");

    let other_history = stack.fork_private_log()?;
    let forked = push(&judged, registry, "forked")?;
    sign(&judged, other_history.services(), &identity, &forked)?;
    // It is by the log's key, and so it counts: which history is the log's, no single signature tells.
    judged.accepts(&pod("forked", &forked.reference()))?;
    eventually("nobody is told", LIMIT, || Ok((told()?.len() == 1).then_some(())))?;
    ensure!(trees(&first, "Forked")? == 1, "no metric tells it");
    let suggested = eventually("nothing is suggested", LIMIT, || {
        let outcome = kubectl.accepts(&["get", "signaturerevocations", "--output=json"], None)?;
        let list: Value = serde_json::from_str(&outcome.stdout)?;
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |item: &Value| item.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        Ok(items.into_iter().find(|item| name(item).is_some_and(|name| name.starts_with("suggested-log-"))))
    })?;
    ensure!(suggested.pointer("/spec/suspended") == Some(&json!(true)), "it acts: {suggested}");
    ensure!(suggested.pointer("/spec/services/0/log").is_some(), "it names no log: {suggested}");
    judged.accepts(&pod("still-judged", &honest.reference()))?;

    first.stop();
    let second = start()?;
    eventually("the fork is forgotten", LIMIT, || Ok((trees(&second, "Forked")? == 1).then_some(())))?;
    let again = pod("forked-again", &forked.reference());
    // The API server hears of the new port a moment later.
    eventually("the webhook is not reached", LIMIT, || {
        Ok(judged.run(&["create", "--dry-run=server"], Some(&again))?.status.success().then_some(()))
    })?;
    judged.accepts(&again)?;
    // Some rounds of a second each.
    std::thread::sleep(Duration::from_secs(5));
    let events = told()?;
    ensure!(events.len() == 1, "told again: {events:?}");
    ensure!(events.iter().all(|event| event.get("series").is_none_or(Value::is_null)), "told again: {events:?}");
    let name = suggested.pointer("/metadata/name").and_then(Value::as_str).context("a name")?;
    kubectl.accepts(&["delete", "signaturerevocation", name], None).map(drop)
}
