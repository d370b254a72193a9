//! The HTTPS server over real sockets: what it answers when it is not ready, too busy, sent nonsense or told to end, and what
//! becomes of clients that are slow, many, old or gone.
//!
//! Time limits are made short by `Bounds`; tests wait for what follows and assert no times.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot be set up fails")]

#[path = "support/registry.rs"]
mod support;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign::admission::NamespaceLookup;
use countersign::configuration::References;
use countersign::judge::Judge;
use countersign::policy::{Policy, Snapshot, Unmatched};
use countersign::registry::{Limits, RegistryOptions};
use countersign::revocation::Revocations;
use countersign::server::{Bounds, ServerSettings, Snapshots, Sockets, serve};
use countersign::trust::TrustRoots;
use futures::future::join_all;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;

/// A cluster that is ready when the test says so, with a policy for the images of one registry.
struct Cluster {
    ready: AtomicBool,
    /// Whoever asks for a snapshot finds a bug.
    has_bug: AtomicBool,
    policy: Arc<Policy>,
}

impl NamespaceLookup for Cluster {
    async fn labels(&self, _name: &str) -> Option<BTreeMap<String, String>> {
        None
    }

    fn revocations(&self) -> Option<Revocations> {
        None
    }
}

impl References for Cluster {
    fn delegates_to(&self, _namespace: &str) -> Option<bool> {
        None
    }

    fn has_trust_root(&self, _name: &str) -> Option<bool> {
        None
    }
}

impl Snapshots for Cluster {
    fn snapshot(&self) -> Result<Arc<Snapshot>, String> {
        assert!(!self.has_bug.load(Ordering::Relaxed), "the bug of this test");
        self.ready()?;
        let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Allow);
        Ok(Arc::new(snapshot.with_policies(vec![Arc::clone(&self.policy)], Vec::new())))
    }

    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Relaxed) { Ok(()) } else { Err("nothing listed yet".to_owned()) }
    }

    fn policy_counts(&self) -> (usize, usize) {
        (3, 1)
    }
}

/// How a server is set up.
struct Given {
    concurrency: usize,
    bounds: Bounds,
    not_after: i32,
    /// What `--client-ca` names: PEM.
    client_authorities: Option<String>,
}

impl Default for Given {
    fn default() -> Self {
        Self { concurrency: 8, bounds: Bounds::default(), not_after: 2030, client_authorities: None }
    }
}

struct Server {
    cluster: Arc<Cluster>,
    client: reqwest::Client,
    folder: tempfile::TempDir,
    port: u16,
    probes: String,
    /// A registry that takes connections and says nothing.
    silent: tokio::net::TcpListener,
    end: Arc<Notify>,
}

/// Writes a new certificate and its key.
fn write_certificate(folder: &Path, not_after: i32) -> CertificateDer<'static> {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(not_after, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

/// Runs a test against a server of its own, which must end when it is told to.
async fn with_server<F: Future<Output = ()>>(given: Given, test: impl FnOnce(Server) -> F) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), given.not_after);
    let client = client();
    let client_authorities = given.client_authorities.map(|pem| {
        let path = folder.path().join("client-ca.crt");
        std::fs::write(&path, pem).unwrap();
        path
    });
    let (webhook, probes) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": [format!("{host}/**")], "tags": "Allow", "authorities": [{"name": "a", "keyless": {"trustRoot": "none",
            "identities": [{"issuer": {"exact": "i"}, "subject": {"exact": "s"}}]}}]},
    });
    let policy = Arc::new(Policy::parse(&policy).unwrap());
    let cluster = Arc::new(Cluster { ready: AtomicBool::new(true), has_bug: AtomicBool::new(false), policy });
    let end = Arc::new(Notify::new());
    let settings = ServerSettings {
        tls_certificate: folder.path().join("tls.crt"),
        tls_key: folder.path().join("tls.key"),
        client_authorities,
        timeout: Duration::from_secs(20),
        concurrency: given.concurrency,
        drain_delay: Duration::ZERO,
        bounds: given.bounds,
    };
    let server = Server {
        cluster: Arc::clone(&cluster),
        client,
        folder,
        port: webhook.local_addr().unwrap().port(),
        probes: format!("http://{}", probes.local_addr().unwrap()),
        silent,
        end: Arc::clone(&end),
    };
    // Whoever hangs does so until the test says otherwise.
    let options = RegistryOptions { request_timeout: Duration::from_mins(1), ..support::options(&[host]) };
    let judge = Judge::new(support::client(options), Limits::default());
    let now = || "2026-01-01T00:00:00Z".parse().unwrap();
    let told_to_end = async move { end.notified().await };
    let serve = serve(settings, Sockets { webhook, probes }, judge, cluster, now, told_to_end);
    // Both, so that a test that ends the server waits for it.
    let both = async {
        let test = async {
            let end = Arc::clone(&server.end);
            test(server).await;
            end.notify_one();
        };
        let (ended, ()) = tokio::join!(serve, test);
        ended.unwrap();
    };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("neither test nor server hangs");
}

/// A client with connections of its own.
fn client() -> reqwest::Client {
    reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap()
}

impl Server {
    fn webhook(&self, query: &str) -> String {
        format!("https://localhost:{}/validate{query}", self.port)
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = self.client.post(self.webhook("")).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.probes)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A review of an image whose registry never answers; done once the registry was asked, with the answer still to come.
    async fn hang(&self, namespace: &str, query: &str) -> (TcpStream, impl Future<Output = reqwest::Response> + use<>) {
        let image = format!("{}/app:1", self.silent.local_addr().unwrap());
        let request = self.client.post(self.webhook(query)).body(review(namespace, &image)).send();
        let mut request = Box::pin(async move { request.await.unwrap() });
        tokio::select! {
            answer = &mut request => unreachable!("{answer:?}"),
            asked = self.silent.accept() => (asked.unwrap().0, request),
        }
    }

    /// A TLS connection by hand, and the certificate that came with it.
    async fn connect(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate));
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn served(&self) -> CertificateDer<'static> {
        let stream = self.connect(b"http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// These tests are about what the server serves, and not about trust in it.
#[derive(Debug)]
struct AnyCertificate;

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn review(namespace: &str, image: &str) -> String {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": image}]}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "namespace": namespace,
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "object": pod}})
    .to_string()
}

/// A review of an image that no policy governs, which is allowed.
fn harmless(namespace: &str) -> String {
    review(namespace, "ghcr.io/a/b:1")
}

/// A body that never comes.
fn silence() -> reqwest::Body {
    reqwest::Body::wrap_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>())
}

fn head(length: usize) -> String {
    format!("POST /validate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
}

/// Everything until the other side closes, however it does.
async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer on a connection that stays open.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    while !text.ends_with('}') {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn nothing_is_judged_before_there_is_something_to_judge_by() {
    with_server(Given::default(), async |server| {
        server.cluster.ready.store(false, Ordering::Relaxed);
        assert_eq!(server.get("/livez").await.0, 200);
        assert_eq!(server.get("/readyz").await.0, 503);
        assert_eq!(server.post(harmless("n")).await.0, 503);
        // What is told of policies does not depend on whether they may be judged by.
        assert!(server.get("/metrics").await.1.contains("countersign_policies 3"));
        server.cluster.ready.store(true, Ordering::Relaxed);
        assert_eq!(server.get("/readyz").await.0, 200);
        let (status, answer) = server.post(harmless("n")).await;
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
async fn our_own_kinds_are_judged_whatever_there_is_to_judge_images_by() {
    with_server(Given::default(), async |server| {
        server.cluster.ready.store(false, Ordering::Relaxed);
        let address = server.webhook("").replace("/validate", "/configuration?timeout=5s");
        let post = async |body: Vec<u8>| {
            let answer = server.client.post(&address).body(body).send().await.unwrap();
            (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
        };
        let review = |spec: Value| {
            let object = json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureTrustRoot", "metadata": {"name": "public-good"},
                "spec": spec});
            let kind = json!({"group": "policy.countersign.dev", "version": "v1alpha1", "kind": "SignatureTrustRoot"});
            let request = json!({"uid": "u", "operation": "CREATE", "kind": kind, "object": object});
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string().into_bytes()
        };
        let (status, answer) = post(review(json!({"publicGood": {}}))).await;
        assert_eq!((status, &answer["response"]), (200, &json!({"uid": "u", "allowed": true})));
        let (status, answer) = post(review(json!({"publicGood": {}, "typo": 1}))).await;
        assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(false)));
        assert!(answer["response"]["status"]["message"].as_str().unwrap().contains("typo"), "{answer}");
        assert_eq!(post(b"[".repeat(100_000)).await.1["response"]["allowed"], false);
        assert_eq!(post(vec![b' '; 9 << 20]).await.0, 413);
        let (_, metrics) = server.get("/metrics").await;
        for line in [
            r#"countersign_configuration_reviews_total{result="Allow"} 1"#,
            r#"countersign_configuration_reviews_total{result="Deny"} 2"#,
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
    })
    .await;
}

#[tokio::test]
async fn nonsense_is_denied_or_refused_and_never_allowed() {
    with_server(Given::default(), async |server| {
        let truncated = harmless("n")[..80].to_owned();
        for body in [String::new(), "{}".to_owned(), "null".to_owned(), "[".repeat(100_000), truncated] {
            let (status, answer) = server.post(body).await;
            assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(false)), "{answer}");
        }
        assert_eq!(server.post(vec![b' '; 9 << 20]).await.0, 413);
        let unannounced = futures::stream::iter((0..9).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
        assert_eq!(server.post(reqwest::Body::wrap_stream(unannounced)).await.0, 413);
        let other = server.client.get(server.webhook("")).send().await.unwrap().status().as_u16();
        assert_eq!(other, 405);
        let twice = server.webhook("?timeout=1s&timeout=2s");
        let answer = server.client.post(twice).body(harmless("n")).send().await.unwrap();
        assert!(!answer.status().is_success(), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn too_many_at_once_are_sent_away_for_a_moment_and_probes_are_not() {
    with_server(Given { concurrency: 1, ..Given::default() }, async |server| {
        let (_registry, hanging) = server.hang("n", "").await;
        let waits = server.client.post(server.webhook("?timeout=1s")).body(harmless("n")).send().await.unwrap();
        assert_eq!(waits.status().as_u16(), 429);
        assert_eq!(waits.headers()["retry-after"], "1");
        assert_eq!(server.get("/readyz").await.0, 200);
        assert!(server.get("/metrics").await.1.contains(r#"result="Shed"} 1"#));
        drop(hanging);
    })
    .await;
}

#[tokio::test]
async fn bodies_that_never_come_take_no_memory() {
    with_server(Given { concurrency: 64, ..Given::default() }, async |server| {
        let client = client();
        let silent = async |length: Option<usize>| {
            let mut request = client.post(server.webhook(""));
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            request.body(silence()).send().await.unwrap()
        };
        // So that there is a connection, which all of them share.
        client.post(server.webhook("")).body(harmless("n")).send().await.unwrap();
        let silent = join_all((0..20).map(|number| silent((number % 2 == 0).then_some(8 << 20))));
        let genuine = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.post(harmless("n")).await.0
        };
        tokio::select! {
            answers = silent => unreachable!("{answers:?}"),
            status = genuine => assert_eq!(status, 200),
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_whose_requests_are_silent_takes_no_others_place() {
    with_server(Given::default(), async |server| {
        let mut silent = Vec::new();
        for _ in 0..3 {
            let client = client();
            let first = client.post(server.webhook("")).body(harmless("n")).send().await.unwrap();
            assert_eq!(first.status().as_u16(), 200);
            silent.extend((0..128).map(|_| client.post(server.webhook("")).body(silence()).send()));
        }
        let genuine = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.post(harmless("n")).await.0
        };
        tokio::select! {
            answers = join_all(silent) => unreachable!("{answers:?}"),
            status = genuine => assert_eq!(status, 200),
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_of_one_connection_take_turns_and_lose_none() {
    let bounds = Bounds { bodies: 2, ..Bounds::default() };
    with_server(Given { concurrency: 100, bounds, ..Given::default() }, async |server| {
        let answers = join_all((0..100).map(|_| server.post(harmless("n")))).await;
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    })
    .await;
    // While one says nothing, the next waits, within its time.
    let bounds = Bounds { bodies: 1, body: Duration::from_secs(1), ..Bounds::default() };
    with_server(Given { bounds, ..Given::default() }, async |server| {
        assert_eq!(server.post(harmless("n")).await.0, 200);
        let mut silent = Box::pin(server.post(silence()));
        let next = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.post(harmless("n")).await.0
        };
        let mut next = Box::pin(next);
        tokio::select! {
            biased;
            (status, _) = &mut silent => assert_eq!(status, 408),
            status = &mut next => unreachable!("{status} before its turn"),
        }
        assert_eq!(next.await, 200);
    })
    .await;
}

#[tokio::test]
async fn memory_for_bodies_is_there_again_in_the_end() {
    with_server(Given::default(), async |server| {
        // 5 MiB each, and 64 for all.
        for _ in 0..16 {
            let padded = format!("{}{}", harmless("n"), " ".repeat(5 << 20));
            assert_eq!(server.post(padded).await.0, 200);
            // Broken off in the middle, or refused.
            let half = futures::stream::iter([Ok(vec![b' '; 5 << 20]), Err(std::io::Error::other("gone"))]);
            let half = server.client.post(server.webhook("")).body(reqwest::Body::wrap_stream(half));
            assert!(half.send().await.is_err());
            assert_eq!(server.post(vec![b' '; 9 << 20]).await.0, 413);
        }
        assert_eq!(server.post(harmless("n")).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn a_panic_ends_its_own_review_and_allows_nothing() {
    with_server(Given { concurrency: 2, ..Given::default() }, async |server| {
        let (mut registry, hanging) = server.hang("n", "").await;
        server.cluster.has_bug.store(true, Ordering::Relaxed);
        // More often than there are slots.
        for _ in 0..4 {
            assert_eq!(server.post(harmless("n")).await, (500, Value::Null));
        }
        server.cluster.has_bug.store(false, Ordering::Relaxed);
        assert_eq!(server.post(harmless("n")).await.0, 200);
        // One that came by the same connection before goes on.
        registry.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert_eq!(hanging.await.status().as_u16(), 200);
        assert!(server.get("/metrics").await.1.contains(r#"result="Panicked"} 4"#));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_slot() {
    with_server(Given { concurrency: 1, ..Given::default() }, async |server| {
        let (_registry, hanging) = server.hang("n", "").await;
        drop(hanging);
        assert_eq!(server.post(harmless("n")).await.0, 200);
        // By HTTP/1.1 too, where going away is closing the connection.
        let image = format!("{}/app:1", server.silent.local_addr().unwrap());
        let body = review("n", &image);
        let mut stream = server.connect(b"http/1.1").await.unwrap();
        stream.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
        let _registry = server.silent.accept().await.unwrap();
        drop(stream);
        assert_eq!(server.post(harmless("n")).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_slow_is_closed() {
    let bounds = Bounds {
        handshake: Duration::from_secs(3),
        head: Duration::from_secs(1),
        body: Duration::from_millis(200),
        ..Bounds::default()
    };
    with_server(Given { bounds, ..Given::default() }, async |server| {
        let no_handshake = async {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        };
        let nothing = async |protocol: &[u8]| {
            let mut stream = server.connect(protocol).await.unwrap();
            assert!(!rest(&mut stream).await.contains("200 OK"));
        };
        let half_a_head = async {
            let mut stream = server.connect(b"http/1.1").await.unwrap();
            stream.write_all(&head(10).as_bytes()[..30]).await.unwrap();
            assert!(!rest(&mut stream).await.contains("200 OK"));
        };
        let half_a_body = async {
            let mut stream = server.connect(b"http/1.1").await.unwrap();
            stream.write_all(format!("{}{{", head(10)).as_bytes()).await.unwrap();
            let answer = rest(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        };
        tokio::join!(no_handshake, nothing(b"http/1.1"), nothing(b"h2"), half_a_head, half_a_body);
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_full_of_silence_takes_new_connections() {
    let bounds = Bounds { connections: 8, ..Bounds::default() };
    with_server(Given { bounds, ..Given::default() }, async |server| {
        let mut known = server.connect(b"http/1.1").await.unwrap();
        let mut ask = async || {
            let body = harmless("n");
            known.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
            assert!(answer(&mut known).await.starts_with("HTTP/1.1 200"));
        };
        ask().await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(("127.0.0.1", server.port)).await.unwrap());
        }
        assert_eq!(server.post(harmless("n")).await.0, 200);
        // The first to come were the first to go, and who was answered before stays.
        assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
        ask().await;
        // Silent streams are no work to wait for.
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(server.connect(b"http/1.1").await.unwrap());
            streams.last_mut().unwrap().write_all(head(10).as_bytes()).await.unwrap();
            // Until its head is read.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let other = client().post(server.webhook("")).body(harmless("n")).send().await.unwrap();
        assert_eq!(other.status().as_u16(), 200);
        ask().await;
        // The port of probes has its own places, and more of them.
        let probes = server.probes.strip_prefix("http://").unwrap();
        for _ in 0..300 {
            silent.push(TcpStream::connect(probes).await.unwrap());
        }
        assert_eq!(server.get("/livez").await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded_and_those_that_wait_for_an_answer_stay() {
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    with_server(Given { bounds, ..Given::default() }, async |server| {
        let body = harmless("n");
        let mut first = server.connect(b"http/1.1").await.unwrap();
        let mut second = server.connect(b"http/1.1").await.unwrap();
        for is_second in [false, true, false] {
            let stream = if is_second { &mut second } else { &mut first };
            stream.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
            assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
        }
        // All were answered before: the one that was so last stays.
        let (_registry, hanging) = server.hang("n", "?timeout=4s").await;
        assert_eq!(rest(&mut second).await, "");
        let image = format!("{}/app:1", server.silent.local_addr().unwrap());
        let body = review("n", &image);
        first.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
        let _registry_too = server.silent.accept().await.unwrap();
        assert!(server.connect(b"http/1.1").await.is_err());
        assert_eq!(server.get("/livez").await.0, 200);
        drop(first);
        while server.connect(b"http/1.1").await.is_err() {}
        assert_eq!(hanging.await.status().as_u16(), 200);
    })
    .await;
}

/// Frames of HTTP/2: <https://www.rfc-editor.org/rfc/rfc9113#section-4.1>.
#[tokio::test]
async fn an_old_connection_is_asked_to_end() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    let bounds = Bounds { age: Duration::from_secs(1), ..Bounds::default() };
    with_server(Given { bounds, ..Given::default() }, async |server| {
        let mut stream = server.connect(b"h2").await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        let mut frames = Vec::new();
        while !frames.contains(&GOAWAY) {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            frames.push(head[3]);
        }
        // One by HTTP/1.1, idle between requests, is closed.
        let body = harmless("n");
        let mut stream = server.connect(b"http/1.1").await.unwrap();
        stream.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
        // Whoever is judged at that age is answered all the same.
        let (_registry, hanging) = server.hang("n", "?timeout=2s").await;
        assert_eq!(hanging.await.status().as_u16(), 200);
    })
    .await;
}

#[tokio::test]
async fn the_end_waits_for_reviews_that_are_judged_and_for_nobody_else() {
    with_server(Given::default(), async |server| {
        let (mut registry, hanging) = server.hang("n", "").await;
        let mut idle = server.connect(b"http/1.1").await.unwrap();
        let mut half_a_head = server.connect(b"http/1.1").await.unwrap();
        half_a_head.write_all(&head(10).as_bytes()[..30]).await.unwrap();
        let mut half_a_body = server.connect(b"http/1.1").await.unwrap();
        half_a_body.write_all(format!("{}{{", head(10)).as_bytes()).await.unwrap();
        // Its head has been read once the server has room for it in its loop: ask something behind it.
        assert_eq!(server.post(harmless("n")).await.0, 200);
        server.end.notify_one();
        let mut hanging = Box::pin(hanging);
        let others = async {
            assert_eq!(rest(&mut idle).await, "");
            assert!(!rest(&mut half_a_head).await.contains("200 OK"));
            assert!(!rest(&mut half_a_body).await.contains("200 OK"));
            let (status, reason) = server.get("/readyz").await;
            assert_eq!((status, reason.as_str()), (503, "ending"));
            while server.connect(b"http/1.1").await.is_ok() {}
        };
        tokio::select! {
            biased;
            answer = &mut hanging => unreachable!("{answer:?}"),
            () = others => {}
        }
        registry.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let answer: Value = serde_json::from_slice(&hanging.await.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["response"]["allowed"], json!(false), "{answer}");
        assert!(answer["response"]["status"]["message"].as_str().unwrap().contains("[ImageNotFound]"), "{answer}");
    })
    .await;
}

#[expect(clippy::disallowed_methods, reason = "a test reads its own files")]
#[tokio::test]
async fn certificates_are_replaced_while_serving_and_broken_ones_are_not_taken() {
    let bounds = Bounds { certificate_poll: Duration::from_millis(20), ..Bounds::default() };
    with_server(Given { bounds, ..Given::default() }, async |server| {
        let folder = server.folder.path();
        let first = server.served().await;
        let mut old = server.connect(b"http/1.1").await.unwrap();
        let second = write_certificate(folder, 2030);
        assert_ne!(first, second);
        while server.served().await != second {}
        // A connection of before goes on.
        let body = harmless("n");
        old.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
        assert!(answer(&mut old).await.starts_with("HTTP/1.1 200"));
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        let other = tempfile::tempdir().unwrap();
        let third = write_certificate(other.path(), 2030);
        let broken: [(&Path, Option<&[u8]>); 4] =
            [(&certificate, Some(b"-----BEGIN")), (&certificate, Some(b"")), (&key, Some(b"none")), (&key, None)];
        for (path, content) in broken {
            let good = std::fs::read_to_string(path).unwrap();
            match content {
                Some(content) => std::fs::write(path, content).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(server.served().await, second);
            std::fs::write(path, good).unwrap();
        }
        // The key of one beside the certificate of another, as between two writes.
        std::fs::copy(other.path().join("tls.crt"), &certificate).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.served().await, second);
        std::fs::copy(other.path().join("tls.key"), &key).unwrap();
        while server.served().await != third {}
        // It expires in the end, and says so.
        assert_eq!(server.get("/readyz").await.0, 200);
        write_certificate(folder, 2025);
        while server.get("/readyz").await.0 == 200 {}
        assert!(server.get("/readyz").await.1.contains("certificate expired"));
    })
    .await;
}

/// An authority of clients, and what it signs with.
fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = parameters.self_signed(&key).unwrap().pem();
    (pem, rcgen::Issuer::new(parameters, key))
}

/// The status of a review by a client with a certificate of this authority, if it gets an answer.
async fn asked_by(
    server: &Server,
    issuer: &rcgen::Issuer<'static, rcgen::KeyPair>,
    usage: rcgen::ExtendedKeyUsagePurpose,
) -> Option<u16> {
    let mut parameters = rcgen::CertificateParams::new(vec!["api-server".to_owned()]).unwrap();
    parameters.extended_key_usages = vec![usage];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate));
    let client = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
    let answer = client.post(server.webhook("")).body(harmless("n")).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn only_clients_of_the_named_authorities_are_answered() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let ((pem, issuer), (other_pem, other)) = (authority(), authority());
    let bounds = Bounds { certificate_poll: Duration::from_millis(20), ..Bounds::default() };
    let given = Given { bounds, client_authorities: Some(pem), ..Given::default() };
    with_server(given, async |server| {
        assert_eq!(asked_by(&server, &issuer, ClientAuth).await, Some(200));
        assert_eq!(asked_by(&server, &issuer, ServerAuth).await, None);
        assert_eq!(asked_by(&server, &other, ClientAuth).await, None);
        assert!(server.client.post(server.webhook("")).body(harmless("n")).send().await.is_err());
        assert_eq!(server.get("/readyz").await.0, 200);
        // A file that turned useless opens nothing.
        let path = server.folder.path().join("client-ca.crt");
        for broken in ["", "-----BEGIN"] {
            std::fs::write(&path, broken).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(asked_by(&server, &issuer, ClientAuth).await, Some(200));
            assert!(server.client.post(server.webhook("")).body(harmless("n")).send().await.is_err());
        }
        std::fs::write(&path, &other_pem).unwrap();
        while asked_by(&server, &other, ClientAuth).await != Some(200) {}
        assert_eq!(asked_by(&server, &issuer, ClientAuth).await, None);
    })
    .await;
}
