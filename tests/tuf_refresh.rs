//! Trust roots that a TUF repository on this machine delivers: what moves them, what does not, and what outlives a restart.
//!
//! The repository is written by `support/tuf_repository`, which shares no code with the client. After everything that is refused the old
//! root stands, its status says which rule broke, and the same repository without the mistake is accepted.

#![expect(clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]

#[path = "tuf_refresh/hostile.rs"]
mod hostile;
#[path = "tuf_refresh/judged.rs"]
mod judged;
#[path = "tuf_refresh/kept.rs"]
mod kept;
#[path = "tuf_refresh/mirrors.rs"]
mod mirrors;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/tuf_repository.rs"]
mod tuf_repository;
#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::image::Digest;
use countersign::trust::{RootProblem, RootSpec, TrustMaterial, TrustRoots};
use countersign::trust_store::{Archive, MemoryArchive, RootStatus, TrustStore, TrustStoreOptions};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tuf_repository::{Delegation, Key, Manner, Repository, Role, Served, sign};
use virtual_sigstore::VirtualSigstore;

/// Far above what any of these takes; a test that reaches it hangs.
const HANG: Duration = Duration::from_mins(1);
/// The target that a root's keys are read from.
const TARGET: &str = "trusted_root.json";

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn later(hours: i64) -> Timestamp {
    noon() + jiff::SignedDuration::from_hours(hours)
}

/// A trusted root of an instance that was never seen before.
fn fresh_root() -> String {
    VirtualSigstore::new().root().json()
}

fn digest(json: &str) -> Digest {
    TrustMaterial::parse("own", json).unwrap().digest().clone()
}

/// An object named `own` over this mirror.
fn spec(mirror: &str, pinned: &[u8], further: &Value) -> RootSpec {
    let mut spec = json!({"tuf": {"mirror": mirror, "root": {"inline": String::from_utf8(pinned.to_vec()).unwrap()}}});
    spec.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    RootSpec::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureTrustRoot",
        "metadata": {"name": "own"}, "spec": spec,
    }))
    .unwrap()
}

/// A store whose clock is set by hand, and which refreshes when it is asked.
struct Bench {
    store: Arc<TrustStore>,
    clock: Arc<Mutex<Timestamp>>,
}

impl Bench {
    fn new(archive: Arc<dyn Archive>) -> Self {
        Self::with(archive, |_| {})
    }

    fn with(archive: Arc<dyn Archive>, change: impl FnOnce(&mut TrustStoreOptions)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Arc::new(Mutex::new(noon()));
        let read = Arc::clone(&clock);
        let mut options = TrustStoreOptions::new(TrustRoots::default(), Arc::new(move || *read.lock().unwrap()));
        options.plain_loopback = true;
        options.refresh_pause = Duration::ZERO;
        options.first_backoff = Duration::from_hours(1);
        change(&mut options);
        Self { store: TrustStore::new(options, archive), clock }
    }

    fn set_clock(&self, now: Timestamp) {
        *self.clock.lock().unwrap() = now;
    }

    /// Waits for the first refresh.
    async fn declare(&self, spec: RootSpec) -> RootStatus {
        let mut changed = self.store.changed();
        let name = spec.name().to_owned();
        let before = self.store.status(&name).map_or(0, |status| attempts(&status));
        self.store.declare(spec);
        let refreshed = async {
            loop {
                let status = self.store.status(&name).unwrap();
                if attempts(&status) > before {
                    return status;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(HANG, refreshed).await.expect("hangs")
    }

    /// Refreshes once more.
    async fn refresh(&self) -> RootStatus {
        let work = self.store.refresh_now("own", Instant::now() + HANG);
        tokio::time::timeout(HANG * 2, work).await.expect("hangs");
        self.store.status("own").unwrap()
    }

    /// What is trusted now.
    fn trusted(&self) -> Option<Digest> {
        self.store.roots().find("own").map(|material| material.digest().clone())
    }

    fn usable(&self, now: Timestamp) -> Result<bool, RootProblem> {
        self.store.roots().usable("own", now).map(|(_, warning)| warning.is_some())
    }
}

fn attempts(status: &RootStatus) -> u64 {
    status.refreshes.succeeded + status.refreshes.refused + status.refreshes.failed
}

/// The code of the last failure, or "ok".
fn code(status: &RootStatus) -> &'static str {
    status.failure.as_ref().map_or("ok", |failure| failure.error.code())
}

/// A repository that is served, and a store that has accepted it.
async fn accepted() -> (Served, Bench, Digest) {
    let root = fresh_root();
    let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    let bench = Bench::new(Arc::new(MemoryArchive::default()));
    let pinned = served.edit(|repository| repository.pinned.clone());
    let status = bench.declare(spec(&served.url(), &pinned, &json!({}))).await;
    assert_eq!(code(&status), "ok");
    assert_eq!(bench.trusted(), Some(digest(&root)));
    (served, bench, digest(&root))
}

#[tokio::test]
async fn keys_rotate_step_by_step() {
    let (served, bench, _) = accepted().await;
    let new = fresh_root();
    served.edit(|repository| {
        repository.rotate(|repository| repository.root = Role::new(3, 2));
        repository.rotate(|repository| {
            repository.timestamp = Role::new(1, 1);
            repository.targets = Role::new(3, 2);
        });
        repository.deliver(TARGET, new.as_bytes());
    });
    let status = bench.refresh().await;
    assert_eq!(code(&status), "ok");
    let versions = status.versions.unwrap();
    assert_eq!((versions.root, versions.timestamp, versions.snapshot, versions.targets), (3, 2, 2, 2));
    assert_eq!(bench.trusted(), Some(digest(&new)));
    assert_eq!(status.digest, Some(digest(&new).to_string()));
    assert_eq!((status.refreshed, status.logs.len()), (Some(noon()), 2));
}

#[tokio::test]
async fn a_root_that_its_predecessor_did_not_sign_is_refused() {
    let (served, bench, old) = accepted().await;
    let new = fresh_root();
    // All is as in a genuine rotation, but for the old keys.
    let genuine = served.edit(|repository| {
        repository.rotate(|repository| {
            repository.root = Role::new(3, 2);
            repository.timestamp = Role::new(1, 1);
        });
        repository.deliver(TARGET, new.as_bytes());
        let genuine = repository.files["2.root.json"].clone();
        let forged = sign(&repository.root_value(), &repository.root.keys);
        repository.files.insert("2.root.json".to_owned(), forged);
        genuine
    });
    assert_eq!(code(&bench.refresh().await), "TufThresholdNotMet");
    assert_eq!(bench.trusted(), Some(old));
    served.edit(|repository| repository.files.insert("2.root.json".to_owned(), genuine));
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.trusted(), Some(digest(&new)));
}

#[tokio::test]
async fn too_few_signatures_are_refused_in_every_role() {
    type Forge = fn(&mut Repository);
    let cases: [(&str, Forge); 4] = [
        ("one of two targets keys", |repository| repository.targets.keys.truncate(1)),
        ("strangers' targets keys", |repository| repository.targets = Role::new(2, 2)),
        ("a stranger's snapshot key", |repository| repository.snapshot = Role::new(1, 1)),
        ("a stranger's timestamp key", |repository| repository.timestamp = Role::new(1, 1)),
    ];
    for (what, forge) in cases {
        let (served, bench, old) = accepted().await;
        let before = served.edit(|repository| repository.clone());
        let new = fresh_root();
        served.edit(|repository| {
            forge(repository);
            repository.deliver(TARGET, new.as_bytes());
        });
        let status = bench.refresh().await;
        assert_eq!(code(&status), "TufThresholdNotMet", "{what}");
        assert_eq!((bench.trusted(), status.refreshes.refused), (Some(old), 1), "{what}");
        assert_eq!(bench.usable(noon()), Ok(false), "{what}");
        served.edit(|repository| {
            *repository = before;
            // The forged one may have got as far as its timestamp and snapshot, and those are not unseen.
            repository.timestamp_version += 1;
            repository.snapshot_version += 1;
            repository.targets_version += 1;
            repository.deliver(TARGET, new.as_bytes());
        });
        assert_eq!(code(&bench.refresh().await), "ok", "{what}");
        assert_eq!(bench.trusted(), Some(digest(&new)), "{what}");
    }
}

#[tokio::test]
async fn what_is_older_than_what_was_accepted_is_refused() {
    let (served, bench, _) = accepted().await;
    let old = served.edit(|repository| repository.clone());
    let new = fresh_root();
    served.edit(|repository| repository.deliver(TARGET, new.as_bytes()));
    assert_eq!(code(&bench.refresh().await), "ok");
    let newest = served.edit(|repository| repository.clone());
    // The whole repository as it was, with its old key; the same under a new timestamp; and with an old list of targets in a new snapshot.
    let back = |served: &Served, change: &dyn Fn(&mut Repository)| {
        served.edit(|repository| {
            *repository = old.clone();
            change(repository);
        });
    };
    back(&served, &|_| {});
    assert_eq!(code(&bench.refresh().await), "TufRollback");
    back(&served, &|repository| {
        repository.timestamp_version += 5;
        repository.stamp();
    });
    assert_eq!(code(&bench.refresh().await), "TufRollback");
    assert_eq!(bench.trusted(), Some(digest(&new)));
    back(&served, &|repository| {
        (repository.timestamp_version, repository.snapshot_version, repository.targets_version) = (10, 10, 0);
        repository.publish();
    });
    let status = bench.refresh().await;
    assert!(["TufRollback", "TufVersionMismatch"].contains(&code(&status)), "{}", code(&status));
    assert_eq!(bench.trusted(), Some(digest(&new)));
    served.edit(|repository| {
        *repository = newest;
        (repository.timestamp_version, repository.snapshot_version) = (20, 20);
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.trusted(), Some(digest(&new)));
}

#[tokio::test]
async fn a_frozen_repository_is_refused_and_counts_until_it_expires() {
    let root = fresh_root();
    let mut repository = Repository::new(TARGET, root.as_bytes());
    repository.expire(&later(24));
    repository.publish();
    let served = Served::start(repository).await;
    let bench = Bench::new(Arc::new(MemoryArchive::default()));
    let pinned = served.edit(|repository| repository.pinned.clone());
    assert_eq!(code(&bench.declare(spec(&served.url(), &pinned, &json!({}))).await), "ok");
    assert_eq!(bench.store.status("own").unwrap().expires, Some(later(24)));
    // Without maxAge the metadata's own expiry is the budget.
    assert_eq!(bench.usable(later(24)), Ok(false));
    assert!(matches!(bench.usable(later(25)), Err(RootProblem::Stale { since, .. }) if since == later(24)));
    bench.set_clock(later(25));
    let status = bench.refresh().await;
    assert_eq!(code(&status), "TufMetadataExpired");
    assert_eq!((bench.trusted(), status.refreshed), (Some(digest(&root)), Some(noon())));
    served.edit(|repository| {
        repository.expire(&later(48));
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.usable(later(25)), Ok(false));
}

#[tokio::test]
async fn past_its_age_a_root_is_an_error_or_a_warning_as_its_object_says() {
    for (on_stale, expected) in [("Error", None), ("Warn", Some(true))] {
        let root = fresh_root();
        let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
        let bench = Bench::new(Arc::new(MemoryArchive::default()));
        let pinned = served.edit(|repository| repository.pinned.clone());
        let further = json!({"maxAge": "6h", "onStale": on_stale});
        assert_eq!(code(&bench.declare(spec(&served.url(), &pinned, &further)).await), "ok");
        for manner in [Manner::Status(503), Manner::Status(500)] {
            served.behave(manner);
            bench.set_clock(later(5));
            let status = bench.refresh().await;
            assert_eq!((code(&status), status.refreshes.failed > 0), ("TufMirrorStatus", true));
        }
        assert_eq!(bench.usable(later(6)), Ok(false), "the last good one has its budget");
        let past = later(6) + jiff::SignedDuration::from_nanos(1);
        assert_eq!(bench.usable(past).ok(), expected, "{on_stale}");
        served.behave(Manner::Honest);
        assert_eq!(code(&bench.refresh().await), "ok");
        assert_eq!(bench.usable(later(11)), Ok(false), "it begins anew");
    }
}

/// One repository that never answers, one that lies, and one beside them.
#[tokio::test]
async fn a_root_that_fails_delays_and_weakens_no_other() {
    let root = fresh_root();
    let silent = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    silent.behave(Manner::Silent);
    let good = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    let bench = Bench::new(Arc::new(MemoryArchive::default()));
    let named = |name: &str, served: &Served| {
        let pinned = served.edit(|repository| String::from_utf8(repository.pinned.clone()).unwrap());
        let object = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureTrustRoot", "metadata": {"name": name},
            "spec": {"tuf": {"mirror": served.url(), "root": {"inline": pinned}}},
        });
        RootSpec::parse(&object).unwrap()
    };
    for number in 0..8 {
        bench.store.declare(named(&format!("silent-{number}"), &silent));
    }
    bench.store.refuse("broken", "its object is broken");
    let status = bench.declare(named("good", &good)).await;
    assert_eq!(code(&status), "ok");
    // Nobody waits for an answer to know what was accepted before.
    tokio::time::timeout(HANG, bench.store.settled()).await.expect("hangs");
    let roots = bench.store.roots();
    assert!(roots.usable("good", noon()).is_ok());
    for name in ["silent-0", "broken"] {
        assert_eq!(roots.usable(name, noon()).unwrap_err().code(), "TrustRootUnavailable", "{name}");
    }
    assert_eq!(roots.usable("other", noon()).unwrap_err().code(), "TrustRootUnknown");
    bench.store.withdraw("good");
    assert_eq!(bench.store.roots().usable("good", noon()).unwrap_err().code(), "TrustRootUnknown");
}

#[tokio::test]
async fn evidence_causes_one_refresh_at_a_time_and_none_too_soon() {
    let (served, bench, _) = accepted().await;
    let before = served.asked("timestamp.json");
    let deadline = Instant::now() + HANG;
    let all = (0..10).map(|_| bench.store.refresh_now("own", deadline));
    let changed: Vec<bool> = futures::future::join_all(all).await;
    assert_eq!(changed, [false; 10], "it is what it was");
    let asked = served.asked("timestamp.json") - before;
    assert!((1..=2).contains(&asked), "{asked} refreshes for ten that asked at once");

    let pause = Bench::with(Arc::new(MemoryArchive::default()), |options| options.refresh_pause = HANG);
    let pinned = served.edit(|repository| repository.pinned.clone());
    pause.declare(spec(&served.url(), &pinned, &json!({}))).await;
    let before = served.asked("timestamp.json");
    served.edit(|repository| repository.deliver(TARGET, fresh_root().as_bytes()));
    assert!(!pause.store.refresh_now("own", deadline).await);
    assert_eq!(served.asked("timestamp.json"), before, "the first was moments ago");
    assert!(bench.store.refresh_now("own", deadline).await, "whoever may ask gets it");
    assert!(!bench.store.refresh_now("other", deadline).await);
    let late = Instant::now() - Duration::from_secs(1);
    served.edit(|repository| repository.deliver(TARGET, fresh_root().as_bytes()));
    assert!(!bench.store.refresh_now("own", late).await, "nobody waits past the deadline");
}

/// Feeds ask for targets all the time. The root is refreshed all the same, and what failed is tried again.
#[tokio::test]
async fn questions_put_off_no_refresh() {
    let root = fresh_root();
    let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    served.behave(Manner::Status(503));
    let first_backoff = Duration::from_millis(200);
    let bench = Bench::with(Arc::new(MemoryArchive::default()), |options| options.first_backoff = first_backoff);
    let pinned = served.edit(|repository| repository.pinned.clone());
    assert_eq!(code(&bench.declare(spec(&served.url(), &pinned, &json!({}))).await), "TufMirrorStatus");
    served.behave(Manner::Refuses("timestamp.json".to_owned(), 503));
    let asking = async {
        while attempts(&bench.store.status("own").unwrap()) < 3 {
            let asked = bench.store.role_keys("own", "feeds", Instant::now() + HANG).await;
            assert_eq!(asked.unwrap_err().code(), "TufMirrorStatus");
        }
    };
    tokio::time::timeout(HANG, asking).await.expect("it is never refreshed");
    served.behave(Manner::Honest);
    let mut changed = bench.store.changed();
    let usable = async {
        while bench.trusted().is_none() {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(HANG, usable).await.expect("hangs");
}

/// All roles that policies name ask again when the metadata is new; they are answered together, and whoever finds no room is told so.
#[tokio::test]
async fn many_questions_at_once_are_answered_together() {
    let (served, bench, _) = accepted().await;
    let deadline = Instant::now() + HANG;
    let ask = async |number: usize| {
        let answers = (0..number).map(|_| bench.store.role_keys("own", "release", deadline));
        let before = served.asked("timestamp.json");
        // All of them before any is answered.
        let answers = tokio::task::unconstrained(futures::future::join_all(answers)).await;
        let codes: Vec<&str> = answers.into_iter().map(|answer| answer.unwrap_err().code()).collect();
        (codes, served.asked("timestamp.json") - before)
    };
    let (codes, asked) = ask(200).await;
    assert!(codes.iter().all(|code| *code == "TufRoleMissing"), "{codes:?}");
    assert!((1..=2).contains(&asked), "{asked} refreshes for all that asked at once");
    let (codes, _) = ask(1_025).await;
    assert_eq!(codes.iter().filter(|code| **code == "TufBusy").count(), 1);
    assert_eq!(codes.iter().filter(|code| **code == "TufRoleMissing").count(), 1_024);
}

#[tokio::test]
async fn targets_and_keys_of_delegated_roles_come_from_fresh_metadata() {
    let root = fresh_root();
    let mut repository = Repository::new(TARGET, root.as_bytes());
    let feeds = Role::new(1, 1);
    // The TUF library wants the member `public` in every key; an empty one says nothing.
    let identity = json!({"keytype": "sigstore-oidc", "scheme": "Fulcio",
        "keyval": {"public": "", "identity": "alice@example.com", "issuer": "https://accounts.example.com"}});
    let delegation = Delegation {
        name: "feeds".to_owned(),
        role: feeds,
        further_keys: std::collections::BTreeMap::from([("ab".repeat(32), identity)]),
        paths: vec!["feeds/*".to_owned()],
        version: 7,
        expires: later(24).to_string(),
        targets: std::collections::BTreeMap::from([("feeds/own.json".to_owned(), b"[]".to_vec())]),
    };
    repository.delegations.push(delegation);
    repository.publish();
    let served = Served::start(repository).await;
    let bench = Bench::new(Arc::new(MemoryArchive::default()));
    let pinned = served.edit(|repository| repository.pinned.clone());
    assert_eq!(code(&bench.declare(spec(&served.url(), &pinned, &json!({}))).await), "ok");
    let deadline = Instant::now() + HANG;
    let target = bench.store.target("own", "feeds/own.json", deadline).await.unwrap();
    assert_eq!((target.bytes.as_slice(), target.version, target.expires), (b"[]".as_slice(), 7, later(24)));
    let keys = bench.store.role_keys("own", "feeds", deadline).await.unwrap();
    assert_eq!((keys.threshold, keys.keys.len()), (1, 2));
    let fulcio = keys.keys.iter().find(|key| key.kind == "sigstore-oidc").unwrap();
    assert_eq!((fulcio.scheme.as_str(), &fulcio.value["identity"]), ("Fulcio", &json!("alice@example.com")));
    // A role may not speak of what it was not given, nor when it is too old.
    let codes = |result: Result<_, countersign::trust_store::RefreshError>| result.map(|_| ()).unwrap_err().code();
    assert_eq!(codes(bench.store.target("own", "feeds/other.json", deadline).await), "TufTargetMissing");
    assert_eq!(codes(bench.store.target("other", "feeds/own.json", deadline).await), "TufNotDeclared");
    assert_eq!(bench.store.role_keys("own", "nobody", deadline).await.unwrap_err().code(), "TufRoleMissing");
    bench.set_clock(later(25));
    assert_eq!(codes(bench.store.target("own", "feeds/own.json", deadline).await), "TufMetadataExpired");
    bench.set_clock(noon());
    served.edit(|repository| {
        repository.delegations.iter_mut().for_each(|delegation| {
            delegation.role.keys = vec![Key::new()];
            delegation.version += 1;
        });
        let listed = repository.clone();
        repository.publish();
        // The list says the old key, the role is signed by the new one.
        let name = "8.feeds.json";
        let forged = repository.files[name].clone();
        *repository = listed;
        repository.delegations.iter_mut().for_each(|delegation| delegation.role = Role::new(1, 1));
        repository.publish();
        repository.files.insert(name.to_owned(), forged);
    });
    assert_eq!(codes(bench.store.target("own", "feeds/own.json", deadline).await), "TufThresholdNotMet");
}
