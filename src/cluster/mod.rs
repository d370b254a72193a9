//! The cluster's side: watches our objects and namespaces, publishes one snapshot, and tells what became of the objects.
//!
//! Every request reads the snapshot that was published last. A failing watch keeps what it had and never empties it; while it gives no
//! proof of life the replica is first unready and then, past [`STALE_AFTER`], judges nothing. An object that does not parse never stands
//! in the way of the others, nor of readiness. What is told (status, Events) and kept (documents, accepted metadata) is the work of
//! [`Controllers`]; nothing that judges waits for it.

mod archive;
mod conditions;
mod controllers;
mod declarations;
mod expansion;
#[cfg(test)]
mod fake;
mod feeds;
mod index;
mod kinds;
mod lease;
mod ledger;
mod notices;
mod objects;
mod report;
mod status;
mod watched;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};

use crate::feeds::FeedStore;
use crate::policy::{Snapshot, Unmatched};
use crate::trust_store::TrustStore;
use declarations::Declarations;
use watched::Watched;

pub use archive::ConfigMapArchive;
pub use conditions::{Condition, Truth, Wanted};
pub use controllers::Controllers;
pub use expansion::Indexes;
pub use feeds::LedgerFeedArchive;
pub use lease::Leadership;
pub use ledger::{ConfigMapLedger, Document, Ledger, LedgerError, Version};
pub use notices::{EventWriter, Notices, ObjectRef, Urgency};
pub use report::LogReport;
pub use status::{Kind, StatusWriter, Target};

/// How long a watch may give no proof of life before the replica is unready.
pub const UNREADY_AFTER: Duration = Duration::from_mins(2);
/// How long a watch may give none before nothing is judged by what it last saw.
pub const STALE_AFTER: Duration = Duration::from_mins(5);
/// How long a new replica waits at most until it knows what was accepted of the trust roots and delivered of the feeds. By a root that is
/// not known by then nothing is judged, and images that such a feed may speak of cannot be.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// The pause before a watch that failed is tried again for the first time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The cluster, as far as it is watched.
pub struct Cluster {
    client: Client,
    watched: Watched,
    declarations: Arc<Declarations>,
    store: Arc<TrustStore>,
    feeds: Arc<FeedStore>,
    /// Whether what was accepted of the trust roots and delivered of the feeds has been read, or was waited for long enough.
    settled: AtomicBool,
    /// How logs stand, as who watches them says.
    logs: Mutex<Vec<LogReport>>,
}

/// Why there is no snapshot to judge by.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Something has not been listed yet.
    #[error("{what} have not been listed yet")]
    NotListed {
        /// What is watched.
        what: &'static str,
    },
    /// What was accepted of the trust roots and delivered of the feeds before has not been read yet.
    #[error("what was accepted of the trust roots and delivered of the feeds has not been read yet")]
    NotSettled,
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
    /// Knows nothing yet; [`Cluster::watch`] fills it. Trust roots are declared to the store behind `feeds`, feeds and roles to
    /// `feeds` itself; what trust roots refer to is read in `namespace`.
    pub fn new(client: Client, namespace: &str, feeds: Arc<FeedStore>, unmatched: Unmatched) -> Arc<Self> {
        let store = Arc::clone(feeds.trust());
        let declarations = Declarations::new(Arc::clone(&store), Api::namespaced(client.clone(), namespace));
        let watched = Watched::new(Arc::clone(&declarations), Arc::clone(&feeds), unmatched);
        Arc::new(Self {
            client,
            watched,
            declarations,
            store,
            feeds,
            settled: AtomicBool::new(false),
            logs: Mutex::default(),
        })
    }

    /// The snapshot of this moment.
    ///
    /// # Errors
    /// Something not listed yet, trust roots or feeds that are not read yet, or a watch without proof of life past [`STALE_AFTER`].
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, NotReady> {
        // Asked first, so that no snapshot of before is taken for one of after. Requests come to who is not ready, too: a Service may send
        // them, and what feeds took away before a restart must not come back for a moment.
        let settled = self.settled();
        let snapshot = self.watched.snapshot()?;
        settled.map(|()| snapshot)
    }

    fn settled(&self) -> Result<(), NotReady> {
        if self.settled.load(Ordering::Acquire) { Ok(()) } else { Err(NotReady::NotSettled) }
    }

    /// The snapshot that was published last, however old: for telling, and never to judge by.
    pub fn last_published(&self) -> Option<Arc<Snapshot>> {
        self.watched.last_published()
    }

    /// Where trust roots are declared.
    pub fn store(&self) -> &Arc<TrustStore> {
        &self.store
    }

    /// Says how logs stand, for the status of the trust roots that name them.
    pub fn report_logs(&self, logs: Vec<LogReport>) {
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = logs;
    }

    fn log_reports(&self) -> Vec<LogReport> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A trust root as an object of notices, whether it is one in the cluster or is embedded.
    pub fn trust_root(&self, name: &str) -> ObjectRef {
        let uid = self.watched.look(|state| {
            let entry = state.trust_roots.objects.iter().find(|entry| entry.meta.name == name);
            entry.map(|entry| entry.meta.uid.clone()).unwrap_or_default()
        });
        let api_version = format!("{}/{}", crate::api::GROUP, crate::api::VERSION);
        ObjectRef { api_version, kind: Kind::TrustRoot.resource().kind, namespace: None, name: name.to_owned(), uid }
    }

    /// Whether requests should come here.
    ///
    /// # Errors
    /// Something not listed yet, trust roots or feeds that are not read yet, or a watch without proof of life past [`UNREADY_AFTER`].
    pub fn ready(&self) -> Result<(), NotReady> {
        self.watched.ready()?;
        self.settled()
    }

    /// Watches until the process ends. Errors of a watch are logged and retried with backoff, for ever; were a watch to end by
    /// itself, this would end too, and must be taken for the failure that it is.
    pub async fn watch(self: Arc<Self>) {
        let policies = || self.own(Kind::Policy).map(|event| kinds::parsed(event, kinds::policy)).boxed();
        let of_namespaces = || self.own(Kind::NamespacePolicy).map(|event| kinds::parsed(event, kinds::policy)).boxed();
        let configs = || self.own(Kind::Config).map(|event| kinds::parsed(event, kinds::config)).boxed();
        let revocations = || self.own(Kind::Revocation).map(|event| kinds::parsed(event, kinds::revocation)).boxed();
        let trust_roots = || self.own(Kind::TrustRoot).map(|event| kinds::parsed(event, kinds::trust_root)).boxed();
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let namespaces = || {
            let events = watcher(namespaces.clone(), watcher::Config::default()).default_backoff();
            events.map(|event| event.map(|event| kinds::read(event, kinds::namespace))).boxed()
        };
        tokio::select! {
            () = self.watched.follow("policies", policies, |state| &mut state.policies) => {}
            () = self.watched.follow("policies of namespaces", of_namespaces, |state| &mut state.namespace_policies) => {}
            () = self.watched.follow("rules of the cluster", configs, |state| &mut state.configs) => {}
            () = self.watched.follow("revocations", revocations, |state| &mut state.revocations) => {}
            () = self.watched.follow("trust roots", trust_roots, |state| &mut state.trust_roots) => {}
            () = self.watched.follow("namespaces", namespaces, |state| &mut state.namespaces) => {}
            () = self.declarations.follow_references(|| self.watched.republish()) => {}
            () = self.follow_store() => {}
        }
    }

    /// Publishes anew whenever a trust root changed, and notes when all that was accepted before has been read.
    async fn follow_store(&self) {
        let mut changed = self.store.changed();
        let mut published = self.watched.changes();
        let settle = async {
            if self.watched.last_published().is_none() {
                let _ = published.changed().await;
            }
            let settled = async {
                self.declarations.read_references().await;
                self.watched.republish();
                self.store.settled().await;
                self.feeds.settled().await;
            };
            if tokio::time::timeout(SETTLES_WITHIN, settled).await.is_err() {
                tracing::warn!(
                    "what was accepted of a trust root, delivered of a feed, or who signs for a role cannot be read; nothing is judged by \
                     that root or role, and no image that the feed may speak of"
                );
            }
            self.watched.republish();
            self.settled.store(true, Ordering::Release);
            std::future::pending::<()>().await;
        };
        let follow = async {
            let mut delivered = self.feeds.changed();
            loop {
                let changed = tokio::select! {
                    changed = changed.changed() => changed,
                    changed = delivered.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
                self.watched.republish();
            }
        };
        tokio::select! {
            () = settle => {}
            () = follow => {}
        }
    }

    fn own(&self, kind: Kind) -> impl Stream<Item = Result<Event<DynamicObject>, Error>> + use<> {
        let resource: ApiResource = kind.resource();
        let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        // A revocation must act within a second, on a replica too that just lost the API server and found it again.
        let longest = if kind == Kind::Revocation { Duration::from_millis(500) } else { Duration::from_secs(10) };
        watcher(objects, watcher::Config::default()).backoff(Pauses { next: SHORTEST_PAUSE, longest })
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

/// Pauses between two attempts to watch: each twice the one before, up to the longest.
#[derive(Debug)]
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = SHORTEST_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::objects::Seen;
    use super::*;

    fn listed<F, E>() -> impl Stream<Item = Result<Event<Seen<F, E>>, Error>> + Unpin {
        stream::iter([Ok(Event::Init), Ok(Event::InitDone)])
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_judged_before_it_is_known_what_was_accepted_and_delivered() {
        let cluster = Cluster::new(fake::FakeCluster::default().client(), "ours", feeds::none(), Unmatched::Deny);
        assert!(matches!(cluster.snapshot(), Err(NotReady::NotListed { .. })));
        let watched = &cluster.watched;
        watched.follow("policies", listed, |state| &mut state.policies).await;
        watched.follow("policies of namespaces", listed, |state| &mut state.namespace_policies).await;
        watched.follow("rules of the cluster", listed, |state| &mut state.configs).await;
        watched.follow("revocations", listed, |state| &mut state.revocations).await;
        watched.follow("namespaces", listed, |state| &mut state.namespaces).await;
        watched.follow("trust roots", listed, |state| &mut state.trust_roots).await;
        assert!(watched.snapshot().is_ok() && cluster.last_published().is_some());
        assert!(matches!(cluster.snapshot(), Err(NotReady::NotSettled)));
        assert!(matches!(cluster.ready(), Err(NotReady::NotSettled)));
        let _ = tokio::time::timeout(SETTLES_WITHIN * 2, cluster.follow_store()).await;
        assert!(cluster.snapshot().is_ok() && cluster.ready().is_ok());
    }
}
