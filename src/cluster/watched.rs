//! What the watches have brought, how alive they are, and the snapshot that is published from it.
//!
//! No client: streams of events in, so that time and streams can be played in tests. Every event is a proof of life. A stream that is
//! silent for [`RESYNC_AFTER`] is started anew, which lists again and so proves the way to the API server; bookmarks, which would
//! prove it too, do not come through the library's watcher. A stream that hangs, or fails, ages in the same way. Each event that changes
//! something is published before the next is read.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::{Stream, TryStreamExt as _};
use kube::runtime::watcher::{Error, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use super::declarations::Declarations;
use super::index::Gathered;
use super::kinds::{ConfigObjects, Labels, PolicyObjects, RevocationObjects, TrustRootObjects};
use super::objects::{Objects, Seen};
use super::{NotReady, STALE_AFTER, UNREADY_AFTER, index};
use crate::feeds::FeedStore;
use crate::image::Digest;
use crate::policy::{Snapshot, Unmatched};

/// Silence after which a watch is started anew.
pub(super) const RESYNC_AFTER: Duration = Duration::from_mins(1);

/// What is known of the cluster.
pub(super) struct Watched {
    roots: Arc<Declarations>,
    feeds: Arc<FeedStore>,
    unmatched: Unmatched,
    state: Mutex<State>,
    /// Taken only while `state` is.
    gathered: Mutex<Gathered>,
    /// None until everything has been listed once.
    published: ArcSwapOption<Snapshot>,
    /// How often something was published.
    changed: watch::Sender<u64>,
}

/// What each watch has brought. A kind that is added here is added to [`State::health`] too, which readiness asks.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) policies: Kept<PolicyObjects>,
    pub(super) namespace_policies: Kept<PolicyObjects>,
    pub(super) configs: Kept<ConfigObjects>,
    pub(super) revocations: Kept<RevocationObjects>,
    pub(super) namespaces: Kept<Objects<Labels, Infallible>>,
    pub(super) trust_roots: Kept<TrustRootObjects>,
}

/// The objects of one watch, and how it fares.
#[derive(Debug, Default)]
pub(super) struct Kept<T> {
    pub(super) objects: T,
    health: Health,
}

/// Whether a watch has listed once, and when it last proved that it lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    listed: bool,
    last_alive: Option<Instant>,
}

impl State {
    fn health(&self) -> [(&'static str, Health); 6] {
        [
            ("policies", self.policies.health),
            ("policies of namespaces", self.namespace_policies.health),
            ("rules of the cluster", self.configs.health),
            ("revocations", self.revocations.health),
            ("namespaces", self.namespaces.health),
            ("trust roots", self.trust_roots.health),
        ]
    }
}

impl Watched {
    pub(super) fn new(roots: Arc<Declarations>, feeds: Arc<FeedStore>, unmatched: Unmatched) -> Self {
        Self {
            roots,
            feeds,
            unmatched,
            state: Mutex::default(),
            gathered: Mutex::default(),
            published: ArcSwapOption::empty(),
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, NotReady> {
        self.check(STALE_AFTER)?;
        self.published.load_full().ok_or(NotReady::NotListed { what: "objects" })
    }

    pub(super) fn last_published(&self) -> Option<Arc<Snapshot>> {
        self.published.load_full()
    }

    pub(super) fn ready(&self) -> Result<(), NotReady> {
        self.check(UNREADY_AFTER)?;
        self.published.load().as_ref().map(|_| ()).ok_or(NotReady::NotListed { what: "objects" })
    }

    /// Tells whenever something was published.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Looks at what was seen. Whoever looks must be quick: events wait.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    fn check(&self, limit: Duration) -> Result<(), NotReady> {
        let state = self.lock();
        for (what, health) in state.health() {
            let silent = health.last_alive.ok_or(NotReady::NotListed { what })?.elapsed();
            if silent > limit {
                return Err(NotReady::Stale { what, seconds: silent.as_secs() });
            }
        }
        Ok(())
    }

    /// Follows a watch, started anew after silence, for ever. It returns only if a stream ends by itself.
    pub(super) async fn follow<F, E, S: Stream<Item = Result<Event<Seen<F, E>>, Error>> + Unpin>(
        &self,
        what: &'static str,
        start: impl Fn() -> S,
        kept: impl Fn(&mut State) -> &mut Kept<Objects<F, E>>,
    ) {
        let mut events = start();
        loop {
            match tokio::time::timeout(RESYNC_AFTER, events.try_next()).await {
                Ok(Ok(Some(event))) => self.take(event, &kept),
                Ok(Ok(None)) => return,
                Ok(Err(error)) => tracing::warn!(what, %error, "watch failed; keeping what it last saw"),
                Err(_silence) => events = start(),
            }
        }
    }

    fn take<F, E>(&self, event: Event<Seen<F, E>>, kept: impl Fn(&mut State) -> &mut Kept<Objects<F, E>>) {
        let done = matches!(event, Event::InitDone);
        // An announced list proves nothing; its first object does.
        let alive = !matches!(event, Event::Init);
        // A list replaces nothing before it is complete, so that there is nothing new to publish until then.
        let changes = !matches!(event, Event::Init | Event::InitApply(_));
        let mut state = self.lock();
        let kept = kept(&mut state);
        kept.objects.take(event);
        kept.health.listed |= done;
        if alive {
            kept.health.last_alive = Some(Instant::now());
        }
        if changes {
            self.publish(&state);
        }
    }

    /// Judges by what was found below revoked indexes, from now on.
    pub(super) fn learn_below(&self, below: BTreeMap<Digest, Vec<Digest>>) {
        let state = self.lock();
        let is_new = self.gathered.lock().unwrap_or_else(PoisonError::into_inner).learn(below);
        if is_new {
            self.publish(&state);
        }
    }

    /// Publishes anew, because the roots changed and nothing that is watched.
    pub(super) fn republish(&self) {
        self.publish(&self.lock());
    }

    /// Publishes what was seen, once everything has been listed.
    fn publish(&self, state: &State) {
        if state.trust_roots.health.listed {
            // Before anything is judged by what the roots were without these objects.
            self.roots.declare(&state.trust_roots.objects);
        }
        if state.health().iter().all(|(_, health)| health.listed) {
            self.feeds.declare_roots(self.roots.pinned());
            self.feeds.declare(&index::rules(state, self.unmatched));
            self.feeds.declare_roles(&index::roles(state));
            let (feeds, roles) = self.feeds.published();
            let roots = (*self.roots.roots()).clone().with_roles(roles);
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let snapshot = index::snapshot(state, &roots, feeds, self.unmatched, &mut gathered);
            self.published.store(Some(Arc::new(snapshot)));
            self.changed.send_modify(|turn| *turn += 1);
        }
    }

    /// A panic while the lock was held would be a bug; what it protects is replaced as a whole, so going on is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watched").field("unmatched", &self.unmatched).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt as _;
    use futures::stream::{self, BoxStream};

    use super::super::declarations::fixed;
    use super::super::fake::FakeCluster;
    use super::super::feeds::none;
    use super::super::kinds;
    use super::*;
    use crate::trust::TrustRoots;

    type Events = BoxStream<'static, Result<Event<Seen<Labels, Infallible>>, Error>>;

    fn watched() -> Watched {
        Watched::new(fixed(TrustRoots::default(), FakeCluster::default().client()), none(), Unmatched::Allow)
    }

    fn listed<F, E>() -> Vec<Result<Event<Seen<F, E>>, Error>> {
        vec![Ok(Event::Init), Ok(Event::InitDone)]
    }

    fn failed<T>() -> Result<Event<T>, Error> {
        Err(Error::NoResourceVersion)
    }

    /// Follows all watches for ten minutes of played time: those that are always well, and one that `start` starts.
    async fn after_ten_minutes(start: impl Fn(usize) -> Events) -> (Watched, usize) {
        let watched = watched();
        let starts = AtomicUsize::new(0);
        {
            let tried = || start(starts.fetch_add(1, Ordering::SeqCst));
            let tried = watched.follow("namespaces", tried, |state| &mut state.namespaces);
            let well = || stream::iter(listed()).chain(stream::pending()).boxed();
            let policies = watched.follow("policies", well, |state| &mut state.policies);
            let well = || stream::iter(listed()).chain(stream::pending()).boxed();
            let of_namespaces = watched.follow("policies of namespaces", well, |state| &mut state.namespace_policies);
            let well = || stream::iter(listed()).chain(stream::pending()).boxed();
            let configs = watched.follow("rules", well, |state| &mut state.configs);
            let well = || stream::iter(listed()).chain(stream::pending()).boxed();
            let revocations = watched.follow("revocations", well, |state| &mut state.revocations);
            let well = || stream::iter(listed()).chain(stream::pending()).boxed();
            let roots = watched.follow("trust roots", well, |state| &mut state.trust_roots);
            let all = async { tokio::join!(tried, policies, of_namespaces, configs, revocations, roots) };
            let _ = tokio::time::timeout(Duration::from_mins(10), all).await;
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
        let check = |watched: &Watched| {
            let found = (watched.ready().err(), watched.snapshot().err());
            let is_stale = |error: &_| matches!(error, Some(NotReady::Stale { what: "namespaces", .. }));
            assert!(is_stale(&found.0) && is_stale(&found.1), "{found:?}");
        };
        check(&after_ten_minutes(hangs).await.0);
        check(&after_ten_minutes(fails).await.0);
    }

    /// Takes in an empty list.
    fn list<F, E>(watched: &Watched, kept: impl Fn(&mut State) -> &mut Kept<Objects<F, E>> + Copy) {
        for event in [Event::Init, Event::InitDone] {
            watched.take(event, kept);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_makes_unready_before_it_stops_judging() {
        let watched = watched();
        let unlisted = |watched: &Watched| match watched.snapshot() {
            Err(NotReady::NotListed { what }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(unlisted(&watched), "policies");
        list(&watched, |state| &mut state.policies);
        assert_eq!(unlisted(&watched), "policies of namespaces", "one list of six is not enough");
        list(&watched, |state| &mut state.namespace_policies);
        assert_eq!(unlisted(&watched), "rules of the cluster");
        list(&watched, |state| &mut state.configs);
        assert_eq!(unlisted(&watched), "revocations");
        list(&watched, |state| &mut state.revocations);
        assert_eq!(unlisted(&watched), "namespaces");
        list(&watched, |state| &mut state.namespaces);
        assert_eq!(unlisted(&watched), "trust roots");
        assert!(watched.last_published().is_none());
        list(&watched, |state| &mut state.trust_roots);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push((watched.ready().is_ok(), watched.snapshot().is_ok()));
            assert!(watched.last_published().is_some(), "what is told of policies does not age");
            tokio::time::advance(Duration::from_secs(155)).await;
        }
        assert_eq!(seen, [(true, true), (false, true), (false, false)]);
    }

    /// One that has listed everything, and judges by this revocation.
    pub(in super::super) fn with_revocation(revocation: &serde_json::Value) -> Watched {
        let watched = watched();
        list(&watched, |state| &mut state.policies);
        list(&watched, |state| &mut state.namespace_policies);
        list(&watched, |state| &mut state.configs);
        list(&watched, |state| &mut state.namespaces);
        list(&watched, |state| &mut state.trust_roots);
        for event in [Event::Init, Event::InitApply(kinds::revocation(revocation)), Event::InitDone] {
            watched.take(event, |state| &mut state.revocations);
        }
        watched
    }

    #[tokio::test]
    async fn a_broken_object_keeps_nobody_from_being_ready() {
        let watched = watched();
        list(&watched, |state| &mut state.policies);
        list(&watched, |state| &mut state.namespace_policies);
        list(&watched, |state| &mut state.namespaces);
        let broken = serde_json::json!({"metadata": {"name": "broken"}, "spec": 1});
        for event in [Event::Init, Event::InitApply(kinds::trust_root(&broken)), Event::InitDone] {
            watched.take(event, |state| &mut state.trust_roots);
        }
        for event in [Event::Init, Event::InitApply(kinds::revocation(&broken)), Event::InitDone] {
            watched.take(event, |state| &mut state.revocations);
        }
        for event in [Event::Init, Event::InitApply(kinds::config(&broken)), Event::InitDone] {
            watched.take(event, |state| &mut state.configs);
        }
        watched.take(Event::Apply(kinds::policy(&broken)), |state| &mut state.policies);
        assert!(watched.ready().is_ok());
        let snapshot = watched.snapshot().unwrap();
        assert_eq!(snapshot.policy_counts(), (0, 1));
        let problem = snapshot.roots().usable("broken", jiff::Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(problem.code(), "TrustRootUnavailable");
    }
}
