//! What went wrong in verifiers of others, and the test that each owes us. Each stands in the test's name; the list here says where it is,
//! and fails when one goes missing.
//!
//! Not in the list, because what they are about does not exist here yet: the TUF clients (CVE-2026-24137, CVE-2026-24686, GHSA-846p,
//! GHSA-fphv, CVE-2024-47534), revoked certificates of timestamp authorities (CVE-2024-56138, CVE-2023-25656), and functions of namespaced
//! policies that reach further than they may (CVE-2026-22039, CVE-2026-4789, GHSA-79gf-7frw-68m9).

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]
#![expect(clippy::similar_names, reason = "`signer` and `signed` are the field's words")]

#[path = "support/signer.rs"]
mod signer;
#[path = "support/registry.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use countersign::admission::{NoLookup, answer};
use countersign::judge::Judge;
use countersign::policy::{Policy, Snapshot, Unmatched};
use countersign::registry::Limits;
use countersign::trust::TrustRoots;
use serde_json::{Value, json};
use signer::{Signer, image};
use support::{Content, FakeRegistry, Seen, client, options};
use tokio::time::Instant;

/// The advisory as it stands in a test's name, and the file of the test.
const TESTS: &[(&str, &str)] = &[
    ("cve_2022_47633", "tests/judge.rs"),
    ("ghsa_2r43_6962_xcw5", "tests/store.rs"),
    ("cve_2025_29778", "tests/policy_proofs/fields.rs"),
    ("kyverno_16336", "tests/advisories.rs"),
    ("kyverno_15705", "tests/advisories.rs"),
    ("cve_2023_42813", "tests/registry_hostile.rs"),
    ("cve_2023_47630", "tests/registry_hostile.rs"),
    ("cve_2023_46737", "tests/registry_hostile.rs"),
    ("cve_2022_36056", "tests/verification/advisories.rs"),
    ("cve_2026_22703", "tests/verification/logs.rs"),
    ("cve_2026_24122", "tests/verification/certificates.rs"),
    ("ghsa_9vcr_p3rj_q5q6", "tests/policy_proofs/operators.rs"),
    ("ghsa_9vcr_p3rj_q5q6", "tests/policy_proofs/signers.rs"),
    ("ghsa_wqqc_jjcq_vfxm", "tests/verification/logs.rs"),
    ("cve_2025_27403", "src/registry/credentials.rs"),
    ("cve_2025_27403", "tests/registry_hostile.rs"),
    ("cve_2024_23332", "tests/policy_proofs/fields.rs"),
    ("portieris_no_wildcard", "src/image/pattern/tests.rs"),
    ("portieris_owner", "tests/advisories.rs"),
    ("connaisseur_finds_every_image", "src/workload/tests.rs"),
    ("ratify_116", "tests/store.rs"),
    ("kubewarden", "tests/advisories.rs"),
    ("tob_sigstore", "tests/verification/advisories.rs"),
    ("sigstore_rs", "tests/verification/advisories.rs"),
    ("kyverno_kc_adding_a_bad_attestation", "tests/policy_proofs/signers.rs"),
    ("kyverno_kc_a_certificate_without_a_name", "tests/policy_proofs/signers.rs"),
];

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads the source")]
fn every_advisory_has_its_test() {
    let missing: Vec<_> = TESTS
        .iter()
        .filter(|(name, file)| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            !text.contains(&format!("fn {name}"))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A judge over a registry with one signed and one unsigned image, and a policy of the signer's key.
struct Setup {
    registry: FakeRegistry,
    snapshot: Snapshot,
    signed: String,
    unsigned: String,
}

impl Setup {
    async fn new() -> Self {
        let signer = Signer::new();
        let (signed, unsigned) = (image("signed"), image("unsigned"));
        let content = signer.sign(Content::default().with(&signed).with(&unsigned), &signed);
        let registry = FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await;
        let policy = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
            "spec": {"images": ["**"], "authorities": [{"name": "a", "keys": [{"name": "k", "pem": signer.pem()}]}]},
        });
        let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Allow)
            .with_policies(vec![Arc::new(Policy::parse(&policy).unwrap())], Vec::new());
        let name = |manifest: &[u8]| format!("{}/app@{}", registry.host(), countersign::image::Digest::of(manifest));
        let (signed, unsigned) = (name(&signed), name(&unsigned));
        Self { registry, snapshot, signed, unsigned }
    }

    async fn answer(&self, body: &[u8]) -> Value {
        let judge = Judge::new(client(options(&[self.registry.host()])), Limits::default());
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let answered = answer(&judge, &self.snapshot, &NoLookup, body, now, deadline).await;
        serde_json::to_value(answered.response).unwrap()
    }

    async fn allows(&self, review: &Value) -> bool {
        self.answer(review.to_string().as_bytes()).await["response"]["allowed"].as_bool().unwrap()
    }
}

fn pod(image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn review(object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "name": "p", "namespace": "n", "operation": "CREATE",
        "userInfo": {"username": "someone"}, "object": object, "oldObject": null, "dryRun": false}})
}

/// Annotations, labels and users say nothing about an image, whatever they claim to have verified (kyverno#11529 and #11544 too).
#[tokio::test]
async fn kyverno_16336_nothing_that_an_author_writes_decides() {
    let setup = Setup::new().await;
    let claims = json!({
        "kyverno.io/verify-images": format!("{{\"{}\":\"pass\"}}", setup.unsigned),
        "policy.countersign.dev/verified": "true", "countersign.dev/skip": "true", "cosign.sigstore.dev/imageRef": setup.unsigned,
    });
    for (image, expected) in [(&setup.signed, true), (&setup.unsigned, false)] {
        let plain = pod(image);
        assert_eq!(setup.allows(&review(&plain)).await, expected);
        for place in ["annotations", "labels"] {
            let mut object = plain.clone();
            object["metadata"][place] = claims.clone();
            assert_eq!(setup.allows(&review(&object)).await, expected, "{place}");
        }
        let mut object = plain.clone();
        object["metadata"]["managedFields"] = json!([{"manager": "kube-controller-manager", "operation": "Update"}]);
        object["metadata"]["generateName"] = json!("system-");
        let mut request = review(&object);
        request["request"]["userInfo"] = json!({"username": "system:serviceaccount:kube-system:replicaset-controller",
            "groups": ["system:masters", "system:serviceaccounts:kube-system"]});
        request["request"]["options"] = json!({"kind": "CreateOptions", "fieldManager": "countersign"});
        assert_eq!(setup.allows(&request).await, expected, "user");
    }
}

/// A claim to belong to somebody who was admitted is no admission.
#[tokio::test]
async fn portieris_owner_references_are_not_believed() {
    let setup = Setup::new().await;
    for (image, expected) in [(&setup.signed, true), (&setup.unsigned, false)] {
        let mut object = pod(image);
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "admitted",
            "uid": "8a3c", "controller": true, "blockOwnerDeletion": true}]);
        assert_eq!(setup.allows(&review(&object)).await, expected);
    }
}

/// An object from which nothing could be read had nothing to verify, and passed.
#[tokio::test]
async fn kyverno_15705_an_object_without_images_is_denied() {
    let setup = Setup::new().await;
    assert!(setup.allows(&review(&pod(&setup.signed))).await);
    for object in [
        json!({}),
        Value::Null,
        json!({"apiVersion": "v1", "kind": "Pod"}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": null}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": ""}]}}),
    ] {
        assert!(!setup.allows(&review(&object)).await, "{object}");
    }
}

/// What is not understood is denied, and never an error of the server that a caller could take for an answer.
#[tokio::test]
async fn kubewarden_what_cannot_be_decoded_is_denied() {
    let setup = Setup::new().await;
    let sound = review(&pod(&setup.signed));
    assert!(setup.allows(&sound).await);
    for body in [&b""[..], b"{", b"[]", b"null", b"{}", b"\xff", br#"{"kind":"AdmissionReview"}"#] {
        let response = setup.answer(body).await;
        assert_eq!(response["response"]["allowed"], false, "{response}");
    }
    for (pointer, value) in [
        ("/apiVersion", json!("admission.k8s.io/v1beta1")),
        ("/kind", json!("Review")),
        ("/request", Value::Null),
        ("/request/kind/kind", json!("Widget")),
        ("/request/kind/group", json!("example.com")),
        ("/request/operation", json!("CONNECT")),
        ("/request/object/kind", json!("Widget")),
        ("/request/object/spec", json!([])),
    ] {
        let mut review = sound.clone();
        *review.pointer_mut(pointer).unwrap() = value.clone();
        assert!(!setup.allows(&review).await, "{pointer} = {value}");
    }
}
