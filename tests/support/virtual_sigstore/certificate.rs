//! X.509 certificates (RFC 5280) out of parts, each of which can be replaced before it is signed.
//!
//! It issues what it is told to; what a sound certificate of Fulcio or of a timestamp authority holds is said there.

use jiff::Timestamp;

use super::der;
use super::key::{Key, Scheme};
use super::text::{self, sha256};

pub(crate) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(crate) const KEY_USAGE: &str = "2.5.29.15";
pub(crate) const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
pub(crate) const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
pub(crate) const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";
pub(crate) const SUBJECT_ALTERNATIVE_NAME: &str = "2.5.29.17";

pub(crate) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
pub(crate) const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
pub(crate) const SERVER_AUTHENTICATION: &str = "1.3.6.1.5.5.7.3.1";

/// Bits of the key usage extension, in its first byte.
pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(crate) const CERTIFICATE_SIGN: u8 = 0x04;
pub(crate) const CRL_SIGN: u8 = 0x02;

/// A distinguished name: organization and common name, each absent where empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Name {
    pub(crate) organization: String,
    pub(crate) common_name: String,
}

impl Name {
    pub(crate) fn new(organization: &str, common_name: &str) -> Self {
        Self { organization: organization.to_owned(), common_name: common_name.to_owned() }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let attribute = |oid: &str, text: &str| match text {
            "" => Vec::new(),
            text => der::set(&[der::sequence(&[der::oid(oid), der::utf8(text)])]),
        };
        der::sequence(&[attribute("2.5.4.10", &self.organization), attribute("2.5.4.3", &self.common_name)])
    }
}

/// One extension; `value` is the DER inside the `OCTET STRING`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Extension {
    pub(crate) oid: String,
    pub(crate) critical: bool,
    pub(crate) value: Vec<u8>,
}

impl Extension {
    pub(crate) fn new(oid: &str, critical: bool, value: Vec<u8>) -> Self {
        Self { oid: oid.to_owned(), critical, value }
    }

    pub(crate) fn basic_constraints(authority: bool, path_length: Option<u8>) -> Self {
        let authority = if authority { der::boolean(true) } else { Vec::new() };
        let path_length = path_length.map(|length| der::integer(u64::from(length))).unwrap_or_default();
        Self::new(BASIC_CONSTRAINTS, true, der::sequence(&[authority, path_length]))
    }

    pub(crate) fn key_usage(bits: u8) -> Self {
        Self::new(KEY_USAGE, true, der::named_bits(bits))
    }

    pub(crate) fn extended_key_usage(critical: bool, purposes: &[&str]) -> Self {
        let purposes: Vec<Vec<u8>> = purposes.iter().map(|purpose| der::oid(purpose)).collect();
        Self::new(EXTENDED_KEY_USAGE, critical, der::sequence(&purposes))
    }

    fn der(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[der::oid(&self.oid), critical, der::octets(&self.value)])
    }
}

/// A certificate before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct CertificateParts {
    /// 2 is version 3.
    pub(crate) version: u64,
    /// Big-endian, not negative.
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Name,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) subject: Name,
    /// The `SubjectPublicKeyInfo`.
    pub(crate) public_key: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    /// The scheme of the issuer's signature; none is the issuer's usual one.
    pub(crate) scheme: Option<Scheme>,
}

impl CertificateParts {
    /// A certificate for a key, with its subject key identifier and no other extension.
    pub(crate) fn new(subject: Name, public_key: Vec<u8>, valid: (Timestamp, Timestamp)) -> Self {
        let identifier = Extension::new(SUBJECT_KEY_IDENTIFIER, false, der::octets(&sha256(&public_key)[..20]));
        let mut serial = text::random(16);
        serial[0] = serial[0] & 0x7f | 0x40;
        Self {
            version: 2,
            serial,
            issuer: Name::default(),
            not_before: valid.0,
            not_after: valid.1,
            subject,
            public_key,
            extensions: vec![identifier],
            scheme: None,
        }
    }

    /// Puts an extension in place of one of the same kind, or after the others.
    pub(crate) fn set(&mut self, extension: Extension) {
        match self.extensions.iter_mut().find(|one| one.oid == extension.oid) {
            Some(one) => *one = extension,
            None => self.extensions.push(extension),
        }
    }

    /// Takes an extension away.
    pub(crate) fn remove(&mut self, oid: &str) {
        self.extensions.retain(|one| one.oid != oid);
    }

    /// The `TBSCertificate` for an issuer's signature of this scheme.
    pub(crate) fn to_be_signed(&self, scheme: Scheme) -> Vec<u8> {
        let extensions: Vec<Vec<u8>> = self.extensions.iter().map(Extension::der).collect();
        let extensions = match extensions.as_slice() {
            [] => Vec::new(),
            some => der::context(3, &der::sequence(some)),
        };
        let version = if self.version == 0 { Vec::new() } else { der::context(0, &der::integer(self.version)) };
        der::sequence(&[
            version,
            der::unsigned(&self.serial),
            scheme.identifier(),
            self.issuer.der(),
            der::sequence(&[der::time(self.not_before), der::time(self.not_after)]),
            self.subject.der(),
            self.public_key.clone(),
            extensions,
        ])
    }

    /// The certificate, signed by a key.
    pub(crate) fn sign(&self, key: &Key) -> Vec<u8> {
        let scheme = self.scheme.unwrap_or_else(|| key.scheme());
        let signed = self.to_be_signed(scheme);
        let signature = key.sign_with(scheme, &signed);
        der::sequence(&[signed, scheme.identifier(), der::bits(&signature)])
    }
}

/// A certificate with its key: one that can issue, or sign timestamps.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) parts: CertificateParts,
    pub(crate) key: Key,
    pub(crate) certificate: Vec<u8>,
}

impl Certified {
    /// A certificate that its own key signs; `edit` has the last word.
    pub(crate) fn self_signed(
        mut parts: CertificateParts,
        key: &Key,
        edit: impl FnOnce(&mut CertificateParts),
    ) -> Self {
        parts.issuer = parts.subject.clone();
        edit(&mut parts);
        let certificate = parts.sign(key);
        Self { parts, key: key.clone(), certificate }
    }

    /// Issues a certificate for `key`. Issuer and authority key identifier are this one's; `edit` has the last word.
    pub(crate) fn issue(
        &self,
        mut parts: CertificateParts,
        key: &Key,
        edit: impl FnOnce(&mut CertificateParts),
    ) -> Self {
        self.prepare(&mut parts);
        edit(&mut parts);
        let certificate = parts.sign(&self.key);
        Self { parts, key: key.clone(), certificate }
    }

    /// Names this one as the issuer.
    pub(crate) fn prepare(&self, parts: &mut CertificateParts) {
        parts.issuer = self.parts.subject.clone();
        let identifier = der::context_primitive(0, &sha256(&self.parts.public_key)[..20]);
        parts.set(Extension::new(AUTHORITY_KEY_IDENTIFIER, false, der::sequence(&[identifier])));
    }

    pub(crate) fn pem(&self) -> String {
        text::pem("CERTIFICATE", &self.certificate)
    }
}
