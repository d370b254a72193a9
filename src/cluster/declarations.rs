//! Trust root objects, told to the trust store: what is declared, changed, withdrawn, or broken.
//!
//! The store is told what changed and nothing twice. A root whose pinned metadata stands in a `ConfigMap` of our namespace is declared
//! once that was read; it is read again now and then. What cannot be read any more stays as it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio::sync::Notify;

use super::kinds::TrustRootObjects;
use crate::trust::{PinnedRoot, RootSource, RootSpec, TrustRoots, TufSpec};
use crate::trust_store::TrustStore;

/// Between two looks at what objects refer to.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Time for one look.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of pinned metadata.
const ROOT_LIMIT: usize = 512 << 10;

/// An entry of a `ConfigMap`: its name and the key.
type Reference = (String, String);

/// Tells the store what is declared.
pub(super) struct Declarations {
    store: Arc<TrustStore>,
    maps: Api<ConfigMap>,
    known: Mutex<Known>,
    /// Told when something is referred to that was not before.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// What the store was told last, by name.
    told: BTreeMap<String, Told>,
    /// What objects refer to.
    references: BTreeSet<Reference>,
    /// What was read of that.
    read: BTreeMap<Reference, Vec<u8>>,
}

/// What the store was told of one root.
#[derive(Debug)]
enum Told {
    Declared(Box<RootSpec>),
    Refused(String),
}

impl Told {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Declared(spec), Self::Declared(other)) => spec.is_same(other),
            (Self::Refused(reason), Self::Refused(other)) => reason == other,
            _ => false,
        }
    }
}

impl Declarations {
    /// Reads what objects refer to from these `ConfigMap`s.
    pub(super) fn new(store: Arc<TrustStore>, maps: Api<ConfigMap>) -> Arc<Self> {
        Arc::new(Self { store, maps, known: Mutex::default(), asked: Notify::new() })
    }

    /// The roots of this moment.
    pub(super) fn roots(&self) -> Arc<TrustRoots> {
        self.store.roots()
    }

    /// The pinned metadata of each root that was declared and comes through TUF.
    pub(super) fn pinned(&self) -> BTreeMap<String, Arc<[u8]>> {
        let pinned = |(name, told): (&String, &Told)| match told {
            Told::Declared(spec) => match spec.source() {
                RootSource::Tuf(TufSpec { root: PinnedRoot::Bytes(bytes), .. }) => {
                    Some((name.clone(), Arc::clone(bytes)))
                }
                RootSource::Tuf(_) | RootSource::Fixed(_) => None,
            },
            Told::Refused(_) => None,
        };
        self.lock().told.iter().filter_map(pinned).collect()
    }

    /// Tells the store what these objects say, so far as it does not know it.
    pub(super) fn declare(&self, objects: &TrustRootObjects) {
        let mut known = self.lock();
        let in_force = || objects.iter().filter_map(|entry| entry.form.in_force());
        let reference =
            |spec: &Arc<RootSpec>| spec.root_reference().map(|(name, key)| (name.to_owned(), key.to_owned()));
        let references: BTreeSet<Reference> = in_force().filter_map(reference).collect();
        if !references.is_subset(&known.references) {
            self.asked.notify_one();
        }
        known.read.retain(|reference, _| references.contains(reference));
        known.references = references;
        let mut told = BTreeMap::new();
        for entry in objects.iter() {
            let says = match (entry.form.in_force(), entry.form.flaw()) {
                (Some(spec), _) => {
                    let root = reference(spec).and_then(|reference| known.read.get(&reference));
                    let spec = (**spec).clone();
                    Told::Declared(Box::new(match root {
                        Some(root) => spec.with_root(root),
                        None => spec,
                    }))
                }
                (None, Some(flaw)) => Told::Refused(flaw.to_string()),
                (None, None) => continue,
            };
            told.insert(entry.meta.name.clone(), says);
        }
        for name in known.told.keys().filter(|name| !told.contains_key(*name)) {
            self.store.withdraw(name);
        }
        for (name, says) in &told {
            match says {
                _ if known.told.get(name).is_some_and(|before| before.is_same(says)) => {}
                Told::Declared(spec) => self.store.declare((**spec).clone()),
                Told::Refused(reason) => self.store.refuse(name, reason),
            }
        }
        known.told = told;
    }

    /// Reads what objects refer to, for ever, and calls `changed` when it was something new.
    pub(super) async fn follow_references(&self, changed: impl Fn()) {
        loop {
            if self.read_references().await {
                changed();
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.asked.notified()).await;
        }
    }

    /// Reads once what objects refer to. Whether something was new.
    pub(super) async fn read_references(&self) -> bool {
        let references = self.lock().references.clone();
        let mut is_new = false;
        for reference in references {
            is_new |= self.read(reference).await;
        }
        is_new
    }

    /// Reads an entry. Whether it was something new.
    async fn read(&self, reference: Reference) -> bool {
        let (name, key) = &reference;
        let failed =
            |reason: &dyn fmt::Display| tracing::warn!(config_map = name, key, %reason, "a pinned root cannot be read");
        let map = match tokio::time::timeout(ANSWER, self.maps.get_opt(name)).await {
            Ok(Ok(Some(map))) => map,
            Ok(Ok(None)) => {
                failed(&"there is no such ConfigMap");
                return false;
            }
            Ok(Err(error)) => {
                failed(&error);
                return false;
            }
            Err(_late) => {
                failed(&"no answer in time");
                return false;
            }
        };
        let text = map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes);
        let bytes = text.or_else(|| map.binary_data.and_then(|mut data| data.remove(key)).map(|bytes| bytes.0));
        match bytes {
            Some(bytes) if bytes.len() <= ROOT_LIMIT => {
                let mut known = self.lock();
                // What is referred to no more is not kept.
                let is_new = known.references.contains(&reference) && known.read.get(&reference) != Some(&bytes);
                if is_new {
                    known.read.insert(reference, bytes);
                }
                is_new
            }
            Some(_) => {
                failed(&"it is too large");
                false
            }
            None => {
                failed(&"there is no such key");
                false
            }
        }
    }

    /// A panic while the lock was held would be a bug; the store would be told anew what it knows.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Declarations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Declarations")
    }
}

/// A cluster without objects, whose roots are these.
#[cfg(test)]
pub(super) fn fixed(roots: TrustRoots, client: kube::Client) -> Arc<Declarations> {
    use crate::trust_store::{MemoryArchive, TrustStoreOptions};
    let options = TrustStoreOptions::new(roots, Arc::new(|| jiff::Timestamp::UNIX_EPOCH));
    let store = TrustStore::new(options, Arc::new(MemoryArchive::default()));
    Declarations::new(store, Api::namespaced(client, "ours"))
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::super::fake::FakeCluster;
    use super::super::kinds;
    use super::*;
    use crate::trust::PUBLIC_GOOD;

    const ROOT: &str = include_str!("../trust/tuf/public-good.json");

    fn object(name: &str, uid: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureTrustRoot",
            "metadata": {"name": name, "uid": uid}, "spec": spec,
        })
    }

    fn apply(objects: &mut TrustRootObjects, object: &Value) {
        objects.take(Event::Apply(kinds::trust_root(object)));
    }

    fn code(declarations: &Declarations, name: &str) -> &'static str {
        let now = jiff::Timestamp::UNIX_EPOCH;
        declarations.roots().usable(name, now).map_or_else(|problem| problem.code(), |_| "usable")
    }

    /// A root whose keys its object has.
    fn trusted_root() -> Value {
        let text = include_str!("../../tests/data/bundles/sigstore-java--rekor-v2/trusted_root.json");
        json!({"trustedRoot": text})
    }

    #[tokio::test]
    async fn a_broken_root_is_refused_alone_and_another_object_of_its_name_keeps_nothing_of_it() {
        let declarations = fixed(TrustRoots::embedded().unwrap(), FakeCluster::default().client());
        let mut objects = TrustRootObjects::default();
        apply(&mut objects, &object("own", "1", &trusted_root()));
        apply(&mut objects, &object("bad", "2", &json!({"typo": 1})));
        declarations.declare(&objects);
        let codes = |declarations: &Declarations| ["own", "bad", PUBLIC_GOOD].map(|name| code(declarations, name));
        assert_eq!(codes(&declarations), ["usable", "TrustRootUnavailable", "usable"]);
        // What it said last is in force as long as it is the same object.
        apply(&mut objects, &object("own", "1", &json!({"typo": 1})));
        declarations.declare(&objects);
        assert_eq!(code(&declarations, "own"), "usable");
        apply(&mut objects, &object("own", "3", &json!({"typo": 1})));
        declarations.declare(&objects);
        assert_eq!(code(&declarations, "own"), "TrustRootUnavailable");
        declarations.declare(&TrustRootObjects::default());
        assert_eq!(codes(&declarations), ["TrustRootUnknown", "TrustRootUnknown", "usable"]);
    }

    #[tokio::test]
    async fn the_store_is_told_nothing_twice() {
        let declarations = fixed(TrustRoots::default(), FakeCluster::default().client());
        let mut objects = TrustRootObjects::default();
        apply(&mut objects, &object("own", "1", &trusted_root()));
        apply(&mut objects, &object("bad", "2", &json!({"typo": 1})));
        declarations.declare(&objects);
        let mut changed = declarations.store.changed();
        changed.mark_unchanged();
        declarations.declare(&objects);
        assert!(!changed.has_changed().unwrap());
        apply(&mut objects, &object("bad", "2", &json!({"another": 1})));
        declarations.declare(&objects);
        assert!(changed.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pinned_root_is_read_from_our_namespace_and_kept_when_it_is_gone() {
        let cluster = FakeCluster::default();
        let declarations = fixed(TrustRoots::default(), cluster.client());
        let mut objects = TrustRootObjects::default();
        let spec = json!({"tuf": {"mirror": "https://tuf.example", "root": {"configMapRef": {"name": "pinned", "key": "root"}}}});
        apply(&mut objects, &object("own", "1", &spec));
        declarations.declare(&objects);
        let unavailable = || declarations.store.status("own").unwrap().unavailable.unwrap();
        assert!(declarations.pinned().is_empty());
        assert!(unavailable().contains("pinned/root"), "{}", unavailable());
        let look = async || {
            let look = declarations.follow_references(|| declarations.declare(&objects));
            let _ = tokio::time::timeout(LOOK_AGAIN * 2, look).await;
        };
        look().await;
        assert!(unavailable().contains("pinned/root"), "{}", unavailable());
        cluster.put("/api/v1/namespaces/ours/configmaps", "pinned", json!({"data": {"root": ROOT}}));
        look().await;
        assert!(!unavailable().contains("pinned/root"), "{}", unavailable());
        cluster.fail(404);
        look().await;
        declarations.declare(&objects);
        assert_eq!(declarations.pinned(), BTreeMap::from([("own".to_owned(), ROOT.as_bytes().into())]));
        assert!(!unavailable().contains("pinned/root"), "{}", unavailable());
    }
}
