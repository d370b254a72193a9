//! Feeds and signers that a TUF repository on this machine delivers, through the trust store and the judge: what they take away, what they
//! cannot give, and what outlives them.
//!
//! The repository is written by `support/tuf_repository`, the signatures by `support/virtual_sigstore`; neither shares code with what is
//! tested.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fake that cannot be set up fails its test"
)]

#[path = "feeds/delivered.rs"]
mod delivered;
#[path = "feeds/refused.rs"]
mod refused;
#[path = "feeds/roles.rs"]
mod roles;
#[path = "support/tuf_repository.rs"]
mod tuf_repository;
#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::decision::{Answer, Decision};
use countersign::feeds::{FeedArchive, FeedStatus, FeedStore, FeedStoreOptions, Kept, MemoryFeedArchive};
use countersign::judge::{Judge, Request};
use countersign::policy::{ClusterRules, Policy, Scope, Snapshot, Unmatched};
use countersign::registry::{Limits, OciLayout, Sources};
use countersign::revocation::Revocations;
use countersign::trust::{RoleName, RoleUnavailable, RootSpec, TrustRoots};
use countersign::trust_store::{Archive, MemoryArchive, TrustStore, TrustStoreOptions};
use countersign::workload::ContainerImage;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tuf_repository::{Manner, Repository, Served};
use virtual_sigstore::oci::Image;
use virtual_sigstore::{Identity, Subject, Version, VirtualSigstore};

/// Far above what any of these takes; a test that reaches it hangs.
const HANG: Duration = Duration::from_mins(1);
/// The target that a root's keys are read from.
const TRUSTED_ROOT: &str = "trusted_root.json";
/// The target that holds the feed.
const FEED: &str = "feed.json";
const ISSUER: &str = "https://accounts.example.com";
const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn later(hours: i64) -> Timestamp {
    noon() + jiff::SignedDuration::from_hours(hours)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let api_version = "policy.countersign.dev/v1alpha1";
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Rules with one feed, which may speak of `registry.example/app` and of one issuer.
fn rules(further: &Value) -> ClusterRules {
    let mut feed = json!({"name": "acme", "trustRoot": "own", "target": FEED, "maxAge": "12h",
        "allow": {"images": ["registry.example/app"], "issuers": [ISSUER]}});
    feed.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    let delegations = json!([{"namespaceSelector": {"matchLabels": {"team": "a"}}, "images": ["**"]}]);
    let spec = json!({"unmatched": "Deny", "delegations": delegations, "feeds": [feed]});
    ClusterRules::parse(&object("CountersignConfig", "cluster", &spec)).unwrap()
}

/// An authority that is this person.
fn signed_by(person: &str) -> Value {
    json!({"images": ["**"], "authorities": [{"name": "a", "keyless": {"trustRoot": "own",
        "identities": [{"issuer": {"exact": ISSUER}, "subject": {"exact": person}}]}}]})
}

fn cluster_policy(person: &str) -> Value {
    object("ClusterSignaturePolicy", "p", &signed_by(person))
}

/// A policy as a feed delivers it.
fn feed_policy(person: &str, images: &str) -> Value {
    let mut policy = object("SignaturePolicy", "f", &signed_by(person));
    policy["metadata"]["namespace"] = json!("team-a");
    policy["spec"]["images"] = json!([images]);
    policy
}

/// A revocation as a feed delivers it.
fn revocation(further: &Value) -> Value {
    let mut spec = json!({"reason": "stolen"});
    spec.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    object("SignatureRevocation", "r", &spec)
}

fn bytes(objects: &Value) -> Vec<u8> {
    objects.to_string().into_bytes()
}

/// An archive that cannot be read a number of times.
#[derive(Default)]
struct KeptFeeds {
    feeds: MemoryFeedArchive,
    failures: AtomicUsize,
}

impl FeedArchive for KeptFeeds {
    fn load<'a>(&'a self, feed: &'a str) -> BoxFuture<'a, Result<Option<Kept>, String>> {
        let fails = |left: usize| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails) {
            Ok(_) => async { Err("503".to_owned()) }.boxed(),
            Err(_) => self.feeds.load(feed),
        }
    }

    fn save<'a>(&'a self, feed: &'a str, kept: Kept) -> BoxFuture<'a, Result<(), String>> {
        self.feeds.save(feed, kept)
    }
}

/// An instance, a repository that delivers its keys and a feed, and the stores that read both, under a clock that is set by hand.
struct Bench {
    sigstore: VirtualSigstore,
    served: Served,
    clock: Arc<Mutex<Timestamp>>,
    kept_roots: Arc<MemoryArchive>,
    kept_feeds: Arc<KeptFeeds>,
    trust: Arc<TrustStore>,
    feeds: Arc<FeedStore>,
}

impl Bench {
    /// Whose repository has this feed.
    async fn start(feed: &Value) -> Self {
        let sigstore = VirtualSigstore::new();
        let mut repository = Repository::new(TRUSTED_ROOT, sigstore.root().json().as_bytes());
        repository.deliver(FEED, &bytes(feed));
        let served = Served::start(repository).await;
        let (kept_roots, kept_feeds) = (Arc::default(), Arc::default());
        let clock = Arc::new(Mutex::new(noon()));
        let (trust, feeds) = stores(&clock, &kept_roots, &kept_feeds);
        let bench = Self { sigstore, served, clock, kept_roots, kept_feeds, trust, feeds };
        bench.declare_root();
        let mut changed = bench.trust.changed();
        let refreshed = async {
            while bench.trust.status("own").unwrap().versions.is_none() {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(HANG, refreshed).await.expect("hangs");
        bench
    }

    fn declare_root(&self) {
        let pinned = String::from_utf8(self.served.edit(|repository| repository.pinned.clone())).unwrap();
        let spec = json!({"tuf": {"mirror": self.served.url(), "root": {"inline": pinned}}});
        self.trust.declare(RootSpec::parse(&object("SignatureTrustRoot", "own", &spec)).unwrap());
        self.feeds.declare_roots(BTreeMap::from([("own".to_owned(), pinned.as_bytes().into())]));
    }

    /// Another process over what the first one kept.
    fn restart(&mut self) {
        (self.trust, self.feeds) = stores(&self.clock, &self.kept_roots, &self.kept_feeds);
        self.declare_root();
    }

    fn set_clock(&self, now: Timestamp) {
        *self.clock.lock().unwrap() = now;
    }

    fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    fn deliver(&self, feed: &Value) {
        self.served.edit(|repository| repository.deliver(FEED, &bytes(feed)));
    }

    /// Waits until something holds of the feed.
    async fn until(&self, what: &str, holds: impl Fn(&FeedStatus) -> bool) -> FeedStatus {
        let mut changed = self.feeds.changed();
        let work = async {
            loop {
                let status = self.feeds.status("acme").unwrap();
                if holds(&status) {
                    return status;
                }
                changed.changed().await.unwrap();
            }
        };
        let ended = tokio::time::timeout(HANG, work).await;
        ended.unwrap_or_else(|_| panic!("hangs: {what}: {:?}", self.feeds.status("acme")))
    }

    /// Waits until the newest feed of the repository was delivered.
    async fn delivered(&self) -> FeedStatus {
        let newest = self.served.edit(|repository| repository.contents[FEED].clone());
        let digest = countersign::image::Digest::of(&newest);
        self.until("delivery", |status| status.digest.as_ref() == Some(&digest) && status.failure.is_none()).await
    }

    /// Waits until a fetch fails.
    async fn failed(&self) -> &'static str {
        self.until("failure", |status| status.failure.is_some()).await.failure.unwrap().0
    }

    /// An image that this person signed.
    fn image(&self, name: &str, person: &str) -> Image {
        let image = Image::new(name);
        let signing = self.sigstore.sign(Subject::cosign_sign(&image.manifest));
        let parts = signing.by(&Identity::email(person, ISSUER)).parts();
        image.referred(&parts, Version::V03)
    }

    /// What is said of an image in this repository, in a namespace to which everything is delegated.
    async fn judge(
        &self,
        image: &Image,
        repository: &str,
        policies: &[Value],
        rules: &ClusterRules,
    ) -> (Answer, String) {
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path());
        let sources = Sources { layouts: vec![OciLayout::open(folder.path()).unwrap()], registry: None };
        let policies = policies.iter().map(|policy| Arc::new(Policy::parse(policy).unwrap())).collect();
        let feeds = self.feeds.feeds();
        let revocations = Revocations::new(feeds.revocations().cloned().collect());
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let snapshot =
            Snapshot::new(TrustRoots::clone(&self.trust.roots()).with_roles(self.feeds.roles()), Unmatched::Deny)
                .with_policies(policies, Vec::new())
                .with_rules(rules.clone())
                .with_feeds(feeds)
                .with_revocations(revocations)
                .with_namespaces([("team-a".to_owned(), labels)].into());
        let reference = format!("{repository}@{}", image.digest());
        let images = vec![ContainerImage::named("image", &reference)];
        let request = Request { images, scope: Scope::Namespace(snapshot.namespace("team-a")), runs: true };
        let judge = Judge::new(sources, Limits::default());
        let work = judge.judge(&request, &snapshot, self.now(), Instant::now() + HANG);
        let verdicts = tokio::time::timeout(HANG * 2, work).await.expect("hangs");
        let decision = Decision::new(verdicts, snapshot.unmatched());
        (decision.outcome(), decision.text())
    }
}

fn stores(
    clock: &Arc<Mutex<Timestamp>>,
    kept_roots: &Arc<MemoryArchive>,
    kept_feeds: &Arc<KeptFeeds>,
) -> (Arc<TrustStore>, Arc<FeedStore>) {
    let read = Arc::clone(clock);
    let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(move || *read.lock().unwrap());
    let mut options = TrustStoreOptions::new(TrustRoots::default(), Arc::clone(&clock));
    options.plain_loopback = true;
    let trust = TrustStore::new(options, Arc::clone(kept_roots) as Arc<dyn Archive>);
    let mut options = FeedStoreOptions::new(clock);
    // Fetched all the time.
    (options.interval, options.first_backoff) = (Duration::from_millis(20), Duration::from_millis(20));
    let feeds = FeedStore::new(options, Arc::clone(&trust), Arc::clone(kept_feeds) as Arc<dyn FeedArchive>);
    (trust, feeds)
}
