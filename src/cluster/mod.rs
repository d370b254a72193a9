//! The cluster's side: watches policies and namespaces and publishes one snapshot.
//!
//! Every request reads the snapshot that was published last. A failing watch keeps what it had and never empties it; while it gives no
//! proof of life the replica is first unready and then, past [`STALE_AFTER`], judges nothing. Status, events and leases come later.

mod index;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};

use crate::api::ClusterSignaturePolicy;
use crate::policy::{Snapshot, Unmatched};
use crate::trust::TrustRoots;
use watched::{State, Watched};

pub use index::Index;

/// How long a watch may give no proof of life before the replica is unready.
pub const UNREADY_AFTER: Duration = Duration::from_mins(2);
/// How long a watch may give none before nothing is judged by what it last saw.
pub const STALE_AFTER: Duration = Duration::from_mins(5);

/// The cluster, as far as it is watched.
pub struct Cluster {
    client: Client,
    watched: Watched,
}

/// Why there is no snapshot to judge by.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Policies and namespaces have not been listed yet.
    #[error("policies and namespaces have not been listed yet")]
    NotListed,
    /// A watch has given no proof of life for too long.
    #[error("the watch of {what} has given no proof of life for {seconds} s")]
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
        Arc::new(Self { client, watched: Watched::new(roots, unmatched) })
    }

    /// The snapshot of this moment.
    ///
    /// # Errors
    /// Nothing listed yet, or a watch without proof of life past [`STALE_AFTER`].
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, NotReady> {
        self.watched.snapshot()
    }

    /// The snapshot that was published last, however old: for telling, and never to judge by.
    pub fn last_published(&self) -> Option<Arc<Snapshot>> {
        self.watched.last_published()
    }

    /// Whether requests should come here.
    ///
    /// # Errors
    /// Nothing listed yet, or a watch without proof of life past [`UNREADY_AFTER`].
    pub fn ready(&self) -> Result<(), NotReady> {
        self.watched.ready()
    }

    /// Watches until the process ends. Errors of a watch are logged and retried with backoff, for ever; were a watch to end by
    /// itself, this would end too, and must be taken for the failure that it is.
    pub async fn watch(self: Arc<Self>) {
        let resource = ApiResource::erase::<ClusterSignaturePolicy>(&());
        let policies: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let policies = || watcher(policies.clone(), watcher::Config::default()).default_backoff().boxed();
        let namespaces = || watcher(namespaces.clone(), watcher::Config::default()).default_backoff().boxed();
        tokio::select! {
            () = self.watched.follow("policies", policies, |state| &mut state.policies, State::policy_event) => {}
            () = self.watched.follow("namespaces", namespaces, |state| &mut state.namespaces, State::namespace_event) => {}
        }
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
}
