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
mod tests;
