//! Signatures that carry no log entry: what a log is asked for, and whether an entry that it finds is the signature's.
//!
//! Layers under cosign's tag `.sig` alone: every later format carries its entry. Only the first version of Rekor can be searched, by the
//! hash of what was signed; everybody can log an entry of that hash, so that each one found is tried as if it had come with the
//! signature, and their order decides nothing.

use serde_json::json;

use super::online::{OnlineError, fetched};
use super::steps::verify_parsed;
use super::{Anchor, Artifact, Evidence};
use crate::evidence::candidate::Candidate;
use crate::evidence::rekor::{self, EntryId};
use crate::evidence::{Discovered, Format, FormatError};
use crate::image::{Hash, ResolvedImage, hexadecimal};
use crate::trust::Log;

/// Entries of one hash that are looked at.
pub const RESULT_LIMIT: usize = 32;
/// Signatures without entry that are searched for, for one image.
pub const SEARCH_LIMIT: usize = 8;

/// The search for the entry of one signature under one anchor.
#[derive(Clone, Debug)]
pub struct Search {
    discovered: Discovered,
    image: ResolvedImage,
    anchor: Anchor,
    hash: Vec<u8>,
    logs: Vec<Log>,
}

/// An entry that a search found, still unread.
#[derive(Clone, Debug)]
pub struct Found {
    log: Log,
    id: EntryId,
}

impl Found {
    /// The path of the entry below the log's address.
    pub fn path(&self) -> String {
        format!("api/v1/log/entries/{}", self.id.as_str())
    }

    /// The log's address in the trust root.
    pub fn address(&self) -> &str {
        &self.log.address
    }
}

/// Whether a candidate is a signature that logs can be searched for: under cosign's tag, with a certificate, without an entry.
pub fn is_searchable(discovered: &Discovered) -> bool {
    discovered.format() == Some(Format::SimpleSigning)
        && Candidate::parse(discovered)
            .is_ok_and(|candidate| candidate.entries.is_empty() && candidate.carries_certificate())
}

/// The searches for those candidates that [are searchable](is_searchable).
///
/// # Errors
/// More than [`SEARCH_LIMIT`].
pub fn searches(
    candidates: &[Discovered],
    image: &ResolvedImage,
    anchors: &[Anchor],
) -> Result<Vec<Search>, OnlineError> {
    let mut searches = Vec::new();
    for discovered in candidates.iter().filter(|discovered| is_searchable(discovered)) {
        for anchor in anchors {
            let Some(root) = anchor.dating().filter(|root| root.has_logs()) else { continue };
            searches.push(Search {
                discovered: discovered.clone(),
                image: image.clone(),
                anchor: anchor.clone(),
                // The layer is the payload.
                hash: Hash::Sha256.of(discovered.bytes()),
                logs: root.logs().iter().filter(|log| may_be_searched(log)).cloned().collect(),
            });
        }
    }
    if searches.len() > SEARCH_LIMIT {
        return Err(OnlineError::TooMany { found: searches.len() });
    }
    Ok(searches)
}

/// Whether a log may be of the first version, which a trust root does not say: the id of its key is the hash of the key alone.
fn may_be_searched(log: &Log) -> bool {
    Hash::Sha256.of(log.key.spki()) == log.id
}

impl Search {
    /// The path to post to, below the address of each log.
    pub const PATH: &'static str = "api/v1/index/retrieve";

    /// The addresses of the logs to ask, and their numbers. Empty: the root has none that can be searched.
    pub fn logs(&self) -> impl Iterator<Item = (usize, &str)> {
        self.logs.iter().map(|log| log.address.as_str()).enumerate()
    }

    /// What to post.
    pub fn query(&self) -> String {
        json!({"hash": format!("sha256:{}", hexadecimal(&self.hash))}).to_string()
    }

    /// Reads what the log of this number found.
    ///
    /// # Errors
    /// Anything but a list of ids, and more than [`RESULT_LIMIT`].
    pub fn found(&self, log: usize, answer: &[u8]) -> Result<Vec<Found>, OnlineError> {
        let ids = rekor::search_results(answer, RESULT_LIMIT).map_err(|error| match error {
            FormatError::TooMany { found, .. } => OnlineError::TooMany { found },
            error => OnlineError::Malformed { reason: error.to_string() },
        })?;
        let log = self.logs.get(log);
        Ok(ids.into_iter().filter_map(|id| log.map(|log| Found { log: log.clone(), id })).collect())
    }

    /// Tries an entry as that of the signature: all that is verified of signatures that carry theirs, and that the log proves it.
    ///
    /// # Errors
    /// An answer that is not the entry asked for, and an entry that is not the signature's.
    pub fn attempt(&self, found: &Found, answer: &[u8]) -> Result<Evidence, OnlineError> {
        let malformed = |error: FormatError| OnlineError::Malformed { reason: error.to_string() };
        let entry = rekor::entry(answer).map_err(malformed)?;
        if sigstore_merkle::hash_leaf(&entry.body) != found.id.leaf() || entry.log_id != found.log.id {
            return Err(OnlineError::OtherEntry { index: entry.index });
        }
        let mut candidate = Candidate::parse(&self.discovered).map_err(malformed)?;
        candidate.entries = vec![entry];
        let evidence = verify_parsed(&candidate, &self.discovered, Artifact::from(&self.image), &self.anchor)
            .map_err(|error| OnlineError::NotProved { reason: error.to_string() })?;
        if evidence.logs().iter().any(|proof| proof.inclusion_proof) {
            return Ok(fetched(evidence));
        }
        Err(OnlineError::NotProved { reason: "the answer has no inclusion proof".to_owned() })
    }
}
