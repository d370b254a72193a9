//! Logs of Rekor's second version: a head, and the tiles below it.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign::decision::Answer;
use countersign::verify::{TILE_BYTES, Tile, inclusion_path, inclusion_tiles};
use sigstore_types::Sha256Hash;

use super::log::{Asked, Bound, Reply, reply};
use super::virtual_sigstore::merkle::{self, Node};
use super::virtual_sigstore::text::random;
use super::virtual_sigstore::{Algorithm, Key, Parts, RekorV2, VirtualSigstore};
use super::{Answers, alice, honest, judged, noon, subject};

/// A tree of which every complete subtree's hash is known: rows by height.
struct Tree(Vec<Vec<Node>>);

impl Tree {
    fn new(size: usize) -> Self {
        let mut rows = vec![(0..size).map(|number| merkle::leaf(&number.to_be_bytes())).collect::<Vec<Node>>()];
        while rows.last().unwrap().len() > 1 {
            let row = rows.last().unwrap().chunks_exact(2).map(|pair| merkle::parent(&pair[0], &pair[1])).collect();
            rows.push(row);
        }
        Self(rows)
    }

    /// The root of the first `size` leaves, as RFC 6962 defines it, over the complete subtrees that are known.
    fn root(&self, start: usize, end: usize) -> Node {
        let size = end - start;
        if size.is_power_of_two() && start.is_multiple_of(size) {
            return self.0[size.ilog2() as usize][start / size].clone();
        }
        let split = start + (1 << (size - 1).ilog2());
        merkle::parent(&self.root(start, split), &self.root(split, end))
    }

    /// A tile of the tree of the first `size` leaves, by its path.
    fn tile(&self, path: &str, size: usize) -> Vec<u8> {
        let (level, place) = path.strip_prefix("tile/").unwrap().split_once('/').unwrap();
        let height = 8 * level.parse::<usize>().unwrap();
        let (number, width) =
            place.split_once(".p/").map_or((place, 256), |(number, width)| (number, width.parse().unwrap()));
        let first = 256 * number.parse::<usize>().unwrap();
        assert!(first + width <= size >> height, "{path} is not in a tree of {size}");
        assert!(width == 256 || first + width == size >> height, "{path} is no tile of a tree of {size}");
        self.0[height][first..first + width].concat()
    }
}

/// Whether a path leads from a leaf to the root of the tree of this size, by a verifier that is not ours.
fn proves(tree: &Tree, leaf: usize, index: usize, size: usize, path: &[Sha256Hash]) -> bool {
    let hash = |node: &[u8]| Sha256Hash::try_from(node).unwrap();
    let (leaf, root) = (hash(&tree.0[0][leaf]), hash(&tree.root(0, size)));
    sigstore_merkle::verify_inclusion_proof(&leaf, index as u64, size as u64, path, &root).is_ok()
}

/// The path that tiles give, if they are whole.
fn path(index: usize, size: usize, tiles: &BTreeMap<Tile, Vec<u8>>) -> Option<Vec<Sha256Hash>> {
    let path = inclusion_path(index as u64, size as u64, tiles).ok()?;
    Some(path.into_iter().map(Sha256Hash::new).collect())
}

/// A sequence that looks random and is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Every size up to 2,000, and some where a third level begins; what proves a leaf proves no other, and no bit of a tile may differ.
#[test]
fn tiles_prove_the_leaf_and_nothing_else() {
    const LARGE: usize = 65_536;
    let tree = Tree::new(LARGE + 701);
    let mut numbers = Numbers(1);
    let sizes = (1..=2_000).chain([LARGE - 1, LARGE, LARGE + 1, LARGE + 256, LARGE + 300, LARGE + 700]);
    for size in sizes {
        let index = [0, size / 2, size - 1, numbers.below(size)][numbers.below(4)];
        let tiles = inclusion_tiles(index as u64, size as u64);
        let sound: BTreeMap<Tile, Vec<u8>> = tiles.iter().map(|tile| (*tile, tree.tile(&tile.path(), size))).collect();
        let way = path(index, size, &sound).unwrap();
        assert!(proves(&tree, index, index, size, &way), "{index} of {size}");
        assert!(!proves(&tree, index + 1, index, size, &way), "another leaf than {index} of {size}");
        if size > 1 {
            assert!(!proves(&tree, index, (index + 1) % size, size, &way), "another index than {index} of {size}");
        }
        let Some(tile) = tiles.get(numbers.below(tiles.len().max(1))) else { continue };
        let changed = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut tiles = sound.clone();
            edit(tiles.get_mut(tile).unwrap());
            path(index, size, &tiles).is_some_and(|way| proves(&tree, index, index, size, &way))
        };
        assert!(!changed(&|bytes| drop(bytes.drain(..1))), "{} short, {index} of {size}", tile.path());
        let mut missing = sound.clone();
        missing.remove(tile);
        assert!(path(index, size, &missing).is_none(), "{} missing, {index} of {size}", tile.path());
        let (place, bit) = (numbers.below(sound[tile].len()), numbers.below(8));
        // The hashes above the leaf itself are computed and not read.
        let level: usize = tile.path().split('/').nth(1).unwrap().parse().unwrap();
        let own = tree.0[8 * level].get(index >> (8 * level));
        if own.is_none_or(|own| *own != sound[tile][place / 32 * 32..place / 32 * 32 + 32]) {
            assert!(!changed(&|bytes| bytes[place] ^= 1 << bit), "{} flipped, {index} of {size}", tile.path());
        }
    }
}

async fn setting() -> (Bound, Arc<VirtualSigstore>, Parts) {
    let bound = Bound::new().await;
    let sigstore = Arc::new(super::instance(&bound));
    let parts = sigstore.sign(subject()).by(&alice()).rekor_v2().parts();
    (bound, sigstore, parts)
}

fn grow(log: &RekorV2, size: u64) {
    while log.size() < size {
        log.append(random(32));
    }
}

#[tokio::test]
async fn an_entry_is_confirmed_by_a_head_and_its_tiles() {
    for (size, tiles) in [(7, 1), (8, 1), (256, 1), (300, 2)] {
        let (bound, sigstore, parts) = setting().await;
        grow(&sigstore.logs_v2[0], size);
        let (came, log) = judged(&sigstore, bound, &parts, honest).await;
        assert_eq!(came.answer, Answer::Allow, "{size}: {}", came.text);
        assert_eq!(log.asked()[0], "GET /api/v2/checkpoint");
        assert_eq!(log.asked().len(), 1 + tiles, "{size}: {:?}", log.asked());
    }
}

/// A log may drop a partial tile when the full one is there.
#[tokio::test]
async fn a_full_tile_stands_in_for_a_partial_one() {
    let (bound, sigstore, parts) = setting().await;
    grow(&sigstore.logs_v2[0], 300);
    let (came, log) = judged(&sigstore, bound, &parts, |sigstore, asked| {
        let log = &sigstore.logs_v2[0];
        match asked.target.as_str() {
            "/api/v2/checkpoint" => reply(200, log.get("checkpoint", 200, noon()).unwrap()),
            target if target.contains(".p/") => reply(404, ""),
            target => reply(200, log.get(target, 300, noon()).unwrap()),
        }
    })
    .await;
    assert_eq!(came.answer, Answer::Allow, "{}", came.text);
    assert_eq!(log.asked()[1..], ["GET /api/v2/tile/0/000.p/200", "GET /api/v2/tile/0/000"]);
}

#[tokio::test]
async fn what_head_and_tiles_do_not_prove_is_left_open() {
    fn head(sigstore: &VirtualSigstore, asked: &Asked, head: impl Fn(&RekorV2) -> String) -> Reply {
        if asked.target.ends_with("checkpoint") {
            reply(200, head(&sigstore.logs_v2[0]))
        } else {
            honest(sigstore, asked)
        }
    }
    fn tile(sigstore: &VirtualSigstore, asked: &Asked, edit: impl Fn(&mut Vec<u8>)) -> Reply {
        if asked.target.ends_with("checkpoint") {
            return honest(sigstore, asked);
        }
        let log = &sigstore.logs_v2[0];
        let mut bytes = log.get(&asked.target, log.size(), noon()).unwrap();
        edit(&mut bytes);
        reply(200, bytes)
    }
    let table: [(&str, &str, Answers); 14] = [
        ("no head", "LogEntryNotFound", |_, _| reply(404, "")),
        ("no text", "LogAnswerMalformed", |_, _| reply(200, vec![0xff; 100])),
        ("no checkpoint", "LogAnswerMalformed", |_, _| reply(200, "log\n1\n")),
        ("a long head", "LogAnswerTooLarge", |_, _| reply(200, vec![b'a'; 17 << 10])),
        ("a head of another key", "LogInclusionUnproved", |sigstore, asked| {
            head(sigstore, asked, |log| {
                let mut head = log.checkpoint(log.size(), noon());
                head.signers[0].key = Key::generate(Algorithm::Ed25519);
                head.text()
            })
        }),
        ("a head of witnesses", "LogInclusionUnproved", |sigstore, asked| {
            head(sigstore, asked, |log| {
                let mut head = log.checkpoint(log.size(), noon());
                head.signers = vec![super::virtual_sigstore::checkpoint::Signer::witness("witness.example", noon())];
                head.text()
            })
        }),
        ("a head of another log", "LogInclusionUnproved", |sigstore, asked| {
            head(sigstore, asked, |log| {
                let other = RekorV2::new(Algorithm::Ed25519, "log2025-1.rekor.example", "rekor.example");
                grow(&other, log.size());
                other.checkpoint(log.size(), noon()).text()
            })
        }),
        ("a smaller tree", "LogRolledBack", |sigstore, asked| {
            head(sigstore, asked, |log| log.checkpoint(6, noon()).text())
        }),
        ("another tree of the same size", "LogForked", |sigstore, asked| {
            head(sigstore, asked, |log| {
                let mut head = log.checkpoint(7, noon());
                head.root = vec![7; 32];
                head.text()
            })
        }),
        ("another root", "LogInclusionUnproved", |sigstore, asked| {
            head(sigstore, asked, |log| {
                let mut head = log.checkpoint(log.size(), noon());
                head.root = vec![7; 32];
                head.text()
            })
        }),
        ("no tiles", "LogEntryNotFound", |sigstore, asked| {
            if asked.target.contains("/tile/") { reply(404, "") } else { honest(sigstore, asked) }
        }),
        ("a flipped tile", "LogInclusionUnproved", |sigstore, asked| tile(sigstore, asked, |bytes| bytes[0] ^= 1)),
        ("a short tile", "LogAnswerMalformed", |sigstore, asked| tile(sigstore, asked, |bytes| bytes.truncate(32))),
        ("a long tile", "LogAnswerTooLarge", |sigstore, asked| {
            tile(sigstore, asked, |bytes| bytes.resize(TILE_BYTES + 1, 0))
        }),
    ];
    for (what, code, answer) in table {
        let (bound, sigstore, parts) = setting().await;
        grow(&sigstore.logs_v2[0], 9);
        let (came, _log) = judged(&sigstore, bound, &parts, answer).await;
        assert!(came.is_open(code), "{what}: {}", came.text);
    }
}
