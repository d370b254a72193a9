//! In which repositories images were seen, by digest: what a digest alone does not say, and what holds it must be fetched by.
//!
//! A bounded memory and no more: what was not seen, or long ago, is not known. Nothing is admitted by it. Whoever may create a Pod can name
//! any repository for a digest. A name that proved nothing therefore gives way to newer ones, takes no room from a repository that had the
//! image, keeps no other waiting, and goes once its repository turns out not to have it.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use moka::sync::Cache;

use crate::image::{Digest, ImageReference, Repository};
use crate::registry::{ImageSource, RegistryError, children, resolve};

/// Digests that are remembered.
const DIGESTS: u64 = 16_384;
/// Repositories of one digest that had it; of more, the later count as named.
const HAD: usize = 4;
/// Repositories of one digest that somebody named for it; a new one displaces the oldest.
const NAMED: usize = 12;

/// Where images were seen. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Sightings(Cache<Digest, Arc<Places>>);

/// Where one image may be.
#[derive(Clone, Debug, Default)]
struct Places {
    had: Vec<Repository>,
    named: Vec<Repository>,
}

impl Places {
    fn name(&mut self, repository: &Repository) {
        self.named.retain(|known| known != repository);
        if self.had.contains(repository) {
            return;
        }
        if self.named.len() >= NAMED {
            self.named.remove(0);
        }
        self.named.push(repository.clone());
    }

    fn have(&mut self, repository: &Repository) {
        if self.had.contains(repository) || self.had.len() < HAD {
            self.drop(repository);
            self.had.push(repository.clone());
        } else {
            self.name(repository);
        }
    }

    fn drop(&mut self, repository: &Repository) {
        self.had.retain(|known| known != repository);
        self.named.retain(|known| known != repository);
    }
}

impl Default for Sightings {
    fn default() -> Self {
        Self(Cache::new(DIGESTS))
    }
}

impl Sightings {
    /// An image was asked for by this digest; nobody knows yet whether it is there.
    pub(super) fn named(&self, digest: &Digest, repository: &Repository) {
        self.change(digest, |places| places.name(repository));
    }

    /// An image was found there, and has this digest.
    pub(super) fn found(&self, digest: &Digest, repository: &Repository) {
        self.change(digest, |places| places.have(repository));
    }

    fn change(&self, digest: &Digest, change: impl FnOnce(&mut Places)) {
        self.0.entry(digest.clone()).and_upsert_with(|known| {
            let mut places = known.map(|known| (**known.value()).clone()).unwrap_or_default();
            change(&mut places);
            Arc::new(places)
        });
    }

    /// The digests of all that an image holds, if it is an index; nothing for another image. None: it was seen nowhere, or is gone.
    ///
    /// All repositories are asked at once, so that one that does not answer keeps no other waiting.
    ///
    /// # Errors
    /// It was seen, and cannot be had from anywhere, or not all of it.
    pub async fn below(
        &self,
        digest: &Digest,
        source: &impl ImageSource,
    ) -> Result<Option<Vec<Digest>>, RegistryError> {
        let places = self.0.get(digest).unwrap_or_default();
        let asked = places.had.iter().chain(&places.named).map(async |repository| {
            let below = async {
                let image = resolve(source, &ImageReference::at(repository.clone(), digest.clone())).await?;
                children(source, &image).await
            };
            (repository, below.await)
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut failure = None;
        while let Some((repository, answer)) = answers.next().await {
            match answer {
                Ok(found) => return Ok(Some(found.iter().map(|child| child.image.digest().clone()).collect())),
                Err(error) if is_elsewhere(&error) => self.change(digest, |places| places.drop(repository)),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }
}

/// Whether a repository answered, and not with the image and all that it holds.
fn is_elsewhere(error: &RegistryError) -> bool {
    use RegistryError::{DigestMismatch, ImageNotFound, Malformed, NotFound};
    matches!(error, DigestMismatch { .. } | ImageNotFound { .. } | Malformed { .. } | NotFound { .. })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::registry::{Descriptor, ManifestSelector, RawManifest};

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn child() -> Vec<u8> {
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(b"config").to_string(), "size": 6}})
        .to_string()
        .into_bytes()
    }

    fn index() -> Vec<u8> {
        let child = child();
        json!({"schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{"mediaType": MANIFEST, "digest": Digest::of(&child).to_string(), "size": child.len()}]})
        .to_string()
        .into_bytes()
    }

    fn repository(name: &str) -> Repository {
        ImageReference::parse(&format!("{name}/x")).unwrap().repository().clone()
    }

    /// `real.example` has the index and what it holds, `half.example` the index only, `other.example` something else; `down.example` never
    /// answers, and `locked.example` refuses.
    struct Registries;

    impl ImageSource for Registries {
        async fn manifest(
            &self,
            repository: &Repository,
            selector: ManifestSelector<'_>,
            _: u64,
        ) -> Result<Option<RawManifest>, RegistryError> {
            let ManifestSelector::Digest(asked) = selector else { return Ok(None) };
            let has = |bytes: Vec<u8>| (Digest::of(&bytes) == *asked).then_some(bytes);
            let bytes = match repository.to_string() {
                name if name.starts_with("real") => has(index()).or_else(|| has(child())),
                name if name.starts_with("half") => has(index()),
                name if name.starts_with("other") => Some(child()),
                name if name.starts_with("down") => return std::future::pending().await,
                name if name.starts_with("locked") => {
                    return Err(RegistryError::Timeout { host: name, what: "the manifest" });
                }
                _ => None,
            };
            bytes.map(|bytes| RawManifest::verified(selector, bytes, None)).transpose()
        }

        async fn blob(&self, _: &Repository, _: &Digest, _: u64) -> Result<Option<Vec<u8>>, RegistryError> {
            Ok(None)
        }

        async fn referrers(&self, _: &Repository, _: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
            Ok(None)
        }
    }

    /// What is known at once.
    fn below(sightings: &Sightings) -> Result<Option<Vec<Digest>>, String> {
        let digest = Digest::of(&index());
        let known = sightings.below(&digest, &Registries).now_or_never();
        known.ok_or("no answer")?.map_err(|error| error.to_string())
    }

    #[test]
    fn names_that_prove_nothing_keep_no_repository_out() {
        let (sightings, digest) = (Sightings::default(), Digest::of(&index()));
        let held = Ok(Some(vec![Digest::of(&child())]));
        assert_eq!(below(&sightings), Ok(None));
        for number in 0..2 * NAMED {
            sightings.named(&digest, &repository(&format!("down{number}.example")));
        }
        assert_eq!(below(&sightings), Err("no answer".to_owned()));
        sightings.named(&digest, &repository("real.example"));
        assert_eq!(below(&sightings), held);
        // Nor do they put out one that had the image.
        sightings.found(&digest, &repository("real.example"));
        for number in 0..2 * NAMED {
            sightings.named(&digest, &repository(&format!("down{number}.example")));
        }
        assert_eq!(below(&sightings), held);
    }

    #[test]
    fn repositories_that_have_the_index_only_keep_none_out_that_has_all_of_it() {
        let (sightings, digest) = (Sightings::default(), Digest::of(&index()));
        for number in 0..2 * HAD {
            sightings.found(&digest, &repository(&format!("half{number}.example")));
        }
        sightings.found(&digest, &repository("real.example"));
        assert_eq!(below(&sightings), Ok(Some(vec![Digest::of(&child())])));
    }

    #[test]
    fn a_repository_that_does_not_have_it_is_forgotten_and_one_that_fails_is_not() {
        let (sightings, digest) = (Sightings::default(), Digest::of(&index()));
        for name in ["half.example", "other.example", "empty.example"] {
            sightings.named(&digest, &repository(name));
            assert_eq!(below(&sightings), Ok(None), "{name}");
            let places = sightings.0.get(&digest).unwrap();
            assert!(places.had.is_empty() && places.named.is_empty(), "{name}");
        }
        sightings.named(&digest, &repository("locked.example"));
        assert!(below(&sightings).is_err());
        assert_eq!(sightings.0.get(&digest).unwrap().named, [repository("locked.example")]);
    }
}
