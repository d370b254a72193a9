//! Trust that moves: what TUF repositories deliver, verified, kept, and as fresh as is demanded.
//!
//! One task for each root that comes through TUF; they share nothing, so that one which fails delays and weakens no other. What is
//! published is a set of roots that a request takes as it is. What was accepted outlives the process in an [`Archive`]. What a root means
//! is said in `trust`, what its staleness does to a verdict in `policy`. Specification: <https://theupdateframework.github.io/specification/>.

mod archive;
mod artifact;
pub mod bounds;
mod client;
mod error;
mod folder;
mod http;
mod kept;
mod mirror;
mod refresh;
mod status;
mod store;
mod task;
mod unique;

pub use archive::{Archive, Files, FolderArchive, MemoryArchive, write_whole};
pub use client::{RoleKey, RoleKeys, TufClient, VerifiedTarget, Versions};
pub use error::{ArchiveError, MirrorError, RefreshError};
pub use folder::FolderMirror;
pub use http::{HttpMirror, HttpOptions};
pub use mirror::Mirror;
pub(crate) use refresh::{ACCEPTED, LATEST, REFRESHED};
pub use status::{Failure, Refreshes, RootReading, RootStatus};
pub use store::{Clock, TrustStore, TrustStoreOptions};
pub(crate) use task::backoff;
