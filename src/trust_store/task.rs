//! The task of one root: reads what was accepted, refreshes it again and again, and answers who asks in between.
//!
//! It owns what it works on, so that nobody waits for a lock. Its waits are jittered, so that replicas do not come together; after a
//! failure it comes back sooner than usual, and later each time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::archive::Files;
use super::client::{RoleKeys, TufClient, VerifiedTarget};
use super::refresh::{Attempt, Delivered, Holdings, Wanted, recall, refresh};
use super::status::Failure;
use super::store::{Record, TrustStore};
use super::{HttpOptions, Mirror, MirrorError, RefreshError};
use crate::trust::{PinnedRoot, RootSource, RootSpec, TufSpec};

/// The longest wait between two attempts to read an archive.
const RECALL_PAUSE: Duration = Duration::from_secs(10);

/// What a task is asked for.
#[derive(Debug)]
pub(super) enum Command {
    /// A refresh; whether it brought something new.
    Refresh { reply: oneshot::Sender<bool> },
    /// Another target than the trusted root.
    Target { path: String, reply: oneshot::Sender<Result<VerifiedTarget, RefreshError>> },
    /// The keys of a delegated role.
    RoleKeys { role: String, reply: oneshot::Sender<Result<RoleKeys, RefreshError>> },
}

/// Orders that wait, by kind.
#[derive(Debug, Default)]
struct Waiting {
    refreshes: Vec<oneshot::Sender<bool>>,
    roles: Vec<(String, oneshot::Sender<Result<RoleKeys, RefreshError>>)>,
    targets: Vec<(String, oneshot::Sender<Result<VerifiedTarget, RefreshError>>)>,
}

impl Waiting {
    fn take(&mut self, command: Command) {
        match command {
            Command::Refresh { reply } => self.refreshes.push(reply),
            Command::RoleKeys { role, reply } => self.roles.push((role, reply)),
            Command::Target { path, reply } => self.targets.push((path, reply)),
        }
    }

    fn drain(&mut self, commands: &mut mpsc::Receiver<Command>) {
        while let Ok(command) = commands.try_recv() {
            self.take(command);
        }
    }
}

/// The task of one root.
pub(super) struct Task {
    store: Weak<TrustStore>,
    spec: RootSpec,
    record: Arc<Record>,
    holdings: Holdings,
    /// Files that the archive does not have yet.
    unsaved: Option<Files>,
    last: Option<Instant>,
    /// When it refreshes by itself. What it is asked for in between does not put that off.
    next: Instant,
    failures: u32,
}

impl Task {
    pub(super) fn new(store: &Arc<TrustStore>, spec: RootSpec, record: Arc<Record>) -> Self {
        let store = Arc::downgrade(store);
        Self {
            store,
            spec,
            record,
            holdings: Holdings::default(),
            unsaved: None,
            last: None,
            next: Instant::now(),
            failures: 0,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.recall().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {
                    if self.refresh().await.is_none() {
                        return;
                    }
                }
                command = commands.recv() => match command {
                    // Nobody can ask any more: the root is declared no longer.
                    None => return,
                    Some(command) => self.answer(command, &mut commands).await,
                }
            }
        }
    }

    /// Reads the archive until it can be read: before that, nothing may be judged by the root.
    async fn recall(&mut self) {
        let (mut pause, name) = (Duration::from_millis(200), self.spec.name().to_owned());
        let files = loop {
            let Some(store) = self.store.upgrade() else { return };
            match store.archive.load(&name).await {
                Ok(files) => break files.unwrap_or_default(),
                Err(error) => {
                    tracing::warn!(root = name, %error, "the archive of a trust root cannot be read");
                    let mut progress = self.record.lock();
                    progress.unusable = Some(error.to_string()).filter(|_| !progress.recalled);
                    drop(progress);
                    store.publish();
                }
            }
            drop(store);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(RECALL_PAUSE);
        };
        let Some(tuf) = self.tuf() else { return };
        let Some(root) = pinned(&tuf) else { return };
        let Some(now) = self.store.upgrade().map(|store| (store.options.clock)()) else { return };
        let mut read = Holdings::read(files);
        let is_corrected = read.correct(now);
        let (holdings, result) = recall(&self.wanted(&tuf, &root), read).await;
        let mut progress = self.record.lock();
        progress.unusable = None;
        progress.recalled = true;
        let inherited = progress.delivered.as_ref().map(|delivered| delivered.versions);
        match result {
            // The task before this one had more than it could keep.
            Ok(Some(delivered)) if inherited.is_some_and(|versions| versions >= delivered.versions) => {
                self.holdings = progress.holdings.clone();
            }
            Ok(None) | Err(_) if inherited.is_some() => self.holdings = progress.holdings.clone(),
            Ok(Some(delivered)) => {
                // A further restart would begin the age once more.
                self.unsaved = is_corrected.then(|| holdings.write());
                self.holdings = holdings;
                progress.accept(delivered);
            }
            Ok(None) => self.holdings = holdings,
            // Something newer was accepted once, and is lost: what is embedded may be older.
            Err(error) => {
                tracing::error!(root = name, %error, "what was kept of a trust root does not verify");
                self.holdings = holdings;
                progress.unusable = Some(error.to_string());
            }
        }
        drop(progress);
        self.publish();
    }

    async fn refresh_for_evidence(&mut self) -> bool {
        let Some(store) = self.store.upgrade() else { return false };
        let pause = store.options.refresh_pause;
        drop(store);
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return false;
        }
        self.refresh().await.unwrap_or(false)
    }

    /// Refreshes once. None: the store is gone.
    async fn refresh(&mut self) -> Option<bool> {
        let store = self.store.upgrade()?;
        let (now, limit) = ((store.options.clock)(), store.options.refresh_timeout);
        self.last = Some(Instant::now());
        let tuf = self.tuf()?;
        let root = pinned(&tuf)?;
        let mut before = self.holdings.clone();
        before.correct(now);
        let Attempt { holdings, notes, result } = match self.mirror(&store, &tuf).await {
            Ok(mirror) => refresh(&self.wanted(&tuf, &root), mirror, before, now, limit).await,
            Err(error) => Attempt { holdings: before, notes: Vec::new(), result: Err(error.into()) },
        };
        if holdings != self.holdings {
            self.unsaved = Some(holdings.write());
            self.holdings = holdings;
        }
        let unkept = self.keep(&store).await;
        let name = self.spec.name();
        let mut progress = self.record.lock();
        progress.holdings = self.holdings.clone();
        progress.status.notes = notes;
        progress.status.unkept = unkept;
        let mut changed = false;
        match result {
            Ok(delivered) => {
                self.failures = 0;
                let before = progress.delivered.as_ref().map(|delivered| delivered.material.digest().clone());
                changed = before.as_ref() != Some(delivered.material.digest());
                tracing::info!(root = name, versions = ?delivered.versions, changed, "refreshed a trust root");
                progress.status.failure = None;
                progress.status.refreshes.succeeded += 1;
                progress.unusable = None;
                progress.accept(delivered);
            }
            Err(error) => {
                // The clock may have been set back.
                if let (Some(delivered), Some(refreshed)) = (progress.delivered.clone(), self.holdings.refreshed()) {
                    progress.accept(Delivered { refreshed: delivered.refreshed.min(refreshed), ..delivered });
                }
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(root = name, code = error.code(), %error, "a trust root was not refreshed");
                if error.is_broken_rule() {
                    progress.status.refreshes.refused += 1;
                } else {
                    progress.status.refreshes.failed += 1;
                }
                progress.status.failure = Some(Failure { error, at: now, in_a_row: self.failures });
            }
        }
        drop(progress);
        self.next = Instant::now() + self.wait();
        store.publish();
        Some(changed)
    }

    /// Keeps what the archive does not have yet, before anybody judges by it: a restart must not forget it. Why it is not kept.
    async fn keep(&mut self, store: &TrustStore) -> Option<String> {
        let (files, name) = (self.unsaved.as_ref()?, self.spec.name());
        match store.archive.save(name, files.clone()).await {
            Ok(()) => {
                self.unsaved = None;
                None
            }
            Err(error) => {
                tracing::warn!(root = name, %error, "accepted metadata of a trust root cannot be kept");
                Some(error.to_string())
            }
        }
    }

    /// Answers an order and all that wait behind it.
    async fn answer(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) {
        let mut waiting = Waiting::default();
        waiting.take(first);
        waiting.drain(commands);
        if !waiting.refreshes.is_empty() {
            let changed = self.refresh_for_evidence().await;
            // Whoever asked meanwhile is answered by the same refresh.
            waiting.drain(commands);
            for reply in waiting.refreshes {
                let _ = reply.send(changed);
            }
        }
        let (roles, replies): (Vec<_>, Vec<_>) = waiting.roles.into_iter().unzip();
        if !roles.is_empty() {
            // All that policies name come at once when metadata is new: one client answers them.
            let all = async |client: &mut TufClient, _| {
                Ok(roles.iter().map(|role| client.role_keys(role)).collect::<Vec<Result<RoleKeys, RefreshError>>>())
            };
            let found = match self.fresh(all).await {
                Ok(found) => found,
                Err(error) => vec![Err(error); replies.len()],
            };
            for (reply, found) in replies.into_iter().zip(found) {
                let _ = reply.send(found);
            }
        }
        // A client for each: what one target's roles say of their age is nothing to another.
        for (path, reply) in waiting.targets {
            if !reply.is_closed() {
                let found = self.fresh(async |client, now| client.target(&path, now).await).await;
                let _ = reply.send(found);
            }
        }
    }

    /// Asks a client whose metadata is fresh, and not below what was accepted.
    async fn fresh<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut TufClient, jiff::Timestamp) -> Result<T, RefreshError>,
    ) -> Result<T, RefreshError> {
        let gone = || RefreshError::NotDeclared { name: self.spec.name().to_owned() };
        let store = self.store.upgrade().ok_or_else(gone)?;
        let (tuf, limit) = (self.tuf().ok_or_else(gone)?, store.options.refresh_timeout);
        let root = pinned(&tuf).ok_or_else(gone)?;
        let now = self.holdings.time((store.options.clock)());
        let mirror = self.mirror(&store, &tuf).await?;
        let mut client = TufClient::open(&root, self.holdings.floor().clone(), mirror)?;
        let work = async {
            client.refresh(now).await?;
            ask(&mut client, now).await
        };
        let found = tokio::time::timeout(limit, work).await.unwrap_or(Err(RefreshError::Timeout { limit }));
        self.rise(client.files());
        let unkept = self.keep(&store).await;
        self.record.lock().status.unkept = unkept;
        found
    }

    /// Never goes back behind metadata that was verified. Targets that somebody asked for are theirs to keep.
    fn rise(&mut self, mut files: Files) {
        let before = self.holdings.floor();
        files.retain(|name, _| !name.starts_with("targets/") || before.contains_key(name));
        if *before != files {
            self.holdings.rise(files);
            self.unsaved = Some(self.holdings.write());
            self.record.lock().holdings = self.holdings.clone();
        }
    }

    async fn mirror(&self, store: &TrustStore, tuf: &TufSpec) -> Result<Mirror, MirrorError> {
        let ca_pem = self.spec.ca().map(|ca| ca.as_bytes().to_vec());
        let options = HttpOptions { ca_pem, plain_loopback: store.options.plain_loopback };
        Mirror::open(&tuf.mirror, &options, store.options.registry.as_deref()).await
    }

    fn tuf(&self) -> Option<TufSpec> {
        match self.spec.source() {
            RootSource::Tuf(tuf) => Some(tuf.clone()),
            RootSource::Fixed(_) => None,
        }
    }

    fn wanted<'a>(&'a self, tuf: &'a TufSpec, root: &'a [u8]) -> Wanted<'a> {
        Wanted { name: self.spec.name(), root, target: &tuf.target, operators: self.spec.operators() }
    }

    fn publish(&self) {
        if let Some(store) = self.store.upgrade() {
            store.publish();
        }
    }

    fn wait(&self) -> Duration {
        let interval = self.spec.refresh_interval();
        let first = self.store.upgrade().map(|store| store.options.first_backoff);
        jittered(first.map_or(interval, |first| backoff(self.failures, first, interval)))
    }
}

fn pinned(tuf: &TufSpec) -> Option<Arc<[u8]>> {
    match &tuf.root {
        PinnedRoot::Bytes(bytes) => Some(Arc::clone(bytes)),
        PinnedRoot::ConfigMap { .. } => None,
    }
}

/// The wait after so many failures in a row: doubled each time, up to the usual one.
pub(crate) fn backoff(failures: u32, first: Duration, usual: Duration) -> Duration {
    match failures {
        0 => usual,
        _ => first.saturating_mul(1 << (failures - 1).min(16)).min(usual),
    }
}

/// The duration, up to a quarter more or less, so that replicas do not come together.
fn jittered(duration: Duration) -> Duration {
    let spread = u32::try_from(RandomState::new().hash_one(0_u8) % 501).unwrap_or_default();
    duration * (750 + spread) / 1_000
}
