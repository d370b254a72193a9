//! What is known of a feed, for its status and conditions.

use jiff::Timestamp;

use crate::image::Digest;
use crate::policy::{FeedError, RefusedObject};
use crate::trust_store::RefreshError;

/// Why a feed was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FeedFailure {
    /// It was not delivered: the repository broke a rule, or could not be reached.
    #[error("it was not delivered: {0}")]
    Fetch(#[from] RefreshError),
    /// What was delivered is no feed.
    #[error("what was delivered is refused: {0}")]
    Content(#[from] FeedError),
    /// What was kept cannot be read back yet.
    #[error("what was kept of it cannot be read: {reason}")]
    Unread {
        /// Why not.
        reason: String,
    },
}

impl FeedFailure {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.code(),
            Self::Content(error) => error.code(),
            Self::Unread { .. } => "FeedArchiveUnavailable",
        }
    }
}

/// What is known of a feed.
#[derive(Clone, Debug, Default)]
pub struct FeedStatus {
    /// When it was last delivered; none: never.
    pub delivered: Option<Timestamp>,
    /// When the first piece of metadata that vouches for it expires.
    pub expires: Option<Timestamp>,
    /// The last moment at which it is fresh.
    pub fresh_until: Option<Timestamp>,
    /// SHA-256 of the target.
    pub digest: Option<Digest>,
    /// How many revocations of it are in force.
    pub revocations: usize,
    /// How many policies of it are in force, those that do not parse and deny among them.
    pub policies: usize,
    /// What of it is not in force.
    pub refused: Vec<RefusedObject>,
    /// Code and words of the last attempt, if it failed. What was delivered before it stays in force.
    pub failure: Option<(&'static str, String)>,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// Why a restart would forget what was delivered, where it would.
    pub unkept: Option<String>,
}
