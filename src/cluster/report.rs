//! What the controllers say of our objects: their conditions and figures, from what the watches and the trust store know.
//!
//! No client: what is wanted is said to the status writer, what changed for better or worse is noticed once. Nothing that judges reads what
//! is said here.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::conditions::{Condition, Truth, Wanted, seconds};
use super::index;
use super::kinds::{InvalidConfig, PolicyObjects, TrustRootObjects};
use super::notices::{ObjectRef, Urgency};
use super::objects::{Entry, Form, Meta};
use super::status::{Kind, Target};
use super::watched::State;
use crate::api::{GROUP, VERSION};
use crate::feeds::FeedStore;
use crate::policy::{ClusterRules, InvalidPolicy, Policy, Unmatched};
use crate::revocation::{Revocation, RevocationError};
use crate::trust::{RootProblem, RootSpec, RootSpecError, TrustRoots};
use crate::trust_store::{RootStatus, TrustStore};

/// The condition that every kind of ours has.
const READY: &str = "Ready";
/// Whether the logs of a trust root show everybody one history, as far as they are watched.
const LOGS_CONSISTENT: &str = "LogsConsistent";
/// Whether the last refresh of a trust root succeeded.
const REFRESHED: &str = "Refreshed";
/// Whether a trust root is past its time.
const STALE: &str = "Stale";
/// Whether what was accepted of a trust root outlives a restart.
const KEPT: &str = "Kept";
/// Invalid entries of a revocation that a condition names.
const SHOWN: usize = 8;
/// Logs that a status names.
const LOG_LIMIT: usize = 64;

/// What is wanted of one object.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) target: Target,
    pub(super) generation: i64,
    pub(super) wanted: Wanted,
    /// The status as the watch saw it last.
    pub(super) status: Arc<Value>,
}

/// How a tree of a log stands, for who watches logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogReport {
    /// The log's key id in hexadecimal digits.
    pub key_id: String,
    /// Whether it shows everybody one history.
    pub truth: Truth,
    /// Why, in a word that scripts may match.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl LogReport {
    /// The worse, the larger.
    fn weight(&self) -> u8 {
        match self.truth {
            Truth::True => 0,
            Truth::Unknown => 1,
            Truth::False => 2,
        }
    }
}

/// A change that somebody should hear of.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Remark {
    pub(super) urgency: Urgency,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is wanted of every object.
pub(super) fn reports(state: &State, feeds: &FeedStore, watched: &[LogReport], now: Timestamp) -> Vec<Report> {
    let store = feeds.trust();
    let roots = (*store.roots()).clone().with_roles(feeds.roles());
    // What happens to unmatched images is not asked.
    let rules = index::rules(state, Unmatched::Deny);
    let counts = |namespace: &str| rules.delegates_to(&index::labels(state, namespace));
    let of_cluster = policies(Kind::Policy, &state.policies.objects, &roots, &counts, now);
    let of_namespaces = policies(Kind::NamespacePolicy, &state.namespace_policies.objects, &roots, &counts, now);
    let configs = state.configs.objects.iter().map(|entry| {
        let mut wanted = config(entry);
        if index::is_in_force(entry) {
            wanted.extend(super::feeds::wanted(&rules, feeds, now));
        }
        report(Kind::Config, &entry.meta, wanted)
    });
    let revocations = state.revocations.objects.iter();
    let revocations = revocations.map(|entry| report(Kind::Revocation, &entry.meta, revocation(entry)));
    let trust_roots = trust_roots(&state.trust_roots.objects, &roots, store, watched, now);
    of_cluster.chain(of_namespaces).chain(configs).chain(revocations).chain(trust_roots).collect()
}

fn policies<'a>(
    kind: Kind,
    objects: &'a PolicyObjects,
    roots: &'a TrustRoots,
    counts: &'a impl Fn(&str) -> bool,
    now: Timestamp,
) -> impl Iterator<Item = Report> {
    objects.iter().map(move |entry| {
        // A policy of the cluster needs no delegation.
        let is_match = entry.meta.namespace.as_deref().is_none_or(counts);
        report(kind, &entry.meta, policy(entry, roots, is_match, now))
    })
}

fn trust_roots<'a>(
    objects: &'a TrustRootObjects,
    roots: &'a TrustRoots,
    store: &'a TrustStore,
    watched: &'a [LogReport],
    now: Timestamp,
) -> impl Iterator<Item = Report> {
    objects.iter().map(move |entry| {
        let status = store.status(&entry.meta.name).unwrap_or_default();
        report(Kind::TrustRoot, &entry.meta, trust_root(entry, roots, &status, watched, now))
    })
}

fn report(kind: Kind, meta: &Meta, wanted: Wanted) -> Report {
    let (generation, status) = (meta.generation, Arc::clone(&meta.status));
    Report { target: Target::of(kind, meta), generation, wanted, status }
}

fn policy(entry: &Entry<Policy, InvalidPolicy>, roots: &TrustRoots, is_match: bool, now: Timestamp) -> Wanted {
    let ready = match &entry.form {
        Form::Invalid(flaw, last_good) => {
            let then = match last_good {
                Some(_) => "what it said before is in force, and what it selects beside that is denied",
                None => "what it selects is denied",
            };
            Condition::new(Truth::False, "PolicyInvalid", format!("{}; {then}", flaw.error()))
        }
        Form::Valid(policy) => match policy.trust_roots().find_map(|name| roots.usable(name, now).err()) {
            Some(problem) => {
                let reason = match problem {
                    RootProblem::Unknown { .. } => "ReferenceNotFound",
                    _ => problem.code(),
                };
                Condition::new(Truth::False, reason, format!("{problem}; what needs it is denied"))
            }
            None => match policy.tuf_roles().find_map(|role| Some((role, roots.role(role, now).err()?))) {
                Some((role, problem)) => {
                    let message = format!("{role}: {problem}; what needs it is denied");
                    Condition::new(Truth::False, "TufRoleUnavailable", message)
                }
                None if is_match => Condition::new(Truth::True, "Accepted", "images are judged by it"),
                None => {
                    let message =
                        "images are judged by it, and it counts as a match for none: no delegation names its namespace";
                    Condition::new(Truth::True, "Undelegated", message)
                }
            },
        },
    };
    Wanted::default().condition(READY, ready)
}

fn config(entry: &Entry<ClusterRules, InvalidConfig>) -> Wanted {
    let ready = match &entry.form {
        Form::Valid(_) => Condition::new(Truth::True, "Accepted", "the rules are in force"),
        Form::Invalid(flaw, last_good) => {
            let then = match last_good {
                Some(_) => "what it said before is in force",
                None => "unmatched images are denied, and nothing is exempt or delegated",
            };
            Condition::new(Truth::False, "ConfigInvalid", format!("{}; {then}", flaw.error))
        }
    };
    Wanted::default().condition(READY, ready)
}

fn revocation(entry: &Entry<Revocation, RevocationError>) -> Wanted {
    let ready = match &entry.form {
        Form::Invalid(flaw, last_good) => {
            let then = if last_good.is_some() { "what it said before acts" } else { "it does nothing" };
            Condition::new(Truth::False, "RevocationInvalid", format!("{flaw}; {then}"))
        }
        Form::Valid(revocation) if revocation.is_suspended() => {
            Condition::new(Truth::False, "Suspended", "it is only a suggestion and does not act")
        }
        Form::Valid(revocation) => match revocation.invalid() {
            [] => Condition::new(Truth::True, "Acting", "every entry acts"),
            invalid => {
                let some: Vec<String> = invalid.iter().take(SHOWN).map(ToString::to_string).collect();
                let more = invalid.len().saturating_sub(SHOWN);
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                let message = format!("{}{more}; all else in it acts", some.join(", "));
                Condition::new(Truth::False, "RevocationInvalid", message)
            }
        },
    };
    Wanted::default().condition(READY, ready)
}

fn trust_root(
    entry: &Entry<RootSpec, RootSpecError>,
    roots: &TrustRoots,
    status: &RootStatus,
    watched: &[LogReport],
    now: Timestamp,
) -> Wanted {
    let name = &entry.meta.name;
    let usable = roots.usable(name, now);
    let ready = match (&entry.form, &usable) {
        (Form::Invalid(flaw, Some(_)), _) => {
            Condition::new(Truth::False, "TrustRootInvalid", format!("{flaw}; what it said before is in force"))
        }
        (Form::Invalid(flaw, None), _) => {
            Condition::new(Truth::False, "TrustRootInvalid", format!("{flaw}; what names it is denied"))
        }
        (Form::Valid(_), Ok(_)) => Condition::new(Truth::True, "Usable", "policies can be judged by it"),
        (Form::Valid(_), Err(problem)) => {
            Condition::new(Truth::False, problem.code(), format!("{problem}; what names it is denied"))
        }
    };
    let stale = match &usable {
        Ok((_, Some(warning))) => {
            let message =
                format!("it was not refreshed in time; it counted until {}, and is used with a warning", warning.since);
            Condition::new(Truth::True, "TrustRootStale", message)
        }
        Err(problem @ RootProblem::Stale { .. }) => Condition::new(Truth::True, problem.code(), problem.to_string()),
        Ok((_, None)) => Condition::new(Truth::False, "Fresh", "it is as fresh as it has to be"),
        Err(problem) => Condition::new(Truth::Unknown, problem.code(), problem.to_string()),
    };
    let mut wanted = Wanted::default().condition(READY, ready).condition(STALE, stale);
    let has_task = status.refreshes.succeeded + status.refreshes.refused + status.refreshes.failed > 0;
    if has_task {
        wanted = wanted.condition(REFRESHED, refreshed(status)).condition(KEPT, kept(status));
    }
    let known = status.logs.iter().filter_map(|(_, key_id)| worst(watched, key_id));
    if let Some(worst) = known.max_by_key(|report| report.weight()) {
        wanted = wanted.condition(LOGS_CONSISTENT, Condition::new(worst.truth, worst.reason, worst.message.clone()));
    }
    // What is known from before a restart stays until something newer is known.
    if let Some(versions) = status.versions {
        let versions = json!({
            "root": versions.root, "timestamp": versions.timestamp, "snapshot": versions.snapshot, "targets": versions.targets,
        });
        wanted = wanted.field("versions", Some(versions));
    }
    let time = |time: Option<Timestamp>| time.map(|time| json!(seconds(time)));
    for (field, value) in [("expires", time(status.expires)), ("refreshedAt", time(status.refreshed))] {
        if value.is_some() {
            wanted = wanted.field(field, value);
        }
    }
    wanted
        .field("digest", status.digest.as_ref().map(|digest| json!(digest)))
        .field("logs", logs(entry, status, watched))
}

/// The worst that is known of a log's trees.
fn worst<'a>(watched: &'a [LogReport], key_id: &str) -> Option<&'a LogReport> {
    watched.iter().filter(|report| report.key_id == key_id).max_by_key(|report| report.weight())
}

fn refreshed(status: &RootStatus) -> Condition {
    match &status.failure {
        Some(failure) => {
            let then = if status.unavailable.is_none() { "; what was accepted before is still used" } else { "" };
            let message = format!("{} ({} in a row){then}", failure.error, failure.in_a_row);
            Condition::new(Truth::False, failure.error.code(), message)
        }
        None if status.notes.is_empty() => Condition::new(Truth::True, "Refreshed", "the last refresh succeeded"),
        None => {
            let message = format!("the last refresh succeeded; {}", status.notes.join("; "));
            Condition::new(Truth::True, "Refreshed", message)
        }
    }
}

fn kept(status: &RootStatus) -> Condition {
    match &status.unkept {
        Some(reason) => {
            let message = format!("{reason}; a restart would forget it");
            Condition::new(Truth::False, "TufArchiveUnavailable", message)
        }
        None => Condition::new(Truth::True, "Kept", "a restart forgets nothing"),
    }
}

/// The logs as the status lists them. What was found out about those that nobody watches now stays.
fn logs(entry: &Entry<RootSpec, RootSpecError>, status: &RootStatus, watched: &[LogReport]) -> Option<Value> {
    let before = entry.meta.status.get("logs").and_then(Value::as_array);
    let consistency = |key_id: &str| {
        if let Some(worst) = worst(watched, key_id) {
            return Some(json!(worst.reason));
        }
        let found = before?.iter().find(|log| log.get("keyId").and_then(Value::as_str) == Some(key_id))?;
        found.get("consistency").cloned()
    };
    let log = |(uri, key_id): &(String, String)| match consistency(key_id) {
        Some(consistency) => json!({"uri": uri, "keyId": key_id, "consistency": consistency}),
        None => json!({"uri": uri, "keyId": key_id}),
    };
    let logs: Vec<Value> = status.logs.iter().take(LOG_LIMIT).map(log).collect();
    (!logs.is_empty()).then_some(Value::Array(logs))
}

impl Report {
    /// The object that it is about.
    pub(super) fn about(&self) -> ObjectRef {
        let Target { kind, namespace, name, uid } = self.target.clone();
        ObjectRef { api_version: format!("{GROUP}/{VERSION}"), kind: kind.resource().kind, namespace, name, uid }
    }

    /// Conditions that turned bad, changed in how they are bad, or turned good again, against the status that is there.
    pub(super) fn remarks(&self) -> Vec<Remark> {
        let before = |kind: &str| {
            let conditions = self.status.get("conditions").and_then(Value::as_array);
            let of_kind = |condition: &&Value| condition.get("type").and_then(Value::as_str) == Some(kind);
            conditions.and_then(|conditions| conditions.iter().find(of_kind))
        };
        let remark = |(kind, condition): (&&'static str, &Condition)| {
            // Who watches logs has told of it, once.
            if *kind == LOGS_CONSISTENT {
                return None;
            }
            let text = |field: &str| before(kind).and_then(|before| before.get(field)).and_then(Value::as_str);
            let good = if *kind == STALE { Truth::False } else { Truth::True };
            // Whoever suspended a revocation knows it.
            let is_bad =
                condition.truth != good && condition.truth != Truth::Unknown && condition.reason != "Suspended";
            let was_bad = text("status").is_some_and(|status| status != good.as_str() && status != "Unknown");
            let urgency = match (is_bad, was_bad) {
                (true, true) if text("reason") == Some(condition.reason) => return None,
                (true, _) => Urgency::Warning,
                (false, true) => Urgency::Normal,
                (false, false) => return None,
            };
            // Of one that is not ready because it is too old, it is enough to hear once.
            let is_said = *kind == STALE
                && self.wanted.conditions.get(READY).is_some_and(|ready| ready.reason == condition.reason);
            (!is_said).then(|| Remark { urgency, reason: condition.reason, message: condition.message.clone() })
        };
        self.wanted.conditions.iter().filter_map(remark).collect()
    }
}

#[cfg(test)]
mod tests {
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
        let text = include_str!("../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
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
        let text = include_str!("../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
        let object = object("SignatureTrustRoot", "own", &json!({"trustedRoot": text}));
        let store = store(TrustRoots::default());
        let mut state = State::default();
        state.trust_roots.objects.take(Event::Apply(kinds::trust_root(&object)));
        store.declare(RootSpec::parse(&object).unwrap());
        let unwatched = one(&state, &store);
        assert!(!unwatched.wanted.conditions.contains_key(LOGS_CONSISTENT), "nobody watches");
        let key_id = unwatched.wanted.fields["logs"][0]["keyId"].as_str().unwrap().to_owned();
        let report =
            |key_id: &str, truth, reason| LogReport { key_id: key_id.into(), truth, reason, message: "m".into() };
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
            [READY, STALE, REFRESHED, KEPT]
                .map(|kind| wanted.conditions.get(kind).map(|found| (found.truth, found.reason)))
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
}
