//! In which repositories images were seen, by digest: what a digest alone does not say, and what holds it must be fetched by.
//!
//! A bounded memory and no more: what was not seen, or long ago, is not known. Nothing is admitted by it.

use std::sync::Arc;

use moka::sync::Cache;

use crate::image::{Digest, ImageReference, Repository};
use crate::registry::{ImageSource, RegistryError, children, resolve};

/// Digests that are remembered.
const DIGESTS: u64 = 16_384;
/// Repositories of one digest, lest one that does not have it keep others from being known.
const REPOSITORIES: usize = 4;

/// Where images were seen. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Sightings(Cache<Digest, Arc<[Repository]>>);

impl Default for Sightings {
    fn default() -> Self {
        Self(Cache::new(DIGESTS))
    }
}

impl Sightings {
    /// An image was asked for by this digest, or found to have it.
    pub(super) fn note(&self, digest: &Digest, repository: &Repository) {
        let known = self.0.get(digest).unwrap_or_else(|| Arc::new([]));
        if known.len() < REPOSITORIES && !known.contains(repository) {
            self.0.insert(digest.clone(), known.iter().chain([repository]).cloned().collect());
        }
    }

    /// The digests of all that an image holds, if it is an index; nothing for another image. None: it was seen nowhere, or is gone.
    ///
    /// # Errors
    /// It was seen, and cannot be had from anywhere, or not all of it.
    pub async fn below(
        &self,
        digest: &Digest,
        source: &impl ImageSource,
    ) -> Result<Option<Vec<Digest>>, RegistryError> {
        let mut failure = None;
        for repository in self.0.get(digest).iter().flat_map(|known| known.iter()) {
            let below = async {
                let image = resolve(source, &ImageReference::at(repository.clone(), digest.clone())).await?;
                children(source, &image).await
            };
            match below.await {
                Ok(found) => return Ok(Some(found.iter().map(|child| child.image.digest().clone()).collect())),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }
}
