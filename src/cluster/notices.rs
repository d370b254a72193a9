//! Notices for people: Events of `events.k8s.io/v1` on the objects that they are about.
//!
//! Bounded in number and rate: a notice that finds no room is dropped and counted in the log, and whoever gives one never waits. What is
//! said again of one object within minutes is one Event with a count. The replica that holds the Lease says it, the others are silent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::conditions::bounded;
use super::lease::Leadership;

/// Notices that wait to be written.
const QUEUE: usize = 256;
/// Notices that may be written in a row.
const BURST: u32 = 25;
/// Between two notices, once the burst is used up.
const INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of a note, as the API server takes it.
const NOTE_LIMIT: usize = 1_024;
/// Time to write one.
const LIMIT: Duration = Duration::from_secs(10);

/// An object that something is said about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectRef {
    /// Such as `policy.countersign.dev/v1alpha1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, if its kind lives in one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// Somebody should look at it.
    Warning,
    /// It is worth knowing.
    Normal,
}

/// Takes notices.
pub trait Notices: Send + Sync {
    /// Says something about an object, and whether it will be written as far as can be told. `reason` is a word in CamelCase that scripts
    /// may match.
    fn note(&self, about: ObjectRef, urgency: Urgency, reason: &'static str, message: String) -> bool;
}

struct Notice {
    about: ObjectRef,
    urgency: Urgency,
    reason: &'static str,
    message: String,
}

/// Writes notices as Events.
pub struct EventWriter {
    recorder: Recorder,
    leadership: Arc<Leadership>,
    sender: mpsc::Sender<Notice>,
    receiver: Mutex<mpsc::Receiver<Notice>>,
    dropped: AtomicU64,
}

impl fmt::Debug for EventWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EventWriter")
    }
}

impl EventWriter {
    /// Writes by this client as this replica, while `leadership` holds.
    pub fn new(client: Client, identity: &str, leadership: Arc<Leadership>) -> Arc<Self> {
        let reporter = Reporter { controller: "countersign".to_owned(), instance: Some(identity.to_owned()) };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let recorder = Recorder::new(client, reporter);
        Arc::new(Self { recorder, leadership, sender, receiver: Mutex::new(receiver), dropped: AtomicU64::new(0) })
    }

    /// Writes for ever.
    pub async fn write(&self) {
        let mut receiver = self.receiver.lock().await;
        let mut rate = Rate::new(Instant::now());
        while let Some(notice) = receiver.recv().await {
            tokio::time::sleep_until(rate.next(Instant::now())).await;
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "notices found no room and were dropped");
            }
            if !self.leadership.holds() {
                continue;
            }
            let reference = ObjectReference {
                api_version: Some(notice.about.api_version),
                kind: Some(notice.about.kind),
                namespace: notice.about.namespace,
                name: Some(notice.about.name),
                uid: Some(notice.about.uid),
                ..ObjectReference::default()
            };
            let event = Event {
                type_: match notice.urgency {
                    Urgency::Warning => EventType::Warning,
                    Urgency::Normal => EventType::Normal,
                },
                reason: notice.reason.to_owned(),
                note: Some(bounded(&notice.message, NOTE_LIMIT)),
                action: notice.reason.to_owned(),
                secondary: None,
            };
            match tokio::time::timeout(LIMIT, self.recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(reason = notice.reason, %error, "an event could not be written"),
                Err(_late) => tracing::warn!(reason = notice.reason, "an event could not be written in time"),
            }
        }
    }
}

impl Notices for EventWriter {
    fn note(&self, about: ObjectRef, urgency: Urgency, reason: &'static str, message: String) -> bool {
        if !self.leadership.holds() {
            return false;
        }
        tracing::info!(kind = about.kind, name = about.name, reason, message, "notice");
        let taken = self.sender.try_send(Notice { about, urgency, reason, message }).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

/// A burst, and then one after another.
#[derive(Debug)]
struct Rate {
    /// When the room that is used now is free again.
    full: Instant,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// When the next one may be written.
    fn next(&mut self, now: Instant) -> Instant {
        self.full = self.full.max(now) + INTERVAL;
        (self.full - INTERVAL * BURST).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeCluster;
    use super::super::lease::held;
    use super::*;

    const FOLDER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

    fn about(name: &str) -> ObjectRef {
        let api_version = "policy.countersign.dev/v1alpha1".into();
        ObjectRef {
            api_version,
            kind: "SignatureTrustRoot".into(),
            namespace: None,
            name: name.into(),
            uid: "u".into(),
        }
    }

    async fn written(writer: &EventWriter, time: Duration) {
        let _ = tokio::time::timeout(time, writer.write()).await;
    }

    fn count(cluster: &FakeCluster, method: &str) -> usize {
        let asked = format!("{method} {FOLDER}");
        cluster.requests().iter().filter(|request| request.starts_with(&asked)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_again_is_one_event_with_a_count() {
        let cluster = FakeCluster::default();
        let writer = EventWriter::new(cluster.client(), "pod-1", Arc::new(held()));
        for name in ["a", "a", "b"] {
            writer.note(about(name), Urgency::Warning, "TufRollback", "ä".repeat(NOTE_LIMIT));
        }
        written(&writer, Duration::from_secs(1)).await;
        assert_eq!((count(&cluster, "POST"), count(&cluster, "PATCH")), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn notices_are_bounded_in_number_and_rate() {
        let cluster = FakeCluster::default();
        let writer = EventWriter::new(cluster.client(), "pod-1", Arc::new(held()));
        for number in 0..QUEUE + 7 {
            let taken = writer.note(about(&number.to_string()), Urgency::Normal, "Seen", String::new());
            assert_eq!(taken, number < QUEUE);
        }
        assert_eq!(writer.dropped.load(Ordering::Relaxed), 7);
        written(&writer, INTERVAL * 10).await;
        let burst = usize::try_from(BURST).unwrap();
        assert!((burst + 8..=burst + 11).contains(&count(&cluster, "POST")), "{}", count(&cluster, "POST"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_hold_the_lease_is_silent() {
        let cluster = FakeCluster::default();
        let writer = EventWriter::new(cluster.client(), "pod-2", Arc::default());
        assert!(!writer.note(about("a"), Urgency::Warning, "Seen", String::new()));
        written(&writer, Duration::from_mins(1)).await;
        assert_eq!(cluster.requests(), Vec::<String>::new());
    }
}
