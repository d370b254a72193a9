//! The cluster's own rules: delegations to namespaces, and feeds through a TUF repository. They hold for all, so that each case ends by
//! taking them away.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use countersign_e2e::cosign::Format;
use countersign_e2e::kubectl::Kubectl;
use countersign_e2e::manifest::{pod, signed_by};
use countersign_e2e::process::eventually;
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::own_repository::{OwnRepository, put_back};
use crate::{Case, RULES, Run};

pub(crate) const CASES: &[Case] = &[
    ("a policy of a namespace counts as far as it is delegated", Run::Alone(delegated)),
    ("what a feed delivers is in force, and a repository that goes back lifts nothing", Run::Admission(delivered)),
];

/// A hang guard; what is awaited takes as long as the shortest time between two deliveries, 15 s.
const LIMIT: Duration = Duration::from_mins(2);

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The rules of the cluster while a case needs them.
struct Rules<'k> {
    kubectl: &'k Kubectl,
}

impl<'k> Rules<'k> {
    fn apply(kubectl: &'k Kubectl, spec: &Value) -> Result<Self> {
        let rules = Self { kubectl };
        rules.change(spec).map(|()| rules)
    }

    fn change(&self, spec: &Value) -> Result<()> {
        self.kubectl.accepts(&["apply"], Some(&object("CountersignConfig", "cluster", spec))).map(drop)
    }
}

impl Drop for Rules<'_> {
    fn drop(&mut self) {
        let _ = self.kubectl.run(&["delete", "csc", "cluster", "--ignore-not-found"], "");
    }
}

/// Reason and message of a condition of the rules.
fn condition(kubectl: &Kubectl, kind: &str) -> Result<(String, String)> {
    let outcome = kubectl.accepts(&["get", "csc", "cluster", "--output=json"], None)?;
    let object: Value = serde_json::from_str(&outcome.stdout).context("kubectl's JSON")?;
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let of_kind = |condition: &&Value| condition.get("type").and_then(Value::as_str) == Some(kind);
    let found = conditions.and_then(|conditions| conditions.iter().find(of_kind)).cloned().unwrap_or_default();
    let text = |field: &str| found.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((text("reason"), text("message")))
}

fn eventually_says(kubectl: &Kubectl, kind: &str, reason: &str) -> Result<String> {
    let mut last = (String::new(), String::new());
    let found = eventually("the condition does not say it", LIMIT, || {
        last = condition(kubectl, kind)?;
        Ok((last.0 == reason).then_some(()))
    });
    found.with_context(|| format!("{kind}: {reason} is wanted, {last:?} found")).map(|()| last.1)
}

fn delegated(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    let team = sandbox.labelled("team", &json!({"e2e.countersign.dev/team": "a"}))?;
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("app"))?;
    stack.cosign.sign(&stack.key, &image, Format::Bundle)?;
    let mut policy = object(
        "SignaturePolicy",
        "own",
        &json!({"images": [sandbox.pattern(&stack.with_referrers)],
        "authorities": signed_by(&[("2026", &stack.key.public_pem)])}),
    );
    for sandbox in [sandbox, &team] {
        sandbox.accepts_command(&["apply"], Some(&policy))?;
    }
    let app = pod("app", &image.reference());
    let selector = json!({"matchLabels": {"e2e.countersign.dev/team": "a"}});
    let rules = Rules::apply(
        kubectl,
        &json!({"unmatched": "Deny",
        "delegations": [{"namespaceSelector": selector, "images": [sandbox.pattern(&stack.with_referrers)]}]}),
    )?;
    sandbox.eventually_denied(&app, &["[Unmatched]", "without counting as a match"])?;
    team.eventually_admitted(&app)?;
    // It demands where it counts, and where it does not.
    let authorities = signed_by(&[("other", &stack.other_key.public_pem)]);
    if let Some(spec) = policy.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("authorities".to_owned(), authorities);
    }
    team.accepts_command(&["apply"], Some(&policy))?;
    team.eventually_denied(&app, &["own: not satisfied"])?;
    drop(rules);
    sandbox.eventually_admitted(&app)?;
    team.eventually_denied(&app, &["own: not satisfied"])?;
    team.accepts_command(&["delete", "signaturepolicy", "own"], None)?;
    team.eventually_admitted(&app)
}

/// Publishes a feed; what is published then.
fn publish(repository: &mut OwnRepository, feed: &Value) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    repository.deliver("feed.json", feed)?;
    Ok(repository.published())
}

fn delivered(sandbox: &Sandbox<'_>) -> Result<()> {
    let _rules = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    let stack = sandbox.stack();
    let kubectl = stack.cluster.kubectl();
    let root = include_str!("../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
    let mut repository = OwnRepository::create(&stack.new_folder()?, &serde_json::from_str(root)?)?;
    publish(&mut repository, &json!([]))?;
    let name = "e2e-feeds";
    let spec = json!({"tuf": {"mirror": format!("file://{}", repository.public().display()), "root": {"inline": repository.first_root()?}}});
    kubectl.accepts(&["create"], Some(&object("SignatureTrustRoot", name, &spec)))?;
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("app"))?;
    stack.cosign.sign(&stack.key, &image, Format::Bundle)?;
    let app = pod("app", &image.reference());
    let feed = |target: &str| {
        json!({"unmatched": "Allow", "feeds": [{"name": "acme", "trustRoot": name, "target": target, "maxAge": "1m",
            "allow": {"images": [sandbox.pattern(&stack.with_referrers)]}}]})
    };
    let rules = Rules::apply(kubectl, &feed("missing.json"))?;
    sandbox.eventually_denied(&app, &["[FeedUnavailable]"])?;
    eventually_says(kubectl, "FeedsDelivered", "TufTargetMissing")?;
    rules.change(&feed("feed.json"))?;
    sandbox.eventually_admitted(&app)?;
    eventually_says(kubectl, "FeedsFresh", "Fresh")?;
    let denied =
        |parts: &[&str]| eventually("the feed does not act", LIMIT, || Ok(sandbox.eventually_denied(&app, parts).ok()));
    // A demand, for this namespace.
    let mut demand = object(
        "SignaturePolicy",
        "demand",
        &json!({"images": [sandbox.pattern(&stack.with_referrers)],
        "authorities": signed_by(&[("other", &stack.other_key.public_pem)])}),
    );
    if let Some(metadata) = demand.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), json!(sandbox.name()));
    }
    let before = publish(&mut repository, &json!([demand]))?;
    denied(&["demand (feed acme): not satisfied"])?;
    let revocation = object(
        "SignatureRevocation",
        "leaked",
        &json!({"reason": "the builder was compromised",
        "artifacts": [{"digest": image.digest}]}),
    );
    publish(&mut repository, &json!([revocation]))?;
    let start = Instant::now();
    denied(&["[Revoked]", "leaked (feed acme)", "the builder was compromised"])?;
    crate::say(&format!("a feed was published {:.1} s before the first denial", start.elapsed().as_secs_f64()));
    // Nobody governs it there, and it is denied all the same.
    let ungoverned = sandbox.labelled("ungoverned", &json!({}))?;
    ungoverned.rejects(&app, &["[Revoked]"])?;
    let newest = repository.published();
    put_back(&before)?;
    let message = eventually_says(kubectl, "FeedsDelivered", "TufRollback")?;
    ensure!(message.contains("acme"), "{message}");
    sandbox.rejects(&app, &["[Revoked]"])?;
    put_back(&newest)?;
    eventually_says(kubectl, "FeedsDelivered", "Delivered")?;
    drop(rules);
    sandbox.eventually_admitted(&app)?;
    kubectl.accepts(&["delete", "str", name], None).map(drop)
}
