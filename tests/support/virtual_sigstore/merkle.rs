//! The Merkle tree of RFC 6962, section 2.1, by its recursive definition.
//!
//! Slow and obvious on purpose: what it proves is what a faster verifier has to accept.

use super::text::sha256;

/// A hash of a leaf or of an inner node.
pub(crate) type Node = Vec<u8>;

/// The hash of a leaf.
pub(crate) fn leaf(entry: &[u8]) -> Node {
    sha256(&[&[0], entry].concat())
}

/// The hash of two nodes' parent.
pub(crate) fn parent(left: &[u8], right: &[u8]) -> Node {
    sha256(&[&[1], left, right].concat())
}

/// The root over hashes of leaves.
pub(crate) fn root(leaves: &[Node]) -> Node {
    match leaves {
        [] => sha256(b""),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(split(many.len()));
            parent(&root(left), &root(right))
        }
    }
}

/// The proof that the leaf of this index is in the tree of these leaves.
pub(crate) fn inclusion(leaves: &[Node], index: usize) -> Vec<Node> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) =
        if index < at { (inclusion(left, index), root(right)) } else { (inclusion(right, index - at), root(left)) };
    path.push(sibling);
    path
}

/// The proof that the tree of the first `size` leaves is a prefix of the tree of all.
pub(crate) fn consistency(leaves: &[Node], size: usize) -> Vec<Node> {
    prefix(leaves, size, true)
}

fn prefix(leaves: &[Node], size: usize, whole: bool) -> Vec<Node> {
    if size == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) = if size <= at {
        (prefix(left, size, whole), root(right))
    } else {
        (prefix(right, size - at, false), root(left))
    };
    path.push(sibling);
    path
}

/// The largest power of two that is smaller than the number of leaves, of which there are at least two.
fn split(leaves: usize) -> usize {
    1 << (leaves - 1).ilog2()
}
