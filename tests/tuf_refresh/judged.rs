//! Evidence of a service that the root does not know yet: one refresh within the deadline, and the image is judged again.

use countersign::decision::{Answer, Decision};
use countersign::judge::{Judge, Request};
use countersign::policy::{Policy, Scope, Snapshot, Unmatched};
use countersign::registry::{Limits, OciLayout, Sources};
use countersign::trust_store::TrustStore;
use countersign::workload::ContainerImage;

use super::virtual_sigstore::oci::Image;
use super::virtual_sigstore::{Algorithm, Identity, RekorV1, Subject, TrustedRoot, Version};
use super::*;

const ISSUER: &str = "https://accounts.example.com";
const ALICE: &str = "alice@example.com";

fn policy() -> Arc<Policy> {
    let policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["**"], "authorities": [{
            "name": "alice",
            "keyless": {"trustRoot": "own", "identities": [{"issuer": {"exact": ISSUER}, "subject": {"exact": ALICE}}]},
        }]},
    });
    Arc::new(Policy::parse(&policy).unwrap())
}

/// Judges an image by the roots that were published before it came.
async fn judge(image: &Image, roots: &TrustRoots, store: Option<&Arc<TrustStore>>) -> (Answer, String) {
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(folder.path());
    let sources = Sources { layouts: vec![OciLayout::open(folder.path()).unwrap()], registry: None };
    let mut judge = Judge::new(sources, Limits::default());
    if let Some(store) = store {
        judge = judge.with_newer_roots(Arc::clone(store) as Arc<_>);
    }
    let snapshot = Snapshot::new(roots.clone(), Unmatched::Deny).with_policies(vec![policy()], Vec::new());
    let reference = format!("registry.example/app@{}", image.digest());
    let images = vec![ContainerImage::named("image", &reference)];
    let request = Request { images, scope: Scope::Anywhere, runs: true };
    let work = judge.judge(&request, &snapshot, noon(), Instant::now() + HANG);
    let verdicts = tokio::time::timeout(HANG * 2, work).await.expect("hangs");
    let decision = Decision::new(verdicts, Unmatched::Deny);
    (decision.outcome(), decision.text())
}

#[tokio::test]
async fn a_key_that_the_root_does_not_know_yet_is_fetched_once() {
    type Replace = fn(&mut VirtualSigstore);
    let log: Replace =
        |sigstore| sigstore.logs_v1 = vec![RekorV1::new(Algorithm::P256, "rekor.new.example", "rekor.example")];
    let all: Replace = |sigstore| *sigstore = VirtualSigstore::new();
    for (what, replace) in [("a log", log), ("every service", all)] {
        let mut sigstore = VirtualSigstore::new();
        let old: TrustedRoot = sigstore.root();
        let served = Served::start(Repository::new(TARGET, old.json().as_bytes())).await;
        let bench = Bench::new(Arc::new(MemoryArchive::default()));
        let pinned = served.edit(|repository| repository.pinned.clone());
        assert_eq!(code(&bench.declare(spec(&served.url(), &pinned, &json!({}))).await), "ok");
        let before = bench.store.roots();
        replace(&mut sigstore);
        let new = sigstore.root().json();
        let image = Image::new("app");
        let parts = sigstore.sign(Subject::cosign_sign(&image.manifest)).by(&Identity::email(ALICE, ISSUER)).parts();
        let image = image.referred(&parts, Version::V03);
        // The repository does not have the new key yet: one question, and the verdict that it was.
        let asked = served.asked("timestamp.json");
        let (answer, text) = judge(&image, &before, Some(&bench.store)).await;
        assert_eq!(answer, Answer::Deny, "{what}: {text}");
        assert_eq!(served.asked("timestamp.json"), asked + 1, "{what}");
        served.edit(|repository| repository.deliver(TARGET, new.as_bytes()));
        let (answer, text) = judge(&image, &before, None).await;
        assert_eq!(answer, Answer::Deny, "{what}, without a source of newer roots: {text}");
        let (answer, text) = judge(&image, &before, Some(&bench.store)).await;
        assert_eq!(answer, Answer::Allow, "{what}: {text}");
        // Whoever comes with the old snapshot after that asks nobody.
        let asked = served.asked("timestamp.json");
        let (answer, text) = judge(&image, &before, Some(&bench.store)).await;
        assert_eq!((answer, served.asked("timestamp.json")), (Answer::Allow, asked), "{what}: {text}");
        // A stranger's signature is no more welcome for it.
        let stranger = Image::new("app");
        let parts =
            sigstore.sign(Subject::cosign_sign(&stranger.manifest)).by(&Identity::email("bob@example.com", ISSUER));
        let stranger = stranger.referred(&parts.parts(), Version::V03);
        let (answer, text) = judge(&stranger, &before, Some(&bench.store)).await;
        assert_eq!(answer, Answer::Deny, "{what}: {text}");
        assert!(text.contains("[IdentityMismatch]"), "{what}: {text}");
    }
}

/// A mirror that does not answer takes half of the time, and the verdict is there in the rest.
#[tokio::test]
async fn evidence_that_is_wrong_otherwise_asks_nobody() {
    let sigstore = VirtualSigstore::new();
    let served = Served::start(Repository::new(TARGET, sigstore.root().json().as_bytes())).await;
    let bench = Bench::new(Arc::new(MemoryArchive::default()));
    let pinned = served.edit(|repository| repository.pinned.clone());
    assert_eq!(code(&bench.declare(spec(&served.url(), &pinned, &json!({}))).await), "ok");
    let asked = served.asked("timestamp.json");
    let image = Image::new("app");
    let bob = Identity::email("bob@example.com", ISSUER);
    let parts = sigstore.sign(Subject::cosign_sign(&image.manifest)).by(&bob).parts();
    let other = sigstore.sign(Subject::cosign_sign(&Image::new("other").manifest)).by(&bob).parts();
    for parts in [parts, other] {
        let (answer, text) =
            judge(&image.clone().referred(&parts, Version::V03), &bench.store.roots(), Some(&bench.store)).await;
        assert_eq!(answer, Answer::Deny, "{text}");
    }
    assert_eq!(judge(&image, &bench.store.roots(), Some(&bench.store)).await.0, Answer::Deny);
    assert_eq!(served.asked("timestamp.json"), asked);
}
