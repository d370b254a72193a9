//! The store under a judge and by itself: what it may save, and what it must never change.
//!
//! Registries here are real clients over a fake server where credentials and counts matter, and a source in memory where time does:
//! with the runtime's clock paused, seconds cost nothing.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fake that cannot be set up fails its test")]
#![expect(clippy::similar_names, reason = "`signer` and `signed` are the field's words")]

#[path = "support/signer.rs"]
mod signer;
#[path = "support/registry.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use countersign::decision::{Answer, Decision, ImageVerdicts};
use countersign::image::{Digest, ImageReference, Repository};
use countersign::judge::{Judge, Request};
use countersign::policy::{Policy, Scope, Snapshot, Unmatched};
use countersign::registry::{
    CredentialKey, CredentialStore, Credentialed, Descriptor, ImageSource, Limits, ManifestSelector, RawManifest,
    RegistryError, index_entries,
};
use countersign::store::{Cached, Kind, Reading, Store, StoreSettings};
use countersign::trust::TrustRoots;
use countersign::workload::ContainerImage;
use futures::future::join_all;
use serde_json::json;
use signer::{SIMPLE_SIGNING, Signer, image, signature_tag};
use support::{Content, FakeRegistry, Seen, client, index, manifest, options, respond};
use tokio::time::{Instant, advance};

const HOST: &str = "reg.io";
const MIB: u64 = 1 << 20;

fn policy(pem: &str) -> Arc<Policy> {
    let policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["**"], "tags": "Pin", "authorities": [{"name": "a", "keys": [{"name": "k", "pem": pem}]}]},
    });
    Arc::new(Policy::parse(&policy).unwrap())
}

fn settings(resolution: u64, listing: u64) -> StoreSettings {
    StoreSettings {
        resolution_lifetime: Duration::from_secs(resolution),
        listing_lifetime: Duration::from_secs(listing),
        ..StoreSettings::default()
    }
}

fn reading(store: &Store, kind: Kind) -> Reading {
    store.readings().into_iter().find(|reading| reading.kind == kind).unwrap()
}

/// Has one image judged under one key.
async fn ask<S: ImageSource>(
    judge: &Judge<S>,
    signer: &Signer,
    image: &str,
    time: Duration,
) -> (Decision, ImageVerdicts) {
    let snapshot =
        Snapshot::new(TrustRoots::default(), Unmatched::Deny).with_policies(vec![policy(&signer.pem())], Vec::new());
    let images = vec![ContainerImage::named("image", image)];
    let request = Request { images, scope: Scope::Anywhere, runs: false };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let verdicts = judge.judge(&request, &snapshot, now, Instant::now() + time).await;
    let first = verdicts[0].clone();
    (Decision::new(verdicts, Unmatched::Deny), first)
}

const TIME: Duration = Duration::from_secs(20);

/// A registry in memory, that takes its time.
#[derive(Clone)]
struct Memory {
    shared: Arc<Shared>,
    credentials: CredentialStore,
}

#[derive(Default)]
struct Shared {
    tags: Mutex<BTreeMap<String, Vec<u8>>>,
    content: Mutex<BTreeMap<Digest, Vec<u8>>>,
    referrers: Mutex<Vec<u8>>,
    failures: Mutex<BTreeMap<String, RegistryError>>,
    asked: Mutex<Vec<String>>,
    delay: Duration,
}

impl Memory {
    fn new(delay: Duration) -> Self {
        Self { shared: Arc::new(Shared { delay, ..Shared::default() }), credentials: CredentialStore::default() }
    }

    fn put(&self, bytes: &[u8]) {
        self.shared.content.lock().unwrap().insert(Digest::of(bytes), bytes.to_vec());
    }

    fn tag(&self, tag: &str, bytes: &[u8]) {
        self.put(bytes);
        self.shared.tags.lock().unwrap().insert(tag.to_owned(), bytes.to_vec());
    }

    fn sign(&self, signer: &Signer, signed: &[u8]) {
        let (payload, manifest) = signer.signature(signed);
        self.put(&payload);
        self.tag(&signature_tag(signed), &manifest);
    }

    /// From now on this question fails so, or no longer.
    fn fail(&self, question: &str, error: Option<RegistryError>) {
        let mut failures = self.shared.failures.lock().unwrap();
        match error {
            Some(error) => failures.insert(question.to_owned(), error),
            None => failures.remove(question),
        };
    }

    /// How often this was asked.
    fn count(&self, question: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|asked| *asked == question).count()
    }

    async fn answer<T>(
        &self,
        question: String,
        answer: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, RegistryError> {
        self.shared.asked.lock().unwrap().push(question.clone());
        let failure = self.shared.failures.lock().unwrap().get(&question).cloned();
        let answer = failure.map_or_else(|| Ok(answer()), Err);
        tokio::time::sleep(self.shared.delay).await;
        answer
    }
}

impl Credentialed for Memory {
    fn credential(&self, repository: &Repository) -> CredentialKey {
        self.credentials.key(repository)
    }
}

impl ImageSource for Memory {
    async fn manifest(
        &self,
        _repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let (question, bytes) = match selector {
            ManifestSelector::Digest(digest) => {
                (format!("manifest {digest}"), self.shared.content.lock().unwrap().get(digest).cloned())
            }
            ManifestSelector::Tag(tag) => (format!("tag {tag}"), self.shared.tags.lock().unwrap().get(tag).cloned()),
        };
        match self.answer(question, || bytes).await? {
            Some(bytes) if bytes.len() as u64 > cap => Err(RegistryError::TooLarge { what: "manifest", cap }),
            Some(bytes) => RawManifest::verified(selector, bytes, None).map(Some),
            None => Ok(None),
        }
    }

    async fn blob(
        &self,
        _repository: &Repository,
        digest: &Digest,
        cap: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let bytes = self.shared.content.lock().unwrap().get(digest).cloned();
        match self.answer(format!("blob {digest}"), || bytes).await? {
            Some(bytes) if bytes.len() as u64 > cap => Err(RegistryError::TooLarge { what: "blob", cap }),
            found => Ok(found),
        }
    }

    async fn referrers(
        &self,
        _repository: &Repository,
        _digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let bytes = self.shared.referrers.lock().unwrap().clone();
        let found = self.answer("referrers".to_owned(), || Some(bytes)).await?;
        found.filter(|bytes| !bytes.is_empty()).map(|bytes| index_entries(&bytes, 100)).transpose()
    }
}

fn repository(text: &str) -> Repository {
    ImageReference::parse(text).unwrap().repository().clone()
}

fn judge(store: &Store, memory: &Memory) -> Judge<Cached<Memory>> {
    Judge::new(store.over(memory.clone()), Limits::default()).with_store(store.clone())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// GHSA-2r43-6962-xcw5: a verdict that was cached by tag, while the digest was resolved anew. What is allowed is always a digest
/// that was signed, whichever of the two the tag names by now, and whatever is still remembered.
#[tokio::test(start_paused = true)]
async fn ghsa_2r43_6962_xcw5_an_allowed_digest_was_verified_though_its_tag_moves() {
    let signer = Signer::new();
    let (signed, unsigned) = (image("signed"), image("unsigned"));
    for settings in [settings(10, 10), settings(2, 10), settings(0, 300), settings(100, 0), settings(0, 0)] {
        let memory = Memory::new(Duration::from_millis(10));
        memory.put(&unsigned);
        memory.sign(&signer, &signed);
        let judge = judge(&Store::new(settings), &memory);
        let mut outcomes = BTreeSet::new();
        for turn in 0..60_usize {
            // The tag moves every other time, and time passes now and then.
            memory.tag("1", if turn / 2 % 2 == 0 { &signed } else { &unsigned });
            advance(seconds([0, 1, 3, 11][turn % 4])).await;
            let (decision, verdicts) = ask(&judge, &signer, "reg.io/app:1", TIME).await;
            let digest = verdicts.digest.unwrap();
            assert_eq!(decision.allows(), digest == Digest::of(&signed), "{settings:?} {turn}: {}", decision.text());
            assert_ne!(decision.outcome(), Answer::Undecided);
            outcomes.insert(decision.allows());
        }
        assert_eq!(outcomes.len(), 2, "{settings:?}: the tag was seen to move");
    }
}

#[tokio::test(start_paused = true)]
async fn a_moved_tag_is_seen_after_its_lifetime_and_after_a_failure_at_once() {
    let signer = Signer::new();
    let (signed, unsigned) = (image("signed"), image("unsigned"));
    let memory = Memory::new(Duration::ZERO);
    memory.sign(&signer, &signed);
    memory.tag("1", &signed);
    let judge = judge(&Store::new(settings(2, 10)), &memory);
    let allows = async || ask(&judge, &signer, "reg.io/app:1", TIME).await.0.allows();
    assert!(allows().await);
    memory.tag("1", &unsigned);
    advance(Duration::from_millis(1_900)).await;
    assert!(allows().await, "the old digest, which was verified");
    assert_eq!(memory.count("tag 1"), 1);
    advance(Duration::from_millis(200)).await;
    assert!(!allows().await);
    memory.tag("1", &signed);
    assert!(allows().await);
}

/// A registry that answers every question about a tag with the other image.
#[tokio::test]
async fn a_registry_that_changes_its_mind_is_believed_about_digests_alone() {
    let signer = Signer::new();
    let images = [image("signed"), image("unsigned")];
    for settings in [settings(0, 0), settings(0, 10), settings(10, 10)] {
        let content = signer.sign(Content::default().with(&images[0]).with(&images[1]), &images[0]);
        let (answers, turn) = (images.clone(), Arc::new(Mutex::new(0_usize)));
        let registry = FakeRegistry::start(move |seen: &Seen| {
            if seen.path.ends_with("/manifests/1") {
                let mut turn = turn.lock().unwrap();
                *turn += 1;
                return respond(200, &[], answers[*turn % 2].clone());
            }
            content.answer(seen)
        })
        .await;
        let store = Store::new(settings);
        let source = store.over(client(options(&[registry.host()])));
        let judge = Judge::new(source, Limits::default()).with_store(store);
        for _ in 0..10 {
            let (decision, verdicts) = ask(&judge, &signer, &format!("{}/app:1", registry.host()), TIME).await;
            assert_eq!(decision.allows(), verdicts.digest == Some(Digest::of(&images[0])));
        }
    }
}

/// The signature that is pushed because of a denial, and the one that is pushed before anybody was denied.
#[tokio::test(start_paused = true)]
async fn a_signature_that_is_pushed_later_is_found() {
    let signer = Signer::new();
    let app = image("app");
    let memory = Memory::new(Duration::ZERO);
    let store = Store::new(settings(10, 10));
    let judge = judge(&store, &memory);
    let allows = async || ask(&judge, &signer, "reg.io/app:1", TIME).await.0.allows();
    assert!(!allows().await, "no image yet");
    memory.tag("1", &app);
    assert!(!allows().await, "no signature yet");
    memory.sign(&signer, &app);
    assert!(allows().await, "a failure is not remembered");

    // An empty answer that failed nobody is kept for two seconds, and no longer; a full one for its ten.
    let source = store.over(memory.clone());
    let (repository, digest) = (repository("reg.io/app"), Digest::of(&app));
    let found = async |tag: &str| source.manifest(&repository, ManifestSelector::Tag(tag), MIB).await.unwrap();
    let listed = async || source.referrers(&repository, &digest).await.unwrap().map_or(0, |entries| entries.len());
    let (attestations, fallback) = (format!("sha256-{}.att", digest.hex()), format!("sha256-{}", digest.hex()));
    let empty = index(&[]);
    memory.tag(&fallback, &empty);
    *memory.shared.referrers.lock().unwrap() = empty;
    advance(seconds(20)).await;
    assert!(found(&attestations).await.is_none() && found("later").await.is_none());
    assert_eq!((found(&fallback).await.unwrap().digest(), listed().await), (&Digest::of(&index(&[])), 0));
    let full = index(&[(&app, None)]);
    for tag in [attestations.as_str(), fallback.as_str(), "later"] {
        memory.tag(tag, &full);
    }
    *memory.shared.referrers.lock().unwrap() = full.clone();
    advance(Duration::from_millis(1_900)).await;
    assert!(found(&attestations).await.is_none() && found("later").await.is_none() && listed().await == 0);
    advance(Duration::from_millis(200)).await;
    for tag in [attestations.as_str(), fallback.as_str(), "later"] {
        assert_eq!(found(tag).await.unwrap().bytes(), full, "{tag}");
    }
    assert_eq!(listed().await, 1);
    let asked = memory.count("referrers");
    advance(Duration::from_millis(9_900)).await;
    assert_eq!((listed().await, memory.count("referrers")), (1, asked));
    advance(Duration::from_millis(200)).await;
    assert_eq!((listed().await, memory.count("referrers")), (1, asked + 1));
}

#[tokio::test(start_paused = true)]
async fn policies_are_evaluated_each_time() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let app = image("app");
    let memory = Memory::new(Duration::ZERO);
    memory.tag("1", &app);
    memory.sign(&ours, &app);
    let store = Store::new(settings(300, 300));
    let judge = judge(&store, &memory);
    for (signer, expected) in [(&ours, true), (&theirs, false), (&ours, true), (&theirs, false)] {
        let (decision, _) = ask(&judge, signer, "reg.io/app:1", TIME).await;
        assert_eq!(decision.allows(), expected, "{}", decision.text());
    }
    let Reading { hits, misses, .. } = reading(&store, Kind::Evidence);
    assert_eq!((hits, misses), (2, 2));
}

fn auth_file(host: &str, user: &str) -> CredentialStore {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:password-of-{user}"));
    CredentialStore::parse(json!({ "auths": { host: { "auth": auth } } }).to_string().as_bytes()).unwrap()
}

/// Two workloads with their own pull secrets over one store. Alice may read, Bob and strangers may not, whoever comes first.
#[tokio::test]
async fn callers_with_other_credentials_share_nothing_but_evidence() {
    let signer = Signer::new();
    let app = image("app");
    let content = signer.sign(Content::default(), &app).with_tag("1", &app).with_referrers(index(&[]));
    let basic = |user: &str| {
        let pair = format!("{user}:password-of-{user}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    let (alice, bob) = (basic("alice"), basic("bob"));
    let registry = FakeRegistry::start(move |seen: &Seen| match &seen.authorization {
        None => respond(401, &[("www-authenticate", "Basic realm=x")], ""),
        Some(header) if *header == alice => content.answer(seen),
        // Bob has an account, and sees an empty repository.
        Some(header) if *header == bob => respond(404, &[], ""),
        Some(_) => respond(403, &[], ""),
    })
    .await;
    let host = registry.host();
    let anonymous = client(options(std::slice::from_ref(&host)));
    let callers = ["alice", "bob", "carol"].map(|user| anonymous.with_credentials(auth_file(&host, user)));
    let repository = registry.reference("app:1").repository().clone();
    let (digest, tag) = (Digest::of(&app), signature_tag(&app));
    // Whoever asks first, and whatever is remembered by then: each hears what the registry says to them.
    for order in [[0, 1, 2, 0, 1, 2], [2, 1, 0, 2, 1, 0], [1, 0, 2, 0, 1, 2]] {
        let store = Store::new(settings(300, 300));
        for caller in order {
            let source = store.over(callers[caller].clone());
            let manifest = source.manifest(&repository, ManifestSelector::Digest(&digest), MIB).await;
            let resolution = source.manifest(&repository, ManifestSelector::Tag("1"), MIB).await;
            let listing = source.manifest(&repository, ManifestSelector::Tag(&tag), MIB).await;
            let referrers = source.referrers(&repository, &digest).await;
            let blob = source.blob(&repository, &digest, MIB).await;
            let manifests = [manifest, resolution, listing].map(|answer| answer.map(|found| found.is_some()));
            let others = [referrers.map(|found| found.is_some()), blob.map(|found| found.is_some())];
            let all: Vec<_> = manifests.into_iter().chain(others).collect();
            let says = |expected: bool| all.iter().all(|answer| *answer == Ok(expected));
            match caller {
                0 => assert!(says(true), "alice, {order:?}: {all:?}"),
                1 => assert!(says(false), "bob, {order:?}: {all:?}"),
                _ => assert!(
                    all.iter().all(|answer| matches!(answer, Err(RegistryError::Unauthorized { .. }))),
                    "carol, {order:?}: {all:?}"
                ),
            }
        }
        let source = store.over(anonymous.clone());
        let answer = source.manifest(&repository, ManifestSelector::Digest(&digest), MIB).await;
        assert!(matches!(answer, Err(RegistryError::Unauthorized { .. })), "anonymous: {answer:?}");
    }
    // Under a judge: what alice had verified does not let bob in, who cannot see it.
    let store = Store::new(settings(300, 300));
    let text = format!("{host}/app:1");
    for (caller, expected) in [(0, Answer::Allow), (1, Answer::Undecided), (2, Answer::Undecided), (0, Answer::Allow)] {
        let judge = Judge::new(store.over(callers[caller].clone()), Limits::default()).with_store(store.clone());
        let (decision, _) = ask(&judge, &signer, &text, TIME).await;
        assert_eq!(decision.outcome(), expected, "{caller}: {}", decision.text());
    }
    // Another caller with the same credential is served from memory.
    let before = registry.seen().len();
    let again = store.over(anonymous.with_credentials(auth_file(&host, "alice")));
    let answer = again.manifest(&repository, ManifestSelector::Digest(&digest), MIB).await.unwrap();
    assert_eq!((answer.unwrap().into_bytes(), registry.seen().len()), (app, before));
}

/// The same path on another registry or in another repository is another thing.
#[tokio::test(start_paused = true)]
async fn repositories_share_nothing() {
    let store = Store::new(settings(300, 300));
    let (full, empty) = (Memory::new(Duration::ZERO), Memory::new(Duration::ZERO));
    let app = image("app");
    full.tag("1", &app);
    let (full, empty) = (store.over(full), store.over(empty));
    let digest = Digest::of(&app);
    let there = async |source: &Cached<Memory>, name: &str| {
        let name = repository(name);
        let by_digest = source.manifest(&name, ManifestSelector::Digest(&digest), MIB).await.unwrap().is_some();
        let by_tag = source.manifest(&name, ManifestSelector::Tag("1"), MIB).await.unwrap().is_some();
        (by_digest, by_tag, source.blob(&name, &digest, MIB).await.unwrap().is_some())
    };
    assert_eq!(there(&full, "reg.io/app").await, (true, true, true));
    // From memory, as the control.
    assert_eq!(there(&empty, "reg.io/app").await, (true, true, true));
    for other in ["reg.io/app2", "reg.io/team/app", "reg.io:5000/app", "app.reg.io/app"] {
        assert_eq!(there(&empty, other).await, (false, false, false), "{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_cause_one_request_for_each_thing_and_one_verification() {
    let signer = Signer::new();
    let app = image("app");
    let content = signer.sign(Content::default().with_tag("1", &app), &app);
    let registry = FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await;
    let store = Store::new(settings(10, 10));
    let source = store.over(client(options(&[registry.host()])));
    let judge = Judge::new(source, Limits::default()).with_store(store.clone());
    let text = format!("{}/app:1", registry.host());
    let answers = join_all((0..50).map(|_| ask(&judge, &signer, &text, TIME))).await;
    assert!(answers.iter().all(|(decision, _)| decision.allows()));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for one in registry.seen() {
        *seen.entry(one.path).or_default() += 1;
    }
    // The image, three tags, the referrers, one layer.
    assert_eq!((seen.len(), seen.values().max()), (6, Some(&1)), "{seen:?}");
    assert_eq!(reading(&store, Kind::Evidence).misses, 1);
    assert_eq!(reading(&store, Kind::Evidence).hits, 49);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_its_own_request_and_no_other() {
    let signer = Signer::new();
    let app = image("app");
    let memory = Memory::new(seconds(2));
    memory.tag("1", &app);
    memory.sign(&signer, &app);
    let judge = judge(&Store::new(settings(10, 10)), &memory);
    let one = |time| ask(&judge, &signer, "reg.io/app:1", time);
    let (first, second, third) = tokio::join!(biased; one(seconds(1)), one(TIME), one(TIME));
    assert_eq!(first.0.outcome(), Answer::Undecided);
    assert!(first.0.text().contains("[Deadline]"), "{}", first.0.text());
    for (decision, _) in [second, third] {
        assert!(decision.allows(), "{}", decision.text());
    }
    // The first asked and left, the second asked again; the third asked nothing.
    assert_eq!(memory.count("tag 1"), 2);
}

/// Trouble is told to those who waited, is not kept for those who come later, and never becomes "not there".
#[tokio::test(start_paused = true)]
async fn what_a_registry_could_not_say_is_not_remembered() {
    let host = || HOST.to_owned();
    let limited = |wait| RegistryError::RateLimited { host: host(), retry_after: Some(seconds(wait)) };
    // What fails, for how many milliseconds it is remembered, and how often five who ask at once ask for it.
    let table = [
        (RegistryError::Unavailable { host: host(), reason: "status 503".into() }, 0, 1),
        (RegistryError::UnexpectedStatus { host: host(), status: 418 }, 0, 1),
        (RegistryError::Timeout { host: host(), what: "manifest" }, 0, 5),
        (RegistryError::Unauthorized { host: host(), repository: "reg.io/app".into() }, 1_000, 1),
        (limited(7), 7_000, 1),
        (limited(3_600), 30_000, 1),
    ];
    let app = image("app");
    for (error, remembered, times) in table {
        let memory = Memory::new(Duration::from_millis(1));
        memory.tag("1", &app);
        memory.fail("tag 1", Some(error.clone()));
        let source = Store::new(settings(60, 60)).over(memory.clone());
        let name = repository("reg.io/app");
        let one = || source.manifest(&name, ManifestSelector::Tag("1"), MIB);
        for answer in join_all((0..5).map(|_| one())).await {
            assert_eq!(answer, Err(error.clone()));
        }
        assert_eq!(memory.count("tag 1"), times, "{error}");
        memory.fail("tag 1", None);
        // To be asked to forget does not make a registry that limits requests get more of them.
        source.forget(&name);
        if remembered > 0 {
            advance(Duration::from_millis(remembered - 100)).await;
            assert_eq!(one().await, Err(error.clone()), "{error}");
            advance(Duration::from_millis(100)).await;
        }
        assert!(one().await.unwrap().is_some(), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn zero_seconds_and_zero_bytes_remember_nothing() {
    let signer = Signer::new();
    let app = image("app");
    for (settings, resolutions, listings, layers) in [
        (settings(60, 60), 1, 1, 1),
        (settings(0, 60), 3, 1, 1),
        (settings(60, 0), 1, 3, 1),
        (StoreSettings { bytes: 0, ..settings(60, 60) }, 3, 3, 3),
    ] {
        let memory = Memory::new(Duration::ZERO);
        memory.tag("1", &app);
        memory.sign(&signer, &app);
        let layer = manifest_layer(&memory, &app);
        let store = Store::new(settings);
        let judge = judge(&store, &memory);
        for _ in 0..3 {
            assert!(ask(&judge, &signer, "reg.io/app:1", TIME).await.0.allows());
        }
        assert_eq!(memory.count("tag 1"), resolutions, "{settings:?}");
        assert_eq!(memory.count(&format!("tag {}", signature_tag(&app))), listings, "{settings:?}");
        assert_eq!(memory.count(&format!("blob {layer}")), layers, "{settings:?}");
        assert_eq!(reading(&store, Kind::Evidence).misses, layers as u64, "{settings:?}");
    }
}

/// The digest of the one layer of an image's signature.
fn manifest_layer(memory: &Memory, signed: &[u8]) -> Digest {
    let manifest = memory.shared.tags.lock().unwrap()[&signature_tag(signed)].clone();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    Digest::parse(manifest["layers"][0]["digest"].as_str().unwrap()).unwrap()
}

/// A cap is the caller's: what one may read another with a smaller one may not, and the other way round.
#[tokio::test(start_paused = true)]
async fn caps_are_each_callers_own() {
    let memory = Memory::new(Duration::from_millis(1));
    let bytes = vec![b'x'; 1_000];
    memory.put(&bytes);
    let app = image("app");
    memory.tag("1", &app);
    let (source, name, digest) = (Store::default().over(memory), repository("reg.io/app"), Digest::of(&bytes));
    let (app_digest, length) = (Digest::of(&app), app.len() as u64);
    // At once and one after the other: the first to ask has the small cap, then the large one.
    for _ in 0..2 {
        let (small, large) = tokio::join!(source.blob(&name, &digest, 999), source.blob(&name, &digest, 1_000));
        assert_eq!(small, Err(RegistryError::TooLarge { what: "blob", cap: 999 }));
        assert_eq!(large, Ok(Some(bytes.clone())));
        for selector in [ManifestSelector::Tag("1"), ManifestSelector::Digest(&app_digest)] {
            let small = source.manifest(&name, selector, length - 1).await;
            assert_eq!(small, Err(RegistryError::TooLarge { what: "manifest", cap: length - 1 }));
            assert!(source.manifest(&name, selector, length).await.unwrap().is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_images_take_no_more_memory_than_was_given() {
    let signer = Signer::new();
    let (bytes, padding) = (2 * MIB, "x".repeat(8 << 10));
    let memory = Memory::new(Duration::ZERO);
    let store = Store::new(StoreSettings { bytes, ..settings(300, 300) });
    let judge = judge(&store, &memory);
    let held = || store.readings().iter().map(|reading| reading.bytes).sum::<u64>();
    let mut most = 0;
    for number in 0..1_000 {
        // 8 KiB in the manifest, and as much in the layers that are no signature after all.
        let app = manifest(&[(SIMPLE_SIGNING, b"app", &[("padding", &padding), ("number", &number.to_string())])]);
        let noise = format!("{number}{padding}");
        memory.tag(&number.to_string(), &app);
        memory.put(noise.as_bytes());
        memory.tag(&signature_tag(&app), &manifest(&[(SIMPLE_SIGNING, noise.as_bytes(), &[])]));
        let (decision, _) = ask(&judge, &signer, &format!("reg.io/app:{number}"), TIME).await;
        assert_eq!(decision.outcome(), Answer::Deny, "{}", decision.text());
        most = most.max(held());
        assert!(held() <= bytes, "{number}: {}", held());
    }
    assert!(most > bytes / 2, "something is remembered: {most}");
    assert_eq!(reading(&store, Kind::Evidence).misses, 1_000);
}

/// ratify#116: a deadline that passed was taken for success. Every step takes ten milliseconds here, so that each of these deadlines
/// falls into another one: none of them allows, and the first that suffices does.
#[tokio::test(start_paused = true)]
async fn ratify_116_a_deadline_at_any_step_never_allows() {
    let signer = Signer::new();
    let (signed, unsigned) = (image("signed"), image("unsigned"));
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(&signed).to_string(), "size": signed.len()}]})
    .to_string()
    .into_bytes();
    for (tag, manifest, sound) in [("signed", &signed, true), ("unsigned", &unsigned, false), ("index", &index, true)] {
        let mut suffices = false;
        for milliseconds in (0..400).step_by(5) {
            let memory = Memory::new(Duration::from_millis(10));
            memory.put(&signed);
            memory.sign(&signer, &signed);
            memory.tag(tag, manifest);
            let judge = judge(&Store::new(settings(0, 0)), &memory);
            let time = Duration::from_millis(milliseconds);
            let (decision, _) = ask(&judge, &signer, &format!("reg.io/app:{tag}"), time).await;
            assert!(sound || !decision.allows(), "{tag} {milliseconds}");
            assert!(!suffices || decision.allows(), "{tag} {milliseconds}: more time is not less");
            if !decision.allows() && sound {
                assert_eq!(decision.outcome(), Answer::Undecided, "{tag} {milliseconds}: {}", decision.text());
            }
            suffices |= decision.allows();
        }
        assert_eq!(suffices, sound, "{tag}");
    }
}
