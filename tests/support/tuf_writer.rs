//! A TUF repository that is written by this file: keys, versions, expiries and thresholds as a test wants them, and every mistake too.
//!
//! It shares no code with the client, serves nothing and knows no time of day, so that the end-to-end tests can use it too. The format is
//! that of <https://theupdateframework.github.io/specification/latest/#document-formats>.

#![allow(dead_code, reason = "each test crate uses another part")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a repository that cannot be set up fails its test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

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
    pub(crate) fn expire(&mut self, at: &impl ToString) {
        for role in ["timestamp", "snapshot", "targets"] {
            self.expires.insert(role, at.to_string());
        }
    }
}
