//! Signatures and attestations as a registry serves them: bytes that nobody has verified yet, and where they were found.
//!
//! `Discovered` is untrusted by name; only `verify` turns it into facts. The submodules parse the formats into one shape
//! (`candidate`) and bind nothing: Sigstore bundles (`bundle`), cosign's simple signing and its annotations (`simple_signing`, `cosign`),
//! in-toto statements (`statement`), and what logs answer about entries (`rekor`). Names, annotations and the `subject` of a referrer are hints only.

mod bundle;
pub(crate) mod candidate;
mod cosign;
pub(crate) mod der;
pub(crate) mod pem;
pub(crate) mod rekor;
pub(crate) mod simple_signing;
mod statement;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::image::Digest;

pub use statement::Statement;

/// Media type prefix of Sigstore bundles in an OCI layer, all versions.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// Media type of cosign's simple signing payload.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Media type of cosign's attestation layers.
const DSSE_ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Where in the registry a candidate was found.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DiscoveryPath {
    /// The tag `sha256-<hex>.sig`.
    SignatureTag,
    /// The tag `sha256-<hex>.att`.
    AttestationTag,
    /// The referrers API.
    ReferrersApi,
    /// The referrers fallback tag `sha256-<hex>`.
    ReferrersTag,
}

impl fmt::Display for DiscoveryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SignatureTag => "tag .sig",
            Self::AttestationTag => "tag .att",
            Self::ReferrersApi => "referrers API",
            Self::ReferrersTag => "referrers tag",
        })
    }
}

/// The place of a candidate: by which path, in which manifest, in which layer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Origin {
    /// The discovery path.
    pub path: DiscoveryPath,
    /// Digest of the manifest that names the layer.
    pub manifest: Digest,
    /// Digest of the layer.
    pub layer: Digest,
}

/// The formats that a layer's media type announces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A Sigstore bundle, v0.1 to v0.3.
    Bundle,
    /// A DSSE envelope with cosign's annotations.
    Dsse,
    /// A simple signing payload with cosign's annotations.
    SimpleSigning,
}

impl Format {
    /// The format of a layer with this media type, if it is one of evidence.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            SIMPLE_SIGNING => Some(Self::SimpleSigning),
            DSSE_ENVELOPE => Some(Self::Dsse),
            other if other.starts_with(BUNDLE_PREFIX) => Some(Self::Bundle),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bundle => "Sigstore bundle",
            Self::Dsse => "cosign attestation",
            Self::SimpleSigning => "cosign signature",
        })
    }
}

/// Whether a layer of this media type may hold a signature or an attestation.
pub fn is_candidate_layer(media_type: &str) -> bool {
    Format::of(media_type).is_some()
}

/// A candidate: bytes and annotations from a registry, believed by nobody.
#[derive(Clone, Debug)]
pub struct Discovered {
    origin: Origin,
    media_type: String,
    bytes: Arc<[u8]>,
    annotations: Arc<BTreeMap<String, String>>,
}

impl Discovered {
    /// Records what was found. The caller has bounded the bytes and compared their digest with the layer's.
    pub fn untrusted(
        origin: Origin,
        media_type: String,
        bytes: Vec<u8>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self { origin, media_type, bytes: bytes.into(), annotations: Arc::new(annotations) }
    }

    /// Where it was found.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The layer's media type.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The format that the media type announces.
    pub fn format(&self) -> Option<Format> {
        Format::of(&self.media_type)
    }

    /// The layer's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The annotations of the layer's descriptor.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}

/// Evidence that does not follow its format. Always the fault of who made or stored it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FormatError {
    /// No reader for the media type.
    #[error("media type {media_type:?} is no format of evidence")]
    UnknownMediaType {
        /// The media type found.
        media_type: String,
    },
    /// Not the JSON that the format asks for.
    #[error("{format} is malformed: {reason}")]
    Malformed {
        /// The format.
        format: &'static str,
        /// What is wrong, from the parser.
        reason: String,
    },
    /// A list is longer than any genuine evidence needs.
    #[error("{what}: {found} found, at most {limit} are read")]
    TooMany {
        /// What the list holds.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are read.
        limit: usize,
    },
    /// An annotation that the format needs is not there.
    #[error("annotation {name} is missing")]
    MissingAnnotation {
        /// The annotation's name.
        name: &'static str,
    },
    /// A proof is given twice, as if it were two.
    #[error("a {what} is given twice")]
    Repeated {
        /// What is repeated.
        what: &'static str,
    },
    /// A field has a value that the format does not allow.
    #[error("{field} is {found:?}, not {expected:?}")]
    UnexpectedValue {
        /// The field.
        field: &'static str,
        /// The value found.
        found: String,
        /// The value that the format asks for.
        expected: &'static str,
    },
    /// A kind of log entry that this version does not verify.
    #[error("log entries of kind {kind} {version} are not verified by this version")]
    UnsupportedEntry {
        /// The entry's kind.
        kind: String,
        /// The entry's version.
        version: String,
    },
}
