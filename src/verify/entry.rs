//! Binding a log entry to the candidate: the entry must be about this signature, by this signer, over this content.
//!
//! Without it an entry of somebody else's could ride along and lend its time (CVE-2022-36056, CVE-2026-22703). The bodies are those of
//! <https://github.com/sigstore/rekor/tree/main/pkg/types> and of Rekor's second version
//! (<https://github.com/sigstore/rekor-tiles/tree/main/api/proto>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sigstore_types::{DerPublicKey, DsseEnvelope};

use super::VerifyError;
use super::artifact::Artifact;
use crate::evidence::candidate::{Candidate, Content, EntryKind, LogEntry};
use crate::evidence::pem;
use crate::image::{Hash, from_hexadecimal};
use crate::trust::PublicKey;

/// Signers of one entry that are read; genuine ones have one.
const SIGNER_LIMIT: usize = 16;

/// Who must stand in the entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoggedSigner<'a> {
    /// Exactly this certificate, in DER.
    Certificate(&'a [u8]),
    /// This key, bare or in a certificate.
    Key(&'a PublicKey),
}

/// Checks that an entry is the candidate's.
///
/// # Errors
/// The part of the entry that is another's.
pub(super) fn bind(
    entry: &LogEntry,
    candidate: &Candidate,
    artifact: Artifact<'_>,
    signer: LoggedSigner<'_>,
) -> Result<(), VerifyError> {
    match (entry.kind, &candidate.content) {
        (EntryKind::HashedRekord001, content @ (Content::Artifact { .. } | Content::Payload { .. })) => {
            let spec: HashedRekord001 = spec(entry)?;
            check_hash(&spec.data.hash, content, artifact)?;
            check_signature(&spec.signature.content, content)?;
            check_pem(&spec.signature.public_key.content, signer)
        }
        (EntryKind::HashedRekord002, content) => hashed_rekord_2(spec(entry)?, content, artifact, signer),
        (EntryKind::Dsse001, Content::Envelope { envelope, .. }) => dsse(&spec(entry)?, envelope, signer),
        (EntryKind::Intoto001, Content::Envelope { envelope, bytes }) => {
            intoto_1(&spec(entry)?, envelope, bytes.as_deref(), signer)
        }
        (EntryKind::Intoto002, Content::Envelope { envelope, .. }) => intoto_2(&spec(entry)?, envelope, signer),
        (kind, _) => {
            let (kind, version) = kind.name();
            Err(refused(format!("an entry of kind {kind} {version} is not for a signature of this kind")))
        }
    }
}

/// A signer that an entry names, in DER.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum NamedSigner {
    Certificate(Vec<u8>),
    Key(Vec<u8>),
}

/// Who stands in an entry, by its body alone. Empty for kinds that no signature is verified with, and for bodies that are malformed.
pub(super) fn signers(body: &[u8]) -> Vec<NamedSigner> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
        #[serde(rename = "apiVersion")]
        version: String,
    }
    let Ok(kind) = serde_json::from_slice::<Kind>(body) else { return Vec::new() };
    let Ok(kind) = EntryKind::named(&kind.kind, &kind.version) else { return Vec::new() };
    let pems = match kind {
        EntryKind::HashedRekord001 => {
            read(kind, body).map(|spec: HashedRekord001| vec![spec.signature.public_key.content])
        }
        EntryKind::Dsse001 => read(kind, body).map(|spec: Dsse001| {
            spec.signatures.into_iter().map(|signature| signature.verifier).take(SIGNER_LIMIT).collect()
        }),
        EntryKind::Intoto001 => read(kind, body).map(|spec: Intoto001| vec![spec.public_key]),
        EntryKind::Intoto002 => read(kind, body).map(|spec: Intoto002| {
            let signatures = spec.content.envelope.signatures.into_iter();
            signatures.map(|signature| signature.public_key).take(SIGNER_LIMIT).collect()
        }),
        EntryKind::HashedRekord002 => {
            let Ok(HashedRekord002 { inner }) = read(kind, body) else { return Vec::new() };
            let raw = |found: Option<RawBytes>| found.and_then(|found| decode(&found.raw_bytes).ok());
            let Verifier { x509_certificate, public_key } = inner.signature.verifier;
            return match (raw(x509_certificate), raw(public_key)) {
                (Some(certificate), None) => vec![NamedSigner::Certificate(certificate)],
                (None, Some(key)) => vec![NamedSigner::Key(key)],
                _ => Vec::new(),
            };
        }
    };
    let named = |text: &String| {
        let pem = String::from_utf8(decode(text).ok()?).ok()?;
        match pem::certificate(&pem) {
            Ok(certificate) => Some(NamedSigner::Certificate(certificate)),
            Err(_) => DerPublicKey::from_pem(&pem).ok().map(|key| NamedSigner::Key(key.as_bytes().to_vec())),
        }
    };
    pems.unwrap_or_default().iter().filter_map(named).collect()
}

/// Reads an entry's body. The kind beside it is nobody's word; the one inside is.
fn spec<T: DeserializeOwned>(entry: &LogEntry) -> Result<T, VerifyError> {
    read(entry.kind, &entry.body)
}

fn read<T: DeserializeOwned>(kind: EntryKind, body: &[u8]) -> Result<T, VerifyError> {
    let body: Body<T> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let (kind, version) = kind.name();
    if (body.kind.as_str(), body.version.as_str()) == (kind, version) {
        return Ok(body.spec);
    }
    Err(refused(format!("an entry is of kind {} {}, not {kind} {version}", body.kind, body.version)))
}

#[derive(Deserialize)]
struct Body<T> {
    kind: String,
    #[serde(rename = "apiVersion")]
    version: String,
    spec: T,
}

#[derive(Deserialize)]
struct HashValue {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct HashedRekord001 {
    data: HashedData,
    signature: HashedSignature,
}

#[derive(Deserialize)]
struct HashedData {
    hash: HashValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedSignature {
    content: String,
    public_key: PemContent,
}

#[derive(Deserialize)]
struct PemContent {
    content: String,
}

#[derive(Deserialize)]
struct HashedRekord002 {
    #[serde(rename = "hashedRekordV002")]
    inner: HashedRekord002Inner,
}

#[derive(Deserialize)]
struct HashedRekord002Inner {
    data: HashedRekord002Data,
    signature: HashedRekord002Signature,
}

#[derive(Deserialize)]
struct HashedRekord002Data {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
struct HashedRekord002Signature {
    content: String,
    verifier: Verifier,
}

/// Exactly one of the two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verifier {
    x509_certificate: Option<RawBytes>,
    public_key: Option<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse001 {
    payload_hash: HashValue,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    signature: String,
    verifier: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto001 {
    content: Intoto001Content,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto001Content {
    hash: HashValue,
    payload_hash: Option<HashValue>,
}

#[derive(Deserialize)]
struct Intoto002 {
    content: Intoto002Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto002Content {
    envelope: Intoto002Envelope,
    payload_hash: HashValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto002Envelope {
    payload_type: String,
    signatures: Vec<Intoto002Signature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto002Signature {
    sig: String,
    public_key: String,
}

fn hashed_rekord_2(
    spec: HashedRekord002,
    content: &Content,
    artifact: Artifact<'_>,
    signer: LoggedSigner<'_>,
) -> Result<(), VerifyError> {
    let HashedRekord002 { inner } = spec;
    let hash = match inner.data.algorithm.as_str() {
        "SHA2_256" => Hash::Sha256,
        "SHA2_384" => Hash::Sha384,
        "SHA2_512" => Hash::Sha512,
        other => return Err(refused(format!("an entry has the hash algorithm {other:?}"))),
    };
    compare_hash(hash, &decode(&inner.data.digest)?, content, artifact)?;
    check_signature(&inner.signature.content, content)?;
    match (inner.signature.verifier, signer) {
        (Verifier { x509_certificate: Some(found), public_key: None }, LoggedSigner::Certificate(wanted)) => {
            same_signer(decode(&found.raw_bytes)? == wanted)
        }
        (Verifier { x509_certificate: None, public_key: Some(found) }, LoggedSigner::Key(key)) => {
            same_signer(decode(&found.raw_bytes)? == key.spki())
        }
        (Verifier { x509_certificate: Some(found), public_key: None }, LoggedSigner::Key(key)) => {
            same_signer(key_of(&decode(&found.raw_bytes)?).as_deref() == Some(key.spki()))
        }
        _ => same_signer(false),
    }
}

/// The envelope's hash in the entry is over the JSON that was submitted, which nobody keeps; payload, signature and signer are all that
/// it holds.
fn dsse(spec: &Dsse001, envelope: &DsseEnvelope, signer: LoggedSigner<'_>) -> Result<(), VerifyError> {
    check_payload(&spec.payload_hash, envelope)?;
    let [logged] = spec.signatures.as_slice() else { return Err(signatures(spec.signatures.len())) };
    if decode(&logged.signature)? != envelope.signature.sig.as_bytes() {
        return Err(other_signature());
    }
    check_pem(&logged.verifier, signer)
}

/// The entry holds the hash of the envelope as it was submitted, which is how it was stored too; the signature is inside.
fn intoto_1(
    spec: &Intoto001,
    envelope: &DsseEnvelope,
    bytes: Option<&[u8]>,
    signer: LoggedSigner<'_>,
) -> Result<(), VerifyError> {
    let bytes = bytes
        .ok_or_else(|| refused("an entry of kind intoto 0.0.1 holds the hash of an envelope that stands alone"))?;
    if digest(&spec.content.hash)? != Hash::Sha256.of(bytes) {
        return Err(refused("an entry is about another envelope"));
    }
    if let Some(payload) = &spec.content.payload_hash {
        check_payload(payload, envelope)?;
    }
    check_pem(&spec.public_key, signer)
}

fn intoto_2(spec: &Intoto002, envelope: &DsseEnvelope, signer: LoggedSigner<'_>) -> Result<(), VerifyError> {
    check_payload(&spec.content.payload_hash, envelope)?;
    if spec.content.envelope.payload_type != envelope.payload_type {
        return Err(refused("an entry is about an envelope of another payload type"));
    }
    let found = &spec.content.envelope.signatures;
    let [logged] = found.as_slice() else { return Err(signatures(found.len())) };
    // The signature is base64 twice.
    let inner = String::from_utf8(decode(&logged.sig)?).map_err(|error| malformed(&error))?;
    if decode(&inner)? != envelope.signature.sig.as_bytes() {
        return Err(other_signature());
    }
    check_pem(&logged.public_key, signer)
}

fn check_hash(found: &HashValue, content: &Content, artifact: Artifact<'_>) -> Result<(), VerifyError> {
    let hash = Hash::named(&found.algorithm)
        .ok_or_else(|| refused(format!("an entry has the hash algorithm {:?}", found.algorithm)))?;
    let value = from_hexadecimal(&found.value).ok_or_else(|| refused("an entry has a malformed hash"))?;
    compare_hash(hash, &value, content, artifact)
}

/// What the entry's hash is over: the artifact, the payload, or what an envelope's signature is over.
fn compare_hash(hash: Hash, found: &[u8], content: &Content, artifact: Artifact<'_>) -> Result<(), VerifyError> {
    let wanted = match content {
        Content::Artifact { .. } => artifact
            .digest(hash)
            .ok_or_else(|| refused("an entry holds a hash of the artifact, of which only the sha256 is at hand"))?,
        Content::Payload { payload, .. } => hash.of(payload),
        Content::Envelope { envelope, .. } => hash.of(&envelope.pae()),
    };
    if wanted == found { Ok(()) } else { Err(refused("an entry is about other content")) }
}

fn check_signature(found: &str, content: &Content) -> Result<(), VerifyError> {
    if decode(found)? == content.signature() { Ok(()) } else { Err(other_signature()) }
}

fn check_payload(found: &HashValue, envelope: &DsseEnvelope) -> Result<(), VerifyError> {
    if digest(found)? == Hash::Sha256.of(envelope.payload.as_bytes()) {
        return Ok(());
    }
    Err(refused("an entry is about another payload"))
}

/// A hash of an envelope or payload, which is sha256 in every entry of these kinds.
fn digest(found: &HashValue) -> Result<Vec<u8>, VerifyError> {
    if found.algorithm != "sha256" {
        return Err(refused(format!("an entry has the hash algorithm {:?}", found.algorithm)));
    }
    from_hexadecimal(&found.value).ok_or_else(|| refused("an entry has a malformed hash"))
}

/// The signer in an entry of the first version: PEM in base64, a certificate or a key.
fn check_pem(found: &str, signer: LoggedSigner<'_>) -> Result<(), VerifyError> {
    let pem = String::from_utf8(decode(found)?).map_err(|error| malformed(&error))?;
    let certificate = pem::certificate(&pem).ok();
    same_signer(match (certificate, signer) {
        (Some(found), LoggedSigner::Certificate(wanted)) => found == wanted,
        (Some(found), LoggedSigner::Key(key)) => key_of(&found).as_deref() == Some(key.spki()),
        (None, LoggedSigner::Key(key)) => {
            DerPublicKey::from_pem(&pem).is_ok_and(|found| found.as_bytes() == key.spki())
        }
        (None, LoggedSigner::Certificate(_)) => false,
    })
}

/// The key in a certificate, as a `SubjectPublicKeyInfo`.
fn key_of(certificate: &[u8]) -> Option<Vec<u8>> {
    use x509_cert::der::{Decode as _, Encode as _};
    crate::evidence::der::check("bytes of a certificate", certificate).ok()?;
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    certificate.tbs_certificate.subject_public_key_info.to_der().ok()
}

fn decode(text: &str) -> Result<Vec<u8>, VerifyError> {
    STANDARD.decode(text).map_err(|error| malformed(&error))
}

fn same_signer(same: bool) -> Result<(), VerifyError> {
    if same { Ok(()) } else { Err(refused("an entry is about another signer's certificate or key")) }
}

fn other_signature() -> VerifyError {
    refused("an entry is about another signature")
}

fn signatures(found: usize) -> VerifyError {
    refused(format!("an entry is about {found} signatures, not one"))
}

fn malformed(error: &dyn std::fmt::Display) -> VerifyError {
    refused(format!("an entry is malformed: {error}"))
}

fn refused(reason: impl Into<String>) -> VerifyError {
    VerifyError::Log { reason: reason.into() }
}
