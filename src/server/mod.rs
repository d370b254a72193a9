//! The HTTPS server of the webhook, and a second port for probes and metrics.
//!
//! Bounds what comes in (connections, bytes, requests at once, time) and hands the rest to `admission`. While there is nothing to judge
//! by it answers 503 and lets the API server's `failurePolicy` deny.
//!
//! A review passes these, in this order, and is sent away where one has no room: a connection, a place among those of its connection
//! whose body is read (`connections`), bytes for its body, a slot to be judged (`slots`). It never waits for an earlier one while it
//! holds a later one. What is shared by all connections is taken by what has come and not by what may come, so that a client which
//! opens requests and is silent stands in its own way only. Probes and metrics have a port, connections and nothing else.

mod certificates;
mod connections;
mod slots;
mod timeout;

use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use self::certificates::{Certificate, Paths};
use self::connections::{Activity, Port};
use self::slots::Slots;
use crate::admission::{self, Answered, Decided, NamespaceLookup};
use crate::configuration::{self, ConfigurationAnswer, References};
use crate::judge::Judge;
use crate::policy::Snapshot;
use crate::registry::ImageSource;
use crate::telemetry::{ConfigurationResult, Metrics, ReviewResult};

pub use certificates::CertificateError;
pub use connections::Bounds;

/// Bytes of one review: the API server takes objects of 3 MiB, and a review holds two.
const BODY_LIMIT: u64 = 8 << 20;
/// Bytes of all reviews together, from when they come until they are answered.
const BODIES_LIMIT: u64 = 64 << 20;
/// Bytes of a permit.
const PERMIT_BYTES: u64 = 1 << 10;
/// How long a review may wait for a slot: half of its time, and no longer than this. So long may its body wait for memory, too.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long the end waits for reviews that are judged: the longest time that a review may have.
const LONGEST_DRAIN: Duration = Duration::from_secs(30);

/// Where snapshots come from: the seam to `cluster`.
pub trait Snapshots: NamespaceLookup + References + 'static {
    /// The snapshot of this moment, or why there is none.
    fn snapshot(&self) -> Result<Arc<Snapshot>, String>;
    /// Whether requests should come here, or why not.
    fn ready(&self) -> Result<(), String>;
    /// How many policies were in force when there last was a snapshot, and how many did not parse.
    fn policy_counts(&self) -> (usize, usize);
    /// Puts down what else is worth counting, whenever somebody asks for the metrics.
    fn observe(&self, _metrics: &Metrics) {}
}

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The certificate chain, PEM; read again when it changes.
    pub tls_certificate: PathBuf,
    /// The private key, PEM.
    pub tls_key: PathBuf,
    /// The authorities of which clients of the webhook's port must have a certificate, PEM; read again when it changes. None: clients
    /// are not asked for one.
    pub client_authorities: Option<PathBuf>,
    /// Time for a review that names none.
    pub timeout: Duration,
    /// Reviews judged at once. As many more may wait; others are sent away with 429.
    pub concurrency: usize,
    /// How long requests are still taken after the end was announced.
    pub drain_delay: Duration,
    /// The bounds of connections.
    pub bounds: Bounds,
}

/// The two sockets of the server.
#[derive(Debug)]
pub struct Sockets {
    /// Where the API server calls, over TLS.
    pub webhook: TcpListener,
    /// Where probes and metrics are asked for, over plain HTTP.
    pub probes: TcpListener,
}

struct App<S, C> {
    judge: Judge<S>,
    cluster: Arc<C>,
    metrics: Metrics,
    certificate: Arc<ArcSwap<Certificate>>,
    /// Memory for bodies.
    bodies: Semaphore,
    slots: Arc<Slots>,
    timeout: Duration,
    body_timeout: Duration,
    ending: AtomicBool,
    /// True once no request is taken any more.
    end: watch::Receiver<bool>,
    now: fn() -> jiff::Timestamp,
}

/// The API server's own deadline, as it tells it.
#[derive(Deserialize)]
struct Parameters {
    timeout: Option<String>,
}

/// Serves until `told_to_end` is done, then drains.
///
/// # Errors
/// Certificates that do not load, or a socket that fails.
pub async fn serve<S: ImageSource + 'static, C: Snapshots>(
    settings: ServerSettings,
    sockets: Sockets,
    judge: Judge<S>,
    cluster: Arc<C>,
    now: fn() -> jiff::Timestamp,
    told_to_end: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let ServerSettings { tls_certificate, tls_key, client_authorities, timeout, concurrency, drain_delay, bounds } =
        settings;
    let paths = Paths { chain: tls_certificate, key: tls_key, client_authorities };
    let certificate = Arc::new(ArcSwap::from_pointee(Certificate::load(&paths).await?));
    let (end, ended) = watch::channel(false);
    let app = Arc::new(App {
        judge,
        cluster,
        metrics: Metrics::default(),
        certificate: Arc::clone(&certificate),
        bodies: Semaphore::new(usize::try_from(BODIES_LIMIT / PERMIT_BYTES).unwrap_or(usize::MAX)),
        slots: Slots::new(concurrency),
        timeout,
        body_timeout: bounds.body,
        ending: AtomicBool::new(false),
        end: ended.clone(),
        now,
    });
    let reviews = Router::new()
        .route("/validate", post(validate::<S, C>))
        .route("/configuration", post(configure::<S, C>))
        .with_state(Arc::clone(&app));
    let observed = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready::<S, C>))
        .route("/metrics", get(metrics::<S, C>))
        .with_state(Arc::clone(&app));
    let poll = bounds.certificate_poll;
    let probe_bounds = Bounds::default();
    let webhook = Port {
        listener: listener(sockets.webhook)?,
        certificate: Some(Arc::clone(&certificate)),
        router: reviews,
        bounds,
    };
    let probes =
        Port { listener: listener(sockets.probes)?, certificate: None, router: observed, bounds: probe_bounds };
    // Probes are answered to the very end: nobody tells them.
    let (_never, probes_end) = watch::channel(false);
    let drained = async {
        told_to_end.await;
        tracing::info!("ending: not ready any more, draining");
        app.ending.store(true, Ordering::Relaxed);
        tokio::time::sleep(drain_delay).await;
        // Those who still listen are connections and the accept loop below.
        let _ = end.send(true);
        tokio::time::sleep(LONGEST_DRAIN).await;
        tracing::warn!("ending with reviews unanswered");
    };
    tokio::select! {
        () = webhook.serve(ended) => Ok(()),
        () = probes.serve(probes_end) => Ok(()),
        never = certificates::follow(&certificate, &paths, poll) => match never {},
        () = drained => Ok(()),
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A socket.
    #[error("a socket cannot be used: {0}")]
    Socket(#[from] std::io::Error),
}

fn listener(socket: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

/// Done when the process is told to end by SIGTERM or SIGINT.
pub async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn validate<S: ImageSource + 'static, C: Snapshots>(
    State(app): State<Arc<App<S, C>>>,
    Query(parameters): Query<Parameters>,
    Extension(activity): Extension<Activity>,
    body: Body,
) -> Response {
    // A panic would tell the caller nothing, and could take along what else is judged on its connection. What outlives a review is
    // counts and memory that are used on whatever happened.
    let answered = AssertUnwindSafe(app.review(parameters.timeout.as_deref(), body, &activity)).catch_unwind().await;
    answered.unwrap_or(Err(TurnedAway::Panicked)).unwrap_or_else(|turned_away| {
        match turned_away {
            TurnedAway::Shed => app.metrics.count(ReviewResult::Shed),
            TurnedAway::NotReady(_) => app.metrics.count(ReviewResult::NotReady),
            TurnedAway::Panicked => {
                tracing::error!("a review was broken off by a panic, which is a bug; it is not allowed");
                app.metrics.count(ReviewResult::Panicked);
            }
            TurnedAway::Broken | TurnedAway::Ending | TurnedAway::Slow | TurnedAway::TooLarge => {}
        }
        turned_away.into_response()
    })
}

async fn configure<S: ImageSource + 'static, C: Snapshots>(
    State(app): State<Arc<App<S, C>>>,
    Query(parameters): Query<Parameters>,
    Extension(activity): Extension<Activity>,
    body: Body,
) -> Response {
    let judged = app.judge_configuration(parameters.timeout.as_deref(), body, &activity);
    let answered = AssertUnwindSafe(judged).catch_unwind().await;
    answered.unwrap_or(Err(TurnedAway::Panicked)).unwrap_or_else(|turned_away| {
        match turned_away {
            TurnedAway::Shed => app.metrics.configured(ConfigurationResult::Shed),
            TurnedAway::Panicked => {
                tracing::error!(
                    "a review of our own kinds was broken off by a panic, which is a bug; it is not allowed"
                );
                app.metrics.configured(ConfigurationResult::Panicked);
            }
            _ => {}
        }
        turned_away.into_response()
    })
}

/// A request that is not answered with a review.
enum TurnedAway {
    /// Its body broke off.
    Broken,
    /// The server ends, and the request is not complete.
    Ending,
    /// There is nothing to judge by.
    NotReady(String),
    /// We have a bug. The API server takes it for a failure.
    Panicked,
    /// Too much at once. The API server takes it for a failure, and its clients try again.
    Shed,
    /// Its body took too long.
    Slow,
    /// Its body is too long.
    TooLarge,
}

impl IntoResponse for TurnedAway {
    fn into_response(self) -> Response {
        match self {
            Self::Broken => StatusCode::BAD_REQUEST.into_response(),
            Self::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending").into_response(),
            Self::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::Shed => {
                let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
                (retry, StatusCode::TOO_MANY_REQUESTS).into_response()
            }
            Self::Slow => StatusCode::REQUEST_TIMEOUT.into_response(),
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        }
    }
}

impl<S: ImageSource + 'static, C: Snapshots> App<S, C> {
    /// The answer to a review, or to whoever is sent away.
    async fn review(&self, timeout: Option<&str>, body: Body, activity: &Activity) -> Result<Response, TurnedAway> {
        let started = Instant::now();
        let deadline = started + timeout::budget(timeout, self.timeout);
        // Asked before anything is read, and again for what is judged by.
        self.snapshot()?;
        let (body, bytes) = self.read(body, deadline.min(started + self.body_timeout), activity).await?;
        let answered = match admission::decode(&body) {
            Ok(review) => {
                drop(body);
                let wait = (deadline.saturating_duration_since(Instant::now()) / 2).min(LONGEST_WAIT);
                let slot = self.slots.acquire(review.namespace(), Instant::now() + wait).await;
                let _slot = slot.ok_or(TurnedAway::Shed)?;
                let snapshot = self.snapshot()?;
                // Boxed, so that requests which are silent do not hold the memory that judging one takes.
                Box::pin(review.answer(&self.judge, &snapshot, &*self.cluster, (self.now)(), deadline)).await
            }
            Err(denied) => *denied,
        };
        drop(bytes);
        let took = started.elapsed();
        self.metrics.judged(answered.decided.as_ref().map(|decided| &decided.decision), took);
        log(&answered, took);
        Ok(axum::Json(answered.response).into_response())
    }

    /// The answer to a review of one of our own kinds. Unlike other reviews it needs nothing to judge by, so that what is wrong can be
    /// mended whatever the state of this replica.
    async fn judge_configuration(
        &self,
        timeout: Option<&str>,
        body: Body,
        activity: &Activity,
    ) -> Result<Response, TurnedAway> {
        let started = Instant::now();
        let deadline = started + timeout::budget(timeout, self.timeout);
        let (body, bytes) = self.read(body, deadline.min(started + self.body_timeout), activity).await?;
        let wait = (deadline.saturating_duration_since(Instant::now()) / 2).min(LONGEST_WAIT);
        // Objects of the cluster are of no namespace, and wait among themselves.
        let slot = self.slots.acquire("", Instant::now() + wait).await;
        let _slot = slot.ok_or(TurnedAway::Shed)?;
        let answer: ConfigurationAnswer = configuration::answer(&body, &*self.cluster);
        drop(bytes);
        let result = if answer.allowed() { ConfigurationResult::Allow } else { ConfigurationResult::Deny };
        self.metrics.configured(result);
        let (allowed, kind) = (answer.allowed(), answer.about());
        tracing::info!(?kind, allowed, answer = answer.message(), "reviewed an object of ours");
        Ok(axum::Json(answer).into_response())
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, TurnedAway> {
        self.cluster.snapshot().map_err(TurnedAway::NotReady)
    }

    /// The whole body, and the memory that it is in.
    async fn read(
        &self,
        body: Body,
        until: Instant,
        activity: &Activity,
    ) -> Result<(Vec<u8>, SemaphorePermit<'_>), TurnedAway> {
        if body.size_hint().lower() > BODY_LIMIT {
            return Err(TurnedAway::TooLarge);
        }
        let mut end = self.end.clone();
        let read = async {
            let _reading = activity.read().await;
            self.collect(body).await
        };
        tokio::select! {
            read = tokio::time::timeout_at(until, read) => read.unwrap_or(Err(TurnedAway::Slow)),
            // Half a request is nothing to finish.
            _ = end.wait_for(|end| *end) => Err(TurnedAway::Ending),
        }
    }

    /// Takes memory for what has come and never for what was announced, so that silence costs nothing.
    async fn collect(&self, body: Body) -> Result<(Vec<u8>, SemaphorePermit<'_>), TurnedAway> {
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut memory = self.bodies.try_acquire_many(0).map_err(|_closed| TurnedAway::Shed)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_broken| TurnedAway::Broken)?;
            let length = u64::try_from(bytes.len() + chunk.len()).unwrap_or(u64::MAX);
            if length > BODY_LIMIT {
                return Err(TurnedAway::TooLarge);
            }
            let permits = usize::try_from(length.div_ceil(PERMIT_BYTES)).unwrap_or(usize::MAX);
            let missing = u32::try_from(permits.saturating_sub(memory.num_permits())).unwrap_or(u32::MAX);
            // Those who wait hold what they have: whoever waits too long gives it to the others.
            let room = tokio::time::timeout(LONGEST_WAIT, self.bodies.acquire_many(missing)).await;
            let Ok(Ok(room)) = room else { return Err(TurnedAway::Shed) };
            memory.merge(room);
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, memory))
    }
}

/// One line a review, from its end.
fn log(answered: &Answered, took: Duration) {
    let (allowed, answer) = (answered.response.allowed(), answered.response.message());
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if let Some(Decided { uid, kind, namespace, name, dry_run, .. }) = &answered.decided {
        tracing::info!(uid, kind, namespace, name, dry_run, allowed, took_ms, answer, "reviewed");
    } else {
        tracing::warn!(allowed, took_ms, answer, "a review could not be decoded");
    }
}

async fn ready<S: ImageSource + 'static, C: Snapshots>(State(app): State<Arc<App<S, C>>>) -> (StatusCode, String) {
    if app.ending.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending".to_owned());
    }
    match app.certificate.load().check((app.now)()).and_then(|()| app.cluster.ready()) {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

async fn metrics<S: ImageSource + 'static, C: Snapshots>(State(app): State<Arc<App<S, C>>>) -> Response {
    app.metrics.remembered(&app.judge.store().readings());
    app.cluster.observe(&app.metrics);
    let text = app.metrics.render(app.cluster.policy_counts());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
