//! A candidate in one shape, whatever format it came in: what is signed, by what kind of signer, with which log entries and timestamps.
//!
//! Parsed once, then verified under every root and key. Still believed by nobody: shape and bounds only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_types::{Checkpoint, DsseEnvelope, Sha256Hash};

use super::{Discovered, Format, FormatError, bundle, cosign, der};
use crate::image::Hash;

/// Log entries, timestamps or certificates that one candidate may carry; genuine ones carry one to three of each.
pub(super) const LIST_LIMIT: usize = 16;

/// A parsed candidate.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// What is signed.
    pub(crate) content: Content,
    /// Who says to have signed.
    pub(crate) signer: SignerMaterial,
    /// Entries of transparency logs.
    pub(crate) entries: Vec<LogEntry>,
    /// Timestamps, each an RFC 3161 response or token in DER.
    pub(crate) timestamps: Vec<Vec<u8>>,
    /// Why an entry or timestamp that stands beside the signature cannot be read: a matter of those alone who look at them.
    pub(crate) unreadable: Option<FormatError>,
}

/// What is signed, with the signature.
#[derive(Debug)]
pub(crate) enum Content {
    /// The artifact itself.
    Artifact {
        /// The signature.
        signature: Vec<u8>,
        /// The digest that stands beside the signature, which must be the artifact's.
        digest: Option<(Hash, Vec<u8>)>,
    },
    /// A simple signing payload, which names the artifact.
    Payload {
        /// The payload.
        payload: Vec<u8>,
        /// The signature.
        signature: Vec<u8>,
    },
    /// A DSSE envelope, whose statement names the artifact.
    Envelope {
        /// The envelope, with exactly one signature.
        envelope: DsseEnvelope,
        /// The bytes that the envelope was parsed from, where they stand alone: some log entries hold their hash.
        bytes: Option<Vec<u8>>,
    },
}

impl Content {
    /// The signature.
    pub(crate) fn signature(&self) -> &[u8] {
        match self {
            Self::Artifact { signature, .. } | Self::Payload { signature, .. } => signature,
            Self::Envelope { envelope, .. } => envelope.signature.sig.as_bytes(),
        }
    }
}

/// What a candidate brings to say who signed.
#[derive(Debug)]
pub(crate) enum SignerMaterial {
    /// A certificate in DER, and certificates that may stand between it and a root.
    Certificate {
        leaf: Vec<u8>,
        intermediates: Vec<Vec<u8>>,
        /// Whether a bundle of version 0.3 gives them as a chain, which it may for certificates of an own authority alone.
        as_chain_in_v03: bool,
    },
    /// A key that the verifier must know.
    Key,
}

/// Kinds of log entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EntryKind {
    HashedRekord001,
    HashedRekord002,
    Dsse001,
    Intoto001,
    Intoto002,
}

impl EntryKind {
    /// The kind of this name and version.
    ///
    /// # Errors
    /// Kinds that are not verified.
    pub(crate) fn named(kind: &str, version: &str) -> Result<Self, FormatError> {
        const ALL: [EntryKind; 5] = [
            EntryKind::HashedRekord001,
            EntryKind::HashedRekord002,
            EntryKind::Dsse001,
            EntryKind::Intoto001,
            EntryKind::Intoto002,
        ];
        let unsupported = || FormatError::UnsupportedEntry { kind: kind.to_owned(), version: version.to_owned() };
        ALL.into_iter().find(|known| known.name() == (kind, version)).ok_or_else(unsupported)
    }

    /// Its name and version, as bodies give them.
    pub(crate) fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord001 => ("hashedrekord", "0.0.1"),
            Self::HashedRekord002 => ("hashedrekord", "0.0.2"),
            Self::Dsse001 => ("dsse", "0.0.1"),
            Self::Intoto001 => ("intoto", "0.0.1"),
            Self::Intoto002 => ("intoto", "0.0.2"),
        }
    }

    /// Whether it is of the second version of Rekor: no promise, no integrated time.
    pub(crate) fn is_rekor_v2(self) -> bool {
        self == Self::HashedRekord002
    }
}

/// An entry of a transparency log, as the candidate gives it.
#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) kind: EntryKind,
    /// The key id of the log.
    pub(crate) log_id: Vec<u8>,
    /// The index in the log, over all its trees.
    pub(crate) index: u64,
    /// When the log says to have taken it in; believed only under a promise.
    pub(crate) integrated_time: Option<Timestamp>,
    /// The signed entry timestamp.
    pub(crate) promise: Option<Vec<u8>>,
    /// The inclusion proof.
    pub(crate) proof: Option<InclusionProof>,
    /// The entry itself, in its canonical form.
    pub(crate) body: Vec<u8>,
}

/// The proof that an entry is in a tree.
#[derive(Clone, Debug)]
pub(crate) struct InclusionProof {
    /// The index in the tree.
    pub(crate) index: u64,
    /// The tree's size, as the proof repeats it.
    pub(crate) tree_size: u64,
    pub(crate) hashes: Vec<Sha256Hash>,
    /// The tree's head, signed.
    pub(crate) checkpoint: Checkpoint,
}

impl Candidate {
    /// Parses a candidate by its media type.
    ///
    /// # Errors
    /// Bytes that do not follow their format, and lists longer than any genuine candidate has.
    pub(crate) fn parse(discovered: &Discovered) -> Result<Self, FormatError> {
        let annotations = discovered.annotations();
        let candidate = match discovered.format() {
            Some(Format::Bundle) => bundle::parse(discovered.bytes())?,
            Some(Format::Dsse) => cosign::attestation(discovered.bytes(), annotations)?,
            Some(Format::SimpleSigning) => cosign::simple_signing(discovered.bytes(), annotations)?,
            None => {
                return Err(FormatError::UnknownMediaType { media_type: discovered.media_type().to_owned() });
            }
        };
        candidate.bound()
    }

    /// Whether it brings a certificate.
    pub(crate) fn carries_certificate(&self) -> bool {
        matches!(self.signer, SignerMaterial::Certificate { .. })
    }

    /// Refuses lists that would make verification slow, and proofs that are given twice.
    fn bound(self) -> Result<Self, FormatError> {
        let certificates = match &self.signer {
            SignerMaterial::Certificate { intermediates, .. } => intermediates.len() + 1,
            SignerMaterial::Key => 0,
        };
        for (what, found) in
            [("log entries", self.entries.len()), ("timestamps", self.timestamps.len()), ("certificates", certificates)]
        {
            if found > LIST_LIMIT {
                return Err(FormatError::TooMany { what, found, limit: LIST_LIMIT });
            }
        }
        if let SignerMaterial::Certificate { leaf, intermediates, .. } = &self.signer {
            for certificate in std::iter::once(leaf).chain(intermediates) {
                der::check("bytes of a certificate", certificate)?;
            }
        }
        for token in &self.timestamps {
            der::check("bytes of a timestamp", token)?;
        }
        let twice =
            |position: usize, token: &Vec<u8>| self.timestamps.iter().skip(position + 1).any(|other| other == token);
        if self.timestamps.iter().enumerate().any(|(position, token)| twice(position, token)) {
            return Err(FormatError::Repeated { what: "timestamp" });
        }
        let same = |left: &LogEntry, right: &LogEntry| left.body == right.body && left.log_id == right.log_id;
        let twice = |position: usize, entry| self.entries.iter().skip(position + 1).any(|other| same(entry, other));
        if self.entries.iter().enumerate().any(|(position, entry)| twice(position, entry)) {
            return Err(FormatError::Repeated { what: "log entry" });
        }
        Ok(self)
    }
}

/// Base64 in the standard alphabet with padding, as every format here uses it.
pub(super) fn base64(text: &str, what: &'static str) -> Result<Vec<u8>, FormatError> {
    STANDARD.decode(text).map_err(|error| FormatError::Malformed { format: what, reason: error.to_string() })
}
