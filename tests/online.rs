//! Policies that want logs to be asked, over logs in this process: what confirms, and that nothing else does.
//!
//! Signatures, logs and trust roots are those of a Sigstore instance in memory, images are in layouts. Every twin of an accept breaks one
//! thing and must leave the question open: an error, never a pass and never a plain fail.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fake that cannot be set up fails its test"
)]

#[path = "online/entries.rs"]
mod entries;
#[path = "support/log.rs"]
mod log;
#[path = "online/search.rs"]
mod search;
#[path = "online/tiles.rs"]
mod tiles;
#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::sync::Arc;
use std::time::Duration;

use countersign::decision::{Answer, Decision, Finding};
use countersign::judge::{Judge, Request};
use countersign::policy::{Policy, Scope, Snapshot, Unmatched};
use countersign::registry::{Limits, MemoryBudget, OciLayout, Sources, TlsRoots};
use countersign::rekor::{RekorClient, RekorOptions};
use countersign::trust::{TrustMaterial, TrustRoots};
use countersign::workload::ContainerImage;
use jiff::Timestamp;
use log::{Asked, Bound, FakeLog, Reply, reply};
use serde_json::{Value, json};
use tokio::time::Instant;
use virtual_sigstore::oci::Image;
use virtual_sigstore::{Identity, Parts, Subject, TrustedRoot, Version, VirtualSigstore};

const ISSUER: &str = "https://accounts.example.com";
const ALICE: &str = "alice@example.com";
/// Far above what any of these takes; a test that reaches it hangs.
const HANG: Duration = Duration::from_mins(1);

/// How logs answer, where nothing else is needed to know it.
pub(crate) type Answers = fn(&VirtualSigstore, &Asked) -> Reply;

pub(crate) fn noon() -> Timestamp {
    "2024-06-01T12:00:00Z".parse().unwrap()
}

/// An instance all of whose logs are at one address.
pub(crate) fn instance(log: &Bound) -> VirtualSigstore {
    let mut sigstore = VirtualSigstore::new();
    sigstore.logs_v1[0].base_url = log.url();
    sigstore.logs_v2[0].base_url = log.url();
    sigstore
}

/// What the logs of an instance answer.
pub(crate) fn honest(sigstore: &VirtualSigstore, asked: &Asked) -> Reply {
    let json = |value: Option<Value>| value.map_or_else(|| reply(404, "{}"), |value| reply(200, value.to_string()));
    match asked.method.as_str() {
        "POST" => json(sigstore.logs_v1[0].post(&asked.target, &asked.body)),
        _ if asked.target.starts_with("/api/v2/") => {
            let log = &sigstore.logs_v2[0];
            log.get(&asked.target, log.size(), noon()).map_or_else(|| reply(404, ""), |bytes| reply(200, bytes))
        }
        _ => json(sigstore.logs_v1[0].get(&asked.target)),
    }
}

/// Policies over every image: whether each wants logs to be asked.
fn policies(online: &[bool]) -> Vec<Arc<Policy>> {
    let policy = |(position, online): (usize, &bool)| {
        let policy = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy",
            "metadata": {"name": format!("policy-{position}")},
            "spec": {"images": ["**"], "authorities": [{
                "name": "alice",
                "keyless": {"trustRoot": "own", "identities": [{"issuer": {"exact": ISSUER}, "subject": {"exact": ALICE}}]},
                "evidence": {"online": online},
            }]},
        });
        Arc::new(Policy::parse(&policy).unwrap())
    };
    online.iter().enumerate().map(policy).collect()
}

/// What came of an image.
pub(crate) struct Came {
    pub(crate) answer: Answer,
    pub(crate) text: String,
    /// Whether each policy passes.
    pub(crate) passes: Vec<bool>,
    pub(crate) trace: Value,
}

impl Came {
    /// The outcome, and the code of an image that was not allowed.
    pub(crate) fn is_open(&self, code: &str) -> bool {
        self.answer == Answer::Undecided && self.text.contains(&format!("[{code}]"))
    }
}

/// How an image is judged.
pub(crate) struct Judging<'a> {
    pub(crate) root: TrustedRoot,
    pub(crate) online: &'a [bool],
    pub(crate) time: Duration,
    pub(crate) question_timeout: Duration,
    pub(crate) memory: MemoryBudget,
}

impl Judging<'_> {
    pub(crate) fn under(sigstore: &VirtualSigstore) -> Self {
        let memory = MemoryBudget::default();
        Self { root: sigstore.root(), online: &[true], time: HANG, question_timeout: HANG, memory }
    }

    pub(crate) async fn judge(&self, image: &Image) -> Came {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path());
        let sources = Sources { layouts: vec![OciLayout::open(folder.path()).unwrap()], registry: None };
        let logs = RekorClient::new(RekorOptions {
            question_timeout: self.question_timeout,
            tls_roots: TlsRoots::None,
            ..RekorOptions::default()
        });
        let judge = Judge::new(sources, Limits::default()).with_logs(logs).with_memory(self.memory.clone());
        let mut roots = TrustRoots::default();
        roots.insert(TrustMaterial::parse("own", &self.root.json()).unwrap());
        let snapshot = Snapshot::new(roots, Unmatched::Deny).with_policies(policies(self.online), Vec::new());
        let reference = format!("registry.example/app@{}", image.digest());
        let images = vec![ContainerImage::named("image", &reference)];
        let request = Request { images, scope: Scope::Anywhere, runs: true };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let work = judge.judge(&request, &snapshot, now, Instant::now() + self.time);
        let verdicts = tokio::time::timeout(HANG * 2, work).await.expect("hangs");
        let passes = match &verdicts[0].finding {
            Finding::Judged(verdicts) => verdicts.iter().map(countersign::policy::Verdict::passes).collect(),
            other => panic!("{other:?}"),
        };
        let decision = Decision::new(verdicts, Unmatched::Deny);
        let trace = serde_json::to_value(decision.trace()).unwrap();
        Came { answer: decision.outcome(), text: decision.text(), passes, trace }
    }
}

/// Judges an image that this signature is attached to as a bundle, with logs that answer so.
pub(crate) async fn judged(
    sigstore: &Arc<VirtualSigstore>,
    log: Bound,
    parts: &Parts,
    answer: impl Fn(&VirtualSigstore, &Asked) -> Reply + Clone + Send + Sync + 'static,
) -> (Came, FakeLog) {
    let log = log.serve({
        let sigstore = Arc::clone(sigstore);
        move |asked| answer(&sigstore, asked)
    });
    let image = Image::new("app").referred(parts, Version::V03);
    (Judging::under(sigstore).judge(&image).await, log)
}

pub(crate) fn alice() -> Identity {
    Identity::email(ALICE, ISSUER)
}

/// What cosign 3 signs of the image `app`.
pub(crate) fn subject() -> Subject {
    Subject::cosign_sign(&Image::new("app").manifest)
}

#[tokio::test]
async fn nobody_is_asked_where_no_policy_wants_it() {
    let bound = Bound::new().await;
    let sigstore = Arc::new(instance(&bound));
    let log = bound.serve({
        let sigstore = Arc::clone(&sigstore);
        move |asked| honest(&sigstore, asked)
    });
    let parts = sigstore.sign(subject()).by(&alice()).parts();
    let image = Image::new("app").referred(&parts, Version::V03);
    let came = Judging { online: &[false], ..Judging::under(&sigstore) }.judge(&image).await;
    assert_eq!(came.answer, Answer::Allow, "{}", came.text);
    // Somebody else's signature would not satisfy the policy, whatever a log says.
    let stranger = sigstore.sign(subject()).by(&Identity::email("bob@example.com", ISSUER)).parts();
    let came = Judging::under(&sigstore).judge(&Image::new("app").referred(&stranger, Version::V03)).await;
    assert_eq!(came.answer, Answer::Deny, "{}", came.text);
    assert!(came.text.contains("[IdentityMismatch]"), "{}", came.text);
    assert_eq!(log.asked(), Vec::<String>::new());
}

/// Two policies: the one that wants logs asked is open, the other is satisfied all the same.
#[tokio::test]
async fn a_log_that_fails_is_the_matter_of_the_policy_that_wants_it() {
    let bound = Bound::new().await;
    let sigstore = instance(&bound);
    let _log = bound.serve(|_| reply(500, "SECRET"));
    let parts = sigstore.sign(subject()).by(&alice()).parts();
    let image = Image::new("app").referred(&parts, Version::V03);
    let came = Judging { online: &[false, true], ..Judging::under(&sigstore) }.judge(&image).await;
    assert!(came.is_open("LogUnexpectedStatus"), "{}", came.text);
    assert_eq!(came.passes.iter().filter(|passes| **passes).count(), 1);
    assert!(!came.text.contains("SECRET"));
    // With no signature at all there is nothing to ask about.
    let came = Judging { online: &[false, true], ..Judging::under(&sigstore) }.judge(&Image::new("app")).await;
    assert_eq!(came.answer, Answer::Deny, "{}", came.text);
}

#[tokio::test]
async fn one_confirmed_signature_is_enough_beside_one_that_is_not() {
    let bound = Bound::new().await;
    let sigstore = Arc::new(instance(&bound));
    let lost = sigstore.sign(subject()).by(&alice()).parts();
    let kept = sigstore.sign(subject()).by(&alice()).parts();
    let missing = format!("logIndex={}", lost.entries[0].log_index);
    let _log = bound.serve({
        let sigstore = Arc::clone(&sigstore);
        move |asked| if asked.target.ends_with(&missing) { reply(404, "{}") } else { honest(&sigstore, asked) }
    });
    let attach =
        |parts: &[&Parts]| parts.iter().fold(Image::new("app"), |image, parts| image.referred(parts, Version::V03));
    for (parts, expected) in
        [(vec![&lost, &kept], Answer::Allow), (vec![&kept, &lost], Answer::Allow), (vec![&lost], Answer::Undecided)]
    {
        let came = Judging::under(&sigstore).judge(&attach(&parts)).await;
        assert_eq!(came.answer, expected, "{}", came.text);
        let satisfied = &came.trace["images"][0]["verdicts"][0]["authorities"][0]["satisfiedBy"];
        assert_eq!(satisfied.as_array().unwrap().len(), usize::from(expected == Answer::Allow), "{satisfied}");
        if expected == Answer::Allow {
            assert_eq!(satisfied[0]["logs"][0]["online"], true);
        }
    }
}

/// What nobody can confirm of an index hides nothing of its images.
#[tokio::test]
async fn an_open_signature_of_an_index_leaves_the_images_below_to_be_judged() {
    let bound = Bound::new().await;
    let sigstore = Arc::new(instance(&bound));
    let child = Image::new("app");
    let parts = sigstore.sign(subject()).by(&alice()).parts();
    let child = child.referred(&parts, Version::V03);
    let manifests = json!([{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": child.digest(), "size": child.manifest.len(), "platform": {"os": "linux", "architecture": "amd64"},
    }]);
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    let mut image = Image { manifest: index.to_string().into_bytes(), ..child.clone() };
    image.referrers.insert(0, child.manifest.clone());
    let sound = image.clone();
    let lost = sigstore.sign(Subject::simple_signing(&image.manifest)).by(&alice()).parts();
    let image = image.tagged(&lost.with(|parts| parts.entries.clear()));
    let missing = format!("logIndex={}", parts.entries[0].log_index);
    let holds = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let _log = bound.serve({
        let (sigstore, holds) = (Arc::clone(&sigstore), Arc::clone(&holds));
        move |asked| match asked.method.as_str() {
            "POST" => reply(200, "[]"),
            _ if asked.target.ends_with(&missing) && !holds.load(std::sync::atomic::Ordering::SeqCst) => reply(404, ""),
            _ => honest(&sigstore, asked),
        }
    });
    for (what, image, held, expected) in [
        ("the child alone", &sound, true, Answer::Allow),
        ("an open signature above", &image, true, Answer::Allow),
        ("the child's entry is lost", &sound, false, Answer::Undecided),
        ("both", &image, false, Answer::Undecided),
    ] {
        holds.store(held, std::sync::atomic::Ordering::SeqCst);
        let came = Judging::under(&sigstore).judge(image).await;
        assert_eq!(came.answer, expected, "{what}: {}", came.text);
    }
}

/// Time that runs out at any question leaves the image open, whatever was confirmed before.
#[tokio::test]
async fn time_that_runs_out_at_any_question_allows_nothing() {
    let bound = Bound::new().await;
    let (bundled, tiled, searched) = {
        let sigstore = Arc::new(instance(&bound));
        let one = sigstore.sign(subject()).by(&alice()).parts();
        let two = sigstore.sign(subject()).by(&alice()).rekor_v2().parts();
        let manifest = Image::new("app").manifest;
        let three = sigstore.sign(Subject::simple_signing(&manifest)).by(&alice()).parts();
        let three = three.with(|parts| parts.entries.clear());
        let app = || Image::new("app");
        (
            (Arc::clone(&sigstore), app().referred(&one, Version::V03)),
            app().referred(&two, Version::V03),
            app().tagged(&three),
        )
    };
    let (sigstore, bundled) = bundled;
    let stalls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let _log = bound.serve({
        let (sigstore, stalls) = (Arc::clone(&sigstore), Arc::clone(&stalls));
        move |asked| {
            let left = stalls.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            if left == 0 { Reply::Never } else { honest(&sigstore, asked) }
        }
    });
    for (image, questions) in [(&bundled, 1), (&tiled, 2), (&searched, 2)] {
        for stalled in 0..=questions {
            stalls.store(stalled, std::sync::atomic::Ordering::SeqCst);
            let time = if stalled == questions { HANG } else { Duration::from_millis(500) };
            let came = Judging { time, ..Judging::under(&sigstore) }.judge(image).await;
            if stalled == questions {
                assert_eq!(came.answer, Answer::Allow, "{}", came.text);
            } else {
                assert!(came.is_open("Deadline"), "{stalled}: {}", came.text);
            }
        }
    }
}
