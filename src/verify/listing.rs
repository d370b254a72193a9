//! Entries of a log in their order: which bytes hold a range of them, and who stands in those that a head proves.
//!
//! No network, as in `online`. Tiles of entries (<https://c2sp.org/tlog-tiles>) are proved together: hashed, they are the lowest tile, and
//! the path of one leaf through it to the root goes by the hashes of all the others. In the first version of Rekor each entry brings its
//! own proof, under a head of its own, which is handed out to be compared like any other.
//!
//! Whose entries they are is read, and no signature is verified: a log takes in what is signed by whoever can, and an entry under a name is
//! what its owner wants to hear of. A certificate counts only if an authority of the root issued it, since everybody can make up others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sigstore_merkle::hash_leaf;
use sigstore_types::Sha256Hash;

use super::certificate::SigningCertificate;
use super::chain::{self, Purpose};
use super::consistency::{TreeHead, WatchedLog};
use super::entry::{self, NamedSigner};
use super::online::OnlineError;
use super::tiles::{Tile, inclusion_path, inclusion_tiles};
use super::{LogApi, Signer, log};
use crate::evidence::der;
use crate::evidence::rekor;
use crate::image::hexadecimal;
use crate::trust::{PublicKey, TrustMaterial};

/// Entries that a log of the first version lists in one answer.
pub const LISTED_LIMIT: u64 = 10;
/// Bytes of a tile of entries, each up to 64 KiB long.
pub const BUNDLE_BYTES: usize = 256 * ((1 << 16) + 1);

/// An entry that its log proved to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeenEntry {
    key_id: String,
    index: u64,
    leaf: Sha256Hash,
    body: Vec<u8>,
    integrated: Option<Timestamp>,
}

impl SeenEntry {
    /// The log's key id in hexadecimal digits.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The index in the tree.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The hash of the leaf in hexadecimal digits, by which logs call it.
    pub fn leaf(&self) -> String {
        hexadecimal(self.leaf.as_bytes())
    }

    /// When the log says to have taken it in; nobody vouches for it. None: it does not say.
    pub fn integrated(&self) -> Option<Timestamp> {
        self.integrated
    }

    /// Who stands in it, as far as that could ever be evidence under this root: holders of certificates of its authorities, and of keys.
    pub fn signers(&self, root: &TrustMaterial) -> Vec<Signer> {
        let signer = |named: NamedSigner| match named {
            NamedSigner::Key(spki) => {
                let key = PublicKey::from_spki(&spki).ok()?;
                Some(Signer::Key { sha256: key.fingerprint().clone() })
            }
            NamedSigner::Certificate(leaf) => {
                der::check("bytes of a certificate", &leaf).ok()?;
                let certificate = SigningCertificate::read(&leaf).ok()?;
                if !certificate.signs_code() {
                    return None;
                }
                // Nobody dates the entry: that the certificate was good when it was made is enough to be told of it.
                let made = [certificate.valid.from?];
                let chain = chain::verify(&leaf, certificate.valid, &[], root.issuers(), &made, Purpose::CodeSigning);
                chain.ok()?;
                let issuer = certificate.issuer().map(str::to_owned);
                Some(Signer::Certificate { issuer, subjects: certificate.subjects, claims: certificate.claims })
            }
        };
        entry::signers(&self.body).into_iter().filter_map(signer).collect()
    }
}

/// A tile of entries below a head: up to 256 of them.
#[derive(Clone, Debug)]
pub struct Bundle {
    head: TreeHead,
    tile: Tile,
}

impl Bundle {
    /// The one with the entry of this index. None: the tree has none, or is not read as tiles.
    pub fn with(index: u64, head: &TreeHead) -> Option<Self> {
        let there = index < head.size() && head.api() == LogApi::Tiles;
        there.then(|| Self { head: head.clone(), tile: Tile::of_leaf(index, head.size()) })
    }

    /// The path of the entries, below the log's address; and of the full tile that a log may have put in its place.
    pub fn paths(&self) -> (String, Option<String>) {
        let full = self.tile.is_partial().then(|| self.tile.filled().entries_path());
        (self.tile.entries_path(), full)
    }

    /// The tiles that prove them, beside their own hashes.
    pub fn tiles(&self) -> Vec<Tile> {
        let (first, count) = self.tile.leaves();
        let mut tiles = inclusion_tiles(first + count.saturating_sub(1), self.head.size());
        tiles.retain(|tile| *tile != self.tile);
        tiles
    }

    /// Reads the entries.
    ///
    /// # Errors
    /// Bytes that are not so many entries, and tiles that do not lead from them to the head.
    pub fn read(&self, entries: &[u8], mut tiles: BTreeMap<Tile, Vec<u8>>) -> Result<Vec<SeenEntry>, OnlineError> {
        let (first, count) = self.tile.leaves();
        let bodies = split(entries, count)?;
        let leaves: Vec<Sha256Hash> = bodies.iter().map(|body| hash_leaf(body)).collect();
        let own: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.as_bytes().iter().copied()).collect();
        tiles.insert(self.tile, own);
        let last = leaves.last().ok_or_else(|| malformed(&"a tile of entries is empty"))?;
        let index = first + count.saturating_sub(1);
        let path: Vec<Sha256Hash> =
            inclusion_path(index, self.head.size(), &tiles)?.into_iter().map(Sha256Hash::new).collect();
        sigstore_merkle::verify_inclusion_proof(last, index, self.head.size(), &path, self.head.root_hash())
            .map_err(|error| OnlineError::NotProved { reason: error.to_string() })?;
        let seen = |((index, leaf), body): ((u64, Sha256Hash), &[u8])| SeenEntry {
            key_id: self.head.tree().key_id.clone(),
            index,
            leaf,
            body: body.to_vec(),
            integrated: None,
        };
        Ok((first..).zip(leaves).zip(bodies).map(seen).collect())
    }
}

/// The first entries of a tile of them, each behind its length in two bytes.
fn split(mut bytes: &[u8], count: u64) -> Result<Vec<&[u8]>, OnlineError> {
    let short = || malformed(&"a tile of entries is too short");
    let mut bodies = Vec::new();
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or_else(short)?;
        let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(short)?;
        bodies.push(body);
        bytes = rest;
    }
    Ok(bodies)
}

/// A range of entries of a log of the first version, at most [`LISTED_LIMIT`].
#[derive(Clone, Debug)]
pub struct Listing {
    log: WatchedLog,
    head: TreeHead,
    offset: u64,
    first: u64,
    count: u64,
}

impl Listing {
    /// The path to post to, below the log's address.
    pub const PATH: &'static str = "api/v1/log/entries/retrieve";

    /// Up to `count` entries of a tree from this index in it on, before which the log has `offset` in earlier trees. None: the tree has
    /// none there, or is read as tiles.
    pub fn from(log: &WatchedLog, head: &TreeHead, offset: u64, first: u64, count: u64) -> Option<Self> {
        let count = count.min(LISTED_LIMIT).min(head.size().checked_sub(first)?);
        let there = count > 0 && head.api() == LogApi::Entries && head.size().checked_add(offset).is_some();
        there.then(|| Self { log: log.clone(), head: head.clone(), offset, first, count })
    }

    /// What to post.
    pub fn query(&self) -> String {
        let first = self.offset + self.first;
        json!({"logIndexes": (first..first + self.count).collect::<Vec<_>>()}).to_string()
    }

    /// Reads the entries, with the heads that proved them, which have to be compared with what is known.
    ///
    /// # Errors
    /// An answer that is not exactly these entries, each proved in the tree.
    pub fn read(&self, answer: &[u8]) -> Result<(Vec<SeenEntry>, Vec<TreeHead>), OnlineError> {
        let limit = usize::try_from(self.count).unwrap_or(usize::MAX);
        let mut listed = rekor::listed(answer, limit).map_err(|error| malformed(&error))?;
        listed.sort_by_key(|entry| entry.index);
        let asked = self.offset + self.first..self.offset + self.first + self.count;
        if !listed.iter().map(|entry| entry.index).eq(asked) {
            return Err(malformed(&"it does not hold the entries that were asked for"));
        }
        let log = &self.log.log;
        let unproved = |reason: String| OnlineError::NotProved { reason };
        let mut heads: Vec<TreeHead> = Vec::new();
        let mut seen = Vec::new();
        for (index, entry) in (self.first..).zip(listed) {
            if entry.proof.index != index {
                return Err(OnlineError::OtherEntry { index });
            }
            let checkpoint = &entry.proof.checkpoint;
            let signed = log::signed(checkpoint, &[log], false).map_err(|error| unproved(error.to_string()))?;
            let (_, signature) = signed.ok_or_else(|| unproved("the head is not signed by the log".to_owned()))?;
            let head = TreeHead::of(checkpoint, signature, log, LogApi::Entries)
                .ok_or_else(|| malformed(&"its head is too long"))?;
            if head.tree() != self.head.tree() || entry.log_id != log.id {
                return Err(unproved("the entry is of another tree".to_owned()));
            }
            let leaf = hash_leaf(&entry.body);
            log::included(&leaf, index, &entry.proof.hashes, checkpoint)
                .map_err(|error| unproved(error.to_string()))?;
            if !heads.contains(&head) {
                heads.push(head);
            }
            let key_id = self.head.tree().key_id.clone();
            seen.push(SeenEntry { key_id, index, leaf, body: entry.body, integrated: Some(entry.integrated_time) });
        }
        Ok((seen, heads))
    }
}

fn malformed(reason: &dyn std::fmt::Display) -> OnlineError {
    OnlineError::Malformed { reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_of_entries_is_split_by_its_lengths() {
        let tile = [&[0, 1][..], b"a", &[0, 0], &[0, 2], b"bc"].concat();
        assert_eq!(split(&tile, 3).unwrap(), [&b"a"[..], b"", b"bc"]);
        assert_eq!(split(&tile, 1).unwrap(), [&b"a"[..]]);
        for cut in 0..tile.len() {
            assert!(split(&tile[..cut], 3).is_err(), "{cut}");
        }
        assert!(split(&tile, 4).is_err());
    }
}
