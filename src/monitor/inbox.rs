//! What evidence brings: heads to compare, and entries whose images were seen.
//!
//! Whoever judges never waits here. What finds no room is dropped and counted: the same head comes again with the next image that it proves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::locked;
use crate::verify::{Evidence, TreeHead, TreeId};

/// Heads that wait to be compared.
const HEAD_LIMIT: usize = 256;
/// Rounds in which a head could not be compared, after which it is dropped.
const TRIES: u32 = 64;
/// Heads of one tree that are known to be compared.
const COMPARED_LIMIT: usize = 4_096;
/// Entries whose images were seen.
const LEAF_LIMIT: usize = 32_768;

/// Takes the evidence that was verified, for the monitor.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    leaves: Mutex<Leaves>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    heads: VecDeque<(TreeHead, u32)>,
    compared: BTreeMap<TreeId, BTreeSet<(u64, String)>>,
}

#[derive(Debug, Default)]
struct Leaves {
    known: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Observer {
    /// Notes what evidence says of its logs. Takes no time and never fails.
    pub fn observe(&self, evidence: &Evidence) {
        for proof in evidence.logs() {
            self.leaf(proof.uuid.hex().to_owned());
            if let Some(head) = proof.head() {
                self.head(head, 0);
            }
        }
    }

    fn leaf(&self, leaf: String) {
        let mut leaves = locked(&self.0.leaves);
        if !leaves.known.insert(leaf.clone()) {
            return;
        }
        leaves.order.push_back(leaf);
        if leaves.order.len() > LEAF_LIMIT
            && let Some(oldest) = leaves.order.pop_front()
        {
            leaves.known.remove(&oldest);
        }
    }

    fn head(&self, head: &TreeHead, tries: u32) {
        let mut waiting = locked(&self.0.waiting);
        let known = waiting.compared.get(head.tree()).is_some_and(|heads| heads.contains(&(head.size(), head.root())));
        if known || waiting.heads.iter().any(|(one, _)| one == head) {
            return;
        }
        if waiting.heads.len() >= HEAD_LIMIT || tries >= TRIES {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            waiting.heads.push_back((head.clone(), tries));
        }
    }
}

/// The monitor's end of it.
#[derive(Debug, Default)]
pub(super) struct Inbox(Observer);

impl Inbox {
    pub(super) fn observer(&self) -> Observer {
        self.0.clone()
    }

    /// Whether no head waits, but of logs that rest.
    pub(super) fn is_empty(&self, resting: &BTreeSet<String>) -> bool {
        locked(&self.0.0.waiting).heads.iter().all(|(head, _)| resting.contains(&head.tree().key_id))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.0.0.dropped.load(Ordering::Relaxed)
    }

    /// Takes all heads that wait, but of logs that rest, with how often they were tried.
    pub(super) fn take(&self, resting: &BTreeSet<String>) -> Vec<(TreeHead, u32)> {
        let mut waiting = locked(&self.0.0.waiting);
        let all = std::mem::take(&mut waiting.heads);
        let (rest, taken): (VecDeque<_>, VecDeque<_>) =
            all.into_iter().partition(|(head, _)| resting.contains(&head.tree().key_id));
        waiting.heads = rest;
        taken.into()
    }

    /// A head that could not be compared waits for the next round.
    pub(super) fn again(&self, head: &TreeHead, tries: u32) {
        self.0.head(head, tries + 1);
    }

    /// A head that a log showed beside what it was asked for.
    pub(super) fn further(&self, head: &TreeHead) {
        self.0.head(head, 0);
    }

    /// A head was compared, and need not be again.
    pub(super) fn compared(&self, head: &TreeHead) {
        let mut waiting = locked(&self.0.0.waiting);
        let heads = waiting.compared.entry(head.tree().clone()).or_default();
        if heads.len() >= COMPARED_LIMIT {
            heads.clear();
        }
        heads.insert((head.size(), head.root()));
    }

    /// Whether the image of an entry was seen.
    pub(super) fn knows(&self, leaf: &str) -> bool {
        locked(&self.0.0.leaves).known.contains(leaf)
    }
}
