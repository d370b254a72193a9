//! Every rule of verification by itself: a signature that is accepted, and its twin in which one thing is off.
//!
//! What is signed comes from a virtual Sigstore instance, which can make each part wrong on purpose; `tests/virtual_sigstore.rs` shows that
//! another verifier reads it as we do. Real signatures of real instances are judged beside the code and in `e2e/`.

#![expect(
    clippy::panic,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

#[path = "verification/advisories.rs"]
mod advisories;
#[path = "verification/certificates.rs"]
mod certificates;
#[path = "verification/formats.rs"]
mod formats;
#[path = "verification/logs.rs"]
mod logs;
#[path = "verification/oracle.rs"]
mod oracle;
#[path = "verification/timestamps.rs"]
mod timestamps;

use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::trust::{PublicKey, TrustMaterial};
use countersign::verify::{Anchor, Evidence, TimeSource, VerifyError, verify};
use jiff::Timestamp;

use virtual_sigstore::content::Material;
use virtual_sigstore::{Key, Parts, TrustedRoot, Version, VirtualSigstore};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time at which signatures are made unless told otherwise.
fn noon() -> Timestamp {
    at("2024-06-01T12:00:00Z")
}

fn image(manifest: &[u8]) -> ResolvedImage {
    let text = format!("registry.example/image@{}", Digest::of(manifest));
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    ImageReference::parse(&text).unwrap().resolve(manifest.to_vec(), media_type).unwrap()
}

fn discovered(
    media_type: &str,
    content: Vec<u8>,
    annotations: std::collections::BTreeMap<String, String>,
) -> Discovered {
    let origin =
        Origin { path: DiscoveryPath::ReferrersApi, manifest: Digest::of(b"manifest"), layer: Digest::of(&content) };
    Discovered::untrusted(origin, media_type.to_owned(), content, annotations)
}

fn as_bundle(parts: &Parts, version: Version) -> Discovered {
    discovered(version.media_type(), parts.bundle(version).into_bytes(), std::collections::BTreeMap::new())
}

fn as_layer(parts: &Parts) -> Discovered {
    let layer = parts.layer();
    discovered(&layer.media_type, layer.content, layer.annotations)
}

fn material(root: &TrustedRoot) -> TrustMaterial {
    TrustMaterial::parse("virtual", &root.json()).unwrap()
}

fn public_key(key: &Key) -> PublicKey {
    PublicKey::parse_pem(&key.pem()).unwrap()
}

/// What the parts are to be verified under: the instance, or the key that signed, dated by the instance.
fn anchor(root: TrustMaterial, parts: &Parts) -> Anchor {
    match &parts.material {
        Material::Certificate { .. } => Anchor::Root(root),
        Material::Key { key, .. } => Anchor::Key { key: public_key(key), dating: Some(root) },
    }
}

fn judge_under(root: &TrustedRoot, parts: &Parts, candidate: &Discovered) -> Result<Evidence, VerifyError> {
    verify(candidate, &image(MANIFEST), &anchor(material(root), parts))
}

/// The verdict on a bundle of the newest version.
fn judge(sigstore: &VirtualSigstore, parts: &Parts) -> Result<Evidence, VerifyError> {
    judge_under(&sigstore.root(), parts, &as_bundle(parts, Version::V03))
}

#[track_caller]
fn accepted(name: &str, result: Result<Evidence, VerifyError>) -> Evidence {
    result.unwrap_or_else(|error| panic!("{name}: {} {error}", error.code()))
}

#[track_caller]
fn refused(name: &str, result: Result<Evidence, VerifyError>, code: &str, why: &str) {
    match result {
        Ok(evidence) => panic!("{name}: accepted: {evidence:?}"),
        Err(error) => {
            assert!(error.code() == code && error.to_string().contains(why), "{name}: {} {error}", error.code());
        }
    }
}

/// The verified times of one source.
fn times(evidence: &Evidence, source: TimeSource) -> Vec<Timestamp> {
    evidence.times().iter().filter(|time| time.source == source).map(|time| time.at).collect()
}
