//! Verification under a known key: the signature, and what it is about.
//!
//! A key without a trust root is trusted by itself: log entries and timestamps that the candidate may carry are not looked at,
//! prove nothing, and date nothing.

use sigstore_crypto::VerificationKey;
use sigstore_types::{Bundle, DsseEnvelope, HashAlgorithm, Sha256Hash, SignatureBytes, SignatureContent};

use super::artifact::{Artifact, bind_payload, bind_statement};
use super::{Claim, Evidence, Signer, VerifyError};
use crate::evidence::{Discovered, Format, FormatError, bundle, cosign};
use crate::image::Digest;
use crate::trust::PublicKey;

/// Verifies a candidate under one public key.
///
/// # Errors
/// The first step that does not hold.
pub fn verify_with_key<'a>(
    discovered: &Discovered,
    artifact: impl Into<Artifact<'a>>,
    key: &PublicKey,
) -> Result<Evidence, VerifyError> {
    let artifact = artifact.into();
    // (1) the format; (2) the signature; (3) the artifact.
    let claim = match discovered.format() {
        Some(Format::SimpleSigning) => {
            let signature = SignatureBytes::new(cosign::signature(discovered.annotations())?);
            verify(key.verification_key(), discovered.bytes(), &signature)?;
            bind_payload(discovered.bytes(), artifact)?
        }
        Some(Format::Dsse) => {
            verify_envelope(&cosign::envelope_of(discovered.bytes())?, artifact, key.verification_key())?
        }
        Some(Format::Bundle) => verify_bundle(&bundle::parse(discovered.bytes())?, artifact, key.verification_key())?,
        None => return Err(FormatError::UnknownMediaType { media_type: discovered.media_type().to_owned() }.into()),
    };
    Ok(Evidence {
        origin: discovered.origin().clone(),
        image: artifact.sha256().clone(),
        claim,
        signer: Signer::Key { sha256: key.fingerprint().clone() },
        trust_root: None,
        times: Vec::new(),
        logs: Vec::new(),
        certificate_transparency: false,
    })
}

fn verify_bundle(bundle: &Bundle, artifact: Artifact<'_>, key: &VerificationKey) -> Result<Claim, VerifyError> {
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => verify_envelope(envelope, artifact, key),
        SignatureContent::MessageSignature(message) => {
            // The digest beside the signature is a hint; the signature is over the artifact or it is nothing.
            match artifact.bytes() {
                Some(bytes) => verify(key, bytes, &message.signature)?,
                None => verify_digest(key, artifact.sha256(), &message.signature)?,
            }
            Ok(Claim::Signature)
        }
        _ => Err(VerifyError::Unsupported { reason: "the bundle's content".to_owned() }),
    }
}

fn verify_envelope(
    envelope: &DsseEnvelope,
    artifact: Artifact<'_>,
    key: &VerificationKey,
) -> Result<Claim, VerifyError> {
    verify(key, &envelope.pae(), &envelope.signature.sig)?;
    check_payload_type(&envelope.payload_type)?;
    bind_statement(envelope.payload.as_bytes(), artifact)
}

fn verify(key: &VerificationKey, signed: &[u8], signature: &SignatureBytes) -> Result<(), VerifyError> {
    key.verify(signed, signature).map_err(|error| VerifyError::Signature { reason: error.to_string() })
}

/// A signature over an artifact of which only the digest is at hand: by schemes that sign its SHA-256 and no others.
fn verify_digest(key: &VerificationKey, digest: &Digest, signature: &SignatureBytes) -> Result<(), VerifyError> {
    if key.scheme().hash_algorithm() != Some(HashAlgorithm::Sha2256) {
        let reason =
            format!("a {} signature over an artifact of which only the digest is at hand", key.scheme().name());
        return Err(VerifyError::Unsupported { reason });
    }
    let refused = |error: &dyn std::fmt::Display| VerifyError::Signature { reason: error.to_string() };
    let digest = Sha256Hash::from_hex(digest.hex()).map_err(|error| refused(&error))?;
    key.verify_prehashed(digest.as_bytes(), signature).map_err(|error| refused(&error))
}

/// Only in-toto statements are read from an envelope; the payload type is under the signature.
fn check_payload_type(found: &str) -> Result<(), VerifyError> {
    const EXPECTED: &str = "application/vnd.in-toto+json";
    if found == EXPECTED {
        return Ok(());
    }
    Err(FormatError::UnexpectedValue { field: "payloadType", found: found.to_owned(), expected: EXPECTED }.into())
}
