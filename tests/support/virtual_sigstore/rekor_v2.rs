//! A Rekor v2 log: entries with inclusion proofs under checkpoints, and neither promise nor time
//! (<https://github.com/sigstore/rekor-tiles/blob/main/CLIENTS.md>). How it is served as tiles is `tiles`'s.

use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::Value;

use super::Window;
use super::checkpoint::{CheckpointParts, Signer};
use super::entry::{Entry, Proof, canonical};
use super::key::{Algorithm, Key};
use super::merkle;
use super::text::random;

/// Entries that are there before the first one of a test, so that proofs are not empty.
const FILLER: u64 = 6;

/// A log, as the trust root has it.
#[derive(Debug)]
pub(crate) struct RekorV2 {
    pub(crate) key: Key,
    /// The origin of its checkpoints.
    pub(crate) origin: String,
    pub(crate) base_url: String,
    pub(crate) operator: String,
    pub(crate) valid_for: Window,
    /// Names of witnesses that cosign every checkpoint, with keys that nobody knows.
    pub(crate) witnesses: Vec<String>,
    entries: Mutex<Vec<Vec<u8>>>,
}

impl RekorV2 {
    /// A log of which the host is its origin.
    pub(crate) fn new(algorithm: Algorithm, host: &str, operator: &str) -> Self {
        Self {
            key: Key::generate(algorithm),
            origin: host.to_owned(),
            base_url: format!("https://{host}"),
            operator: operator.to_owned(),
            valid_for: Window::default(),
            witnesses: Vec::new(),
            entries: Mutex::new((0..FILLER).map(|_| random(32)).collect()),
        }
    }

    /// The same log, key and all, of which the tree has only the first `size` leaves: what it logs from now on is another history.
    pub(crate) fn forked_at(&self, size: u64) -> Self {
        Self {
            key: self.key.clone(),
            origin: self.origin.clone(),
            base_url: self.base_url.clone(),
            operator: self.operator.clone(),
            valid_for: self.valid_for,
            witnesses: self.witnesses.clone(),
            entries: Mutex::new(self.bodies(size)),
        }
    }

    /// Logs a body. The checkpoint is of the tree that ends with it, as Rekor hands it back.
    pub(crate) fn log(&self, body: &Value, at: Timestamp) -> Entry {
        let bytes = canonical(body);
        let index = self.append(bytes.clone());
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        Entry {
            kind: text("kind"),
            version: text("apiVersion"),
            body: bytes,
            log_index: index,
            log_id: self.id(),
            integrated_time: None,
            set: None,
            proof: Some(self.proof(index, index + 1, at)),
        }
    }

    /// Adds a leaf and gives its index.
    pub(crate) fn append(&self, entry: Vec<u8>) -> u64 {
        let mut entries = self.entries.lock().unwrap();
        entries.push(entry);
        entries.len() as u64 - 1
    }

    /// The log's id in the trust root: that of its key in signed notes.
    pub(crate) fn id(&self) -> Vec<u8> {
        self.signer().id
    }

    /// The log as a signer of checkpoints.
    pub(crate) fn signer(&self) -> Signer {
        Signer::log(&self.origin, &self.key)
    }

    /// The proof of the leaf of this index in the tree of the first `size`, with the checkpoint of that size.
    pub(crate) fn proof(&self, index: u64, size: u64, at: Timestamp) -> Proof {
        let leaves = self.leaves(size);
        Proof {
            log_index: index,
            tree_size: size,
            root: merkle::root(&leaves),
            hashes: merkle::inclusion(&leaves, usize::try_from(index).unwrap()),
            checkpoint: Some(self.checkpoint(size, at).text()),
        }
    }

    /// A sound checkpoint of the tree of the first `size` leaves; witnesses sign at the given time.
    pub(crate) fn checkpoint(&self, size: u64, at: Timestamp) -> CheckpointParts {
        let witnesses = self.witnesses.iter().map(|name| Signer::witness(name, at));
        CheckpointParts {
            origin: self.origin.clone(),
            size,
            root: merkle::root(&self.leaves(size)),
            extensions: Vec::new(),
            signers: std::iter::once(self.signer()).chain(witnesses).collect(),
        }
    }

    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.entries.lock().unwrap().len() as u64
    }

    /// The hashes of the first `size` leaves.
    pub(crate) fn leaves(&self, size: u64) -> Vec<merkle::Node> {
        self.bodies(size).iter().map(|entry| merkle::leaf(entry)).collect()
    }

    /// The first `size` entries.
    pub(crate) fn bodies(&self, size: u64) -> Vec<Vec<u8>> {
        self.entries.lock().unwrap()[..usize::try_from(size).unwrap()].to_vec()
    }
}
