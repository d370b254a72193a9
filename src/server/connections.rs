//! The connections of one port: how many, how long, and how they end.
//!
//! A connection is bounded before it has said anything (handshake, first head), between requests (idle), in number, in streams and
//! in age: an old one is asked to end, by HTTP/2's GOAWAY, so that a client which keeps one open finds other replicas. When the
//! server ends, idle and half-read connections are closed at once and those whose request is being handled are waited for. Nothing
//! here reads a body or knows what is asked; a handler says with [`Activity::read`] that it reads.
//!
//! Where there are as many as may be, a new connection is not the one to go, because whoever fills a port with silence would shut it:
//! the oldest that never got an answer goes, or else the one whose last answer is the longest ago. One that waits for an answer stays.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificate;

/// Bytes of the header fields of one request.
const HEADER_BYTES: u32 = 16 << 10;
/// Bytes that an HTTP/2 peer may send before a handler reads them, over all streams of a connection.
const WINDOW_BYTES: u32 = 512 << 10;
/// How long a connection that was asked to end, and handles nothing, may take for what is still on its way.
const LINGER: Duration = Duration::from_secs(2);
/// How long nothing is accepted after accepting failed, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much of everything one port grants.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections; for one more, the least wanted is closed.
    pub connections: usize,
    /// HTTP/2 streams of one connection.
    pub streams: u32,
    /// Bodies of one connection that are read at once; the others wait, within their time.
    pub bodies: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for the head of a connection's first request.
    pub head: Duration,
    /// Time for the body of a request, within the deadline of its review.
    pub body: Duration,
    /// How long a connection may handle nothing.
    pub idle: Duration,
    /// Age at which a connection is asked to end; up to a quarter more or less.
    pub age: Duration,
    /// How often certificate files are looked at.
    pub certificate_poll: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 128,
            bodies: 16,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            age: Duration::from_mins(5),
            certificate_poll: Duration::from_secs(30),
        }
    }
}

/// What a connection is at.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    load: Arc<watch::Sender<Load>>,
    /// Places to read bodies in.
    reading: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Load {
    /// Requests that are being handled.
    at_work: usize,
    /// Those of them whose body is not here yet.
    unread: usize,
    /// When a request was last answered as it wanted.
    answered: Option<Instant>,
}

/// A request that is being handled.
#[derive(Debug)]
struct AtWork(Activity);

/// A request whose body is read, or waits for that.
#[derive(Debug)]
pub(super) struct Unread<'a>(&'a Activity, Option<SemaphorePermit<'a>>);

impl Activity {
    fn new(bounds: &Bounds) -> Self {
        Self { load: Arc::default(), reading: Arc::new(Semaphore::new(bounds.bodies)) }
    }

    /// Counts a request until what is returned is dropped.
    fn enter(&self) -> AtWork {
        self.load.send_modify(|load| load.at_work += 1);
        AtWork(self.clone())
    }

    /// Waits until few enough bodies of this connection are read, and counts as one until what is returned is dropped.
    pub(super) async fn read(&self) -> Unread<'_> {
        self.load.send_modify(|load| load.unread += 1);
        let mut unread = Unread(self, None);
        // Never closed, so there always is one.
        unread.1 = self.reading.acquire().await.ok();
        unread
    }

    /// How much a connection is wanted, the least first: those that were never answered by age, then the others by their last
    /// answer. None: it waits for an answer, to a request that is here as a whole.
    fn worth(&self, opened: Instant) -> Option<(bool, Instant)> {
        let load = self.load.borrow();
        (load.at_work <= load.unread).then(|| load.answered.map_or((false, opened), |answered| (true, answered)))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.load.send_modify(|load| load.at_work = load.at_work.saturating_sub(1));
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.0.load.send_modify(|load| load.unread = load.unread.saturating_sub(1));
    }
}

/// Around every handler.
async fn handle(State(activity): State<Activity>, request: Request, next: Next) -> Response {
    let at_work = activity.enter();
    let response = next.run(request).await;
    if response.status().is_success() {
        at_work.0.load.send_modify(|load| load.answered = Some(Instant::now()));
    }
    response
}

/// A port.
pub(super) struct Port {
    /// Where connections come in.
    pub(super) listener: TcpListener,
    /// None: plain HTTP.
    pub(super) certificate: Option<Arc<ArcSwap<Certificate>>>,
    /// What answers.
    pub(super) router: Router,
    /// Its bounds.
    pub(super) bounds: Bounds,
}

impl Port {
    /// Serves until `end` turns true, and then until what is being handled is answered.
    pub(super) async fn serve(self, mut end: watch::Receiver<bool>) {
        let Self { listener, certificate, router, bounds } = self;
        let bounds = Arc::new(bounds);
        // The set owns its tasks: dropping it ends them.
        let mut connections = JoinSet::new();
        let mut open = HashMap::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = end.wait_for(|end| *end) => break,
                Some(ended) = connections.join_next_with_id() => {
                    open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if open.len() >= bounds.connections {
                // Dropping the stream closes it.
                let Some(id) = least_wanted(&open) else { continue };
                open.remove(&id).inspect(|least| least.task.abort());
            }
            let (activity, opened) = (Activity::new(&bounds), Instant::now());
            let connection = Connection {
                router: router.clone(),
                bounds: Arc::clone(&bounds),
                activity: activity.clone(),
                end: end.clone(),
            };
            let certificate = certificate.as_ref().map(|certificate| certificate.load_full());
            let task = connections.spawn(connection.run(stream, certificate));
            open.insert(task.id(), Open { activity, opened, task });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// A connection as its port sees it.
struct Open {
    activity: Activity,
    opened: Instant,
    task: AbortHandle,
}

/// The connection to close for a new one. None: all wait for an answer.
fn least_wanted(open: &HashMap<Id, Open>) -> Option<Id> {
    let worth = open.iter().filter_map(|(id, open)| Some((open.activity.worth(open.opened)?, *id)));
    worth.min_by_key(|(worth, _)| *worth).map(|(_, id)| id)
}

struct Connection {
    router: Router,
    bounds: Arc<Bounds>,
    activity: Activity,
    end: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, certificate: Option<Arc<Certificate>>) {
        // Answers are small and wait for nothing.
        let _ = stream.set_nodelay(true);
        let Some(certificate) = certificate else { return self.serve(stream).await };
        let handshake = TlsAcceptor::from(certificate.config()).accept(stream);
        let accepted = tokio::select! {
            biased;
            _ = self.end.wait_for(|end| *end) => return,
            accepted = tokio::time::timeout(self.bounds.handshake, handshake) => accepted,
        };
        // Whoever does not finish a handshake is told nothing and not worth a line.
        if let Ok(Ok(stream)) = accepted {
            self.serve(stream).await;
        }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let activity = self.activity.clone();
        let mut active = activity.load.subscribe();
        let router = self.router.clone().layer(Extension(activity.clone()));
        let router = router.layer(from_fn_with_state(activity, handle));
        let builder = builder(&self.bounds);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(connection);
        let old = Instant::now() + jittered(self.bounds.age);
        let (mut idle_since, mut was_active, mut ending) = (Instant::now(), false, false);
        loop {
            let is_active = active.borrow_and_update().at_work > 0;
            was_active |= is_active;
            let idle_until = idle_since + self.idle_limit(was_active, ending);
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                _ = active.changed() => idle_since = Instant::now(),
                () = told_to_end(&mut self.end, old), if !ending => {
                    ending = true;
                    idle_since = Instant::now();
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(idle_until), if !is_active => return,
            }
        }
    }

    /// How long the connection may handle nothing.
    fn idle_limit(&self, was_active: bool, ending: bool) -> Duration {
        let usual = if was_active { self.bounds.idle } else { self.bounds.head };
        if ending { usual.min(LINGER) } else { usual }
    }
}

/// Waits until the server ends or the connection is old.
async fn told_to_end(end: &mut watch::Receiver<bool>, old: Instant) {
    tokio::select! {
        _ = end.wait_for(|end| *end) => {}
        () = tokio::time::sleep_until(old) => {}
    }
}

fn builder(bounds: &Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .keep_alive_interval(bounds.idle / 3)
        .keep_alive_timeout(bounds.handshake);
    builder
}

/// The duration, up to a quarter more or less, so that replicas do not end their connections together.
fn jittered(duration: Duration) -> Duration {
    let spread = u32::try_from(RandomState::new().hash_one(0_u8) % 501).unwrap_or_default();
    duration * (750 + spread) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_quarter_at_most() {
        let minutes = Duration::from_mins(5);
        let ages: Vec<Duration> = (0..100).map(|_| jittered(minutes)).collect();
        assert!(ages.iter().all(|age| (Duration::from_secs(225)..=Duration::from_secs(375)).contains(age)));
        assert!(ages.iter().any(|age| *age != ages[0]));
    }
}
