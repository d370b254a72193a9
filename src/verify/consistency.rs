//! Heads of trees, and whether two of them are of one history.
//!
//! No network: questions go out and bytes come in, as in `online`. A [`TreeHead`] exists only for what its log's key signed, whether it
//! came with evidence, from the log itself or out of a document that was kept. Trees are told apart by key and full origin line, since one
//! key can serve several (<https://c2sp.org/tlog-checkpoint>); proofs are those of RFC 6962, section 2.1.2, out of one answer of the
//! first version of Rekor or out of tiles of the second.
//!
//! What a contradiction means, and what is done about it, is `monitor`'s. An answer that is none says nothing about the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use sigstore_merkle::verify_consistency_proof;
use sigstore_types::{Checkpoint, CheckpointSignature, Sha256Hash};

use super::tiles::{Tile, consistency_path, consistency_tiles};
use super::{LogApi, OnlineError, log};
use crate::image::{Hash, hexadecimal};
use crate::trust::{Log, TrustMaterial};

/// Bytes of a note that is kept: origin, size, root, and one signature.
const NOTE_BYTES: usize = 4 << 10;
/// Hashes of a proof: fewer than two for each level of a tree.
const HASH_LIMIT: usize = 128;
/// Earlier trees that a log of the first version names; the public one has two.
const SHARD_LIMIT: usize = 64;

/// A tree: whose key signs its heads, and under which name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TreeId {
    /// The log's key id in hexadecimal digits.
    pub key_id: String,
    /// The first line of its heads, as it was signed.
    pub origin: String,
}

/// The head of a tree, as its log signed it. Built only in `verify`. Two are equal that say the same, however often it was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TreeHead(Arc<Signed>);

#[derive(Debug)]
struct Signed {
    tree: TreeId,
    size: u64,
    root: Sha256Hash,
    api: LogApi,
    note: String,
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        (&self.tree, self.size, self.root, self.api) == (&other.tree, other.size, other.root, other.api)
    }
}

impl Eq for Signed {}

impl TreeHead {
    /// The head that a checkpoint is, which this signature of the log was found to be good for. None: no log writes so long a one.
    pub(super) fn of(checkpoint: &Checkpoint, signature: &CheckpointSignature, log: &Log, api: LogApi) -> Option<Self> {
        let body = std::str::from_utf8(checkpoint.signed_data()).ok()?;
        let bytes = [signature.key_id.as_slice(), signature.signature.as_bytes()].concat();
        let origin = body.split('\n').next()?.to_owned();
        // The name that stands before a signature is not signed. That of the second version is the origin, and is compared elsewhere.
        let name = origin.split_whitespace().next()?;
        let note = format!("{body}\n\u{2014} {name} {}\n", STANDARD.encode(bytes));
        if note.len() > NOTE_BYTES {
            return None;
        }
        let tree = TreeId { key_id: hexadecimal(&log.id), origin };
        let (size, root) = (checkpoint.tree_size(), *checkpoint.root_hash());
        Some(Self(Arc::new(Signed { tree, size, root, api, note })))
    }

    /// Whose it is.
    pub fn tree(&self) -> &TreeId {
        &self.0.tree
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The hash over all of them, in hexadecimal digits.
    pub fn root(&self) -> String {
        hexadecimal(self.0.root.as_bytes())
    }

    /// How the tree is read.
    pub fn api(&self) -> LogApi {
        self.0.api
    }

    /// The signed note, with no other signature than the log's: what shows to anybody what the log said.
    pub fn note(&self) -> &str {
        &self.0.note
    }

    pub(super) fn root_hash(&self) -> &Sha256Hash {
        &self.0.root
    }
}

/// A log of a trust root, to be watched.
#[derive(Clone, Debug)]
pub struct WatchedLog {
    pub(super) log: Log,
    key_id: String,
}

/// What a log says of itself now.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The head of the tree that it adds to.
    pub head: TreeHead,
    /// The heads of trees that it has closed.
    pub closed: Vec<TreeHead>,
    /// How many entries the closed trees have, which indexes in the log count from: unsigned, and checked by whatever is read under it.
    pub offset: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    signed_tree_head: String,
    #[serde(default)]
    inactive_shards: Vec<Shard>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    signed_tree_head: String,
    tree_size: u64,
}

impl WatchedLog {
    /// The logs of a root.
    pub fn all(root: &TrustMaterial) -> Vec<Self> {
        root.logs().iter().map(|log| Self { log: log.clone(), key_id: hexadecimal(&log.id) }).collect()
    }

    /// Its address in the trust root.
    pub fn address(&self) -> &str {
        &self.log.address
    }

    /// The key id in hexadecimal digits.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Whether the root believes what it signs at this time.
    pub fn is_believed(&self, now: Timestamp) -> bool {
        self.log.window.contains(now)
    }

    /// How it may be read. A trust root does not say; the id of a log of the first version is the hash of its key alone, which that of one
    /// of the second may be.
    pub fn apis(&self) -> &'static [LogApi] {
        let by_key = Hash::Sha256.of(self.log.key.spki()) == self.log.id;
        if by_key { &[LogApi::Entries, LogApi::Tiles] } else { &[LogApi::Tiles] }
    }

    /// The path, below its address, of what it says of itself.
    pub fn newest_path(api: LogApi) -> &'static str {
        match api {
            LogApi::Entries => "api/v1/log",
            LogApi::Tiles => "api/v2/checkpoint",
        }
    }

    /// Reads what the log says of itself.
    ///
    /// # Errors
    /// An answer that is malformed, or whose head the log did not sign.
    pub fn newest(&self, api: LogApi, answer: &[u8]) -> Result<Newest, OnlineError> {
        match api {
            LogApi::Tiles => {
                let text = std::str::from_utf8(answer).map_err(|error| malformed(&error))?;
                Ok(Newest { head: self.head(api, text)?, closed: Vec::new(), offset: 0 })
            }
            LogApi::Entries => {
                let info: Info = serde_json::from_slice(answer).map_err(|error| malformed(&error))?;
                if info.inactive_shards.len() > SHARD_LIMIT {
                    return Err(malformed(&format!("it names {} earlier trees", info.inactive_shards.len())));
                }
                let offset = info.inactive_shards.iter().fold(0_u64, |sum, shard| sum.saturating_add(shard.tree_size));
                // An earlier tree may be of a key that this root does not know: it is another log's then.
                let closed =
                    info.inactive_shards.iter().filter_map(|shard| self.head(api, &shard.signed_tree_head).ok());
                Ok(Newest { closed: closed.collect(), offset, head: self.head(api, &info.signed_tree_head)? })
            }
        }
    }

    /// Reads a signed note as a head of this log's, such as one that was kept.
    ///
    /// # Errors
    /// A note that is malformed, too long, or not signed by the log.
    pub fn head(&self, api: LogApi, note: &str) -> Result<TreeHead, OnlineError> {
        let checkpoint = Checkpoint::from_text(note).map_err(|error| malformed(&error))?;
        let unproved = |reason: String| OnlineError::NotProved { reason };
        let signed = log::signed(&checkpoint, &[&self.log], api == LogApi::Tiles);
        let Some((log, signature)) = signed.map_err(|error| unproved(error.to_string()))? else {
            return Err(unproved("the head is not signed by the log".to_owned()));
        };
        TreeHead::of(&checkpoint, signature, log, api).ok_or_else(|| malformed(&"its head is too long"))
    }
}

/// How two heads stand to each other.
#[derive(Clone, Debug)]
pub enum Relation {
    /// They say nothing about each other.
    OtherTrees,
    /// They say the same.
    Same,
    /// They are of one size and of two roots: of two histories.
    Contradicting,
    /// One is smaller: a proof tells.
    Apart(Span),
}

/// Two heads of one tree, the one smaller than the other.
#[derive(Clone, Debug)]
pub struct Span {
    older: TreeHead,
    newer: TreeHead,
}

/// What a proof said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proved {
    /// The smaller tree is the beginning of the larger one.
    Consistent,
    /// The proof that the log gave does not lead from the one to the other.
    NotProved,
}

/// Compares two heads.
pub fn relate(one: &TreeHead, other: &TreeHead) -> Relation {
    if one.tree() != other.tree() {
        return Relation::OtherTrees;
    }
    let apart =
        |older: &TreeHead, newer: &TreeHead| Relation::Apart(Span { older: older.clone(), newer: newer.clone() });
    match one.size().cmp(&other.size()) {
        std::cmp::Ordering::Less => apart(one, other),
        std::cmp::Ordering::Equal if one.root_hash() == other.root_hash() => Relation::Same,
        std::cmp::Ordering::Equal => Relation::Contradicting,
        std::cmp::Ordering::Greater => apart(other, one),
    }
}

#[derive(Deserialize)]
struct Answer {
    hashes: Vec<String>,
}

impl Span {
    /// How the tree is read.
    pub fn api(&self) -> LogApi {
        self.newer.api()
    }

    /// Whether nothing has to be proved: every tree begins with none.
    pub fn is_trivial(&self) -> bool {
        self.older.size() == 0
    }

    /// The path, below the address of a log of the first version, of the proof.
    pub fn path(&self) -> String {
        let sizes = format!("firstSize={}&lastSize={}", self.older.size(), self.newer.size());
        // The origin ends in the number of the tree, which is wanted for closed ones.
        let tree = self.newer.tree().origin.rsplit_once(" - ").map(|(_, tree)| tree);
        let tree = tree.filter(|tree| !tree.is_empty() && tree.bytes().all(|byte| byte.is_ascii_digit()));
        let tree = tree.map_or_else(String::new, |tree| format!("&treeID={tree}"));
        format!("api/v1/log/proof?{sizes}{tree}")
    }

    /// The tiles of the larger tree that give the proof.
    pub fn tiles(&self) -> Vec<Tile> {
        consistency_tiles(self.older.size(), self.newer.size())
    }

    /// Reads the answer of a log of the first version.
    ///
    /// # Errors
    /// An answer that is no proof. One that proves nothing is none: [`Proved::NotProved`].
    pub fn by_answer(&self, answer: &[u8]) -> Result<Proved, OnlineError> {
        let answer: Answer = serde_json::from_slice(answer).map_err(|error| malformed(&error))?;
        if answer.hashes.len() > HASH_LIMIT {
            return Err(malformed(&format!("its proof has {} hashes", answer.hashes.len())));
        }
        let hash = |text: &String| Sha256Hash::from_hex(text).map_err(|error| malformed(&error));
        let hashes = answer.hashes.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
        Ok(self.check(&hashes))
    }

    /// Reads the tiles.
    ///
    /// # Errors
    /// Tiles that are missing or of another length.
    pub fn by_tiles(&self, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<Proved, OnlineError> {
        Ok(self.check(&consistency_path(self.older.size(), self.newer.size(), tiles)?))
    }

    fn check(&self, hashes: &[Sha256Hash]) -> Proved {
        let (older, newer) = (&self.older, &self.newer);
        match verify_consistency_proof(older.size(), newer.size(), hashes, older.root_hash(), newer.root_hash()) {
            Ok(()) => Proved::Consistent,
            Err(_) => Proved::NotProved,
        }
    }
}

fn malformed(reason: &dyn std::fmt::Display) -> OnlineError {
    OnlineError::Malformed { reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::fixtures::{bytes, root};

    const STAGING: &str = crate::trust::STAGING;

    fn head(size: u64, root: &str) -> TreeHead {
        let tree = TreeId { key_id: "00".repeat(32), origin: "log.example - 7".to_owned() };
        let root = STANDARD.decode(root).unwrap();
        let root = Sha256Hash::new(*root.first_chunk().unwrap());
        TreeHead(Arc::new(Signed { tree, size, root, api: LogApi::Entries, note: String::new() }))
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vector {
        size1: u64,
        size2: u64,
        root1: Option<String>,
        root2: Option<String>,
        proof: Option<Vec<String>>,
        want_err: bool,
    }

    /// The test data of transparency-dev/merkle, as far as it is of two heads that differ in size.
    #[test]
    fn proofs_are_judged_as_the_public_test_data_judges_them() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/merkle/consistency");
        let (mut good, mut bad) = (0, 0);
        for part in folder.read_dir().unwrap() {
            for file in part.unwrap().path().read_dir().unwrap() {
                let path = file.unwrap().path();
                let vector: Vector = serde_json::from_slice(&bytes(&path)).unwrap();
                let (Some(first), Some(second)) = (vector.root1, vector.root2) else { continue };
                let is_hash = |text: &str| STANDARD.decode(text).unwrap().len() == 32;
                if vector.size1 == 0 || vector.size1 >= vector.size2 || !is_hash(&first) || !is_hash(&second) {
                    continue;
                }
                let span = Span { older: head(vector.size1, &first), newer: head(vector.size2, &second) };
                let hex = |text: &String| hexadecimal(&STANDARD.decode(text).unwrap());
                let hashes: Vec<String> = vector.proof.iter().flatten().map(hex).collect();
                let answer = serde_json::json!({"rootHash": "", "hashes": hashes}).to_string();
                let proved = span.by_answer(answer.as_bytes());
                assert_eq!(proved != Ok(Proved::Consistent), vector.want_err, "{}: {proved:?}", path.display());
                *if vector.want_err { &mut bad } else { &mut good } += 1;
            }
        }
        assert!(good >= 3 && bad >= 20, "{good} good and {bad} bad proofs");
    }

    #[test]
    fn heads_are_compared_by_tree_size_and_root() {
        let (a, b) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        assert!(matches!(relate(&head(5, &a), &head(5, &a)), Relation::Same));
        assert!(matches!(relate(&head(5, &a), &head(5, &b)), Relation::Contradicting));
        for (one, other) in [(head(5, &a), head(6, &b)), (head(6, &b), head(5, &a))] {
            let Relation::Apart(span) = relate(&one, &other) else { panic!("apart") };
            assert_eq!(span.path(), "api/v1/log/proof?firstSize=5&lastSize=6&treeID=7");
        }
        let mut other = Signed { root: Sha256Hash::new([1; 32]), note: String::new(), ..plain() };
        other.tree.origin.push('0');
        assert!(matches!(relate(&head(5, &a), &TreeHead(Arc::new(other))), Relation::OtherTrees));
    }

    fn plain() -> Signed {
        let tree = TreeId { key_id: "00".repeat(32), origin: "log.example - 7".to_owned() };
        Signed { tree, size: 5, root: Sha256Hash::new([0; 32]), api: LogApi::Entries, note: String::new() }
    }

    #[test]
    fn an_answer_that_is_no_proof_proves_and_refutes_nothing() {
        let (a, b) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        let Relation::Apart(span) = relate(&head(5, &a), &head(6, &b)) else { panic!("apart") };
        let long = format!(r#"{{"hashes":[{}]}}"#, vec![format!("\"{}\"", "00".repeat(32)); 129].join(","));
        for answer in ["", "{}", "null", r#"{"hashes":["0"]}"#, &long, "[[[[[[["] {
            assert!(matches!(span.by_answer(answer.as_bytes()), Err(OnlineError::Malformed { .. })), "{answer}");
        }
        assert!(span.by_tiles(&BTreeMap::new()).is_err());
    }

    /// A head of the staging instance, from a recorded answer.
    #[test]
    fn a_head_is_its_log_s_and_survives_being_kept() {
        let answer: serde_json::Value =
            serde_json::from_slice(&bytes("tests/data/rekor-response/valid/entry.json")).unwrap();
        let entry = answer.as_object().unwrap().values().next().unwrap();
        let note = entry["verification"]["inclusionProof"]["checkpoint"].as_str().unwrap();
        let logs = WatchedLog::all(&root(STAGING));
        let log = logs.iter().find(|log| log.key_id() == entry["logID"]).unwrap();
        let head = log.head(LogApi::Entries, note).unwrap();
        assert_eq!(log.head(LogApi::Entries, head.note()).unwrap(), head);
        assert_eq!(Some(head.tree().origin.as_str()), note.lines().next());
        for changed in [note.replacen("\n1", "\n2", 1), note.replacen("rekor", "Rekor", 1), String::new()] {
            assert!(log.head(LogApi::Entries, &changed).is_err(), "{changed}");
        }
        for other in logs.iter().filter(|other| other.key_id() != log.key_id()) {
            assert!(other.head(LogApi::Entries, note).is_err(), "{}", other.address());
        }
    }
}
