//! An OCI image layout folder as cosign saves it, pushed to a registry byte for byte.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::registry::{PushedImage, Registry, hex, sha256};

/// How cosign marks what `index.json` lists.
const KIND: &str = "/annotations/kind";
const IMAGE_KIND: &str = "dev.cosignproject.cosign/imageIndex";
const ATTESTATIONS_KIND: &str = "dev.cosignproject.cosign/atts";

/// A layout with one image index and the attestations for it.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
    image: Value,
    attestations: Value,
}

impl Layout {
    /// Reads the layout's `index.json`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("index.json");
        let index = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let index: Value = serde_json::from_str(&index).with_context(|| format!("cannot parse {}", path.display()))?;
        let of_kind = |kind: &str| {
            let found =
                list(&index, "manifests").find(|found| found.pointer(KIND).and_then(Value::as_str) == Some(kind));
            found.cloned().with_context(|| format!("{} lists no {kind}", path.display()))
        };
        Ok(Self { folder: folder.to_owned(), image: of_kind(IMAGE_KIND)?, attestations: of_kind(ATTESTATIONS_KIND)? })
    }

    /// The image's digest.
    pub fn digest(&self) -> Result<&str> {
        text(&self.image, "digest")
    }

    /// Pushes the image alone, which makes it an unsigned one, under a tag if one is given.
    pub fn push_image(&self, registry: &Registry, path: &str, tag: Option<&str>) -> Result<PushedImage> {
        self.push(registry, path, &self.image, tag)
    }

    /// Pushes the attestations, as the tag `sha256-<hex>.att` of the image.
    pub fn push_attestations(&self, registry: &Registry, path: &str) -> Result<PushedImage> {
        let tag = format!("sha256-{}.att", hex(self.digest()?)?);
        self.push(registry, path, &self.attestations, Some(&tag))
    }

    fn push(&self, registry: &Registry, path: &str, descriptor: &Value, tag: Option<&str>) -> Result<PushedImage> {
        let bytes = self.blob(descriptor)?;
        let manifest: Value = serde_json::from_slice(&bytes).context("a manifest of the layout is no JSON")?;
        for child in list(&manifest, "manifests") {
            self.push(registry, path, child, None)?;
        }
        for blob in manifest.get("config").into_iter().chain(list(&manifest, "layers")) {
            registry.push_blob(path, &self.blob(blob)?)?;
        }
        registry.push_manifest(path, tag, text(descriptor, "mediaType")?, &bytes)
    }

    fn blob(&self, descriptor: &Value) -> Result<Vec<u8>> {
        let digest = text(descriptor, "digest")?;
        let path = self.folder.join("blobs/sha256").join(hex(digest)?);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(sha256(&bytes) == digest, "{} does not have its digest", path.display());
        Ok(bytes)
    }
}

fn list<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str> {
    object.get(field).and_then(Value::as_str).with_context(|| format!("no {field} in {object}"))
}
