//! A TUF repository that is written by this file: keys, versions, expiries and thresholds as a test wants them, and every mistake too.
//!
//! It shares no code with the client; the format is that of <https://theupdateframework.github.io/specification/latest/#document-formats>.
//! [`Repository`] signs; [`Served`] serves what it wrote over HTTP on this machine, and misbehaves on demand.

#![allow(dead_code, reason = "each test crate uses another part")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a repository that cannot be set up fails its test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use axum::serve::Listener;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A year after which nothing of these tests plays.
pub(crate) const FAR: &str = "2090-01-01T00:00:00Z";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The canonical form that signatures are over (OLPC): sorted names, no blanks, nothing escaped but `"` and `\`.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let fields = names.iter().map(|name| format!("{}:{}", text(name), canonical(&fields[name.as_str()])));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn text(string: &str) -> String {
    format!("\"{}\"", string.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A signing key.
#[derive(Clone)]
pub(crate) struct Key {
    pair: Arc<Ed25519KeyPair>,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self { pair: Arc::new(Ed25519KeyPair::generate().unwrap()) }
    }

    pub(crate) fn value(&self) -> Value {
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex(self.pair.public_key().as_ref())}})
    }

    pub(crate) fn id(&self) -> String {
        sha256(canonical(&self.value()).as_bytes())
    }
}

/// Some keys, of which so many must sign.
#[derive(Clone)]
pub(crate) struct Role {
    pub(crate) keys: Vec<Key>,
    pub(crate) threshold: usize,
}

impl Role {
    pub(crate) fn new(keys: usize, threshold: usize) -> Self {
        Self { keys: (0..keys).map(|_| Key::new()).collect(), threshold }
    }

    fn value(&self) -> Value {
        json!({"keyids": self.keys.iter().map(Key::id).collect::<Vec<_>>(), "threshold": self.threshold})
    }
}

/// Signs metadata with these keys, whoever they are.
pub(crate) fn sign(signed: &Value, keys: &[Key]) -> Vec<u8> {
    let message = canonical(signed);
    let signature = |key: &Key| json!({"keyid": key.id(), "sig": hex(key.pair.sign(message.as_bytes()).as_ref())});
    let signatures: Vec<Value> = keys.iter().map(signature).collect();
    json!({"signatures": signatures, "signed": signed}).to_string().into_bytes()
}

/// A role that targets are delegated to.
#[derive(Clone)]
pub(crate) struct Delegation {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Keys that sign nothing here, such as Fulcio identities.
    pub(crate) further_keys: BTreeMap<String, Value>,
    pub(crate) paths: Vec<String>,
    pub(crate) version: u64,
    pub(crate) expires: String,
    pub(crate) targets: BTreeMap<String, Vec<u8>>,
}

/// A repository. Every field can be changed before the next [`publish`](Self::publish).
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) root: Role,
    pub(crate) timestamp: Role,
    pub(crate) snapshot: Role,
    pub(crate) targets: Role,
    pub(crate) root_version: u64,
    pub(crate) timestamp_version: u64,
    pub(crate) snapshot_version: u64,
    pub(crate) targets_version: u64,
    pub(crate) expires: BTreeMap<&'static str, String>,
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
    pub(crate) delegations: Vec<Delegation>,
    /// What a target is said to be, in place of what it is.
    pub(crate) announced: BTreeMap<String, Value>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The first root, as clients pin it.
    pub(crate) pinned: Vec<u8>,
}

impl Repository {
    /// A repository with one target, published once.
    pub(crate) fn new(target: &str, content: &[u8]) -> Self {
        let mut repository = Self {
            root: Role::new(3, 2),
            timestamp: Role::new(1, 1),
            snapshot: Role::new(1, 1),
            targets: Role::new(2, 2),
            root_version: 1,
            timestamp_version: 0,
            snapshot_version: 0,
            targets_version: 0,
            expires: BTreeMap::new(),
            contents: BTreeMap::from([(target.to_owned(), content.to_vec())]),
            delegations: Vec::new(),
            announced: BTreeMap::new(),
            files: BTreeMap::new(),
            pinned: Vec::new(),
        };
        let root = sign(&repository.root_value(), &repository.root.keys);
        repository.pinned.clone_from(&root);
        repository.files.insert("1.root.json".to_owned(), root);
        repository.publish();
        repository
    }

    fn signed(&self, role: &'static str, version: u64, fields: Value) -> Value {
        let expires = self.expires.get(role).map_or(FAR, String::as_str);
        let mut signed = fields;
        signed["_type"] = json!(role);
        signed["spec_version"] = json!("1.0.31");
        signed["version"] = json!(version);
        signed["expires"] = json!(expires);
        signed
    }

    /// The root as it would be signed now.
    pub(crate) fn root_value(&self) -> Value {
        let roles = [&self.root, &self.timestamp, &self.snapshot, &self.targets];
        let keys: BTreeMap<String, Value> =
            roles.iter().flat_map(|role| &role.keys).map(|key| (key.id(), key.value())).collect();
        let roles = json!({
            "root": self.root.value(), "timestamp": self.timestamp.value(),
            "snapshot": self.snapshot.value(), "targets": self.targets.value(),
        });
        self.signed("root", self.root_version, json!({"consistent_snapshot": true, "keys": keys, "roles": roles}))
    }

    /// The next root, signed by the old and the new keys.
    pub(crate) fn rotate(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.root.keys.clone();
        change(self);
        self.root_version += 1;
        let after = self.root.keys.iter().filter(|key| !before.iter().any(|old| old.id() == key.id()));
        let keys: Vec<Key> = before.iter().chain(after).cloned().collect();
        self.files.insert(format!("{}.root.json", self.root_version), sign(&self.root_value(), &keys));
    }

    fn target(&mut self, prefix: &str, path: &str, content: &[u8]) -> Value {
        let hash = sha256(content);
        let name = match path.rsplit_once('/') {
            Some((folder, file)) => format!("{folder}/{hash}.{file}"),
            None => format!("{hash}.{path}"),
        };
        self.files.insert(format!("{prefix}{name}"), content.to_vec());
        let usual = json!({"length": content.len(), "hashes": {"sha256": hash}});
        self.announced.get(path).cloned().unwrap_or(usual)
    }

    /// The next versions of targets, snapshot and timestamp, by the keys of their roles.
    pub(crate) fn publish(&mut self) {
        self.targets_version += 1;
        self.snapshot_version += 1;
        let mut meta = BTreeMap::new();
        let mut keys = BTreeMap::new();
        let mut roles = Vec::new();
        for delegation in self.delegations.clone() {
            let listed: BTreeMap<String, Value> = delegation
                .targets
                .iter()
                .map(|(path, content)| (path.clone(), self.target("targets/", path, content)))
                .collect();
            let signed = json!({
                "_type": "targets", "spec_version": "1.0.31", "version": delegation.version,
                "expires": delegation.expires, "targets": listed,
            });
            let name = &delegation.name;
            self.files.insert(format!("{}.{name}.json", delegation.version), sign(&signed, &delegation.role.keys));
            meta.insert(format!("{name}.json"), json!({"version": delegation.version}));
            keys.extend(delegation.role.keys.iter().map(|key| (key.id(), key.value())));
            keys.extend(delegation.further_keys.clone());
            let mut role = delegation.role.value();
            if !delegation.further_keys.is_empty() {
                let ids = role["keyids"].as_array_mut().unwrap();
                ids.extend(delegation.further_keys.keys().map(|id| json!(id)));
            }
            role["name"] = json!(name);
            role["paths"] = json!(delegation.paths);
            role["terminating"] = json!(false);
            roles.push(role);
        }
        let contents = self.contents.clone();
        let listed: BTreeMap<String, Value> =
            contents.iter().map(|(path, content)| (path.clone(), self.target("targets/", path, content))).collect();
        let mut fields = json!({"targets": listed});
        if !roles.is_empty() {
            fields["delegations"] = json!({"keys": keys, "roles": roles});
        }
        let targets = sign(&self.signed("targets", self.targets_version, fields), &self.targets.keys);
        meta.insert("targets.json".to_owned(), json!({"version": self.targets_version}));
        self.files.insert(format!("{}.targets.json", self.targets_version), targets);
        let snapshot = self.signed("snapshot", self.snapshot_version, json!({"meta": meta}));
        let snapshot = sign(&snapshot, &self.snapshot.keys);
        self.files.insert(format!("{}.snapshot.json", self.snapshot_version), snapshot);
        self.stamp();
    }

    /// The next timestamp, over the snapshot that is there.
    pub(crate) fn stamp(&mut self) {
        self.timestamp_version += 1;
        let meta = json!({"snapshot.json": {"version": self.snapshot_version}});
        let timestamp = self.signed("timestamp", self.timestamp_version, json!({"meta": meta}));
        self.files.insert("timestamp.json".to_owned(), sign(&timestamp, &self.timestamp.keys));
    }

    /// Changes a target, and publishes.
    pub(crate) fn deliver(&mut self, target: &str, content: &[u8]) {
        self.contents.insert(target.to_owned(), content.to_vec());
        self.publish();
    }

    /// When everything that is published from now on expires.
    pub(crate) fn expire(&mut self, at: Timestamp) {
        for role in ["timestamp", "snapshot", "targets"] {
            self.expires.insert(role, at.to_string());
        }
    }
}

/// How a server answers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Manner {
    /// With the files.
    #[default]
    Honest,
    /// With this status, whatever is asked.
    Status(u16),
    /// Never.
    Silent,
    /// With a body for this file that has no end.
    Endless(String),
    /// With this status for files whose names contain the text.
    Refuses(String, u16),
}

/// A server of a repository, which stops when it is dropped.
pub(crate) struct Served {
    address: SocketAddr,
    pub(crate) repository: Arc<Mutex<Repository>>,
    pub(crate) manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    pub(crate) async fn start(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(repository, address, listener)
    }

    /// Over HTTPS, for `localhost`; with the certificate, PEM.
    pub(crate) async fn start_tls(repository: Repository) -> (Self, String) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TlsListener { acceptor: TlsAcceptor::from(Arc::new(config)), listener };
        (Self::serve(repository, address, listener), own.cert.pem())
    }

    #[expect(clippy::disallowed_methods, reason = "the server's task is aborted when it is dropped")]
    fn serve(repository: Repository, address: SocketAddr, listener: impl Listener<Addr = SocketAddr>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let repository = Arc::new(Mutex::new(repository));
        let (manner, seen) = (Arc::new(Mutex::new(Manner::default())), Arc::new(Mutex::new(Vec::new())));
        let (files, how, log) = (Arc::clone(&repository), Arc::clone(&manner), Arc::clone(&seen));
        let handler = move |request: Request<Body>| {
            let path = request.uri().path().trim_start_matches('/').to_owned();
            log.lock().unwrap().push(path.clone());
            let how = how.lock().unwrap().clone();
            let file = files.lock().unwrap().files.get(&path).cloned();
            answer(how, path, file)
        };
        let router = Router::new().fallback(handler);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, repository, manner, seen, server }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn edit<T>(&self, edit: impl FnOnce(&mut Repository) -> T) -> T {
        edit(&mut self.repository.lock().unwrap())
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// How often a file was asked for.
    pub(crate) fn asked(&self, file: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == file).count()
    }
}

/// Whoever does not finish a handshake is passed over.
struct TlsListener {
    acceptor: TlsAcceptor,
    listener: TcpListener,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn answer(how: Manner, path: String, file: Option<Vec<u8>>) -> Response<Body> {
    let respond = |status: u16, body: Body| Response::builder().status(status).body(body).unwrap();
    match how {
        Manner::Status(status) => respond(status, Body::empty()),
        Manner::Refuses(text, status) if path.contains(&text) => respond(status, Body::empty()),
        Manner::Silent => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            respond(500, Body::empty())
        }
        Manner::Endless(file) if file == path => {
            let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096]));
            respond(200, Body::from_stream(futures::stream::repeat_with(chunk)))
        }
        Manner::Honest | Manner::Endless(_) | Manner::Refuses(..) => match file {
            Some(bytes) => respond(200, Body::from(bytes)),
            None => respond(404, Body::empty()),
        },
    }
}
