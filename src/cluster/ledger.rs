//! JSON documents that the controllers keep in the cluster, each in a `ConfigMap` of our namespace.
//!
//! A document is saved over the version that was loaded, so that of two who change it one is told. Nothing secret is kept here, and
//! nothing by which an image is admitted: whoever can write `ConfigMap`s in our namespace could make up what it says.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use serde_json::Value;

/// Bytes of one document: the API server takes objects of about 1.5 MiB, and etcd of as many.
pub(super) const SIZE_LIMIT: usize = 900 << 10;
/// The entry of the `ConfigMap` that holds the document.
const ENTRY: &str = "document.json";

/// A document and the version that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub content: Value,
    /// What must still be there when it is saved.
    pub version: Version,
}

/// A version of a document, as the API server names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version(String);

impl Version {
    /// The version of this name, for who kept the name alone.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a document could be neither loaded nor saved.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else saved it meanwhile.
    #[error("the document {name:?} was changed by somebody else")]
    Conflict {
        /// Its name.
        name: String,
    },
    /// It is too large to be kept.
    #[error("the document {name:?} has {found} bytes, {SIZE_LIMIT} are kept at most")]
    TooLarge {
        /// Its name.
        name: String,
        /// Its size.
        found: usize,
    },
    /// What is kept is no document of ours.
    #[error("the document {name:?} cannot be read: {reason}")]
    Malformed {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The API server.
    #[error("the document {name:?} could not be reached: {source}")]
    Cluster {
        /// Its name.
        name: String,
        /// What the API server says.
        source: Box<kube::Error>,
    },
}

/// Keeps documents by name: lower-case letters, digits and `-`, up to 200.
pub trait Ledger: Send + Sync {
    /// The document of this name, if there is one.
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Document>, LedgerError>>;

    /// Saves a document in the place of the version that was loaded; none: there must be none yet. The new version.
    fn save<'a>(
        &'a self,
        name: &'a str,
        content: &'a Value,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, LedgerError>>;
}

/// Documents in `ConfigMap`s of one namespace, named `countersign-` and their name.
#[derive(Clone)]
pub struct ConfigMapLedger {
    maps: Api<ConfigMap>,
}

impl std::fmt::Debug for ConfigMapLedger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ConfigMapLedger")
    }
}

impl ConfigMapLedger {
    /// In this namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { maps: Api::namespaced(client, namespace) }
    }

    async fn load_now(&self, name: &str) -> Result<Option<Document>, LedgerError> {
        let Some(map) = self.maps.get_opt(&map_name(name)).await.map_err(|error| reached(name, error))? else {
            return Ok(None);
        };
        let malformed = |reason: &str| LedgerError::Malformed { name: name.to_owned(), reason: reason.to_owned() };
        let version = Version(map.metadata.resource_version.ok_or_else(|| malformed("it has no version"))?);
        let text = map.data.and_then(|mut data| data.remove(ENTRY));
        let text = text.ok_or_else(|| malformed("it has no entry document.json"))?;
        let content = serde_json::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
        Ok(Some(Document { content, version }))
    }

    async fn save_now(&self, name: &str, content: &Value, over: Option<&Version>) -> Result<Version, LedgerError> {
        let text = content.to_string();
        if text.len() > SIZE_LIMIT {
            return Err(LedgerError::TooLarge { name: name.to_owned(), found: text.len() });
        }
        let map = ConfigMap {
            metadata: metadata(&map_name(name), over.map(|Version(version)| version.clone())),
            data: Some([(ENTRY.to_owned(), text)].into()),
            ..ConfigMap::default()
        };
        let saved = write(&self.maps, &map).await.map_err(|error| reached(name, error))?;
        Ok(Version(saved.metadata.resource_version.unwrap_or_default()))
    }
}

impl Ledger for ConfigMapLedger {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Document>, LedgerError>> {
        self.load_now(name).boxed()
    }

    fn save<'a>(
        &'a self,
        name: &'a str,
        content: &'a Value,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, LedgerError>> {
        self.save_now(name, content, over).boxed()
    }
}

/// The metadata of a `ConfigMap` of ours. With a version it takes the place of that version, without one it is new.
pub(super) fn metadata(name: &str, version: Option<String>) -> ObjectMeta {
    let labels = [("app.kubernetes.io/managed-by".to_owned(), "countersign".to_owned())];
    ObjectMeta {
        name: Some(name.to_owned()),
        resource_version: version,
        labels: Some(labels.into()),
        ..ObjectMeta::default()
    }
}

/// Writes a `ConfigMap`: over the version that it carries, or as a new one.
pub(super) async fn write(maps: &Api<ConfigMap>, map: &ConfigMap) -> Result<ConfigMap, kube::Error> {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    match map.metadata.resource_version {
        Some(_) => maps.replace(name, &PostParams::default(), map).await,
        None => maps.create(&PostParams::default(), map).await,
    }
}

fn map_name(name: &str) -> String {
    format!("countersign-{name}")
}

fn reached(name: &str, error: kube::Error) -> LedgerError {
    let name = name.to_owned();
    match error {
        // Also said when it was to be new and is not, or was to be there and is gone.
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => LedgerError::Conflict { name },
        source => LedgerError::Cluster { name, source: Box::new(source) },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake::FakeCluster;
    use super::*;

    fn ledger(cluster: &FakeCluster) -> ConfigMapLedger {
        ConfigMapLedger::new(cluster.client(), "ours")
    }

    #[tokio::test]
    async fn a_document_is_saved_over_the_version_that_was_loaded_and_no_other() {
        let cluster = FakeCluster::default();
        let ledger = ledger(&cluster);
        assert_eq!(ledger.load("heads").await.unwrap(), None);
        let first = ledger.save("heads", &json!({"size": 1}), None).await.unwrap();
        let loaded = ledger.load("heads").await.unwrap().unwrap();
        assert_eq!(loaded, Document { content: json!({"size": 1}), version: first.clone() });
        let conflict = |saved| matches!(saved, Err(LedgerError::Conflict { .. }));
        assert!(conflict(ledger.save("heads", &json!({"size": 2}), None).await), "it is there already");
        ledger.save("heads", &json!({"size": 2}), Some(&first)).await.unwrap();
        assert!(conflict(ledger.save("heads", &json!({"size": 3}), Some(&first)).await));
        assert_eq!(ledger.load("heads").await.unwrap().unwrap().content, json!({"size": 2}));
    }

    #[tokio::test]
    async fn what_is_too_large_or_no_document_is_refused() {
        let cluster = FakeCluster::default();
        let ledger = ledger(&cluster);
        let large = json!("x".repeat(SIZE_LIMIT));
        assert!(matches!(ledger.save("a", &large, None).await, Err(LedgerError::TooLarge { .. })));
        assert!(cluster.is_empty(), "nothing was written");
        for data in [json!({}), json!({"document.json": "{"})] {
            cluster.put("/api/v1/namespaces/ours/configmaps", "countersign-b", json!({"data": data}));
            assert!(matches!(ledger.load("b").await, Err(LedgerError::Malformed { .. })));
        }
        cluster.fail(503);
        assert!(matches!(ledger.load("b").await, Err(LedgerError::Cluster { .. })));
    }
}
