//! A Rekor v2 log as tiles (<https://github.com/C2SP/C2SP/blob/main/tlog-tiles.md>): paths to bytes.
//!
//! No server: a test that needs one puts these answers behind it.

use jiff::Timestamp;

use super::merkle::{self, Node};
use super::rekor_v2::RekorV2;

/// Hashes, or entries, in a full tile.
const WIDTH: u64 = 256;

impl RekorV2 {
    /// The answer to a GET of a path below the log's address, as `checkpoint`, `tile/0/000` or `tile/entries/000.p/7`, for the
    /// tree of the first `size` leaves. None is 404. Witnesses cosign the checkpoint at `at`.
    pub(crate) fn get(&self, path: &str, size: u64, at: Timestamp) -> Option<Vec<u8>> {
        let path = path.trim_start_matches('/');
        let path = path.strip_prefix("api/v2/").unwrap_or(path);
        if path == "checkpoint" {
            return Some(self.checkpoint(size, at).text().into_bytes());
        }
        let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = parse(place)?;
        let first = usize::try_from(number.checked_mul(WIDTH)?).ok()?;
        let last = first.checked_add(usize::try_from(width).ok()?)?;
        if level == "entries" {
            let entries = self.bodies(size);
            return Some(entries.get(first..last)?.iter().flat_map(|entry| prefixed(entry)).collect());
        }
        Some(level_of(&self.leaves(size), level.parse().ok()?).get(first..last)?.concat())
    }
}

/// The hashes of the complete subtrees of `256^level` leaves.
fn level_of(leaves: &[Node], level: u32) -> Vec<Node> {
    let Some(width) = 256_usize.checked_pow(level) else { return Vec::new() };
    leaves.chunks_exact(width).map(merkle::root).collect()
}

/// The number of a tile, in groups of three digits all but the last of which begin with `x`, and the width of a partial one.
fn parse(place: &str) -> Option<(u64, u64)> {
    let (number, width) = match place.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
        None => (place, WIDTH),
    };
    let groups: Vec<&str> = number.split('/').collect();
    let (last, before) = groups.split_last()?;
    let mut total = 0_u64;
    for group in before.iter().map(|group| group.strip_prefix('x')).chain([Some(*last)]) {
        let group = group.filter(|group| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit()))?;
        total = total.checked_mul(1000)?.checked_add(group.parse().ok()?)?;
    }
    Some((total, width))
}

/// An entry behind its length in two bytes.
fn prefixed(entry: &[u8]) -> Vec<u8> {
    [&u16::try_from(entry.len()).unwrap().to_be_bytes(), entry].concat()
}
