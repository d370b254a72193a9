//! The judge over a registry in this process: order of the steps, indexes, tags that move, time that runs out.
//!
//! Signatures are cosign's simple signing by keys made here; keyless evidence is tested beside `verify` and in the examples.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fake that cannot be set up fails its test")]
#![expect(clippy::similar_names, reason = "`signer` and `signed` are the field's words")]

#[path = "support/signer.rs"]
mod signer;
#[path = "support/registry.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::decision::{Answer, Decision, ImageVerdicts};
use countersign::image::Digest;
use countersign::judge::{Judge, Request};
use countersign::policy::{Policy, Scope, Snapshot, Unmatched};
use countersign::registry::{Limits, MEMORY_BYTES, MemoryBudget};
use countersign::trust::TrustRoots;
use countersign::workload::ContainerImage;
use serde_json::{Value, json};
use signer::{SIMPLE_SIGNING, Signer, TAR, image};
use support::{Content, FakeRegistry, OCI_INDEX, OCI_MANIFEST, Seen, client, manifest, options, respond};
use tokio::time::Instant;

const IN_TOTO: &str = "application/vnd.in-toto+json";

fn policy(pem: &str, tags: &str) -> Arc<Policy> {
    let policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["**"], "tags": tags, "authorities": [{"name": "a", "keys": [{"name": "k", "pem": pem}]}]},
    });
    Arc::new(Policy::parse(&policy).unwrap())
}

/// A child's bytes, its platform as system and architecture, and its annotations.
type Child<'a> = (&'a [u8], Option<(&'a str, &'a str)>, Value);

/// What is served and what of it is signed, and whether it passes.
type IndexCase<'a> = (&'a str, &'a [u8], Vec<&'a [u8]>, bool);

/// An index over children, each with its platform and annotations.
fn index(children: &[Child<'_>]) -> Vec<u8> {
    let children: Vec<Value> = children
        .iter()
        .map(|(bytes, platform, annotations)| {
            let mut entry = json!({"mediaType": OCI_MANIFEST, "digest": Digest::of(bytes).to_string(),
                "size": bytes.len(), "annotations": annotations});
            if let Some((os, architecture)) = platform {
                entry["platform"] = json!({"os": os, "architecture": architecture});
            }
            entry
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).to_string().into_bytes()
}

struct Asked<'a> {
    registry: &'a FakeRegistry,
    policy: Arc<Policy>,
    runs: bool,
    time: Duration,
}

impl Asked<'_> {
    async fn about(&self, tails: &[&str]) -> (Decision, Vec<ImageVerdicts>) {
        let judge = Judge::new(client(options(&[self.registry.host()])), Limits::default());
        let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Deny)
            .with_policies(vec![Arc::clone(&self.policy)], Vec::new());
        let images = tails
            .iter()
            .map(|tail| ContainerImage::named("image", &format!("{}/{tail}", self.registry.host())))
            .collect();
        let request = Request { images, scope: Scope::Anywhere, runs: self.runs };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let verdicts = judge.judge(&request, &snapshot, now, Instant::now() + self.time).await;
        (Decision::new(verdicts.clone(), Unmatched::Deny), verdicts)
    }
}

async fn start(content: Content) -> FakeRegistry {
    FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await
}

fn asked<'a>(registry: &'a FakeRegistry, signer: &Signer) -> Asked<'a> {
    Asked { registry, policy: policy(&signer.pem(), "Pin"), runs: false, time: Duration::from_secs(20) }
}

#[tokio::test]
async fn an_index_passes_by_its_own_signature_or_by_that_of_every_child_that_runs() {
    let signer = Signer::new();
    let (amd, arm) = (image("amd"), image("arm"));
    let statement = manifest(&[(IN_TOTO, b"statement", &[])]);
    let pretender = manifest(&[(TAR, b"runs all the same", &[])]);
    let note = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let amd_entry = || (amd.as_slice(), Some(("linux", "amd64")), json!({}));
    let unknown = Some(("unknown", "unknown"));
    let pair = index(&[amd_entry(), (&arm, Some(("linux", "arm64")), json!({}))]);
    let with_statement = index(&[amd_entry(), (&statement, unknown, note.clone())]);
    let no_note = index(&[amd_entry(), (&statement, unknown, json!({}))]);
    let with_platform = index(&[amd_entry(), (&statement, Some(("linux", "arm64")), note.clone())]);
    let without_platform = index(&[amd_entry(), (&statement, None, note.clone())]);
    let with_pretender = index(&[amd_entry(), (&pretender, unknown, note.clone())]);
    let only_statement = index(&[(&statement, unknown, note)]);
    let empty = index(&[]);
    // What is signed, beside what is served; whether the index passes.
    let table: Vec<IndexCase<'_>> = vec![
        ("nothing signed", &pair, vec![], false),
        ("the index", &pair, vec![&pair], true),
        ("both children", &pair, vec![&amd, &arm], true),
        ("one child of two", &pair, vec![&amd], false),
        ("the other child of two", &pair, vec![&arm], false),
        ("an attestation manifest does not run", &with_statement, vec![&amd], true),
        ("one without the annotation may", &no_note, vec![&amd], false),
        ("one with a platform may", &with_platform, vec![&amd], false),
        ("one without a platform may", &without_platform, vec![&amd], false),
        ("one with a file system may", &with_pretender, vec![&amd], false),
        ("an index that runs nothing", &only_statement, vec![], false),
        ("an index of nothing", &empty, vec![], false),
    ];
    for (what, served, signed, expected) in table {
        let all = [amd.as_slice(), &arm, &statement, &pretender];
        let content = all.iter().fold(Content::default().with_tag("1", served), |content, bytes| content.with(bytes));
        let content = signed.iter().fold(content, |content, bytes| signer.sign(content, bytes));
        let registry = start(content).await;
        let (decision, verdicts) = asked(&registry, &signer).about(&["app:1"]).await;
        assert_eq!(decision.allows(), expected, "{what}: {verdicts:?}");
        if signed == [amd.as_slice()] && !expected {
            let text = decision.text();
            assert!(text.contains("wanted:") && text.contains("in the index: nothing"), "{what}: {text}");
        }
        let (decision, _) = asked(&registry, &Signer::new()).about(&["app:1"]).await;
        assert!(!decision.allows(), "{what}, by another key");
    }
}

#[tokio::test]
async fn a_child_that_cannot_be_had_helps_nobody() {
    let signer = Signer::new();
    let (amd, arm) = (image("amd"), image("arm"));
    let pair = index(&[(&amd, None, json!({})), (&arm, None, json!({}))]);
    let content = signer.sign(Content::default().with_tag("1", &pair).with(&amd), &amd);
    for (status, expected) in [(404, Answer::Deny), (503, Answer::Undecided)] {
        let (content, missing) = (content.clone(), Digest::of(&arm).to_string());
        let registry = FakeRegistry::start(move |seen: &Seen| {
            if seen.path.ends_with(&missing) { respond(status, &[], "no") } else { content.answer(seen) }
        })
        .await;
        let (decision, _) = asked(&registry, &signer).about(&["app:1"]).await;
        assert_eq!(decision.outcome(), expected, "{status}: {}", decision.text());
    }
}

/// Roll-out: what a policy that only warns cannot judge is a warning, not an outage.
#[tokio::test]
async fn trouble_under_a_policy_that_warns_denies_nothing() {
    let signer = Signer::new();
    let warns = |unmatched| {
        let policy = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
            "spec": {"action": "Warn", "images": ["**"],
                "authorities": [{"name": "a", "keys": [{"name": "k", "pem": signer.pem()}]}]},
        });
        let policy = Arc::new(Policy::parse(&policy).unwrap());
        Snapshot::new(TrustRoots::default(), unmatched).with_policies(vec![policy], Vec::new())
    };
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flooded = image("flooded");
    let layers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let layers: Vec<_> = layers.iter().map(|layer| (SIMPLE_SIGNING, layer.as_bytes(), &[][..])).collect();
    let tag = format!("sha256-{}.sig", Digest::of(&flooded).hex());
    let registry = start(Content::default().with_tag("1", &flooded).with_tag(&tag, &manifest(&layers))).await;
    for (host, code) in [(silent.local_addr().unwrap().to_string(), "Deadline"), (registry.host(), "ContentTooMany")] {
        let judge = Judge::new(client(options(std::slice::from_ref(&host))), Limits::default());
        let images = vec![ContainerImage::named("image", &format!("{host}/app:1"))];
        let request = Request { images, scope: Scope::Anywhere, runs: false };
        for (unmatched, allowed) in [(Unmatched::Allow, true), (Unmatched::Deny, false)] {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let deadline = Instant::now() + Duration::from_millis(300);
            let verdicts = judge.judge(&request, &warns(unmatched), now, deadline).await;
            let decision = Decision::new(verdicts, unmatched);
            assert_eq!(decision.allows(), allowed, "{code}: {}", decision.text());
            assert!(decision.text().contains(code), "{code}: {}", decision.text());
        }
    }
}

/// CVE-2022-47633: a registry that answers a tag with another image the second time.
#[tokio::test]
async fn cve_2022_47633_a_tag_is_resolved_once_and_only_its_digest_goes_on() {
    let signer = Signer::new();
    let (signed, unsigned) = (image("signed"), image("unsigned"));
    let content = signer.sign(Content::default().with(&signed).with(&unsigned), &signed);
    for (first, second, expected) in [(&signed, &unsigned, true), (&unsigned, &signed, false)] {
        let (first, second) = (first.clone(), second.clone());
        let asked_before = Arc::new(AtomicUsize::new(0));
        let (count, content, answer) = (Arc::clone(&asked_before), content.clone(), [first.clone(), second]);
        let registry = FakeRegistry::start(move |seen: &Seen| {
            if seen.path.ends_with("/manifests/1") {
                let turn = count.fetch_add(1, Ordering::SeqCst).min(1);
                return respond(200, &[], answer[turn].clone());
            }
            content.answer(seen)
        })
        .await;
        // The same image three times, as in a Pod with three containers.
        let (decision, verdicts) = asked(&registry, &signer).about(&["app:1", "app:1", "app:1"]).await;
        assert_eq!(decision.allows(), expected);
        assert_eq!(asked_before.load(Ordering::SeqCst), 1);
        assert!(verdicts.iter().all(|image| image.digest == Some(Digest::of(&first))), "{verdicts:?}");
    }
}

#[tokio::test]
async fn the_way_an_image_is_named_matters_where_the_policy_says_so() {
    let signer = Signer::new();
    let signed = image("signed");
    let registry = start(signer.sign(Content::default().with_tag("1", &signed), &signed)).await;
    let by_digest = format!("app@{}", Digest::of(&signed));
    let both = format!("app:other@{}", Digest::of(&signed));
    let table = [
        ("Pin", true, "app:1", Some("NotPinned")),
        ("Pin", true, by_digest.as_str(), None),
        ("Pin", true, both.as_str(), None),
        ("Pin", false, "app:1", None),
        ("Require", false, "app:1", Some("NotPinned")),
        ("Require", false, by_digest.as_str(), None),
        ("Allow", true, "app:1", None),
    ];
    for (tags, runs, tail, code) in table {
        let asked = Asked { policy: policy(&signer.pem(), tags), runs, ..asked(&registry, &signer) };
        let (decision, _) = asked.about(&[tail]).await;
        let message = decision.text();
        assert_eq!(decision.allows(), code.is_none(), "{tags} {runs} {tail}: {message}");
        if let Some(code) = code {
            let pinned = format!("write {}/app:1@{}", registry.host(), Digest::of(&signed));
            assert!(message.contains(code) && message.contains(&pinned), "{message}");
        }
    }
}

#[tokio::test]
async fn what_is_not_done_in_time_is_denied_and_says_what_was_slow() {
    let signer = Signer::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let judge = Judge::new(client(options(std::slice::from_ref(&host))), Limits::default());
    let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Allow)
        .with_policies(vec![policy(&signer.pem(), "Allow")], Vec::new());
    let images = vec![ContainerImage::named("image", &format!("{host}/app:1"))];
    let request = Request { images, scope: Scope::Anywhere, runs: true };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let verdicts = judge.judge(&request, &snapshot, now, Instant::now() + Duration::from_millis(200)).await;
    let decision = Decision::new(verdicts, Unmatched::Allow);
    assert_eq!(decision.outcome(), Answer::Undecided);
    let text = decision.text();
    assert!(text.contains("[Deadline]") && text.contains(&format!("resolving {host}/app:1")), "{text}");
}

#[tokio::test]
async fn a_failing_registry_is_an_open_question_and_a_bad_neighbour_is_not() {
    let signer = Signer::new();
    let signed = image("signed");
    let content = signer.sign(Content::default().with_tag("1", &signed), &signed);
    for (broken, expected) in [
        // The image itself.
        ("/manifests/1", Answer::Undecided),
        // The signatures.
        (".sig", Answer::Undecided),
        // A place where other signatures might be: the one that is there counts.
        (".att", Answer::Allow),
        ("/referrers/", Answer::Allow),
    ] {
        let content = content.clone();
        let registry = FakeRegistry::start(move |seen: &Seen| {
            if seen.path.contains(broken) { respond(503, &[], "down") } else { content.answer(seen) }
        })
        .await;
        let (decision, _) = asked(&registry, &signer).about(&["app:1"]).await;
        assert_eq!(decision.outcome(), expected, "{broken}: {}", decision.text());
        let (decision, _) = asked(&registry, &Signer::new()).about(&["app:1"]).await;
        assert_eq!(decision.outcome(), Answer::Undecided, "{broken}, by another key: {}", decision.text());
    }
}

#[tokio::test]
async fn an_image_that_nothing_governs_is_not_asked_for() {
    let signer = Signer::new();
    let registry = start(Content::default()).await;
    let policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["ghcr.io/**"], "authorities": [{"name": "a", "keys": [{"name": "k", "pem": signer.pem()}]}]},
    });
    let asked = Asked { policy: Arc::new(Policy::parse(&policy).unwrap()), ..asked(&registry, &signer) };
    let (decision, _) = asked.about(&["app:1"]).await;
    assert_eq!(decision.outcome(), Answer::Deny);
    assert!(decision.text().contains("[Unmatched]"));
    assert!(registry.seen().is_empty());
}

/// What one object makes us read is bounded over all its images, by whatever they are many or large; nothing of it counts then,
/// under any policy, and which image was read first does not matter.
#[tokio::test]
async fn one_object_makes_us_read_so_much_and_no_more() {
    let signer = Signer::new();
    let images: Vec<Vec<u8>> = (0..4).map(|number| image(&format!("{number}"))).collect();
    let pair = index(&[(&images[2], None, json!({})), (&images[3], None, json!({}))]);
    let tags = [("1", &images[0]), ("2", &images[1]), ("index", &pair)];
    let content = tags.iter().fold(Content::default(), |content, (tag, bytes)| content.with_tag(tag, bytes));
    let content = images.iter().fold(content, |content, bytes| signer.sign(content.with(bytes), bytes));
    let registry = start(content).await;
    let named = |tails: &[&str]| -> Vec<ContainerImage> {
        tails.iter().map(|tail| ContainerImage::named("image", &format!("{}/{tail}", registry.host()))).collect()
    };
    let judged = async |tails: &[&str], bytes: u64, action: &str| {
        let judge = Judge::new(client(options(&[registry.host()])), Limits::default())
            .with_memory(MemoryBudget::new(MEMORY_BYTES, bytes));
        let policy = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
            "spec": {"action": action, "images": ["**"],
                "authorities": [{"name": "a", "keys": [{"name": "k", "pem": signer.pem()}]}]},
        });
        let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Allow)
            .with_policies(vec![Arc::new(Policy::parse(&policy).unwrap())], Vec::new());
        let request = Request { images: named(tails), scope: Scope::Anywhere, runs: false };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let verdicts = judge.judge(&request, &snapshot, now, Instant::now() + Duration::from_secs(20)).await;
        Decision::new(verdicts, Unmatched::Allow)
    };
    for tails in [&["app:1"][..], &["app:1", "app:2"], &["app:index"]] {
        // The least that is enough, found by halving: one byte less is refused, and says so for each image.
        let (mut least, mut most) = (0, 1 << 20);
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if judged(tails, middle, "Enforce").await.allows() { most = middle } else { least = middle }
        }
        assert!((600..10_000).contains(&least), "{tails:?}: {least}");
        let denied = judged(tails, least, "Enforce").await;
        assert_eq!(denied.outcome(), Answer::Deny);
        assert_eq!(denied.text().matches("[ImagesTooLarge]").count(), tails.len(), "{}", denied.text());
        let warned = judged(tails, least, "Warn").await;
        assert!(warned.allows() && warned.text().contains("[ImagesTooLarge]"), "{}", warned.text());
    }
}

/// A text that names nothing might name anything: every policy of the namespace fails, by its own action, and nobody else's does.
#[tokio::test]
async fn a_reference_that_is_none_fails_every_policy_in_scope() {
    let signer = Signer::new();
    let policy = |action: &str, namespace: &str, images: &str| {
        let policy = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": action},
            "spec": {"action": action, "images": [images], "match": {"namespaces": [namespace]},
                "authorities": [{"name": "a", "keys": [{"name": "k", "pem": signer.pem()}]}]},
        });
        Arc::new(Policy::parse(&policy).unwrap())
    };
    let judge = Judge::new(client(options(&[])), Limits::default());
    let elsewhere = "ghcr.io/elsewhere/*";
    for (policies, unmatched, allowed, verdicts) in [
        (vec![], Unmatched::Allow, true, 0),
        (vec![], Unmatched::Deny, false, 0),
        (vec![policy("Enforce", "n", elsewhere)], Unmatched::Allow, false, 1),
        (vec![policy("Enforce", "other", "**")], Unmatched::Allow, true, 0),
        (vec![policy("Warn", "n", elsewhere)], Unmatched::Allow, true, 1),
        (vec![policy("Warn", "n", "**")], Unmatched::Deny, false, 1),
        (vec![policy("Warn", "n", "**"), policy("Enforce", "n", elsewhere)], Unmatched::Allow, false, 2),
    ] {
        let what = format!("{policies:?} {unmatched:?}");
        let snapshot = Snapshot::new(TrustRoots::default(), unmatched).with_policies(policies, Vec::new());
        let scope = Scope::Namespace(snapshot.namespace("n"));
        let images = vec![ContainerImage::named("image", "ghcr.io/a/b:1\n")];
        let request = Request { images, scope, runs: true };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let found = judge.judge(&request, &snapshot, now, Instant::now() + Duration::from_secs(5)).await;
        let decision = Decision::new(found, unmatched);
        assert_eq!(decision.allows(), allowed, "{what}: {}", decision.text());
        assert_eq!(decision.text().matches("[InvalidReference]").count(), verdicts, "{what}: {}", decision.text());
    }
}

/// What is broken or missing beside an index takes nothing from what its children carry, and gives nothing to one that lacks it.
#[tokio::test]
async fn trouble_beside_an_index_leaves_its_children_what_they_carry() {
    let signer = Signer::new();
    let (signed, unsigned) = (image("signed"), image("unsigned"));
    for (child, passes) in [(&signed, true), (&unsigned, false)] {
        let bytes = index(&[(child, Some(("linux", "amd64")), json!({}))]);
        let tag = format!("sha256-{}", Digest::of(&bytes).hex());
        let gone = manifest(&[(SIMPLE_SIGNING, b"gone", &[])]);
        let content = signer.sign(Content::default().with(child).with(&bytes), &signed);
        // A signature manifest that is no manifest, one whose layer is gone, and a listing of what is gone.
        for (suffix, beside) in
            [(".sig", b"{}".to_vec()), (".sig", gone.clone()), ("", index(&[(&gone, None, json!({}))]))]
        {
            let registry = start(content.clone().with_tag(&format!("{tag}{suffix}"), &beside)).await;
            let (decision, _) = asked(&registry, &signer).about(&[&format!("app@{}", Digest::of(&bytes))]).await;
            assert_eq!(decision.allows(), passes, "{suffix}: {}", decision.text());
        }
    }
}
