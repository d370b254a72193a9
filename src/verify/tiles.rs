//! A tree in tiles: which of them prove that a leaf is in it or that a smaller tree begins it, and the proof that they give.
//!
//! Pure arithmetic over <https://c2sp.org/tlog-tiles> and RFC 6962, sections 2.1.1 and 2.1.2: coordinates out, bytes in, a path out. Nothing
//! is believed here; the path is verified like any other (`log`, `consistency`).

use std::collections::{BTreeMap, BTreeSet};

use sigstore_merkle::hash_children;
use sigstore_types::Sha256Hash;

use super::OnlineError;

/// Levels of the tree that one tile spans.
const HEIGHT: u32 = 8;
/// Hashes in a full tile.
const WIDTH: u64 = 1 << HEIGHT;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// Bytes of a full tile.
pub const TILE_BYTES: usize = 256 * HASH_BYTES;

/// The place of a tile in a tree of some size.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tile {
    level: u32,
    number: u64,
    /// Hashes in it: 1 to 256.
    width: u64,
}

impl Tile {
    /// The tile of the hashes of leaves that holds that of a leaf, in a tree of this size that has it.
    pub(super) fn of_leaf(index: u64, size: u64) -> Self {
        Node { height: 0, number: index }.place(size).0
    }

    /// The index of the first leaf, and how many there are, where it is one of leaves.
    pub(super) fn leaves(&self) -> (u64, u64) {
        (self.number.saturating_mul(WIDTH), self.width)
    }

    /// The path below the log's address.
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, self.place())
    }

    /// The path of the entries whose hashes it holds, where it is one of leaves.
    pub(super) fn entries_path(&self) -> String {
        format!("tile/entries/{}", self.place())
    }

    fn place(&self) -> String {
        let mut groups = vec![format!("{:03}", self.number % 1_000)];
        let mut rest = self.number / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        let partial = if self.is_partial() { format!(".p/{}", self.width) } else { String::new() };
        format!("{}{partial}", groups.join("/"))
    }

    /// Whether it has fewer than 256 hashes, so that a log may have replaced it by a full one since.
    pub fn is_partial(&self) -> bool {
        self.width < WIDTH
    }

    /// The full tile that begins with this one, as a larger tree has it.
    #[must_use]
    pub fn filled(&self) -> Self {
        Self { width: WIDTH, ..*self }
    }
}

/// A complete subtree, by its height above the leaves and its number among those of that height.
#[derive(Clone, Copy)]
struct Node {
    height: u32,
    number: u64,
}

impl Node {
    /// The tile from whose hashes it is computed in a tree of this size, and the number of its first hash there.
    fn place(self, size: u64) -> (Tile, u64) {
        let level = self.height / HEIGHT;
        let first = self.number << (self.height % HEIGHT);
        let number = first / WIDTH;
        let hashes = size >> (level * HEIGHT);
        let width = hashes.saturating_sub(number * WIDTH).min(WIDTH);
        (Tile { level, number, width }, first % WIDTH)
    }
}

/// The nodes beside the way from a leaf to the root, from below; a node that is not complete is given by its complete parts, from the
/// left.
fn beside(index: u64, size: u64) -> Vec<Vec<Node>> {
    let (mut start, mut end) = (0, size);
    let mut beside = Vec::new();
    while end - start > 1 {
        let split = start + (1 << (end - start - 1).ilog2());
        if index < split {
            beside.push(complete(split, end));
            end = split;
        } else {
            beside.push(complete(start, split));
            start = split;
        }
    }
    beside.reverse();
    beside
}

/// The complete subtrees that a range consists of, which begins where one of its size may.
fn complete(mut start: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while start < end {
        let height = (end - start).ilog2();
        nodes.push(Node { height, number: start >> height });
        start += 1 << height;
    }
    nodes
}

/// The tiles that prove a leaf in a tree of this size: at most two of each level, so 16. None for a leaf that the tree cannot have.
pub fn inclusion_tiles(index: u64, size: u64) -> Vec<Tile> {
    if index >= size {
        return Vec::new();
    }
    let tiles: BTreeSet<Tile> = beside(index, size).into_iter().flatten().map(|node| node.place(size).0).collect();
    tiles.into_iter().collect()
}

/// The audit path of a leaf in a tree of this size, out of its tiles. The bytes of a tile may be those of the full one that begins with it.
///
/// # Errors
/// A leaf that the tree cannot have, and a tile that is missing or of another length.
pub fn inclusion_path(
    index: u64,
    size: u64,
    tiles: &BTreeMap<Tile, Vec<u8>>,
) -> Result<Vec<[u8; HASH_BYTES]>, OnlineError> {
    if index >= size {
        return Err(OnlineError::NotProved {
            reason: format!("the tree has {size} entries and none of index {index}"),
        });
    }
    beside(index, size).into_iter().map(|nodes| Ok(*joined(nodes, size, tiles)?.as_bytes())).collect()
}

/// The nodes that prove the first `old` leaves of a tree of `new` to be a tree that it had, from below. The first is the last complete
/// subtree of the old tree; where `old` is a power of two that is the old tree itself, of which whoever verifies has the root already.
fn between(old: u64, new: u64) -> Vec<Vec<Node>> {
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    while end > old {
        let split = start + (1 << (end - start - 1).ilog2());
        if old <= split {
            path.push(complete(split, end));
            end = split;
        } else {
            path.push(complete(start, split));
            start = split;
        }
    }
    if !old.is_power_of_two() {
        path.push(complete(start, end));
    }
    path.reverse();
    path
}

/// The tiles that prove a tree of `old` leaves to be the beginning of one of `new`. None where nothing needs a proof.
pub(super) fn consistency_tiles(old: u64, new: u64) -> Vec<Tile> {
    if old == 0 || old >= new {
        return Vec::new();
    }
    let tiles: BTreeSet<Tile> = between(old, new).into_iter().flatten().map(|node| node.place(new).0).collect();
    tiles.into_iter().collect()
}

/// The proof (RFC 6962, section 2.1.2) that a tree of `old` leaves is the beginning of one of `new`, out of the tiles of the latter.
///
/// # Errors
/// Sizes that need no proof, and a tile that is missing or of another length.
pub(super) fn consistency_path(
    old: u64,
    new: u64,
    tiles: &BTreeMap<Tile, Vec<u8>>,
) -> Result<Vec<Sha256Hash>, OnlineError> {
    if old == 0 || old >= new {
        return Err(malformed("no tiles prove a tree of these sizes"));
    }
    between(old, new).into_iter().map(|nodes| joined(nodes, new, tiles)).collect()
}

/// The hash of neighbouring subtrees together.
fn joined(nodes: Vec<Node>, size: u64, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<Sha256Hash, OnlineError> {
    // From the right: the smaller parts stand deeper.
    let mut root: Option<Sha256Hash> = None;
    for node in nodes.into_iter().rev() {
        let left = computed(node, size, tiles)?;
        root = Some(root.map_or(left, |right| hash_children(&left, &right)));
    }
    root.ok_or_else(|| malformed("a part of the tree is empty"))
}

/// The hash of a complete subtree.
fn computed(node: Node, size: u64, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<Sha256Hash, OnlineError> {
    let (tile, first) = node.place(size);
    let bytes = tiles.get(&tile).ok_or_else(|| malformed(&format!("{} is missing", tile.path())))?;
    let expected = usize::try_from(tile.width).unwrap_or(usize::MAX).saturating_mul(HASH_BYTES);
    if bytes.len() != expected && bytes.len() != TILE_BYTES {
        return Err(malformed(&format!("{} has {} bytes, not {expected}", tile.path(), bytes.len())));
    }
    let first = usize::try_from(first).unwrap_or(usize::MAX);
    let hashes = bytes.chunks_exact(HASH_BYTES).skip(first).take(1 << (node.height % HEIGHT));
    let mut row: Vec<Sha256Hash> =
        hashes.filter_map(|chunk| chunk.first_chunk().map(|hash| Sha256Hash::new(*hash))).collect();
    while row.len() > 1 {
        let pairs = row.chunks(2).filter_map(|pair| match pair {
            [left, right] => Some(hash_children(left, right)),
            _ => None,
        });
        row = pairs.collect();
    }
    row.first().copied().ok_or_else(|| malformed(&format!("{} is too short", tile.path())))
}

fn malformed(reason: &str) -> OnlineError {
    OnlineError::Malformed { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specification.
    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |number, width| Tile { level: 0, number, width }.path();
        assert_eq!(path(0, 256), "tile/0/000");
        assert_eq!(path(1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(273, 112), "tile/0/273.p/112");
        assert_eq!(path(1_000, 1), "tile/0/x001/000.p/1");
    }

    #[test]
    fn a_tree_of_any_size_needs_few_tiles() {
        let paths = |index, size| inclusion_tiles(index, size).iter().map(Tile::path).collect::<Vec<_>>();
        assert_eq!(paths(0, 70_000), ["tile/0/000", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17"]);
        assert_eq!(paths(0, 1), Vec::<String>::new());
        assert_eq!(paths(256, 257), ["tile/1/000.p/1"]);
        assert_eq!(paths(5, 5), Vec::<String>::new());
        for size in [u64::MAX, 1 << 63, (1 << 63) - 1] {
            for index in [0, size / 2, size - 1] {
                assert!(inclusion_tiles(index, size).len() <= 16, "{index} of {size}");
            }
        }
    }
}
