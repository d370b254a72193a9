//! The snapshot made of what the watches have seen.
//!
//! A policy that does not parse denies what it selects, and stays in force in its last good form where it had one. What a trust
//! root object says is `trust_store`'s affair: here the roots are what it made of them.

use super::watched::State;
use crate::policy::{Snapshot, Unmatched};
use crate::trust::TrustRoots;

/// The snapshot of everything seen.
pub(super) fn snapshot(state: &State, roots: &TrustRoots, unmatched: Unmatched) -> Snapshot {
    let policies = || state.policies.objects.iter();
    let valid = policies().filter_map(|entry| entry.form.in_force().cloned()).collect();
    let invalid = policies().filter_map(|entry| entry.form.flaw().cloned()).collect();
    let namespaces = state.namespaces.objects.iter().filter_map(|entry| {
        let labels = entry.form.in_force()?;
        Some((entry.meta.name.clone(), (**labels).clone()))
    });
    Snapshot::new(roots.clone(), unmatched).with_policies(valid, invalid).with_namespaces(namespaces.collect())
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::super::kinds;
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

    fn apply(state: &mut State, object: &Value) {
        state.policies.objects.take(Event::Apply(kinds::policy(object)));
    }

    /// Which policies, valid and invalid, govern an image.
    fn governing(state: &State, image: &str) -> (Vec<String>, Vec<String>) {
        let reference = ImageReference::parse(image).unwrap();
        let snapshot = snapshot(state, &TrustRoots::default(), Unmatched::Deny);
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
        let counts = snapshot(&state, &TrustRoots::default(), Unmatched::Deny).policy_counts();
        assert_eq!(counts, (1, 1));
    }
}
