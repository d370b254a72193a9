//! Why a log did not answer, or not with what was asked for. Each leaves the question open.
//!
//! Messages name hosts and limits, and hold nothing of a body.

use crate::policy::Problem;
use crate::verify::OnlineError;

/// A question that a log did not answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RekorError {
    /// The address in the trust root cannot be asked.
    #[error("the trust root gives a log {host} an address that cannot be asked: {reason}")]
    Address {
        /// The log's host, as far as there is one; the rest of the address may hold a secret.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The HTTP client cannot be built.
    #[error("logs cannot be asked: {reason}")]
    ClientUnusable {
        /// What does not fit.
        reason: String,
    },
    /// No connection, no TLS session, a broken answer, or none in time.
    #[error("the log {host} is unavailable: {reason}")]
    Unavailable {
        /// The log's host.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// A status other than success, redirects among them.
    #[error("the log {host} answered with status {status}")]
    UnexpectedStatus {
        /// The log's host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// An answer that is longer than its cap.
    #[error("the answer of the log {host} is larger than {cap} bytes ({what})")]
    TooLarge {
        /// The log's host.
        host: String,
        /// The cap, in bytes.
        cap: usize,
        /// What was asked for.
        what: &'static str,
    },
    /// The log says that it does not have it.
    #[error("the log {host} does not have it ({what})")]
    NotFound {
        /// The log's host.
        host: String,
        /// What was asked for.
        what: &'static str,
    },
    /// An answer that confirms nothing.
    #[error("the log {host} did not confirm: {source}")]
    Unconfirmed {
        /// The log's host.
        host: String,
        /// Why not.
        source: OnlineError,
    },
    /// What a search found is not the signature's.
    #[error("none of {found} entries that the log {host} has of this hash is the signature's")]
    NoneFits {
        /// The log's host.
        host: String,
        /// How many were tried.
        found: usize,
    },
    /// The thread that verified an entry ended early.
    #[error("verification ended early: {reason}")]
    Verification {
        /// Why.
        reason: String,
    },
    /// No log of the trust root can be searched.
    #[error("a signature carries no log entry, and its trust root has no log that can be searched")]
    NotSearchable,
}

impl RekorError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "LogAddressInvalid",
            Self::ClientUnusable { .. } => "LogClientUnusable",
            Self::Unavailable { .. } => "LogUnavailable",
            Self::UnexpectedStatus { .. } => "LogUnexpectedStatus",
            Self::TooLarge { .. } => "LogAnswerTooLarge",
            Self::NotFound { .. } | Self::NoneFits { .. } => "LogEntryNotFound",
            Self::Unconfirmed { source, .. } => source.code(),
            Self::Verification { .. } => "Internal",
            Self::NotSearchable => "LogNotSearchable",
        }
    }
}

impl RekorError {
    /// Whether the log answered that it has no such entry.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoneFits { .. })
    }
}

impl From<RekorError> for Problem {
    /// Always undecided: what a log does not say is not said about the image.
    fn from(error: RekorError) -> Self {
        Self { code: error.code(), message: error.to_string(), undecided: true }
    }
}
