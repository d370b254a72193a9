//! The policies and namespaces that a watch has seen, and the snapshot made of them.
//!
//! No client and no clock: events in, snapshot out. One object that does not parse never hides the others, and is never dropped: its
//! last good form stays in force if it has one, and it denies whatever else it selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::policy::{InvalidPolicy, Policy, Snapshot, Unmatched};
use crate::trust::TrustRoots;

type Labels = BTreeMap<String, String>;

/// What the watches have seen.
#[derive(Debug, Default)]
pub struct Index {
    policies: BTreeMap<String, Entry>,
    namespaces: BTreeMap<String, Labels>,
    /// A list that is still coming in; it replaces the map when it is complete, and never before.
    listed_policies: BTreeMap<String, Entry>,
    listed_namespaces: BTreeMap<String, Labels>,
}

/// A policy object by name. `uid` tells an object that was deleted and created again from one that was changed.
#[derive(Clone, Debug)]
struct Entry {
    uid: String,
    state: Parsed,
}

#[derive(Clone, Debug)]
enum Parsed {
    Valid(Arc<Policy>),
    /// What it says now, and its last good form if it had one.
    Invalid(Arc<InvalidPolicy>, Option<Arc<Policy>>),
}

impl Index {
    /// A new list begins.
    pub fn start_policies(&mut self) {
        self.listed_policies.clear();
    }

    /// An object of the list.
    pub fn list_policy(&mut self, object: &Value) {
        let (name, entry) = self.parse(object);
        self.listed_policies.insert(name, entry);
    }

    /// The list is complete and replaces what was known.
    pub fn finish_policies(&mut self) {
        self.policies = std::mem::take(&mut self.listed_policies);
    }

    /// An object was created or changed.
    pub fn apply_policy(&mut self, object: &Value) {
        let (name, entry) = self.parse(object);
        self.policies.insert(name, entry);
    }

    /// An object was deleted.
    pub fn delete_policy(&mut self, name: &str) {
        self.policies.remove(name);
    }

    /// A new list begins.
    pub fn start_namespaces(&mut self) {
        self.listed_namespaces.clear();
    }

    /// A namespace of the list.
    pub fn list_namespace(&mut self, name: String, labels: Labels) {
        self.listed_namespaces.insert(name, labels);
    }

    /// The list is complete and replaces what was known.
    pub fn finish_namespaces(&mut self) {
        self.namespaces = std::mem::take(&mut self.listed_namespaces);
    }

    /// A namespace was created or changed.
    pub fn apply_namespace(&mut self, name: String, labels: Labels) {
        self.namespaces.insert(name, labels);
    }

    /// A namespace was deleted.
    pub fn delete_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// The snapshot of everything seen.
    pub fn snapshot(&self, roots: TrustRoots, unmatched: Unmatched) -> Snapshot {
        let mut valid = Vec::new();
        let mut invalid = Vec::new();
        for entry in self.policies.values() {
            match &entry.state {
                Parsed::Valid(policy) => valid.push(Arc::clone(policy)),
                Parsed::Invalid(policy, last_good) => {
                    invalid.push(Arc::clone(policy));
                    valid.extend(last_good.clone());
                }
            }
        }
        Snapshot::new(roots, unmatched).with_policies(valid, invalid).with_namespaces(self.namespaces.clone())
    }

    fn parse(&self, object: &Value) -> (String, Entry) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        let state = match Policy::parse(object) {
            Ok(policy) => Parsed::Valid(Arc::new(policy)),
            Err(error) => {
                tracing::warn!(policy = %name, %error, "a stored policy does not parse");
                Parsed::Invalid(Arc::new(InvalidPolicy::salvage(object, error)), self.last_good(&name, &uid))
            }
        };
        (name, Entry { uid, state })
    }

    fn last_good(&self, name: &str, uid: &str) -> Option<Arc<Policy>> {
        match &self.policies.get(name).filter(|known| known.uid == uid)?.state {
            Parsed::Valid(policy) => Some(Arc::clone(policy)),
            Parsed::Invalid(_, last_good) => last_good.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::image::ImageReference;
    use crate::policy::Scope;

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

    /// Which policies, valid and invalid, govern an image.
    fn governing(index: &Index, image: &str) -> (Vec<String>, Vec<String>) {
        let reference = ImageReference::parse(image).unwrap();
        let snapshot = index.snapshot(TrustRoots::default(), Unmatched::Deny);
        let selected = snapshot.select(reference.repository(), reference.digest(), &Scope::Anywhere);
        (
            selected.policies.iter().map(|policy| policy.name().to_string()).collect(),
            selected.invalid.iter().map(|policy| policy.name().to_string()).collect(),
        )
    }

    #[test]
    fn an_object_that_does_not_parse_denies_what_it_selects_and_hides_nothing() {
        let mut index = Index::default();
        index.apply_policy(&object("good", "1", &json!(["ghcr.io/acme/**"])));
        index.apply_policy(&with_typo(object("bad", "2", &json!(["ghcr.io/other/**"]))));
        assert_eq!(governing(&index, "ghcr.io/acme/a:1"), (vec!["good".into()], vec![]));
        assert_eq!(governing(&index, "ghcr.io/other/a:1"), (vec![], vec!["bad".into()]));
        // Images that do not parse either select everything.
        index.apply_policy(&object("worse", "3", &json!(["ghcr.io/acme/a:tag"])));
        assert_eq!(governing(&index, "quay.io/x/y:1"), (vec![], vec!["worse".into()]));
        index.delete_policy("worse");
        assert_eq!(governing(&index, "quay.io/x/y:1"), (vec![], vec![]));
    }

    #[test]
    fn the_last_good_form_is_kept_for_the_same_object_only() {
        let mut index = Index::default();
        index.apply_policy(&object("p", "1", &json!(["ghcr.io/acme/**"])));
        index.apply_policy(&with_typo(object("p", "1", &json!(["ghcr.io/acme/**"]))));
        assert_eq!(governing(&index, "ghcr.io/acme/a:1"), (vec!["p".into()], vec![]));
        // What it meant to govern beside that is denied, however often it changes without parsing.
        for _ in 0..2 {
            index.apply_policy(&with_typo(object("p", "1", &json!(["ghcr.io/acme/**", "quay.io/**"]))));
            assert_eq!(governing(&index, "ghcr.io/acme/a:1"), (vec!["p".into()], vec![]));
            assert_eq!(governing(&index, "quay.io/x/y:1"), (vec![], vec!["p".into()]));
            assert_eq!(index.snapshot(TrustRoots::default(), Unmatched::Deny).policy_counts(), (1, 1));
        }
        index.apply_policy(&with_typo(object("p", "2", &json!(["ghcr.io/acme/**"]))));
        assert_eq!(governing(&index, "ghcr.io/acme/a:1"), (vec![], vec!["p".into()]));
    }

    #[test]
    fn a_list_replaces_only_when_it_is_complete() {
        let mut index = Index::default();
        index.apply_policy(&object("old", "1", &json!(["ghcr.io/acme/**"])));
        index.start_policies();
        index.list_policy(&object("new", "2", &json!(["ghcr.io/acme/**"])));
        assert_eq!(governing(&index, "ghcr.io/acme/a:1").0, ["old"]);
        index.finish_policies();
        assert_eq!(governing(&index, "ghcr.io/acme/a:1").0, ["new"]);
    }
}
