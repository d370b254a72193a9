//! Verification under a known key: the signature, and what it is about.
//!
//! A key without a trust root is trusted by itself: log entries and timestamps that the candidate may carry are not looked at,
//! prove nothing, and date nothing.

use sigstore_crypto::VerificationKey;
use sigstore_types::{Bundle, SignatureBytes, SignatureContent};

use super::artifact::{bind_payload, bind_statement};
use super::{Claim, Evidence, Signer, VerifyError};
use crate::evidence::{Discovered, Format, FormatError, bundle, cosign};
use crate::image::ResolvedImage;
use crate::trust::PublicKey;

/// Verifies a candidate under one public key.
///
/// # Errors
/// The first step that does not hold.
pub fn verify_with_key(
    discovered: &Discovered,
    image: &ResolvedImage,
    key: &PublicKey,
) -> Result<Evidence, VerifyError> {
    // (1) the format; (2) the signature; (3) the image.
    let claim = match discovered.format() {
        Some(Format::SimpleSigning) => {
            let signature = SignatureBytes::new(cosign::signature(discovered.annotations())?);
            verify(key.verification_key(), discovered.bytes(), &signature)?;
            bind_payload(discovered.bytes(), image)?
        }
        Some(Format::Dsse) => {
            let envelope = cosign::envelope_of(discovered.bytes())?;
            verify(key.verification_key(), &envelope.pae(), &envelope.signature.sig)?;
            check_payload_type(&envelope.payload_type)?;
            bind_statement(envelope.payload.as_bytes(), image)?
        }
        Some(Format::Bundle) => verify_bundle(&bundle::parse(discovered.bytes())?, image, key.verification_key())?,
        None => return Err(FormatError::UnknownMediaType { media_type: discovered.media_type().to_owned() }.into()),
    };
    Ok(Evidence {
        origin: discovered.origin().clone(),
        image: image.digest().clone(),
        claim,
        signer: Signer::Key { sha256: key.fingerprint().clone() },
        trust_root: None,
        times: Vec::new(),
        logs: Vec::new(),
        certificate_transparency: false,
    })
}

fn verify_bundle(bundle: &Bundle, image: &ResolvedImage, key: &VerificationKey) -> Result<Claim, VerifyError> {
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => {
            verify(key, &envelope.pae(), &envelope.signature.sig)?;
            check_payload_type(&envelope.payload_type)?;
            bind_statement(envelope.payload.as_bytes(), image)
        }
        SignatureContent::MessageSignature(message) => {
            // The digest beside the signature is a hint; the signature is over the manifest or it is nothing.
            verify(key, image.manifest(), &message.signature)?;
            Ok(Claim::Signature)
        }
        _ => Err(VerifyError::Unsupported { reason: "the bundle's content".to_owned() }),
    }
}

fn verify(key: &VerificationKey, signed: &[u8], signature: &SignatureBytes) -> Result<(), VerifyError> {
    key.verify(signed, signature).map_err(|error| VerifyError::Signature { reason: error.to_string() })
}

/// Only in-toto statements are read from an envelope; the payload type is under the signature.
fn check_payload_type(found: &str) -> Result<(), VerifyError> {
    const EXPECTED: &str = "application/vnd.in-toto+json";
    if found == EXPECTED {
        return Ok(());
    }
    Err(FormatError::UnexpectedValue { field: "payloadType", found: found.to_owned(), expected: EXPECTED }.into())
}
