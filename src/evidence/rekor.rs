//! Answers of the first version of Rekor: an entry by its index or id, and the ids that a search finds.
//!
//! Shape only, as for bundles: that an answer is a log's word is `verify`'s to find out. The API is
//! <https://github.com/sigstore/rekor/blob/main/openapi.yaml>; the caller has bounded the bytes.

use std::collections::BTreeMap;

use serde::Deserialize;
use sigstore_merkle::hash_leaf;
use sigstore_types::{Checkpoint, Sha256Hash};

use super::FormatError;
use super::candidate::{EntryKind, InclusionProof, LogEntry, base64};
use crate::image::from_hexadecimal;

const ENTRY: &str = "log entry";
const RESULTS: &str = "search result of a log";
/// Hashes of an inclusion proof: a tree has no more levels than its size has bits.
const HASH_LIMIT: usize = 64;

/// The id of an entry: the hash of its leaf, behind the id of its tree or alone.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct EntryId {
    text: String,
    leaf: [u8; 32],
}

impl EntryId {
    /// Reads an id of 64 digits, or of 80 with the tree's.
    fn parse(text: &str) -> Result<Self, FormatError> {
        let bytes = from_hexadecimal(text).filter(|bytes| matches!(bytes.len(), 32 | 40));
        let leaf = bytes.as_deref().and_then(|bytes| bytes.last_chunk::<32>());
        let leaf = leaf.ok_or_else(|| malformed(ENTRY, &"its id has not 64 or 80 hexadecimal digits"))?;
        Ok(Self { text: text.to_ascii_lowercase(), leaf: *leaf })
    }

    /// The digits, in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The hash of the leaf.
    pub(crate) fn leaf(&self) -> Sha256Hash {
        Sha256Hash::new(self.leaf)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Option<Verification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: Option<Proof>,
    signed_entry_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
    #[serde(rename = "apiVersion")]
    version: String,
}

/// Reads an answer that holds one entry.
///
/// # Errors
/// Anything but exactly one entry, an id that is not its own, and kinds of entries that are not verified.
pub(crate) fn entry(bytes: &[u8]) -> Result<LogEntry, FormatError> {
    let answers: BTreeMap<String, Answer> = serde_json::from_slice(bytes).map_err(|error| malformed(ENTRY, &error))?;
    let mut answers = answers.into_iter();
    let (Some((id, answer)), None) = (answers.next(), answers.next()) else {
        return Err(malformed(ENTRY, &"the answer does not hold exactly one"));
    };
    let body = base64(&answer.body, ENTRY)?;
    if EntryId::parse(&id)?.leaf() != hash_leaf(&body) {
        return Err(malformed(ENTRY, &"its id is not that of its body"));
    }
    let kind: Kind = serde_json::from_slice(&body).map_err(|error| malformed(ENTRY, &error))?;
    let (proof, promise) = match answer.verification {
        Some(found) => (found.inclusion_proof.as_ref().map(proof).transpose()?, found.signed_entry_timestamp),
        None => (None, None),
    };
    let time = jiff::Timestamp::from_second(answer.integrated_time).map_err(|error| malformed(ENTRY, &error))?;
    Ok(LogEntry {
        kind: EntryKind::named(&kind.kind, &kind.version)?,
        log_id: from_hexadecimal(&answer.log_id).ok_or_else(|| malformed(ENTRY, &"its logID is not hexadecimal"))?,
        index: answer.log_index,
        integrated_time: Some(time),
        promise: promise.map(|promise| base64(&promise, ENTRY)).transpose()?,
        proof,
        body,
    })
}

/// An entry of a listing, of any kind.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The index in the log, over all its trees.
    pub(crate) index: u64,
    /// The key id of the log.
    pub(crate) log_id: Vec<u8>,
    /// When the log says to have taken it in.
    pub(crate) integrated_time: jiff::Timestamp,
    /// The inclusion proof.
    pub(crate) proof: InclusionProof,
    /// The entry itself.
    pub(crate) body: Vec<u8>,
}

/// Reads an answer that lists entries, each under its id.
///
/// # Errors
/// Anything but a list of at most `limit` entries, an id that is not its entry's, an entry without proof.
pub(crate) fn listed(bytes: &[u8], limit: usize) -> Result<Vec<Listed>, FormatError> {
    let answers: Vec<BTreeMap<String, Answer>> =
        serde_json::from_slice(bytes).map_err(|error| malformed(ENTRY, &error))?;
    let found = answers.iter().map(BTreeMap::len).sum();
    if found > limit {
        return Err(FormatError::TooMany { what: "entries of a listing", found, limit });
    }
    let read = |(id, answer): (String, Answer)| {
        let body = base64(&answer.body, ENTRY)?;
        if EntryId::parse(&id)?.leaf() != hash_leaf(&body) {
            return Err(malformed(ENTRY, &"its id is not that of its body"));
        }
        let found = answer.verification.and_then(|verification| verification.inclusion_proof);
        let found = found.ok_or_else(|| malformed(ENTRY, &"it carries no inclusion proof"))?;
        let log_id = from_hexadecimal(&answer.log_id);
        Ok(Listed {
            index: answer.log_index,
            log_id: log_id.ok_or_else(|| malformed(ENTRY, &"its logID is not hexadecimal"))?,
            integrated_time: jiff::Timestamp::from_second(answer.integrated_time)
                .map_err(|error| malformed(ENTRY, &error))?,
            proof: proof(&found)?,
            body,
        })
    };
    answers.into_iter().flatten().map(read).collect()
}

fn proof(found: &Proof) -> Result<InclusionProof, FormatError> {
    if found.hashes.len() > HASH_LIMIT {
        return Err(FormatError::TooMany {
            what: "hashes of an inclusion proof",
            found: found.hashes.len(),
            limit: HASH_LIMIT,
        });
    }
    let hash = |text: &String| Sha256Hash::from_hex(text).map_err(|error| malformed(ENTRY, &error));
    let checkpoint = Checkpoint::from_text(&found.checkpoint).map_err(|error| malformed(ENTRY, &error))?;
    if *checkpoint.root_hash() != hash(&found.root_hash)? {
        return Err(malformed(ENTRY, &"the root hash of its proof is not its checkpoint's"));
    }
    Ok(InclusionProof {
        index: found.log_index,
        tree_size: found.tree_size,
        hashes: found.hashes.iter().map(hash).collect::<Result<_, _>>()?,
        checkpoint,
    })
}

/// Reads the ids that a search found, each once.
///
/// # Errors
/// Anything but a list of ids, and more of them than `limit`.
pub(crate) fn search_results(bytes: &[u8], limit: usize) -> Result<Vec<EntryId>, FormatError> {
    let texts: Option<Vec<String>> = serde_json::from_slice(bytes).map_err(|error| malformed(RESULTS, &error))?;
    // Rekor says null where it found nothing.
    let mut ids =
        texts.unwrap_or_default().iter().map(|text| EntryId::parse(text)).collect::<Result<Vec<_>, FormatError>>()?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > limit {
        return Err(FormatError::TooMany { what: "entries of one hash in a log", found: ids.len(), limit });
    }
    Ok(ids)
}

fn malformed(format: &'static str, reason: &dyn std::fmt::Display) -> FormatError {
    FormatError::Malformed { format, reason: reason.to_string() }
}
