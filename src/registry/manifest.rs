//! Manifests and indexes as bytes with a proven digest, and the few fields of them that finding evidence needs.
//!
//! This is not a model of the image specification: unknown fields are ignored, configurations and layers of images are
//! not read. It is strict where two readers could see two documents in the same bytes. Go's decoder, which containerd
//! and CRI-O use, takes `Manifests` for `manifests` and the last of two equal keys; whoever signs children must sign
//! those that will run, so such spellings are refused, as are documents that are both manifest and index
//! ([CVE-2021-41190](https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh)).
//!
//! [Manifest](https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md),
//! [index](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md),
//! [descriptor](https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::json::{OtherKeys, from_json, malformed, refuse_lookalikes};
use super::limits::ANNOTATIONS;
use super::{ManifestSelector, RegistryError};
use crate::image::Digest;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Manifests that are refused by name, so that the message says why.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// What a request for a manifest accepts.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

const DOCUMENT_FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
];
const DESCRIPTOR_FIELDS: &[&str] =
    &["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];
const PLATFORM_FIELDS: &[&str] = &["architecture", "os", "os.version", "os.features", "variant", "features"];

/// What a descriptor says about the machine that can run its image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// CPU architecture in Go's spelling; empty if not given.
    pub architecture: String,
    /// Operating system in Go's spelling; empty if not given.
    pub os: String,
    /// Variant of the architecture.
    pub variant: Option<String>,
}

/// A descriptor: where content is found, and what its author calls it. Only the digest is ever proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Free text; signatures may sit here, so they are evidence's to judge.
    pub annotations: BTreeMap<String, String>,
    /// The kind of artifact, where the content is a manifest.
    pub artifact_type: Option<String>,
    /// Digest of the content.
    pub digest: Digest,
    /// Media type of the content.
    pub media_type: String,
    /// Platform, in an index.
    pub platform: Option<Platform>,
    /// Length of the content in bytes, unproven.
    pub size: u64,
}

/// The bytes of a manifest or index, whose digest is the one that was asked for and whose type is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    bytes: Vec<u8>,
    digest: Digest,
    media_type: &'static str,
}

impl RawManifest {
    /// Hashes the bytes, compares them with the selector's digest, and settles the media type: the document's own if it
    /// has one, else the one that its holder declares. Where both are known types they must agree.
    pub fn verified(
        selector: ManifestSelector<'_>,
        bytes: Vec<u8>,
        declared: Option<&str>,
    ) -> Result<Self, RegistryError> {
        let digest = Digest::of(&bytes);
        if let ManifestSelector::Digest(expected) = selector
            && *expected != digest
        {
            return Err(RegistryError::DigestMismatch { expected: expected.clone(), found: digest });
        }
        let media_type = settle_media_type(&parse_shape(&bytes)?, declared)?;
        Ok(Self { bytes, digest, media_type })
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// One of the four types of OCI and Docker manifests and indexes.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// Whether this is an index (or Docker manifest list).
    pub fn is_index(&self) -> bool {
        is_index(self.media_type)
    }

    /// The bytes, given up.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether a media type is that of an index or a Docker manifest list.
pub(super) fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

/// The known manifest type that a header or descriptor names, without its parameters.
pub(super) fn known_media_type(text: &str) -> Option<&'static str> {
    let text = text.split(';').next().unwrap_or_default().trim();
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].into_iter().find(|known| known.eq_ignore_ascii_case(text))
}

/// The descriptors of an index, in its order; [`TooMany`](RegistryError::TooMany) past `cap`.
///
/// This is for whoever holds bytes whose digest is proven and must know every descendant.
pub fn index_entries(bytes: &[u8], cap: usize) -> Result<Vec<Descriptor>, RegistryError> {
    let document: Index = from_json(bytes, "image index")?;
    refuse_lookalikes(&document.rest, DOCUMENT_FIELDS, "image index")?;
    let entries = document.manifests.ok_or_else(|| malformed("image index", "it has no manifests"))?;
    if entries.len() > cap {
        return Err(RegistryError::TooMany { what: "entries in an image index", cap });
    }
    entries.into_iter().map(|entry| entry.parse("image index")).collect()
}

/// Media type of the statements in `BuildKit`'s attestation manifests.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What a manifest says of itself and of the manifest it refers to; its layers if they are asked for.
#[derive(Debug)]
pub(super) struct ManifestParts {
    /// `artifactType`, or else the type of the configuration, as a referrers listing would have it.
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) subject: Option<Descriptor>,
    layers: Vec<RawDescriptor>,
}

impl ManifestParts {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RegistryError> {
        let document: Manifest = from_json(bytes, "manifest")?;
        refuse_lookalikes(&document.rest, DOCUMENT_FIELDS, "manifest")?;
        let config = document.config.map(|config| config.media_type);
        Ok(Self {
            artifact_type: document.artifact_type.filter(|text| !text.is_empty()).or(config),
            annotations: document.annotations.unwrap_or_default(),
            subject: document.subject.map(|subject| subject.parse("manifest")).transpose()?,
            layers: document.layers.unwrap_or_default(),
        })
    }

    /// Whether every layer is an in-toto statement, and there is one: nothing that a runtime could unpack and run.
    pub(super) fn holds_only_statements(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.media_type == IN_TOTO)
    }

    /// The layers whose media type is wanted. A layer of another type may carry a digest that we could not read.
    pub(super) fn layers(
        self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = Result<Descriptor, RegistryError>> {
        self.layers.into_iter().filter(move |layer| wanted(&layer.media_type)).map(|layer| layer.parse("manifest"))
    }
}

/// Only which parts are there; the parts of an image are never looked into.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: OtherKeys,
}

#[derive(Deserialize)]
struct Index {
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(flatten)]
    rest: OtherKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    #[serde(flatten)]
    rest: OtherKeys,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
    artifact_type: Option<String>,
    platform: Option<RawPlatform>,
    #[serde(flatten)]
    rest: OtherKeys,
}

#[derive(Debug, Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
    #[serde(flatten)]
    rest: OtherKeys,
}

impl RawDescriptor {
    fn parse(self, what: &'static str) -> Result<Descriptor, RegistryError> {
        refuse_lookalikes(&self.rest, DESCRIPTOR_FIELDS, what)?;
        let digest =
            Digest::parse(&self.digest).map_err(|_| malformed(what, "a descriptor's digest is not a sha256 digest"))?;
        let annotations = self.annotations.unwrap_or_default();
        if annotations.len() > ANNOTATIONS {
            return Err(malformed(what, &format!("a descriptor has more than {ANNOTATIONS} annotations")));
        }
        let platform = match self.platform {
            None => None,
            Some(RawPlatform { architecture, os, variant, rest }) => {
                refuse_lookalikes(&rest, PLATFORM_FIELDS, what)?;
                Some(Platform { architecture, os, variant })
            }
        };
        Ok(Descriptor {
            annotations,
            artifact_type: self.artifact_type.filter(|text| !text.is_empty()),
            digest,
            media_type: self.media_type,
            platform,
            size: self.size,
        })
    }
}

fn parse_shape(bytes: &[u8]) -> Result<Shape, RegistryError> {
    let shape: Shape = from_json(bytes, "manifest")?;
    refuse_lookalikes(&shape.rest, DOCUMENT_FIELDS, "manifest")?;
    let is_schema_1 = shape.schema_version == Some(1)
        || shape.fs_layers.is_some()
        || shape.media_type.as_deref().is_some_and(|text| text.starts_with(DOCKER_SCHEMA_1));
    if is_schema_1 {
        return Err(malformed("manifest", "Docker schema 1 is not supported"));
    }
    if shape.schema_version != Some(2) {
        return Err(malformed("manifest", "schemaVersion is not 2"));
    }
    if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(malformed("manifest", "it is both a manifest and an index"));
    }
    Ok(shape)
}

fn settle_media_type(shape: &Shape, declared: Option<&str>) -> Result<&'static str, RegistryError> {
    let declared = declared.and_then(known_media_type);
    let media_type = match (shape.media_type.as_deref().filter(|text| !text.is_empty()), declared) {
        (Some(own), declared) => {
            // Exact: whoever compares the document's text with a header must come to the same answer.
            let own = known_media_type(own)
                .filter(|known| *known == own)
                .ok_or_else(|| malformed("manifest", "its mediaType is none of an OCI or Docker manifest or index"))?;
            if declared.is_some_and(|declared| declared != own) {
                return Err(malformed("manifest", "its mediaType is not the one it was served under"));
            }
            own
        }
        (None, Some(declared)) => declared,
        (None, None) => return Err(malformed("manifest", "nothing says its media type")),
    };
    match (is_index(media_type), shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some()) {
        (true, true, _) | (false, false, true) => Ok(media_type),
        (true, false, _) => Err(malformed("manifest", "an index without manifests")),
        (false, ..) => Err(malformed("manifest", "a manifest without config and layers")),
    }
}

/// The type that a document without a declared one has by its parts, for folders that say nothing about a digest.
pub(super) fn infer_media_type(bytes: &[u8]) -> Result<&'static str, RegistryError> {
    let shape = parse_shape(bytes)?;
    Ok(if shape.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST })
}

#[cfg(test)]
mod tests;
