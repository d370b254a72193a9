//! The HTTPS server over a real socket: what it answers when it is not ready, too busy, or sent nonsense.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign::admission::NamespaceLookup;
use countersign::judge::Judge;
use countersign::policy::{Snapshot, Unmatched};
use countersign::registry::{Limits, Sources};
use countersign::server::{ServerSettings, Snapshots, serve};
use countersign::trust::TrustRoots;
use serde_json::{Value, json};

/// A cluster with no policies, which is ready when the test says so.
#[derive(Default)]
struct Cluster {
    ready: AtomicBool,
}

impl NamespaceLookup for Cluster {
    async fn labels(&self, _name: &str) -> Option<BTreeMap<String, String>> {
        None
    }
}

impl Snapshots for Cluster {
    fn snapshot(&self) -> Result<Arc<Snapshot>, String> {
        self.ready()?;
        Ok(Arc::new(Snapshot::new(TrustRoots::default(), Unmatched::Allow)))
    }

    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Relaxed) { Ok(()) } else { Err("nothing listed yet".to_owned()) }
    }
}

struct Server {
    cluster: Arc<Cluster>,
    client: reqwest::Client,
    webhook: String,
    probes: String,
}

/// Runs a test against a server of its own.
async fn with_server<F: Future<Output = ()>>(concurrency: usize, test: impl FnOnce(Server) -> F) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let root = reqwest::Certificate::from_pem(certified.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    let (webhook, probes) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let cluster = Arc::new(Cluster::default());
    let server = Server {
        cluster: Arc::clone(&cluster),
        client,
        webhook: format!("https://localhost:{}/validate", webhook.local_addr().unwrap().port()),
        probes: format!("http://{}", probes.local_addr().unwrap()),
    };
    let settings = ServerSettings {
        tls_certificate: certificate,
        tls_key: key,
        timeout: Duration::from_secs(5),
        concurrency,
        drain_delay: Duration::from_secs(1),
    };
    let judge = Judge::new(Sources { layouts: Vec::new(), registry: None }, Limits::default());
    let now = || "2026-01-01T00:00:00Z".parse().unwrap();
    tokio::select! {
        ended = serve(settings, webhook, probes, judge, cluster, now) => ended.unwrap(),
        () = test(server) => {}
    }
}

impl Server {
    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = self.client.post(&self.webhook).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.probes)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

fn review() -> String {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "ghcr.io/a/b:1"}]}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "namespace": "n",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "object": pod}})
    .to_string()
}

#[tokio::test]
async fn nothing_is_judged_before_there_is_something_to_judge_by() {
    with_server(8, async |server| {
        assert_eq!(server.get("/livez").await.0, 200);
        assert_eq!(server.get("/readyz").await.0, 503);
        assert_eq!(server.post(review()).await.0, 503);
        server.cluster.ready.store(true, Ordering::Relaxed);
        assert_eq!(server.get("/readyz").await.0, 200);
        let (status, answer) = server.post(review()).await;
        assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(true)), "{answer}");
        let (_, metrics) = server.get("/metrics").await;
        for line in [
            r#"countersign_admission_reviews_total{result="NotReady"} 1"#,
            r#"countersign_admission_reviews_total{result="Allow"} 1"#,
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
    })
    .await;
}

#[tokio::test]
async fn nonsense_is_denied_or_refused_and_never_allowed() {
    with_server(8, async |server| {
        server.cluster.ready.store(true, Ordering::Relaxed);
        let truncated = review()[..80].to_owned();
        for body in [String::new(), "{}".to_owned(), "null".to_owned(), "[".repeat(100_000), truncated] {
            let (status, answer) = server.post(body).await;
            assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(false)), "{answer}");
        }
        assert_eq!(server.post(vec![b' '; 9 << 20]).await.0, 413);
        let other = server.client.get(&server.webhook).send().await.unwrap().status().as_u16();
        assert_eq!(other, 405);
        let twice = format!("{}?timeout=1s&timeout=2s", server.webhook);
        let answer = server.client.post(twice).body(review()).send().await.unwrap();
        assert!(!answer.status().is_success(), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn too_many_at_once_are_sent_away_for_a_moment() {
    // With no slot at all every review is one too many.
    with_server(0, async |server| {
        server.cluster.ready.store(true, Ordering::Relaxed);
        let answer = server.client.post(&server.webhook).body(review()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 429);
        assert_eq!(answer.headers()["retry-after"], "1");
    })
    .await;
}
