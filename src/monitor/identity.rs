//! One round over entries: who stands in what logs took in since the last one.
//!
//! Entries are read up to the head that was just found to be consistent, each once, in order; where reading stopped is kept. An entry under a
//! name that a policy trusts waits for its image to be seen here, since it is logged before anybody can pull it; when it has waited for long
//! enough, somebody is told. Reading begins with what is logged after the monitor first looks: earlier entries are nobody's news. Where so
//! many entries wait that there is no room, reading pauses, and nothing is passed over.
//!
//! Own certificate authorities of policies are not watched for: their certificates are none of the root's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::finding::{TEXT_BYTES, shortened};
use super::outlets::{Document, DocumentError};
use super::tree::Log;
use super::{Finding, IdentityOptions, Monitor, View, locked};
use crate::policy::Policy;
use crate::trust::{TrustMaterial, TrustRoots};
use crate::verify::{Newest, SeenEntry, Signer, TreeId};

/// The name of the document.
const DOCUMENT: &str = "log-entries";
/// The version of the document.
const VERSION: u32 = 1;
/// Entries that wait for their images to be seen.
const WAITING_LIMIT: usize = 500;
/// Entries that are kept for reports after somebody was told of them; the oldest give way.
const FOUND_LIMIT: usize = 500;
/// Places where reading stopped.
const CURSOR_LIMIT: usize = 64;

/// An entry that nobody announced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The log's key id.
    pub key: String,
    /// The log's address.
    pub address: String,
    /// The trust root under which it was looked at.
    pub root: String,
    /// The index in the tree.
    pub index: u64,
    /// The hash of the leaf.
    pub leaf: String,
    /// Who stands in it.
    pub signer: String,
    /// A policy that trusts the signer.
    pub policy: String,
    /// When it was read.
    pub at: Timestamp,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Cursor {
    key: String,
    origin: String,
    next: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Kept {
    version: u32,
    cursors: Vec<Cursor>,
    /// Read, and not announced yet.
    waiting: Vec<Row>,
    /// Not announced in time, and nobody was told yet.
    untold: Vec<Row>,
    /// Not announced in time, the newest last.
    found: Vec<Row>,
}

impl Kept {
    fn read(content: &Value) -> Result<Self, String> {
        let kept = Self::deserialize(content).map_err(|error| error.to_string())?;
        if kept.version != VERSION {
            return Err(format!("it is of version {}, and {VERSION} is read", kept.version));
        }
        Ok(kept)
    }

    fn document(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn next(&self, tree: &TreeId) -> Option<u64> {
        let same = |cursor: &&Cursor| cursor.key == tree.key_id && cursor.origin == tree.origin;
        self.cursors.iter().find(same).map(|cursor| cursor.next)
    }

    /// Where a tree is read from first. A log that was read goes on in a new tree from its beginning.
    fn begin(&self, newest: &Newest) -> u64 {
        let read = self.cursors.iter().any(|cursor| cursor.key == newest.head.tree().key_id);
        if read { 0 } else { newest.head.size() }
    }

    fn put(&mut self, tree: &TreeId, next: u64) {
        let same = |cursor: &&mut Cursor| cursor.key == tree.key_id && cursor.origin == tree.origin;
        if let Some(cursor) = self.cursors.iter_mut().find(same) {
            cursor.next = next;
            return;
        }
        if self.cursors.len() >= CURSOR_LIMIT {
            self.cursors.remove(0);
        }
        self.cursors.push(Cursor { key: tree.key_id.clone(), origin: tree.origin.clone(), next });
    }
}

impl Monitor {
    /// Reads what logs took in, and tells of what nobody announced. Replicas that do not lead take out what they have seen.
    pub(super) async fn check_entries(
        &self,
        options: &IdentityOptions,
        view: &View,
        logs: &BTreeMap<String, Log>,
        newest: &BTreeMap<String, Newest>,
        now: Timestamp,
    ) {
        if let Err(reason) = self.try_entries(options, view, logs, newest, now).await {
            tracing::warn!(reason, "entries of logs could not be watched in this round");
        }
    }

    async fn try_entries(
        &self,
        options: &IdentityOptions,
        view: &View,
        logs: &BTreeMap<String, Log>,
        newest: &BTreeMap<String, Newest>,
        now: Timestamp,
    ) -> Result<(), String> {
        let document = self.outlets.documents.load(DOCUMENT).await.map_err(|error| error.to_string())?;
        let mut kept = match &document {
            Some(document) => Kept::read(&document.content)?,
            None => Kept { version: VERSION, ..Kept::default() },
        };
        kept.waiting.retain(|row| !self.inbox.knows(&row.leaf));
        if view.leads {
            let patience = SignedDuration::try_from(options.announced_within).unwrap_or(SignedDuration::MAX);
            let (late, waiting) = kept.waiting.drain(..).partition(|row| now.duration_since(row.at) >= patience);
            kept.waiting = waiting;
            kept.untold.extend::<Vec<Row>>(late);
            let mut behind = 0;
            for (key, newest) in newest {
                let Some(log) = logs.get(key) else { continue };
                let next = self.read_log(options, view, log, newest, &mut kept, now).await;
                kept.put(newest.head.tree(), next);
                behind += newest.head.size().saturating_sub(next);
            }
            self.entries.behind.store(behind, Ordering::Relaxed);
        }
        // Saved before anybody is told: what was read is not lost, and not read again.
        let document = self.save_entries(&kept, document).await?;
        if view.leads && !kept.untold.is_empty() {
            for row in std::mem::take(&mut kept.untold) {
                if self.tell_of_entry(&row.finding()) {
                    self.entries.unannounced.fetch_add(1, Ordering::Relaxed);
                    kept.found.push(row);
                } else {
                    kept.untold.push(row);
                }
            }
            let surplus = kept.untold.len().saturating_sub(FOUND_LIMIT);
            kept.untold.drain(..surplus);
            let surplus = kept.found.len().saturating_sub(FOUND_LIMIT);
            kept.found.drain(..surplus);
            self.save_entries(&kept, document).await?;
        }
        *locked(&self.rows) = kept.found;
        Ok(())
    }

    /// Saves the document, and gives what was saved.
    async fn save_entries(&self, kept: &Kept, document: Option<Document>) -> Result<Option<Document>, String> {
        let content = kept.document();
        if document.as_ref().is_some_and(|document| document.content == content) {
            return Ok(document);
        }
        let version = document.as_ref().map(|document| document.version.as_str());
        match self.outlets.documents.save(DOCUMENT, &content, version).await {
            Ok(version) => Ok(Some(Document { content, version })),
            // What was read is read again in the next round.
            Err(error @ (DocumentError::Conflict | DocumentError::Unavailable { .. })) => Err(error.to_string()),
        }
    }

    /// Reads a log from where reading stopped, and gives where it stops now.
    async fn read_log(
        &self,
        options: &IdentityOptions,
        view: &View,
        log: &Log,
        newest: &Newest,
        kept: &mut Kept,
        now: Timestamp,
    ) -> u64 {
        let mut next = kept.next(newest.head.tree()).unwrap_or_else(|| kept.begin(newest));
        let mut read = 0;
        while next < newest.head.size() && read < options.entries_per_round && kept.waiting.len() < WAITING_LIMIT {
            let range = match self.client.entries(&log.watched, newest, next).await {
                Ok(range) => range,
                Err(error) => {
                    tracing::warn!(%error, next, "entries could not be read, and are tried again");
                    break;
                }
            };
            for head in &range.heads {
                self.inbox.further(head);
            }
            let count = u64::try_from(range.entries.len()).unwrap_or(u64::MAX);
            if count == 0 {
                break;
            }
            let work = Watching {
                roots: view
                    .roots
                    .iter()
                    .filter(|root| log.roots.iter().any(|name| name == root.name()))
                    .cloned()
                    .collect(),
                policies: view.policies.clone(),
                roles: view.roles.clone(),
                address: log.watched.address().to_owned(),
                options: options.clone(),
                now,
            };
            // Certificates are verified: not on the threads that serve.
            let Ok(rows) = tokio::task::spawn_blocking(move || work.rows(&range.entries)).await else { break };
            let room = WAITING_LIMIT.saturating_sub(kept.waiting.len());
            let rows: Vec<Row> = rows.into_iter().filter(|row| !self.inbox.knows(&row.leaf)).collect();
            let stopped = rows.get(room).map(|row| row.index);
            kept.waiting.extend(rows.into_iter().take(room));
            let reached = stopped.unwrap_or(next + count);
            let taken = reached.saturating_sub(next);
            (next, read) = (reached, read + taken);
            self.entries.read.fetch_add(taken, Ordering::Relaxed);
            if stopped.is_some() {
                break;
            }
        }
        next
    }
}

/// What entries are looked at with.
struct Watching {
    roots: Vec<TrustMaterial>,
    policies: Vec<Arc<Policy>>,
    roles: TrustRoots,
    address: String,
    options: IdentityOptions,
    now: Timestamp,
}

impl Watching {
    /// Those of the entries under whose signers a policy would trust something.
    fn rows(&self, entries: &[SeenEntry]) -> Vec<Row> {
        entries.iter().filter_map(|entry| self.row(entry)).collect()
    }

    fn row(&self, entry: &SeenEntry) -> Option<Row> {
        self.roots.iter().find_map(|root| {
            entry.signers(root).iter().find_map(|signer| {
                let policy =
                    self.policies.iter().find(|policy| policy.trusts(root.name(), signer, &self.roles, self.now))?;
                if self.is_expected(signer) {
                    return None;
                }
                Some(Row {
                    key: entry.key_id().to_owned(),
                    address: self.address.clone(),
                    root: root.name().to_owned(),
                    index: entry.index(),
                    leaf: entry.leaf(),
                    signer: shortened(&signer.to_string(), TEXT_BYTES),
                    policy: policy.name().as_str().to_owned(),
                    at: self.now,
                })
            })
        })
    }

    fn is_expected(&self, signer: &Signer) -> bool {
        let Signer::Certificate { subjects, .. } = signer else { return false };
        let expected = |text: &str| self.options.expected.iter().any(|matcher| matcher.matches(text));
        subjects.iter().any(|subject| expected(subject.as_str()))
    }
}

impl Row {
    fn finding(&self) -> Finding {
        Finding::Unannounced {
            address: self.address.clone(),
            key_id: self.key.clone(),
            root: self.root.clone(),
            index: self.index,
            leaf: self.leaf.clone(),
            signer: self.signer.clone(),
            policy: self.policy.clone(),
        }
    }
}
