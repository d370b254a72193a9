//! What evidence, and each word in it, can be named by when something turns out to be compromised.
//!
//! Names only: certificates, keys, services, log entries. Whether one of them is struck out or distrusted is `revocation`'s to know; what
//! is left of evidence once some services are not believed is made here, because evidence is built nowhere else.

use std::sync::Arc;

use serde::Serialize;
use x509_cert::Certificate;
use x509_cert::der::asn1::{BitString, UintRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};

use super::Evidence;
use crate::image::Digest;
use crate::trust::Log;

/// What a service is called by: its key id, and the SHA-256 digests of its keys and certificates and of those above them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceNames(Arc<[Digest]>);

impl ServiceNames {
    pub(crate) fn new(names: impl IntoIterator<Item = Digest>) -> Self {
        let mut names: Vec<Digest> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into())
    }

    /// A log's: its key id, and the digest of its key, which are not the same in the second version of Rekor.
    pub(super) fn of_log(log: &Log) -> Self {
        Self::new(Digest::from_bytes(&log.id).into_iter().chain([Digest::of(log.key.spki())]))
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter()
    }
}

/// What names a signer's certificate, beside the signer's own names.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// SHA-256 of the certificate.
    pub sha256: Digest,
    /// The serial number in hexadecimal digits, without zeros in front.
    pub serial: String,
    /// The issuer's name (RFC 4514).
    pub issuer: String,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the key that it certifies.
    pub key: Digest,
    /// Digests of other encodings that are the same certificate.
    #[serde(skip)]
    pub(super) twins: Vec<Digest>,
    /// What all that issued it is called by, up to the root.
    #[serde(skip)]
    pub(super) authority: ServiceNames,
}

impl CertificateFacts {
    pub(super) fn new(der: &[u8], certificate: &Certificate, key: Digest, authority: ServiceNames) -> Self {
        let inner = &certificate.tbs_certificate;
        Self {
            sha256: Digest::of(der),
            serial: serial(inner.serial_number.as_bytes()),
            issuer: inner.issuer.to_string(),
            key,
            twins: twins(certificate),
            authority,
        }
    }

    /// Every digest by which it may be named: its own, and those of its other encodings.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.sha256).chain(&self.twins)
    }

    /// What all that issued it is called by, up to the root.
    pub fn authority(&self) -> &ServiceNames {
        &self.authority
    }
}

/// A serial number as people write it.
fn serial(bytes: &[u8]) -> String {
    let digits = crate::image::hexadecimal(bytes);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

/// The orders of P-256, P-384 and P-521 (FIPS 186-5), in hexadecimal digits.
const ORDERS: [&str; 3] = [
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
];

/// Digests of the certificate with the other of the two signatures that each ECDSA signature makes: anybody can turn `s` into `n - s`, so
/// that a certificate would otherwise come back under a digest that nobody named. The curve is the issuer's; all that fit are taken.
fn twins(certificate: &Certificate) -> Vec<Digest> {
    const ECDSA_WITH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3");
    if certificate.signature_algorithm.oid.parent() != Some(ECDSA_WITH) {
        return Vec::new();
    }
    ORDERS.iter().filter_map(|order| twin(certificate, order)?.to_der().ok()).map(|der| Digest::of(&der)).collect()
}

fn twin(certificate: &Certificate, order: &str) -> Option<Certificate> {
    // Ecdsa-Sig-Value { r INTEGER, s INTEGER } (RFC 3279, section 2.2.3)
    let signature = Vec::<UintRef<'_>>::from_der(certificate.signature.raw_bytes()).ok()?;
    let [r, s] = signature.as_slice() else { return None };
    let s = subtract(&crate::image::from_hexadecimal(order)?, s.as_bytes())?;
    let other = vec![*r, UintRef::new(&s).ok()?].to_der().ok()?;
    Some(Certificate { signature: BitString::from_bytes(&other).ok()?, ..certificate.clone() })
}

/// The difference of two numbers, the greatest bytes first; none where it would be negative.
fn subtract(from: &[u8], what: &[u8]) -> Option<Vec<u8>> {
    let what = what.iter().rev().copied().chain(std::iter::repeat(0));
    let mut borrow = 0_u8;
    let mut digits = Vec::with_capacity(from.len());
    if what.clone().skip(from.len()).take(from.len()).any(|byte| byte != 0) {
        return None;
    }
    for (left, right) in from.iter().rev().zip(what) {
        let (first, under) = left.overflowing_sub(right);
        let (second, further) = first.overflowing_sub(borrow);
        digits.push(second);
        borrow = u8::from(under || further);
    }
    digits.reverse();
    (borrow == 0).then_some(digits)
}

/// Other encodings of certificates that stand between signer and root, by the encoding that was found.
pub(super) fn digests(der: &[u8], certificate: &Certificate) -> Vec<Digest> {
    std::iter::once(Digest::of(der)).chain(twins(certificate)).collect()
}

/// A log of certificates that promised the signer's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateLogProof {
    /// The log's address in the trust root.
    pub log: String,
    /// What it is called by.
    pub names: ServiceNames,
}

/// What a service does in evidence.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServiceKind {
    /// It logs signatures.
    Log,
    /// It issues certificates.
    CertificateAuthority,
    /// It dates signatures.
    TimestampAuthority,
    /// It logs certificates.
    CertificateLog,
}

/// How much of what a service said counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Word {
    /// All of it.
    Believed,
    /// What it said when the signature was made, and nothing that it says now.
    Formerly,
    /// Nothing.
    Silenced,
}

impl Evidence {
    /// This evidence with only what counts of what its services said. An authority that issued its certificate is not asked about: without
    /// its word there would be no evidence.
    #[must_use]
    pub fn heard(&self, word: impl Fn(ServiceKind, &ServiceNames) -> Word) -> Self {
        let mut heard = self.clone();
        heard.times.retain(|time| word(time.source.service(), &time.names) != Word::Silenced);
        heard.logs.retain_mut(|proof| {
            let word = word(ServiceKind::Log, &proof.names);
            proof.online &= word == Word::Believed;
            word != Word::Silenced
        });
        heard.certificate_logs.retain(|proof| word(ServiceKind::CertificateLog, &proof.names) != Word::Silenced);
        if heard.certificate_logs.is_empty() && heard.certificate_transparency {
            heard.certificate_transparency = false;
            heard.no_certificate_transparency = Some("the log that promised its certificate is distrusted".to_owned());
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn numbers_are_subtracted_as_on_paper() {
        type Difference<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);
        let table: [Difference<'_>; 7] = [
            (&[5], &[3], Some(&[2])),
            (&[1, 0], &[1], Some(&[0, 255])),
            (&[1, 0, 0], &[0, 1], Some(&[0, 255, 255])),
            (&[7, 7], &[7, 7], Some(&[0, 0])),
            (&[3], &[5], None),
            (&[255], &[1, 0], None),
            (&[255], &[0, 1], Some(&[254])),
        ];
        for (from, what, expected) in table {
            assert_eq!(subtract(from, what).as_deref(), expected, "{from:?} {what:?}");
        }
    }

    #[test]
    fn a_certificate_and_its_twin_know_each_other() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
            let certificate = Certificate::from_der(&der).unwrap();
            let order = ORDERS[usize::from(*algorithm == rcgen::PKCS_ECDSA_P384_SHA384)];
            let twin = twin(&certificate, order).unwrap();
            let twin_der = twin.to_der().unwrap();
            assert_ne!(twin_der, der);
            let key = certificate.tbs_certificate.subject_public_key_info.to_der().unwrap();
            let issuer = webpki::anchor_from_trusted_cert(&der.as_slice().into()).unwrap().to_owned();
            assert!(!key.is_empty() && !issuer.subject.is_empty());
            assert!(twins(&certificate).contains(&Digest::of(&twin_der)));
            assert!(twins(&twin).contains(&Digest::of(&der)));
        }
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let der = CertificateParams::default().self_signed(&ed25519).unwrap().der().to_vec();
        assert_eq!(twins(&Certificate::from_der(&der).unwrap()), []);
    }

    #[test]
    fn serial_numbers_are_written_without_zeros_in_front() {
        for (bytes, expected) in [(&[0, 0x0a, 0xff][..], "aff"), (&[0], "0"), (&[], "0"), (&[0x10], "10")] {
            assert_eq!(serial(bytes), expected);
        }
    }
}
