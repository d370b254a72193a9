//! A Rekor v1 log: entries with signed entry timestamps, inclusion proofs and checkpoints
//! (<https://github.com/sigstore/rekor/blob/main/openapi.yaml>). How it answers requests is `rekor_v1_api`'s.
//!
//! The index of an entry counts the entries of earlier shards, that of its proof does not; so they differ here as they do in the
//! public log.

use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Window;
use super::checkpoint::{CheckpointParts, Signer};
use super::entry::{Entry, Proof, canonical};
use super::key::{Algorithm, Key};
use super::merkle;
use super::text::{base64, hex, random};

/// Entries that are there before the first one of a test, so that proofs are not empty.
const FILLER: u64 = 5;

/// A log, as the trust root has it.
#[derive(Debug)]
pub(crate) struct RekorV1 {
    pub(crate) key: Key,
    /// The name in checkpoints.
    pub(crate) name: String,
    pub(crate) base_url: String,
    pub(crate) operator: String,
    pub(crate) valid_for: Window,
    pub(crate) tree_id: u64,
    /// Entries in earlier shards.
    pub(crate) offset: u64,
    entries: Mutex<Vec<Logged>>,
}

/// An entry in the tree.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) body: Vec<u8>,
    pub(super) integrated_time: Timestamp,
}

impl RekorV1 {
    /// A log of which the host is its name.
    pub(crate) fn new(algorithm: Algorithm, host: &str, operator: &str) -> Self {
        let filler = |_| Logged { body: random(32), integrated_time: Timestamp::UNIX_EPOCH };
        Self {
            key: Key::generate(algorithm),
            name: host.to_owned(),
            base_url: format!("https://{host}"),
            operator: operator.to_owned(),
            valid_for: Window::default(),
            tree_id: 1_193_050_959_916_656_506,
            offset: 4_163_431,
            entries: Mutex::new((0..FILLER).map(filler).collect()),
        }
    }

    /// The same log, key and all, of which the tree has only the first `size` leaves: what it logs from now on is another history.
    pub(crate) fn forked_at(&self, size: u64) -> Self {
        let entries = self.entries.lock().unwrap()[..usize::try_from(size).unwrap()].to_vec();
        Self {
            key: self.key.clone(),
            name: self.name.clone(),
            base_url: self.base_url.clone(),
            operator: self.operator.clone(),
            valid_for: self.valid_for,
            tree_id: self.tree_id,
            offset: self.offset,
            entries: Mutex::new(entries),
        }
    }

    /// Adds a leaf that nobody can read.
    pub(crate) fn grow(&self) {
        self.entries.lock().unwrap().push(Logged { body: random(32), integrated_time: Timestamp::UNIX_EPOCH });
    }

    /// Logs a body: the log signs its promise, and proves the entry in a tree with one more leaf after it.
    pub(crate) fn log(&self, body: &Value, at: Timestamp) -> Entry {
        let bytes = canonical(body);
        let index = {
            let mut entries = self.entries.lock().unwrap();
            entries.push(Logged { body: bytes.clone(), integrated_time: at });
            entries.push(Logged { body: random(32), integrated_time: at });
            entries.len() as u64 - 2
        };
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let log_index = self.offset + index;
        Entry {
            kind: text("kind"),
            version: text("apiVersion"),
            set: Some(self.promise(&bytes, log_index, at)),
            body: bytes,
            log_index,
            log_id: self.key.id(),
            integrated_time: Some(at),
            proof: Some(self.proof(index, index + 2)),
        }
    }

    /// The signed entry timestamp of any entry, whether or not it is in the log.
    pub(crate) fn promise(&self, body: &[u8], log_index: u64, at: Timestamp) -> Vec<u8> {
        let payload = json!({
            "body": base64(body),
            "integratedTime": at.as_second(),
            "logIndex": log_index,
            "logID": hex(&self.key.id()),
        });
        self.key.sign(&canonical(&payload))
    }

    /// Signs the promise of an entry anew, after it was changed.
    pub(crate) fn promise_again(&self, entry: &mut Entry) {
        let at = entry.integrated_time.unwrap_or(Timestamp::UNIX_EPOCH);
        entry.set = Some(self.promise(&entry.body, entry.log_index, at));
    }

    /// The proof of the leaf of this index in the tree of the first `size`, with the checkpoint of that size.
    pub(crate) fn proof(&self, index: u64, size: u64) -> Proof {
        let leaves = self.leaves(size);
        Proof {
            log_index: index,
            tree_size: size,
            root: merkle::root(&leaves),
            hashes: merkle::inclusion(&leaves, usize::try_from(index).unwrap()),
            checkpoint: Some(self.checkpoint(size).text()),
        }
    }

    /// A sound checkpoint of the tree of the first `size` leaves.
    pub(crate) fn checkpoint(&self, size: u64) -> CheckpointParts {
        CheckpointParts {
            origin: format!("{} - {}", self.name, self.tree_id),
            size,
            root: merkle::root(&self.leaves(size)),
            extensions: Vec::new(),
            signers: vec![self.signer()],
        }
    }

    /// The log as a signer of checkpoints. Its key's id is that of the log, whatever the kind of key.
    pub(crate) fn signer(&self) -> Signer {
        Signer { name: self.name.clone(), key: self.key.clone(), id: self.key.id(), witnessed: None }
    }

    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.entries.lock().unwrap().len() as u64
    }

    /// The hashes of the first `size` leaves.
    pub(crate) fn leaves(&self, size: u64) -> Vec<merkle::Node> {
        let entries = self.entries.lock().unwrap();
        entries[..usize::try_from(size).unwrap()].iter().map(|entry| merkle::leaf(&entry.body)).collect()
    }

    pub(super) fn logged(&self, index: u64) -> Option<Logged> {
        self.entries.lock().unwrap().get(usize::try_from(index).ok()?).cloned()
    }
}
