//! Several sources as one: folders first, then a registry if there is one.
//!
//! Without a registry nothing is ever contacted: what no folder has is not found. A failing folder is an error and
//! does not pass the question on.

use super::{Descriptor, ImageSource, ManifestSelector, OciLayout, RawManifest, RegistryClient, RegistryError};
use crate::image::{Digest, Repository};

/// Folders and at most one registry client.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Asked first, in this order.
    pub layouts: Vec<OciLayout>,
    /// Asked for what no folder has.
    pub registry: Option<RegistryClient>,
}

impl ImageSource for Sources {
    async fn manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        for layout in &self.layouts {
            if let Some(manifest) = layout.manifest(repository, selector, cap).await? {
                return Ok(Some(manifest));
            }
        }
        match &self.registry {
            Some(registry) => registry.manifest(repository, selector, cap).await,
            None => Ok(None),
        }
    }

    async fn blob(&self, repository: &Repository, digest: &Digest, cap: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        for layout in &self.layouts {
            if let Some(bytes) = layout.blob(repository, digest, cap).await? {
                return Ok(Some(bytes));
            }
        }
        match &self.registry {
            Some(registry) => registry.blob(repository, digest, cap).await,
            None => Ok(None),
        }
    }

    /// All of them, from every source: a folder's answer is not complete because it is an answer.
    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let mut all: Option<Vec<Descriptor>> = None;
        for layout in &self.layouts {
            if let Some(found) = layout.referrers(repository, digest).await? {
                all.get_or_insert_default().extend(found);
            }
        }
        if let Some(registry) = &self.registry
            && let Some(found) = registry.referrers(repository, digest).await?
        {
            all.get_or_insert_default().extend(found);
        }
        Ok(all)
    }
}
