//! What a signature consists of, before it becomes a bundle or a layer with annotations. Every part can be replaced.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::content::{Content, Material};
use super::entry::Entry;
use super::text::{self, base64, hex};

/// The parts of one signature.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) content: Content,
    pub(crate) material: Material,
    pub(crate) entries: Vec<Entry>,
    /// RFC 3161 timestamps, signed.
    pub(crate) timestamps: Vec<Vec<u8>>,
}

/// A version of the bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    V01,
    V02,
    V03,
    /// 0.3 under the media type that its first release had.
    V03Old,
}

impl Version {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::V01 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V02 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V03 => "application/vnd.dev.sigstore.bundle.v0.3+json",
            Self::V03Old => "application/vnd.dev.sigstore.bundle+json;version=0.3",
        }
    }
}

/// A layer of an image manifest, as cosign attaches signatures and attestations to tags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    pub(crate) content: Vec<u8>,
    pub(crate) annotations: BTreeMap<String, String>,
}

pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const DSSE_ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
pub(crate) const PREDICATE_TYPE: &str = "predicateType";
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
pub(crate) const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
pub(crate) const CHAIN: &str = "dev.sigstore.cosign/chain";
pub(crate) const BUNDLE: &str = "dev.sigstore.cosign/bundle";
pub(crate) const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

impl Parts {
    /// The first log entry, which has to be there.
    pub(crate) fn entry(&mut self) -> &mut Entry {
        self.entries.first_mut().unwrap()
    }

    /// Changed by a function, for a table of flips.
    pub(crate) fn with(&self, edit: impl FnOnce(&mut Self)) -> Self {
        let mut parts = self.clone();
        edit(&mut parts);
        parts
    }

    /// The bundle as JSON, for edits that no part is for. Up to 0.2 a certificate stands in its chain, without the root.
    pub(crate) fn value(&self, version: Version) -> Value {
        let old = matches!(version, Version::V01 | Version::V02);
        let raw = |certificate: &[u8]| json!({"rawBytes": base64(certificate)});
        let mut material = match &self.material {
            Material::Key { hint, .. } => json!({"publicKey": {"hint": hint}}),
            Material::Certificate { leaf, chain, .. } if old => {
                let above = chain.len().saturating_sub(1);
                let certificates: Vec<Value> =
                    std::iter::once(leaf).chain(&chain[..above]).map(|certificate| raw(certificate)).collect();
                json!({"x509CertificateChain": {"certificates": certificates}})
            }
            Material::Certificate { leaf, .. } => json!({"certificate": raw(leaf)}),
        };
        material["tlogEntries"] = self.entries.iter().map(Entry::json).collect();
        if !self.timestamps.is_empty() {
            let timestamps = self.timestamps.iter().map(|token| json!({"signedTimestamp": base64(token)}));
            material["timestampVerificationData"] = json!({"rfc3161Timestamps": timestamps.collect::<Vec<_>>()});
        }
        let mut bundle = json!({"mediaType": version.media_type(), "verificationMaterial": material});
        match &self.content {
            Content::Message(message) => {
                bundle["messageSignature"] = json!({"signature": base64(&message.signature)});
                if let Some((algorithm, digest)) = &message.digest {
                    bundle["messageSignature"]["messageDigest"] =
                        json!({"algorithm": algorithm, "digest": base64(digest)});
                }
            }
            Content::Envelope(envelope) => bundle["dsseEnvelope"] = envelope.json(),
        }
        bundle
    }

    /// The bundle.
    pub(crate) fn bundle(&self, version: Version) -> String {
        self.value(version).to_string()
    }

    /// The layer of a tag `.sig` (a message) or `.att` (an envelope), with cosign's annotations. Of log entries and timestamps
    /// cosign has room for one.
    pub(crate) fn layer(&self) -> Layer {
        let mut annotations = BTreeMap::new();
        let mut put = |name: &str, value: String| annotations.insert(name.to_owned(), value);
        let (media_type, content) = match &self.content {
            Content::Message(message) => {
                put(SIGNATURE, base64(&message.signature));
                (SIMPLE_SIGNING, message.payload.clone())
            }
            Content::Envelope(envelope) => {
                // Cosign leaves the annotation empty: the signature is in the envelope.
                put(SIGNATURE, String::new());
                let statement: Value = serde_json::from_slice(&envelope.payload).unwrap_or_default();
                if let Some(predicate_type) = statement["predicateType"].as_str() {
                    put(PREDICATE_TYPE, predicate_type.to_owned());
                }
                (DSSE_ENVELOPE, envelope.text())
            }
        };
        if let Material::Certificate { leaf, chain, .. } = &self.material {
            put(CERTIFICATE, text::pem("CERTIFICATE", leaf));
            put(CHAIN, chain.iter().map(|certificate| text::pem("CERTIFICATE", certificate)).collect());
        }
        if let Some(entry) = self.entries.first() {
            put(BUNDLE, legacy_bundle(entry).to_string());
        }
        if let Some(token) = self.timestamps.first() {
            put(TIMESTAMP, json!({"SignedRFC3161Timestamp": base64(token)}).to_string());
        }
        Layer { media_type: media_type.to_owned(), content, annotations }
    }
}

/// The annotation that carries a log entry, which has no room for a proof.
pub(crate) fn legacy_bundle(entry: &Entry) -> Value {
    json!({
        "SignedEntryTimestamp": base64(entry.set.as_deref().unwrap_or_default()),
        "Payload": {
            "body": base64(&entry.body),
            "integratedTime": entry.integrated_time.map_or(0, jiff::Timestamp::as_second),
            "logIndex": entry.log_index,
            "logID": hex(&entry.log_id),
        },
    })
}
