//! The feeds that are declared, the roles that are asked for, and what is published of both.
//!
//! Declaring starts and ends tasks and never waits. No lock is held while anything is awaited: tasks put what they found into a small
//! record. A feed whose rule changes goes on with what was delivered, held to the new rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::kept::{FeedArchive, Kept};
use super::roles::RoleTask;
use super::status::FeedStatus;
use super::task::FeedTask;
use crate::image::Digest;
use crate::policy::{ClusterRules, Feed, FeedRule, FeedState, Feeds};
use crate::trust::{RoleIdentities, RoleName, RoleUnavailable, TufRoles};
use crate::trust_store::{Clock, TrustStore};

/// How feeds are fetched.
#[derive(Clone)]
pub struct FeedStoreOptions {
    /// The time of day.
    pub clock: Clock,
    /// The longest time between two fetches of a feed or role; a feed that ages sooner is fetched four times within its `maxAge`.
    pub interval: Duration,
    /// The time after a first fetch that failed; it doubles with each further one, up to the interval.
    pub first_backoff: Duration,
    /// Time for one fetch.
    pub fetch_timeout: Duration,
}

impl FeedStoreOptions {
    /// The usual options, over this clock.
    pub fn new(clock: Clock) -> Self {
        let (interval, fetch_timeout) = (Duration::from_mins(5), Duration::from_mins(1));
        Self { clock, interval, first_backoff: Duration::from_secs(2), fetch_timeout }
    }
}

impl fmt::Debug for FeedStoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FeedStoreOptions").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// The feeds and roles that are asked for.
pub struct FeedStore {
    pub(super) options: FeedStoreOptions,
    pub(super) trust: Arc<TrustStore>,
    pub(super) archive: Arc<dyn FeedArchive>,
    running: Mutex<Running>,
    published: ArcSwap<(Feeds, TufRoles)>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Running {
    feeds: BTreeMap<String, (Arc<Record<FeedProgress>>, Worker)>,
    roles: BTreeMap<RoleName, (Arc<Record<RoleProgress>>, Worker)>,
    /// The pinned metadata of each trust root that comes through TUF, and its digest.
    pinned: BTreeMap<String, (Arc<[u8]>, Digest)>,
}

/// A task that ends with whoever owns it.
struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a task has found out.
#[derive(Debug)]
pub(super) struct Record<T>(Mutex<T>);

impl<T> Record<T> {
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one feed.
#[derive(Debug)]
pub(super) struct FeedProgress {
    pub(super) rule: Arc<FeedRule>,
    /// Whether the archive was read, so that it is known what must not be forgotten.
    pub(super) recalled: bool,
    /// What was delivered, as it came.
    pub(super) kept: Option<Kept>,
    /// The same, as far as it is in force.
    pub(super) feed: Option<Arc<Feed>>,
    pub(super) status: FeedStatus,
}

/// What is known of one role. None: nothing yet.
pub(super) type RoleProgress = Option<Result<RoleIdentities, RoleUnavailable>>;

impl FeedProgress {
    fn new(rule: Arc<FeedRule>) -> Self {
        Self { rule, recalled: false, kept: None, feed: None, status: FeedStatus::default() }
    }

    /// Takes in what was delivered, now or before a restart.
    pub(super) fn take(&mut self, kept: Kept, feed: Feed, now: Timestamp) {
        self.status.delivered = Some(kept.delivered);
        self.status.expires = Some(kept.expires);
        self.status.fresh_until = Some(kept.fresh_until(&self.rule, now));
        self.status.digest = Some(Digest::of(kept.content.as_bytes()));
        self.status.revocations = feed.revocations().len();
        self.status.policies = feed.policies().len() + feed.invalid().len();
        self.status.refused = feed.refused().to_vec();
        self.kept = Some(kept);
        self.feed = Some(Arc::new(feed));
    }

    fn state(&self) -> FeedState {
        FeedState {
            delivered: self.feed.clone(),
            fresh_until: self.status.fresh_until,
            problem: self.status.failure.as_ref().map(|(_, reason)| reason.clone()),
        }
    }
}

impl FeedStore {
    /// A store without feeds, over the roots of this trust store.
    pub fn new(options: FeedStoreOptions, trust: Arc<TrustStore>, archive: Arc<dyn FeedArchive>) -> Arc<Self> {
        let (changes, _) = watch::channel(0);
        let (running, published) = (Mutex::default(), ArcSwap::default());
        Arc::new(Self { options, trust, archive, running, published, changes })
    }

    /// Asks for the feeds of these rules, and for no others. Nothing happens to a feed whose rule is what it was.
    pub fn declare(self: &Arc<Self>, rules: &ClusterRules) {
        let changed = {
            let mut running = self.lock();
            let wanted: BTreeSet<&str> = rules.feeds().iter().map(|rule| rule.name()).collect();
            let before = running.feeds.len();
            running.feeds.retain(|name, _| wanted.contains(name.as_str()));
            let mut changed = running.feeds.len() != before;
            for rule in rules.feeds() {
                let before = running.feeds.get(rule.name()).map(|(record, _)| Arc::clone(record));
                if before.as_ref().is_some_and(|record| record.lock().rule == *rule) {
                    continue;
                }
                let progress = self.begin(rule, before.as_deref());
                let record = Arc::new(Record(Mutex::new(progress)));
                let worker = work(FeedTask::new(self, Arc::clone(rule), Arc::clone(&record)).run());
                running.feeds.insert(rule.name().to_owned(), (record, worker));
                changed = true;
            }
            changed
        };
        if changed {
            self.publish();
        }
    }

    /// Says by which pinned metadata each trust root is verified that comes through TUF: by whose repository. Versions that a feed had from
    /// another one are no floor for what is delivered by this one; who signs for a role is forgotten where it was another one that said so.
    pub fn declare_roots(self: &Arc<Self>, pinned: BTreeMap<String, Arc<[u8]>>) {
        let changed = {
            let mut running = self.lock();
            let before = std::mem::take(&mut running.pinned);
            let known = |(name, bytes): (String, Arc<[u8]>)| {
                let same = before.get(&name).filter(|(before, _)| *before == bytes).cloned();
                let digested = same.unwrap_or_else(|| (Arc::clone(&bytes), Digest::of(&bytes)));
                (name, digested)
            };
            running.pinned = pinned.into_iter().map(known).collect();
            let digest = |pinned: &BTreeMap<String, (Arc<[u8]>, Digest)>, role: &RoleName| {
                pinned.get(&role.trust_root).map(|(_, digest)| digest.clone())
            };
            let is_other = |role: &&RoleName| digest(&before, role) != digest(&running.pinned, role);
            let changed: Vec<RoleName> = running.roles.keys().filter(is_other).cloned().collect();
            for role in &changed {
                // What the task before still finds goes into a record that nobody reads.
                running.roles.insert(role.clone(), self.start_role(role));
            }
            !changed.is_empty()
        };
        if changed {
            self.publish();
        }
    }

    fn start_role(self: &Arc<Self>, role: &RoleName) -> (Arc<Record<RoleProgress>>, Worker) {
        let record = Arc::new(Record(Mutex::new(None)));
        let worker = work(RoleTask::new(self, role.clone(), Arc::clone(&record)).run());
        (record, worker)
    }

    /// SHA-256 of the pinned metadata of a trust root. None: it is not declared, or does not come through TUF.
    pub(super) fn pinned(&self, root: &str) -> Option<Digest> {
        self.lock().pinned.get(root).map(|(_, digest)| digest.clone())
    }

    /// What a feed begins with: what was delivered under the rule that it had before, if that said where it comes from as this one does.
    fn begin(&self, rule: &Arc<FeedRule>, before: Option<&Record<FeedProgress>>) -> FeedProgress {
        let mut progress = FeedProgress::new(Arc::clone(rule));
        if let Some(before) = before
            && let before = before.lock()
            && let Some(kept) = before.kept.clone().filter(|kept| kept.is_of(rule))
            && let Ok(feed) = Feed::parse(kept.content.as_bytes(), rule)
        {
            progress.recalled = before.recalled;
            progress.take(kept, feed, (self.options.clock)());
        }
        progress
    }

    /// Asks who signs for these roles, and for no others.
    pub fn declare_roles(self: &Arc<Self>, wanted: &BTreeSet<RoleName>) {
        let changed = {
            let mut running = self.lock();
            let before = running.roles.len();
            running.roles.retain(|role, _| wanted.contains(role));
            let mut changed = running.roles.len() != before;
            for role in wanted {
                if !running.roles.contains_key(role) {
                    running.roles.insert(role.clone(), self.start_role(role));
                    changed = true;
                }
            }
            changed
        };
        if changed {
            self.publish();
        }
    }

    /// What the feeds delivered and who signs for the roles, of one moment.
    pub fn published(&self) -> (Feeds, TufRoles) {
        (**self.published.load()).clone()
    }

    /// What the feeds delivered, at this moment.
    pub fn feeds(&self) -> Feeds {
        self.published.load().0.clone()
    }

    /// Who signs for the roles, at this moment.
    pub fn roles(&self) -> TufRoles {
        self.published.load().1.clone()
    }

    /// Where the trust roots are through which feeds come.
    pub fn trust(&self) -> &Arc<TrustStore> {
        &self.trust
    }

    /// Counts what is published: it changes whenever [`feeds`](Self::feeds) or [`roles`](Self::roles) do.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What is known of a declared feed.
    pub fn status(&self, name: &str) -> Option<FeedStatus> {
        self.lock().feeds.get(name).map(|(record, _)| record.lock().status.clone())
    }

    /// Waits until it is known of every declared feed what had been delivered of it before a restart, so that nothing is judged without it;
    /// and of every role who signs for it, or that nobody can say, so that what a policy asks for is not refused because nobody has looked.
    /// An archive that cannot be read is waited for, and a mirror that does not answer, so that whoever waits must set a limit.
    pub async fn settled(&self) {
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            let waits = {
                let running = self.lock();
                running.feeds.values().any(|(record, _)| !record.lock().recalled)
                    || running.roles.values().any(|(record, _)| record.lock().is_none())
            };
            if !waits || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Publishes what is known now.
    pub(super) fn publish(&self) {
        // Under the lock, so that an older set never replaces a newer one.
        let running = self.lock();
        let (mut feeds, mut roles) = (Feeds::default(), TufRoles::default());
        for (name, (record, _)) in &running.feeds {
            feeds.insert(name, record.lock().state());
        }
        for (role, (record, _)) in &running.roles {
            if let Some(found) = record.lock().clone() {
                roles.insert(role.clone(), found);
            }
        }
        self.published.store(Arc::new((feeds, roles)));
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FeedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FeedStore").field("published", &self.published).finish_non_exhaustive()
    }
}

fn work(task: impl Future<Output = ()> + Send + 'static) -> Worker {
    #[expect(clippy::disallowed_methods, reason = "`Worker` owns the task and aborts it when dropped")]
    let handle = tokio::spawn(task);
    Worker(handle)
}
