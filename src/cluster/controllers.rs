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

    /// Finds out what revoked indexes hold, while this replica holds the Lease.
    async fn expand(&self, cluster: &Cluster, indexes: &dyn Indexes) {
        let mut published = cluster.watched.changes();
        let mut leads = self.leadership.changes();
        let mut expansion = Expansion::default();
        loop {
            if self.leadership.holds() && cluster.ready().is_ok() {
                let revocations = cluster.watched.look(expandable);
                expansion.look(&revocations, indexes).await;
                for (meta, revocation) in &revocations {
                    let wanted = expansion.wanted(revocation);
                    if wanted.patch(&meta.status, meta.generation, (self.now)()).is_some() {
                        self.status.want(Target::of(Kind::Revocation, meta), meta.generation, wanted);
                    }
                }
            }
            tokio::select! {
                _ = published.changed() => {}
                _ = leads.changed() => {}
                () = tokio::time::sleep(SEEN_MEANWHILE) => {}
            }
            tokio::time::sleep(TOGETHER).await;
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
