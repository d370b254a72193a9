//! What one replica does for all: competes for the Lease, and while it holds it, writes status and Events.
//!
//! Nothing that judges waits for this, and a replica that may not write judges as the others do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::Cluster;
use super::expansion::{Expansion, Indexes, expandable};
use super::lease::{Candidate, Leadership};
use super::ledger::ConfigMapLedger;
use super::notices::{EventWriter, Notices as _};
use super::report::reports;
use super::status::{Kind, StatusWriter, Target};
use super::watched::Watched;

/// The name of the Lease.
const LEASE: &str = "countersign";
/// Time between two looks at everything: age changes what is said although nothing happens.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Time between two looks at what was seen of revoked artifacts, of which nothing else tells.
const SEEN_MEANWHILE: Duration = Duration::from_secs(3);
/// Changes within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);

/// The controllers of one replica.
pub struct Controllers {
    candidate: Candidate,
    leadership: Arc<Leadership>,
    status: Arc<StatusWriter>,
    events: Arc<EventWriter>,
    ledger: ConfigMapLedger,
    now: fn() -> Timestamp,
}

impl Controllers {
    /// Keeps what has to be kept in `namespace`. `identity` is this replica's, and no other's: the name of its pod.
    pub fn new(client: Client, namespace: &str, identity: &str, now: fn() -> Timestamp) -> Self {
        let leadership = Arc::new(Leadership::default());
        Self {
            candidate: Candidate::new(client.clone(), namespace, LEASE, identity, now),
            status: StatusWriter::new(client.clone(), Arc::clone(&leadership), now),
            events: EventWriter::new(client.clone(), identity, Arc::clone(&leadership)),
            ledger: ConfigMapLedger::new(client, namespace),
            leadership,
            now,
        }
    }

    /// Whether this replica holds the Lease.
    pub fn leadership(&self) -> &Arc<Leadership> {
        &self.leadership
    }

    /// Where notices go.
    pub fn notices(&self) -> &Arc<EventWriter> {
        &self.events
    }

    /// Where status goes.
    pub fn status(&self) -> &Arc<StatusWriter> {
        &self.status
    }

    /// Where documents are kept.
    pub fn ledger(&self) -> &ConfigMapLedger {
        &self.ledger
    }

    /// Runs until the process ends; it never ends by itself.
    pub async fn run(&self, cluster: &Cluster, indexes: &dyn Indexes) {
        tokio::select! {
            () = self.candidate.compete(&self.leadership) => {}
            () = self.status.write() => {}
            () = self.events.write() => {}
            () = self.report(cluster) => {}
            () = self.expand(cluster, indexes) => {}
        }
    }

    /// Gives the Lease back, so that another replica need not wait for it.
    pub async fn release(&self) {
        self.candidate.release(&self.leadership).await;
    }

    /// Says what has changed, while this replica holds the Lease.
    async fn report(&self, cluster: &Cluster) {
        let mut published = cluster.watched.changes();
        let mut roots = cluster.store.changed();
        let mut leads = self.leadership.changes();
        loop {
            // Before anything is known, nothing is said: references would seem to lead nowhere.
            if self.leadership.holds() && cluster.ready().is_ok() {
                self.report_once(cluster);
            }
            tokio::select! {
                _ = published.changed() => {}
                _ = roots.changed() => {}
                _ = leads.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    /// Finds out what revoked indexes hold, for this replica and, while it holds the Lease, for all.
    async fn expand(&self, cluster: &Cluster, indexes: &dyn Indexes) {
        let mut published = cluster.watched.changes();
        let mut leads = self.leadership.changes();
        let mut expansion = Expansion::default();
        loop {
            if cluster.ready().is_ok() {
                self.expand_once(&cluster.watched, &mut expansion, indexes).await;
            }
            tokio::select! {
                _ = published.changed() => {}
                _ = leads.changed() => {}
                () = tokio::time::sleep(SEEN_MEANWHILE) => {}
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    async fn expand_once(&self, watched: &Watched, expansion: &mut Expansion, indexes: &dyn Indexes) {
        let revocations = watched.look(expandable);
        expansion.look(&revocations, indexes).await;
        // Reviews come to every replica, and each sees others: what one has found it denies, whether or not the one that leads ever does.
        watched.learn_below(expansion.below());
        if !self.leadership.holds() {
            return;
        }
        for (meta, revocation) in &revocations {
            let wanted = expansion.wanted(revocation);
            if wanted.patch(&meta.status, meta.generation, (self.now)()).is_some() {
                self.status.want(Target::of(Kind::Revocation, meta), meta.generation, wanted);
            }
        }
    }

    fn report_once(&self, cluster: &Cluster) {
        let now = (self.now)();
        let logs = cluster.log_reports();
        for report in cluster.watched.look(|state| reports(state, &cluster.feeds, &logs, now)) {
            if report.wanted.patch(&report.status, report.generation, now).is_none() {
                continue;
            }
            for remark in report.remarks() {
                self.events.note(report.about(), remark.urgency, remark.reason, remark.message);
            }
            self.status.want(report.target, report.generation, report.wanted);
        }
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Controllers").field("candidate", &self.candidate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use serde_json::json;

    use super::super::fake::FakeCluster;
    use super::super::watched::tests::with_revocation;
    use super::*;
    use crate::image::Digest;

    /// Has seen one index, which holds one image.
    struct Seen;

    impl Indexes for Seen {
        fn below<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Option<Vec<Digest>>, String>> {
            let found = (*digest == Digest::of(b"index")).then(|| vec![Digest::of(b"child")]);
            async { Ok(found) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_replica_denies_what_it_found_below_an_index_although_it_does_not_lead() {
        let cluster = FakeCluster::default();
        let controllers = Controllers::new(cluster.client(), "countersign", "pod-2", || Timestamp::UNIX_EPOCH);
        let struck = async |named: &[u8]| {
            let watched = with_revocation(
                &json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
                "metadata": {"name": "r", "uid": "u", "generation": 1},
                "spec": {"reason": "leaked", "artifacts": [{"digest": Digest::of(named).to_string()}]}}),
            );
            controllers.expand_once(&watched, &mut Expansion::default(), &Seen).await;
            watched.snapshot().unwrap().revocations().artifact(&Digest::of(b"child")).is_some()
        };
        assert_eq!((struck(b"index").await, struck(b"another").await), (true, false));
        assert_eq!(cluster.requests(), Vec::<String>::new(), "it writes nothing");
    }
}
