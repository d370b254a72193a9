//! What was delivered of a feed outlives the process, so that a restart while the repository cannot be reached revives nothing that the
//! feed struck out.
//!
//! What is read back is held to the rule of the feed anew. It is not verified anew: whoever can write it can take revocations away, as they
//! could by writing `SignatureRevocation` objects, and cannot have anything admitted by it, because a feed only takes away.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::policy::FeedRule;

/// What was delivered of a feed, and when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The trust root through which it came.
    pub trust_root: String,
    /// SHA-256 of the pinned metadata that this root was verified from, which says whose repository it is. Empty: kept before it was noted.
    #[serde(default)]
    pub pinned: String,
    /// The target's path.
    pub target: String,
    /// When it was last delivered.
    pub delivered: Timestamp,
    /// When the first piece of metadata that vouches for it expires.
    pub expires: Timestamp,
    /// The version of the role that lists it.
    pub version: u64,
    /// Its text.
    pub content: String,
}

impl Kept {
    /// Whether it is a delivery of this feed, and not of one that had its name.
    pub(super) fn is_of(&self, rule: &FeedRule) -> bool {
        self.trust_root == rule.trust_root() && self.target == rule.target()
    }

    /// Whether both are deliveries of one feed by one repository, so that their versions can be compared. What does not say of whose
    /// repository it is might be of any.
    pub fn is_of_one_line(&self, other: &Self) -> bool {
        let is_same = self.pinned == other.pinned || self.pinned.is_empty() || other.pinned.is_empty();
        is_same && self.trust_root == other.trust_root && self.target == other.target
    }

    /// Whether it may be kept in the place of one before: it is newer, of the same version and delivered later, or has nothing to do with it.
    pub fn replaces(&self, before: &Self) -> bool {
        !self.is_of_one_line(before) || (self.version, self.delivered) > (before.version, before.delivered)
    }

    /// The last moment at which it is fresh, under a clock that says `now`: one that was ahead when it was delivered gains nothing.
    pub(super) fn fresh_until(&self, rule: &FeedRule, now: Timestamp) -> Timestamp {
        let delivered = self.delivered.min(now);
        delivered.saturating_add(rule.max_age()).unwrap_or(Timestamp::MAX).min(self.expires)
    }
}

/// Keeps the last delivery of each feed.
pub trait FeedArchive: Send + Sync {
    /// What was kept of a feed. None: nothing ever.
    fn load<'a>(&'a self, feed: &'a str) -> BoxFuture<'a, Result<Option<Kept>, String>>;

    /// Keeps a delivery in the place of the one before, if it [replaces](Kept::replaces) that.
    fn save<'a>(&'a self, feed: &'a str, kept: Kept) -> BoxFuture<'a, Result<(), String>>;
}

/// Keeps deliveries as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryFeedArchive {
    feeds: Mutex<BTreeMap<String, Kept>>,
}

impl FeedArchive for MemoryFeedArchive {
    fn load<'a>(&'a self, feed: &'a str) -> BoxFuture<'a, Result<Option<Kept>, String>> {
        let found = self.feeds.lock().unwrap_or_else(PoisonError::into_inner).get(feed).cloned();
        async { Ok(found) }.boxed()
    }

    fn save<'a>(&'a self, feed: &'a str, kept: Kept) -> BoxFuture<'a, Result<(), String>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.get(feed).is_none_or(|before| kept.replaces(before)) {
            feeds.insert(feed.to_owned(), kept);
        }
        async { Ok(()) }.boxed()
    }
}
