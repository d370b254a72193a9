//! Certificate transparency: that a log of certificates has seen the signer's certificate.
//!
//! Embedded signed certificate timestamps (RFC 6962, sections 3.2 and 3.3); one that verifies is enough, all that do are told, because one
//! of their logs may be distrusted, and those of logs that the root does not know prove nothing.

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::Encode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SignedCertificateTimestamp;
use x509_cert::ext::pkix::SignedCertificateTimestampList;

use super::facts::{CertificateLogProof, ServiceNames};
use crate::image::Hash;
use crate::trust::{Log, Message};

/// The extension that holds the timestamps, which the log did not see.
const TIMESTAMPS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
/// What is said where the root knows none of the logs.
pub(super) const UNKNOWN: &str = "its signed certificate timestamp is of a log that the trust root does not know";
/// Timestamps that are looked at; Fulcio embeds one.
const LIMIT: usize = 8;

/// The logs that promised this certificate, at least one, or why there is none.
///
/// # Errors
/// The reason: no timestamp, none of a known log, or none that verifies.
pub(super) fn verify(
    certificate: &Certificate,
    issuer_spki: &[u8],
    logs: &[Log],
) -> Result<Vec<CertificateLogProof>, String> {
    let list = match certificate.tbs_certificate.get::<SignedCertificateTimestampList>() {
        Ok(Some((_, list))) => list,
        Ok(None) => return Err("it carries no signed certificate timestamp".to_owned()),
        Err(error) => return Err(format!("its signed certificate timestamps are malformed: {error}")),
    };
    let malformed =
        |error: x509_cert::ext::pkix::sct::Error| format!("its signed certificate timestamps are malformed: {error:?}");
    let timestamps = list.parse_timestamps().map_err(malformed)?;
    if timestamps.len() > LIMIT {
        return Err(format!("it carries {} signed certificate timestamps, at most {LIMIT} are read", timestamps.len()));
    }
    let entry = precertificate(certificate, issuer_spki)?;
    let mut reason = "it carries no signed certificate timestamp".to_owned();
    let mut promised = Vec::new();
    for timestamp in timestamps {
        let timestamp = match timestamp.parse_timestamp() {
            Ok(timestamp) => timestamp,
            // What stands behind one that verified takes nothing from it.
            Err(_) if !promised.is_empty() => break,
            Err(error) => return Err(malformed(error)),
        };
        match verify_one(&timestamp, &entry, logs) {
            Ok(log) => {
                promised.push(CertificateLogProof { log: log.address.clone(), names: ServiceNames::of_log(log) });
            }
            Err(refused) => reason = refused,
        }
    }
    if promised.is_empty() { Err(reason) } else { Ok(promised) }
}

/// What the log was given: the issuer's key and the certificate without the timestamps, as a `signed_entry` with its type.
fn precertificate(certificate: &Certificate, issuer_spki: &[u8]) -> Result<Vec<u8>, String> {
    const PRECERTIFICATE_ENTRY: [u8; 2] = [0, 1];
    let mut inner = certificate.tbs_certificate.clone();
    if let Some(extensions) = inner.extensions.as_mut() {
        extensions.retain(|extension| extension.extn_id != TIMESTAMPS);
    }
    let inner = inner.to_der().map_err(|error| format!("it cannot be encoded without its timestamps: {error}"))?;
    let mut entry = PRECERTIFICATE_ENTRY.to_vec();
    entry.extend(Hash::Sha256.of(issuer_spki));
    let [0, length @ ..] = u32::try_from(inner.len()).unwrap_or(u32::MAX).to_be_bytes() else {
        return Err("it is too long for a log".to_owned());
    };
    entry.extend(length);
    entry.extend(inner);
    Ok(entry)
}

fn verify_one<'a>(timestamp: &SignedCertificateTimestamp, entry: &[u8], logs: &'a [Log]) -> Result<&'a Log, String> {
    const VERSION_1: u8 = 0;
    const CERTIFICATE_TIMESTAMP: u8 = 0;
    let log = logs.iter().find(|log| log.id == timestamp.log_id.key_id).ok_or(UNKNOWN)?;
    let at = i64::try_from(timestamp.timestamp).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    let at = at.ok_or("its signed certificate timestamp has no time")?;
    if !log.window.contains(at) {
        return Err(format!("the trust root does not believe {} at {at}", log.address));
    }
    let algorithm = &timestamp.signature.algorithm;
    let hash = match algorithm.hash {
        x509_cert::ext::pkix::sct::HashAlgorithm::Sha256 => Hash::Sha256,
        x509_cert::ext::pkix::sct::HashAlgorithm::Sha384 => Hash::Sha384,
        x509_cert::ext::pkix::sct::HashAlgorithm::Sha512 => Hash::Sha512,
        _ => return Err("its signed certificate timestamp has an algorithm that is not verified".to_owned()),
    };
    let extensions = timestamp.extensions.as_slice();
    let length = u16::try_from(extensions.len()).map_err(|_| "its signed certificate timestamp is malformed")?;
    let mut signed = vec![VERSION_1, CERTIFICATE_TIMESTAMP];
    signed.extend(timestamp.timestamp.to_be_bytes());
    signed.extend(entry);
    signed.extend(length.to_be_bytes());
    signed.extend(extensions);
    let signature = timestamp.signature.signature.as_slice();
    log.key
        .verify(log.key.scheme(hash), Message::Bytes(&signed), signature)
        .map(|()| log)
        .map_err(|_| format!("its signed certificate timestamp is not signed by {}", log.address))
}
