//! The steps of verification, in the order of the Sigstore client specification.
//!
//! 1. The format (`evidence`), parsed once for all anchors.
//! 2. Times: timestamps of authorities, and log entries, whose promises date them.
//! 3. The certificate: a chain that holds at every verified time, certificate transparency; or a key that is known.
//! 4. The signature, over the artifact, a payload or a statement.
//! 5. The log entries are about this signature, signer and content.
//! 6. What was signed is about the artifact.
//!
//! A timestamp that does not verify, and an entry of a log that the root does not know, prove nothing and are no hindrance to others of
//! their kind: a registry could leave them out as well. They are passed over, and noted. Where nothing of a kind verifies, that is the
//! refusal, so that no change to what is signed goes unseen. An entry of a known log must hold in all its parts.

use super::artifact::{Artifact, bind_payload, bind_statement, check_digest};
use super::certificate::SigningCertificate;
use super::chain::{self, Purpose};
use super::entry::{self, LoggedSigner};
use super::facts::{CertificateFacts, CertificateLogProof, ServiceNames};
use super::gather::excerpt;
use super::online::Place;
use super::{
    Anchor, Claim, Evidence, LogProof, Signer, TimeSource, UnknownService, VerifiedTime, VerifyError, log, timestamp,
    transparency,
};
use crate::evidence::candidate::{Candidate, Content, SignerMaterial};
use crate::evidence::{Discovered, FormatError};
use crate::image::{Digest, Hash, hexadecimal};
use crate::trust::{Issuers, Message, PublicKey, SignatureError, TrustMaterial};

/// Verifies what was discovered under one anchor.
///
/// Evidence with neither log entry nor timestamp can exist under a key; under a certificate there is a verified time. All other proofs
/// are facts for a policy to ask for.
///
/// # Errors
/// The first step that does not hold.
pub fn verify<'a>(
    discovered: &Discovered,
    artifact: impl Into<Artifact<'a>>,
    anchor: &Anchor,
) -> Result<Evidence, VerifyError> {
    verify_parsed(&Candidate::parse(discovered)?, discovered, artifact.into(), anchor)
}

/// Verifies a candidate that carries a certificate of a Sigstore instance.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_root<'a>(
    discovered: &Discovered,
    artifact: impl Into<Artifact<'a>>,
    root: &TrustMaterial,
) -> Result<Evidence, VerifyError> {
    verify(discovered, artifact, &Anchor::Root(root.clone()))
}

/// Verifies a candidate under a key that is trusted by itself.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_key<'a>(
    discovered: &Discovered,
    artifact: impl Into<Artifact<'a>>,
    key: &PublicKey,
) -> Result<Evidence, VerifyError> {
    verify(discovered, artifact, &Anchor::Key { key: key.clone(), dating: None })
}

/// Verifies a parsed candidate, which may be verified under several anchors.
pub(super) fn verify_parsed(
    candidate: &Candidate,
    discovered: &Discovered,
    artifact: Artifact<'_>,
    anchor: &Anchor,
) -> Result<Evidence, VerifyError> {
    let evidence = |claim, (signer, certificate), proofs: Proofs, transparency: Transparency| {
        let is_unpromised = matches!(&transparency, Some(Err(reason)) if reason == transparency::UNKNOWN);
        let (certificate_logs, lacking) = match transparency {
            Some(Ok(logs)) => (logs, None),
            Some(Err(reason)) => (Vec::new(), Some(excerpt(reason))),
            None => (Vec::new(), None),
        };
        Evidence {
            origin: discovered.origin().clone(),
            image: artifact.sha256().clone(),
            claim,
            signer,
            certificate,
            under: anchor.id(),
            names_unknown: is_unpromised || proofs.passed_over.iter().any(VerifyError::names_unknown),
            times: proofs.times,
            logs: proofs.logs,
            passed_over: proofs.passed_over.iter().map(|error| excerpt(error.to_string())).collect(),
            certificate_transparency: !certificate_logs.is_empty(),
            certificate_logs,
            no_certificate_transparency: lacking,
        }
    };
    match anchor {
        Anchor::Root(root) => {
            // What a candidate brings beside its certificate leads to no root: an instance names all that may issue.
            let (leaf, _) = certificates(candidate)?;
            if matches!(candidate.signer, SignerMaterial::Certificate { as_chain_in_v03: true, .. }) {
                let reason = "version 0.3 carries one certificate of an instance and no chain".to_owned();
                return Err(FormatError::Malformed { format: "Sigstore bundle", reason }.into());
            }
            let proofs = dated(candidate, root)?;
            let (certificate, issuer) = believed(leaf, &[], root.issuers(), &proofs)?;
            let transparency = if root.has_certificate_transparency() {
                transparency::verify(&certificate.certificate, &issuer.issuer, root.certificate_logs())
            } else {
                Err("the trust root names no log of certificates".to_owned())
            };
            let claim = signed(candidate, artifact, &certificate.key, LoggedSigner::Certificate(leaf), &proofs)?;
            Ok(evidence(claim, signer(leaf, certificate, issuer), proofs, Some(transparency)))
        }
        Anchor::Certificates { roots, dating } => {
            let (leaf, between) = certificates(candidate)?;
            let proofs = dated(candidate, dating)?;
            let (certificate, issuer) = believed(leaf, between, roots.issuers(), &proofs)?;
            let claim = signed(candidate, artifact, &certificate.key, LoggedSigner::Certificate(leaf), &proofs)?;
            Ok(evidence(claim, signer(leaf, certificate, issuer), proofs, None))
        }
        Anchor::Key { key, dating } => {
            // Without a root nobody's word dates it: entries and timestamps are not looked at.
            let proofs = dating.as_ref().map(|root| prove(candidate, root)).transpose()?.unwrap_or_default();
            let claim = signed(candidate, artifact, key, LoggedSigner::Key(key), &proofs)?;
            Ok(evidence(claim, (Signer::Key { sha256: key.fingerprint().clone() }, None), proofs, None))
        }
    }
}

/// The logs that promised a certificate, or why none did; none where nobody was asked.
type Transparency = Option<Result<Vec<CertificateLogProof>, String>>;

/// What logs and timestamp authorities proved.
#[derive(Debug, Default)]
struct Proofs {
    times: Vec<VerifiedTime>,
    logs: Vec<LogProof>,
    /// The positions of the entries that were verified, which must be the candidate's.
    entries: Vec<usize>,
    /// What was there and proved nothing.
    passed_over: Vec<VerifyError>,
}

/// (2) The proofs of a candidate whose certificate needs a time.
fn dated(candidate: &Candidate, root: &TrustMaterial) -> Result<Proofs, VerifyError> {
    let proofs = prove(candidate, root)?;
    if !proofs.times.is_empty() {
        return Ok(proofs);
    }
    let log = candidate.entries.is_empty() && !root.logs().is_empty();
    let reason = if log {
        "there is no log entry, and no timestamp"
    } else if candidate.entries.is_empty() {
        "there is no timestamp"
    } else {
        "its log entries carry no promise, and there is no timestamp"
    };
    Err(VerifyError::Undated { reason, log })
}

/// (2) Verifies timestamps and log entries.
fn prove(candidate: &Candidate, root: &TrustMaterial) -> Result<Proofs, VerifyError> {
    if let Some(error) = &candidate.unreadable {
        return Err(error.clone().into());
    }
    let mut proofs = Proofs::default();
    for token in &candidate.timestamps {
        match timestamp::verify(token, candidate.content.signature(), root.timestamp_authorities()) {
            Ok(time) => proofs.times.push(time),
            Err(error) => proofs.passed_over.push(error),
        }
    }
    if proofs.times.is_empty() && !candidate.timestamps.is_empty() {
        return Err(proofs.passed_over.swap_remove(0));
    }
    let mut undated = Vec::new();
    for (position, entry) in candidate.entries.iter().enumerate() {
        let Some(logged) = log::verify(entry, root.logs())? else {
            proofs.passed_over.push(unknown());
            continue;
        };
        if let Some(at) = logged.integrated {
            proofs.times.push(VerifiedTime {
                at,
                earliest: at,
                latest: at,
                source: TimeSource::Log,
                service: logged.log.address.clone(),
                operator: logged.log.operator.clone(),
                names: ServiceNames::of_log(logged.log),
            });
        }
        if logged.integrated.is_none() {
            undated.push(logged.log);
        }
        proofs.entries.push(position);
        let place = Place::of(entry);
        let v2 = entry.kind.is_rekor_v2();
        let tree_index = entry.proof.as_ref().map(|proof| if v2 { entry.index } else { proof.index });
        proofs.logs.push(LogProof {
            log: logged.log.address.clone(),
            key_id: hexadecimal(&logged.log.id),
            operator: logged.log.operator.clone(),
            index: entry.index,
            index_signed: v2 || entry.promise.is_some(),
            tree_index,
            uuid: Digest::from_bytes(place.leaf().as_bytes()).unwrap_or_else(|| Digest::of(&entry.body)),
            names: ServiceNames::of_log(logged.log),
            inclusion_proof: logged.included,
            dated: logged.integrated.is_some(),
            online: false,
            place,
            head: logged.head,
        });
    }
    if proofs.logs.is_empty() && !candidate.entries.is_empty() {
        return Err(unknown());
    }
    // A log's key counts while the root believes it: when the log dated the entry, which was looked at there, or else at every time that
    // others verified. Where nobody dated it, a key that was stolen long after its time could have signed it.
    for log in undated {
        if let Some(time) = proofs.times.iter().find(|time| !log.window.contains(time.at)) {
            let reason = format!("the trust root does not believe {} at {}", log.address, time.at);
            return Err(VerifyError::Log { reason });
        }
        if proofs.times.is_empty() && log.window.until.is_some() {
            let reason = "nothing dates an entry of a log that the trust root believes for some time only".to_owned();
            return Err(VerifyError::Log { reason });
        }
    }
    Ok(proofs)
}

fn unknown() -> VerifyError {
    let reason = "an entry is of a log that the trust root does not know".to_owned();
    VerifyError::Unknown { kind: UnknownService::Log, reason }
}

fn certificates(candidate: &Candidate) -> Result<(&[u8], &[Vec<u8>]), VerifyError> {
    match &candidate.signer {
        SignerMaterial::Certificate { leaf, intermediates, .. } => Ok((leaf, intermediates)),
        SignerMaterial::Key => Err(VerifyError::NoCertificate),
    }
}

/// (3) A certificate that chains to its issuers at every verified time, with what issued it.
fn believed(
    leaf: &[u8],
    between: &[Vec<u8>],
    issuers: &Issuers,
    proofs: &Proofs,
) -> Result<(SigningCertificate, chain::Issued), VerifyError> {
    let certificate = SigningCertificate::read(leaf)?;
    if !certificate.signs_code() {
        return Err(VerifyError::Certificate { reason: "it is not for signing code".to_owned() });
    }
    let times: Vec<jiff::Timestamp> = proofs.times.iter().map(|time| time.at).collect();
    let issuer = chain::verify(leaf, certificate.valid, between, issuers, &times, Purpose::CodeSigning)?;
    Ok((certificate, issuer))
}

fn signer(leaf: &[u8], certificate: SigningCertificate, issued: chain::Issued) -> (Signer, Option<CertificateFacts>) {
    let key = certificate.key.fingerprint().digest().clone();
    let facts = CertificateFacts::new(leaf, &certificate.certificate, key, issued.by);
    let vouched_by = certificate.issuer().map(str::to_owned);
    (
        Signer::Certificate { issuer: vouched_by, subjects: certificate.subjects, claims: certificate.claims },
        Some(facts),
    )
}

/// (4) to (6): the signature, the entries' consistency with it, and the artifact.
fn signed(
    candidate: &Candidate,
    artifact: Artifact<'_>,
    key: &PublicKey,
    signer: LoggedSigner<'_>,
    proofs: &Proofs,
) -> Result<Claim, VerifyError> {
    // (4)
    match &candidate.content {
        Content::Artifact { signature, digest } => {
            if let Some((hash, found)) = digest {
                check_digest(*hash, found, artifact)?;
            }
            check(key, artifact.message(), digest.as_ref().map(|(hash, _)| *hash), signature)?;
        }
        Content::Payload { payload, signature } => check(key, Message::Bytes(payload), None, signature)?,
        Content::Envelope { envelope, .. } => {
            check(key, Message::Bytes(&envelope.pae()), None, envelope.signature.sig.as_bytes())?;
        }
    }
    // (5)
    for entry in proofs.entries.iter().filter_map(|position| candidate.entries.get(*position)) {
        entry::bind(entry, candidate, artifact, signer)?;
    }
    // (6)
    match &candidate.content {
        // A signature over the artifact itself is about it.
        Content::Artifact { .. } => Ok(Claim::Signature),
        Content::Payload { payload, .. } => bind_payload(payload, artifact),
        Content::Envelope { envelope, .. } => {
            check_payload_type(&envelope.payload_type)?;
            bind_statement(envelope.payload.as_bytes(), artifact)
        }
    }
}

fn check(key: &PublicKey, message: Message<'_>, declared: Option<Hash>, signature: &[u8]) -> Result<(), VerifyError> {
    key.verify_signer(message, declared, signature).map_err(|error| match error {
        SignatureError::Mismatch => VerifyError::Signature { reason: error.to_string() },
        SignatureError::NeedsBytes => VerifyError::Unsupported { reason: error.to_string() },
    })
}

/// Only in-toto statements are read from an envelope; the payload type is under the signature.
fn check_payload_type(found: &str) -> Result<(), VerifyError> {
    const EXPECTED: &str = "application/vnd.in-toto+json";
    if found == EXPECTED {
        return Ok(());
    }
    let found = found.to_owned();
    Err(FormatError::UnexpectedValue { field: "payloadType", found, expected: EXPECTED }.into())
}
