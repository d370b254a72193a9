//! What the monitor found, and what it suggests to do about it.
//!
//! A finding is told of once, by a code that scripts may match. It is never a verdict: what follows from it, a revocation says.

use crate::api::{DistrustedService, RevokedLogEntry, SignatureRevocationSpec};
use crate::verify::TreeId;

/// Bytes of a text in a finding of which a stranger may have written any amount.
pub(super) const TEXT_BYTES: usize = 256;

/// Something that somebody should look at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// A log signed two histories.
    Forked {
        /// The log's address.
        address: String,
        /// The tree.
        tree: TreeId,
        /// The trust roots that name the log.
        roots: Vec<String>,
        /// How it shows.
        how: ForkKind,
        /// The head that was remembered, as its log signed it.
        known: String,
        /// The head that contradicts it, as its log signed it.
        found: String,
    },
    /// A log shows less than it showed before.
    RolledBack {
        /// The log's address.
        address: String,
        /// The tree.
        tree: TreeId,
        /// The trust roots that name the log.
        roots: Vec<String>,
        /// The size of the head that was remembered.
        known: u64,
        /// The size of the head that the log shows.
        found: u64,
    },
    /// An entry under an identity that a policy trusts, of an image that nobody here knows.
    Unannounced {
        /// The log's address.
        address: String,
        /// The log's key id.
        key_id: String,
        /// The trust root.
        root: String,
        /// The index in the log's tree.
        index: u64,
        /// The hash of the leaf.
        leaf: String,
        /// Who stands in it.
        signer: String,
        /// A policy that trusts the signer.
        policy: String,
    },
}

/// How a fork shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForkKind {
    /// Two heads of one size have two roots.
    TwoRoots,
    /// The log's proof does not lead from the smaller to the larger head.
    NotProved,
}

impl ForkKind {
    /// A word for documents.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TwoRoots => "twoRoots",
            Self::NotProved => "notProved",
        }
    }

    pub(super) fn named(word: &str) -> Option<Self> {
        [Self::TwoRoots, Self::NotProved].into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Finding {
    /// A stable code: the reason of the Event.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forked { .. } => "LogForked",
            Self::RolledBack { .. } => "LogRolledBack",
            Self::Unannounced { .. } => "EntryUnannounced",
        }
    }

    /// The trust roots that it concerns.
    pub fn roots(&self) -> &[String] {
        match self {
            Self::Forked { roots, .. } | Self::RolledBack { roots, .. } => roots,
            Self::Unannounced { root, .. } => std::slice::from_ref(root),
        }
    }

    /// What happened, for people.
    pub fn message(&self) -> String {
        match self {
            Self::Forked { address, tree, how, known, found, .. } => {
                let how = match how {
                    ForkKind::TwoRoots => "two heads of one size with two roots",
                    ForkKind::NotProved => "heads between which its own proof does not hold",
                };
                let (known, found) = (one_line(known), one_line(found));
                format!(
                    "the log {address} (key {}, {:?}) signed {how}: {known} and {found}; whoever holds its key showed two histories",
                    tree.key_id, tree.origin
                )
            }
            Self::RolledBack { address, tree, known, found, .. } => format!(
                "the log {address} (key {}, {:?}) shows a tree of {found} entries and had {known}",
                tree.key_id, tree.origin
            ),
            Self::Unannounced { address, index, leaf, signer, policy, .. } => format!(
                "the log {address} has entry {index} ({leaf}) by {signer}, whom policy {policy} trusts, of no image that was seen here"
            ),
        }
    }

    /// The name and content of the revocation that would act on it. None: nothing is to be revoked.
    pub(super) fn suggestion(&self, acts: bool) -> Option<(String, SignatureRevocationSpec)> {
        let short = |hex: &str| hex.get(..16).unwrap_or(hex).to_owned();
        let spec = SignatureRevocationSpec { suspended: Some(!acts), ..SignatureRevocationSpec::default() };
        match self {
            Self::Forked { tree, .. } => {
                // No `after`: since when the key signs two histories, nobody can tell from the heads.
                let service = DistrustedService { log: Some(tree.key_id.clone()), ..DistrustedService::default() };
                let reason = shortened(&self.message(), 1_024);
                let name = format!("suggested-log-{}", short(&tree.key_id));
                Some((name, SignatureRevocationSpec { services: vec![service], reason, ..spec }))
            }
            Self::RolledBack { .. } => None,
            Self::Unannounced { key_id, leaf, .. } => {
                let entry =
                    RevokedLogEntry { log: key_id.clone(), uuid: Some(leaf.clone()), ..RevokedLogEntry::default() };
                let reason = shortened(&self.message(), 1_024);
                let name = format!("suggested-entry-{}", short(leaf));
                Some((name, SignatureRevocationSpec { log_entries: vec![entry], reason, ..spec }))
            }
        }
    }
}

/// Size and root of a note.
fn one_line(note: &str) -> String {
    let mut lines = note.lines().skip(1);
    format!("{} {}", lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

/// The start of a text, within a number of bytes.
pub(super) fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let ends = text.char_indices().map(|(place, _)| place).take_while(|place| place + 3 <= bytes);
    format!("{}...", text.get(..ends.last().unwrap_or_default()).unwrap_or_default())
}
