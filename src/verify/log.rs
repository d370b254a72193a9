//! Entries of transparency logs: promise, inclusion proof and checkpoint, under the keys of a trust root.
//!
//! A promise is the signed entry timestamp of Rekor's first version; a proof is a path to the root of a tree (RFC 6962, section 2.1.1) whose
//! head a log signed (<https://c2sp.org/tlog-checkpoint>). All that an entry carries must verify; that it belongs to the candidate is
//! `entry`'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_merkle::{hash_leaf, verify_inclusion_proof};
use sigstore_types::{Checkpoint, CheckpointSignature, Sha256Hash};

use super::consistency::TreeHead;
use super::{LogApi, VerifyError};
use crate::evidence::candidate::{InclusionProof, LogEntry};
use crate::image::hexadecimal;
use crate::trust::{Log, Message};

/// Signatures on one checkpoint that are tried: the log's, and those of witnesses that happen to share its key hint.
const SIGNATURE_LIMIT: usize = 16;

/// What an entry proved.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    /// The log that said so.
    pub(super) log: &'a Log,
    /// When it says to have taken the entry in; none where it gave no promise.
    pub(super) integrated: Option<Timestamp>,
    /// Whether inclusion was proved.
    pub(super) included: bool,
    /// The head that inclusion was proved in, for monitors.
    pub(super) head: Option<TreeHead>,
}

/// Verifies an entry under some logs. None: its log is not among them, so that it proves nothing.
///
/// # Errors
/// A part of the entry that does not verify, or an entry with neither promise nor proof.
pub(super) fn verify<'a>(entry: &LogEntry, logs: &'a [Log]) -> Result<Option<Logged<'a>>, VerifyError> {
    if entry.promise.is_none() && entry.proof.is_none() {
        return Err(refused("an entry has neither inclusion proof nor promise"));
    }
    let v2 = entry.kind.is_rekor_v2();
    // The second version of Rekor signs checkpoints only, and the id beside its entries is nobody's word.
    let named = if v2 { None } else { logs.iter().find(|log| log.id == entry.log_id) };
    let included = match &entry.proof {
        Some(proof) => {
            let candidates: Vec<&Log> = match named {
                Some(log) => vec![log],
                None if v2 => logs.iter().collect(),
                None => Vec::new(),
            };
            let Some((log, signature)) = signed(&proof.checkpoint, &candidates, v2)? else { return Ok(None) };
            inclusion(entry, proof, v2)?;
            let api = if v2 { LogApi::Tiles } else { LogApi::Entries };
            Some((log, TreeHead::of(&proof.checkpoint, signature, log, api)))
        }
        None => None,
    };
    let promised = match &entry.promise {
        // No promise is known in the second version; one that is there is nobody's.
        Some(_) if v2 => return Err(refused("an entry of Rekor's second version carries a promise")),
        Some(promise) => {
            let Some(log) = named else { return Ok(None) };
            Some((log, promised(entry, promise, log)?))
        }
        None => None,
    };
    let integrated = promised.map(|(_, time)| time);
    let proved = included.is_some();
    let (by_proof, head) = included.unzip();
    let log = by_proof.or(promised.map(|(log, _)| log));
    Ok(log.map(|log| Logged { log, integrated, included: proved, head: head.flatten() }))
}

/// The promise: the log's signature over the entry, its place and its time, at which the root must believe the log.
fn promised(entry: &LogEntry, promise: &[u8], log: &Log) -> Result<Timestamp, VerifyError> {
    let time = entry.integrated_time.ok_or_else(|| refused("an entry carries a promise and no integrated time"))?;
    if !log.window.contains(time) {
        return Err(refused(format!("the trust root does not believe {} at {time}", log.address)));
    }
    // JSON in its canonical form (RFC 8785): names in order, no blanks; no value needs an escape.
    let signed = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(&entry.body),
        time.as_second(),
        hexadecimal(&entry.log_id),
        entry.index,
    );
    log.key
        .verify(log.scheme, Message::Bytes(signed.as_bytes()), promise)
        .map_err(|_| refused(format!("the promise of an entry is not signed by {}", log.address)))?;
    Ok(time)
}

/// The proof: a path from the entry to the head's root.
fn inclusion(entry: &LogEntry, proof: &InclusionProof, v2: bool) -> Result<(), VerifyError> {
    let head = &proof.checkpoint;
    if !v2 && proof.tree_size != head.tree_size() {
        return Err(refused("the inclusion proof of an entry is for another tree size than its checkpoint"));
    }
    let index = if v2 { entry.index } else { proof.index };
    included(&hash_leaf(&entry.body), index, &proof.hashes, head)
}

/// A path from a leaf to the head's root.
pub(super) fn included(
    leaf: &Sha256Hash,
    index: u64,
    path: &[Sha256Hash],
    head: &Checkpoint,
) -> Result<(), VerifyError> {
    verify_inclusion_proof(leaf, index, head.tree_size(), path, head.root_hash())
        .map_err(|error| refused(format!("the inclusion proof of an entry does not hold: {error}")))
}

/// The log that signed a checkpoint. Hints are four bytes and may collide: every signature is tried under every key that it may be
/// of, and witnesses are passed over. None: it is signed by none of these logs.
pub(super) fn head<'a>(checkpoint: &Checkpoint, logs: &[&'a Log], v2: bool) -> Result<Option<&'a Log>, VerifyError> {
    Ok(signed(checkpoint, logs, v2)?.map(|(log, _)| log))
}

/// The log that signed a checkpoint, with its signature.
pub(super) fn signed<'a, 'b>(
    checkpoint: &'b Checkpoint,
    logs: &[&'a Log],
    v2: bool,
) -> Result<Option<(&'a Log, &'b CheckpointSignature)>, VerifyError> {
    let message = Message::Bytes(checkpoint.signed_data());
    let mut matching = false;
    let hinted = |hint: &[u8], log: &Log| log.id.get(..4) == Some(hint);
    let mut tried = 0;
    for signature in checkpoint.signatures() {
        // A checkpoint of the second version is signed in the name of its origin.
        if v2 && signature.name != checkpoint.origin() {
            continue;
        }
        for log in logs.iter().filter(|log| hinted(signature.key_id.as_slice(), log)) {
            matching = true;
            tried += 1;
            if tried > SIGNATURE_LIMIT {
                return Err(refused("the checkpoint of an entry has too many signatures under one key hint"));
            }
            if log.key.verify(log.scheme, message, signature.signature.as_bytes()).is_ok() {
                return Ok(Some((log, signature)));
            }
        }
    }
    match (matching, logs) {
        (false, []) => Ok(None),
        (false, _) if v2 => Ok(None),
        (false, _) => Err(refused("the checkpoint of an entry is not signed by its log")),
        (true, _) => Err(refused("a signature of the checkpoint of an entry does not verify")),
    }
}

fn refused(reason: impl Into<String>) -> VerifyError {
    VerifyError::Log { reason: reason.into() }
}
