//! Timestamp tokens: a `TSTInfo` (RFC 3161) in a CMS `SignedData` (RFC 5652) in a `TimeStampResp`.
//!
//! Written from parts. What is `None` among them is what it should be.

use jiff::Timestamp;

use super::certificate::Certified;
use super::der;
use super::key::{Hash, Scheme};
use super::text::sha256;

pub(crate) const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
pub(crate) const DATA: &str = "1.2.840.113549.1.7.1";
pub(crate) const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";
const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

/// How the signer is named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignerId {
    IssuerAndSerial,
    SubjectKey,
}

/// How the algorithm of the signature is named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignatureAlgorithm {
    /// With its hash: `sha256WithRSAEncryption`, `ecdsa-with-SHA256`.
    Specific,
    /// `rsaEncryption`, for RSA keys (RFC 3370); the hash is the signer's digest algorithm.
    RsaEncryption,
}

/// Whether there are signed attributes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignedAttributes {
    /// In the order of DER.
    Sorted,
    /// They travel in another order, and are signed in that of DER all the same (RFC 5652, 5.4).
    Reversed,
    /// None: the content itself is signed.
    Absent,
}

/// A timestamp before it is signed. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct TokenParts {
    /// `PKIStatus`: 0 and 1 are granted.
    pub(crate) status: u64,
    /// Inside a `TimeStampResp`, as Sigstore has it; if not, the bare token.
    pub(crate) response: bool,
    pub(crate) version: u64,
    pub(crate) policy: String,
    /// What is timestamped: the bytes of a signature.
    pub(crate) timestamped: Vec<u8>,
    pub(crate) imprint_hash: Hash,
    /// The imprint, if it is not the hash of what is timestamped.
    pub(crate) imprint: Option<Vec<u8>>,
    pub(crate) serial: Vec<u8>,
    pub(crate) time: Timestamp,
    /// Digits of the second's fraction.
    pub(crate) fraction_digits: usize,
    /// Seconds, milliseconds, microseconds; a zero is left out.
    pub(crate) accuracy: Option<(u64, u64, u64)>,
    pub(crate) ordering: bool,
    pub(crate) nonce: Option<u64>,
    /// Further elements at the end of the `TSTInfo`, in DER: `tsa`, `extensions`.
    pub(crate) further_info: Vec<u8>,
    /// The type of the content, in the `EncapsulatedContentInfo`.
    pub(crate) content_type: String,
    /// The content, if it is not the `TSTInfo` of these parts.
    pub(crate) info: Option<Vec<u8>>,
    /// The certificates that travel with the token.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// Who signs, and by which certificate it is named.
    pub(crate) signer: Certified,
    pub(crate) signer_id: SignerId,
    pub(crate) digest: Hash,
    pub(crate) scheme: Scheme,
    pub(crate) signature_algorithm: SignatureAlgorithm,
    pub(crate) signed_attributes: SignedAttributes,
    /// The attribute, if it is not the type of the content.
    pub(crate) attribute_content_type: Option<String>,
    /// The attribute, if it is not the hash of the content.
    pub(crate) message_digest: Option<Vec<u8>>,
    pub(crate) signing_time: Option<Timestamp>,
    /// The certificate of which the `SigningCertificateV2` attribute has the hash.
    pub(crate) signing_certificate: Option<Vec<u8>>,
    /// More signed attributes, in DER.
    pub(crate) further_attributes: Vec<Vec<u8>>,
    /// Attributes that nobody signs, in DER.
    pub(crate) unsigned_attributes: Vec<Vec<u8>>,
    /// More `SignerInfo`s, in DER.
    pub(crate) further_signers: Vec<Vec<u8>>,
}

impl TokenParts {
    /// Signs with another hash: digest, scheme and attributes agree on it.
    pub(crate) fn hash_with(&mut self, hash: Hash) {
        self.digest = hash;
        self.scheme = match self.scheme {
            Scheme::Ecdsa(_) => Scheme::Ecdsa(hash),
            Scheme::RsaPkcs1(_) => Scheme::RsaPkcs1(hash),
            Scheme::RsaPss(_) => Scheme::RsaPss(hash),
            Scheme::Ed25519 => Scheme::Ed25519,
        };
    }

    /// The `TSTInfo`.
    pub(crate) fn tst_info(&self) -> Vec<u8> {
        if let Some(info) = &self.info {
            return info.clone();
        }
        let optional = |tag: u8, value: u64| match value {
            0 => Vec::new(),
            value => {
                let mut integer = der::integer(value);
                integer[0] = tag;
                integer
            }
        };
        let imprint = self.imprint.clone().unwrap_or_else(|| self.imprint_hash.of(&self.timestamped));
        let accuracy = self.accuracy.map(|(seconds, milliseconds, microseconds)| {
            der::sequence(&[optional(0x02, seconds), optional(0x80, milliseconds), optional(0x81, microseconds)])
        });
        der::sequence(&[
            der::integer(self.version),
            der::oid(&self.policy),
            der::sequence(&[algorithm(self.imprint_hash), der::octets(&imprint)]),
            der::unsigned(&self.serial),
            der::generalized_time(self.time, self.fraction_digits),
            accuracy.unwrap_or_default(),
            if self.ordering { der::boolean(true) } else { Vec::new() },
            self.nonce.map(der::integer).unwrap_or_default(),
            self.further_info.clone(),
        ])
    }

    /// The signed attributes, each in DER; in `SET OF` order once they are joined.
    fn attributes(&self, content: &[u8]) -> Vec<Vec<u8>> {
        let attribute = |oid: &str, value: Vec<u8>| der::sequence(&[der::oid(oid), der::set(&[value])]);
        let content_type = self.attribute_content_type.as_deref().unwrap_or(&self.content_type);
        let digest = self.message_digest.clone().unwrap_or_else(|| self.digest.of(content));
        let mut attributes =
            vec![attribute(CONTENT_TYPE, der::oid(content_type)), attribute(MESSAGE_DIGEST, der::octets(&digest))];
        attributes.extend(self.signing_time.map(|at| attribute(SIGNING_TIME, der::time(at))));
        attributes.extend(self.signing_certificate.as_ref().map(|certificate| {
            let id = der::sequence(&[der::octets(&sha256(certificate))]);
            attribute(SIGNING_CERTIFICATE_V2, der::sequence(&[der::sequence(&[id])]))
        }));
        attributes.extend(self.further_attributes.iter().cloned());
        attributes
    }

    /// The `SignerInfo` over these parts.
    pub(crate) fn signer_info(&self) -> Vec<u8> {
        let content = self.tst_info();
        let parts = &self.signer.parts;
        let (version, id) = match self.signer_id {
            SignerId::IssuerAndSerial => (1, der::sequence(&[parts.issuer.der(), der::unsigned(&parts.serial)])),
            SignerId::SubjectKey => (3, der::context_primitive(0, &sha256(&parts.public_key)[..20])),
        };
        let attributes = self.attributes(&content);
        let (signed, attributes) = match self.signed_attributes {
            SignedAttributes::Absent => (content, Vec::new()),
            SignedAttributes::Sorted => (der::set(&attributes), der::context(0, &der::sorted(&attributes))),
            SignedAttributes::Reversed => {
                let mut reversed = attributes.clone();
                reversed.sort_by(|one, other| other.cmp(one));
                (der::set(&attributes), der::context(0, &reversed.concat()))
            }
        };
        let algorithm_id = match self.signature_algorithm {
            SignatureAlgorithm::Specific => self.scheme.identifier(),
            SignatureAlgorithm::RsaEncryption => der::sequence(&[der::oid(RSA_ENCRYPTION), der::null()]),
        };
        let signature = self.signer.key.sign_with(self.scheme, &signed);
        der::sequence(&[
            der::integer(version),
            id,
            algorithm(self.digest),
            attributes,
            algorithm_id,
            der::octets(&signature),
            match self.unsigned_attributes.as_slice() {
                [] => Vec::new(),
                some => der::context(1, &der::sorted(some)),
            },
        ])
    }

    /// The `ContentInfo` with the `SignedData`.
    pub(crate) fn content_info(&self) -> Vec<u8> {
        let content = der::context(0, &der::octets(&self.tst_info()));
        let certificates = match self.certificates.as_slice() {
            [] => Vec::new(),
            some => der::context(0, &der::sorted(some)),
        };
        let signers = [vec![self.signer_info()], self.further_signers.clone()].concat();
        let signed_data = der::sequence(&[
            der::integer(3),
            der::set(&[algorithm(self.digest)]),
            der::sequence(&[der::oid(&self.content_type), content]),
            certificates,
            der::set(&signers),
        ]);
        der::sequence(&[der::oid(SIGNED_DATA), der::context(0, &signed_data)])
    }

    /// The token as bundles carry it.
    pub(crate) fn sign(&self) -> Vec<u8> {
        if !self.response {
            return self.content_info();
        }
        let status = der::sequence(&[der::integer(self.status)]);
        let token = if self.status <= 1 { self.content_info() } else { Vec::new() };
        der::sequence(&[status, token])
    }
}

/// The `AlgorithmIdentifier` of a hash, without parameters (RFC 5754).
fn algorithm(hash: Hash) -> Vec<u8> {
    der::sequence(&[der::oid(hash.oid())])
}
