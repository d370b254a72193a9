//! Images with signatures attached to them, as cosign stores them: tags `.sig` and `.att`, and referrers with bundles
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>). For a layout folder, or for a registry to serve.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::content::Content;
use super::parts::{Layer, Parts, Version};
use super::text::{hex, sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// An image, and what is attached to it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    /// Layers under the tag `.sig`.
    pub(crate) signatures: Vec<Layer>,
    /// Layers under the tag `.att`.
    pub(crate) attestations: Vec<Layer>,
    /// Manifests whose subject is the image.
    pub(crate) referrers: Vec<Vec<u8>>,
    /// Configs and layers, by digest.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

/// The digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha256(bytes)))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

impl Image {
    /// An image with no layers; the name is in its config, so that two names are two images.
    pub(crate) fn new(name: &str) -> Self {
        let config = json!({"architecture": "amd64", "os": "linux", "author": name}).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [],
        });
        let blobs = BTreeMap::from([(digest(&config), config)]);
        let manifest = manifest.to_string().into_bytes();
        Self { manifest, signatures: Vec::new(), attestations: Vec::new(), referrers: Vec::new(), blobs }
    }

    /// The digest of the manifest.
    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.blobs.insert(digest(bytes), bytes.to_vec());
    }

    /// Attaches a signature by tag: a message under `.sig`, an envelope under `.att`.
    pub(crate) fn tagged(mut self, parts: &Parts) -> Self {
        let layer = parts.layer();
        self.blob(&layer.content);
        match parts.content {
            Content::Message(_) => self.signatures.push(layer),
            Content::Envelope(_) => self.attestations.push(layer),
        }
        self
    }

    /// Attaches a signature as a bundle that refers to the image.
    pub(crate) fn referred(mut self, parts: &Parts, version: Version) -> Self {
        let bundle = parts.bundle(version).into_bytes();
        self.blob(&bundle);
        self.blob(b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": version.media_type(),
            "config": descriptor(EMPTY, b"{}"),
            "layers": [descriptor(version.media_type(), &bundle)],
            "subject": descriptor(MANIFEST, &self.manifest),
        });
        self.referrers.push(manifest.to_string().into_bytes());
        self
    }

    /// The manifests with their tags: the image's own has none.
    pub(crate) fn manifests(&self) -> Vec<(Option<String>, Vec<u8>)> {
        let tag = |suffix: &str| Some(format!("{}.{suffix}", self.digest().replace(':', "-")));
        let mut manifests = vec![(None, self.manifest.clone())];
        for (suffix, layers) in [("sig", &self.signatures), ("att", &self.attestations)] {
            if !layers.is_empty() {
                manifests.push((tag(suffix), of_layers(layers)));
            }
        }
        manifests.extend(self.referrers.iter().map(|manifest| (None, manifest.clone())));
        manifests
    }

    /// The answer of the referrers API.
    pub(crate) fn referrers_index(&self) -> Vec<u8> {
        let manifests: Vec<Value> = self
            .referrers
            .iter()
            .map(|manifest| {
                let parsed: Value = serde_json::from_slice(manifest).unwrap();
                let mut entry = descriptor(MANIFEST, manifest);
                entry["artifactType"] = parsed["artifactType"].clone();
                entry
            })
            .collect();
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string().into_bytes()
    }

    /// Writes the image and all that is attached to it as an OCI image layout.
    pub(crate) fn write_layout(&self, folder: &Path) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let write = |bytes: &[u8]| std::fs::write(blobs.join(hex(&sha256(bytes))), bytes).unwrap();
        self.blobs.values().for_each(|blob| write(blob));
        let manifests = self.manifests().into_iter().map(|(tag, manifest)| {
            write(&manifest);
            let parsed: Value = serde_json::from_slice(&manifest).unwrap();
            let mut entry = descriptor(parsed["mediaType"].as_str().unwrap_or(MANIFEST), &manifest);
            if let Some(tag) = tag {
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
            }
            entry
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests.collect::<Vec<_>>()});
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// The manifest of a tag, which holds these layers.
fn of_layers(layers: &[Layer]) -> Vec<u8> {
    let layers = layers.iter().map(|layer| {
        let mut entry = descriptor(&layer.media_type, &layer.content);
        entry["annotations"] = json!(layer.annotations);
        entry
    });
    let config = descriptor(CONFIG, b"{}");
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers.collect::<Vec<_>>()})
        .to_string()
        .into_bytes()
}
