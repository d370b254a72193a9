//! cosign 1 and 2: a layer whose descriptor's annotations hold signature, certificate, chain and log entry.
//!
//! Turns them into the library's bundle type, so that one verifier checks every format. Follows
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>. The annotation for RFC 3161 timestamps is refused
//! rather than ignored.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sigstore_types::bundle::{
    InclusionPromise, LogId, MessageDigest, MessageSignature, PublicKeyIdentifier, TransparencyLogEntry,
    VerificationMaterial, VerificationMaterialContent, X509Certificate,
};
use sigstore_types::{
    Bundle, CanonicalizedBody, DerCertificate, DigestBytes, DsseEnvelope, HashAlgorithm, KindVersion, LogIndex,
    LogKeyId, MediaType, SignatureBytes, SignatureContent, SignedTimestamp,
};

use super::{FormatError, bundle};
use crate::image::Digest;

/// Annotation: the signature over a simple signing payload, base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Annotation: the signing certificate, PEM.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// Annotation: the certificates above it, PEM.
const CHAIN: &str = "dev.sigstore.cosign/chain";
/// Annotation: the log entry with its signed entry timestamp, JSON.
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// Annotation: a timestamp of the signature, RFC 3161.
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// Certificates that a chain may hold.
const CHAIN_LIMIT: usize = 8;

/// The log entry as cosign stores it.
#[derive(Deserialize)]
struct LogBundle {
    #[serde(rename = "SignedEntryTimestamp")]
    signed_entry_timestamp: String,
    #[serde(rename = "Payload")]
    payload: LogPayload,
}

#[derive(Deserialize)]
struct LogPayload {
    body: String,
    #[serde(rename = "integratedTime")]
    integrated_time: i64,
    #[serde(rename = "logIndex")]
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// Kind and version in a log entry's body.
#[derive(Deserialize)]
struct Kind {
    kind: String,
    #[serde(rename = "apiVersion")]
    version: String,
}

/// The raw signature of a simple signing layer.
pub(crate) fn signature(annotations: &BTreeMap<String, String>) -> Result<Vec<u8>, FormatError> {
    let text = annotations.get(SIGNATURE).ok_or(FormatError::MissingAnnotation { name: SIGNATURE })?;
    STANDARD.decode(text).map_err(|error| malformed("signature annotation", &error))
}

/// A simple signing layer as a bundle over its payload.
pub(crate) fn simple_signing_bundle(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
) -> Result<Bundle, FormatError> {
    let digest = DigestBytes::new(decode_hex(Digest::of(payload).hex(), "payload digest")?);
    let message = MessageSignature::new(SignatureBytes::new(signature(annotations)?))
        .with_message_digest(MessageDigest::new(HashAlgorithm::Sha2256, digest));
    assemble(SignatureContent::MessageSignature(message), annotations)
}

/// An attestation layer as a bundle around its envelope.
pub(crate) fn attestation_bundle(
    envelope: &[u8],
    annotations: &BTreeMap<String, String>,
) -> Result<Bundle, FormatError> {
    assemble(SignatureContent::DsseEnvelope(envelope_of(envelope)?), annotations)
}

/// Parses a DSSE envelope; exactly one signature is read.
pub(crate) fn envelope_of(bytes: &[u8]) -> Result<DsseEnvelope, FormatError> {
    serde_json::from_slice(bytes).map_err(|error| malformed("DSSE envelope", &error))
}

fn assemble(content: SignatureContent, annotations: &BTreeMap<String, String>) -> Result<Bundle, FormatError> {
    // Left aside it would be a time that the rules on times never see.
    if annotations.contains_key(TIMESTAMP) {
        return Err(FormatError::UnsupportedAnnotation { name: TIMESTAMP });
    }
    let material = match annotations.get(CERTIFICATE) {
        Some(leaf) => {
            let chain = annotations.get(CHAIN).map_or("", String::as_str);
            VerificationMaterialContent::X509CertificateChain { certificates: certificates(leaf, chain)? }
        }
        None => VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new("")),
    };
    let mut material = VerificationMaterial::new(material);
    if let Some(text) = annotations.get(BUNDLE) {
        material = material.with_tlog_entries(vec![log_entry(text)?]);
    }
    // v0.1 is the version whose log entries carry a promise and need no inclusion proof, which is what cosign stored.
    let bundle = Bundle::new(MediaType::Bundle0_1, material, content);
    bundle::bound(&bundle)?;
    Ok(bundle)
}

fn certificates(leaf: &str, chain: &str) -> Result<Vec<X509Certificate>, FormatError> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = [leaf, chain].into_iter().flat_map(|text| text.split_inclusive(END)).map(str::trim);
    let blocks: Vec<&str> = blocks.filter(|block| !block.is_empty()).take(CHAIN_LIMIT + 1).collect();
    if blocks.len() > CHAIN_LIMIT {
        return Err(FormatError::TooMany { what: "certificates", found: blocks.len(), limit: CHAIN_LIMIT });
    }
    blocks
        .into_iter()
        .map(|pem| DerCertificate::from_pem(pem).map(X509Certificate::new))
        .collect::<Result<_, _>>()
        .map_err(|error| malformed("certificate annotation", &error))
}

fn log_entry(text: &str) -> Result<TransparencyLogEntry, FormatError> {
    const WHAT: &str = "log bundle annotation";
    let bundle: LogBundle = serde_json::from_str(text).map_err(|error| malformed(WHAT, &error))?;
    let body = STANDARD.decode(&bundle.payload.body).map_err(|error| malformed(WHAT, &error))?;
    let kind: Kind = serde_json::from_slice(&body).map_err(|error| malformed("log entry body", &error))?;
    let kind = match (kind.kind.as_str(), kind.version.as_str()) {
        ("hashedrekord", "0.0.1") => KindVersion::HashedRekordV001,
        ("dsse", "0.0.1") => KindVersion::DsseV001,
        ("intoto", "0.0.2") => KindVersion::IntotoV002,
        _ => return Err(FormatError::UnsupportedEntry { kind: kind.kind, version: kind.version }),
    };
    let log_id = LogId::new(LogKeyId::new(decode_hex(&bundle.payload.log_id, "logID")?));
    let index = LogIndex::try_from(bundle.payload.log_index).map_err(|error| malformed(WHAT, &error))?;
    let time = jiff::Timestamp::from_second(bundle.payload.integrated_time).map_err(|error| malformed(WHAT, &error))?;
    let promise =
        SignedTimestamp::from_base64(&bundle.signed_entry_timestamp).map_err(|error| malformed(WHAT, &error))?;
    Ok(TransparencyLogEntry::new(index, log_id, kind, CanonicalizedBody::new(body))
        .with_integrated_time(time)
        .with_inclusion_promise(InclusionPromise::new(promise)))
}

fn decode_hex(text: &str, what: &'static str) -> Result<Vec<u8>, FormatError> {
    let value = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or(FormatError::Malformed { format: what, reason: "not hexadecimal".to_owned() })
}

fn malformed(format: &'static str, error: &dyn std::fmt::Display) -> FormatError {
    FormatError::Malformed { format, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_layer_without_signature_annotation_is_refused() {
        assert!(matches!(
            simple_signing_bundle(b"{}", &annotations(&[])),
            Err(FormatError::MissingAnnotation { name: SIGNATURE })
        ));
    }

    #[test]
    fn unknown_log_entries_are_named_and_not_ignored() {
        let body = STANDARD.encode(r#"{"kind":"intoto","apiVersion":"0.0.1"}"#);
        let log = format!(
            r#"{{"SignedEntryTimestamp":"AA==","Payload":{{"body":"{body}","integratedTime":1,"logIndex":1,"logID":"00"}}}}"#
        );
        let found = simple_signing_bundle(b"{}", &annotations(&[(SIGNATURE, "AA=="), (BUNDLE, &log)]));
        assert!(matches!(found, Err(FormatError::UnsupportedEntry { kind, .. }) if kind == "intoto"));
    }

    #[test]
    fn a_chain_is_bounded() {
        let chain = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".repeat(CHAIN_LIMIT + 1);
        assert!(matches!(certificates("", &chain), Err(FormatError::TooMany { .. })));
    }

    #[test]
    fn hexadecimal_is_strict() {
        assert_eq!(decode_hex("00ff", "x").unwrap(), [0, 255]);
        for bad in ["0", "0g", "+1", "ä"] {
            assert!(decode_hex(bad, "x").is_err(), "{bad}");
        }
    }
}
