//! OCI image layout folders as a source: images and signatures without a registry.
//!
//! [Image layout](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md). Files are named by parsed
//! digests only, must lie inside the folder once links are followed, and are read up to a cap. The folder is not
//! written to and not watched: `index.json` is read once.
//!
//! A layout belongs to no repository. A digest is answered whatever repository is asked for, since it proves itself; a
//! tag only if the layout says which manifest has it. `cosign save` writes layouts without names, which it reads back
//! by the annotation `kind`; of those, the tags of signatures and attestations are answered.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::{from_json, malformed};
use super::limits::{LISTING_BYTES, LISTING_ENTRIES, MANIFEST_BYTES};
use super::manifest::{ManifestParts, index_entries, infer_media_type, known_media_type};
use super::{Descriptor, ImageSource, ManifestSelector, RawManifest, RegistryError};
use crate::image::{Digest, ImageReference, Repository};

/// Bytes in the marker file.
const MARKER_BYTES: u64 = 1 << 10;
/// Bytes of manifests that one search for referrers reads.
const SEARCH_BYTES: usize = 64 << 20;

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const COSIGN_KIND: &str = "kind";
const COSIGN_IMAGES: [&str; 2] = ["dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex"];
const COSIGN_SIGNATURES: &str = "dev.cosignproject.cosign/sigs";
const COSIGN_ATTESTATIONS: &str = "dev.cosignproject.cosign/atts";

/// A folder in the OCI image layout.
#[derive(Clone, Debug)]
pub struct OciLayout {
    /// Canonical, so that a file's own canonical path can be compared with it.
    root: PathBuf,
    entries: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl OciLayout {
    /// Opens a folder that has the files `oci-layout` and `index.json`.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let unreadable = |reason: String| RegistryError::LayoutUnreadable { path: path.to_owned(), reason };
        let root = path.canonicalize().map_err(|error| unreadable(error.to_string()))?;
        let required = |name: &str, cap| {
            read_inside(&root, name.as_ref(), cap, "layout file")?
                .ok_or_else(|| unreadable(format!("it has no {name}")))
        };
        let marker: Marker = from_json(&required("oci-layout", MARKER_BYTES)?, "oci-layout file")?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(unreadable("its layout version is not 1".to_owned()));
        }
        let entries = index_entries(&required("index.json", LISTING_BYTES)?, LISTING_ENTRIES)?;
        Ok(Self { root, entries })
    }

    /// Digests of the images that the layout names, signatures and attestations excluded, in its order.
    pub fn images(&self) -> impl Iterator<Item = &Digest> {
        let is_image = |entry: &&Descriptor| {
            kind(entry).is_none_or(|kind| COSIGN_IMAGES.contains(&kind))
                && known_media_type(&entry.media_type).is_some()
        };
        self.entries.iter().filter(is_image).map(|entry| &entry.digest)
    }

    fn find_tag(&self, repository: &Repository, tag: &str) -> Result<Option<&Descriptor>, RegistryError> {
        let named = self.entries.iter().filter(|entry| {
            [REFERENCE_NAME, CONTAINERD_NAME]
                .iter()
                .filter_map(|key| entry.annotations.get(*key))
                .any(|name| names(name, repository, tag))
        });
        let named: Vec<&Descriptor> = named.chain(self.find_cosign_tag(tag)).collect();
        match named.split_first() {
            None => Ok(None),
            Some((first, others)) if others.iter().all(|other| other.digest == first.digest) => Ok(Some(first)),
            Some(_) => Err(malformed("image layout", "it gives one tag to two manifests")),
        }
    }

    /// The signatures or attestations of the only image of a layout that `cosign save` wrote.
    fn find_cosign_tag(&self, tag: &str) -> Vec<&Descriptor> {
        let of_kind = |wanted: &[&str]| -> Vec<&Descriptor> {
            self.entries.iter().filter(|entry| kind(entry).is_some_and(|kind| wanted.contains(&kind))).collect()
        };
        let images = of_kind(&COSIGN_IMAGES);
        let Some((image, [])) = images.split_first() else {
            return Vec::new();
        };
        let wanted = match tag.strip_prefix("sha256-").and_then(|rest| rest.strip_prefix(image.digest.hex())) {
            Some(".att") => COSIGN_ATTESTATIONS,
            Some(".sig") => COSIGN_SIGNATURES,
            _ => return Vec::new(),
        };
        of_kind(&[wanted])
    }

    fn read_blob(&self, digest: &Digest, cap: u64, what: &'static str) -> Result<Option<Vec<u8>>, RegistryError> {
        let relative: PathBuf = ["blobs", "sha256", digest.hex()].iter().collect();
        let Some(bytes) = read_inside(&self.root, &relative, cap, what)? else {
            return Ok(None);
        };
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(Some(bytes))
        } else {
            Err(RegistryError::DigestMismatch { expected: digest.clone(), found })
        }
    }

    fn read_manifest(&self, digest: &Digest, cap: u64) -> Result<Option<RawManifest>, RegistryError> {
        let Some(bytes) = self.read_blob(digest, cap, "manifest")? else {
            return Ok(None);
        };
        let listed = self.entries.iter().find(|entry| entry.digest == *digest);
        let declared = match listed.and_then(|entry| known_media_type(&entry.media_type)) {
            Some(listed) => listed,
            // A child of an index: its own mediaType counts, and its shape where it has none.
            None if own_media_type_is_missing(&bytes)? => infer_media_type(&bytes)?,
            None => {
                return RawManifest::verified(ManifestSelector::Digest(digest), bytes, None).map(Some);
            }
        };
        RawManifest::verified(ManifestSelector::Digest(digest), bytes, Some(declared)).map(Some)
    }

    fn search_referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let mut referrers = Vec::new();
        let mut read = 0;
        for entry in self.entries.iter().filter(|entry| known_media_type(&entry.media_type).is_some()) {
            // A layout may leave out what it names; missing manifests refer to nothing here.
            let Some(manifest) = self.read_manifest(&entry.digest, MANIFEST_BYTES)? else {
                continue;
            };
            read += manifest.bytes().len();
            if read > SEARCH_BYTES {
                return Err(RegistryError::TooLarge {
                    what: "manifests of the image layout",
                    cap: SEARCH_BYTES as u64,
                });
            }
            let parts = ManifestParts::parse(manifest.bytes())?;
            if parts.subject.is_some_and(|subject| subject.digest == *digest) {
                let entry = entry.clone();
                referrers.push(Descriptor {
                    artifact_type: parts.artifact_type,
                    annotations: parts.annotations,
                    ..entry
                });
            }
        }
        Ok(referrers)
    }
}

impl ImageSource for OciLayout {
    async fn manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        match selector {
            ManifestSelector::Digest(digest) => self.read_manifest(digest, cap),
            ManifestSelector::Tag(tag) => match self.find_tag(repository, tag)? {
                None => Ok(None),
                Some(entry) => match self.read_manifest(&entry.digest, cap)? {
                    Some(manifest) => Ok(Some(manifest)),
                    None => Err(RegistryError::NotFound { what: "manifest", digest: entry.digest.clone() }),
                },
            },
        }
    }

    async fn blob(&self, _: &Repository, digest: &Digest, cap: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        self.read_blob(digest, cap, "blob")
    }

    async fn referrers(&self, _: &Repository, digest: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        self.search_referrers(digest).map(Some)
    }
}

fn kind(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(COSIGN_KIND).map(String::as_str)
}

/// Whether an annotation names the tag: alone, or as a whole reference to the repository.
fn names(name: &str, repository: &Repository, tag: &str) -> bool {
    if !name.contains(['/', ':']) {
        return name == tag;
    }
    ImageReference::parse(name)
        .is_ok_and(|reference| reference.repository() == repository && reference.effective_tag() == Some(tag))
}

fn own_media_type_is_missing(bytes: &[u8]) -> Result<bool, RegistryError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OwnMediaType {
        media_type: Option<String>,
    }
    let own: OwnMediaType = from_json(bytes, "manifest")?;
    Ok(own.media_type.is_none_or(|text| text.is_empty()))
}

/// Reads a regular file below `root`, of at most `cap` bytes. `None`: there is no such file.
fn read_inside(root: &Path, relative: &Path, cap: u64, what: &'static str) -> Result<Option<Vec<u8>>, RegistryError> {
    let path = root.join(relative);
    let unreadable = |reason: &str| RegistryError::LayoutUnreadable { path: path.clone(), reason: reason.to_owned() };
    let canonical = match path.canonicalize() {
        Ok(canonical) => canonical,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error.to_string())),
    };
    if !canonical.starts_with(root) {
        return Err(unreadable("it leads out of the folder"));
    }
    // Opening a pipe would wait for its other end.
    if !canonical.metadata().map_err(|error| unreadable(&error.to_string()))?.is_file() {
        return Err(unreadable("it is not a regular file"));
    }
    let file = File::open(&canonical).map_err(|error| unreadable(&error.to_string()))?;
    let mut bytes = Vec::new();
    let length =
        file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| unreadable(&error.to_string()))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > cap {
        return Err(RegistryError::TooLarge { what, cap });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
