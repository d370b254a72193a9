//! What is remembered between requests, in memory alone: content by digest, what tags and listings said a moment ago, and evidence.
//!
//! It is here for speed and for registries that limit the rate of requests; an empty store changes no answer. What keeps that true:
//!
//! - No verdict is kept. Policies and revocations are evaluated on every request, over evidence.
//! - Nothing is keyed by a tag alone. What came from a registry is kept by host, repository, the credential it was read with
//!   ([`CredentialKey`](crate::registry::CredentialKey)) and what was asked for, so that no caller reads what only another may.
//! - Evidence is a pure function of its key ([`EvidenceCache`]), which holds everything that verification reads, and nothing else; where
//!   a candidate was found is no part of it and is put in anew.
//! - What a registry could not say is not kept, and what it denied or did not have is kept for two seconds at most.
//! - Everything is bounded in bytes, the key and the bookkeeping of an entry included.

mod cached;
mod evidence;
mod flight;
mod lifetime;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

pub use cached::Cached;
pub use evidence::{EvidenceCache, VerificationEnded};

use crate::registry::{Credentialed, ImageSource};
use cached::Answers;
use shelf::Figures;

/// How much a store holds, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreSettings {
    /// Bytes of everything together, overhead included. Zero keeps nothing.
    pub bytes: u64,
    /// How long a tag is taken to name what it named. Zero: it is asked for every time.
    pub resolution_lifetime: Duration,
    /// How long a listing of signatures is taken to be complete, unless a failure makes it be asked for anew. Zero: never.
    pub listing_lifetime: Duration,
}

impl StoreSettings {
    /// 64 MiB.
    pub const DEFAULT_BYTES: u64 = 64 << 20;
    /// Two seconds: enough for the Pods of one rollout step, and short, because what a tag named is what a Pod is pinned to.
    pub const DEFAULT_RESOLUTION_LIFETIME: Duration = Duration::from_secs(2);
    /// Ten seconds.
    pub const DEFAULT_LISTING_LIFETIME: Duration = Duration::from_secs(10);
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            bytes: Self::DEFAULT_BYTES,
            resolution_lifetime: Self::DEFAULT_RESOLUTION_LIFETIME,
            listing_lifetime: Self::DEFAULT_LISTING_LIFETIME,
        }
    }
}

/// What a part of the store remembers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Layers, by digest.
    Blob,
    /// What candidates proved or did not.
    Evidence,
    /// Referrers, and the tags that hold signatures.
    Listing,
    /// Manifests, by digest.
    Manifest,
    /// What tags name.
    Resolution,
}

/// The figures of one part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Which part.
    pub kind: Kind,
    /// Questions answered from memory or by the work of another caller, since the start.
    pub hits: u64,
    /// Questions that were passed on or computed, since the start.
    pub misses: u64,
    /// Bytes held now.
    pub bytes: u64,
}

/// The memory of a process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Store {
    answers: Arc<Answers>,
    evidence: EvidenceCache,
}

impl Store {
    /// An empty store.
    pub fn new(settings: StoreSettings) -> Self {
        // A quarter is for evidence, which is small and saves the most; the rest for what it is made from.
        let evidence = settings.bytes / 4;
        Self {
            answers: Arc::new(Answers::new(settings, settings.bytes - evidence)),
            evidence: EvidenceCache::new(evidence),
        }
    }

    /// A source that remembers in this store. Sources over one store may differ in their credentials and in nothing else: they
    /// reach the same registries in the same way.
    pub fn over<S: ImageSource + Credentialed>(&self, source: S) -> Cached<S> {
        Cached::new(source, Arc::clone(&self.answers))
    }

    /// What candidates proved.
    pub fn evidence(&self) -> &EvidenceCache {
        &self.evidence
    }

    /// The figures of every part.
    pub fn readings(&self) -> [Reading; 5] {
        let reading = |kind, figures: &[Figures]| Reading {
            kind,
            hits: figures.iter().map(|one| one.hits).sum(),
            misses: figures.iter().map(|one| one.misses).sum(),
            bytes: figures.iter().map(|one| one.bytes).sum(),
        };
        let Answers { blobs, listings, manifests, resolutions, signature_tags, .. } = &*self.answers;
        [
            reading(Kind::Blob, &[blobs.figures()]),
            reading(Kind::Evidence, &[self.evidence.figures()]),
            reading(Kind::Listing, &[listings.figures(), signature_tags.figures()]),
            reading(Kind::Manifest, &[manifests.figures()]),
            reading(Kind::Resolution, &[resolutions.figures()]),
        ]
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(StoreSettings::default())
    }
}
