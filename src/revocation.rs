//! Revocations: what is no longer to be believed, whatever a policy says.
//!
//! A parameter of every judgement from the start, so that no path can forget it. This version knows no source of revocations: the
//! set is always empty, the questions are asked all the same, and `SignatureRevocation` objects bring the answers.

use crate::image::Digest;
use crate::verify::Evidence;

/// The revocations of one request.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    _sealed: (),
}

/// Why something is struck out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// The revocation's name.
    pub by: String,
    /// The reason that it gives.
    pub reason: String,
}

impl Revocations {
    /// The empty set.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether any artifact is struck out, so that what an index holds must be known.
    pub fn names_artifacts(&self) -> bool {
        false
    }

    /// Whether this artifact is struck out.
    pub fn artifact(&self, _digest: &Digest) -> Option<Revoked> {
        None
    }

    /// Whether the signer, key, log entry or service behind this evidence is struck out.
    pub fn evidence(&self, _evidence: &Evidence) -> Option<Revoked> {
        None
    }
}
