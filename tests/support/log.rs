//! A transparency log within the test's process, on a loopback port: it answers as the test says and remembers what it was asked.
//!
//! The address is known before the answers are, because a trust root has to name it. [`honest`] answers with what a Sigstore instance in
//! memory signs.

#![allow(dead_code, reason = "each test crate uses another part")]
#![expect(clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Bytes of a question.
const QUESTION_BYTES: usize = 64 << 10;

/// A question that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) target: String,
    pub(crate) body: Value,
}

/// What becomes of a question.
pub(crate) enum Reply {
    Now(Response<Body>),
    Never,
}

pub(crate) fn reply(status: u16, body: impl Into<Body>) -> Reply {
    Reply::Now(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body.into()).unwrap())
}

/// A bound address at which nobody answers yet.
pub(crate) struct Bound(TcpListener);

impl Bound {
    pub(crate) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Starts to answer.
    #[expect(clippy::disallowed_methods, reason = "the log aborts its task when it is dropped")]
    pub(crate) fn serve(self, answer: impl Fn(&Asked) -> Reply + Clone + Send + Sync + 'static) -> FakeLog {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let handler = move |request: Request<Body>| {
            let (answer, seen) = (answer.clone(), Arc::clone(&seen));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = axum::body::to_bytes(body, QUESTION_BYTES).await.unwrap();
                let one = {
                    let mut seen = seen.lock().unwrap();
                    let one = Asked {
                        number: seen.len(),
                        method: parts.method.to_string(),
                        target: parts.uri.to_string(),
                        body: serde_json::from_slice(&bytes).unwrap_or_default(),
                    };
                    seen.push(one.clone());
                    one
                };
                match answer(&one) {
                    Reply::Now(response) => response,
                    Reply::Never => std::future::pending().await,
                }
            }
        };
        let server = tokio::spawn(async move {
            axum::serve(self.0, Router::new().fallback(handler)).await.unwrap();
        });
        FakeLog { asked, server }
    }
}

/// A log that stops when it is dropped.
pub(crate) struct FakeLog {
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

impl Drop for FakeLog {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeLog {
    /// What it was asked, as method and target.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|one| format!("{} {}", one.method, one.target)).collect()
    }
}
