//! A registry within the test's process, on a loopback port, that answers as the test says and remembers what it was
//! asked. It implements no registry: [`Content`] is what serves well-formed images, and hostile tests write their own.

#![allow(dead_code, reason = "each test crate uses another part")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use countersign::image::{Digest, ImageReference};
use countersign::registry::{RegistryClient, RegistryOptions, TlsRoots};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
}

/// A server that stops when it is dropped.
pub(crate) struct FakeRegistry {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeRegistry {
    /// Starts a server that answers every request with `answer`.
    #[expect(clippy::disallowed_methods, reason = "the registry aborts its task when it is dropped")]
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response<Body> + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let handler = move |request: Request<Body>| {
            let authorization = request.headers().get(header::AUTHORIZATION);
            let one = Seen {
                host: request
                    .headers()
                    .get(header::HOST)
                    .map(|value| value.to_str().unwrap().to_owned())
                    .unwrap_or_default(),
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
            };
            log.lock().unwrap().push(one.clone());
            let response = answer(&one);
            async move { response }
        };
        let router = Router::new().fallback(handler);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, server }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// A reference to an image of this registry: `tail` is `path:tag` or `path@digest`.
    pub(crate) fn reference(&self, tail: &str) -> ImageReference {
        ImageReference::parse(&format!("{}/{tail}", self.address)).unwrap()
    }
}

/// Options that speak plain HTTP to these registries, with a short total time.
pub(crate) fn options(hosts: &[String]) -> RegistryOptions {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    RegistryOptions {
        plain_http: hosts.to_vec(),
        request_timeout: Duration::from_secs(5),
        tls_roots: TlsRoots::None,
        ..RegistryOptions::default()
    }
}

pub(crate) fn client(options: RegistryOptions) -> RegistryClient {
    RegistryClient::new(options).unwrap()
}

pub(crate) fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

pub(crate) fn not_found() -> Response<Body> {
    respond(404, &[], "INTERNAL-SECRET")
}

/// Media type, bytes and annotations of a layer.
pub(crate) type Layer<'a> = (&'a str, &'a [u8], &'a [(&'a str, &'a str)]);

/// An image manifest with these layers.
pub(crate) fn manifest(layers: &[Layer<'_>]) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|(media_type, bytes, annotations)| {
            let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
            serde_json::json!({
                "mediaType": media_type,
                "digest": Digest::of(bytes).to_string(),
                "size": bytes.len(),
                "annotations": annotations,
            })
        })
        .collect();
    let config = serde_json::json!({
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": Digest::of(b"{}").to_string(),
        "size": 2,
    });
    let manifest =
        serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
    manifest.to_string().into_bytes()
}

/// An index of these manifests, each `(bytes, artifact type)`.
pub(crate) fn index(entries: &[(&[u8], Option<&str>)]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(bytes, artifact_type)| {
            let mut entry = serde_json::json!({
                "mediaType": OCI_MANIFEST, "digest": Digest::of(bytes).to_string(), "size": bytes.len(),
            });
            if let Some(artifact_type) = artifact_type {
                entry["artifactType"] = (*artifact_type).into();
            }
            entry
        })
        .collect();
    serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string().into_bytes()
}

/// Well-formed content: what tags name, blobs and manifests by digest, and referrers.
#[derive(Clone, Default)]
pub(crate) struct Content {
    tags: BTreeMap<String, Vec<u8>>,
    digests: BTreeMap<String, Vec<u8>>,
    referrers: Option<Vec<u8>>,
}

impl Content {
    /// Adds a blob or untagged manifest.
    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        self.digests.insert(Digest::of(bytes).to_string(), bytes.to_vec());
        self
    }

    pub(crate) fn with_tag(mut self, tag: &str, manifest: &[u8]) -> Self {
        self.tags.insert(tag.to_owned(), manifest.to_vec());
        self.with(manifest)
    }

    /// Answers the referrers API with this index, whatever the digest.
    pub(crate) fn with_referrers(mut self, index: Vec<u8>) -> Self {
        self.referrers = Some(index);
        self
    }

    pub(crate) fn answer(&self, seen: &Seen) -> Response<Body> {
        let mut parts = seen.path.rsplit('/');
        let (name, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let found = match kind {
            "manifests" => self.tags.get(name).or_else(|| self.digests.get(name)),
            "blobs" => self.digests.get(name),
            "referrers" => self.referrers.as_ref(),
            _ => None,
        };
        found.map_or_else(not_found, |bytes| respond(200, &[], bytes.clone()))
    }
}
