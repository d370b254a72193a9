//! From a reference to the manifest it means, and from an index to its descendants.
//!
//! A tag is asked for exactly once; what comes back carries its digest and everything later uses that
//! ([CVE-2022-47633](https://nvd.nist.gov/vuln/detail/CVE-2022-47633) was a second question with another answer).
//! Which children can run, and whether they must satisfy a policy, is not decided here.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::json::malformed;
use super::limits::{CHILDREN, CONCURRENCY, INDEX_DEPTH, MANIFEST_BYTES};
use super::manifest::{ManifestParts, index_entries, is_index, known_media_type};
use super::{Descriptor, ImageSource, ManifestSelector, Platform, RegistryError};
use crate::image::{ImageReference, ResolvedImage};

/// Resolves a reference in one request: by its digest if it has one, else by its tag.
pub async fn resolve(source: &impl ImageSource, reference: &ImageReference) -> Result<ResolvedImage, RegistryError> {
    let selector = match (reference.digest(), reference.effective_tag()) {
        (Some(digest), _) => ManifestSelector::Digest(digest),
        (None, Some(tag)) => ManifestSelector::Tag(tag),
        (None, None) => return Err(malformed("reference", "it has neither tag nor digest")),
    };
    let found = source.manifest(reference.repository(), selector, MANIFEST_BYTES).await?;
    let manifest = found.ok_or_else(|| RegistryError::ImageNotFound { reference: reference.to_string() })?;
    let media_type = manifest.media_type().to_owned();
    Ok(reference.resolve(manifest.into_bytes(), media_type)?)
}

/// A manifest or index below an index, with what the index says about it.
#[derive(Clone, Debug)]
pub struct ChildImage {
    /// Annotations of its descriptor.
    pub annotations: BTreeMap<String, String>,
    /// `artifactType` of its descriptor.
    pub artifact_type: Option<String>,
    /// Indexes above it: 1 for what the outermost names.
    pub depth: usize,
    /// Its bytes, under the digest that the index gives.
    pub image: ResolvedImage,
    /// Its platform, if the index gives one.
    pub platform: Option<Platform>,
}

impl ChildImage {
    /// Whether this is an index itself; its own children follow it in the list.
    pub fn is_index(&self) -> bool {
        is_index(self.image.media_type())
    }

    /// Whether this is an attestation that `BuildKit` keeps beside the images, and nothing that runs: it says so, it is for no
    /// platform, and all its layers are statements. A child that lacks any of the three is taken to run.
    pub fn is_attestation_manifest(&self) -> bool {
        const TYPE: &str = "vnd.docker.reference.type";
        let unknown = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
        self.annotations.get(TYPE).is_some_and(|kind| kind == "attestation-manifest")
            && self.platform.as_ref().is_some_and(unknown)
            && ManifestParts::parse(self.image.manifest()).is_ok_and(|parts| parts.holds_only_statements())
    }
}

/// Every descendant of an index, each after the index that names it; nothing for an image that is none.
///
/// All or none: a missing or unreadable child is an error, as is an index of more than 64 descendants or more than two
/// levels of indexes.
pub async fn children(source: &impl ImageSource, image: &ResolvedImage) -> Result<Vec<ChildImage>, RegistryError> {
    let mut found: Vec<ChildImage> = Vec::new();
    if !is_index(image.media_type()) {
        return Ok(found);
    }
    let mut indexes = vec![(image.clone(), 1)];
    while let Some((index, depth)) = indexes.pop() {
        if depth > INDEX_DEPTH {
            return Err(RegistryError::TooMany { what: "levels of indexes", cap: INDEX_DEPTH });
        }
        let entries = index_entries(index.manifest(), CHILDREN)?;
        if found.len() + entries.len() > CHILDREN {
            return Err(RegistryError::TooMany { what: "images in an index", cap: CHILDREN });
        }
        for group in entries.chunks(CONCURRENCY) {
            let requests = group.iter().map(|entry| fetch_child(source, image, entry, depth));
            for child in join_all(requests).await {
                let child = child?;
                if child.is_index() {
                    indexes.push((child.image.clone(), depth + 1));
                }
                found.push(child);
            }
        }
    }
    Ok(found)
}

async fn fetch_child(
    source: &impl ImageSource,
    image: &ResolvedImage,
    entry: &Descriptor,
    depth: usize,
) -> Result<ChildImage, RegistryError> {
    let selector = ManifestSelector::Digest(&entry.digest);
    let manifest = source.manifest(image.repository(), selector, MANIFEST_BYTES).await?;
    let manifest =
        manifest.ok_or_else(|| RegistryError::NotFound { what: "manifest", digest: entry.digest.clone() })?;
    let media_type = manifest.media_type();
    // Runtimes go by the descriptor, we by the document; they must not part.
    if known_media_type(&entry.media_type) != Some(media_type) {
        return Err(malformed("image index", "it gives a child another media type than its own"));
    }
    Ok(ChildImage {
        annotations: entry.annotations.clone(),
        artifact_type: entry.artifact_type.clone(),
        depth,
        image: image.child(&entry.digest, manifest.into_bytes(), media_type.to_owned())?,
        platform: entry.platform.clone(),
    })
}
