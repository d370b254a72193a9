//! The cluster's side: watches policies and namespaces and publishes one snapshot.
//!
//! Every request reads the snapshot that was published last. A failing watch keeps what it had and never empties it; while it
//! fails the replica is first unready and then, past [`STALE_AFTER`], judges nothing. Status, events and leases come later.

mod index;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Api, Client};
use tokio::time::Instant;

use crate::api::ClusterSignaturePolicy;
use crate::policy::{Snapshot, Unmatched};
use crate::trust::TrustRoots;

pub use index::Index;

/// How long a watch may fail before the replica is unready.
pub const UNREADY_AFTER: Duration = Duration::from_mins(2);
/// How long a watch may fail before nothing is judged by what it last saw.
pub const STALE_AFTER: Duration = Duration::from_mins(5);

/// What is known of the cluster.
pub struct Cluster {
    client: Client,
    roots: TrustRoots,
    unmatched: Unmatched,
    state: Mutex<State>,
    /// None until everything has been listed once.
    published: ArcSwapOption<Snapshot>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    policies: Health,
    namespaces: Health,
}

/// Whether a watch has listed once, and since when it fails.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    listed: bool,
    failing_since: Option<Instant>,
}

/// Why there is no snapshot to judge by.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Policies and namespaces have not been listed yet.
    #[error("policies and namespaces have not been listed yet")]
    NotListed,
    /// A watch has been failing for too long.
    #[error("the watch of {what} has been failing for {seconds} s")]
    Stale {
        /// What it watches.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
}

impl Cluster {
    /// Knows nothing yet; [`Cluster::watch`] fills it.
    pub fn new(client: Client, roots: TrustRoots, unmatched: Unmatched) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { client, roots, unmatched, state, published: ArcSwapOption::empty() })
    }

    /// The snapshot of this moment.
    ///
    /// # Errors
    /// Nothing listed yet, or a watch that has failed past [`STALE_AFTER`].
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, NotReady> {
        self.check(STALE_AFTER)?;
        self.published.load_full().ok_or(NotReady::NotListed)
    }

    /// Whether requests should come here.
    ///
    /// # Errors
    /// Nothing listed yet, or a watch that has failed past [`UNREADY_AFTER`].
    pub fn ready(&self) -> Result<(), NotReady> {
        self.check(UNREADY_AFTER)?;
        self.published.load().as_ref().map(|_| ()).ok_or(NotReady::NotListed)
    }

    /// The labels of a namespace as the API server has them now. None: it has none of that name, or did not answer.
    pub async fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        match namespaces.get_opt(name).await {
            Ok(found) => found.map(|namespace| namespace.metadata.labels.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(namespace = name, %error, "the namespace could not be fetched");
                None
            }
        }
    }

    fn check(&self, limit: Duration) -> Result<(), NotReady> {
        let state = self.lock();
        for (what, health) in [("policies", state.policies), ("namespaces", state.namespaces)] {
            let failing = health.failing_since.map(|since| since.elapsed()).unwrap_or_default();
            if failing > limit {
                return Err(NotReady::Stale { what, seconds: failing.as_secs() });
            }
        }
        Ok(())
    }

    /// Watches until the process ends. Errors of a watch are logged and retried with backoff, for ever; were a watch to end by
    /// itself, this would end too, and must be taken for the failure that it is.
    pub async fn watch(self: Arc<Self>) {
        let client = self.client.clone();
        let resource = ApiResource::erase::<ClusterSignaturePolicy>(&());
        let policies: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let policies = watch_objects(policies, watcher::Config::default()).default_backoff();
        let namespaces = watch_objects(namespaces, watcher::Config::default()).default_backoff();
        tokio::select! {
            () = self.follow("policies", policies.boxed(), |state| &mut state.policies, State::policy_event) => {}
            () = self.follow("namespaces", namespaces.boxed(), |state| &mut state.namespaces, State::namespace_event) => {}
        }
    }

    async fn follow<K: Debug>(
        &self,
        what: &'static str,
        mut events: impl futures::Stream<Item = Result<Event<K>, watcher::Error>> + Unpin,
        health: impl Fn(&mut State) -> &mut Health,
        apply: impl Fn(&mut State, Event<K>),
    ) {
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    let done = matches!(event, Event::InitDone);
                    // An announced list proves nothing; its first object does.
                    let alive = !matches!(event, Event::Init);
                    // A list replaces nothing before it is complete, so that there is nothing new to publish until then.
                    let changes = !matches!(event, Event::Init | Event::InitApply(_));
                    let mut state = self.lock();
                    apply(&mut state, event);
                    let health = health(&mut state);
                    health.listed |= done;
                    if alive {
                        health.failing_since = None;
                    }
                    if changes {
                        self.publish(&state);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(what, %error, "watch failed; keeping what it last saw");
                    health(&mut self.lock()).failing_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    fn publish(&self, state: &State) {
        if state.policies.listed && state.namespaces.listed {
            let snapshot = state.index.snapshot(self.roots.clone(), self.unmatched);
            self.published.store(Some(Arc::new(snapshot)));
        }
    }

    /// A panic while the lock was held would be a bug; what it protects is replaced as a whole, so going on is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn policy_event(&mut self, event: Event<DynamicObject>) {
        let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or_default();
        match event {
            Event::Init => self.index.start_policies(),
            Event::InitApply(object) => self.index.list_policy(&value(object)),
            Event::InitDone => self.index.finish_policies(),
            Event::Apply(object) => self.index.apply_policy(&value(object)),
            Event::Delete(object) => self.index.delete_policy(&object.metadata.name.unwrap_or_default()),
        }
    }

    fn namespace_event(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        let parts = |object: PartialObjectMeta<Namespace>| {
            (object.metadata.name.unwrap_or_default(), object.metadata.labels.unwrap_or_default())
        };
        match event {
            Event::Init => self.index.start_namespaces(),
            Event::InitApply(object) => {
                let (name, labels) = parts(object);
                self.index.list_namespace(name, labels);
            }
            Event::InitDone => self.index.finish_namespaces(),
            Event::Apply(object) => {
                let (name, labels) = parts(object);
                self.index.apply_namespace(name, labels);
            }
            Event::Delete(object) => self.index.delete_namespace(&parts(object).0),
        }
    }
}
