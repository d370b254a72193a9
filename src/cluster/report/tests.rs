//! What is said of objects: each word with a twin in which one thing is off.

use std::sync::Arc;

use kube::runtime::watcher::Event;

use super::super::kinds;
use super::*;
use crate::api::OnStale;
use crate::feeds::{FeedStoreOptions, MemoryFeedArchive};
use crate::trust::PUBLIC_GOOD;
use crate::trust_store::{Failure, MemoryArchive, RefreshError, Refreshes, TrustStoreOptions, Versions};

fn store(roots: TrustRoots) -> Arc<TrustStore> {
    let options = TrustStoreOptions::new(roots, Arc::new(|| Timestamp::UNIX_EPOCH));
    TrustStore::new(options, Arc::new(MemoryArchive::default()))
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "uid": "u", "generation": 3}, "spec": spec,
    })
}

fn policy_of(root: &str) -> Value {
    object(
        "ClusterSignaturePolicy",
        "p",
        &json!({"images": ["ghcr.io/acme/**"], "authorities": [{"name": "a", "keyless": {"trustRoot": root, "identities": [
            {"issuer": {"exact": "https://issuer"}, "subject": {"exact": "a@b"}}]}}]}),
    )
}

fn all(state: &State, store: &Arc<TrustStore>, watched: &[LogReport]) -> Vec<Report> {
    let options = FeedStoreOptions::new(Arc::new(|| Timestamp::UNIX_EPOCH));
    let feeds = FeedStore::new(options, Arc::clone(store), Arc::new(MemoryFeedArchive::default()));
    reports(state, &feeds, watched, Timestamp::UNIX_EPOCH)
}

/// The only report.
fn one(state: &State, store: &Arc<TrustStore>) -> Report {
    let mut all = all(state, store, &[]);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn ready(report: &Report) -> (Truth, &'static str, &str) {
    let condition = &report.wanted.conditions[READY];
    (condition.truth, condition.reason, &condition.message)
}

#[tokio::test]
async fn a_policy_is_ready_if_it_parses_and_its_roots_can_be_used() {
    let store = store(TrustRoots::embedded().unwrap());
    let mut state = State::default();
    let mut taken = |object: Value| {
        state.policies.objects.take(Event::Apply(kinds::policy(&object)));
        one(&state, &store)
    };
    let good = taken(policy_of(PUBLIC_GOOD));
    assert_eq!(ready(&good), (Truth::True, "Accepted", "images are judged by it"));
    assert_eq!((good.generation, good.target.kind, &*good.target.uid), (3, Kind::Policy, "u"));
    assert_eq!(ready(&taken(policy_of("other"))).1, "ReferenceNotFound");
    let mut typo = policy_of(PUBLIC_GOOD);
    typo["spec"]["typo"] = json!(1);
    let report = taken(typo.clone());
    let (truth, reason, message) = ready(&report);
    assert_eq!((truth, reason), (Truth::False, "PolicyInvalid"));
    assert!(message.contains("typo") && message.contains("what it said before is in force"), "{message}");
    typo["metadata"]["uid"] = json!("another");
    let report = taken(typo);
    assert!(ready(&report).2.ends_with("what it selects is denied"), "{report:?}");
    store.refuse(PUBLIC_GOOD, "broken");
    assert_eq!(ready(&taken(policy_of(PUBLIC_GOOD))).1, "TrustRootUnavailable");
}

#[tokio::test]
async fn a_policy_of_a_namespace_says_whether_it_counts_as_a_match() {
    let store = store(TrustRoots::embedded().unwrap());
    let mut state = State::default();
    let mut policy = policy_of(PUBLIC_GOOD);
    (policy["kind"], policy["metadata"]["namespace"]) = (json!("SignaturePolicy"), json!("team-a"));
    state.namespace_policies.objects.take(Event::Apply(kinds::policy(&policy)));
    assert_eq!(ready(&one(&state, &store)).1, "Undelegated");
    let mut said = |team: &str| {
        let delegation = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}, "images": ["**"]});
        let config = object("CountersignConfig", "cluster", &json!({"delegations": [delegation]}));
        state.configs.objects.take(Event::Apply(kinds::config(&config)));
        let metadata = json!({"metadata": {"name": "team-a", "labels": {"team": team}}});
        let namespace = serde_json::from_value(metadata).unwrap();
        state.namespaces.objects.take(Event::Apply(kinds::namespace(namespace)));
        let all = all(&state, &store, &[]);
        let config = all.iter().find(|report| report.target.kind == Kind::Config).unwrap();
        assert_eq!(config.wanted.conditions["FeedsFresh"].reason, "NoFeeds");
        let policy = all.iter().find(|report| report.target.kind == Kind::NamespacePolicy).unwrap();
        policy.wanted.conditions[READY].reason
    };
    assert_eq!([said("b"), said("a")], ["Undelegated", "Accepted"]);
}

#[tokio::test]
async fn a_root_tells_what_it_trusts_and_keeps_what_others_say_of_its_logs() {
    let text = include_str!("../../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
    let mut object = object("SignatureTrustRoot", "own", &json!({"trustedRoot": text}));
    let store = store(TrustRoots::default());
    let mut state = State::default();
    let mut taken = |object: &Value, store: &Arc<TrustStore>| {
        state.trust_roots.objects.take(Event::Apply(kinds::trust_root(object)));
        if let Ok(spec) = RootSpec::parse(object) {
            store.declare(spec);
        }
        one(&state, store)
    };
    let report = taken(&object, &store);
    assert_eq!(ready(&report).1, "Usable");
    assert!(!report.wanted.conditions.contains_key(REFRESHED), "nothing is refreshed");
    assert!(report.wanted.fields["digest"].as_str().unwrap().starts_with("sha256:"));
    let mut logs = report.wanted.fields["logs"].clone();
    assert!(!logs.as_array().unwrap().is_empty());
    logs[0]["consistency"] = json!("Consistent");
    object["status"] = json!({"logs": logs});
    assert_eq!(taken(&object, &store).wanted.fields["logs"], logs);
    object["spec"]["typo"] = json!(1);
    let report = taken(&object, &store);
    assert_eq!(ready(&report).1, "TrustRootInvalid");
    assert!(ready(&report).2.ends_with("what it said before is in force"));
}

#[tokio::test]
async fn the_worst_of_a_root_s_logs_is_its_condition_and_is_told_by_others() {
    let text = include_str!("../../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
    let object = object("SignatureTrustRoot", "own", &json!({"trustedRoot": text}));
    let store = store(TrustRoots::default());
    let mut state = State::default();
    state.trust_roots.objects.take(Event::Apply(kinds::trust_root(&object)));
    store.declare(RootSpec::parse(&object).unwrap());
    let unwatched = one(&state, &store);
    assert!(!unwatched.wanted.conditions.contains_key(LOGS_CONSISTENT), "nobody watches");
    let key_id = unwatched.wanted.fields["logs"][0]["keyId"].as_str().unwrap().to_owned();
    let report = |key_id: &str, truth, reason| LogReport { key_id: key_id.into(), truth, reason, message: "m".into() };
    let good = || report(&key_id, Truth::True, "Consistent");
    for (watched, expected) in [
        (vec![good()], (Truth::True, "Consistent")),
        (vec![report(&key_id, Truth::Unknown, "Unknown"), good()], (Truth::Unknown, "Unknown")),
        (vec![good(), report(&key_id, Truth::False, "LogForked"), good()], (Truth::False, "LogForked")),
        (vec![good(), report("another", Truth::False, "LogForked")], (Truth::True, "Consistent")),
    ] {
        let report = all(&state, &store, &watched).remove(0);
        let condition = &report.wanted.conditions[LOGS_CONSISTENT];
        assert_eq!((condition.truth, condition.reason), expected);
        assert_eq!(report.wanted.fields["logs"][0]["consistency"], expected.1);
        assert!(report.remarks().iter().all(|remark| remark.reason != expected.1), "it was told of already");
    }
}

#[test]
fn what_turns_is_remarked_once() {
    let remarks = |condition: Condition, before: Value| {
        let meta = Meta::of(&json!({"status": {"conditions": [before]}}));
        let report = report(Kind::TrustRoot, &meta, Wanted::default().condition(REFRESHED, condition));
        report.remarks().into_iter().map(|remark| (remark.urgency, remark.reason)).collect::<Vec<_>>()
    };
    let condition = |truth, reason| Condition::new(truth, reason, "m");
    let said = |status: &str, reason: &str| json!({"type": REFRESHED, "status": status, "reason": reason});
    let bad = || condition(Truth::False, "TufRollback");
    assert_eq!(remarks(bad(), Value::Null), [(Urgency::Warning, "TufRollback")]);
    assert_eq!(remarks(bad(), said("True", "Refreshed")), [(Urgency::Warning, "TufRollback")]);
    assert_eq!(remarks(bad(), said("False", "TufRollback")), []);
    assert_eq!(remarks(bad(), said("False", "TufMirrorTimeout")), [(Urgency::Warning, "TufRollback")]);
    let good = || condition(Truth::True, "Refreshed");
    assert_eq!(remarks(good(), said("False", "TufRollback")), [(Urgency::Normal, "Refreshed")]);
    assert_eq!(remarks(good(), said("True", "Refreshed")), []);
    assert_eq!(remarks(good(), Value::Null), []);
}

#[test]
fn a_revocation_is_ready_if_every_entry_acts() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let taken = |spec: Value| {
        let mut state = State::default();
        let object = object("SignatureRevocation", "r", &spec);
        state.revocations.objects.take(Event::Apply(kinds::revocation(&object)));
        let entry = state.revocations.objects.iter().next().unwrap();
        let mut wanted = revocation(entry);
        wanted.conditions.remove(READY).unwrap()
    };
    let good = json!({"reason": "leaked", "artifacts": [{"digest": digest}]});
    assert_eq!(taken(good.clone()).reason, "Acting");
    let mut mixed = good.clone();
    mixed["artifacts"] = json!([{"digest": digest}, {"digest": "sha256:beef"}]);
    let condition = taken(mixed);
    assert_eq!((condition.truth, condition.reason), (Truth::False, "RevocationInvalid"));
    assert!(condition.message.contains("spec.artifacts[1]"), "{}", condition.message);
    let mut suspended = good;
    suspended["suspended"] = json!(true);
    assert_eq!(taken(suspended).reason, "Suspended");
    assert_eq!(taken(json!(1)).reason, "RevocationInvalid");
}

#[test]
fn a_root_through_tuf_tells_its_age_its_floor_and_the_rule_that_broke() {
    let object = object("SignatureTrustRoot", PUBLIC_GOOD, &json!({"publicGood": {}, "maxAge": "24h"}));
    let mut state = State::default();
    state.trust_roots.objects.take(Event::Apply(kinds::trust_root(&object)));
    let entry = state.trust_roots.objects.iter().next().unwrap();
    let material = || TrustRoots::embedded().unwrap().find(PUBLIC_GOOD).unwrap().clone();
    let now = Timestamp::from_second(1_000).unwrap();
    let earlier = Timestamp::from_second(999).unwrap();
    let failure = RefreshError::Rollback { role: "timestamp".into(), trusted: 7, offered: 6 };
    let status = RootStatus {
        versions: Some(Versions { root: 1, timestamp: 7, snapshot: 3, targets: 2 }),
        refreshed: Some(earlier),
        failure: Some(Failure { error: failure, at: now, in_a_row: 2 }),
        unkept: Some("no room".into()),
        refreshes: Refreshes { succeeded: 1, refused: 2, failed: 0 },
        ..RootStatus::default()
    };
    let said = |fresh_until: Timestamp, on_stale: OnStale, status: &RootStatus| {
        let mut roots = TrustRoots::default();
        roots.insert_until(material(), Some(fresh_until), on_stale);
        trust_root(entry, &roots, status, &[], now)
    };
    let conditions = |wanted: &Wanted| {
        [READY, STALE, REFRESHED, KEPT].map(|kind| wanted.conditions.get(kind).map(|found| (found.truth, found.reason)))
    };
    let fresh = said(now, OnStale::Error, &status);
    let broken = [Some((Truth::False, "TufRollback")), Some((Truth::False, "TufArchiveUnavailable"))];
    let expected = [Some((Truth::True, "Usable")), Some((Truth::False, "Fresh")), broken[0], broken[1]];
    assert_eq!(conditions(&fresh), expected);
    let message = &fresh.conditions[REFRESHED].message;
    assert!(message.contains("rolled back to version 6") && message.contains("2 in a row"), "{message}");
    assert_eq!(fresh.fields["versions"], json!({"root": 1, "timestamp": 7, "snapshot": 3, "targets": 2}));
    assert_eq!(fresh.fields["refreshedAt"], "1970-01-01T00:16:39Z");
    let aged = Some((Truth::True, "TrustRootStale"));
    let expected = [Some((Truth::False, "TrustRootStale")), aged, broken[0], broken[1]];
    assert_eq!(conditions(&said(earlier, OnStale::Error, &status)), expected);
    let expected = [Some((Truth::True, "Usable")), aged, broken[0], broken[1]];
    assert_eq!(conditions(&said(earlier, OnStale::Warn, &status)), expected);
    // After a restart the floor of before is not taken back, and nothing is said of refreshes that nobody tried.
    let restarted = said(now, OnStale::Error, &RootStatus::default());
    assert_eq!(conditions(&restarted)[2..], [None, None]);
    assert!(!restarted.fields.contains_key("versions") && !restarted.fields.contains_key("refreshedAt"));
    let well = RootStatus { failure: None, unkept: None, ..status };
    let expected = [Some((Truth::True, "Refreshed")), Some((Truth::True, "Kept"))];
    assert_eq!(conditions(&said(now, OnStale::Error, &well))[2..], expected);
}
