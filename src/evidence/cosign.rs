//! cosign 1 and 2: a layer whose descriptor's annotations hold signature, certificate, chain, log entry and timestamp.
//!
//! Shape only, as for bundles. Follows <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>.

use std::collections::BTreeMap;

use serde::Deserialize;
use sigstore_types::DsseEnvelope;

use super::candidate::{Candidate, Content, EntryKind, LogEntry, SignerMaterial, base64};
use super::{FormatError, pem};
use crate::image::from_hexadecimal;

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

/// The timestamp as cosign stores it.
#[derive(Deserialize)]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: String,
}

/// A simple signing layer.
pub(super) fn simple_signing(payload: &[u8], annotations: &BTreeMap<String, String>) -> Result<Candidate, FormatError> {
    let text = annotations.get(SIGNATURE).ok_or(FormatError::MissingAnnotation { name: SIGNATURE })?;
    let signature = base64(text, "signature annotation")?;
    assemble(Content::Payload { payload: payload.to_vec(), signature }, annotations)
}

/// An attestation layer: the envelope carries its own signature.
pub(super) fn attestation(bytes: &[u8], annotations: &BTreeMap<String, String>) -> Result<Candidate, FormatError> {
    let envelope: DsseEnvelope = serde_json::from_slice(bytes).map_err(|error| malformed("DSSE envelope", &error))?;
    assemble(Content::Envelope { envelope, bytes: Some(bytes.to_vec()) }, annotations)
}

fn assemble(content: Content, annotations: &BTreeMap<String, String>) -> Result<Candidate, FormatError> {
    let signer = match annotations.get(CERTIFICATE) {
        Some(leaf) => {
            let chain = annotations.get(CHAIN).map_or("", String::as_str);
            let mut certificates = certificates(leaf, chain)?.into_iter();
            let leaf = certificates.next().ok_or(FormatError::MissingAnnotation { name: CERTIFICATE })?;
            SignerMaterial::Certificate { leaf, intermediates: certificates.collect(), as_chain_in_v03: false }
        }
        None => SignerMaterial::Key,
    };
    let mut unreadable = None;
    let entries = beside(annotations.get(BUNDLE), log_entry, &mut unreadable);
    let timestamps = beside(annotations.get(TIMESTAMP), timestamp, &mut unreadable);
    Ok(Candidate { content, signer, entries, timestamps, unreadable })
}

/// What an annotation holds beside the signature; what cannot be read is noted.
fn beside<T>(
    text: Option<&String>,
    read: fn(&str) -> Result<T, FormatError>,
    unreadable: &mut Option<FormatError>,
) -> Vec<T> {
    match text.map(|text| read(text)).transpose() {
        Ok(found) => found.into_iter().collect(),
        Err(error) => {
            *unreadable = Some(error);
            Vec::new()
        }
    }
}

fn certificates(leaf: &str, chain: &str) -> Result<Vec<Vec<u8>>, FormatError> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = [leaf, chain].into_iter().flat_map(|text| text.split_inclusive(END)).map(str::trim);
    let blocks: Vec<&str> = blocks.filter(|block| !block.is_empty()).take(CHAIN_LIMIT + 1).collect();
    if blocks.len() > CHAIN_LIMIT {
        return Err(FormatError::TooMany { what: "certificates", found: blocks.len(), limit: CHAIN_LIMIT });
    }
    blocks
        .into_iter()
        .map(pem::certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed("certificate annotation", &error))
}

fn log_entry(text: &str) -> Result<LogEntry, FormatError> {
    const WHAT: &str = "log bundle annotation";
    let bundle: LogBundle = serde_json::from_str(text).map_err(|error| malformed(WHAT, &error))?;
    let body = base64(&bundle.payload.body, WHAT)?;
    let kind: Kind = serde_json::from_slice(&body).map_err(|error| malformed("log entry body", &error))?;
    let log_id =
        from_hexadecimal(&bundle.payload.log_id).ok_or_else(|| malformed(WHAT, &"its logID is not hexadecimal"))?;
    let time = jiff::Timestamp::from_second(bundle.payload.integrated_time).map_err(|error| malformed(WHAT, &error))?;
    Ok(LogEntry {
        kind: EntryKind::named(&kind.kind, &kind.version)?,
        log_id,
        index: u64::try_from(bundle.payload.log_index).map_err(|error| malformed(WHAT, &error))?,
        integrated_time: Some(time),
        promise: Some(base64(&bundle.signed_entry_timestamp, WHAT)?),
        proof: None,
        body,
    })
}

fn timestamp(text: &str) -> Result<Vec<u8>, FormatError> {
    const WHAT: &str = "timestamp annotation";
    let timestamp: Timestamp = serde_json::from_str(text).map_err(|error| malformed(WHAT, &error))?;
    base64(&timestamp.token, WHAT)
}

fn malformed(format: &'static str, error: &dyn std::fmt::Display) -> FormatError {
    FormatError::Malformed { format, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;

    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_layer_without_signature_annotation_is_refused() {
        assert!(matches!(
            simple_signing(b"{}", &annotations(&[])),
            Err(FormatError::MissingAnnotation { name: SIGNATURE })
        ));
    }

    #[test]
    fn unknown_log_entries_are_named_and_not_ignored() {
        let body = STANDARD.encode(r#"{"kind":"rekord","apiVersion":"0.0.1"}"#);
        let log = format!(
            r#"{{"SignedEntryTimestamp":"AA==","Payload":{{"body":"{body}","integratedTime":1,"logIndex":1,"logID":"00"}}}}"#
        );
        let found = simple_signing(b"{}", &annotations(&[(SIGNATURE, "AA=="), (BUNDLE, &log)])).unwrap();
        assert!(matches!(found.unreadable, Some(FormatError::UnsupportedEntry { kind, .. }) if kind == "rekord"));
    }

    #[test]
    fn a_timestamp_annotation_is_read_or_refused() {
        let with = |text: &str| simple_signing(b"{}", &annotations(&[(SIGNATURE, "AA=="), (TIMESTAMP, text)])).unwrap();
        let read = with(r#"{"SignedRFC3161Timestamp":"AAE="}"#);
        assert!(read.timestamps == [[0, 1]] && read.unreadable.is_none());
        for bad in ["", "{}", r#"{"SignedRFC3161Timestamp":"?"}"#, r#"{"SignedRFC3161Timestamp":null}"#] {
            let found = with(bad);
            assert!(
                matches!(found.unreadable, Some(FormatError::Malformed { .. })) && found.timestamps.is_empty(),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_chain_is_bounded() {
        let chain = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".repeat(CHAIN_LIMIT + 1);
        assert!(matches!(certificates("", &chain), Err(FormatError::TooMany { .. })));
    }
}
