//! Discovered bytes and trust material to verified facts.
//!
//! Policy-independent: nothing here knows which signer is wanted, and nothing here knows the time of day. `Evidence` exists only
//! for what was verified; the steps are numbered as in the Sigstore client specification
//! (<https://github.com/sigstore/architecture-docs/blob/main/client-spec.md#4-verification>), whose steps 1 to 8 the library takes:
//!
//! 1. Parse the candidate by its media type (`evidence`).
//! 2. Verify certificate chain, certificate transparency, log entries, times and signature (`certificate`), or the signature
//!    alone under a known key (`key`).
//! 3. Bind what was signed to the image's manifest (`artifact`): digest of the payload, or a subject of the statement.
//!
//! The roots never mix: a candidate is verified under one root or key at a time.

mod artifact;
mod certificate;
mod gather;
mod key;
mod names;

use std::fmt;

use serde::Serialize;

use crate::evidence::{FormatError, Origin};
use crate::image::Digest;
use crate::trust::KeyFingerprint;

pub use artifact::Artifact;
pub use certificate::verify_with_root;
pub use gather::{Gathered, Refusal, SCHEMA_VERSION, gather};
pub use key::verify_with_key;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_root: Option<String>,
    times: Vec<VerifiedTime>,
    logs: Vec<LogProof>,
    certificate_transparency: bool,
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
            Self::Certificate { issuer, subjects } => {
                let names: Vec<&str> = subjects.iter().map(Subject::as_str).collect();
                let names = if names.is_empty() { "(no subject)".to_owned() } else { names.join(", ") };
                write!(formatter, "{names} (issuer {})", issuer.as_deref().unwrap_or("none"))
            }
            Self::Key { sha256 } => write!(formatter, "key {sha256}"),
        }
    }
}

/// A time at which the signature certainly existed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedTime {
    /// The time.
    pub at: jiff::Timestamp,
    /// Whose word it is.
    pub source: TimeSource,
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

/// A verified entry of a transparency log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogProof {
    /// The log's address in the trust root.
    pub log: String,
    /// The entry's index, as the entry gives it.
    pub index: u64,
    /// Whether inclusion was proved against a checkpoint, or only promised by a signed entry timestamp.
    pub inclusion_proof: bool,
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

    /// The root under which the certificate was verified; none for keys.
    pub fn trust_root(&self) -> Option<&str> {
        self.trust_root.as_deref()
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

impl VerifyError {
    /// A stable code for the trace and for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format(FormatError::UnsupportedEntry { .. } | FormatError::UnsupportedAnnotation { .. })
            | Self::Unsupported { .. } => "EvidenceUnsupported",
            Self::Format(_) => "MalformedEvidence",
            Self::NoCertificate => "NoCertificate",
            Self::Certificate { .. } => "CertificateInvalid",
            Self::Log { .. } => "LogEntryInvalid",
            Self::Timestamp { .. } => "TimestampInvalid",
            Self::Signature { .. } => "SignatureInvalid",
            Self::OtherArtifact { .. } => "OtherArtifact",
        }
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
