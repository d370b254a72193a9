//! What can go wrong between asking for an image and holding verified bytes, one variant for each.
//!
//! Messages name hosts, digests and caps. They hold no response body, token, password or query: an admission message
//! is read by whoever may create a Pod, and must not let them read what only this controller can reach.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::image::{Digest, DigestMismatch};

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// The operator: an address, realm, certificate or credential that the configuration does not allow or lacks.
    Configuration,
    /// The author of the image or of what is attached to it: the bytes break a rule or a cap.
    Image,
    /// The registry, or the way to it.
    Registry,
}

/// A manifest, blob or listing was not obtained.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RegistryError {
    /// A connection would have gone to an address that is not public.
    #[error("{host} is at {address}, which is not a public address and not allowed for this host")]
    BlockedAddress {
        /// Host of the URL, with its port if one is written.
        host: String,
        /// The address that the name or literal stands for.
        address: IpAddr,
    },
    /// The HTTP client cannot be built from the options.
    #[error("the registry client cannot be built: {reason}")]
    ClientUnusable {
        /// What does not fit.
        reason: String,
    },
    /// A file of registry credentials cannot be understood.
    #[error("registry credentials are not readable: {reason}")]
    CredentialsUnreadable {
        /// Where the file breaks the format, without quoting it.
        reason: String,
    },
    /// The bytes are not those that the digest names.
    #[error("the content has the digest {found}, not {expected}")]
    DigestMismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes that came.
        found: Digest,
    },
    /// The registry does not have the image.
    #[error("{reference} was not found")]
    ImageNotFound {
        /// The reference that was to be resolved.
        reference: String,
    },
    /// A folder is not an OCI image layout, or a file of it cannot be read.
    #[error("{} is not a readable OCI image layout: {reason}", path.display())]
    LayoutUnreadable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes break the format that they claim.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// The kind of document.
        what: &'static str,
        /// The rule that is broken, without quoting the bytes.
        reason: String,
    },
    /// No memory was free before the deadline of the request.
    #[error("out of time while waiting for memory to read {what}, which other requests hold")]
    MemoryExhausted {
        /// What was to be read.
        what: &'static str,
    },
    /// Content that another document names is missing.
    #[error("{what} {digest} was not found")]
    NotFound {
        /// The kind of content.
        what: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// The registry asks us to come back later.
    #[error("{host} limits the rate of requests{}", retry_after.map(|wait| format!(", retry after {} s", wait.as_secs())).unwrap_or_default())]
    RateLimited {
        /// The host that answered.
        host: String,
        /// Its `Retry-After`, at most a day; none if it gave none in seconds.
        retry_after: Option<Duration>,
    },
    /// A registry names a token service that it may not name.
    #[error("{host} sends clients to the token service {realm}, which is neither the same site nor allowed for it")]
    RealmRefused {
        /// The registry.
        host: String,
        /// Scheme and host of the realm; its path and query are dropped.
        realm: String,
    },
    /// A redirect or a link to a next page leads where we do not follow.
    #[error("a redirect of {host} was refused: {reason}")]
    RedirectRefused {
        /// The host that sent it.
        host: String,
        /// The rule that is broken.
        reason: &'static str,
    },
    /// Everything that one request makes us read is more than its bound.
    #[error("the images of this object, with what is attached to them, are together larger than {cap} bytes")]
    RequestTooLarge {
        /// The bound, in bytes.
        cap: u64,
    },
    /// The total time for one operation is spent.
    #[error("{host} did not answer in time ({what})")]
    Timeout {
        /// The registry.
        host: String,
        /// What was asked for.
        what: &'static str,
    },
    /// A document is longer than its cap.
    #[error("{what} is larger than {cap} bytes")]
    TooLarge {
        /// The kind of document.
        what: &'static str,
        /// The cap, in bytes.
        cap: u64,
    },
    /// There are more of something than its cap.
    #[error("there are more than {cap} {what}")]
    TooMany {
        /// The things that were counted.
        what: &'static str,
        /// The cap.
        cap: usize,
    },
    /// The registry or its token service refuses the credentials, or their absence.
    #[error("{host} does not let us read {repository}")]
    Unauthorized {
        /// The host that refused.
        host: String,
        /// The repository that was asked for.
        repository: String,
    },
    /// No connection, no TLS session, or a 5xx status.
    #[error("{host} is unavailable: {reason}")]
    Unavailable {
        /// The host that was asked.
        host: String,
        /// The status, or the innermost cause.
        reason: String,
    },
    /// A status that the specification does not foresee for the request.
    #[error("{host} answered with status {status}")]
    UnexpectedStatus {
        /// The host that answered.
        host: String,
        /// The HTTP status.
        status: u16,
    },
}

impl RegistryError {
    /// A stable name for traces, metrics and events.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BlockedAddress { .. } => "RegistryAddressBlocked",
            Self::ClientUnusable { .. } => "RegistryClientUnusable",
            Self::CredentialsUnreadable { .. } => "RegistryCredentialsUnreadable",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::ImageNotFound { .. } => "ImageNotFound",
            Self::LayoutUnreadable { .. } => "LayoutUnreadable",
            Self::Malformed { .. } => "MalformedContent",
            Self::MemoryExhausted { .. } => "MemoryExhausted",
            Self::NotFound { .. } => "ContentNotFound",
            Self::RateLimited { .. } => "RegistryRateLimited",
            Self::RealmRefused { .. } => "RegistryRealmRefused",
            Self::RedirectRefused { .. } => "RegistryRedirectRefused",
            Self::RequestTooLarge { .. } => "ImagesTooLarge",
            Self::Timeout { .. } => "RegistryTimeout",
            Self::TooLarge { .. } => "ContentTooLarge",
            Self::TooMany { .. } => "ContentTooMany",
            Self::Unauthorized { .. } => "RegistryUnauthorized",
            Self::Unavailable { .. } => "RegistryUnavailable",
            Self::UnexpectedStatus { .. } => "RegistryUnexpectedStatus",
        }
    }

    /// Who has to act.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BlockedAddress { .. }
            | Self::ClientUnusable { .. }
            | Self::CredentialsUnreadable { .. }
            | Self::LayoutUnreadable { .. }
            | Self::MemoryExhausted { .. }
            | Self::RealmRefused { .. }
            | Self::Unauthorized { .. } => Blame::Configuration,
            Self::ImageNotFound { .. }
            | Self::Malformed { .. }
            | Self::NotFound { .. }
            | Self::RequestTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. } => Blame::Image,
            Self::DigestMismatch { .. }
            | Self::RateLimited { .. }
            | Self::RedirectRefused { .. }
            | Self::Timeout { .. }
            | Self::Unavailable { .. }
            | Self::UnexpectedStatus { .. } => Blame::Registry,
        }
    }

    /// Whether the image could not be judged, because what was needed could not be reached or is not allowed to be, as
    /// opposed to content that is refused for what it is.
    pub fn is_undecided(&self) -> bool {
        match self {
            Self::BlockedAddress { .. }
            | Self::ClientUnusable { .. }
            | Self::CredentialsUnreadable { .. }
            | Self::ImageNotFound { .. }
            | Self::LayoutUnreadable { .. }
            | Self::MemoryExhausted { .. }
            | Self::NotFound { .. }
            | Self::RateLimited { .. }
            | Self::RealmRefused { .. }
            | Self::RedirectRefused { .. }
            | Self::Timeout { .. }
            | Self::Unauthorized { .. }
            | Self::Unavailable { .. }
            | Self::UnexpectedStatus { .. } => true,
            Self::DigestMismatch { .. }
            | Self::Malformed { .. }
            | Self::RequestTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. } => false,
        }
    }
}

impl RegistryError {
    /// Whether this says something about all that is attached to an image, or about the whole request, and not about one place or
    /// layer: a search that meets it has no result, lest somebody push a signature out of view.
    pub fn ends_the_search(&self) -> bool {
        matches!(self, Self::MemoryExhausted { .. } | Self::RequestTooLarge { .. } | Self::TooMany { .. })
    }
}

impl From<DigestMismatch> for RegistryError {
    fn from(mismatch: DigestMismatch) -> Self {
        Self::DigestMismatch { expected: mismatch.expected, found: mismatch.found }
    }
}
