//! The monitor over logs of both versions of Rekor, in this process and signed by their real keys.
//!
//! What it is told of comes as evidence that was verified, and from logs over HTTP. A restart is a second monitor over the same documents.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fake that cannot be set up fails its test"
)]

#[path = "monitor/consistency.rs"]
mod consistency;
#[path = "monitor/identity.rs"]
mod identity;
#[path = "support/log.rs"]
mod log;
#[path = "monitor/proofs.rs"]
mod proofs;
#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use countersign::api::SignatureRevocationSpec;
use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::monitor::{
    Document, DocumentError, Documents, Finding, Findings, MemoryDocuments, Monitor, MonitorOptions, Outlets, Standing,
    State, Suggestions, View,
};
use countersign::policy::Policy;
use countersign::registry::TlsRoots;
use countersign::rekor::{RekorClient, RekorOptions};
use countersign::revocation::{Revocation, Revocations};
use countersign::trust::TrustMaterial;
use countersign::verify::{Evidence, SeenEntry, verify_with_root};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use log::{Asked, Bound, FakeLog, Reply, reply};
use serde_json::{Value, json};
use virtual_sigstore::{Identity, Log, Parts, RekorV1, RekorV2, Subject, Version, VirtualSigstore};

const ISSUER: &str = "https://accounts.example.com";
const ALICE: &str = "alice@example.com";
const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Minutes after noon.
pub(crate) fn minute(minutes: i64) -> Timestamp {
    at("2024-06-01T12:00:00Z") + jiff::SignedDuration::from_mins(minutes)
}

/// Which generation of Rekor a test is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Api {
    V1,
    V2,
}

pub(crate) const BOTH: [Api; 2] = [Api::V1, Api::V2];

/// A log of either generation, which is served or stands aside.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    V1(Arc<RekorV1>),
    V2(Arc<RekorV2>),
}

impl Tree {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::V1(log) => log.size(),
            Self::V2(log) => log.size(),
        }
    }

    pub(crate) fn forked_at(&self, size: u64) -> Self {
        match self {
            Self::V1(log) => Self::V1(Arc::new(log.forked_at(size))),
            Self::V2(log) => Self::V2(Arc::new(log.forked_at(size))),
        }
    }

    /// Adds leaves that say nothing.
    pub(crate) fn grow(&self, leaves: u64) {
        for _ in 0..leaves {
            match self {
                Self::V1(log) => log.grow(),
                Self::V2(log) => {
                    log.append(virtual_sigstore::text::random(32));
                }
            }
        }
    }

    fn key_id(&self) -> String {
        virtual_sigstore::text::hex(&match self {
            Self::V1(log) => log.key.id(),
            Self::V2(log) => log.id(),
        })
    }
}

/// What the logs at the one address do.
#[derive(Debug, Default)]
pub(crate) struct Served {
    trees: Vec<Tree>,
    /// A status that they answer everything with.
    status: Option<u16>,
    /// A part of a path that is answered with 500.
    broken: Option<&'static str>,
}

impl Served {
    fn answer(&self, asked: &Asked) -> Reply {
        if let Some(status) = self.status {
            return reply(status, "SECRET");
        }
        if self.broken.is_some_and(|broken| asked.target.contains(broken)) {
            return reply(500, "SECRET");
        }
        let json = |value: Option<Value>| value.map_or_else(|| reply(404, "{}"), |value| reply(200, value.to_string()));
        for tree in &self.trees {
            match tree {
                Tree::V1(log) if asked.target.starts_with("/api/v1/") => {
                    return json(match asked.method.as_str() {
                        "POST" => log.post(&asked.target, &asked.body),
                        _ => log.get(&asked.target),
                    });
                }
                Tree::V2(log) if asked.target.starts_with("/api/v2/") => {
                    let found = log.get(&asked.target, log.size(), minute(0));
                    return found.map_or_else(|| reply(404, ""), |bytes| reply(200, bytes));
                }
                _ => {}
            }
        }
        reply(404, "{}")
    }
}

/// Whom findings are told, and whether nothing is taken.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<Finding>>, Mutex<bool>);

impl Findings for Told {
    fn tell(&self, finding: &Finding) -> bool {
        let taken = !*self.1.lock().unwrap();
        if taken {
            self.0.lock().unwrap().push(finding.clone());
        }
        taken
    }
}

#[derive(Debug, Default)]
pub(crate) struct Suggested {
    written: Mutex<Vec<(String, SignatureRevocationSpec)>>,
    fails: Mutex<bool>,
}

impl Suggestions for Suggested {
    fn suggest<'a>(&'a self, name: &'a str, spec: &'a SignatureRevocationSpec) -> BoxFuture<'a, Result<(), String>> {
        let result = if *self.fails.lock().unwrap() { Err("not now".to_owned()) } else { Ok(()) };
        if result.is_ok() {
            self.written.lock().unwrap().push((name.to_owned(), spec.clone()));
        }
        std::future::ready(result).boxed()
    }
}

/// Documents that somebody else saves first, now and then.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    inner: MemoryDocuments,
    conflicts: Mutex<usize>,
    down: Mutex<bool>,
}

impl Documents for Shared {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Document>, DocumentError>> {
        if *self.down.lock().unwrap() {
            return std::future::ready(Err(DocumentError::Unavailable { reason: "down".to_owned() })).boxed();
        }
        self.inner.load(name)
    }

    fn save<'a>(
        &'a self,
        name: &'a str,
        content: &'a Value,
        over: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, DocumentError>> {
        let mut conflicts = self.conflicts.lock().unwrap();
        if *conflicts > 0 {
            *conflicts -= 1;
            return std::future::ready(Err(DocumentError::Conflict)).boxed();
        }
        self.inner.save(name, content, over)
    }
}

/// An instance, its logs at one address, and what a monitor needs.
pub(crate) struct World {
    pub(crate) sigstore: VirtualSigstore,
    root: TrustMaterial,
    pub(crate) served: Arc<Mutex<Served>>,
    pub(crate) tree: Tree,
    pub(crate) documents: Arc<Shared>,
    pub(crate) told: Arc<Told>,
    pub(crate) suggested: Arc<Suggested>,
    log: FakeLog,
}

impl World {
    /// One log of this generation, and none other.
    pub(crate) async fn new(api: Api) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let bound = Bound::new().await;
        let mut sigstore = VirtualSigstore::new();
        sigstore.logs_v1[0].base_url = bound.url();
        sigstore.logs_v2[0].base_url = bound.url();
        match api {
            Api::V1 => sigstore.logs_v2.clear(),
            Api::V2 => sigstore.logs_v1.clear(),
        }
        let root = TrustMaterial::parse("own", &sigstore.root().json()).unwrap();
        let tree = match api {
            Api::V1 => Tree::V1(Arc::new(sigstore.logs_v1.remove(0))),
            Api::V2 => Tree::V2(Arc::new(sigstore.logs_v2.remove(0))),
        };
        let served = Arc::new(Mutex::new(Served { trees: vec![tree.clone()], ..Served::default() }));
        let log = bound.serve({
            let served = Arc::clone(&served);
            move |asked| served.lock().unwrap().answer(asked)
        });
        let (documents, told, suggested) = (Arc::default(), Arc::default(), Arc::default());
        Self { sigstore, root, served, tree, documents, told, suggested, log }
    }

    pub(crate) fn monitor(&self, options: MonitorOptions) -> Monitor {
        let client = RekorClient::new(RekorOptions { tls_roots: TlsRoots::None, ..RekorOptions::default() });
        let outlets = Outlets {
            documents: Arc::clone(&self.documents) as Arc<dyn Documents>,
            findings: Arc::clone(&self.told) as Arc<dyn Findings>,
            suggestions: Arc::clone(&self.suggested) as Arc<dyn Suggestions>,
        };
        Monitor::new(options, client, outlets)
    }

    pub(crate) fn view(&self) -> View {
        let policy = json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy",
            "metadata": {"name": "alice"},
            "spec": {"images": ["**"], "authorities": [{
                "name": "alice",
                "keyless": {"trustRoot": "own", "identities": [{"issuer": {"exact": ISSUER}, "subject": {"exact": ALICE}}]},
            }]},
        });
        let policies = vec![Arc::new(Policy::parse(&policy).unwrap())];
        View { roots: vec![self.root.clone()], policies, leads: true, ..View::default() }
    }

    /// Signs the image in this tree, which may be a fork of the one that is served.
    pub(crate) fn sign_in(&self, tree: &Tree, name: &str) -> Parts {
        let log = match tree {
            Tree::V1(log) => Log::V1(log),
            Tree::V2(log) => Log::V2(log),
        };
        let signing = self.sigstore.sign(Subject::cosign_sign(MANIFEST)).by(&Identity::email(name, ISSUER));
        signing.logged_in(&[log]).timestamped().parts()
    }

    /// Signs in the log itself.
    pub(crate) fn sign(&self) -> Evidence {
        self.evidence(&self.sign_in(&self.tree, ALICE))
    }

    pub(crate) fn evidence(&self, parts: &Parts) -> Evidence {
        let content = parts.bundle(Version::V03).into_bytes();
        let (manifest, layer) = (Digest::of(b"manifest"), Digest::of(&content));
        let origin = Origin { path: DiscoveryPath::ReferrersApi, manifest, layer };
        let media_type = Version::V03.media_type().to_owned();
        let discovered = Discovered::untrusted(origin, media_type, content, BTreeMap::new());
        verify_with_root(&discovered, &image(), &self.root).unwrap()
    }

    pub(crate) fn serve(&self, tree: &Tree) {
        self.served.lock().unwrap().trees = vec![tree.clone()];
    }

    pub(crate) fn answers_with(&self, status: Option<u16>) {
        self.served.lock().unwrap().status = status;
    }

    pub(crate) fn codes(&self) -> Vec<&'static str> {
        self.told.0.lock().unwrap().iter().map(Finding::code).collect()
    }

    pub(crate) fn standing(&self, monitor: &Monitor) -> Standing {
        let standings = monitor.standings();
        let mut own = standings.into_iter().filter(|(tree, _)| tree.key_id == self.tree.key_id());
        let (_, standing) = own.next().unwrap_or_else(|| panic!("the tree has no standing"));
        assert!(own.next().is_none());
        standing
    }

    pub(crate) fn state(&self, monitor: &Monitor) -> State {
        self.standing(monitor).state
    }
}

/// A suggestion as the cluster would read it.
pub(crate) fn revoked(name: &str, spec: &SignatureRevocationSpec) -> Revocations {
    let object = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
        "metadata": {"name": name}, "spec": spec,
    });
    let revocation = Revocation::parse(&object).unwrap();
    Revocations::new(vec![Arc::new(revocation)])
}

fn image() -> ResolvedImage {
    let text = format!("registry.example/image@{}", Digest::of(MANIFEST));
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    ImageReference::parse(&text).unwrap().resolve(MANIFEST.to_vec(), media_type).unwrap()
}
