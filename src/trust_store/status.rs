//! What is known of a root that comes through TUF, for its status and for metrics.

use jiff::Timestamp;

use super::RefreshError;
use super::client::Versions;

/// What is known of a root.
#[derive(Clone, Debug, Default)]
pub struct RootStatus {
    /// Versions of the accepted metadata; none: nothing was accepted.
    pub versions: Option<Versions>,
    /// When the first piece of accepted metadata expires.
    pub expires: Option<Timestamp>,
    /// When the last refresh that succeeded ended.
    pub refreshed: Option<Timestamp>,
    /// SHA-256 of the canonical form of what is trusted now, as `sha256:` and hexadecimal digits.
    pub digest: Option<String>,
    /// Addresses and key ids of the logs that are trusted now.
    pub logs: Vec<(String, String)>,
    /// Why nothing can be judged by it, where that is so.
    pub unavailable: Option<String>,
    /// The last refresh, if it failed. What was accepted before it is still used.
    pub failure: Option<Failure>,
    /// What the archive lacks, where accepted metadata could not be kept: a restart would forget it.
    pub unkept: Option<String>,
    /// What is worth saying beside that.
    pub notes: Vec<&'static str>,
    /// How many refreshes succeeded, and failed, since the process started.
    pub refreshes: Refreshes,
}

/// A refresh that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why: the rule that broke.
    pub error: RefreshError,
    /// When.
    pub at: Timestamp,
    /// How many failed in a row.
    pub in_a_row: u32,
}

/// Counts of refreshes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Refreshes {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those in which the repository broke a rule.
    pub refused: u64,
    /// Those that found no mirror, or no answer in time.
    pub failed: u64,
}

/// Figures of one root, for metrics.
#[derive(Clone, Debug)]
pub struct RootReading {
    /// The root's name.
    pub name: String,
    /// Whether policies can be judged by it now.
    pub usable: bool,
    /// Seconds since the last refresh that succeeded.
    pub age_seconds: Option<i64>,
    /// Seconds until the first piece of its metadata expires; negative: since it did.
    pub expires_in_seconds: Option<i64>,
    /// Refreshes since the process started.
    pub refreshes: Refreshes,
}
