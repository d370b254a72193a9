//! Keyless verification: a certificate of a Sigstore instance, its log entries and its times.
//!
//! The library takes the steps of the client specification; here the formats are brought to it, its answer is turned into plain
//! facts, and what it leaves to its caller is checked. Which identity is wanted is `policy`'s.

use sigstore_types::bundle::{TransparencyLogEntry, VerificationMaterialContent};
use sigstore_types::{Artifact as Signed, Bundle, KindVersion, Sha256Hash, SignatureContent};
use sigstore_verify::{Error, VerificationPolicy, VerificationResult};

use super::artifact::{Artifact, bind_payload, bind_statement};
use super::{Claim, Evidence, LogProof, Signer, TimeSource, VerifiedTime, VerifyError, names};
use crate::evidence::{Discovered, Format, FormatError, bundle, cosign};
use crate::trust::TrustMaterial;

/// Verifies a candidate that carries a certificate, under one trust root.
///
/// Evidence without a log entry can exist (then `logs` is empty, and a timestamp authority gave the time); evidence without any
/// verified time cannot. Certificate transparency is verified wherever the root names such a log.
///
/// # Errors
/// The first step that does not hold. Nothing that is returned as evidence was skipped.
pub fn verify_with_root<'a>(
    discovered: &Discovered,
    artifact: impl Into<Artifact<'a>>,
    root: &TrustMaterial,
) -> Result<Evidence, VerifyError> {
    let artifact = artifact.into();
    // (1) The format, which also says what was signed: a payload of its own, the manifest, or a statement.
    let (bundle, signed) = parse(discovered, artifact)?;
    if matches!(bundle.verification_material.content, VerificationMaterialContent::PublicKey(_)) {
        return Err(VerifyError::NoCertificate);
    }

    // (2) Times, chain, certificate transparency, log entries, signature, and the entries' consistency with all of these.
    let mut policy = VerificationPolicy::any_identity();
    if bundle.verification_material.tlog_entries.is_empty() {
        policy = policy.skip_tlog_unsafe();
    }
    if !root.has_certificate_transparency() {
        policy = policy.skip_sct();
    }
    let result = root.verifier().verify(signed, &bundle, &policy).map_err(|error| refusal(&error, artifact))?;

    // (3) The library binds the signature to what was signed; the artifact is bound here, for every format by the same rules.
    let claim = match (discovered.format(), &bundle.content) {
        (Some(Format::SimpleSigning), _) => bind_payload(discovered.bytes(), artifact)?,
        (_, SignatureContent::DsseEnvelope(envelope)) => bind_statement(envelope.payload.as_bytes(), artifact)?,
        // A message signature over the artifact itself, which is what `signed` was.
        (_, SignatureContent::MessageSignature(_)) => Claim::Signature,
        _ => return Err(VerifyError::Unsupported { reason: "the bundle's content".to_owned() }),
    };
    facts(discovered, artifact, &bundle, &result, claim, root)
}

/// The candidate as a bundle, and the bytes that its message signature is over.
fn parse<'a>(discovered: &'a Discovered, artifact: Artifact<'a>) -> Result<(Bundle, Signed<'a>), VerifyError> {
    let annotations = discovered.annotations();
    let itself = match artifact.bytes() {
        Some(bytes) => Signed::Blob(bytes),
        None => Sha256Hash::from_hex(artifact.sha256().hex())
            .map(Signed::from)
            .map_err(|error| VerifyError::Unsupported { reason: error.to_string() })?,
    };
    Ok(match discovered.format() {
        Some(Format::Bundle) => (bundle::parse(discovered.bytes())?, itself),
        Some(Format::Dsse) => (cosign::attestation_bundle(discovered.bytes(), annotations)?, itself),
        Some(Format::SimpleSigning) => {
            (cosign::simple_signing_bundle(discovered.bytes(), annotations)?, Signed::Blob(discovered.bytes()))
        }
        None => return Err(FormatError::UnknownMediaType { media_type: discovered.media_type().to_owned() }.into()),
    })
}

fn facts(
    discovered: &Discovered,
    artifact: Artifact<'_>,
    bundle: &Bundle,
    result: &VerificationResult,
    claim: Claim,
    root: &TrustMaterial,
) -> Result<Evidence, VerifyError> {
    if !result.certificate_verified() {
        return Err(VerifyError::Certificate { reason: "its chain was not verified".to_owned() });
    }
    let entries = &bundle.verification_material.tlog_entries;
    if !entries.is_empty() && !result.tlog_verified() {
        return Err(VerifyError::Log { reason: "its entries were not verified".to_owned() });
    }
    let logs = entries.iter().map(|entry| proof(entry, root)).collect::<Result<Vec<_>, _>>()?;
    let times: Vec<VerifiedTime> =
        result.verified_timestamps().iter().map(|at| VerifiedTime { at: *at, source: source(*at, entries) }).collect();
    if times.is_empty() {
        return Err(VerifyError::Timestamp { reason: "no time is verified".to_owned() });
    }
    let certificate = bundle.signing_certificate().ok_or(VerifyError::NoCertificate)?;
    let subjects = names::subjects(certificate.as_bytes())?;
    Ok(Evidence {
        origin: discovered.origin().clone(),
        image: artifact.sha256().clone(),
        claim,
        signer: Signer::Certificate { issuer: result.issuer().map(str::to_owned), subjects },
        trust_root: Some(root.name().to_owned()),
        times,
        logs,
        certificate_transparency: result.sct_verified(),
    })
}

/// Whose word a verified time is: an integrated time counts only under a promise, of a log of the first version.
fn source(at: jiff::Timestamp, entries: &[TransparencyLogEntry]) -> TimeSource {
    let by_log = entries.iter().any(|entry| {
        entry.integrated_time == Some(at)
            && entry.inclusion_promise.is_some()
            && entry.kind_version != KindVersion::HashedRekordV002
    });
    if by_log { TimeSource::Log } else { TimeSource::TimestampAuthority }
}

/// A verified entry as a fact. An entry with neither proof nor promise proves nothing, whatever the bundle's version says.
fn proof(entry: &TransparencyLogEntry, root: &TrustMaterial) -> Result<LogProof, VerifyError> {
    if entry.inclusion_proof.is_none() && entry.inclusion_promise.is_none() {
        return Err(VerifyError::Log { reason: "an entry has neither inclusion proof nor promise".to_owned() });
    }
    let log = root
        .log(entry.log_id.key_id.as_bytes())
        .ok_or_else(|| VerifyError::Log { reason: "an entry names a log that the trust root does not".to_owned() })?;
    Ok(LogProof { log: log.to_owned(), index: entry.log_index.get(), inclusion_proof: entry.inclusion_proof.is_some() })
}

/// The library's refusal in our words of whose part it is; its text is kept as the reason.
fn refusal(error: &Error, artifact: Artifact<'_>) -> VerifyError {
    let reason = error.to_string();
    match error {
        Error::Certificate(_) | Error::IdentityMismatch { .. } | Error::IssuerMismatch { .. } => {
            VerifyError::Certificate { reason }
        }
        Error::TransparencyLog(_) => VerifyError::Log { reason },
        Error::Timestamp(_) => VerifyError::Timestamp { reason },
        Error::ArtifactMismatch(_) => VerifyError::OtherArtifact { image: artifact.sha256().to_string(), reason },
        Error::UnsupportedBundle(_) | Error::UnsupportedArtifact(_) => VerifyError::Unsupported { reason },
        Error::InvalidBundle(_) | Error::Bundle(_) | Error::Types(_) => {
            VerifyError::Format(FormatError::Malformed { format: "Sigstore bundle", reason })
        }
        _ => VerifyError::Signature { reason },
    }
}
