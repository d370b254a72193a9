//! Artifacts: by digest, by tag, inside of an index, below a revoked one, whatever policies say and where none does; on what was
//! remembered; and while a request is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::admission::{self, NamespaceLookup};
use countersign::decision::{Answer, Decision};
use countersign::image::Digest;
use countersign::judge::{Judge, Request};
use countersign::policy::{Policy, Scope, Snapshot, Unmatched};
use countersign::registry::{Limits, RegistryClient};
use countersign::revocation::{Revocation, Revocations};
use countersign::store::{Cached, Kind, Store, StoreSettings};
use countersign::trust::TrustRoots;
use countersign::workload::ContainerImage;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::signer::{Signer, image};
use super::support::{Content, FakeRegistry, Seen, client, index, options, respond};
use super::{object, revoking};

/// Far above what any of these takes; a test that reaches it hangs.
const HANG: Duration = Duration::from_mins(1);

async fn start(content: Content) -> FakeRegistry {
    FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await
}

fn policy(signer: &Signer, spec: &Value) -> Arc<Policy> {
    let mut policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["**"], "authorities": [{"name": "a", "keys": [{"name": "k", "pem": signer.pem()}]}]},
    });
    for (field, value) in spec.as_object().unwrap() {
        policy["spec"][field] = value.clone();
    }
    Arc::new(Policy::parse(&policy).unwrap())
}

fn snapshot(policies: Vec<Arc<Policy>>, revocations: Revocations) -> Snapshot {
    Snapshot::new(TrustRoots::default(), Unmatched::Allow)
        .with_policies(policies, Vec::new())
        .with_revocations(revocations)
}

async fn decided(registry: &FakeRegistry, tail: &str, snapshot: &Snapshot) -> Decision {
    let judge = Judge::new(client(options(&[registry.host()])), Limits::default());
    let images = vec![ContainerImage::named("image", &format!("{}/{tail}", registry.host()))];
    let request = Request { images, scope: Scope::Anywhere, runs: false };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let verdicts = judge.judge(&request, snapshot, now, Instant::now() + HANG).await;
    Decision::new(verdicts, snapshot.unmatched())
}

fn artifact(bytes: &[u8]) -> Value {
    json!({"artifacts": [{"digest": Digest::of(bytes).to_string()}]})
}

#[tokio::test]
async fn a_revoked_image_is_denied_however_it_is_named_and_whatever_policies_say() {
    let signer = Signer::new();
    let (bad, good) = (image("bad"), image("good"));
    let (with_bad, nested) = (index(&[(&good, None), (&bad, None)]), index(&[(&good, None)]));
    let content = Content::default()
        .with_tag("bad", &bad)
        .with_tag("good", &good)
        .with_tag("with-bad", &with_bad)
        .with_tag("without", &nested);
    let content = [&bad, &good, &with_bad, &nested].iter().fold(content, |content, bytes| signer.sign(content, bytes));
    let registry = start(content).await;
    let policies = [
        ("none", vec![]),
        ("enforcing", vec![policy(&signer, &json!({}))]),
        ("warning", vec![policy(&signer, &json!({"action": "Warn"}))]),
        ("auditing", vec![policy(&signer, &json!({"action": "Audit"}))]),
        ("of other images", vec![policy(&signer, &json!({"images": ["other.example/**"]}))]),
        ("excluding", vec![policy(&signer, &json!({"exclude": ["*/app", "**"]}))]),
    ];
    let by_digest = |bytes: &[u8]| format!("app@{}", Digest::of(bytes));
    let references = [
        ("app:bad".to_owned(), false),
        (by_digest(&bad), false),
        (format!("app:good@{}", Digest::of(&bad)), false),
        ("app:with-bad".to_owned(), false),
        (by_digest(&with_bad), false),
        ("app:good".to_owned(), true),
        (by_digest(&good), true),
        ("app:without".to_owned(), true),
    ];
    for (name, policies) in policies {
        for (tail, allowed) in &references {
            let before = decided(&registry, tail, &snapshot(policies.clone(), Revocations::none())).await;
            assert!(before.allows(), "{name}, {tail}, nothing revoked: {}", before.text());
            let decision = decided(&registry, tail, &snapshot(policies.clone(), revoking(&artifact(&bad)))).await;
            let text = decision.text();
            assert_eq!(decision.allows(), *allowed, "{name}, {tail}: {text}");
            if !allowed {
                assert_eq!(decision.outcome(), Answer::Deny);
                let message = decision.respond("u", false).message().to_owned();
                for part in ["[Revoked]", "incident-7", "stolen in the night", &Digest::of(&bad).to_string(), "next:"] {
                    assert!(message.contains(part), "{part} is not in {message}");
                }
                let trace = serde_json::to_value(decision.trace()).unwrap();
                assert_eq!(trace["images"][0]["code"], "Revoked");
            }
        }
    }
}

#[tokio::test]
async fn a_digest_is_judged_before_any_network_and_tags_only_where_artifacts_are_revoked() {
    let (bad, good) = (image("bad"), image("good"));
    let registry = start(Content::default().with_tag("bad", &bad).with_tag("good", &good)).await;
    let revoked = snapshot(vec![], revoking(&artifact(&bad)));
    assert!(!decided(&registry, &format!("app@{}", Digest::of(&bad)), &revoked).await.allows());
    assert_eq!(registry.seen().len(), 0);
    let other = snapshot(vec![], revoking(&json!({"keys": [{"sha256": Digest::of(b"key").hex()}]})));
    assert!(decided(&registry, "app:bad", &other).await.allows());
    assert_eq!(registry.seen().len(), 0, "no artifact is revoked, and no policy asks");
    assert!(decided(&registry, "app:good", &revoked).await.allows());
    assert_ne!(registry.seen().len(), 0);
}

#[tokio::test]
async fn what_a_revoked_index_holds_falls_with_it() {
    let (child, sibling) = (image("child"), image("sibling"));
    let parent = index(&[(&child, None)]);
    let registry = start(Content::default().with_tag("child", &child).with_tag("sibling", &sibling)).await;
    let mut revocation = object(&artifact(&parent));
    revocation["status"] = json!({"descendants": [Digest::of(&child).to_string()]});
    let revocations = Revocations::new(vec![Arc::new(Revocation::parse(&revocation).unwrap())]);
    let revoked = snapshot(vec![], revocations);
    for (tail, allowed) in [("app:child", false), ("app:sibling", true)] {
        let decision = decided(&registry, tail, &revoked).await;
        assert_eq!(decision.allows(), allowed, "{}", decision.text());
    }
    assert!(decided(&registry, "app:child", &snapshot(vec![], revoking(&artifact(&parent)))).await.allows());
}

#[tokio::test]
async fn what_cannot_be_read_while_artifacts_are_revoked_is_denied() {
    let (good, child) = (image("good"), image("child"));
    let holding = index(&[(&child, None)]);
    let content = Content::default().with_tag("good", &good).with_tag("holding", &holding);
    let (away, missing) = (start(Content::default()).await, start(content).await);
    let busy = FakeRegistry::start(|_: &Seen| respond(503, &[], "")).await;
    let revoked = || revoking(&artifact(b"something else"));
    let warns = || vec![policy(&Signer::new(), &json!({"action": "Warn"}))];
    for (name, registry, tail) in [
        ("a tag that is not there", &away, "app:good"),
        ("a digest that is not there", &away, &*format!("app@{}", Digest::of(&good))),
        ("a registry that is down", &busy, "app:good"),
        ("an index without its child", &missing, "app:holding"),
        ("no reference", &missing, "app@sha256:beef"),
    ] {
        for policies in [vec![], warns()] {
            let decision = decided(registry, tail, &snapshot(policies.clone(), revoked())).await;
            assert!(!decision.allows(), "{name}: {}", decision.text());
            for part in ["artifacts are revoked", "next:"] {
                assert!(decision.text().contains(part), "{name}: {part} is not in {}", decision.text());
            }
            let decision = decided(registry, tail, &snapshot(policies, Revocations::none())).await;
            assert!(decision.allows(), "{name}, nothing revoked: {}", decision.text());
        }
    }
    assert_eq!(decided(&busy, "app:good", &snapshot(vec![], revoked())).await.outcome(), Answer::Undecided);
    assert!(decided(&missing, "app:good", &snapshot(vec![], revoked())).await.allows());
}

/// A judge that remembers everything for as long as the test takes.
fn remembering(registry: &FakeRegistry) -> Judge<Cached<RegistryClient>> {
    let lifetime = Duration::from_mins(1);
    let settings =
        StoreSettings { resolution_lifetime: lifetime, listing_lifetime: lifetime, ..StoreSettings::default() };
    let store = Store::new(settings);
    let source = store.over(client(options(&[registry.host()])));
    Judge::new(source, Limits::default()).with_store(store)
}

#[tokio::test]
async fn what_was_verified_before_is_struck_out_at_once_and_believed_again_when_lifted() {
    let signer = Signer::new();
    let bytes = image("signed");
    let registry = start(signer.sign(Content::default().with_tag("1", &bytes), &bytes)).await;
    let judge = remembering(&registry);
    let policies = vec![policy(&signer, &json!({}))];
    let pem = signer.pem();
    let key = countersign::trust::PublicKey::parse_pem(&pem).unwrap().fingerprint().digest().clone();
    let images = vec![ContainerImage::named("image", &format!("{}/app:1", registry.host()))];
    let request = Request { images, scope: Scope::Anywhere, runs: false };
    let none = json!({});
    let by_key = json!({"keys": [{"sha256": key.hex()}]});
    let neighbour = json!({"keys": [{"sha256": Digest::of(b"another").hex()}], "artifacts": [{"digest": Digest::of(b"").to_string()}]});
    let by_digest = artifact(&bytes);
    let turns =
        [(&none, true), (&by_key, false), (&none, true), (&by_digest, false), (&neighbour, true), (&by_key, false)];
    for (turn, (entries, allowed)) in turns.into_iter().enumerate() {
        let snapshot = snapshot(policies.clone(), revoking(entries));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let verdicts = judge.judge(&request, &snapshot, now, Instant::now() + HANG).await;
        let decision = Decision::new(verdicts, Unmatched::Allow);
        assert_eq!(decision.allows(), allowed, "turn {turn}: {}", decision.text());
    }
    let readings = judge.store().readings();
    let evidence = readings.iter().find(|reading| reading.kind == Kind::Evidence).unwrap();
    assert_eq!(evidence.misses, 1, "verified once, judged in every turn");
}

/// Revocations that come in while a request is judged: the sets by how often they were asked for, the last for ever.
struct Arriving {
    asked: AtomicUsize,
    sets: Vec<Revocations>,
    /// Each answer is another set.
    endless: bool,
}

impl NamespaceLookup for Arriving {
    async fn labels(&self, _name: &str) -> Option<BTreeMap<String, String>> {
        None
    }

    fn revocations(&self) -> Option<Revocations> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if self.endless {
            return Some(revoking(&artifact(asked.to_string().as_bytes())));
        }
        self.sets.get(asked).or(self.sets.last()).cloned()
    }
}

fn review(image: &str) -> Vec<u8> {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "n", "operation": "CREATE",
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn a_revocation_that_comes_in_while_a_request_is_judged_denies_it() {
    let (bad, good) = (image("bad"), image("good"));
    let registry = start(Content::default().with_tag("bad", &bad).with_tag("good", &good)).await;
    let judge = Judge::new(client(options(&[registry.host()])), Limits::default());
    let asked = |arriving: Arriving, image: String, first: Revocations| {
        let judge = &judge;
        async move {
            let snapshot = snapshot(vec![], first);
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let body = review(&image);
            let answered = admission::answer(judge, &snapshot, &arriving, &body, now, Instant::now() + HANG).await;
            (serde_json::to_value(&answered.response).unwrap(), arriving.asked.into_inner())
        }
    };
    let arriving = |sets: Vec<Revocations>| Arriving { asked: AtomicUsize::new(0), sets, endless: false };
    let revoked = || revoking(&artifact(&bad));
    let named = |tag: &str| format!("{}/app:{tag}", registry.host());
    let table = [
        ("nothing comes in", arriving(vec![]), "bad", Revocations::none(), true, 1),
        ("the same again", arriving(vec![Revocations::none()]), "bad", Revocations::none(), true, 1),
        ("it comes in", arriving(vec![revoked()]), "bad", Revocations::none(), false, 2),
        ("it comes in, for another", arriving(vec![revoked()]), "good", Revocations::none(), true, 2),
        (
            "it comes in later",
            arriving(vec![revoking(&artifact(b"else")), revoked()]),
            "bad",
            Revocations::none(),
            false,
            3,
        ),
        ("a denial stands", arriving(vec![Revocations::none()]), "bad", revoked(), false, 1),
    ];
    for (name, arriving, tag, first, allowed, times) in table {
        let (response, asked) = asked(arriving, named(tag), first).await;
        assert_eq!(response["response"]["allowed"], allowed, "{name}: {response}");
        assert_eq!(asked, times, "{name}");
    }
    let endless = Arriving { asked: AtomicUsize::new(0), sets: vec![], endless: true };
    let (response, asked) = asked(endless, named("good"), Revocations::none()).await;
    assert_eq!(response["response"]["allowed"], false);
    let message = response["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("[RevocationsChanging]") && asked < 10, "{asked}: {message}");
}
