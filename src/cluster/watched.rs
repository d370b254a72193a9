//! What the watches have brought, how alive they are, and the snapshot that is published from it.
//!
//! No client: streams of events in, so that time and streams can be played in tests. Every event is a proof of life. A stream that is
//! silent for [`RESYNC_AFTER`] is started anew, which lists again and so proves the way to the API server; bookmarks, which would
//! prove it too, do not come through the library's watcher. A stream that hangs, or fails, ages in the same way.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Error, Event};
use tokio::time::Instant;

use super::{Index, NotReady, STALE_AFTER, UNREADY_AFTER};
use crate::policy::{Snapshot, Unmatched};
use crate::trust::TrustRoots;

/// Silence after which a watch is started anew.
pub(super) const RESYNC_AFTER: Duration = Duration::from_mins(1);

/// What is known of the cluster.
#[derive(Debug)]
pub(super) struct Watched {
    roots: TrustRoots,
    unmatched: Unmatched,
    state: Mutex<State>,
    /// None until everything has been listed once.
    published: ArcSwapOption<Snapshot>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    index: Index,
    pub(super) policies: Health,
    pub(super) namespaces: Health,
}

/// Whether a watch has listed once, and when it last proved that it lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    listed: bool,
    last_alive: Option<Instant>,
}

impl Watched {
    pub(super) fn new(roots: TrustRoots, unmatched: Unmatched) -> Self {
        Self { roots, unmatched, state: Mutex::default(), published: ArcSwapOption::empty() }
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, NotReady> {
        self.check(STALE_AFTER)?;
        self.published.load_full().ok_or(NotReady::NotListed)
    }

    pub(super) fn last_published(&self) -> Option<Arc<Snapshot>> {
        self.published.load_full()
    }

    pub(super) fn ready(&self) -> Result<(), NotReady> {
        self.check(UNREADY_AFTER)?;
        self.published.load().as_ref().map(|_| ()).ok_or(NotReady::NotListed)
    }

    fn check(&self, limit: Duration) -> Result<(), NotReady> {
        let state = self.lock();
        for (what, health) in [("policies", state.policies), ("namespaces", state.namespaces)] {
            let silent = health.last_alive.ok_or(NotReady::NotListed)?.elapsed();
            if silent > limit {
                return Err(NotReady::Stale { what, seconds: silent.as_secs() });
            }
        }
        Ok(())
    }

    /// Follows a watch, started anew after silence, for ever. It returns only if a stream ends by itself.
    pub(super) async fn follow<K: Debug, S: Stream<Item = Result<Event<K>, Error>> + Unpin>(
        &self,
        what: &'static str,
        start: impl Fn() -> S,
        health: impl Fn(&mut State) -> &mut Health,
        apply: impl Fn(&mut State, Event<K>),
    ) {
        let mut events = start();
        loop {
            match tokio::time::timeout(RESYNC_AFTER, events.try_next()).await {
                Ok(Ok(Some(event))) => self.take(event, &health, &apply),
                Ok(Ok(None)) => return,
                Ok(Err(error)) => tracing::warn!(what, %error, "watch failed; keeping what it last saw"),
                Err(_silence) => events = start(),
            }
        }
    }

    fn take<K>(
        &self,
        event: Event<K>,
        health: impl Fn(&mut State) -> &mut Health,
        apply: impl Fn(&mut State, Event<K>),
    ) {
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
            health.last_alive = Some(Instant::now());
        }
        if changes && state.policies.listed && state.namespaces.listed {
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
    pub(super) fn policy_event(&mut self, event: Event<DynamicObject>) {
        let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or_default();
        match event {
            Event::Init => self.index.start_policies(),
            Event::InitApply(object) => self.index.list_policy(&value(object)),
            Event::InitDone => self.index.finish_policies(),
            Event::Apply(object) => self.index.apply_policy(&value(object)),
            Event::Delete(object) => self.index.delete_policy(&object.metadata.name.unwrap_or_default()),
        }
    }

    pub(super) fn namespace_event(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt as _;
    use futures::stream::{self, BoxStream};

    use super::*;

    type Events = BoxStream<'static, Result<Event<()>, Error>>;

    fn listed() -> Vec<Result<Event<()>, Error>> {
        vec![Ok(Event::Init), Ok(Event::InitDone)]
    }

    fn failed() -> Result<Event<()>, Error> {
        Err(Error::NoResourceVersion)
    }

    /// Follows two watches for ten minutes of played time: one that is always well, and one that `start` starts.
    async fn after_ten_minutes(start: impl Fn(usize) -> Events) -> (Watched, usize) {
        let watched = Watched::new(TrustRoots::default(), Unmatched::Allow);
        let starts = AtomicUsize::new(0);
        {
            let well = || stream::iter(listed()).chain(stream::pending()).boxed();
            let tried = || start(starts.fetch_add(1, Ordering::SeqCst));
            let policies = watched.follow("policies", tried, |state| &mut state.policies, |_, _| {});
            let namespaces = watched.follow("namespaces", well, |state| &mut state.namespaces, |_, _| {});
            let _ = tokio::time::timeout(Duration::from_mins(10), async { tokio::join!(policies, namespaces) }).await;
        }
        (watched, starts.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watch_proves_its_life_by_listing_again() {
        let (watched, starts) = after_ten_minutes(|_| stream::iter(listed()).chain(stream::pending()).boxed()).await;
        assert!(watched.ready().is_ok() && watched.snapshot().is_ok());
        assert!((9..=11).contains(&starts), "{starts} starts");
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_forgotten_when_the_watch_goes_on() {
        let once = |turn| {
            let mut events = listed();
            if turn == 0 {
                events.push(failed());
            }
            stream::iter(events).chain(stream::pending()).boxed()
        };
        let (watched, _) = after_ten_minutes(once).await;
        assert!(watched.ready().is_ok() && watched.snapshot().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_hangs_or_fails_for_good_judges_nothing_any_more() {
        let hangs = |turn| match turn {
            0 => stream::iter(listed()).chain(stream::pending()).boxed(),
            _ => stream::pending().boxed(),
        };
        let fails = |turn| match turn {
            0 => stream::iter(listed()).chain(stream::iter([failed()])).chain(stream::pending()).boxed(),
            _ => stream::iter([failed()]).chain(stream::pending()).boxed(),
        };
        for watched in [after_ten_minutes(hangs).await.0, after_ten_minutes(fails).await.0] {
            assert!(matches!(watched.ready(), Err(NotReady::Stale { what: "policies", .. })));
            assert!(matches!(watched.snapshot(), Err(NotReady::Stale { what: "policies", .. })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_makes_unready_before_it_stops_judging() {
        let watched = Watched::new(TrustRoots::default(), Unmatched::Allow);
        assert!(matches!(watched.snapshot(), Err(NotReady::NotListed)));
        for event in [Event::<()>::Init, Event::InitDone] {
            watched.take(event, |state| &mut state.policies, |_, _| {});
        }
        assert!(matches!(watched.snapshot(), Err(NotReady::NotListed)), "one list of two is not enough");
        for event in [Event::<()>::Init, Event::InitDone] {
            watched.take(event, |state| &mut state.namespaces, |_, _| {});
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push((watched.ready().is_ok(), watched.snapshot().is_ok()));
            assert!(watched.last_published().is_some(), "what is told of policies does not age");
            tokio::time::advance(Duration::from_secs(155)).await;
        }
        assert_eq!(seen, [(true, true), (false, true), (false, false)]);
    }
}
