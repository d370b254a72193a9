//! What is refused, what is only warned about, and what is never looked at.

use serde_json::{Value, json};

use super::*;

/// Knows one trust root, or nothing.
struct Known(bool);

impl References for Known {
    fn has_trust_root(&self, name: &str) -> Option<bool> {
        self.0.then_some(name == "public-good")
    }

    fn delegates_to(&self, namespace: &str) -> Option<bool> {
        self.0.then_some(namespace == "delegated")
    }
}

fn policy(root: &str) -> Value {
    object(
        "ClusterSignaturePolicy",
        &json!({"images": ["ghcr.io/acme/**"], "authorities": [{"name": "a", "keyless": {"trustRoot": root, "identities": [
            {"issuer": {"exact": "https://issuer"}, "subject": {"exact": "a@b"}}]}}]}),
    )
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": kind, "metadata": {"name": "public-good"}, "spec": spec})
}

#[test]
fn a_policy_of_a_namespace_is_told_that_it_matches_nothing() {
    let warned = |namespace: &str, known: bool| {
        let mut policy = policy("public-good");
        (policy["kind"], policy["metadata"]["namespace"]) = (json!("SignaturePolicy"), json!(namespace));
        let body = serde_json::to_vec(&review("CREATE", &policy, &Value::Null)).unwrap();
        let answer = answer(&body, &Known(known));
        assert!(answer.allowed());
        answer.response.warnings.iter().any(|warning| warning.contains("[Undelegated]"))
    };
    assert_eq!([warned("team-a", true), warned("delegated", true), warned("team-a", false)], [true, false, false]);
}

fn revocation(digests: &[&str]) -> Value {
    let artifacts: Vec<Value> = digests.iter().map(|digest| json!({"digest": digest})).collect();
    object("SignatureRevocation", &json!({"reason": "leaked", "artifacts": artifacts}))
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    let kind = if object.is_null() { &old["kind"] } else { &object["kind"] };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": operation, "object": object, "oldObject": old,
            "kind": {"group": "policy.countersign.dev", "version": "v1alpha1", "kind": kind},
        },
    })
}

fn answered(review: &Value) -> Value {
    serde_json::to_value(answer(review.to_string().as_bytes(), &Known(true))).unwrap()["response"].clone()
}

fn created(object: &Value) -> Value {
    answered(&review("CREATE", object, &Value::Null))
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        parent => parent[field] = value,
    }
    object
}

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn what_parses_is_taken_and_what_does_not_is_refused_with_its_path() {
    let namespaced = with(policy("public-good"), "/kind", json!("SignaturePolicy"));
    let accepted = [
        policy("public-good"),
        with(namespaced, "/metadata/namespace", json!("delegated")),
        object("SignatureTrustRoot", &json!({"publicGood": {}})),
        with(object("CountersignConfig", &json!({"unmatched": "Deny"})), "/metadata/name", json!("cluster")),
    ];
    for object in &accepted {
        assert_eq!(created(object), json!({"uid": "u-1", "allowed": true}));
        // An unknown field, which the API server would keep and nobody would heed.
        let answer = created(&with(object.clone(), "/spec/typo", json!(1)));
        assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(422)), "{answer}");
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.contains("typo") && message.ends_with("Invalid]"), "{message}");
    }
    assert_eq!(created(&revocation(&[DIGEST])), json!({"uid": "u-1", "allowed": true}));
    let answer = created(&with(policy("public-good"), "/spec/images/0", json!("ghcr.io/acme/app:tag")));
    assert!(answer["status"]["message"].as_str().unwrap().contains("spec.images[0]"), "{answer}");
}

#[test]
fn a_reference_that_is_not_there_is_a_warning_if_anybody_knows() {
    let answer = created(&policy("elsewhere"));
    assert_eq!(answer["allowed"], true);
    let warnings = answer["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains("[ReferenceNotFound]"), "{answer}");
    let body = review("CREATE", &policy("elsewhere"), &Value::Null).to_string();
    let unknown = serde_json::to_value(super::answer(body.as_bytes(), &Known(false))).unwrap();
    assert_eq!(unknown["response"], json!({"uid": "u-1", "allowed": true}));
}

#[test]
fn a_revocation_with_one_valid_entry_is_taken_and_one_without_is_not() {
    let mixed = created(&revocation(&["sha256:beef", DIGEST]));
    assert_eq!((&mixed["allowed"], mixed["warnings"].as_array().map(Vec::len)), (&json!(true), Some(1)), "{mixed}");
    let typo = created(&with(revocation(&[DIGEST]), "/spec/typo", json!(1)));
    assert_eq!((&typo["allowed"], typo["warnings"].as_array().map(Vec::len)), (&json!(true), Some(1)), "{typo}");
    for digests in [&["sha256:beef"][..], &[]] {
        let answer = created(&revocation(digests));
        assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(422)), "{answer}");
    }
}

#[test]
fn what_was_stored_before_may_change_beside_its_spec() {
    let stored = with(policy("public-good"), "/spec/typo", json!(1));
    let labelled = with(stored.clone(), "/metadata/labels", json!({"a": "b"}));
    let answer = answered(&review("UPDATE", &labelled, &stored));
    assert!(answer["allowed"] == true && answer["warnings"][0].as_str().unwrap().contains("typo"), "{answer}");
    let respecified = with(stored.clone(), "/spec/action", json!("Warn"));
    assert_eq!(answered(&review("UPDATE", &respecified, &stored))["allowed"], false);
    let ending = with(respecified, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    assert_eq!(answered(&review("UPDATE", &ending, &stored))["allowed"], true);
    let mended = answered(&review("UPDATE", &policy("public-good"), &stored));
    assert_eq!(mended, json!({"uid": "u-1", "allowed": true}));
}

#[test]
fn a_deletion_is_never_looked_at() {
    let stored = with(policy("public-good"), "/spec/typo", json!(1));
    assert_eq!(answered(&review("DELETE", &Value::Null, &stored)), json!({"uid": "u-1", "allowed": true}));
}

#[test]
fn what_cannot_be_decoded_is_denied() {
    let good = review("CREATE", &policy("public-good"), &Value::Null);
    let bad = [
        json!({}),
        with(good.clone(), "/kind", json!("Pod")),
        with(good.clone(), "/request", Value::Null),
        with(good.clone(), "/request/uid", json!("")),
        with(good.clone(), "/request/operation", json!("CONNECT")),
        with(good.clone(), "/request/kind/group", json!("apps")),
        with(good.clone(), "/request/kind/version", json!("v2")),
        with(good.clone(), "/request/kind/kind", json!("SignatureTrustRoot")),
        with(good.clone(), "/request/object", Value::Null),
    ];
    for review in bad {
        assert_eq!(answered(&review)["allowed"], false, "{review}");
    }
    let answer = serde_json::to_value(answer(b"{", &Known(true))).unwrap();
    assert_eq!((&answer["response"]["allowed"], &answer["response"]["status"]["code"]), (&json!(false), &json!(400)));
    assert_eq!(answered(&good)["allowed"], true);
}

#[test]
fn warnings_are_bounded_and_of_one_line() {
    let many: Vec<String> = (0..40).map(|number| format!("sha256:\n{number}")).collect();
    let mut digests: Vec<&str> = many.iter().map(String::as_str).collect();
    digests.push(DIGEST);
    let answer = created(&revocation(&digests));
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!((warnings.len(), warnings.last()), (17, Some(&json!("and 24 more"))));
    assert!(warnings.iter().all(|line| !line.as_str().unwrap().contains('\n') && line.as_str().unwrap().len() <= 512));
}
