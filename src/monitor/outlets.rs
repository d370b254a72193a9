//! What the monitor needs of its surroundings: where it keeps documents, whom it tells, who writes what it suggests.
//!
//! Small traits, so that nothing here knows a cluster. What is kept is not believed when it is read again: heads are verified anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;

use super::Finding;
use crate::api::SignatureRevocationSpec;

/// A document and the version that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub content: Value,
    /// What must still be there when it is saved.
    pub version: String,
}

/// Why a document could be neither loaded nor saved.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// Somebody else saved it meanwhile.
    #[error("the document was changed by somebody else")]
    Conflict,
    /// It cannot be reached, read or kept.
    #[error("the document cannot be kept: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Keeps documents by name: lower-case letters, digits and `-`. Replicas share them.
pub trait Documents: Send + Sync {
    /// The document of this name, if there is one.
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Document>, DocumentError>>;

    /// Saves a document in the place of the version that was loaded; none: there must be none yet. The new version.
    fn save<'a>(
        &'a self,
        name: &'a str,
        content: &'a Value,
        over: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, DocumentError>>;
}

/// Takes findings for people.
pub trait Findings: Send + Sync {
    /// Tells of a finding, and whether it was taken: what was not is told again. Must not wait.
    fn tell(&self, finding: &Finding) -> bool;
}

/// Writes suggested revocations.
pub trait Suggestions: Send + Sync {
    /// Creates a `SignatureRevocation` of this name, unless there is one: what a person made of an earlier suggestion stays as it is.
    ///
    /// # Errors
    /// Why it could not be created, for people; it is tried again.
    fn suggest<'a>(&'a self, name: &'a str, spec: &'a SignatureRevocationSpec) -> BoxFuture<'a, Result<(), String>>;
}

/// The surroundings of a monitor.
#[derive(Clone)]
pub struct Outlets {
    /// Where it keeps what it knows.
    pub documents: Arc<dyn Documents>,
    /// Whom it tells.
    pub findings: Arc<dyn Findings>,
    /// Who writes what it suggests.
    pub suggestions: Arc<dyn Suggestions>,
}

/// Documents in memory, which are lost with the process.
#[derive(Debug, Default)]
pub struct MemoryDocuments {
    kept: Mutex<BTreeMap<String, (u64, Value)>>,
}

impl MemoryDocuments {
    fn load_now(&self, name: &str) -> Option<Document> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).map(|(version, content)| Document { content: content.clone(), version: version.to_string() })
    }

    fn save_now(&self, name: &str, content: &Value, over: Option<&str>) -> Result<String, DocumentError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(name).map(|(version, _)| *version);
        if found.map(|version| version.to_string()).as_deref() != over {
            return Err(DocumentError::Conflict);
        }
        let version = found.unwrap_or_default() + 1;
        kept.insert(name.to_owned(), (version, content.clone()));
        Ok(version.to_string())
    }
}

impl Documents for MemoryDocuments {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Document>, DocumentError>> {
        std::future::ready(Ok(self.load_now(name))).boxed()
    }

    fn save<'a>(
        &'a self,
        name: &'a str,
        content: &'a Value,
        over: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, DocumentError>> {
        std::future::ready(self.save_now(name, content, over)).boxed()
    }
}
