//! Who of the replicas writes: one of them holds a Lease of `coordination.k8s.io/v1`.
//!
//! Judging needs no holder, and no replica waits for one. The holder alone writes status, Events and what is kept in the cluster. Clocks
//! of two machines are never compared: a Lease counts as abandoned once this replica has watched it stand unchanged for as long as its
//! holder promised to renew it. A holder stops earlier than that by its own clock, so that two never write at once.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a Lease stands without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// How long a holder goes on after its last renewal began: less than the Lease stands.
const HOLDS: Duration = Duration::from_secs(10);
/// Between two renewals, and between two looks of the others.
const PAUSE: Duration = Duration::from_secs(2);
/// Time for one question to the API server.
const ANSWER: Duration = Duration::from_secs(4);
/// The longest that another's promise is believed.
const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// Whether this replica holds the Lease.
#[derive(Debug)]
pub struct Leadership {
    held_until: Mutex<Option<Instant>>,
    changed: watch::Sender<bool>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self { held_until: Mutex::default(), changed: watch::Sender::new(false) }
    }
}

impl Leadership {
    /// Whether this replica may write now. A task that was held up asks again before each write.
    pub fn holds(&self) -> bool {
        self.held_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    /// Tells when the Lease was won and when it was lost.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    fn set(&self, until: Option<Instant>) {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        let holds = self.holds();
        let told = self.changed.send_if_modified(|held| std::mem::replace(held, holds) != holds);
        if told {
            tracing::info!(holds, "the lease changed hands");
        }
    }
}

/// What a Lease says, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Record {
    holder: String,
    /// Changes with every renewal, whatever the holder's clock says.
    version: String,
    transitions: i32,
    lasts: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// There is none: make it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// Nobody's, or abandoned: take it.
    Take,
    /// Somebody else's.
    Wait,
}

/// What this replica has seen of the Lease: no client, and time is an argument.
#[derive(Debug)]
struct Election {
    identity: String,
    /// The last record of somebody else, and since when it has stood so.
    seen: Option<(Record, Instant)>,
}

impl Election {
    fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// What the Lease as it is now asks for.
    fn look(&mut self, record: Option<&Record>, now: Instant) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        if record.holder == self.identity {
            self.seen = None;
            return Step::Renew;
        }
        if record.holder.is_empty() {
            return Step::Take;
        }
        match &self.seen {
            Some((seen, since)) if seen == record => {
                let abandoned = now.duration_since(*since) >= record.lasts.clamp(PAUSE, LONGEST_LEASE);
                if abandoned { Step::Take } else { Step::Wait }
            }
            _ => {
                self.seen = Some((record.clone(), now));
                Step::Wait
            }
        }
    }
}

impl Record {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
            transitions: spec.lease_transitions.unwrap_or_default(),
            lasts: seconds.map_or(LEASE, Duration::from_secs),
        }
    }
}

/// Competes for a Lease.
pub(super) struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    now: fn() -> Timestamp,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Candidate({} for {})", self.identity, self.name)
    }
}

impl Candidate {
    /// `identity` must be no other replica's: two of one identity would both take the Lease for theirs.
    pub(super) fn new(client: Client, namespace: &str, name: &str, identity: &str, now: fn() -> Timestamp) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, name: name.to_owned(), identity: identity.to_owned(), now }
    }

    /// Competes for ever, and tells `leadership` how it stands. Errors are logged, and tried again.
    pub(super) async fn compete(&self, leadership: &Leadership) {
        let mut election = Election::new(self.identity.clone());
        let mut failing = false;
        loop {
            let started = Instant::now();
            match tokio::time::timeout(ANSWER, self.turn(&mut election)).await {
                Ok(Ok(holds)) => {
                    // Counted from before the question, so that a slow answer shortens it.
                    leadership.set(holds.then_some(started + HOLDS));
                    failing = false;
                }
                failed => {
                    let reason = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".to_owned(),
                    };
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(lease = self.name, reason, "the lease can be neither taken nor renewed");
                    }
                    // What was renewed holds until its time is over, which `changes` must hear.
                    if !leadership.holds() {
                        leadership.set(None);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Gives the Lease back, if it is ours, so that another replica need not wait.
    pub(super) async fn release(&self, leadership: &Leadership) {
        if !leadership.holds() {
            return;
        }
        leadership.set(None);
        let released = tokio::time::timeout(ANSWER, async {
            let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
            if Record::of(&lease).holder != self.identity {
                return Ok(());
            }
            if let Some(spec) = lease.spec.as_mut() {
                spec.holder_identity = Some(String::new());
            }
            self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        });
        if !matches!(released.await, Ok(Ok(()))) {
            tracing::warn!(lease = self.name, "the lease could not be given back; others wait until it is abandoned");
        }
    }

    /// Looks once, and acts. Whether the Lease is ours now.
    async fn turn(&self, election: &mut Election) -> Result<bool, kube::Error> {
        let found = self.leases.get_opt(&self.name).await?;
        let record = found.as_ref().map(Record::of);
        let step = election.look(record.as_ref(), Instant::now());
        let time = MicroTime((self.now)());
        let ours = |acquired: Option<MicroTime>, transitions: i32| LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(time.clone())),
            renew_time: Some(time.clone()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        let transitions = record.map_or(0, |record| record.transitions);
        let written = match (step, found) {
            (Step::Wait, _) => return Ok(false),
            (Step::Create, _) | (_, None) => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(ours(None, 0)) };
                self.leases.create(&PostParams::default(), &lease).await
            }
            (Step::Renew | Step::Take, Some(mut lease)) => {
                let acquired = lease.spec.take().and_then(|spec| spec.acquire_time);
                lease.spec = Some(match step {
                    Step::Renew => ours(acquired, transitions),
                    _ => ours(None, transitions.saturating_add(1)),
                });
                // With the version that was read: of two who take it at once, one is refused.
                self.leases.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody else was faster; the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A replica that holds the Lease for good.
#[cfg(test)]
pub(super) fn held() -> Leadership {
    let leadership = Leadership::default();
    leadership.set(Some(Instant::now() + Duration::from_hours(24)));
    leadership
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeCluster;
    use super::*;

    fn record(holder: &str, turn: u8) -> Record {
        Record { holder: holder.into(), version: turn.to_string(), transitions: 0, lasts: LEASE }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_only_after_it_stood_unchanged_for_its_time() {
        let mut election = Election::new("b".into());
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(election.look(None, start), Step::Create);
        // However old the times in it are: nobody's clock is believed.
        assert_eq!(election.look(Some(&record("a", 0)), at(0)), Step::Wait);
        assert_eq!(election.look(Some(&record("a", 0)), at(14)), Step::Wait);
        assert_eq!(election.look(Some(&record("a", 1)), at(15)), Step::Wait, "it was renewed");
        assert_eq!(election.look(Some(&record("a", 1)), at(29)), Step::Wait);
        assert_eq!(election.look(Some(&record("a", 1)), at(30)), Step::Take);
        // Another holder begins anew.
        assert_eq!(election.look(Some(&record("c", 1)), at(31)), Step::Wait);
        assert_eq!(election.look(Some(&record("", 1)), at(32)), Step::Take, "it was given back");
        assert_eq!(election.look(Some(&record("b", 2)), at(33)), Step::Renew);
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_is_believed_within_bounds() {
        let forever = Record { lasts: Duration::from_secs(1 << 40), ..record("a", 0) };
        let mut election = Election::new("b".into());
        let start = Instant::now();
        assert_eq!(election.look(Some(&forever), start), Step::Wait);
        assert_eq!(election.look(Some(&forever), start + LONGEST_LEASE), Step::Take);
        let longer = Record { lasts: Duration::from_secs(30), ..record("a", 0) };
        assert_eq!(election.look(Some(&longer), start), Step::Wait);
        assert_eq!(election.look(Some(&longer), start + LEASE), Step::Wait, "the holder promised more than we would");
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_stops_by_itself_before_another_may_take_the_lease() {
        assert!(HOLDS + ANSWER < LEASE);
        let leadership = Leadership::default();
        let mut changes = leadership.changes();
        leadership.set(Some(Instant::now() + HOLDS));
        assert!(leadership.holds() && *changes.borrow_and_update());
        tokio::time::advance(HOLDS).await;
        assert!(!leadership.holds(), "nobody had to tell it");
        leadership.set(None);
        assert!(changes.has_changed().unwrap() && !*changes.borrow_and_update());
    }

    /// Whether a candidate holds the Lease after one look.
    async fn looks(candidate: &Candidate, election: &mut Election) -> bool {
        candidate.turn(election).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_two_holds_it_and_the_other_takes_it_when_it_is_given_back_or_abandoned() {
        let cluster = FakeCluster::default();
        let candidate = |identity: &str| {
            Candidate::new(cluster.client(), "ours", "countersign", identity, || Timestamp::UNIX_EPOCH)
        };
        let (a, b) = (candidate("a"), candidate("b"));
        let (mut of_a, mut of_b) = (Election::new("a".into()), Election::new("b".into()));
        assert!(looks(&a, &mut of_a).await && !looks(&b, &mut of_b).await && looks(&a, &mut of_a).await);
        let leadership = held();
        a.release(&leadership).await;
        assert!(!leadership.holds());
        assert!(looks(&b, &mut of_b).await && !looks(&a, &mut of_a).await);
        // `b` is silent: its Lease stands as it is.
        tokio::time::advance(Duration::from_millis(14_999)).await;
        assert!(!looks(&a, &mut of_a).await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(looks(&a, &mut of_a).await && !looks(&b, &mut of_b).await);
        let lease = cluster.get("/apis/coordination.k8s.io/v1/namespaces/ours/leases/countersign").unwrap();
        assert_eq!((&lease["spec"]["holderIdentity"], &lease["spec"]["leaseTransitions"]), (&"a".into(), &2.into()));
        // What is not ours is not given back.
        b.release(&held()).await;
        let lease = cluster.get("/apis/coordination.k8s.io/v1/namespaces/ours/leases/countersign").unwrap();
        assert_eq!(lease["spec"]["holderIdentity"], "a");
    }
}
