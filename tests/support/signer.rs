//! A signer for tests: cosign's simple signing by a key made on the spot, put where cosign puts it.

#![allow(dead_code, reason = "each test crate uses another part")]

use base64::Engine as _;
use countersign::image::Digest;
use serde_json::json;
use sigstore_crypto::KeyPair;

use crate::support::{Content, manifest};

pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The holder of a key made here, who signs as cosign does.
pub(crate) struct Signer(KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate_ecdsa_p256().unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.public_key_der().unwrap().to_pem()
    }

    /// A payload that signs a manifest, and the manifest that names it with its signature.
    pub(crate) fn signature(&self, signed: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let digest = Digest::of(signed);
        let payload = json!({"critical": {"identity": {"docker-reference": ""},
            "image": {"docker-manifest-digest": digest.to_string()}, "type": "cosign container image signature"},
            "optional": null})
        .to_string();
        let signature = self.0.sign(payload.as_bytes()).unwrap();
        let signature = base64::engine::general_purpose::STANDARD.encode(signature.as_bytes());
        let layer =
            manifest(&[(SIMPLE_SIGNING, payload.as_bytes(), &[("dev.cosignproject.cosign/signature", &signature)])]);
        (payload.into_bytes(), layer)
    }

    /// Adds a signature of a manifest under cosign's tag.
    pub(crate) fn sign(&self, content: Content, signed: &[u8]) -> Content {
        let (payload, layer) = self.signature(signed);
        content.with(&payload).with_tag(&signature_tag(signed), &layer)
    }
}

/// Where cosign keeps the signatures of a manifest.
pub(crate) fn signature_tag(signed: &[u8]) -> String {
    format!("sha256-{}.sig", Digest::of(signed).hex())
}

/// An image with one layer of this content.
pub(crate) fn image(layer: &str) -> Vec<u8> {
    manifest(&[(TAR, layer.as_bytes(), &[])])
}
