//! Bytes of images, from registries and from folders: the seam [`ImageSource`] and its two implementations.
//!
//! Everything here is read-only and bounded, and every byte that comes back was hashed and compared with the digest
//! that was asked for. What the bytes mean is decided elsewhere: discovery hands on candidates, untrusted, and this
//! module verifies no signature, evaluates no policy and keeps no content (`store` does). It never falls back to a weaker way of
//! asking: not to plain HTTP, not to anonymous access after refused credentials, not to a shortened list.
//!
//! Specifications: OCI [distribution 1.1](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md) and
//! [image 1.1](https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md).

mod address;
mod body;
mod budget;
mod challenge;
mod client;
mod credentials;
mod discover;
mod error;
mod json;
mod layout;
mod limits;
mod link;
mod manifest;
mod options;
mod resolve;
mod sources;
mod token;
mod transport;

use std::future::Future;

pub(crate) use address::{CheckedResolver, OutOfReach, Reach};
pub use budget::{Held, LEAST_MEMORY_BYTES, MEMORY_BYTES, MemoryBudget, Metered, REQUEST_BYTES, RequestBudget};
pub use client::RegistryClient;
pub use credentials::{CredentialKey, CredentialStore};
pub use discover::{CandidateLayer, Discovery, DiscoveryProblem, discover};
pub use error::{Blame, RegistryError};
pub use layout::OciLayout;
pub use limits::Limits;
pub use manifest::{Descriptor, Platform, RawManifest, index_entries};
pub use options::{RealmGrant, RegistryOptions, TlsRoots};
pub use resolve::{ChildImage, children, resolve};
pub use sources::Sources;

use crate::image::{Digest, Repository};

/// Which manifest of a repository is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestSelector<'a> {
    /// The one with this digest, whatever its tags.
    Digest(&'a Digest),
    /// The one that this tag names now.
    Tag(&'a str),
}

/// Where manifests, blobs and referrers come from. `None` is always a well-formed "there is no such thing".
pub trait ImageSource: Send + Sync {
    /// The manifest or index, of at most `cap` bytes, in one request. `None`: not found.
    fn manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> impl Future<Output = Result<Option<RawManifest>, RegistryError>> + Send;

    /// The bytes with this digest, at most `cap` of them. `None`: not found.
    fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        cap: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, RegistryError>> + Send;

    /// Descriptors of the manifests whose `subject` is `digest`, all pages of them. `None`: the source has no such API.
    fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Vec<Descriptor>>, RegistryError>> + Send;

    /// Says that what was found in this repository did not satisfy. A source that remembers asks anew from now on, since the author
    /// may be about to mend it; others have nothing to do.
    fn forget(&self, _repository: &Repository) {}
}

/// A source that shows credentials to registries, and says which: what one caller could read is not for another to see.
pub trait Credentialed {
    /// Identifies the credential that a request for this repository would carry.
    fn credential(&self, repository: &Repository) -> CredentialKey;
}
