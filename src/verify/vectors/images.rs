//! Signed images as registries and folders hold them: cosign's layers, a saved layout, a registry's tree.

use serde_json::Value;

use super::super::fixtures::{bytes, candidate, image, root, tree as tagged};
use super::super::*;
use super::{Case, Outcome, refused};
use crate::evidence::Discovered;
use crate::image::ResolvedImage;
use crate::trust::{PUBLIC_GOOD, PublicKey, TrustMaterial};

/// The public-good root with this key as its only log.
fn logged_by(pem: &str) -> TrustMaterial {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let key = PublicKey::parse_pem(pem).unwrap();
    let json = sigstore_trust_root::SigstoreInstance::PublicGood.embedded_trusted_root_json();
    let mut value: Value = serde_json::from_str(json).unwrap();
    value["tlogs"] = serde_json::json!([{
        "baseUrl": "https://rekor.example", "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": STANDARD.encode(key.spki()), "keyDetails": "PKIX_ECDSA_P256_SHA_256"},
        "logId": {"keyId": STANDARD.encode(Digest::of(key.spki()).bytes())},
    }]);
    TrustMaterial::parse("own", &value.to_string()).unwrap()
}

/// Layers with their annotations, and how the fixture wants them verified: one that holds is enough.
fn verify_layers(layers: &[Discovered], image: &Digest, wanted: &Value) -> Outcome {
    let text = |name: &str| wanted[name].as_str();
    let required = text("tlog") == Some("require");
    let dating = || text("rekor_key").map_or_else(|| root(PUBLIC_GOOD), logged_by);
    let anchor = match text("key") {
        Some(pem) => Anchor::Key { key: PublicKey::parse_pem(pem).unwrap(), dating: required.then(dating) },
        None => Anchor::Root(root(PUBLIC_GOOD)),
    };
    let mut outcome = Err(("NoSignature", "no layer".to_owned()));
    for layer in layers {
        let result = verify(layer, image, &anchor).map_err(|error| refused(&error)).and_then(|evidence| {
            if required && evidence.logs().is_empty() {
                return Err(("LogMissing", "no log entry".to_owned()));
            }
            match evidence.signer() {
                Signer::Key { .. } => Ok(()),
                Signer::Certificate { issuer, .. } if issuer.as_deref() != text("issuer") => {
                    Err(("IssuerMismatch", evidence.signer().to_string()))
                }
                Signer::Certificate { subjects, .. }
                    if subjects.iter().any(|subject| Some(subject.as_str()) == text("identity")) =>
                {
                    Ok(())
                }
                signer @ Signer::Certificate { .. } => Err(("IdentityMismatch", signer.to_string())),
            }
        });
        // A signature by somebody else says less than one that nearly holds.
        if !matches!((&outcome, &result), (Ok(()), _) | (Err(("LogMissing", _)), Err(("SignatureInvalid", _)))) {
            outcome = result;
        }
    }
    outcome
}

pub(super) fn legacy(case: &Case) -> Outcome {
    use base64::Engine as _;
    let fixture: Value = serde_json::from_slice(&bytes(case.path())).unwrap();
    let layer = |layer: &Value| {
        let payload = base64::engine::general_purpose::STANDARD.decode(layer["payload_b64"].as_str().unwrap()).unwrap();
        let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
        candidate(layer["media_type"].as_str().unwrap(), payload, annotations)
    };
    let layers: Vec<Discovered> = fixture["layers"].as_array().unwrap().iter().map(layer).collect();
    let digest = Digest::parse(fixture["image_digest"].as_str().unwrap()).unwrap();
    verify_layers(&layers, &digest, &fixture["verify"])
}

/// The layers of a signature manifest, whose blobs `blob` gives by their digest.
fn layers(manifest: &[u8], blob: impl Fn(&str) -> Vec<u8>) -> Vec<Discovered> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let layer = |layer: &Value| {
        let hex = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
        candidate(layer["mediaType"].as_str().unwrap(), blob(hex), annotations)
    };
    manifest["layers"].as_array().unwrap().iter().map(layer).collect()
}

/// A layout as cosign saves it, signed as its twin among the legacy layers says.
pub(super) fn layout(case: &Case) -> Outcome {
    let version = case.name.rsplit_once('-').unwrap().1;
    let folder = match version {
        // This one is an example of the policies too, and stands there.
        "v1.10.0" => "policies/examples/slsa-provenance/image".into(),
        _ => case.path(),
    };
    let blob = |hex: &str| bytes(folder.join("blobs/sha256").join(hex));
    let index: Value = serde_json::from_slice(&bytes(folder.join("index.json"))).unwrap();
    let of_kind = |kind: &str| {
        let manifests = index["manifests"].as_array().unwrap();
        let found = manifests.iter().find(|found| {
            found["annotations"]["kind"] == kind || found["annotations"]["kind"] == format!("{kind}Index")
        });
        blob(found.unwrap()["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let image: ResolvedImage = image(of_kind("dev.cosignproject.cosign/image"));
    let twin: Value =
        serde_json::from_slice(&bytes(format!("tests/data/cosign-legacy/slsa-container-{version}.json"))).unwrap();
    assert_eq!(twin["image_digest"], image.digest().to_string());
    verify_layers(&layers(&of_kind("dev.cosignproject.cosign/atts"), blob), image.digest(), &twin["verify"])
}

/// An image of a registry's tree, signed as its twin among the legacy layers says.
pub(super) fn tree(case: &Case) -> Outcome {
    let tag = case.name.split_once("(tag ").unwrap().1.trim_end_matches(')');
    let twin = match tag {
        "keyless" => "connaisseur-keyless",
        _ => "connaisseur-three-signers-alice",
    };
    let twin: Value = serde_json::from_slice(&bytes(format!("tests/data/cosign-legacy/{twin}.json"))).unwrap();
    let folder = "tests/data/registry-tree/securesystemsengineering/testimage";
    let image = tagged(tag);
    let manifest = bytes(format!("{folder}/manifests/sha256-{}.sig", image.digest().hex()));
    let layers = layers(&manifest, |hex| bytes(format!("{folder}/blobs/sha256-{hex}")));
    verify_layers(&layers, image.digest(), &twin["verify"])
}
