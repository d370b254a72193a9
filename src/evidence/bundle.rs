//! Sigstore bundles v0.1 to v0.3, from JSON bytes to a candidate.
//!
//! Shape only; no signature, proof or time is looked at. The library reads the JSON; the rules of the versions are here. Specification:
//! <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto>.

use sigstore_types::bundle::{TransparencyLogEntry, VerificationMaterialContent, X509Certificate};
use sigstore_types::{Bundle, HashAlgorithm, KindVersion, MediaType, SignatureContent};

use super::FormatError;
use super::candidate::{Candidate, Content, EntryKind, InclusionProof, LogEntry, SignerMaterial};
use crate::image::Hash;

const FORMAT: &str = "Sigstore bundle";

/// Parses a bundle.
///
/// # Errors
/// Bytes that are no bundle of a known version, and what the version does not allow.
pub(super) fn parse(bytes: &[u8]) -> Result<Candidate, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
    let bundle = Bundle::from_json(text).map_err(|error| malformed(error.to_string()))?;
    let version = bundle.media_type();
    let material = &bundle.verification_material;
    let signer = signer(&material.content, version)?;
    let entries = material.tlog_entries.iter().map(|entry| entry_of(entry, version)).collect::<Result<_, _>>()?;
    let timestamps = &material.timestamp_verification_data.rfc3161_timestamps;
    let timestamps = timestamps.iter().map(|timestamp| timestamp.signed_timestamp.as_bytes().to_vec()).collect();
    Ok(Candidate { content: content(bundle.content)?, signer, entries, timestamps, unreadable: None })
}

fn signer(content: &VerificationMaterialContent, version: MediaType) -> Result<SignerMaterial, FormatError> {
    match content {
        VerificationMaterialContent::Certificate(certificate) => {
            let leaf = certificate.raw_bytes.as_bytes().to_vec();
            Ok(SignerMaterial::Certificate { leaf, intermediates: Vec::new(), as_chain_in_v03: false })
        }
        VerificationMaterialContent::X509CertificateChain { certificates } => {
            let (leaf, above) =
                certificates.split_first().ok_or_else(|| malformed("its certificate chain is empty"))?;
            let der = |certificate: &X509Certificate| certificate.raw_bytes.as_bytes().to_vec();
            let intermediates = above.iter().map(der).collect();
            let as_chain_in_v03 = version == MediaType::Bundle0_3;
            Ok(SignerMaterial::Certificate { leaf: der(leaf), intermediates, as_chain_in_v03 })
        }
        VerificationMaterialContent::PublicKey(_) => Ok(SignerMaterial::Key),
        _ => Err(malformed("its verification material is of no known kind")),
    }
}

fn content(content: SignatureContent) -> Result<Content, FormatError> {
    match content {
        SignatureContent::MessageSignature(message) => {
            let digest =
                message.message_digest.map(|digest| Ok((hash(digest.algorithm)?, digest.digest.as_bytes().to_vec())));
            Ok(Content::Artifact { signature: message.signature.as_bytes().to_vec(), digest: digest.transpose()? })
        }
        SignatureContent::DsseEnvelope(envelope) => Ok(Content::Envelope { envelope, bytes: None }),
        _ => Err(malformed("its content is of no known kind")),
    }
}

fn hash(algorithm: HashAlgorithm) -> Result<Hash, FormatError> {
    match algorithm {
        HashAlgorithm::Sha2256 => Ok(Hash::Sha256),
        HashAlgorithm::Sha2384 => Ok(Hash::Sha384),
        HashAlgorithm::Sha2512 => Ok(Hash::Sha512),
        _ => Err(malformed("its message digest has no known algorithm")),
    }
}

/// An entry with the proofs that the version asks for. Version 0.1 came before the proofs and asks for a promise.
fn entry_of(entry: &TransparencyLogEntry, version: MediaType) -> Result<LogEntry, FormatError> {
    let kind = match entry.kind_version {
        KindVersion::HashedRekordV001 => EntryKind::HashedRekord001,
        KindVersion::HashedRekordV002 => EntryKind::HashedRekord002,
        KindVersion::DsseV001 => EntryKind::Dsse001,
        KindVersion::IntotoV002 => EntryKind::Intoto002,
        _ => return Err(malformed("a log entry is of no known kind")),
    };
    let proof = entry.inclusion_proof.as_ref().map(|proof| proof_of(proof, kind)).transpose()?;
    let promise = entry.inclusion_promise.as_ref().map(|promise| promise.signed_entry_timestamp.as_bytes().to_vec());
    if version == MediaType::Bundle0_1 && promise.is_none() {
        return Err(malformed("version 0.1 needs an inclusion promise with each log entry"));
    }
    if version != MediaType::Bundle0_1 && proof.is_none() {
        return Err(malformed("versions 0.2 and 0.3 need an inclusion proof with each log entry"));
    }
    Ok(LogEntry {
        kind,
        log_id: entry.log_id.key_id.as_bytes().to_vec(),
        index: entry.log_index.get(),
        integrated_time: entry.integrated_time,
        promise,
        proof,
        body: entry.canonicalized_body.as_bytes().to_vec(),
    })
}

fn proof_of(proof: &sigstore_types::bundle::InclusionProof, kind: EntryKind) -> Result<InclusionProof, FormatError> {
    let checkpoint = proof.checkpoint.checkpoint().ok_or_else(|| malformed("an inclusion proof has no checkpoint"))?;
    // The first version of Rekor repeats the head beside the proof; the second does too, and nobody signs it there.
    if !kind.is_rekor_v2() && *checkpoint.root_hash() != proof.root_hash {
        return Err(malformed("an inclusion proof's root hash is not its checkpoint's"));
    }
    Ok(InclusionProof {
        index: proof.log_index.get(),
        tree_size: proof.tree_size,
        hashes: proof.hashes.clone(),
        checkpoint: checkpoint.clone(),
    })
}

fn malformed(reason: impl Into<String>) -> FormatError {
    FormatError::Malformed { format: FORMAT, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_bundle() {
        for bytes in [&b""[..], b"{}", b"[]", b"null", b"{\"mediaType\":\"x\"}", b"\xff\xfe", &b"[".repeat(4096)] {
            assert!(matches!(parse(bytes), Err(FormatError::Malformed { .. })), "{bytes:?}");
        }
    }
}
