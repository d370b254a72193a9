//! The HTTPS server of the webhook, and a second port for probes and metrics.
//!
//! Bounds what comes in (bytes, requests at once, time) and hands the rest to `admission`. While there is nothing to judge by it
//! answers 503 and lets the API server's `failurePolicy` deny.

mod timeout;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::admission::{self, Answered, Decided, NamespaceLookup};
use crate::judge::Judge;
use crate::policy::Snapshot;
use crate::registry::ImageSource;
use crate::telemetry::{Metrics, ReviewResult};

/// Bytes of one review: the API server takes objects of 3 MiB, and a review holds two.
const BODY_LIMIT: usize = 8 << 20;
/// How often certificate files are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(30);

/// Where snapshots come from: the seam to `cluster`.
pub trait Snapshots: NamespaceLookup + 'static {
    /// The snapshot of this moment, or why there is none.
    fn snapshot(&self) -> Result<Arc<Snapshot>, String>;
    /// Whether requests should come here, or why not.
    fn ready(&self) -> Result<(), String>;
}

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The certificate chain, PEM; read again when it changes.
    pub tls_certificate: PathBuf,
    /// The private key, PEM.
    pub tls_key: PathBuf,
    /// Time for a review that names none.
    pub timeout: Duration,
    /// Reviews at once; more are sent away with 429.
    pub concurrency: usize,
    /// How long requests are still taken after the end was announced.
    pub drain_delay: Duration,
}

struct App<S, C> {
    judge: Judge<S>,
    cluster: Arc<C>,
    metrics: Metrics,
    slots: Semaphore,
    timeout: Duration,
    ending: AtomicBool,
    now: fn() -> jiff::Timestamp,
}

/// The API server's own deadline, as it tells it.
#[derive(Deserialize)]
struct Parameters {
    timeout: Option<String>,
}

/// Serves until the process is told to end, then drains.
///
/// # Errors
/// Certificates that do not load, or a socket that fails.
pub async fn serve<S: ImageSource + 'static, C: Snapshots>(
    settings: ServerSettings,
    webhook: TcpListener,
    probes: TcpListener,
    judge: Judge<S>,
    cluster: Arc<C>,
    now: fn() -> jiff::Timestamp,
) -> std::io::Result<()> {
    let ServerSettings { tls_certificate, tls_key, timeout, concurrency, drain_delay } = settings;
    let slots = Semaphore::new(concurrency);
    let app = Arc::new(App {
        judge,
        cluster,
        metrics: Metrics::default(),
        slots,
        timeout,
        ending: AtomicBool::new(false),
        now,
    });
    let tls = RustlsConfig::from_pem_file(&tls_certificate, &tls_key).await?;
    let handle = Handle::new();
    let reviews = Router::new()
        .route("/validate", post(validate::<S, C>))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::clone(&app));
    let observed = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready::<S, C>))
        .route("/metrics", get(metrics::<S, C>))
        .with_state(Arc::clone(&app));
    webhook.set_nonblocking(true)?;
    probes.set_nonblocking(true)?;
    let webhook = axum_server::from_tcp_rustls(webhook, tls.clone())?.handle(handle.clone());
    let probes = axum_server::from_tcp(probes)?;
    tokio::select! {
        ended = webhook.serve(reviews.into_make_service()) => ended,
        ended = probes.serve(observed.into_make_service()) => ended,
        () = reload(tls, tls_certificate, tls_key) => Ok(()),
        () = drain(&app.ending, drain_delay, &handle) => Ok(()),
    }
}

/// Waits for the signal to end, turns unready, keeps serving while others notice, and lets what runs finish.
async fn drain(ending: &AtomicBool, delay: Duration, handle: &Handle<std::net::SocketAddr>) {
    terminated().await;
    tracing::info!("ending: not ready any more, draining");
    ending.store(true, Ordering::Relaxed);
    tokio::time::sleep(delay).await;
    handle.graceful_shutdown(Some(Duration::from_secs(30)));
    while handle.connection_count() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn terminated() {
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

/// Reads the certificate again when a file changes. A pair that does not load is logged, and the old one stays.
async fn reload(tls: RustlsConfig, certificate: PathBuf, key: PathBuf) {
    let modified = async || {
        let of = async |path: &PathBuf| tokio::fs::metadata(path).await.and_then(|found| found.modified()).ok();
        (of(&certificate).await, of(&key).await)
    };
    let mut seen = modified().await;
    loop {
        tokio::time::sleep(CERTIFICATE_POLL).await;
        let found = modified().await;
        if found == seen {
            continue;
        }
        match tls.reload_from_pem_file(&certificate, &key).await {
            Ok(()) => {
                tracing::info!("certificate loaded again");
                seen = found;
            }
            Err(error) => tracing::warn!(%error, "the changed certificate does not load; keeping the old one"),
        }
    }
}

async fn validate<S: ImageSource + 'static, C: Snapshots>(
    State(app): State<Arc<App<S, C>>>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    let started = Instant::now();
    let Ok(_slot) = app.slots.try_acquire() else {
        app.metrics.count(ReviewResult::Shed);
        return ([(header::RETRY_AFTER, HeaderValue::from_static("1"))], StatusCode::TOO_MANY_REQUESTS).into_response();
    };
    let snapshot = match app.cluster.snapshot() {
        Ok(snapshot) => snapshot,
        Err(reason) => {
            app.metrics.count(ReviewResult::NotReady);
            return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
        }
    };
    let deadline = started + timeout::budget(parameters.timeout.as_deref(), app.timeout);
    let answered = admission::answer(&app.judge, &snapshot, &*app.cluster, &body, (app.now)(), deadline).await;
    let took = started.elapsed();
    app.metrics.judged(answered.decided.as_ref().map(|decided| &decided.decision), took);
    log(&answered, took);
    axum::Json(answered.response).into_response()
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
    match app.cluster.ready() {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

async fn metrics<S: ImageSource + 'static, C: Snapshots>(State(app): State<Arc<App<S, C>>>) -> Response {
    let policies = app.cluster.snapshot().map_or((0, 0), |snapshot| snapshot.policy_counts());
    app.metrics.remembered(&app.judge.store().readings());
    let text = app.metrics.render(policies);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
