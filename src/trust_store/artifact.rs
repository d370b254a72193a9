//! A repository in an OCI artifact: each layer is one file of it, named by `org.opencontainers.image.title`.
//!
//! The whole artifact is pulled, as the tag names it now, and served from memory. Every byte's digest is checked by the registry's side;
//! that is no reason to believe any of it. Its size is bounded as a whole.

use serde::Deserialize;

use super::archive::Files;
use super::{Mirror, MirrorError};
use crate::image::{Digest, ImageReference};
use crate::registry::{ImageSource, ManifestSelector, RegistryError};

/// The annotation that names a layer's file.
const TITLE: &str = "org.opencontainers.image.title";
/// Bytes of the manifest.
const MANIFEST_BYTES: u64 = 4 << 20;
/// Bytes of all files together.
const TOTAL_BYTES: u64 = 32 << 20;
/// Files.
const FILES: usize = 1_024;

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Pulls an artifact.
pub(super) async fn fetch(source: &impl ImageSource, reference: &ImageReference) -> Result<Mirror, MirrorError> {
    let unusable = |reason: String| MirrorError::Artifact { reference: reference.to_string(), reason };
    let selector = match reference.digest() {
        Some(digest) => ManifestSelector::Digest(digest),
        None => ManifestSelector::Tag(reference.effective_tag().unwrap_or("latest")),
    };
    let repository = reference.repository();
    let manifest = source.manifest(repository, selector, MANIFEST_BYTES).await;
    let manifest = manifest.map_err(|error| not_had(error, unusable))?;
    let manifest = manifest.ok_or_else(|| unusable("it is not there".to_owned()))?;
    let Manifest { layers } = serde_json::from_slice(manifest.bytes())
        .map_err(|error| unusable(format!("its manifest is malformed: {error}")))?;
    let total = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if layers.len() > FILES || total > TOTAL_BYTES {
        return Err(unusable(format!(
            "it has {} files of {total} bytes, {FILES} of {TOTAL_BYTES} are read",
            layers.len()
        )));
    }
    let mut files = Files::new();
    for Layer { digest, size, annotations } in layers {
        let Some(title) = annotations.get(TITLE) else { continue };
        let digest = Digest::parse(&digest).map_err(|error| unusable(error.to_string()))?;
        let bytes = source.blob(repository, &digest, size).await.map_err(|error| not_had(error, unusable))?;
        let bytes = bytes.ok_or_else(|| unusable(format!("its layer {digest} is not there")))?;
        if files.insert(title.clone(), bytes).is_some() {
            return Err(unusable(format!("two layers are named {title:?}")));
        }
    }
    if files.is_empty() {
        return Err(unusable(format!("no layer of it is named by {TITLE}")));
    }
    Ok(Mirror::files(files))
}

/// A registry that cannot be asked is a mirror that cannot be; what it has and is wrong, is an artifact that is.
fn not_had(error: RegistryError, unusable: impl Fn(String) -> MirrorError) -> MirrorError {
    match error {
        RegistryError::Unavailable { host, reason } => MirrorError::Unreachable { host, reason },
        RegistryError::RateLimited { host, .. } => {
            MirrorError::Status { host, file: "the artifact".to_owned(), status: 429 }
        }
        RegistryError::Timeout { host, what } => MirrorError::Timeout { host, file: what.to_owned() },
        RegistryError::UnexpectedStatus { host, status } => {
            MirrorError::Status { host, file: "the artifact".to_owned(), status }
        }
        RegistryError::Unauthorized { host, .. } => {
            MirrorError::Unreachable { host, reason: "it does not let us read the artifact".to_owned() }
        }
        RegistryError::BlockedAddress { host, address } => MirrorError::AddressBlocked { host, address },
        error => unusable(error.to_string()),
    }
}
