//! Discovered bytes and trust material to verified facts.
//!
//! Policy-independent: nothing here knows which signer is wanted, and nothing here knows the time of day. `Evidence` exists only
//! for what was verified; the steps are numbered as in `steps`, which follows the Sigstore client specification
//! (<https://github.com/sigstore/architecture-docs/blob/main/client-spec.md#4-verification>).
//!
//! Roots never mix: a candidate is verified under one anchor (a root, a key, an own authority) at a time. What an anchor cannot verify
//! proves nothing, and what is there and does not hold is a refusal; which proofs are enough is `policy`'s.

mod anchor;
mod artifact;
mod certificate;
mod chain;
mod consistency;
mod entry;
mod facts;
mod gather;
mod listing;
mod log;
mod names;
mod online;
mod search;
mod steps;
mod tiles;
mod timestamp;
mod transparency;
mod tst_info;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::evidence::{FormatError, Origin};
use crate::image::Digest;
use crate::trust::{KeyFingerprint, Operator};

pub use anchor::{Anchor, AnchorId};
pub use artifact::Artifact;
pub use certificate::claim_names;
pub use consistency::{Newest, Proved, Relation, Span, TreeHead, TreeId, WatchedLog, relate};
pub use facts::{CertificateFacts, CertificateLogProof, ServiceKind, ServiceNames, Word};
#[cfg(test)]
pub(crate) use gather::gather;
pub use gather::{Gathered, Prepared, Refusal, SCHEMA_VERSION};
pub use listing::{BUNDLE_BYTES, Bundle, LISTED_LIMIT, Listing, SeenEntry};
pub use online::{Confirmation, FreshHead, LogApi, OnlineError, QUESTION_LIMIT, Question};
pub use search::{Found, RESULT_LIMIT, SEARCH_LIMIT, Search, is_searchable, searches};
pub use steps::{verify, verify_with_key, verify_with_root};
pub use tiles::{TILE_BYTES, Tile, inclusion_path, inclusion_tiles};

/// The predicate type of the statement with which cosign 3 signs an image: a signature, not an attestation.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// A verified fact: somebody signed this image, or a statement about it. Built only in this module.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    origin: Origin,
    image: Digest,
    claim: Claim,
    signer: Signer,
    /// What names the signer's certificate; none for keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateFacts>,
    under: AnchorId,
    times: Vec<VerifiedTime>,
    logs: Vec<LogProof>,
    certificate_transparency: bool,
    /// The logs that proved it.
    #[serde(skip)]
    certificate_logs: Vec<CertificateLogProof>,
    /// Why certificate transparency is not proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_certificate_transparency: Option<String>,
    /// Timestamps and entries that were there and proved nothing, with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<String>,
    /// Whether some of them, or what promised the certificate, are by a service that the trust root does not know.
    #[serde(skip)]
    names_unknown: bool,
}

/// What was signed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Claim {
    /// The image itself.
    Signature,
    /// A statement about the image.
    #[serde(rename_all = "camelCase")]
    Attestation {
        /// The statement's predicate type.
        predicate_type: String,
    },
}

/// Who signed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Signer {
    /// The holder of a certificate.
    Certificate {
        /// The OpenID Connect issuer. Absent where the certificate names none.
        #[serde(skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// The subject alternative names, any of which may be the one that a policy names. Empty where none is read.
        subjects: Vec<Subject>,
        /// What the issuer said about the signer, by the names of Fulcio's extensions.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        claims: BTreeMap<&'static str, String>,
    },
    /// The holder of a key.
    Key {
        /// SHA-256 of the `SubjectPublicKeyInfo`.
        sha256: KeyFingerprint,
    },
}

/// A subject alternative name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// An rfc822Name.
    Email(String),
    /// An otherName by which Fulcio knows users that have no e-mail address.
    OtherName(String),
    /// A uniformResourceIdentifier.
    Uri(String),
}

impl Subject {
    /// The name without its kind.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(text) | Self::OtherName(text) | Self::Uri(text) => text,
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { issuer, subjects, .. } => {
                let names: Vec<&str> = subjects.iter().map(Subject::as_str).collect();
                let names = if names.is_empty() { "(no subject)".to_owned() } else { names.join(", ") };
                write!(formatter, "{names} (issuer {})", issuer.as_deref().unwrap_or("none"))
            }
            Self::Key { sha256 } => write!(formatter, "key {sha256}"),
        }
    }
}

/// A time at which the signature certainly existed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedTime {
    /// The time, as the service states it.
    pub at: jiff::Timestamp,
    /// The earliest moment that the service's accuracy allows.
    pub earliest: jiff::Timestamp,
    /// The latest moment that the service's accuracy allows.
    pub latest: jiff::Timestamp,
    /// What kind of word it is.
    pub source: TimeSource,
    /// The service's address in the trust root.
    pub service: String,
    /// Who runs it.
    pub operator: Operator,
    /// What it is called by.
    #[serde(skip)]
    pub names: ServiceNames,
}

/// Who vouches for a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TimeSource {
    /// A transparency log, in a signed entry timestamp.
    Log,
    /// A timestamp authority, in an RFC 3161 token.
    TimestampAuthority,
}

impl TimeSource {
    /// The kind of service.
    pub fn service(self) -> ServiceKind {
        match self {
            Self::Log => ServiceKind::Log,
            Self::TimestampAuthority => ServiceKind::TimestampAuthority,
        }
    }
}

/// A verified entry of a transparency log.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogProof {
    /// The address, in the trust root, of the log that signed the promise or the checkpoint.
    pub log: String,
    /// The log's key id in hexadecimal digits.
    pub key_id: String,
    /// Who runs it.
    pub operator: Operator,
    /// The entry's index, as the entry gives it.
    pub index: u64,
    /// Whether the log signed that index: in a promise, or as its place in the tree.
    #[serde(skip)]
    pub index_signed: bool,
    /// The entry's place in the tree in which its inclusion was proved, which counts no entries of earlier trees.
    #[serde(skip)]
    pub tree_index: Option<u64>,
    /// The hash of the entry's leaf, by which logs call it.
    pub uuid: Digest,
    /// What the log is called by.
    #[serde(skip)]
    pub names: ServiceNames,
    /// Whether inclusion was proved against a checkpoint, or only promised by a signed entry timestamp.
    pub inclusion_proof: bool,
    /// Whether the log dated the entry, which it does under a promise only.
    pub dated: bool,
    /// Whether the log itself confirmed, in this request, that it holds the entry.
    pub online: bool,
    /// What identifies the entry when the log is asked.
    #[serde(skip)]
    place: online::Place,
    /// The head that it was proved in.
    #[serde(skip)]
    head: Option<TreeHead>,
}

impl LogProof {
    /// The head of the tree that the entry was proved in, for monitors: none where inclusion is only promised.
    pub fn head(&self) -> Option<&TreeHead> {
        self.head.as_ref()
    }
}

impl Evidence {
    /// Where it was found.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The image, or other artifact, that it is about.
    pub fn image(&self) -> &Digest {
        &self.image
    }

    /// What was signed.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Who signed.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What names the signer's certificate; none for keys.
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        self.certificate.as_ref()
    }

    /// What it was verified under.
    pub fn under(&self) -> &AnchorId {
        &self.under
    }

    /// All verified times.
    pub fn times(&self) -> &[VerifiedTime] {
        &self.times
    }

    /// All verified log entries.
    pub fn logs(&self) -> &[LogProof] {
        &self.logs
    }

    /// Whether a certificate transparency log's promise was verified.
    pub fn certificate_transparency(&self) -> bool {
        self.certificate_transparency
    }

    /// The logs that promised the signer's certificate.
    pub fn certificate_logs(&self) -> &[CertificateLogProof] {
        &self.certificate_logs
    }

    /// Timestamps and log entries that were there and proved nothing, with why: what a missing proof may be explained by.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Whether something of it proved nothing only because the trust root does not know the service: a newer root might.
    pub fn names_unknown(&self) -> bool {
        self.names_unknown
    }

    /// Why certificate transparency is not proved; none where it is, and for keys.
    pub fn no_certificate_transparency(&self) -> Option<&str> {
        self.no_certificate_transparency.as_deref()
    }
}

/// Why a candidate is no evidence under a root or key. Never the fault of the registry or of ours: a `Fail`, not an `Error`.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Step 1: the candidate does not follow its format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The candidate is signed by a key, and a certificate was asked for.
    #[error("it carries no certificate")]
    NoCertificate,
    /// Step 2: a certificate was valid at some time, and no time is verified: no log promised an entry, and no authority stamped it.
    #[error("no time is verified at which its certificate was valid: {reason}")]
    Undated {
        /// What is missing.
        reason: &'static str,
        /// Whether what is missing is a log entry.
        log: bool,
    },
    /// Step 2: the certificate does not chain to the root, is outside its window, or names no signer.
    #[error("certificate: {reason}")]
    Certificate {
        /// What is wrong, from the verifier.
        reason: String,
    },
    /// Step 2: the log entry, its proof, promise or time does not verify, or belongs to something else.
    #[error("transparency log: {reason}")]
    Log {
        /// What is wrong, from the verifier.
        reason: String,
    },
    /// Step 2: a timestamp does not verify, or no time is verified.
    #[error("timestamp: {reason}")]
    Timestamp {
        /// What is wrong, from the verifier.
        reason: String,
    },
    /// Step 2: it is by a service that the root does not know. A newer root might.
    #[error("{}: {reason}", kind.title())]
    Unknown {
        /// What kind of service.
        kind: UnknownService,
        /// What is not known.
        reason: String,
    },
    /// Step 2: the signature does not verify.
    #[error("signature: {reason}")]
    Signature {
        /// What is wrong, from the verifier.
        reason: String,
    },
    /// Step 2: nothing that this version verifies.
    #[error("not verified by this version: {reason}")]
    Unsupported {
        /// What is not supported.
        reason: String,
    },
    /// Step 3: it is about something else.
    #[error("it is about another artifact than {image}: {reason}")]
    OtherArtifact {
        /// The image's digest.
        image: String,
        /// What it is about.
        reason: String,
    },
}

/// What kind of service a root does not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownService {
    /// A log of entries.
    Log,
    /// An authority that issues certificates.
    CertificateAuthority,
    /// A timestamp authority.
    TimestampAuthority,
}

impl UnknownService {
    fn title(self) -> &'static str {
        match self {
            Self::Log => "transparency log",
            Self::CertificateAuthority => "certificate",
            Self::TimestampAuthority => "timestamp",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Log => "LogEntryInvalid",
            Self::CertificateAuthority => "CertificateInvalid",
            Self::TimestampAuthority => "TimestampInvalid",
        }
    }
}

impl VerifyError {
    /// Whether a newer root might know the service that this one does not.
    pub fn names_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// A stable code for the trace and for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format(error) => format_code(error),
            Self::Unsupported { .. } => "EvidenceUnsupported",
            Self::NoCertificate => "NoCertificate",
            Self::Undated { log: true, .. } => "LogMissing",
            Self::Undated { log: false, .. } => "TimestampMissing",
            Self::Unknown { kind, .. } => kind.code(),
            Self::Certificate { .. } => "CertificateInvalid",
            Self::Log { .. } => "LogEntryInvalid",
            Self::Timestamp { .. } => "TimestampInvalid",
            Self::Signature { .. } => "SignatureInvalid",
            Self::OtherArtifact { .. } => "OtherArtifact",
        }
    }
}

/// A stable code for a candidate that does not follow its format.
fn format_code(error: &FormatError) -> &'static str {
    match error {
        FormatError::UnsupportedEntry { .. } => "EvidenceUnsupported",
        _ => "MalformedEvidence",
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
