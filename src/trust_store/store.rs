//! The roots that are declared, what is published of them, and how the tasks behind them are asked.
//!
//! A root that comes through TUF has a task of its own; `declare` starts it and never waits. What has no task is published at once. No
//! lock is held while anything is awaited: tasks own what they work on and put what they found into a small record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::archive::Archive;
use super::client::{RoleKeys, VerifiedTarget};
use super::refresh::{Delivered, Holdings};
use super::status::{Refreshes, RootReading, RootStatus};
use super::task::{Command, Task};
use super::{RefreshError, bounds};
use crate::judge::NewerRoots;
use crate::registry::RegistryClient;
use crate::trust::{PinnedRoot, RootSource, RootSpec, TrustMaterial, TrustRoots, TufSpec};

/// Orders that wait for one task; more are refused. Far more than the roles and feeds that name one root: they all ask at once when its
/// metadata is new.
const COMMANDS: usize = 1_024;

/// What tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How roots are refreshed.
#[derive(Clone)]
pub struct TrustStoreOptions {
    /// The roots that are there without any object.
    pub base: TrustRoots,
    /// The time of day.
    pub clock: Clock,
    /// Whether mirrors on this machine may speak plain HTTP. For tests.
    pub plain_loopback: bool,
    /// What artifacts of registries are read with; none: `oci://` cannot be used.
    pub registry: Option<Arc<RegistryClient>>,
    /// The least time between two refreshes that evidence asks for.
    pub refresh_pause: Duration,
    /// The time after a first refresh that failed; it doubles with each further one, up to the root's interval.
    pub first_backoff: Duration,
    /// Time for one refresh.
    pub refresh_timeout: Duration,
}

impl TrustStoreOptions {
    /// The usual options, over these roots and this clock.
    pub fn new(base: TrustRoots, clock: Clock) -> Self {
        Self {
            base,
            clock,
            plain_loopback: false,
            registry: None,
            refresh_pause: Duration::from_secs(30),
            first_backoff: Duration::from_secs(15),
            refresh_timeout: bounds::REFRESH,
        }
    }
}

impl fmt::Debug for TrustStoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TrustStoreOptions").field("refresh_pause", &self.refresh_pause).finish_non_exhaustive()
    }
}

/// The trust roots that are declared.
pub struct TrustStore {
    pub(super) options: TrustStoreOptions,
    pub(super) archive: Arc<dyn Archive>,
    declared: Mutex<BTreeMap<String, Declared>>,
    published: ArcSwap<TrustRoots>,
    changes: watch::Sender<u64>,
}

/// One root.
enum Declared {
    /// Its object is broken.
    Refused { reason: String },
    /// Its object has the keys.
    Fixed(Box<RootSpec>, TrustMaterial),
    /// A task refreshes it.
    Tuf { spec: Box<RootSpec>, record: Arc<Record>, commands: mpsc::Sender<Command>, task: JoinHandle<()> },
}

impl Drop for Declared {
    fn drop(&mut self) {
        if let Self::Tuf { task, .. } = self {
            task.abort();
        }
    }
}

/// What a task has found out.
#[derive(Debug, Default)]
pub(super) struct Record {
    progress: Mutex<Progress>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Whether the archive was read, so that it is known what must not come back.
    pub(super) recalled: bool,
    /// What was verified, for a task that takes over.
    pub(super) holdings: Holdings,
    /// What was accepted; none: nothing ever.
    pub(super) delivered: Option<Delivered>,
    /// Why nothing may be used, not even what is embedded.
    pub(super) unusable: Option<String>,
    /// When it was declared, for roots of which nothing was accepted yet.
    pub(super) since: Option<Timestamp>,
    pub(super) status: RootStatus,
}

impl Progress {
    pub(super) fn accept(&mut self, delivered: Delivered) {
        self.status.versions = Some(delivered.versions);
        self.status.expires = Some(delivered.expires);
        self.status.refreshed = Some(delivered.refreshed);
        self.delivered = Some(delivered);
    }
}

impl Record {
    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrustStore {
    /// A store that publishes the roots that are there without any object, at once.
    pub fn new(options: TrustStoreOptions, archive: Arc<dyn Archive>) -> Arc<Self> {
        let published = ArcSwap::from_pointee(options.base.clone());
        let (changes, _) = watch::channel(0);
        Arc::new(Self { options, archive, declared: Mutex::default(), published, changes })
    }

    /// The roots of this moment.
    pub fn roots(&self) -> Arc<TrustRoots> {
        self.published.load_full()
    }

    /// Counts what is published: it changes whenever [`roots`](Self::roots) does.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Declares a root, or changes it. Nothing happens where the same was declared before.
    ///
    /// A root under the same pinned metadata goes on with what was accepted; only what is said about age, mirror and interval is new.
    pub fn declare(self: &Arc<Self>, spec: RootSpec) {
        let name = spec.name().to_owned();
        {
            let mut declared = self.lock();
            let before = match declared.get(&name) {
                Some(Declared::Tuf { spec: before, .. } | Declared::Fixed(before, _)) if before.is_same(&spec) => {
                    return;
                }
                Some(Declared::Tuf { spec: before, record, .. }) if before.has_same_roots(&spec) => {
                    Some(record.lock().clone())
                }
                _ => None,
            };
            let new = match spec.source() {
                RootSource::Fixed(material) => Declared::Fixed(Box::new(spec.clone()), material.clone()),
                RootSource::Tuf(TufSpec { root: PinnedRoot::ConfigMap { name, key }, .. }) => {
                    Declared::Refused { reason: format!("its root metadata was not found in {name}/{key}") }
                }
                RootSource::Tuf(_) => self.start(spec, before),
            };
            // A task that was replaced ends where it waits; what it had verified is read again.
            declared.insert(name, new);
        }
        self.publish();
    }

    /// Says that a root's object is broken: what names the root cannot be judged.
    pub fn refuse(&self, name: &str, reason: &str) {
        self.lock().insert(name.to_owned(), Declared::Refused { reason: reason.to_owned() });
        self.publish();
    }

    /// Forgets a root that is declared no more. An embedded one is then what it was without an object.
    pub fn withdraw(&self, name: &str) {
        self.lock().remove(name);
        self.publish();
    }

    fn start(self: &Arc<Self>, spec: RootSpec, before: Option<Progress>) -> Declared {
        let (commands, orders) = mpsc::channel(COMMANDS);
        let mut progress = before.unwrap_or_default();
        progress.since.get_or_insert((self.options.clock)());
        let record = Arc::new(Record { progress: Mutex::new(progress) });
        let task = Task::new(self, spec.clone(), Arc::clone(&record));
        #[expect(clippy::disallowed_methods, reason = "`Declared` owns the task and aborts it when dropped")]
        let task = tokio::spawn(task.run(orders));
        Declared::Tuf { spec: Box::new(spec), record, commands, task }
    }

    /// Publishes what is known now.
    pub(super) fn publish(&self) {
        // Under the lock, so that an older set never replaces a newer one.
        let declared = self.lock();
        let mut roots = self.options.base.clone();
        for (name, root) in declared.iter() {
            match root {
                Declared::Refused { reason } => roots.insert_unavailable(name, reason),
                Declared::Fixed(_, material) => roots.insert(material.clone()),
                Declared::Tuf { spec, record, .. } => {
                    let progress = record.lock();
                    match usable(spec, &progress) {
                        Ok((material, fresh_until)) => roots.insert_until(material, fresh_until, spec.on_stale()),
                        Err(reason) => roots.insert_unavailable(name, &reason),
                    }
                }
            }
        }
        self.published.store(Arc::new(roots));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until it is known of every declared root what had been accepted of it, so that none is judged by what is too old for it.
    /// A root whose archive cannot be read is not waited for: nothing is judged by it.
    pub async fn settled(&self) {
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            let is_open = |root: &Declared| match root {
                Declared::Tuf { record, .. } => {
                    let progress = record.lock();
                    !progress.recalled && progress.unusable.is_none()
                }
                Declared::Refused { .. } | Declared::Fixed(..) => false,
            };
            let waits = self.lock().values().any(is_open);
            if !waits || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Refreshes a root now, for evidence that names a key which it does not have. At most once in a while, and once for all who ask
    /// at a time. Whether something was accepted that is not what was there before.
    pub async fn refresh_now(&self, name: &str, deadline: Instant) -> bool {
        self.ask(name, deadline, |reply| Command::Refresh { reply }).await.unwrap_or(false)
    }

    /// These roots with the newest of some names in them, after a refresh where what is published is what they have. None: nothing is newer.
    async fn newest(&self, names: &BTreeSet<String>, than: &TrustRoots, deadline: Instant) -> Option<TrustRoots> {
        let one = async |name: &String| {
            if than.with_newer(name, &self.roots()).is_none() {
                self.refresh_now(name, deadline).await;
            }
        };
        futures::future::join_all(names.iter().map(one)).await;
        let published = self.roots();
        names.iter().fold(None, |found: Option<TrustRoots>, name| {
            found.as_ref().unwrap_or(than).with_newer(name, &published).or(found)
        })
    }

    /// A target of a root's repository, verified by fresh metadata.
    ///
    /// # Errors
    /// As a refresh; and that the root does not come through TUF, or that time ran out.
    pub async fn target(&self, name: &str, path: &str, deadline: Instant) -> Result<VerifiedTarget, RefreshError> {
        let path = path.to_owned();
        self.ask(name, deadline, |reply| Command::Target { path, reply }).await?
    }

    /// The keys of a role that a root's repository delegates to, by fresh metadata.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub async fn role_keys(&self, name: &str, role: &str, deadline: Instant) -> Result<RoleKeys, RefreshError> {
        let role = role.to_owned();
        self.ask(name, deadline, |reply| Command::RoleKeys { role, reply }).await?
    }

    async fn ask<T>(
        &self,
        name: &str,
        deadline: Instant,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, RefreshError> {
        let commands = match self.lock().get(name) {
            Some(Declared::Tuf { commands, .. }) => commands.clone(),
            _ => return Err(RefreshError::NotDeclared { name: name.to_owned() }),
        };
        let limit = deadline.saturating_duration_since(Instant::now());
        let (reply, answer) = oneshot::channel();
        commands.try_send(command(reply)).map_err(|error| match error {
            TrySendError::Full(_) => RefreshError::Busy { waiting: COMMANDS },
            TrySendError::Closed(_) => RefreshError::NotDeclared { name: name.to_owned() },
        })?;
        let answer = tokio::time::timeout_at(deadline, answer).await.map_err(|_| RefreshError::Timeout { limit })?;
        answer.map_err(|_| RefreshError::NotDeclared { name: name.to_owned() })
    }

    /// What is known of a declared root.
    pub fn status(&self, name: &str) -> Option<RootStatus> {
        Some(match self.lock().get(name)? {
            Declared::Refused { reason } => RootStatus { unavailable: Some(reason.clone()), ..RootStatus::default() },
            Declared::Fixed(_, material) => described(material, RootStatus::default()),
            Declared::Tuf { spec, record, .. } => {
                let progress = record.lock();
                let status = progress.status.clone();
                match usable(spec, &progress) {
                    Ok((material, _)) => described(&material, status),
                    Err(reason) => RootStatus { unavailable: Some(reason), ..status },
                }
            }
        })
    }

    /// Figures of all roots that come through TUF, for metrics.
    pub fn readings(&self, now: Timestamp) -> Vec<RootReading> {
        let roots = self.roots();
        let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs();
        let reading = |(name, root): (&String, &Declared)| {
            let Declared::Tuf { record, .. } = root else { return None };
            let progress = record.lock();
            let delivered = progress.delivered.as_ref();
            Some(RootReading {
                name: name.clone(),
                usable: roots.usable(name, now).is_ok(),
                age_seconds: delivered.map(|delivered| seconds(delivered.refreshed, now)),
                expires_in_seconds: delivered.map(|delivered| seconds(now, delivered.expires)),
                refreshes: progress.status.refreshes,
            })
        };
        self.lock().iter().filter_map(reading).collect()
    }

    /// Sums of the refreshes of all roots.
    pub fn refreshes(&self) -> Refreshes {
        self.lock().values().fold(Refreshes::default(), |sum, root| match root {
            Declared::Tuf { record, .. } => {
                let Refreshes { succeeded, refused, failed } = record.lock().status.refreshes;
                Refreshes {
                    succeeded: sum.succeeded + succeeded,
                    refused: sum.refused + refused,
                    failed: sum.failed + failed,
                }
            }
            Declared::Refused { .. } | Declared::Fixed(..) => sum,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Declared>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NewerRoots for TrustStore {
    fn newer<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        than: &'a TrustRoots,
        deadline: Instant,
    ) -> BoxFuture<'a, Option<TrustRoots>> {
        self.newest(names, than, deadline).boxed()
    }
}

impl fmt::Debug for TrustStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TrustStore").field("roots", &self.roots()).finish_non_exhaustive()
    }
}

/// The material that a root is judged by, and until when it is fresh; or why there is none.
fn usable(spec: &RootSpec, progress: &Progress) -> Result<(TrustMaterial, Option<Timestamp>), String> {
    if let Some(reason) = &progress.unusable {
        return Err(reason.clone());
    }
    let after = |since: Timestamp, age: SignedDuration| since.saturating_add(age).unwrap_or(Timestamp::MAX);
    if let Some(delivered) = &progress.delivered {
        let fresh_until = spec.max_age().map_or(delivered.expires, |age| after(delivered.refreshed, age));
        return Ok((delivered.material.clone(), Some(fresh_until)));
    }
    if !progress.recalled {
        return Err("what was accepted before is not read yet".to_owned());
    }
    match spec.source() {
        RootSource::Tuf(TufSpec { embedded: Some(material), .. }) => {
            let fresh_until = spec.max_age().zip(progress.since).map(|(age, since)| after(since, age));
            Ok((material.clone(), fresh_until))
        }
        _ => Err(match &progress.status.failure {
            Some(failure) => format!("nothing was delivered yet: {}", failure.error),
            None => "nothing was delivered yet".to_owned(),
        }),
    }
}

fn described(material: &TrustMaterial, status: RootStatus) -> RootStatus {
    let logs = material.described_logs();
    RootStatus { digest: Some(material.digest().to_string()), logs, ..status }
}
