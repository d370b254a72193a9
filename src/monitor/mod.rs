//! Watches transparency logs: whether each shows everybody one history, and who stands in what they take in.
//!
//! No judgement waits for it, and nothing here makes evidence count or not count: it remembers, tells, and suggests revocations, which are
//! suspended unless it is told otherwise. A trust root is never changed. Every replica compares the heads that its own evidence carries; the
//! one that leads asks logs for their newest heads, reads their entries, and tells. What is remembered is shared, in documents that are saved
//! over the version that was read.
//!
//! All of it is bounded: heads that wait, trees, entries of a round, findings that are kept. What finds no room is counted.

mod consistency;
mod finding;
mod identity;
mod inbox;
mod outlets;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::api::SignatureRevocationSpec;
use crate::policy::{Policy, Snapshot, StringMatcher};
use crate::rekor::RekorClient;
use crate::trust::{TrustMaterial, TrustRoots};
use crate::verify::{TreeId, WatchedLog};
use inbox::Inbox;
use tree::Log;

pub use finding::{Finding, ForkKind};
pub use identity::Row;
pub use inbox::Observer;
pub use outlets::{Document, DocumentError, Documents, Findings, MemoryDocuments, Outlets, Suggestions};

/// Suggestions that could not be written and are tried again.
const SUGGESTION_LIMIT: usize = 64;

/// What the monitor does.
#[derive(Clone, Debug)]
pub struct MonitorOptions {
    /// Between two rounds in which every log is asked for its newest head.
    pub interval: Duration,
    /// For how long a log may show a smaller head than one that was just seen, because what it serves lags behind.
    pub lag: Duration,
    /// Whether a fork's suggested revocation acts at once.
    pub distrust_forked: bool,
    /// Whether entries are read for the identities that policies trust. None: they are not.
    pub identities: Option<IdentityOptions>,
}

/// How entries are watched.
#[derive(Clone, Debug)]
pub struct IdentityOptions {
    /// Entries of one log that are read in a round, at most.
    pub entries_per_round: u64,
    /// For how long an entry waits for its image to be seen.
    pub announced_within: Duration,
    /// Subjects whose entries are expected, such as workflows that sign all day.
    pub expected: Vec<StringMatcher>,
    /// Whether a suspended revocation of the entry is suggested.
    pub suggest: bool,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(5),
            lag: Duration::from_mins(10),
            distrust_forked: false,
            identities: None,
        }
    }
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            entries_per_round: 8_192,
            announced_within: Duration::from_hours(1),
            expected: Vec::new(),
            suggest: false,
        }
    }
}

/// What is watched in one round.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The trust roots whose logs are watched.
    pub roots: Vec<TrustMaterial>,
    /// The policies whose identities are: those of the cluster. What a namespace trusts is no reason to read for it.
    pub policies: Vec<Arc<Policy>>,
    /// Where policies name delegated roles, what is known of these.
    pub roles: TrustRoots,
    /// Whether this replica leads.
    pub leads: bool,
}

impl View {
    /// The roots that policies name, with the policies.
    pub fn of(snapshot: &Snapshot, leads: bool) -> Self {
        let names: BTreeSet<&str> = snapshot.policies().iter().flat_map(|policy| policy.trust_roots()).collect();
        let roots = names.into_iter().filter_map(|name| snapshot.roots().find(name).cloned()).collect();
        let of_cluster = snapshot.policies().iter().filter(|policy| policy.name().namespace().is_none());
        Self { roots, policies: of_cluster.cloned().collect(), roles: snapshot.roots().clone(), leads }
    }

    /// The logs by key id, each with the names of the roots that know it. Where two roots give one key two addresses, the first is asked.
    fn logs(&self) -> BTreeMap<String, Log> {
        let mut logs: BTreeMap<String, Log> = BTreeMap::new();
        for root in &self.roots {
            for watched in WatchedLog::all(root) {
                let key = watched.key_id().to_owned();
                let log = logs.entry(key).or_insert_with(|| Log { watched, roots: Vec::new() });
                log.roots.push(root.name().to_owned());
            }
        }
        logs
    }
}

/// How a tree stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Every head that was seen is of one history.
    Consistent,
    /// It could not be told this time.
    Unknown {
        /// Why.
        reason: String,
    },
    /// The log shows less than it did.
    RolledBack,
    /// The log signed two histories.
    Forked,
}

/// A tree and how it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The log's address.
    pub address: String,
    /// The trust roots that name the log.
    pub roots: Vec<String>,
    /// The size of the newest head that is remembered. 0: none is.
    pub size: u64,
    /// How it stands.
    pub state: State,
}

/// Figures for metrics. Counts only grow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Readings {
    /// Trees that are consistent.
    pub consistent: u64,
    /// Trees of which it is not known.
    pub unknown: u64,
    /// Trees that were rolled back.
    pub rolled_back: u64,
    /// Trees that were forked.
    pub forked: u64,
    /// Heads of evidence that found no room, or could not be compared for too long.
    pub heads_dropped: u64,
    /// Entries that were read.
    pub entries_read: u64,
    /// Entries that are still to be read.
    pub entries_behind: u64,
    /// Entries of which somebody was told.
    pub entries_unannounced: u64,
}

#[derive(Debug, Default)]
struct Entries {
    read: AtomicU64,
    behind: AtomicU64,
    unannounced: AtomicU64,
}

/// Watches logs.
pub struct Monitor {
    options: MonitorOptions,
    client: RekorClient,
    outlets: Outlets,
    inbox: Inbox,
    entries: Entries,
    standings: Mutex<BTreeMap<TreeId, Standing>>,
    rows: Mutex<Vec<Row>>,
    /// The keys of logs of which something could not be compared: they are left alone until the next round.
    resting: Mutex<BTreeSet<String>>,
    /// What was told of trees, by code: while what follows from it cannot be written, nobody is told again.
    taken: Mutex<BTreeSet<(TreeId, &'static str)>>,
    /// Suggestions about entries that were not written yet.
    unwritten: Mutex<BTreeMap<String, SignatureRevocationSpec>>,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Monitor({:?})", self.options)
    }
}

impl Monitor {
    /// A monitor that knows nothing yet but what its documents say.
    pub fn new(options: MonitorOptions, client: RekorClient, outlets: Outlets) -> Self {
        Self {
            options,
            client,
            outlets,
            inbox: Inbox::default(),
            entries: Entries::default(),
            standings: Mutex::default(),
            rows: Mutex::default(),
            resting: Mutex::default(),
            taken: Mutex::default(),
            unwritten: Mutex::default(),
        }
    }

    /// Who takes the evidence that was verified.
    pub fn observer(&self) -> Observer {
        self.inbox.observer()
    }

    /// One round: what evidence brought since the last one is compared, and, where this replica leads, every log is asked for its newest
    /// head and what it took in is read.
    pub async fn round(&self, view: &View, now: Timestamp) {
        let logs = view.logs();
        locked(&self.resting).clear();
        let newest = self.check_heads(&logs, view.leads, now).await;
        if let Some(options) = &self.options.identities {
            self.check_entries(options, view, &logs, &newest, now).await;
        }
        if view.leads {
            self.write_suggestions().await;
        }
    }

    /// Compares what evidence brought since the last round, if anything did, and asks no other log, nor one of which something could not be
    /// compared since then.
    pub async fn compare(&self, view: &View, now: Timestamp) {
        let resting = locked(&self.resting).clone();
        if !self.inbox.is_empty(&resting) {
            self.check_heads(&view.logs(), false, now).await;
        }
    }

    /// Rounds for ever: a whole one each interval, and a glance at what evidence brought in between.
    pub async fn run(&self, view: impl Fn() -> Option<View>, now: fn() -> Timestamp) {
        const GLANCE: Duration = Duration::from_secs(2);
        let mut due = tokio::time::Instant::now();
        loop {
            if let Some(view) = view() {
                if tokio::time::Instant::now() >= due {
                    due = tokio::time::Instant::now() + self.options.interval;
                    self.round(&view, now()).await;
                } else {
                    self.compare(&view, now()).await;
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// How every tree stands that is watched or remembered.
    pub fn standings(&self) -> Vec<(TreeId, Standing)> {
        locked(&self.standings).iter().map(|(tree, standing)| (tree.clone(), standing.clone())).collect()
    }

    /// Entries that nobody announced, the newest first: for reports.
    pub fn unannounced(&self) -> Vec<Row> {
        locked(&self.rows).iter().rev().cloned().collect()
    }

    /// Figures for metrics.
    pub fn readings(&self) -> Readings {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut readings = Readings {
            heads_dropped: self.inbox.dropped(),
            entries_read: read(&self.entries.read),
            entries_behind: read(&self.entries.behind),
            entries_unannounced: read(&self.entries.unannounced),
            ..Readings::default()
        };
        for standing in locked(&self.standings).values() {
            match standing.state {
                State::Consistent => readings.consistent += 1,
                State::Unknown { .. } => readings.unknown += 1,
                State::RolledBack => readings.rolled_back += 1,
                State::Forked => readings.forked += 1,
            }
        }
        readings
    }

    /// Tells of a tree, unless this process did, and suggests what follows. Whether all of that succeeded: if not, it is not yet told.
    async fn tell_of_tree(&self, tree: &TreeId, finding: &Finding) -> bool {
        let name = (tree.clone(), finding.code());
        if !locked(&self.taken).contains(&name) {
            tracing::warn!(code = finding.code(), "{}", finding.message());
            if self.outlets.findings.tell(finding) {
                locked(&self.taken).insert(name.clone());
            }
        }
        let suggested = match finding {
            Finding::Forked { .. } => finding.suggestion(self.options.distrust_forked),
            Finding::RolledBack { .. } | Finding::Unannounced { .. } => None,
        };
        if let Some((name, spec)) = suggested
            && let Err(error) = self.outlets.suggestions.suggest(&name, &spec).await
        {
            tracing::warn!(name, error, "a revocation could not be suggested, and is tried again");
            return false;
        }
        locked(&self.taken).contains(&name)
    }

    /// Tells of an entry, and puts down what it suggests. Whether it was taken.
    fn tell_of_entry(&self, finding: &Finding) -> bool {
        if !self.outlets.findings.tell(finding) {
            return false;
        }
        tracing::warn!(code = finding.code(), "{}", finding.message());
        let suggests = self.options.identities.as_ref().is_some_and(|options| options.suggest);
        if let Some((name, spec)) = finding.suggestion(false).filter(|_| suggests) {
            let mut unwritten = locked(&self.unwritten);
            if unwritten.len() < SUGGESTION_LIMIT {
                unwritten.insert(name, spec);
            }
        }
        true
    }

    async fn write_suggestions(&self) {
        let suggestions = locked(&self.unwritten).clone();
        for (name, spec) in suggestions {
            match self.outlets.suggestions.suggest(&name, &spec).await {
                Ok(()) => {
                    locked(&self.unwritten).remove(&name);
                }
                Err(error) => tracing::warn!(name, error, "a revocation could not be suggested, and is tried again"),
            }
        }
    }
}

/// A lock that a panic elsewhere does not take away.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
