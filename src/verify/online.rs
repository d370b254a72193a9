//! What a log says when it is asked about an entry: the questions, and which answers confirm.
//!
//! No network: questions go out and bytes come in. The effects half carries them; it cannot make a [`Confirmation`], and only this module
//! marks a [`LogProof`] as confirmed. The log is the one whose key verified the entry, at its address in the trust root; nothing of an
//! address comes from the evidence.
//!
//! What "fresh" can mean. A head carries no time that anybody else vouches for, so that its age cannot be told. It was asked for in this
//! request, at the log, over a connection of our own; it is not smaller than the head that came with the evidence, since a log only grows,
//! and where it is of the same size it is the same. An older head of the log, played back by whoever stands between, still proves that the
//! log took the entry in, and that is all that is asked. That two heads of different size are of one history is what monitors prove; it is
//! not asked here.

use std::collections::BTreeMap;

use sigstore_types::{Checkpoint, Sha256Hash};

use super::tiles::{Tile, inclusion_path, inclusion_tiles};
use super::{Anchor, Evidence, Gathered, LogProof, VerifyError, log};
use crate::evidence::candidate::LogEntry;
use crate::evidence::rekor;
use crate::image::hexadecimal;
use crate::trust::Log;

/// Entries that are asked about for one image.
pub const QUESTION_LIMIT: usize = 32;

/// An answer that confirms nothing. Never a verdict on the evidence: the question stays open.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OnlineError {
    /// An answer that does not follow its format.
    #[error("its answer is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The log has something else in the entry's place.
    #[error("it has another entry of index {index}")]
    OtherEntry {
        /// The index that was asked for.
        index: u64,
    },
    /// The log's head or its proof does not verify.
    #[error("it does not prove the entry: {reason}")]
    NotProved {
        /// What is wrong, from the verifier.
        reason: String,
    },
    /// The log shows a tree that is smaller than one that it signed before.
    #[error("its tree has {found} entries and had {known} when the entry was signed")]
    RolledBack {
        /// The size of the tree that it shows.
        found: u64,
        /// The size of the tree that came with the evidence.
        known: u64,
    },
    /// The log shows another tree than the one that came with the evidence.
    #[error("it shows another tree than the one that the entry was proved in")]
    OtherTree,
    /// More is asked than is asked of logs for one image.
    #[error("{found} entries would have to be asked about, at most {QUESTION_LIMIT} are")]
    TooMany {
        /// How many.
        found: usize,
    },
}

impl OnlineError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "LogAnswerMalformed",
            Self::OtherEntry { .. } => "LogEntryDiffers",
            Self::NotProved { .. } => "LogInclusionUnproved",
            Self::RolledBack { .. } => "LogRolledBack",
            Self::OtherTree => "LogForked",
            Self::TooMany { .. } => "LogEntriesTooMany",
        }
    }
}

/// What identifies an entry when its log is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The hash of the entry's leaf.
    leaf: Sha256Hash,
    /// Whether the log is of Rekor's second version, which is read as tiles.
    tiled: bool,
    /// The head that came with the evidence.
    known: Option<KnownHead>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct KnownHead {
    origin: String,
    size: u64,
    root: Sha256Hash,
}

impl Place {
    pub(super) fn of(entry: &LogEntry) -> Self {
        let known = |head: &Checkpoint| KnownHead {
            origin: head.origin().to_owned(),
            size: head.tree_size(),
            root: *head.root_hash(),
        };
        Self {
            leaf: sigstore_merkle::hash_leaf(&entry.body),
            tiled: entry.kind.is_rekor_v2(),
            known: entry.proof.as_ref().map(|proof| known(&proof.checkpoint)),
        }
    }

    /// The hash of the entry's leaf.
    pub(super) fn leaf(&self) -> &Sha256Hash {
        &self.leaf
    }

    /// Refuses a head that cannot be a later one of the same tree.
    fn check_fresh(&self, head: &Checkpoint) -> Result<(), OnlineError> {
        match &self.known {
            Some(known) if known.origin != head.origin() => Err(OnlineError::OtherTree),
            Some(known) if head.tree_size() < known.size => {
                Err(OnlineError::RolledBack { found: head.tree_size(), known: known.size })
            }
            Some(known) if head.tree_size() == known.size && *head.root_hash() != known.root => {
                Err(OnlineError::OtherTree)
            }
            None | Some(_) => Ok(()),
        }
    }
}

/// How a log is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogApi {
    /// The first version of Rekor: one answer holds the entry, its proof and the head.
    Entries,
    /// The second version: a head, and tiles.
    Tiles,
}

/// A question to a log: is this entry in your tree?
#[derive(Clone, Debug)]
pub struct Question {
    log: Log,
    index: u64,
    place: Place,
}

impl Question {
    /// The log's address in the trust root.
    pub fn address(&self) -> &str {
        &self.log.address
    }

    /// How the log is read.
    pub fn api(&self) -> LogApi {
        if self.place.tiled { LogApi::Tiles } else { LogApi::Entries }
    }

    /// The path to ask for first, below the address: the entry, or the head of the tree.
    pub fn path(&self) -> String {
        match self.api() {
            LogApi::Entries => format!("api/v1/log/entries?logIndex={}", self.index),
            LogApi::Tiles => "api/v2/checkpoint".to_owned(),
        }
    }

    /// Reads the answer of a log of the first version.
    ///
    /// # Errors
    /// Whatever keeps the answer from confirming the entry.
    pub fn confirm(&self, answer: &[u8]) -> Result<Confirmation, OnlineError> {
        let entry = rekor::entry(answer).map_err(|error| OnlineError::Malformed { reason: error.to_string() })?;
        if entry.index != self.index || Place::of(&entry).leaf != self.place.leaf {
            return Err(OnlineError::OtherEntry { index: self.index });
        }
        let logged = log::verify(&entry, std::slice::from_ref(&self.log)).map_err(not_proved)?;
        match (logged, &entry.proof) {
            (Some(logged), Some(proof)) if logged.included => {
                self.place.check_fresh(&proof.checkpoint)?;
                Ok(self.confirmation())
            }
            (None, _) => Err(OnlineError::NotProved { reason: "the answer is another log's".to_owned() }),
            _ => Err(OnlineError::NotProved { reason: "the answer has no inclusion proof".to_owned() }),
        }
    }

    /// Reads the head of a log of the second version.
    ///
    /// # Errors
    /// A head that the log did not sign, that is smaller than the known one, or that leaves the entry out.
    pub fn head(&self, answer: &[u8]) -> Result<FreshHead<'_>, OnlineError> {
        let malformed = |reason: String| OnlineError::Malformed { reason };
        let text = std::str::from_utf8(answer).map_err(|error| malformed(error.to_string()))?;
        let head = Checkpoint::from_text(text).map_err(|error| malformed(error.to_string()))?;
        if log::head(&head, &[&self.log], true).map_err(not_proved)?.is_none() {
            return Err(OnlineError::NotProved { reason: "the head is not signed by the log".to_owned() });
        }
        self.place.check_fresh(&head)?;
        if self.index >= head.tree_size() {
            let reason = format!("its tree has {} entries and none of index {}", head.tree_size(), self.index);
            return Err(OnlineError::NotProved { reason });
        }
        Ok(FreshHead { question: self, head })
    }

    fn confirmation(&self) -> Confirmation {
        Confirmation { key_id: hexadecimal(&self.log.id), index: self.index, place: self.place.clone() }
    }
}

/// The head of a tree as its log signed it, not older than the known one.
#[derive(Debug)]
pub struct FreshHead<'a> {
    question: &'a Question,
    head: Checkpoint,
}

impl FreshHead<'_> {
    /// The tiles that prove the entry under it, at most 16.
    pub fn tiles(&self) -> Vec<Tile> {
        inclusion_tiles(self.question.index, self.head.tree_size())
    }

    /// Reads the tiles.
    ///
    /// # Errors
    /// Tiles that are missing or do not lead from the entry to the head.
    pub fn confirm(&self, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<Confirmation, OnlineError> {
        let index = self.question.index;
        let path = inclusion_path(index, self.head.tree_size(), tiles)?;
        let path: Vec<Sha256Hash> = path.into_iter().map(Sha256Hash::new).collect();
        log::included(&self.question.place.leaf, index, &path, &self.head).map_err(not_proved)?;
        Ok(self.question.confirmation())
    }
}

/// A log's own word that it holds an entry. Built only in this module, from an answer that verified.
#[derive(Debug)]
pub struct Confirmation {
    key_id: String,
    index: u64,
    place: Place,
}

impl Confirmation {
    fn is_about(&self, proof: &LogProof) -> bool {
        (&self.key_id, self.index, &self.place) == (&proof.key_id, proof.index, &proof.place)
    }
}

impl Gathered {
    /// The questions about the entries of some of the verified evidence, each once.
    ///
    /// # Errors
    /// More than [`QUESTION_LIMIT`].
    pub fn questions(&self, positions: &[usize], anchors: &[Anchor]) -> Result<Vec<Question>, OnlineError> {
        let mut questions: Vec<Question> = Vec::new();
        for evidence in positions.iter().filter_map(|position| self.verified().get(*position)) {
            let under = anchors.iter().find(|anchor| anchor.id() == *evidence.under());
            for proof in evidence.logs() {
                let id = crate::image::from_hexadecimal(&proof.key_id).unwrap_or_default();
                let Some(log) = under.and_then(Anchor::dating).and_then(|root| root.log(&id)) else { continue };
                let same =
                    |known: &Question| (known.index, &known.place) == (proof.index, &proof.place) && known.log.id == id;
                if !questions.iter().any(same) {
                    questions.push(Question { log: log.clone(), index: proof.index, place: proof.place.clone() });
                }
            }
        }
        if questions.len() > QUESTION_LIMIT {
            return Err(OnlineError::TooMany { found: questions.len() });
        }
        Ok(questions)
    }

    /// Marks what logs confirmed.
    pub fn confirm(&mut self, confirmations: &[Confirmation]) {
        for proof in self.verified_mut().iter_mut().flat_map(|evidence| &mut evidence.logs) {
            proof.online |= confirmations.iter().any(|confirmation| confirmation.is_about(proof));
        }
    }
}

/// Marks evidence whose entries came from the log itself, with their proofs.
pub(super) fn fetched(mut evidence: Evidence) -> Evidence {
    for proof in &mut evidence.logs {
        proof.online = proof.inclusion_proof;
    }
    evidence
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn not_proved(error: VerifyError) -> OnlineError {
    OnlineError::NotProved { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{bytes, root};
    use super::*;
    use crate::trust::STAGING;

    fn recorded(name: &str) -> Vec<u8> {
        bytes(format!("tests/data/rekor-response/valid/{name}.json"))
    }

    /// The question that evidence with this entry would put, and no head of its own.
    fn question(answer: &[u8]) -> Question {
        let entry = rekor::entry(answer).unwrap();
        let log = root(STAGING).log(&entry.log_id).unwrap().clone();
        Question { log, index: entry.index, place: Place { known: None, ..Place::of(&entry) } }
    }

    fn edited(answer: &[u8], edit: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let mut answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        edit(answer.as_object_mut().unwrap().values_mut().next().unwrap());
        answer.to_string().into_bytes()
    }

    #[test]
    fn a_recorded_answer_confirms_and_no_changed_one_does() {
        let answer = recorded("entry");
        let question = question(&answer);
        let code = |answer: &[u8]| question.confirm(answer).map_err(|error| error.code()).map(|_| ());
        assert_eq!(code(&answer), Ok(()));
        let proof = |name: &str, value: serde_json::Value| {
            edited(&answer, |entry| entry["verification"]["inclusionProof"][name] = value.clone())
        };
        let checkpoint = |from: &str, to: &str| {
            edited(&answer, |entry| {
                let text = &mut entry["verification"]["inclusionProof"]["checkpoint"];
                *text = text.as_str().unwrap().replacen(from, to, 1).into();
            })
        };
        let table = [
            (edited(&answer, |entry| entry["logIndex"] = 1_689.into()), "LogEntryDiffers"),
            (edited(&answer, |entry| entry["integratedTime"] = 1.into()), "LogInclusionUnproved"),
            (edited(&answer, |entry| entry["logID"] = "00".into()), "LogInclusionUnproved"),
            (edited(&answer, |entry| entry["body"] = "e30=".into()), "LogAnswerMalformed"),
            (edited(&answer, |entry| entry["verification"] = serde_json::Value::Null), "LogInclusionUnproved"),
            (proof("treeSize", 14_359.into()), "LogInclusionUnproved"),
            (proof("logIndex", 1_228.into()), "LogInclusionUnproved"),
            (proof("hashes", serde_json::json!([])), "LogInclusionUnproved"),
            (proof("hashes", vec!["00".repeat(32); 65].into()), "LogAnswerMalformed"),
            (proof("rootHash", "00".repeat(32).into()), "LogAnswerMalformed"),
            (checkpoint("\n14358\n", "\n14359\n"), "LogInclusionUnproved"),
            (checkpoint("0y8woz", "0y8wo0"), "LogInclusionUnproved"),
            (b"{}".to_vec(), "LogAnswerMalformed"),
            (b"[".repeat(10_000), "LogAnswerMalformed"),
            (recorded("entry-no-inclusion-proof"), "LogEntryDiffers"),
        ];
        for (changed, expected) in table {
            assert_eq!(code(&changed), Err(expected), "{}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn a_promise_alone_confirms_nothing() {
        let answer = recorded("entry-no-inclusion-proof");
        let error = question(&answer).confirm(&answer).unwrap_err();
        assert_eq!(error.code(), "LogInclusionUnproved");
        assert!(error.to_string().contains("no inclusion proof"), "{error}");
    }

    #[test]
    fn a_head_is_no_older_than_the_one_that_is_known() {
        let answer = recorded("entry");
        let head = rekor::entry(&answer).unwrap().proof.unwrap().checkpoint;
        let with = |edit: &dyn Fn(&mut KnownHead)| {
            let mut known = KnownHead { origin: head.origin().into(), size: head.tree_size(), root: *head.root_hash() };
            edit(&mut known);
            let asked = question(&answer);
            let asked = Question { place: Place { known: Some(known), ..asked.place }, ..asked };
            asked.confirm(&answer).map_err(|error| error.code()).map(|_| ())
        };
        assert_eq!(with(&|_| ()), Ok(()));
        assert_eq!(with(&|known| known.size -= 1), Ok(()));
        assert_eq!(with(&|known| known.size += 1), Err("LogRolledBack"));
        assert_eq!(with(&|known| known.root = Sha256Hash::new([7; 32])), Err("LogForked"));
        assert_eq!(with(&|known| known.origin.push('0')), Err("LogForked"));
    }
}
