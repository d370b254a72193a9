//! RFC 3161 timestamps: that an authority of the trust root saw a signature, and when.
//!
//! A token is a CMS `SignedData` (RFC 5652) over a `TSTInfo`. Its signer is the authority's one certificate, or, where the root names only
//! the issuing authority, one that the token brings and that chains to it. Certificates in the token are otherwise not looked at.

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, SetOfVec};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::spki::AlgorithmIdentifierRef;

use super::chain::{self, Purpose};
use super::facts::{self, ServiceNames};
use super::tst_info::TstInfo;
use super::{TimeSource, UnknownService, VerifiedTime, VerifyError};
use crate::image::{Digest, Hash};
use crate::trust::{Message, PublicKey, Scheme, TimestampAuthority, may_sign, validity};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// Signature algorithms that name their hash.
const SIGNATURE_HASHES: [(ObjectIdentifier, Hash); 6] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), Hash::Sha512),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), Hash::Sha512),
];
/// Signature algorithms that leave the hash to the digest algorithm beside them: RSA, keys on curves, Ed25519.
const BARE_ALGORITHMS: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"),
    ObjectIdentifier::new_unwrap("1.3.101.112"),
];
/// Certificates in one token that are looked at.
const CERTIFICATE_LIMIT: usize = 16;

/// A token that parsed: nothing of it is believed.
struct Token {
    data: SignedData,
    /// What is signed, and what that says.
    content: Vec<u8>,
    info: TstInfo,
}

/// Verifies a token over a signature under any of the authorities.
///
/// # Errors
/// Why it is no timestamp of this signature by one of them.
pub(super) fn verify(
    token: &[u8],
    signature: &[u8],
    authorities: &[TimestampAuthority],
) -> Result<VerifiedTime, VerifyError> {
    let token = Token::read(token)?;
    let hash = hash(token.info.hash).ok_or_else(|| refused("its imprint has an algorithm that is not verified"))?;
    if hash.of(signature) != token.info.imprint {
        return Err(refused("it is a timestamp of another signature"));
    }
    token.by_one_of(authorities)
}

/// As [`verify`], of a token whose signature was not kept.
#[cfg(test)]
pub(super) fn verify_without_imprint(token: &[u8], authorities: &[TimestampAuthority]) -> Result<(), VerifyError> {
    Token::read(token)?.by_one_of(authorities).map(|_| ())
}

/// Why a token does not count as an authority's.
struct NotBy {
    reason: String,
    /// Whether the token names this authority's signer all the same.
    named: bool,
}

impl Token {
    /// Parses a response with a granted status, or a bare token.
    fn read(der: &[u8]) -> Result<Self, VerifyError> {
        let malformed = |error: x509_cert::der::Error| refused(format!("it is malformed: {error}"));
        let outer = AnyRef::from_der(der).map_err(malformed)?;
        let mut reader = SliceReader::new(outer.value()).map_err(malformed)?;
        let bare = reader.peek_header().map_err(malformed)?.tag == Tag::ObjectIdentifier;
        let info = if bare {
            ContentInfo::from_der(der).map_err(malformed)?
        } else {
            let status = AnyRef::decode(&mut reader).map_err(malformed)?;
            let status =
                SliceReader::new(status.value()).and_then(|mut inner| u8::decode(&mut inner)).map_err(malformed)?;
            if status > 1 {
                return Err(refused(format!("the authority did not grant it (status {status})")));
            }
            let info = ContentInfo::decode(&mut reader).map_err(malformed)?;
            if !reader.is_finished() {
                return Err(refused("it is malformed: something follows the token"));
            }
            info
        };
        if info.content_type != SIGNED_DATA {
            return Err(refused("it is malformed: its content is not signed data"));
        }
        let data: SignedData = info.content.decode_as().map_err(malformed)?;
        if data.encap_content_info.econtent_type != TST_INFO {
            return Err(refused("it is malformed: what is signed is no timestamp"));
        }
        let content =
            data.encap_content_info.econtent.as_ref().ok_or_else(|| refused("it is malformed: it is empty"))?;
        let content: OctetStringRef<'_> = content.decode_as().map_err(malformed)?;
        let content = content.as_bytes().to_vec();
        let info = TstInfo::read(&content).map_err(|error| refused(format!("it is malformed: {error}")))?;
        Ok(Self { data, content, info })
    }

    /// The time that one of the authorities vouches for.
    fn by_one_of(&self, authorities: &[TimestampAuthority]) -> Result<VerifiedTime, VerifyError> {
        let [signer] = self.data.signer_infos.0.as_slice() else {
            return Err(refused(format!("it has {} signers, not one", self.data.signer_infos.0.len())));
        };
        let (mut reason, mut is_known) = (String::new(), false);
        if authorities.is_empty() {
            reason.push_str("the trust root names no timestamp authority");
        }
        for authority in authorities {
            match self.verify(signer, authority) {
                Ok(names) => return Ok(self.time(authority, names)),
                // Two authorities may share a name and a serial number; what one that is the signer's has against it says most.
                Err(NotBy { reason: found, named }) => {
                    if named || reason.is_empty() {
                        reason = found;
                    }
                    is_known |= named;
                }
            }
        }
        if is_known {
            return Err(VerifyError::Timestamp { reason });
        }
        Err(VerifyError::Unknown { kind: UnknownService::TimestampAuthority, reason })
    }

    fn time(&self, authority: &TimestampAuthority, names: ServiceNames) -> VerifiedTime {
        let at = self.info.time;
        let accuracy = jiff::SignedDuration::try_from(self.info.accuracy).unwrap_or(jiff::SignedDuration::MAX);
        VerifiedTime {
            at,
            earliest: at.checked_sub(accuracy).unwrap_or(Timestamp::MIN),
            latest: at.checked_add(accuracy).unwrap_or(Timestamp::MAX),
            source: TimeSource::TimestampAuthority,
            service: authority.address.clone(),
            operator: authority.operator.clone(),
            names,
        }
    }

    /// Verifies the token as this authority's, and says what the authority and its signer are called by.
    fn verify(&self, signer: &SignerInfo, authority: &TimestampAuthority) -> Result<ServiceNames, NotBy> {
        let by_another =
            || NotBy { reason: "it is signed by nobody that the trust root knows".to_owned(), named: false };
        let against = |reason: String| NotBy { reason, named: true };
        let at = self.info.time;
        let certificate = match &authority.signer {
            Some((certificate, _)) => certificate,
            None => self.embedded(signer).ok_or_else(by_another)?,
        };
        if !identifies(&signer.sid, certificate) {
            return Err(by_another());
        }
        self.signed(signer, certificate).map_err(against)?;
        if !authority.window.contains(at) {
            return Err(against(format!("the trust root does not believe {} at {at}", authority.address)));
        }
        match &authority.signer {
            Some((_, valid)) if valid.contains(at) => {}
            Some(_) => {
                return Err(against(format!("the authority's certificate, or one above it, is not valid at {at}")));
            }
            None => self.chained(certificate, authority).map_err(against)?,
        }
        Ok(names(certificate, authority))
    }

    /// The signer's certificate that the token brings.
    fn embedded(&self, signer: &SignerInfo) -> Option<&Certificate> {
        let certificates = self.data.certificates.as_ref()?;
        let mut found = certificates.0.iter().take(CERTIFICATE_LIMIT).filter_map(certificate);
        found.find(|found| identifies(&signer.sid, found))
    }

    /// Whether a certificate that the token brings is for timestamps and chains to the authority.
    fn chained(&self, leaf: &Certificate, authority: &TimestampAuthority) -> Result<(), String> {
        if !may_sign(leaf) {
            return Err("its signer's certificate is not limited to signing timestamps".to_owned());
        }
        let der = leaf.to_der().map_err(|error| error.to_string())?;
        let valid = validity(leaf);
        // What the token brings beside it leads to no root: the trust root names all that may issue.
        chain::verify(&der, valid, &[], &authority.issuers, &[self.info.time], Purpose::TimeStamping)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    /// Whether this certificate's key signed the content, by way of the signed attributes.
    fn signed(&self, signer: &SignerInfo, certificate: &Certificate) -> Result<(), String> {
        let attributes = signer.signed_attrs.as_ref().ok_or("it has no signed attributes")?;
        if oid(attributes, CONTENT_TYPE)? != TST_INFO {
            return Err("its signed attributes are about another type of content".to_owned());
        }
        let digest_hash = hash(signer.digest_alg.oid).ok_or("its digest algorithm is not verified")?;
        let digest = value(attributes, MESSAGE_DIGEST)?;
        let digest: OctetStringRef<'_> = digest.decode_as().map_err(|error| error.to_string())?;
        if digest_hash.of(&self.content) != digest.as_bytes() {
            return Err("its signed attributes are about other content".to_owned());
        }
        names_certificate(attributes, certificate)?;
        // Stored with a tag of its own, signed as a plain set (RFC 5652, section 5.4).
        let set = SetOfVec::try_from(attributes.iter().cloned().collect::<Vec<Attribute>>());
        let message = set.and_then(|set| set.to_der()).map_err(|error| error.to_string())?;
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|error| error.to_string())?;
        let key = PublicKey::from_spki(&spki).map_err(|error| error.to_string())?;
        let scheme = scheme(signer, &key, digest_hash)?;
        key.verify(scheme, Message::Bytes(&message), signer.signature.as_bytes())
            .map_err(|_| "it is not signed by the authority".to_owned())
    }
}

/// What an authority and the certificate of its signer are called by.
fn names(signer: &Certificate, authority: &TimestampAuthority) -> ServiceNames {
    let own = signer.to_der().map(|der| facts::digests(&der, signer)).unwrap_or_default();
    let key = signer.tbs_certificate.subject_public_key_info.to_der().map(|spki| Digest::of(&spki));
    ServiceNames::new(own.into_iter().chain(key).chain(authority.issuers.names().cloned()))
}

fn scheme(signer: &SignerInfo, key: &PublicKey, digest_hash: Hash) -> Result<Scheme, String> {
    let algorithm = &signer.signature_algorithm;
    if algorithm.oid == RSA_PSS {
        return pss_hash(algorithm.parameters.as_ref())
            .map(Scheme::Pss)
            .ok_or_else(|| "its signature has parameters that are not verified".to_owned());
    }
    if BARE_ALGORITHMS.contains(&algorithm.oid) {
        return Ok(key.scheme(digest_hash));
    }
    let named = SIGNATURE_HASHES.iter().find(|(identifier, _)| *identifier == algorithm.oid);
    named
        .map(|(_, hash)| key.scheme(*hash))
        .ok_or_else(|| format!("its signature algorithm {} is not verified", algorithm.oid))
}

/// The hash in the parameters of RSASSA-PSS (RFC 4055), which has to be named: the default is SHA-1.
fn pss_hash(parameters: Option<&x509_cert::der::Any>) -> Option<Hash> {
    let mut reader = SliceReader::new(parameters?.value()).ok()?;
    let first = AnyRef::decode(&mut reader).ok()?;
    let named = matches!(first.tag(), Tag::ContextSpecific { number, .. } if number.value() == 0);
    let algorithm = AlgorithmIdentifierRef::from_der(first.value()).ok()?;
    hash(algorithm.oid).filter(|_| named)
}

/// The one value of an attribute that must be there once.
fn value(attributes: &Attributes, identifier: ObjectIdentifier) -> Result<&x509_cert::der::Any, String> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == identifier);
    let (Some(attribute), None) = (found.next(), found.next()) else {
        return Err(format!("its signed attribute {identifier} is not there exactly once"));
    };
    match attribute.values.as_slice() {
        [value] => Ok(value),
        _ => Err(format!("its signed attribute {identifier} has not exactly one value")),
    }
}

fn oid(attributes: &Attributes, identifier: ObjectIdentifier) -> Result<ObjectIdentifier, String> {
    value(attributes, identifier)?.decode_as().map_err(|error| error.to_string())
}

/// The attribute that names the signer's certificate (RFC 5816), where it is there: it must name this one.
fn names_certificate(attributes: &Attributes, certificate: &Certificate) -> Result<(), String> {
    if !attributes.iter().any(|attribute| attribute.oid == SIGNING_CERTIFICATE_V2) {
        return Ok(());
    }
    let malformed = |error: x509_cert::der::Error| format!("its signing certificate attribute is malformed: {error}");
    let outer = value(attributes, SIGNING_CERTIFICATE_V2)?;
    // SigningCertificateV2 { certs SEQUENCE OF ESSCertIDv2 { hashAlgorithm DEFAULT sha256, certHash, issuerSerial OPTIONAL } }
    let certificates = AnyRef::decode(&mut SliceReader::new(outer.value()).map_err(malformed)?).map_err(malformed)?;
    let first = AnyRef::decode(&mut SliceReader::new(certificates.value()).map_err(malformed)?).map_err(malformed)?;
    let mut reader = SliceReader::new(first.value()).map_err(malformed)?;
    let mut algorithm = SHA256;
    if reader.peek_header().map_err(malformed)?.tag == Tag::Sequence {
        algorithm = AlgorithmIdentifierRef::decode(&mut reader).map_err(malformed)?.oid;
    }
    let named = OctetStringRef::decode(&mut reader).map_err(malformed)?;
    let hash = hash(algorithm).ok_or("its signing certificate attribute has an algorithm that is not verified")?;
    let der = certificate.to_der().map_err(malformed)?;
    if hash.of(&der) == named.as_bytes() {
        Ok(())
    } else {
        Err("it names another certificate as its signer's".to_owned())
    }
}

/// Whether a signer identifier is this certificate's.
fn identifies(identifier: &SignerIdentifier, certificate: &Certificate) -> bool {
    let inner = &certificate.tbs_certificate;
    match identifier {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            named.issuer == inner.issuer && named.serial_number == inner.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            matches!(inner.get::<SubjectKeyIdentifier>(), Ok(Some((_, found))) if found == *named)
        }
    }
}

fn certificate(choice: &CertificateChoices) -> Option<&Certificate> {
    match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    }
}

fn hash(identifier: ObjectIdentifier) -> Option<Hash> {
    match identifier {
        SHA256 => Some(Hash::Sha256),
        SHA384 => Some(Hash::Sha384),
        SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}

fn refused(reason: impl Into<String>) -> VerifyError {
    VerifyError::Timestamp { reason: reason.into() }
}
