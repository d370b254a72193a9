//! One round over heads: those that evidence brought, and the newest that logs show.
//!
//! A proof that does not hold is asked for a second time before it counts: a fork is an accusation. What cannot be had leaves the tree
//! unknown for this round, and the head waits. What a tree's log contradicts is saved before anybody is told of it, and that it was told is
//! saved after, so that a restart between the two tells it again, and none later does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::finding::ForkKind;
use super::outlets::{Document, DocumentError};
use super::tree::{Log, Trees};
use super::{Monitor, Standing, State, locked};
use crate::rekor::{RekorClient, RekorError};
use crate::verify::{Newest, Proved, Relation, Span, TreeHead, TreeId, WatchedLog, relate};

/// The name of the document.
const DOCUMENT: &str = "log-heads";
/// Attempts to save it over what others save.
const ATTEMPTS: usize = 4;

/// What is known of one tree after a round, and which heads could not be compared.
#[derive(Default)]
struct Outcome {
    states: BTreeMap<TreeId, State>,
    compared: Vec<TreeHead>,
    open: Vec<TreeHead>,
}

impl Monitor {
    /// Compares heads, and gives what each log shows, as far as it was found to be consistent.
    pub(super) async fn check_heads(
        &self,
        logs: &BTreeMap<String, Log>,
        leads: bool,
        now: Timestamp,
    ) -> BTreeMap<String, Newest> {
        let tries: Vec<(TreeHead, u32)> = self.inbox.take(&locked(&self.resting).clone());
        let heads: Vec<TreeHead> = tries.iter().map(|(head, _)| head.clone()).collect();
        let mut asking =
            Asking { client: &self.client, newest: BTreeMap::new(), proofs: Vec::new(), failed: BTreeMap::new() };
        for (key, log) in logs {
            if (leads && log.watched.is_believed(now)) || heads.iter().any(|head| head.tree().key_id == *key) {
                let newest = self.client.newest(&log.watched).await;
                if let Err(error) = &newest {
                    asking.failed.insert(key.clone(), error.to_string());
                }
                asking.newest.insert(key.clone(), newest);
            }
        }
        let outcome = self.update(logs, &heads, &mut asking, leads, now).await;
        let has_failed = |head: &TreeHead| asking.proofs.iter().any(|(_, other, said)| other == head && said.is_err());
        let again = |heads: &[TreeHead]| {
            let open = tries.iter().filter(|(head, _)| heads.contains(head));
            // Those that were not asked about come first the next time, lest one that always fails keeps all others waiting.
            let (failed, unasked): (Vec<_>, Vec<_>) = open.partition(|(head, _)| has_failed(head));
            for (head, tries) in unasked.into_iter().chain(failed) {
                self.inbox.again(head, *tries);
            }
            locked(&self.resting).extend(heads.iter().map(|head| head.tree().key_id.clone()));
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(reason) => {
                tracing::warn!(reason, "what is remembered of logs could not be read or saved");
                again(&heads);
                let reason = || State::Unknown { reason: reason.clone() };
                for standing in locked(&self.standings).values_mut() {
                    if standing.state == State::Consistent {
                        standing.state = reason();
                    }
                }
                return BTreeMap::new();
            }
        };
        again(&outcome.open);
        for head in &outcome.compared {
            self.inbox.compared(head);
        }
        let consistent = |newest: &Newest| outcome.states.get(newest.head.tree()) == Some(&State::Consistent);
        let newest = asking.newest.into_iter().filter_map(|(key, newest)| Some((key, newest.ok()?)));
        newest.filter(|(_, newest)| consistent(newest)).collect()
    }

    /// Reads, changes and saves what is remembered, and tells what is new in it.
    async fn update(
        &self,
        logs: &BTreeMap<String, Log>,
        heads: &[TreeHead],
        asking: &mut Asking<'_>,
        leads: bool,
        now: Timestamp,
    ) -> Result<Outcome, String> {
        for _ in 0..ATTEMPTS {
            let (mut trees, kept) = self.load(logs).await?;
            let mut outcome = Outcome::default();
            self.examine_all(&mut trees, logs, heads, asking, now, &mut outcome).await;
            match self.save(&trees, kept).await {
                Ok(()) => {}
                Err(DocumentError::Conflict) => continue,
                Err(error) => return Err(error.to_string()),
            }
            self.stand(&trees, logs, &outcome);
            if leads {
                self.tell_new(logs).await?;
            }
            return Ok(outcome);
        }
        Err(DocumentError::Conflict.to_string())
    }

    async fn load(&self, logs: &BTreeMap<String, Log>) -> Result<(Trees, Option<Document>), String> {
        let kept = self.outlets.documents.load(DOCUMENT).await.map_err(|error| error.to_string())?;
        let trees = match &kept {
            Some(document) => Trees::read(&document.content, logs)?,
            None => Trees::default(),
        };
        Ok((trees, kept))
    }

    async fn save(&self, trees: &Trees, kept: Option<Document>) -> Result<(), DocumentError> {
        let content = trees.document();
        if kept.as_ref().is_some_and(|kept| kept.content == content) {
            return Ok(());
        }
        let version = kept.as_ref().map(|kept| kept.version.as_str());
        self.outlets.documents.save(DOCUMENT, &content, version).await.map(|_| ())
    }

    /// Tells what nobody was told of, and remembers that it was told, once what follows from it is written too: a restart must not lose that.
    async fn tell_new(&self, logs: &BTreeMap<String, Log>) -> Result<(), String> {
        let mut done: BTreeMap<TreeId, bool> = BTreeMap::new();
        for _ in 0..ATTEMPTS {
            let (mut trees, kept) = self.load(logs).await?;
            for (id, tree) in trees.iter_mut() {
                let Some(log) = logs.get(&id.key_id) else { continue };
                let new = tree.findings(log);
                if new.is_empty() {
                    continue;
                }
                if !done.contains_key(id) {
                    let mut all = true;
                    for finding in &new {
                        all &= self.tell_of_tree(id, finding).await;
                    }
                    done.insert(id.clone(), all);
                }
                if done.get(id) == Some(&true) {
                    tree.told();
                }
            }
            match self.save(&trees, kept).await {
                Ok(()) => return Ok(()),
                Err(DocumentError::Conflict) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(DocumentError::Conflict.to_string())
    }

    async fn examine_all(
        &self,
        trees: &mut Trees,
        logs: &BTreeMap<String, Log>,
        heads: &[TreeHead],
        asking: &mut Asking<'_>,
        now: Timestamp,
        outcome: &mut Outcome,
    ) {
        for (key, log) in logs {
            let shown: Result<Vec<TreeHead>, String> = match asking.newest.get(key) {
                None => continue,
                // A closed tree is of interest only where it is known, or brought by evidence.
                Some(Ok(newest)) => {
                    let closed = newest.closed.iter().filter(|head| {
                        trees.get(head.tree()).is_some() || heads.iter().any(|one| one.tree() == head.tree())
                    });
                    Ok(std::iter::once(&newest.head).chain(closed).cloned().collect())
                }
                Some(Err(error)) => Err(error.to_string()),
            };
            let brought: Vec<&TreeHead> = heads.iter().filter(|head| head.tree().key_id == *key).collect();
            let mut ids: BTreeSet<TreeId> = brought.iter().map(|head| head.tree().clone()).collect();
            match &shown {
                Ok(shown) => ids.extend(shown.iter().map(|head| head.tree().clone())),
                Err(_) => ids.extend(trees.iter().map(|(id, _)| id).filter(|id| id.key_id == *key).cloned()),
            }
            for id in ids {
                let fresh = shown.as_ref().map(|shown| shown.iter().find(|head| *head.tree() == id));
                let brought: Vec<&TreeHead> = brought.iter().copied().filter(|head| *head.tree() == id).collect();
                let state = self.examine(trees, &log.watched, &id, fresh, &brought, asking, now, outcome).await;
                outcome.states.insert(id, state);
            }
        }
        // A log that no root names any more is nobody's; its heads are compared with nothing.
        let nobodys = heads.iter().filter(|head| !logs.contains_key(&head.tree().key_id));
        outcome.compared.extend(nobodys.cloned());
    }

    /// One tree: the head that its log shows, and those that evidence brought.
    #[expect(clippy::too_many_arguments, reason = "the parts of one question")]
    async fn examine(
        &self,
        trees: &mut Trees,
        log: &WatchedLog,
        id: &TreeId,
        fresh: Result<Option<&TreeHead>, &String>,
        brought: &[&TreeHead],
        asking: &mut Asking<'_>,
        now: Timestamp,
        outcome: &mut Outcome,
    ) -> State {
        let mut unknown: Option<String> = fresh.err().cloned();
        let fresh = fresh.ok().flatten();
        if trees.get(id).is_none() {
            let largest = brought.iter().copied().max_by_key(|head| head.size());
            let Some(first) = fresh.or(largest) else {
                return State::Unknown { reason: unknown.unwrap_or_else(|| "the log shows no head".to_owned()) };
            };
            if !trees.begin(first, now) {
                outcome.open.extend(brought.iter().copied().cloned());
                return State::Unknown { reason: "more trees are signed than are remembered".to_owned() };
            }
        }
        let Some(tree) = trees.get_mut(id) else {
            return State::Unknown { reason: "the tree is not remembered".to_owned() };
        };
        if let Some(head) = fresh {
            let said = asking.compare(log, &tree.head, head).await;
            if head.size() < tree.head.size() {
                let lag = jiff::SignedDuration::try_from(self.options.lag).unwrap_or(jiff::SignedDuration::MAX);
                if now.duration_since(tree.since) > lag {
                    tree.rolled_back(head, now);
                } else {
                    unknown = Some("the log shows less than it just did".to_owned());
                }
            }
            match said {
                Said::Consistent if head.size() >= tree.head.size() => tree.shown(head, now),
                Said::Consistent => {}
                Said::Contradicting(how) => tree.forked(how, head, now),
                Said::Unknown(reason) => unknown = Some(reason),
            }
        }
        for head in brought {
            match asking.compare(log, &tree.head, head).await {
                Said::Consistent => {
                    tree.grow(head, now);
                    outcome.compared.push((*head).clone());
                }
                Said::Contradicting(how) => {
                    tree.forked(how, head, now);
                    outcome.compared.push((*head).clone());
                }
                Said::Unknown(reason) => {
                    unknown = Some(reason);
                    outcome.open.push((*head).clone());
                }
            }
        }
        match (&tree.fork, &tree.rollback, unknown) {
            (Some(_), _, _) => State::Forked,
            (None, Some(_), _) => State::RolledBack,
            (None, None, Some(reason)) => State::Unknown { reason },
            (None, None, None) => State::Consistent,
        }
    }

    /// Takes down how every tree stands. One that was not looked at stands as it did, unless others found out more.
    fn stand(&self, trees: &Trees, logs: &BTreeMap<String, Log>, outcome: &Outcome) {
        let mut standings = locked(&self.standings);
        standings.retain(|id, _| logs.contains_key(&id.key_id));
        let mut put = |id: &TreeId, size: u64, state: State| {
            let Some(log) = logs.get(&id.key_id) else { return };
            let (address, roots) = (log.watched.address().to_owned(), log.roots.clone());
            if let State::Unknown { reason } = &state
                && standings.get(id).is_none_or(|before| before.state != state)
            {
                tracing::warn!(log = address, origin = id.origin, reason, "the heads of a log could not be compared");
            }
            standings.insert(id.clone(), Standing { address, roots, size, state });
        };
        for (id, tree) in trees.iter() {
            let bad = if tree.fork.is_some() {
                Some(State::Forked)
            } else {
                tree.rollback.as_ref().map(|_| State::RolledBack)
            };
            if let Some(state) = bad.or_else(|| outcome.states.get(id).cloned()) {
                put(id, tree.head.size(), state);
            }
        }
        for (id, state) in outcome.states.iter().filter(|(id, _)| trees.get(id).is_none()) {
            put(id, 0, state.clone());
        }
    }
}

/// What one head says to another.
enum Said {
    Consistent,
    Contradicting(ForkKind),
    Unknown(String),
}

/// What logs answered in this round: each question is put once, however often the document has to be read again.
struct Asking<'a> {
    client: &'a RekorClient,
    newest: BTreeMap<String, Result<Newest, RekorError>>,
    proofs: Vec<(TreeHead, TreeHead, Result<Proved, String>)>,
    /// Logs that failed to answer, by key, and how. They are asked nothing more.
    failed: BTreeMap<String, String>,
}

impl Asking<'_> {
    async fn compare(&mut self, log: &WatchedLog, known: &TreeHead, other: &TreeHead) -> Said {
        let span = match relate(known, other) {
            Relation::Same => return Said::Consistent,
            Relation::Contradicting => return Said::Contradicting(ForkKind::TwoRoots),
            Relation::OtherTrees => return Said::Unknown("the heads are of different trees".to_owned()),
            Relation::Apart(span) => span,
        };
        let answered = self.proofs.iter().find(|(one, another, _)| one == known && another == other);
        let proved = if let Some((_, _, proved)) = answered {
            proved.clone()
        } else if let Some(reason) = self.failed.get(log.key_id()) {
            return Said::Unknown(reason.clone());
        } else {
            let proved = self.prove(log, &span).await.map_err(|error| error.to_string());
            if let Err(reason) = &proved {
                self.failed.insert(log.key_id().to_owned(), reason.clone());
            }
            self.proofs.push((known.clone(), other.clone(), proved.clone()));
            proved
        };
        match proved {
            Ok(Proved::Consistent) => Said::Consistent,
            Ok(Proved::NotProved) => Said::Contradicting(ForkKind::NotProved),
            Err(reason) => Said::Unknown(reason),
        }
    }

    async fn prove(&self, log: &WatchedLog, span: &Span) -> Result<Proved, RekorError> {
        match self.client.consistency(log, span).await {
            Ok(Proved::NotProved) => self.client.consistency(log, span).await,
            answer => answer,
        }
    }
}
