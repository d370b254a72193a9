//! Everything attached to an image that may be a signature or attestation, from all four places where such things are
//! put: the tags `sha256-<hex>.sig` and `.att` ([cosign](https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md)),
//! the [referrers API](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers) and
//! its [fallback tag](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema).
//!
//! What is found are candidates: where they are, not their content, which is fetched one by one when it is looked at, so that an
//! image is never in memory with everything that is attached to it.
//!
//! What is found is untrusted: `subject`, annotations and artifact types are hints that only save requests. One place
//! or layer that fails is recorded and hides none of the others. A cap that is passed fails the whole, whatever the
//! order of answers, so that nobody can push a signature out of view by adding others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join_all, join4};

use super::json::malformed;
use super::limits::CONCURRENCY;
use super::manifest::{ManifestParts, index_entries};
use super::{Descriptor, ImageSource, Limits, ManifestSelector, RawManifest, RegistryError};
use crate::evidence::{Discovered, DiscoveryPath, Format, Origin, is_candidate_layer};
use crate::image::{Digest, Repository, ResolvedImage};

/// What was found, and what could not be looked at.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Candidates in an order that depends on their content alone.
    pub candidates: Vec<CandidateLayer>,
    /// Failures that may hide further candidates.
    pub problems: Vec<DiscoveryProblem>,
}

/// A layer that may hold a signature or an attestation, by what its manifest says of it.
#[derive(Clone, Debug)]
pub struct CandidateLayer {
    origin: Origin,
    media_type: String,
    annotations: BTreeMap<String, String>,
    size: u64,
}

impl CandidateLayer {
    /// Fetches the layer. More bytes than its manifest announces are refused.
    ///
    /// # Errors
    /// Why it is not there, with its place.
    pub async fn fetch(
        self,
        source: &impl ImageSource,
        repository: &Repository,
    ) -> Result<Discovered, DiscoveryProblem> {
        let Self { origin, media_type, annotations, size } = self;
        match present(source.blob(repository, &origin.layer, size).await, "layer", &origin.layer) {
            Ok(bytes) => Ok(Discovered::untrusted(origin, media_type, bytes, annotations)),
            Err(error) => Err(DiscoveryProblem { path: origin.path, what: origin.layer.to_string(), error }),
        }
    }
}

/// A place or layer that could not be looked at.
#[derive(Clone, Debug)]
pub struct DiscoveryProblem {
    /// Where.
    pub path: DiscoveryPath,
    /// The tag, listing, manifest or layer.
    pub what: String,
    /// Why.
    pub error: RegistryError,
}

/// Finds every candidate for an image; see the module's header for what fails and what is recorded.
pub async fn discover(
    source: &impl ImageSource,
    image: &ResolvedImage,
    limits: &Limits,
) -> Result<Discovery, RegistryError> {
    let mut search = Search { source, image, limits, bytes: 0, problems: Vec::new() };
    let hex = image.digest().hex();
    let (signature_tag, attestation_tag, fallback_tag) =
        (format!("sha256-{hex}.sig"), format!("sha256-{hex}.att"), format!("sha256-{hex}"));
    let repository = image.repository();
    let (signatures, attestations, fallback, listing) = join4(
        source.manifest(repository, ManifestSelector::Tag(&signature_tag), limits.manifest_bytes),
        source.manifest(repository, ManifestSelector::Tag(&attestation_tag), limits.manifest_bytes),
        source.manifest(repository, ManifestSelector::Tag(&fallback_tag), limits.listing_bytes),
        source.referrers(repository, image.digest()),
    )
    .await;

    let mut found = BTreeMap::new();
    for (path, tag, answer) in [
        (DiscoveryPath::SignatureTag, signature_tag, signatures),
        (DiscoveryPath::AttestationTag, attestation_tag, attestations),
    ] {
        if let Some(manifest) = search.keep(path, &tag, answer)?.flatten() {
            search.look_into(path, &manifest, &mut found)?;
        }
    }
    let listing = search.keep(DiscoveryPath::ReferrersApi, "listing", listing)?.flatten().unwrap_or_default();
    let fallback = search.keep(DiscoveryPath::ReferrersTag, &fallback_tag, fallback)?.flatten();
    let fallback = search.read_fallback(&fallback_tag, fallback)?;
    search.fetch_referrers(listing, fallback, &mut found).await?;
    let layer = |((layer, media_type, annotations), Found { path, manifest, size }): (Candidate, Found)| {
        let origin = Origin { path, manifest, layer };
        CandidateLayer { origin, media_type, annotations, size }
    };
    Ok(Discovery { candidates: found.into_iter().map(layer).collect(), problems: search.problems })
}

/// A layer as a candidate: its content, its claimed format, and its annotations, which may hold the signature.
/// The same layer in two places is one candidate, found in the first of them.
type Candidate = (Digest, String, BTreeMap<String, String>);

/// Where a candidate was found first, and how many bytes it is said to have.
struct Found {
    path: DiscoveryPath,
    manifest: Digest,
    size: u64,
}

struct Search<'a, S> {
    source: &'a S,
    image: &'a ResolvedImage,
    limits: &'a Limits,
    bytes: u64,
    problems: Vec<DiscoveryProblem>,
}

impl<S: ImageSource> Search<'_, S> {
    /// Takes the answer out, or records its error. A count over its cap is never one place's own affair.
    fn keep<T>(
        &mut self,
        path: DiscoveryPath,
        what: &str,
        answer: Result<T, RegistryError>,
    ) -> Result<Option<T>, RegistryError> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.ends_the_search() => Err(error),
            Err(error) => {
                self.problems.push(DiscoveryProblem { path, what: what.to_owned(), error });
                Ok(None)
            }
        }
    }

    /// Counts bytes of manifests that were read, and of layers that will be.
    fn spend(&mut self, bytes: u64) -> Result<(), RegistryError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.total_bytes {
            return Err(RegistryError::TooLarge {
                what: "everything attached to the image",
                cap: self.limits.total_bytes,
            });
        }
        Ok(())
    }

    /// Adds the candidate layers of a manifest.
    fn look_into(
        &mut self,
        path: DiscoveryPath,
        manifest: &RawManifest,
        found: &mut BTreeMap<Candidate, Found>,
    ) -> Result<(), RegistryError> {
        self.spend(length(manifest.bytes()))?;
        let what = manifest.digest().to_string();
        let layers = if manifest.is_index() {
            Err(malformed("signature manifest", "it is an index"))
        } else {
            ManifestParts::parse(manifest.bytes()).map(|parts| parts.layers(is_candidate_layer))
        };
        let Some(layers) = self.keep(path, &what, layers)? else {
            return Ok(());
        };
        for layer in layers {
            let Some(Descriptor { digest, media_type, annotations, size, .. }) = self.keep(path, &what, layer)? else {
                continue;
            };
            let (kind, cap) = self.layer_cap(&media_type);
            if size > cap {
                let error = RegistryError::TooLarge { what: kind, cap };
                self.problems.push(DiscoveryProblem { path, what: digest.to_string(), error });
                continue;
            }
            match found.entry((digest, media_type, annotations)) {
                Entry::Vacant(entry) => {
                    self.spend(size)?;
                    entry.insert(Found { path, manifest: manifest.digest().clone(), size });
                }
                // Whoever understates the size of somebody else's layer must not hide it.
                Entry::Occupied(mut entry) => {
                    let found = entry.get_mut();
                    self.spend(size.saturating_sub(found.size))?;
                    found.size = found.size.max(size);
                }
            }
            if found.len() > self.limits.candidates {
                return Err(RegistryError::TooMany { what: "candidate signatures", cap: self.limits.candidates });
            }
        }
        Ok(())
    }

    fn layer_cap(&self, media_type: &str) -> (&'static str, u64) {
        match Format::of(media_type) {
            Some(Format::Bundle) => ("bundle", self.limits.bundle_bytes),
            Some(Format::Dsse) => ("attestation", self.limits.attestation_layer_bytes),
            Some(Format::SimpleSigning) | None => ("simple signing payload", self.limits.simple_signing_bytes),
        }
    }

    fn read_fallback(&mut self, tag: &str, fallback: Option<RawManifest>) -> Result<Vec<Descriptor>, RegistryError> {
        let Some(fallback) = fallback else {
            return Ok(Vec::new());
        };
        self.spend(length(fallback.bytes()))?;
        let entries = if fallback.is_index() {
            index_entries(fallback.bytes(), self.limits.listing_entries)
        } else {
            Err(malformed("referrers fallback", "it is not an index"))
        };
        Ok(self.keep(DiscoveryPath::ReferrersTag, tag, entries)?.unwrap_or_default())
    }

    async fn fetch_referrers(
        &mut self,
        listing: Vec<Descriptor>,
        fallback: Vec<Descriptor>,
        found: &mut BTreeMap<Candidate, Found>,
    ) -> Result<(), RegistryError> {
        let listing = listing.into_iter().map(|entry| (DiscoveryPath::ReferrersApi, entry));
        let fallback = fallback.into_iter().map(|entry| (DiscoveryPath::ReferrersTag, entry));
        let mut seen = BTreeSet::new();
        let mut wanted: Vec<(DiscoveryPath, Digest)> = listing
            .chain(fallback)
            .filter(|(_, entry)| may_hold_signatures(entry.artifact_type.as_deref()))
            .filter(|(_, entry)| seen.insert(entry.digest.clone()))
            .map(|(path, entry)| (path, entry.digest))
            .collect();
        if wanted.len() > self.limits.candidates {
            return Err(RegistryError::TooMany {
                what: "referrers that may be signatures",
                cap: self.limits.candidates,
            });
        }
        // The order of a listing is the registry's; ours decides which manifest a shared layer is found in.
        wanted.sort_by(|(_, left), (_, right)| left.cmp(right));
        let (source, repository, cap) = (self.source, self.image.repository(), self.limits.manifest_bytes);
        for group in wanted.chunks(CONCURRENCY) {
            let requests =
                group.iter().map(|(_, digest)| source.manifest(repository, ManifestSelector::Digest(digest), cap));
            for ((path, digest), answer) in group.iter().zip(join_all(requests).await) {
                let answer = present(answer, "manifest", digest);
                if let Some(manifest) = self.keep(*path, &digest.to_string(), answer)? {
                    self.look_into(*path, &manifest, found)?;
                }
            }
        }
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Whether a listed manifest is worth a request. Some registries and clients leave the type out or put that of the
/// empty or an image's configuration, so these are looked into.
fn may_hold_signatures(artifact_type: Option<&str>) -> bool {
    artifact_type.is_none_or(|text| {
        text.starts_with("application/vnd.dev.sigstore.bundle")
            || text.starts_with("application/vnd.dev.cosign.")
            || text == "application/vnd.oci.empty.v1+json"
            || text == "application/vnd.oci.image.config.v1+json"
    })
}

fn present<T>(
    answer: Result<Option<T>, RegistryError>,
    what: &'static str,
    digest: &Digest,
) -> Result<T, RegistryError> {
    answer?.ok_or_else(|| RegistryError::NotFound { what, digest: digest.clone() })
}
