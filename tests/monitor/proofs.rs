//! Proofs between the heads of a tree of some hundred leaves, by answers and by tiles, and what becomes of them when anything is changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign::trust::TrustMaterial;
use countersign::verify::{Bundle, Listing, LogApi, Proved, Relation, Span, Tile, TreeHead, WatchedLog, relate};
use serde_json::{Value, json};

use super::minute;
use super::virtual_sigstore::VirtualSigstore;

/// Sizes around what is special: powers of two, the width of a tile, and one leaf more or less.
const SIZES: [u64; 14] = [1, 2, 3, 7, 8, 255, 256, 257, 300, 511, 512, 513, 700, 770];

fn instance() -> VirtualSigstore {
    let sigstore = VirtualSigstore::new();
    while sigstore.logs_v2[0].size() < SIZES[SIZES.len() - 1] {
        sigstore.logs_v2[0].append(sigstore.logs_v2[0].size().to_be_bytes().to_vec());
    }
    while sigstore.logs_v1[0].size() < SIZES[SIZES.len() - 1] {
        sigstore.logs_v1[0].grow();
    }
    sigstore
}

fn log(sigstore: &VirtualSigstore, api: LogApi) -> WatchedLog {
    let root = TrustMaterial::parse("own", &sigstore.root().json()).unwrap();
    let mut logs = WatchedLog::all(&root).into_iter();
    logs.find(|log| log.apis()[0] == api).unwrap()
}

fn span(one: &TreeHead, other: &TreeHead) -> Span {
    match relate(one, other) {
        Relation::Apart(span) => span,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tiles_prove_every_step_and_nothing_else() {
    let sigstore = instance();
    let own = &sigstore.logs_v2[0];
    let fork = own.forked_at(0);
    while fork.size() < own.size() {
        fork.append(vec![7]);
    }
    let log = log(&sigstore, LogApi::Tiles);
    let heads = |from: &super::RekorV2| -> Vec<TreeHead> {
        let head = |size: &u64| log.head(LogApi::Tiles, &from.checkpoint(*size, minute(0)).text()).unwrap();
        SIZES.iter().map(head).collect()
    };
    let (own_heads, fork_heads) = (heads(own), heads(&fork));
    let fetch = |span: &Span, size: u64| -> BTreeMap<Tile, Vec<u8>> {
        span.tiles().into_iter().map(|tile| (tile, own.get(&tile.path(), size, minute(0)).unwrap())).collect()
    };
    for (position, newer) in own_heads.iter().enumerate() {
        for (older, forked) in own_heads.iter().zip(&fork_heads).take(position) {
            let honest = span(older, newer);
            let tiles = fetch(&honest, newer.size());
            let what = format!("{} to {}", older.size(), newer.size());
            assert!(tiles.len() <= 8, "{what}: {} tiles", tiles.len());
            assert_eq!(honest.by_tiles(&tiles), Ok(Proved::Consistent), "{what}");
            assert_eq!(span(forked, newer).by_tiles(&tiles), Ok(Proved::NotProved), "{what}");
            assert_eq!(span(older, &fork_heads[position]).by_tiles(&tiles), Ok(Proved::NotProved), "{what}");
            for tile in tiles.keys() {
                let mut changed = tiles.clone();
                changed.remove(tile);
                assert!(honest.by_tiles(&changed).is_err(), "{what} without {}", tile.path());
                let mut changed = tiles.clone();
                changed.get_mut(tile).unwrap().pop();
                assert!(honest.by_tiles(&changed).is_err(), "{what} with less of {}", tile.path());
                let mut changed = tiles.clone();
                for byte in changed.get_mut(tile).unwrap() {
                    *byte ^= 1;
                }
                assert_eq!(honest.by_tiles(&changed), Ok(Proved::NotProved), "{what} with another {}", tile.path());
            }
        }
    }
}

#[test]
fn answers_prove_every_step_and_nothing_else() {
    let sigstore = instance();
    let own = &sigstore.logs_v1[0];
    let log = log(&sigstore, LogApi::Entries);
    let head = |size: u64| log.head(LogApi::Entries, &own.checkpoint(size).text()).unwrap();
    for newer in SIZES {
        for older in SIZES.into_iter().filter(|older| *older < newer) {
            let span = span(&head(older), &head(newer));
            assert!(span.path().ends_with(&format!("&treeID={}", own.tree_id)), "{}", span.path());
            let answer = own.get(&format!("/{}", span.path())).unwrap();
            let proved = |answer: &Value| span.by_answer(answer.to_string().as_bytes());
            assert_eq!(proved(&answer), Ok(Proved::Consistent), "{older} to {newer}");
            let hashes = answer["hashes"].as_array().unwrap().clone();
            let mut changed: Vec<Vec<Value>> = vec![[hashes.clone(), vec![json!("00".repeat(32))]].concat()];
            for position in 0..hashes.len() {
                let mut without = hashes.clone();
                without.remove(position);
                let mut other = hashes.clone();
                other[position] = json!("00".repeat(32));
                changed.extend([without, other]);
                if position > 0 {
                    let mut swapped = hashes.clone();
                    swapped.swap(position - 1, position);
                    changed.push(swapped);
                }
            }
            for changed in changed {
                let text = format!("{older} to {newer}: {changed:?}");
                assert_eq!(proved(&json!({"hashes": changed})), Ok(Proved::NotProved), "{text}");
            }
        }
    }
}

/// A log may have closed trees under the same key; each is another tree.
#[test]
fn what_a_log_says_of_itself_is_believed_as_far_as_it_is_signed() {
    let sigstore = VirtualSigstore::new();
    let own = Arc::new(sigstore.logs_v1[0].forked_at(5));
    let log = log(&sigstore, LogApi::Entries);
    let info = own.get("/api/v1/log").unwrap();
    let read = |info: &Value| log.newest(LogApi::Entries, info.to_string().as_bytes());
    let newest = read(&info).unwrap();
    assert_eq!((newest.head.size(), newest.closed.len(), newest.offset), (5, 1, own.offset));
    assert_ne!(newest.head.tree(), newest.closed[0].tree());
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut info = info.clone();
        edit(&mut info);
        read(&info)
    };
    let note = info["signedTreeHead"].as_str().unwrap();
    for (from, to) in [("\n5\n", "\n6\n"), (" - ", " = "), ("\u{2014}", "-")] {
        assert!(with(&|info| info["signedTreeHead"] = note.replacen(from, to, 1).into()).is_err(), "{from}");
    }
    // What another key signed of an earlier tree is passed over.
    let passed = with(&|info| info["inactiveShards"][0]["signedTreeHead"] = "x".into()).unwrap();
    assert_eq!(passed.closed.len(), 0);
    let shard = info["inactiveShards"][0].clone();
    assert!(with(&|info| info["inactiveShards"] = vec![shard.clone(); 65].into()).is_err());
    for other in ["", "null", "{}", "[]", note] {
        assert!(log.newest(LogApi::Entries, other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn a_tile_of_entries_is_proved_as_a_whole() {
    let sigstore = instance();
    let own = &sigstore.logs_v2[0];
    let log = log(&sigstore, LogApi::Tiles);
    for size in [1, 2, 255, 256, 257, 300, 770] {
        let head = log.head(LogApi::Tiles, &own.checkpoint(size, minute(0)).text()).unwrap();
        assert!(Bundle::with(size, &head).is_none());
        for index in [0, 1, 255, 256, 299, 769].into_iter().filter(|index| *index < size) {
            let bundle = Bundle::with(index, &head).unwrap();
            let (path, full) = bundle.paths();
            let bytes = own.get(&path, size, minute(0)).unwrap();
            let tiles: BTreeMap<Tile, Vec<u8>> = bundle
                .tiles()
                .into_iter()
                .map(|tile| (tile, own.get(&tile.path(), size, minute(0)).unwrap()))
                .collect();
            let first = index / 256 * 256;
            let last = (first + 256).min(size);
            let entries = bundle.read(&bytes, tiles.clone()).unwrap();
            assert!(entries.iter().map(super::SeenEntry::index).eq(first..last), "{index} of {size}");
            assert_eq!(full.is_some(), last - first < 256);
            // The full tile that a log may have by now holds more, which this head does not prove.
            if let Some(full) = full.and_then(|full| own.get(&full, own.size(), minute(0))) {
                assert_eq!(bundle.read(&full, tiles.clone()).unwrap(), entries, "{index} of {size}");
            }
            // Any byte of any entry, its first and last, and what is left out.
            let mut place = 0;
            for entry in first..last {
                let length = usize::from(u16::from_be_bytes([bytes[place], bytes[place + 1]]));
                let places = [place + 2, place + 1 + length];
                for at in places.into_iter().filter(|_| [first, first + 9, last - 1].contains(&entry)) {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1;
                    let read = bundle.read(&changed, tiles.clone());
                    assert_eq!(read.map_err(|error| error.code()), Err("LogInclusionUnproved"), "{entry} of {size}");
                }
                place += 2 + length;
            }
            assert!(bundle.read(&bytes[..bytes.len() - 1], tiles.clone()).is_err());
            for tile in tiles.keys() {
                let mut changed = tiles.clone();
                changed.remove(tile);
                assert!(bundle.read(&bytes, changed).is_err(), "{}", tile.path());
            }
        }
    }
}

#[test]
fn listed_entries_are_exactly_those_asked_for_each_proved_in_its_tree() {
    let sigstore = instance();
    let own = &sigstore.logs_v1[0];
    let log = log(&sigstore, LogApi::Entries);
    let newest = log.newest(LogApi::Entries, own.get("/api/v1/log").unwrap().to_string().as_bytes()).unwrap();
    let listing = |first| Listing::from(&log, &newest.head, newest.offset, first, u64::MAX);
    assert!(listing(own.size()).is_none() && listing(own.size() + 1).is_none() && listing(u64::MAX).is_none());
    let whole = listing(30).unwrap();
    let answer = |listing: &Listing| {
        let query: Value = serde_json::from_str(&listing.query()).unwrap();
        own.post(&format!("/{}", Listing::PATH), &query).unwrap()
    };
    let sound = answer(&whole);
    let read = |answer: &Value| whole.read(answer.to_string().as_bytes()).map_err(|error| error.code());
    let (entries, heads) = read(&sound).unwrap();
    assert!(entries.iter().map(super::SeenEntry::index).eq(30..40));
    assert_eq!(heads, std::slice::from_ref(&newest.head));
    let mut turned = sound.clone();
    turned.as_array_mut().unwrap().reverse();
    assert_eq!(read(&turned).unwrap().0, entries, "order decides nothing");
    let rest = listing(own.size() - 3).unwrap();
    assert_eq!(rest.read(answer(&rest).to_string().as_bytes()).unwrap().0.len(), 3);
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut answer = sound.clone();
        edit(answer[4].as_object_mut().unwrap().values_mut().next().unwrap());
        read(&answer).map(|_| ())
    };
    assert_eq!(edited(&|_| {}), Ok(()));
    let proof = |name: &'static str, value: Value| {
        edited(&|entry| entry["verification"]["inclusionProof"][name] = value.clone())
    };
    for broken in [
        edited(&|entry| entry["logIndex"] = 7.into()),
        edited(&|entry| entry["body"] = "e30=".into()),
        edited(&|entry| entry["logID"] = "00".repeat(32).into()),
        edited(&|entry| entry["verification"] = Value::Null),
        proof("logIndex", 35.into()),
        proof("hashes", json!([])),
        proof("rootHash", "00".repeat(32).into()),
        proof("checkpoint", "x".into()),
    ] {
        assert!(broken.is_err());
    }
    let mut less = sound.clone();
    less.as_array_mut().unwrap().pop();
    let mut more = sound.clone();
    more.as_array_mut().unwrap().push(sound[0].clone());
    let mut twice = sound.clone();
    twice[1] = sound[0].clone();
    for other in [less, more, twice, json!([]), json!({}), Value::Null] {
        assert!(read(&other).is_err());
    }
    // Another tree of the same key.
    let fork = own.forked_at(0);
    while fork.size() < 40 {
        fork.grow();
    }
    let query: Value = serde_json::from_str(&whole.query()).unwrap();
    let forked = fork.post(&format!("/{}", Listing::PATH), &query).unwrap();
    let (_, heads) = read(&forked).unwrap();
    assert!(matches!(relate(&heads[0], &newest.head), Relation::Apart(_)), "it is told apart by its head");
}
