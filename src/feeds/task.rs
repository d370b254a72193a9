//! The task of one feed: reads what was kept, and fetches it again and again.
//!
//! A fetch comes sooner when the repository's metadata was refreshed to something new, or the trust root was declared; and after a failure.
//! What is delivered is in force before it is kept, because it takes away; what cannot be taken leaves what was delivered before.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::jittered;
use super::kept::Kept;
use super::status::FeedFailure;
use super::store::{FeedProgress, FeedStore, Record};
use crate::policy::{Feed, FeedError, FeedRule};
use crate::trust_store::{RefreshError, TrustStore, Versions, backoff};

/// The longest wait between two attempts to read what was kept.
const RECALL_PAUSE: Duration = Duration::from_secs(10);
/// The least time between two fetches.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The task of one feed.
pub(super) struct FeedTask {
    store: Weak<FeedStore>,
    trust: Weak<TrustStore>,
    rule: Arc<FeedRule>,
    record: Arc<Record<FeedProgress>>,
    failures: u32,
    /// What the archive has.
    saved: Option<Kept>,
}

impl FeedTask {
    pub(super) fn new(store: &Arc<FeedStore>, rule: Arc<FeedRule>, record: Arc<Record<FeedProgress>>) -> Self {
        let trust = Arc::downgrade(&store.trust);
        Self { store: Arc::downgrade(store), trust, rule, record, failures: 0, saved: None }
    }

    pub(super) async fn run(mut self) {
        if self.recall().await.is_none() {
            return;
        }
        while let Some(wait) = self.fetch().await {
            let fetched = Instant::now();
            if self.sleep(wait).await.is_none() {
                return;
            }
            tokio::time::sleep_until(fetched + LEAST_PAUSE.min(wait)).await;
        }
    }

    /// Reads what was kept, until it can be read. None: the store is gone.
    async fn recall(&mut self) -> Option<()> {
        let mut pause = Duration::from_millis(200);
        while !self.record.lock().recalled {
            let store = self.store.upgrade()?;
            match store.archive.load(self.rule.name()).await {
                Ok(kept) => {
                    let kept = kept.filter(|kept| kept.is_of(&self.rule));
                    self.recalled(&store, kept);
                }
                Err(reason) => {
                    self.failed(&FeedFailure::Unread { reason });
                    store.publish();
                    drop(store);
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(RECALL_PAUSE);
                }
            }
        }
        Some(())
    }

    fn recalled(&mut self, store: &FeedStore, kept: Option<Kept>) {
        let mut progress = self.record.lock();
        progress.recalled = true;
        progress.status.failure = None;
        if let Some(kept) = kept {
            self.saved = Some(kept.clone());
            match Feed::parse(kept.content.as_bytes(), &self.rule) {
                Ok(feed) => progress.take(kept, feed, (store.options.clock)()),
                Err(error) => tracing::error!(feed = self.rule.name(), %error, "what was kept of a feed is no feed"),
            }
        }
        drop(progress);
        store.publish();
    }

    /// Fetches once, and says when to come back. None: the store is gone.
    async fn fetch(&mut self) -> Option<Duration> {
        let store = self.store.upgrade()?;
        let usual = store.options.interval.min(self.rule.max_age().unsigned_abs() / 4);
        match self.deliver(&store).await {
            Ok(()) => self.failures = 0,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.failed(&error);
            }
        }
        store.publish();
        self.save(&store).await;
        Some(jittered(backoff(self.failures, store.options.first_backoff, usual)))
    }

    async fn deliver(&self, store: &FeedStore) -> Result<(), FeedFailure> {
        let deadline = Instant::now() + store.options.fetch_timeout;
        let root = self.rule.trust_root();
        let pinned = store.pinned(root);
        let found = store.trust.target(root, self.rule.target(), deadline).await?;
        // Of a root that was declared anew meanwhile it is open whose repository has answered.
        let pinned = pinned.filter(|pinned| store.pinned(root).as_ref() == Some(pinned));
        let pinned = pinned.ok_or_else(|| RefreshError::NotDeclared { name: root.to_owned() })?.to_string();
        let now = (store.options.clock)();
        let feed = Feed::parse(&found.bytes, &self.rule)?;
        let content = String::from_utf8(found.bytes)
            .map_err(|error| FeedError::Unreadable { reason: error.utf8_error().to_string() })?;
        let (trust_root, target) = (root.to_owned(), self.rule.target().to_owned());
        let (expires, version) = (found.expires, found.version);
        let kept = Kept { trust_root, pinned, target, delivered: now, expires, version, content };
        let mut progress = self.record.lock();
        // The trust store has a floor of its own; what it could not keep is forgotten, and what was taken away must not come back.
        let newer = progress.kept.as_ref().filter(|before| before.version > version && before.is_of_one_line(&kept));
        if let Some(newer) = newer {
            let role = format!("the role that has {:?}", kept.target);
            return Err(RefreshError::Rollback { role, trusted: newer.version, offered: version }.into());
        }
        let is_new = progress.kept.as_ref().is_none_or(|before| before.content != kept.content);
        for refused in feed.refused().iter().filter(|_| is_new) {
            let (object, reason) = (&refused.object, &refused.reason);
            tracing::warn!(feed = self.rule.name(), object, reason, "an object of a feed is not in force");
        }
        progress.take(kept, feed, now);
        progress.status.failure = None;
        progress.status.failures = 0;
        Ok(())
    }

    fn failed(&self, error: &FeedFailure) {
        tracing::warn!(feed = self.rule.name(), code = error.code(), %error, "a feed was not taken");
        let mut progress = self.record.lock();
        progress.status.failure = Some((error.code(), error.to_string()));
        progress.status.failures = self.failures;
    }

    /// Keeps what was delivered last, if it is not kept yet.
    async fn save(&mut self, store: &FeedStore) {
        let Some(kept) = self.record.lock().kept.clone().filter(|kept| self.is_worth_keeping(kept)) else { return };
        let unkept = store.archive.save(self.rule.name(), kept.clone()).await.err();
        if let Some(reason) = &unkept {
            tracing::warn!(feed = self.rule.name(), reason, "what a feed delivered cannot be kept");
        }
        if unkept.is_none() {
            self.saved = Some(kept);
        }
        self.record.lock().status.unkept = unkept;
        store.publish();
    }

    /// Whether something is lost without it: more than that it was delivered again a while ago.
    fn is_worth_keeping(&self, kept: &Kept) -> bool {
        self.saved.as_ref().is_none_or(|saved| {
            let age = kept.delivered.duration_since(saved.delivered);
            let is_same = Kept { delivered: kept.delivered, ..saved.clone() } == *kept;
            !is_same || age >= self.rule.max_age() / 4
        })
    }

    /// Waits, or until the repository shows something new. None: the trust store is gone.
    async fn sleep(&self, wait: Duration) -> Option<()> {
        until_new(&self.trust, self.rule.trust_root(), wait).await
    }
}

/// Waits, or until what was accepted of a trust root is not what it was. None: the trust store is gone.
pub(super) async fn until_new(trust: &Weak<TrustStore>, root: &str, wait: Duration) -> Option<()> {
    // None: not declared.
    type Known = Option<Option<Versions>>;
    let known = |trust: &TrustStore| -> Known { trust.status(root).map(|status| status.versions) };
    let (mut changed, before) = {
        let trust = trust.upgrade()?;
        (trust.changed(), known(&trust))
    };
    let news = async {
        loop {
            changed.changed().await.ok()?;
            if known(&*trust.upgrade()?) != before {
                return Some(());
            }
        }
    };
    tokio::time::timeout(wait, news).await.unwrap_or(Some(()))
}

/// Whether a failure says what the repository wants, and not that it could not be asked.
pub(super) fn is_verified_absence(error: &RefreshError) -> bool {
    matches!(error, RefreshError::RoleMissing { .. })
}
