//! What a log may answer instead of its head and tiles: each answer is the log's own with one thing changed.
//!
//! Nothing here has a log's key: only what the log once signed can be shown with a signature. Format: <https://c2sp.org/tlog-tiles>.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::instance::Instance;
use crate::files::Edit;
use crate::process::eventually;

const HEAD: &str = "checkpoint";
const HASH_BYTES: usize = 32;

/// Trust roots that are [`PRIVATE`](super::PRIVATE) with a log that lies, and the code with which what it says is refused: in the order of
/// [`liars`].
pub const LYING: [(&str, &str); 7] = [
    ("private-log-without-head", "[LogEntryNotFound]"),
    ("private-log-without-tiles", "[LogEntryNotFound]"),
    ("private-log-with-changed-tiles", "[LogInclusionUnproved]"),
    ("private-log-with-moved-entries", "[LogInclusionUnproved]"),
    ("private-log-with-short-tiles", "[LogAnswerMalformed]"),
    ("private-log-with-changed-head", "[LogInclusionUnproved]"),
    ("private-log-rolled-back", "[LogRolledBack]"),
];

/// The answers of lying logs.
pub(super) fn liars(instance: &Instance) -> Result<Vec<(&'static str, &'static str, Box<Edit>)>> {
    let head = instance.log_folder().join(HEAD);
    let oldest =
        eventually("the log has no head", Duration::from_secs(10), || Ok(fs::read(&head).ok())).map(move |oldest| {
            on_head(move |_| Some(oldest.clone())) // that of the empty tree
        })?;
    let edits: [Box<Edit>; LYING.len()] = [
        on_head(|_| None),
        on_tiles(|_| None),
        on_tiles(|mut tile| {
            tile.iter_mut().step_by(HASH_BYTES).for_each(|byte| *byte ^= 1);
            Some(tile)
        }),
        on_tiles(|tile| Some(tile.chunks(HASH_BYTES).rev().flatten().copied().collect())),
        on_tiles(|mut tile| {
            tile.truncate(tile.len() - HASH_BYTES);
            Some(tile)
        }),
        on_head(|head| Some(with_another_size(&head))),
        oldest,
    ];
    Ok(LYING.into_iter().zip(edits).map(|((name, code), edit)| (name, code, edit)).collect())
}

fn on_head(edit: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Box<Edit> {
    Box::new(move |path, content| if path == HEAD { content.and_then(&edit) } else { content })
}

/// On the hashes of entries; entries themselves are not asked for.
fn on_tiles(edit: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Box<Edit> {
    Box::new(move |path, content| if path.starts_with("tile/0/") { content.and_then(&edit) } else { content })
}

/// The size is on the second line.
fn with_another_size(head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split('\n').enumerate().map(|(number, line)| match (number, line.parse::<u64>()) {
        (1, Ok(size)) => (size + 1).to_string(),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}
