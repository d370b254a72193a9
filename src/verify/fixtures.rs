//! Real signed artifacts for tests of this module and of those above it.
//!
//! The data is what public projects published (`tests/data/SOURCES.md`); nothing here is signed by us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{AnchorId, Evidence, Gathered, TimeSource};
use crate::evidence::{Discovered, DiscoveryPath, Origin};
use crate::image::{Digest, ImageReference, ResolvedImage};
use crate::trust::{PublicKey, TrustMaterial};

pub(crate) const ATTESTED: &str = "e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5";
pub(crate) const ATTESTATION: &str = "31cc4fb663c8d34e2e6a0bd5f183d576c2811ee286e0998b4c2965e3b35a0d86";
pub(crate) const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
pub(crate) const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

#[expect(clippy::disallowed_methods, reason = "tests read their data")]
pub(crate) fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn image(manifest: Vec<u8>) -> ResolvedImage {
    let text = format!("registry.example/image@{}", Digest::of(&manifest));
    ImageReference::parse(&text)
        .unwrap()
        .resolve(manifest, "application/vnd.oci.image.manifest.v1+json".into())
        .unwrap()
}

pub(crate) fn candidate(media_type: &str, content: Vec<u8>, annotations: BTreeMap<String, String>) -> Discovered {
    let origin =
        Origin { path: DiscoveryPath::ReferrersApi, manifest: Digest::of(b"manifest"), layer: Digest::of(&content) };
    Discovered::untrusted(origin, media_type.to_owned(), content, annotations)
}

pub(crate) fn root(name: &str) -> TrustMaterial {
    TrustMaterial::embedded(name).unwrap()
}

/// The real attested image, and its attestation layer with the annotations.
pub(crate) fn slsa() -> (ResolvedImage, Vec<u8>, BTreeMap<String, String>) {
    let blob = |hex: &str| bytes(format!("policies/examples/slsa-provenance/image/blobs/sha256/{hex}"));
    let manifest: Value = serde_json::from_slice(&blob(ATTESTATION)).unwrap();
    let layer = &manifest["layers"][0];
    let digest = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
    (image(blob(ATTESTED)), blob(digest), annotations)
}

/// A legacy fixture: its layers, and the key if it names one.
pub(crate) fn legacy(name: &str) -> (Vec<Discovered>, Option<PublicKey>) {
    use base64::Engine as _;
    let fixture: Value = serde_json::from_slice(&bytes(format!("tests/data/cosign-legacy/{name}.json"))).unwrap();
    let layer = |layer: &Value| {
        let payload = base64::engine::general_purpose::STANDARD.decode(layer["payload_b64"].as_str().unwrap()).unwrap();
        let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
        candidate(layer["media_type"].as_str().unwrap(), payload, annotations)
    };
    let key = fixture["verify"]["key"].as_str().map(|pem| PublicKey::parse_pem(pem).unwrap());
    (fixture["layers"].as_array().unwrap().iter().map(layer).collect(), key)
}

pub(crate) fn tree(tag: &str) -> ResolvedImage {
    image(bytes(format!("tests/data/registry-tree/securesystemsengineering/testimage/manifests/{tag}")))
}

/// Real evidence from which one proof is taken away, as if it had been verified without it.
pub(crate) fn without(evidence: &Evidence, proof: &str) -> Evidence {
    let mut evidence = evidence.clone();
    match proof {
        "log" => evidence.logs.clear(),
        "certificate transparency" => evidence.certificate_transparency = false,
        "time" => evidence.times.clear(),
        other => panic!("{other} is no proof"),
    }
    evidence
}

/// Real evidence as if its log had been asked and had confirmed it.
pub(crate) fn confirmed(evidence: &Evidence) -> Evidence {
    let mut evidence = evidence.clone();
    for proof in &mut evidence.logs {
        proof.online = true;
    }
    evidence
}

/// The same evidence under another root's name, dated by another kind of source.
pub(crate) fn under(evidence: &Evidence, root: &str, source: TimeSource) -> Evidence {
    let mut evidence = evidence.clone();
    evidence.under = AnchorId::TrustRoot(root.to_owned());
    for time in &mut evidence.times {
        time.source = source;
    }
    evidence
}

/// What was gathered, if this had been verified.
pub(crate) fn gathered(verified: Vec<Evidence>) -> Gathered {
    Gathered::of(verified)
}
