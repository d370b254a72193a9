//! What is remembered of each tree, and what a further head makes of it. No I/O; proofs are handed in.
//!
//! The document that is kept holds signed notes. They are verified again when it is read, so that who can write the document can make the
//! monitor forget, and cannot make it accuse a log of a head that it did not sign.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::finding::{Finding, ForkKind};
use crate::verify::{LogApi, Relation, TreeHead, TreeId, WatchedLog, relate};

/// Trees that are remembered: the public instance has had five. With three notes each, a document stays below 900 KiB.
pub(super) const TREE_LIMIT: usize = 64;
/// The version of the document.
const VERSION: u32 = 1;

/// All trees.
#[derive(Debug, Default)]
pub(super) struct Trees {
    by_id: BTreeMap<TreeId, Tree>,
    /// Records of logs that no trust root names now, which are kept as they are.
    strange: Vec<Record>,
}

/// One tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// The newest head that all others were found to be consistent with.
    pub(super) head: TreeHead,
    /// Since when it is this one.
    pub(super) since: Timestamp,
    pub(super) fork: Option<Fork>,
    pub(super) rollback: Option<Rollback>,
}

/// Two heads that contradict each other.
#[derive(Clone, Debug)]
pub(super) struct Fork {
    how: ForkKind,
    known: TreeHead,
    found: TreeHead,
    at: Timestamp,
    pub(super) told: bool,
}

/// A head that the log showed and that is smaller than the one remembered.
#[derive(Clone, Debug)]
pub(super) struct Rollback {
    found: TreeHead,
    at: Timestamp,
    pub(super) told: bool,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    trees: Vec<Record>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    key: String,
    api: Api,
    note: String,
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fork: Option<ForkRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollback: Option<RollbackRecord>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Api {
    Entries,
    Tiles,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct ForkRecord {
    how: String,
    known: String,
    found: String,
    at: Timestamp,
    told: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct RollbackRecord {
    found: String,
    at: Timestamp,
    told: bool,
}

impl Trees {
    /// Reads a document: what its logs did not sign is left out.
    ///
    /// # Errors
    /// A document of another version, or none of ours.
    pub(super) fn read(content: &Value, logs: &BTreeMap<String, Log>) -> Result<Self, String> {
        let kept = Kept::deserialize(content).map_err(|error| error.to_string())?;
        if kept.version != VERSION {
            return Err(format!("it is of version {}, and {VERSION} is read", kept.version));
        }
        let mut trees = Self::default();
        for record in kept.trees.into_iter().take(TREE_LIMIT) {
            let Some(log) = logs.get(&record.key) else {
                trees.strange.push(record);
                continue;
            };
            if let Some(tree) = record.tree(&log.watched) {
                trees.by_id.insert(tree.head.tree().clone(), tree);
            } else {
                tracing::warn!(log = log.watched.address(), "a head that was kept is not the log's, and is forgotten");
            }
        }
        Ok(trees)
    }

    /// The document.
    pub(super) fn document(&self) -> Value {
        let trees = self.by_id.values().map(Record::of).chain(self.strange.iter().cloned()).collect();
        serde_json::to_value(Kept { version: VERSION, trees }).unwrap_or_default()
    }

    pub(super) fn get(&self, tree: &TreeId) -> Option<&Tree> {
        self.by_id.get(tree)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TreeId, &Tree)> {
        self.by_id.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TreeId, &mut Tree)> {
        self.by_id.iter_mut()
    }

    pub(super) fn get_mut(&mut self, tree: &TreeId) -> Option<&mut Tree> {
        self.by_id.get_mut(tree)
    }

    /// Remembers the first head of a tree. False: there is no room for another tree.
    pub(super) fn begin(&mut self, head: &TreeHead, now: Timestamp) -> bool {
        if self.by_id.len() + self.strange.len() >= TREE_LIMIT {
            return false;
        }
        let tree = Tree { head: head.clone(), since: now, fork: None, rollback: None };
        self.by_id.insert(head.tree().clone(), tree);
        true
    }
}

impl Tree {
    /// A head that goes on from the remembered one, or is the same, was shown by the log itself.
    pub(super) fn shown(&mut self, head: &TreeHead, now: Timestamp) {
        self.grow(head, now);
        self.rollback = None;
    }

    /// A head that goes on from the remembered one.
    pub(super) fn grow(&mut self, head: &TreeHead, now: Timestamp) {
        if head.size() > self.head.size() {
            self.head = head.clone();
            self.since = now;
        }
    }

    /// A head contradicts the remembered one. The first that does is kept: it is proof enough.
    pub(super) fn forked(&mut self, how: ForkKind, found: &TreeHead, now: Timestamp) {
        let fork = || Fork { how, known: self.head.clone(), found: found.clone(), at: now, told: false };
        if self.fork.is_none() {
            self.fork = Some(fork());
        }
    }

    /// The log shows a smaller head.
    pub(super) fn rolled_back(&mut self, found: &TreeHead, now: Timestamp) {
        if self.rollback.is_none() {
            self.rollback = Some(Rollback { found: found.clone(), at: now, told: false });
        }
    }

    /// What nobody was told of yet.
    pub(super) fn findings(&self, log: &Log) -> Vec<Finding> {
        let (address, tree) = (log.watched.address().to_owned(), self.head.tree().clone());
        let roots = log.roots.clone();
        let mut findings = Vec::new();
        if let Some(fork) = self.fork.as_ref().filter(|fork| !fork.told) {
            findings.push(Finding::Forked {
                address: address.clone(),
                tree: tree.clone(),
                roots: roots.clone(),
                how: fork.how,
                known: fork.known.note().to_owned(),
                found: fork.found.note().to_owned(),
            });
        }
        if let Some(rollback) = self.rollback.as_ref().filter(|rollback| !rollback.told) {
            let (known, found) = (self.head.size(), rollback.found.size());
            findings.push(Finding::RolledBack { address, tree, roots, known, found });
        }
        findings
    }

    /// Everything was told.
    pub(super) fn told(&mut self) {
        if let Some(fork) = &mut self.fork {
            fork.told = true;
        }
        if let Some(rollback) = &mut self.rollback {
            rollback.told = true;
        }
    }
}

/// A log, with the names of the trust roots that know it.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) watched: WatchedLog,
    pub(super) roots: Vec<String>,
}

impl Record {
    fn of(tree: &Tree) -> Self {
        let api = match tree.head.api() {
            LogApi::Entries => Api::Entries,
            LogApi::Tiles => Api::Tiles,
        };
        let fork = tree.fork.as_ref().map(|fork| ForkRecord {
            how: fork.how.as_str().to_owned(),
            known: fork.known.note().to_owned(),
            found: fork.found.note().to_owned(),
            at: fork.at,
            told: fork.told,
        });
        let rollback = tree.rollback.as_ref().map(|rollback| RollbackRecord {
            found: rollback.found.note().to_owned(),
            at: rollback.at,
            told: rollback.told,
        });
        let (key, note) = (tree.head.tree().key_id.clone(), tree.head.note().to_owned());
        Self { key, api, note, since: tree.since, fork, rollback }
    }

    /// The tree, if the log signed all that the record says of it.
    fn tree(&self, log: &WatchedLog) -> Option<Tree> {
        let api = match self.api {
            Api::Entries => LogApi::Entries,
            Api::Tiles => LogApi::Tiles,
        };
        let head = |note: &str| log.head(api, note).ok();
        let fork = |record: &ForkRecord| {
            let (how, known, found) = (ForkKind::named(&record.how)?, head(&record.known)?, head(&record.found)?);
            let contradict = match relate(&known, &found) {
                Relation::Contradicting => how == ForkKind::TwoRoots,
                Relation::Apart(_) => how == ForkKind::NotProved,
                Relation::Same | Relation::OtherTrees => false,
            };
            contradict.then_some(Fork { how, known, found, at: record.at, told: record.told })
        };
        let rollback =
            |record: &RollbackRecord| Some(Rollback { found: head(&record.found)?, at: record.at, told: record.told });
        Some(Tree {
            head: head(&self.note)?,
            since: self.since,
            fork: self.fork.as_ref().and_then(fork),
            rollback: self.rollback.as_ref().and_then(rollback),
        })
    }
}
