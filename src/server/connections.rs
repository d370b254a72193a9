//! The connections of one port: how many, how long, and how they end.
//!
//! A connection is bounded before it has said anything (handshake, first head), between requests (idle), in number, in streams and
//! in age: an old one is asked to end, by HTTP/2's GOAWAY, so that a client which keeps one open finds other replicas. When the
//! server ends, idle and half-read connections are closed at once and those whose request is being handled are waited for. Nothing
//! here reads a body or knows what is asked; a handler says with [`Activity::enter`] that it is at work, and with
//! [`Activity::read`] that it reads.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
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
    /// Connections; more are closed as soon as they come.
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
    /// The same while there are as many connections as are granted.
    pub idle_when_full: Duration,
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
            idle_when_full: Duration::from_secs(5),
            age: Duration::from_mins(5),
            certificate_poll: Duration::from_secs(30),
        }
    }
}

/// What a connection is at.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    at_work: Arc<watch::Sender<usize>>,
    /// Places to read bodies in.
    reading: Arc<Semaphore>,
}

/// A request that is being handled.
#[derive(Debug)]
pub(super) struct AtWork(Activity);

impl Activity {
    fn new(bounds: &Bounds) -> Self {
        Self { at_work: Arc::default(), reading: Arc::new(Semaphore::new(bounds.bodies)) }
    }

    /// Counts a request until the answer is dropped.
    pub(super) fn enter(&self) -> AtWork {
        self.at_work.send_modify(|active| *active += 1);
        AtWork(self.clone())
    }

    /// Waits until few enough bodies of this connection are read, and counts as one until the answer is dropped.
    pub(super) async fn read(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so there always is one.
        self.reading.acquire().await.ok()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|active| *active = active.saturating_sub(1));
    }
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
        let places = Arc::new(Semaphore::new(bounds.connections));
        // The set owns its tasks: dropping it ends them.
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = end.wait_for(|end| *end) => break,
                Some(_) = connections.join_next() => continue,
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
            // Dropping the stream closes it.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let connection = Connection {
                router: router.clone(),
                bounds: Arc::clone(&bounds),
                places: Arc::clone(&places),
                end: end.clone(),
                _place: place,
            };
            let certificate = certificate.as_ref().map(|certificate| certificate.load_full());
            connections.spawn(connection.run(stream, certificate));
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

struct Connection {
    router: Router,
    bounds: Arc<Bounds>,
    places: Arc<Semaphore>,
    end: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
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
        let activity = Activity::new(&self.bounds);
        let mut active = activity.at_work.subscribe();
        let router = self.router.clone().layer(Extension(activity));
        let builder = builder(&self.bounds);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(connection);
        let old = Instant::now() + jittered(self.bounds.age);
        let (mut idle_since, mut was_active, mut ending) = (Instant::now(), false, false);
        loop {
            let is_active = *active.borrow_and_update() > 0;
            was_active |= is_active;
            // Looked at again when the port may have filled up meanwhile.
            let look =
                (idle_since + self.idle_limit(was_active, ending)).min(Instant::now() + self.bounds.idle_when_full);
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                _ = active.changed() => idle_since = Instant::now(),
                () = told_to_end(&mut self.end, old), if !ending => {
                    ending = true;
                    idle_since = Instant::now();
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(look), if !is_active => {
                    if idle_since.elapsed() >= self.idle_limit(was_active, ending) {
                        return;
                    }
                }
            }
        }
    }

    /// How long the connection may handle nothing.
    fn idle_limit(&self, was_active: bool, ending: bool) -> Duration {
        let usual = if was_active { self.bounds.idle } else { self.bounds.head };
        if ending {
            usual.min(LINGER)
        } else if self.places.available_permits() == 0 {
            usual.min(self.bounds.idle_when_full)
        } else {
            usual
        }
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
