//! Why a refresh failed: which rule of TUF the repository broke, or what stood in the way of asking it.
//!
//! A closed list with stable codes. Nothing that a mirror wrote is in a message but names and numbers of verified metadata, and no body.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

/// What keeps a file of a repository from being had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MirrorError {
    /// An address that is no mirror's.
    #[error("the mirror {address:?} is refused: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: &'static str,
    },
    /// The mirror's address is one that is never contacted.
    #[error("the mirror {host} has the address {address}, which is never contacted")]
    AddressBlocked {
        /// The mirror's host.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// The client could not be made, such as of a bundle of authorities that is none.
    #[error("the mirror's client cannot be made: {reason}")]
    ClientUnusable {
        /// Why.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("the mirror {host} cannot be reached: {reason}")]
    Unreachable {
        /// The mirror's host.
        host: String,
        /// Why.
        reason: String,
    },
    /// No answer in time.
    #[error("the mirror {host} did not deliver {file} in time")]
    Timeout {
        /// The mirror's host.
        host: String,
        /// The file.
        file: String,
    },
    /// An answer that is neither the file nor that it is not there.
    #[error("the mirror {host} answered {status} for {file}")]
    Status {
        /// The mirror's host.
        host: String,
        /// The file.
        file: String,
        /// The status.
        status: u16,
    },
    /// More bytes than the file may have.
    #[error("{file} is larger than {cap} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// Bytes that it may have.
        cap: u64,
    },
    /// Metadata of which readers may see different things.
    #[error("{file} has a name twice in one object, so that readers differ in what it says")]
    Ambiguous {
        /// The file.
        file: String,
    },
    /// A name that leads out of the repository.
    #[error("{file:?} leads out of the repository")]
    Path {
        /// The name.
        file: String,
    },
    /// A folder or a file in it that cannot be read.
    #[error("{file} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// An artifact that cannot be had or holds no repository.
    #[error("the artifact {reference} is no repository: {reason}")]
    Artifact {
        /// The reference.
        reference: String,
        /// Why.
        reason: String,
    },
}

impl MirrorError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "TufMirrorRefused",
            Self::AddressBlocked { .. } => "TufMirrorAddressBlocked",
            Self::ClientUnusable { .. } => "TufClientUnusable",
            Self::Unreachable { .. } => "TufMirrorUnreachable",
            Self::Timeout { .. } => "TufMirrorTimeout",
            Self::Status { .. } => "TufMirrorStatus",
            Self::TooLarge { .. } => "TufFileTooLarge",
            Self::Ambiguous { .. } => "TufMetadataAmbiguous",
            Self::Path { .. } => "TufPathRefused",
            Self::Unreadable { .. } => "TufMirrorUnreadable",
            Self::Artifact { .. } => "TufArtifactUnusable",
        }
    }
}

/// What keeps accepted metadata from being kept or read back.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what was accepted cannot be {doing}: {reason}")]
pub struct ArchiveError {
    /// `read` or `kept`.
    pub doing: &'static str,
    /// Why.
    pub reason: String,
}

/// Why a refresh failed. What was accepted before it stays as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefreshError {
    /// A file that is no TUF metadata, or keys of it that cannot be used.
    #[error("the metadata is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// Too few signatures.
    #[error("{role} has {found} valid signatures, {threshold} are needed")]
    Threshold {
        /// The role.
        role: String,
        /// How many are valid.
        found: usize,
        /// How many are needed.
        threshold: usize,
    },
    /// Two signatures by one key.
    #[error("{role} is signed twice by the key {key_id}")]
    DuplicateSignature {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// A version below one that was accepted.
    #[error("{role} was rolled back to version {offered}, {trusted} was accepted before")]
    Rollback {
        /// The role.
        role: String,
        /// The version that was accepted.
        trusted: u64,
        /// The version that was offered.
        offered: u64,
    },
    /// A root that does not follow the one before.
    #[error("root version {offered} does not follow version {trusted}")]
    RootVersion {
        /// The version that is trusted.
        trusted: u64,
        /// The version that was offered.
        offered: u64,
    },
    /// Metadata past its expiry, as a mirror shows that holds back newer one.
    #[error("{role} expired at {expires}")]
    Expired {
        /// The role.
        role: String,
        /// When it did.
        expires: Timestamp,
    },
    /// A version that is not the one that was promised for it.
    #[error("a version is not the promised one: {reason}")]
    VersionMismatch {
        /// Which.
        reason: String,
    },
    /// Metadata that was there before is gone.
    #[error("metadata was removed: {reason}")]
    Removed {
        /// Which.
        reason: String,
    },
    /// A length or hash that is not the one that was promised for it.
    #[error("a file is not the promised one: {reason}")]
    Hash {
        /// Which.
        reason: String,
    },
    /// A file that the metadata promises and the mirror does not have.
    #[error("{file} is not there")]
    Missing {
        /// The file.
        file: String,
    },
    /// A chain of roots longer than one refresh follows.
    #[error("more than {limit} new roots in one refresh")]
    TooManyRoots {
        /// How many are followed.
        limit: u32,
    },
    /// No role has the target.
    #[error("no role has the target {target:?}")]
    TargetMissing {
        /// The target.
        target: String,
    },
    /// A target that is announced with more bytes than are read.
    #[error("the target {target:?} is announced with {length} bytes, {cap} are read")]
    TargetTooLarge {
        /// The target.
        target: String,
        /// Its length in bytes.
        length: u64,
        /// Bytes that are read.
        cap: u64,
    },
    /// A target that is no trusted root.
    #[error("the target is no trusted root: {reason}")]
    TrustedRoot {
        /// Why not.
        reason: String,
    },
    /// No role of this name is delegated to.
    #[error("no role {role:?} is delegated to")]
    RoleMissing {
        /// The role.
        role: String,
    },
    /// A mirror that cannot be asked.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Accepted metadata that cannot be kept or read back.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What was kept does not verify from the pinned root.
    #[error("what was kept does not verify from the pinned root ({reason}); only a new refresh can help")]
    ArchiveUnverified {
        /// What is wrong with it.
        reason: String,
    },
    /// The pinned root is not at hand.
    #[error("the pinned root is not at hand: {reason}")]
    NoRoot {
        /// Why not.
        reason: String,
    },
    /// The whole refresh took too long.
    #[error("the refresh took longer than {} s", limit.as_secs())]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// More orders wait for the root than may.
    #[error("{waiting} questions to the repository wait already")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// Nobody answers for this root any more, or never did.
    #[error("no trust root named {name:?} comes through TUF")]
    NotDeclared {
        /// The root's name.
        name: String,
    },
}

impl RefreshError {
    /// The stable code: which rule broke.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "TufMetadataMalformed",
            Self::Threshold { .. } => "TufThresholdNotMet",
            Self::DuplicateSignature { .. } => "TufSignatureDuplicate",
            Self::Rollback { .. } => "TufRollback",
            Self::RootVersion { .. } => "TufRootVersionWrong",
            Self::Expired { .. } => "TufMetadataExpired",
            Self::VersionMismatch { .. } => "TufVersionMismatch",
            Self::Removed { .. } => "TufMetadataRemoved",
            Self::Hash { .. } => "TufHashMismatch",
            Self::Missing { .. } => "TufFileMissing",
            Self::TooManyRoots { .. } => "TufRootsTooMany",
            Self::TargetMissing { .. } => "TufTargetMissing",
            Self::TargetTooLarge { .. } => "TufTargetTooLarge",
            Self::TrustedRoot { .. } => "TufTrustedRootInvalid",
            Self::RoleMissing { .. } => "TufRoleMissing",
            Self::Mirror(error) => error.code(),
            Self::Archive(_) => "TufArchiveUnavailable",
            Self::ArchiveUnverified { .. } => "TufArchiveUnverified",
            Self::NoRoot { .. } => "TufRootMissing",
            Self::Timeout { .. } => "TufRefreshTimeout",
            Self::Busy { .. } => "TufBusy",
            Self::NotDeclared { .. } => "TufNotDeclared",
        }
    }

    /// Whether the repository said something that it must not, rather than nothing.
    pub fn is_broken_rule(&self) -> bool {
        !matches!(
            self,
            Self::Mirror(
                MirrorError::Unreachable { .. }
                    | MirrorError::Timeout { .. }
                    | MirrorError::Status { .. }
                    | MirrorError::Unreadable { .. }
            ) | Self::Archive(_)
                | Self::Timeout { .. }
                | Self::Busy { .. }
                | Self::NoRoot { .. }
                | Self::NotDeclared { .. }
        )
    }
}

impl From<sigstore_tuf::Error> for RefreshError {
    fn from(error: sigstore_tuf::Error) -> Self {
        use sigstore_tuf::Error as Tuf;
        let text = chain(&error);
        match error {
            Tuf::ThresholdNotMet { role, found, threshold } => Self::Threshold { role, found, threshold },
            Tuf::DuplicateSignature { role, key_id } => Self::DuplicateSignature { role, key_id },
            Tuf::Rollback { role, trusted, new } => Self::Rollback { role, trusted, offered: new },
            Tuf::BadRootVersion { trusted, new } => Self::RootVersion { trusted, offered: new },
            Tuf::Expired { role, expires } => Self::Expired { role, expires },
            // The library has one variant for what is four rules here; tests hold its words.
            Tuf::IntegrityMismatch(reason) if reason.contains(" removes ") => Self::Removed { reason },
            Tuf::IntegrityMismatch(reason) if reason.contains(" version ") => Self::VersionMismatch { reason },
            Tuf::IntegrityMismatch(reason) => Self::Hash { reason },
            Tuf::TargetNotFound(target) => Self::TargetMissing { target },
            Tuf::Transport { message, source: None } => match message.strip_suffix(" not found") {
                Some(file) => Self::Missing { file: file.to_owned() },
                None if message.starts_with("exceeded ") => Self::TooManyRoots { limit: super::bounds::ROOTS },
                None => Self::Malformed { reason: text },
            },
            Tuf::Transport { source: Some(source), .. } => match source.downcast::<MirrorError>() {
                Ok(error) => Self::Mirror(*error),
                Err(_) => Self::Malformed { reason: text },
            },
            _ => Self::Malformed { reason: text },
        }
    }
}

/// An error with its causes, in at most 300 characters.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().filter(|character| !character.is_control()).take(300).collect()
}
