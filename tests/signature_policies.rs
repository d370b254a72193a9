//! Policies of namespaces through the judge: they govern their own namespace, add to what the cluster demands and never take from it, and
//! make an image a matched one only as far as a delegation goes.

#![expect(clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]
#![expect(clippy::indexing_slicing, reason = "objects of tests have the fields that they were given")]

#[path = "support/signer.rs"]
mod signer;
#[path = "support/registry.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign::decision::{Answer, Decision};
use countersign::image::Digest;
use countersign::judge::{Judge, Request};
use countersign::policy::{ClusterRules, InvalidPolicy, Policy, Scope, Snapshot, Unmatched};
use countersign::registry::Limits;
use countersign::trust::TrustRoots;
use countersign::workload::ContainerImage;
use serde_json::{Value, json};
use signer::{Signer, image};
use support::{Content, FakeRegistry, Seen, client, options};
use tokio::time::Instant;

/// What it is, the policies, the rules, the namespace; the answer, and what is said.
type Case = (&'static str, Vec<Value>, ClusterRules, &'static str, Answer, &'static str);
/// What is off in an object.
type Change<'a> = &'a dyn Fn(&mut Value);

fn object(kind: &str, namespace: Option<&str>, pem: &str, further: &Value) -> Value {
    let mut metadata = json!({"name": "p"});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let mut spec = json!({"images": ["**"], "authorities": [{"name": "a", "keys": [{"name": "k", "pem": pem}]}]});
    for (field, value) in further.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn cluster(signer: &Signer, further: &Value) -> Value {
    object("ClusterSignaturePolicy", None, &signer.pem(), further)
}

fn of(namespace: &str, signer: &Signer, further: &Value) -> Value {
    object("SignaturePolicy", Some(namespace), &signer.pem(), further)
}

fn delegating(labels: &Value, images: &Value) -> ClusterRules {
    config(&json!({"delegations": [{"namespaceSelector": {"matchLabels": labels}, "images": images}]}))
}

fn config(spec: &Value) -> ClusterRules {
    ClusterRules::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "CountersignConfig", "metadata": {"name": "cluster"},
        "spec": spec,
    }))
    .unwrap()
}

/// The answer to one image of the registry, in a namespace whose label `team` is its name, and all that is said.
async fn ask(
    registry: &FakeRegistry,
    objects: &[Value],
    rules: ClusterRules,
    namespace: &str,
    tail: &str,
) -> (Answer, String) {
    let (mut valid, mut invalid) = (Vec::new(), Vec::new());
    for object in objects {
        match Policy::parse(object) {
            Ok(policy) => valid.push(Arc::new(policy)),
            Err(error) => invalid.push(Arc::new(InvalidPolicy::salvage(object, error))),
        }
    }
    let labels = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
    let namespaces = ["team-a", "team-b"].map(|name| (name.to_owned(), labels(name))).into();
    let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Allow)
        .with_policies(valid, invalid)
        .with_rules(rules)
        .with_namespaces(namespaces);
    let images = vec![ContainerImage::named("image", &format!("{}/{tail}", registry.host()))];
    let request = Request { images, scope: Scope::Namespace(snapshot.namespace(namespace)), runs: false };
    let judge = Judge::new(client(options(&[registry.host()])), Limits::default());
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let verdicts = judge.judge(&request, &snapshot, now, Instant::now() + Duration::from_secs(20)).await;
    let decision = Decision::new(verdicts, snapshot.unmatched());
    (decision.outcome(), decision.text())
}

#[tokio::test]
async fn policies_of_namespaces_add_and_match_as_far_as_they_are_delegated() {
    use Answer::{Allow, Deny, Undecided};
    let (signer, other) = (Signer::new(), Signer::new());
    let bytes = image("app");
    let content = signer.sign(Content::default().with_tag("1", &bytes), &bytes);
    let registry = FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await;
    let app = format!("app@{}", Digest::of(&bytes));
    let none = json!({});
    let undelegated = || ClusterRules::without_object(Unmatched::Deny);
    let delegated = || delegating(&json!({"team": "team-a"}), &json!(["**"]));
    let elsewhere = || delegating(&json!({"team": "team-a"}), &json!(["ghcr.io/**"]));
    let exempt = || {
        let exemption = json!({"images": ["**"], "namespaces": ["team-a"], "reason": "known"});
        config(&json!({"exempt": [exemption]}))
    };
    let open = || ClusterRules::without_object(Unmatched::Allow);
    let misspelt = || {
        let mut object = of("team-a", &signer, &none);
        object["spec"]["exclud"] = json!([]);
        object
    };
    let table: Vec<Case> = vec![
        ("not delegated", vec![of("team-a", &signer, &none)], undelegated(), "team-a", Deny, "[Unmatched]"),
        ("delegated", vec![of("team-a", &signer, &none)], delegated(), "team-a", Allow, "policy team-a/p: satisfied"),
        (
            "delegated and not satisfied",
            vec![of("team-a", &other, &none)],
            delegated(),
            "team-a",
            Deny,
            "policy team-a/p: not",
        ),
        ("delegated for other images", vec![of("team-a", &signer, &none)], elsewhere(), "team-a", Deny, "[Unmatched]"),
        (
            "another namespace is not delegated",
            vec![of("team-b", &signer, &none)],
            delegated(),
            "team-b",
            Deny,
            "[Unmatched]",
        ),
        (
            "a policy of another namespace",
            vec![of("team-b", &signer, &none)],
            delegated(),
            "team-a",
            Deny,
            "[Unmatched]",
        ),
        ("an unknown namespace", vec![of("team-c", &signer, &none)], delegated(), "team-c", Deny, "[Unmatched]"),
        (
            "one that warns",
            vec![of("team-a", &signer, &json!({"action": "Warn"}))],
            delegated(),
            "team-a",
            Deny,
            "[Unmatched]",
        ),
        (
            "one that audits",
            vec![of("team-a", &signer, &json!({"action": "Audit"}))],
            delegated(),
            "team-a",
            Deny,
            "[Unmatched]",
        ),
        (
            "one that excludes",
            vec![of("team-a", &signer, &json!({"exclude": ["**"]}))],
            delegated(),
            "team-a",
            Deny,
            "[Unmatched]",
        ),
        (
            "the cluster's is enough",
            vec![cluster(&signer, &none)],
            undelegated(),
            "team-a",
            Allow,
            "policy p: satisfied",
        ),
        (
            "both",
            vec![cluster(&signer, &none), of("team-a", &signer, &none)],
            undelegated(),
            "team-a",
            Allow,
            "team-a/p: satisfied",
        ),
        (
            "it adds",
            vec![cluster(&signer, &none), of("team-a", &other, &none)],
            undelegated(),
            "team-a",
            Deny,
            "team-a/p: not",
        ),
        (
            "only at home",
            vec![cluster(&signer, &none), of("team-a", &other, &none)],
            undelegated(),
            "team-b",
            Allow,
            "policy p: ",
        ),
        (
            "it takes nothing away",
            vec![cluster(&other, &none), of("team-a", &signer, &none)],
            delegated(),
            "team-a",
            Deny,
            "policy p: not",
        ),
        (
            "it adds where unmatched images are allowed",
            vec![of("team-a", &other, &none)],
            open(),
            "team-a",
            Deny,
            "team-a/p: not",
        ),
        ("unmatched elsewhere", vec![of("team-a", &other, &none)], open(), "team-b", Allow, "[Unmatched]"),
        ("exempt", vec![], exempt(), "team-a", Allow, "known [Exempt]"),
        ("not exempt there", vec![], exempt(), "team-b", Deny, "[Unmatched]"),
        (
            "an exemption lifts no policy of a namespace",
            vec![of("team-a", &other, &none)],
            exempt(),
            "team-a",
            Deny,
            "team-a/p: not",
        ),
        (
            "an exemption lifts no policy of the cluster",
            vec![cluster(&other, &none)],
            exempt(),
            "team-a",
            Deny,
            "policy p: not",
        ),
        (
            "one that does not parse",
            vec![cluster(&signer, &none), misspelt()],
            undelegated(),
            "team-a",
            Undecided,
            "team-a/p: could not",
        ),
        (
            "does not parse, elsewhere",
            vec![cluster(&signer, &none), misspelt()],
            undelegated(),
            "team-b",
            Allow,
            "policy p: satisfied",
        ),
    ];
    for (what, objects, rules, namespace, expected, said) in table {
        let (answer, text) = ask(&registry, &objects, rules, namespace, &app).await;
        assert_eq!(answer, expected, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
    }
    // A tag: its own rule may be loose, the cluster's stands all the same.
    let loose = json!({"tags": "Allow"});
    let require = json!({"tags": "Require"});
    let own = vec![of("team-a", &signer, &loose)];
    assert_eq!(ask(&registry, &own, delegated(), "team-a", "app:1").await.0, Allow);
    let both = vec![cluster(&signer, &require), of("team-a", &signer, &loose)];
    assert_eq!(ask(&registry, &both, delegated(), "team-a", "app:1").await.0, Deny);
}

#[test]
fn a_policy_of_a_namespace_has_one_and_matches_no_others() {
    let signer = Signer::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut object = of("team-a", &signer, &json!({}));
        change(&mut object);
        Policy::parse(&object)
    };
    let policy = with(&|_| {}).unwrap();
    assert_eq!((policy.name().as_str(), policy.name().kind()), ("team-a/p", "SignaturePolicy"));
    let long = "n".repeat(64);
    let table: [(&str, Change<'_>); 5] = [
        ("no namespace", &|object| drop(object["metadata"].as_object_mut().unwrap().remove("namespace"))),
        ("an empty namespace", &|object| object["metadata"]["namespace"] = json!("")),
        ("too long a namespace", &|object| object["metadata"]["namespace"] = json!(long)),
        ("other namespaces", &|object| object["spec"]["match"] = json!({"namespaces": ["team-b"]})),
        ("an unknown field", &|object| object["spec"]["exclud"] = json!([])),
    ];
    for (what, change) in table {
        assert!(with(change).is_err(), "{what}");
    }
    assert_ne!(
        Policy::parse(&cluster(&signer, &json!({}))).unwrap().name(),
        Policy::parse(&of("team-a", &signer, &json!({}))).unwrap().name(),
    );
}
