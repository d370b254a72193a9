//! The snapshot made of what the watches have seen.
//!
//! A policy that does not parse denies what it selects, and stays in force in its last good form where it had one. So do
//! the cluster's own rules; without a last good form they loosen nothing. A revocation that does not parse keeps its last good form; one with
//! entries that do not parse keeps the others. What a trust root object says is `trust_store`'s affair: here the roots are what it made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kinds::{InvalidConfig, PolicyObjects};
use super::objects::{Entry, Form};
use super::watched::State;
use crate::image::Digest;
use crate::policy::{ClusterRules, Feeds, InvalidPolicy, NamespaceLabels, Policy, Snapshot, Unmatched};
use crate::revocation::{Revocation, Revocations};
use crate::trust::{RoleName, TrustRoots};

/// Delegated roles that one namespace may have looked up for its policies.
const ROLES_OF_NAMESPACE: usize = 8;
/// Delegated roles beyond which none is looked up for policies of namespaces.
const ROLES: usize = 256;
/// The one name that the cluster's own rules have.
const CONFIG: &str = "cluster";

/// The set of all revocations, which is made anew only when one of them is: there may be many thousand entries, and most of what watches
/// bring changes none. Whoever compares two snapshots then also finds one and the same set.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    of: Vec<Arc<Revocation>>,
    /// What this replica found below indexes that are named. Statuses say what the one that leads found.
    below: BTreeMap<Digest, Vec<Digest>>,
    set: Revocations,
}

impl Gathered {
    /// The revocations of the cluster's objects and of the feeds.
    pub(super) fn gather(&mut self, state: &State, feeds: &Feeds) -> Revocations {
        let objects = state.revocations.objects.iter().filter_map(|entry| entry.form.in_force().cloned());
        let of: Vec<Arc<Revocation>> = objects.chain(feeds.revocations().cloned()).collect();
        // What is one and the same is equal at once; a list that was read anew is compared by what it says.
        if of != self.of {
            self.set = Revocations::with_below(of.clone(), &self.below);
            self.of = of;
        }
        self.set.clone()
    }

    /// Takes what was found below indexes, in the place of what was before. Whether that is anything else.
    pub(super) fn learn(&mut self, below: BTreeMap<Digest, Vec<Digest>>) -> bool {
        if below == self.below {
            return false;
        }
        self.below = below;
        self.set = Revocations::with_below(self.of.clone(), &self.below);
        true
    }
}

/// The snapshot of everything seen. `unmatched` is what happens to unmatched images where no object says it.
pub(super) fn snapshot(
    state: &State,
    roots: &TrustRoots,
    feeds: Feeds,
    unmatched: Unmatched,
    gathered: &mut Gathered,
) -> Snapshot {
    let policies = || state.policies.objects.iter().chain(state.namespace_policies.objects.iter());
    let valid = policies().filter_map(|entry| entry.form.in_force().cloned()).collect();
    let invalid = policies().filter_map(|entry| entry.form.flaw().cloned()).collect();
    let namespaces = state.namespaces.objects.iter().filter_map(|entry| {
        let labels = entry.form.in_force()?;
        Some((entry.meta.name.clone(), (**labels).clone()))
    });
    let revocations = gathered.gather(state, &feeds);
    Snapshot::new(roots.clone(), unmatched)
        .with_rules(rules(state, unmatched))
        .with_policies(valid, invalid)
        .with_namespaces(namespaces.collect())
        .with_revocations(revocations)
        .with_feeds(feeds)
}

/// The delegated TUF roles whose signers a policy asks for. Each is looked up again and again, so that of those which only policies of
/// namespaces name, some of each namespace are: who signs for the others is not known.
pub(super) fn roles(state: &State) -> BTreeSet<RoleName> {
    let of = |objects: &PolicyObjects| -> Vec<(Option<String>, BTreeSet<RoleName>)> {
        let roles = |entry: &Entry<Policy, InvalidPolicy>| {
            let policy = entry.form.in_force()?;
            Some((entry.meta.namespace.clone(), policy.tuf_roles().cloned().collect()))
        };
        objects.iter().filter_map(roles).collect()
    };
    let mut all: BTreeSet<RoleName> = of(&state.policies.objects).into_iter().flat_map(|(_, roles)| roles).collect();
    let mut by_namespace: BTreeMap<Option<String>, BTreeSet<RoleName>> = BTreeMap::new();
    for (namespace, roles) in of(&state.namespace_policies.objects) {
        by_namespace.entry(namespace).or_default().extend(roles);
    }
    for roles in by_namespace.into_values() {
        let new: Vec<RoleName> =
            roles.into_iter().filter(|role| !all.contains(role)).take(ROLES_OF_NAMESPACE).collect();
        let room = ROLES.saturating_sub(all.len());
        all.extend(new.into_iter().take(room));
    }
    all
}

/// The cluster's own rules that are in force.
pub(super) fn rules(state: &State, unmatched: Unmatched) -> ClusterRules {
    let Some(entry) = state.configs.objects.iter().find(|entry| entry.meta.name == CONFIG) else {
        return ClusterRules::without_object(unmatched);
    };
    match &entry.form {
        Form::Valid(rules) | Form::Invalid(_, Some(rules)) => (**rules).clone(),
        Form::Invalid(flaw, None) => flaw.salvaged.clone(),
    }
}

/// Whether this is the object whose rules count.
pub(super) fn is_in_force(entry: &Entry<ClusterRules, InvalidConfig>) -> bool {
    entry.meta.name == CONFIG
}

/// The labels of a namespace, if it was seen.
pub(super) fn labels(state: &State, namespace: &str) -> NamespaceLabels {
    let mut entries = state.namespaces.objects.iter();
    let found = entries.find(|entry| entry.meta.name == namespace).and_then(|entry| entry.form.in_force());
    found.map_or(NamespaceLabels::Unknown, |labels| NamespaceLabels::Known((**labels).clone()))
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::super::kinds;
    use super::*;
    use crate::image::ImageReference;
    use crate::policy::Scope;

    fn snapshot(state: &State, roots: &TrustRoots, feeds: Feeds, unmatched: Unmatched) -> Snapshot {
        super::snapshot(state, roots, feeds, unmatched, &mut Gathered::default())
    }

    fn object(name: &str, uid: &str, images: &Value) -> Value {
        json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy",
            "metadata": {"name": name, "uid": uid},
            "spec": {"images": images, "authorities": [{"name": "a", "keyless": {"trustRoot": "public-good", "identities": [
                {"issuer": {"exact": "https://issuer"}, "subject": {"exact": "a@b"}}]}}]}
        })
    }

    fn with_typo(mut object: Value) -> Value {
        object["spec"]["exclud"] = json!([]);
        object
    }

    fn apply(state: &mut State, object: &Value) {
        state.policies.objects.take(Event::Apply(kinds::policy(object)));
    }

    /// Which policies, valid and invalid, govern an image.
    fn governing(state: &State, image: &str) -> (Vec<String>, Vec<String>) {
        let reference = ImageReference::parse(image).unwrap();
        let snapshot = snapshot(state, &TrustRoots::default(), Feeds::default(), Unmatched::Deny);
        let selected = snapshot.select(reference.repository(), reference.digest(), &Scope::Anywhere);
        (
            selected.policies.iter().map(|policy| policy.name().to_string()).collect(),
            selected.invalid.iter().map(|policy| policy.name().to_string()).collect(),
        )
    }

    #[test]
    fn an_object_that_does_not_parse_denies_what_it_selects_and_hides_nothing() {
        let mut state = State::default();
        apply(&mut state, &object("good", "1", &json!(["ghcr.io/acme/**"])));
        apply(&mut state, &with_typo(object("bad", "2", &json!(["ghcr.io/other/**"]))));
        assert_eq!(governing(&state, "ghcr.io/acme/a:1"), (vec!["good".into()], vec![]));
        assert_eq!(governing(&state, "ghcr.io/other/a:1"), (vec![], vec!["bad".into()]));
        // Images that do not parse either select everything.
        let worse = object("worse", "3", &json!(["ghcr.io/acme/a:tag"]));
        apply(&mut state, &worse);
        assert_eq!(governing(&state, "quay.io/x/y:1"), (vec![], vec!["worse".into()]));
        state.policies.objects.take(Event::Delete(kinds::policy(&worse)));
        assert_eq!(governing(&state, "quay.io/x/y:1"), (vec![], vec![]));
    }

    #[test]
    fn a_last_good_form_stays_in_force_and_what_it_would_govern_now_is_denied() {
        let mut state = State::default();
        apply(&mut state, &object("p", "1", &json!(["ghcr.io/acme/**"])));
        apply(&mut state, &with_typo(object("p", "1", &json!(["ghcr.io/acme/**", "quay.io/**"]))));
        assert_eq!(governing(&state, "ghcr.io/acme/a:1"), (vec!["p".into()], vec![]));
        assert_eq!(governing(&state, "quay.io/x/y:1"), (vec![], vec!["p".into()]));
        let counts = snapshot(&state, &TrustRoots::default(), Feeds::default(), Unmatched::Deny).policy_counts();
        assert_eq!(counts, (1, 1));
    }

    #[test]
    fn a_policy_of_a_namespace_governs_there_and_nowhere_else() {
        let mut state = State::default();
        let mut policy = object("p", "1", &json!(["ghcr.io/acme/**"]));
        policy["kind"] = json!("SignaturePolicy");
        policy["metadata"]["namespace"] = json!("team-a");
        state.namespace_policies.objects.take(Event::Apply(kinds::policy(&policy)));
        policy["metadata"]["namespace"] = json!("team-b");
        state.namespace_policies.objects.take(Event::Apply(kinds::policy(&with_typo(policy))));
        let snapshot = snapshot(&state, &TrustRoots::default(), Feeds::default(), Unmatched::Deny);
        let reference = ImageReference::parse("ghcr.io/acme/a:1").unwrap();
        let governing = |namespace: &str| {
            let scope = Scope::Namespace(snapshot.namespace(namespace));
            let selected = snapshot.select(reference.repository(), None, &scope);
            (selected.policies.len(), selected.invalid.len())
        };
        assert_eq!([governing("team-a"), governing("team-b"), governing("team-c")], [(1, 0), (0, 1), (0, 0)]);
    }

    #[test]
    fn rules_that_do_not_parse_loosen_nothing_and_other_names_count_for_nothing() {
        let config = |name: &str, uid: &str, spec: Value| {
            json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "CountersignConfig",
                "metadata": {"name": name, "uid": uid}, "spec": spec})
        };
        let mut state = State::default();
        let unmatched =
            |state: &State| snapshot(state, &TrustRoots::default(), Feeds::default(), Unmatched::Allow).unmatched();
        assert_eq!(unmatched(&state), Unmatched::Allow);
        let mut taken = |object: Value| {
            state.configs.objects.take(Event::Apply(kinds::config(&object)));
            unmatched(&state)
        };
        assert_eq!(taken(config("other", "0", json!({"unmatched": "Warn"}))), Unmatched::Allow);
        assert_eq!(taken(config("cluster", "1", json!({"typo": 1}))), Unmatched::Deny);
        assert_eq!(taken(config("cluster", "1", json!({"unmatched": "Warn"}))), Unmatched::Warn);
        assert_eq!(taken(config("cluster", "1", json!({"typo": 1}))), Unmatched::Warn);
        assert_eq!(taken(config("cluster", "2", json!({"typo": 1}))), Unmatched::Deny, "another object of that name");
    }

    #[test]
    fn a_revocation_acts_by_its_valid_entries_and_its_last_good_form() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let mut revocation = json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
            "metadata": {"name": "r", "uid": "1"},
            "spec": {"reason": "leaked", "artifacts": [{"digest": "sha256:beef"}, {"digest": digest("a")}]}});
        let mut state = State::default();
        let mut taken = |object: &Value| {
            state.revocations.objects.take(Event::Apply(kinds::revocation(object)));
            let snapshot = snapshot(&state, &TrustRoots::default(), Feeds::default(), Unmatched::Allow);
            ["a", "b"].map(|letter| snapshot.revocations().artifact(&Digest::parse(&digest(letter)).unwrap()).is_some())
        };
        assert_eq!(taken(&revocation), [true, false]);
        revocation["status"] = json!({"descendants": [digest("b")]});
        assert_eq!(taken(&revocation), [true, true]);
        revocation["spec"] = json!(1);
        assert_eq!(taken(&revocation), [true, true]);
        revocation["metadata"]["uid"] = json!("2");
        assert_eq!(taken(&revocation), [false, false]);
    }

    #[test]
    fn revocations_are_gathered_anew_only_when_one_changes() {
        let revocation = |reason: &str| {
            kinds::revocation(&json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
                "metadata": {"name": "r", "uid": "1"},
                "spec": {"reason": reason, "artifacts": [{"digest": format!("sha256:{}", "a".repeat(64))}]}}))
        };
        let (mut state, mut gathered) = (State::default(), Gathered::default());
        state.revocations.objects.take(Event::Apply(revocation("leaked")));
        let first = gathered.gather(&state, &Feeds::default());
        assert!(first.names_artifacts());
        apply(&mut state, &object("p", "1", &json!(["**"])));
        assert!(gathered.gather(&state, &Feeds::default()).is_same(&first));
        // A watch that lists again, and finds what there was.
        state.revocations.objects.take(Event::Apply(revocation("leaked")));
        assert!(gathered.gather(&state, &Feeds::default()).is_same(&first));
        state.revocations.objects.take(Event::Apply(revocation("stolen")));
        let second = gathered.gather(&state, &Feeds::default());
        assert!(!second.is_same(&first) && second != first);
        state.revocations.objects.take(Event::Delete(revocation("stolen")));
        assert_eq!(gathered.gather(&state, &Feeds::default()), Revocations::none());
    }

    #[test]
    fn what_is_found_below_an_index_falls_with_it_whoever_names_it() {
        let digest = |letter: &str| Digest::parse(&format!("sha256:{}", letter.repeat(64))).unwrap();
        let revocation = |suspended: bool| {
            kinds::revocation(&json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
                "metadata": {"name": "r", "uid": "1"},
                "spec": {"reason": "leaked", "suspended": suspended, "artifacts": [{"digest": digest("a").to_string()}]}}))
        };
        let below = || BTreeMap::from([(digest("a"), vec![digest("b")]), (digest("c"), vec![digest("d")])]);
        let (mut state, mut gathered) = (State::default(), Gathered::default());
        let mut fall = |gathered: &mut Gathered, suspended: bool| {
            state.revocations.objects.take(Event::Apply(revocation(suspended)));
            let set = gathered.gather(&state, &Feeds::default());
            ["a", "b", "c", "d"].map(|letter| set.artifact(&digest(letter)).is_some())
        };
        assert_eq!(fall(&mut gathered, false), [true, false, false, false]);
        assert!(gathered.learn(below()) && !gathered.learn(below()));
        assert_eq!(fall(&mut gathered, false), [true, true, false, false]);
        assert_eq!(fall(&mut gathered, true), [false; 4]);
        assert_eq!(fall(&mut gathered, false), [true, true, false, false]);
    }

    #[test]
    fn roles_are_looked_up_for_policies_and_of_each_namespace_some() {
        let mut state = State::default();
        let policy = |kind: &str, namespace: Option<&str>, name: &str, roles: std::ops::Range<usize>| {
            let identities: Vec<Value> =
                roles.map(|role| json!({"tufRole": {"trustRoot": "own", "role": format!("{name}-{role}")}})).collect();
            let mut policy = object(name, name, &json!(["**"]));
            policy["kind"] = json!(kind);
            policy["spec"]["authorities"][0]["keyless"]["identities"] = json!(identities);
            if let Some(namespace) = namespace {
                policy["metadata"]["namespace"] = json!(namespace);
            }
            kinds::policy(&policy)
        };
        state.policies.objects.take(Event::Apply(policy("ClusterSignaturePolicy", None, "c", 0..32)));
        assert_eq!(roles(&state).len(), 32);
        // The cluster's do not count against a namespace.
        for namespace in ["team-a", "team-b"] {
            state.namespace_policies.objects.take(Event::Apply(policy("SignaturePolicy", Some(namespace), "c", 0..32)));
            assert_eq!(roles(&state).len(), 32);
        }
        for (namespace, name) in [("team-a", "a"), ("team-a", "d"), ("team-b", "b")] {
            state.namespace_policies.objects.take(Event::Apply(policy(
                "SignaturePolicy",
                Some(namespace),
                name,
                0..32,
            )));
        }
        assert_eq!(roles(&state).len(), 32 + 2 * ROLES_OF_NAMESPACE);
        for number in 0..100 {
            let (namespace, name) = (format!("n{number}"), format!("n{number}"));
            let policy = policy("SignaturePolicy", Some(&namespace), &name, 0..32);
            state.namespace_policies.objects.take(Event::Apply(policy));
        }
        assert_eq!(roles(&state).len(), ROLES);
    }
}
