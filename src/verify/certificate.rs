//! The signer's certificate, read: names, claims, key, validity. Whether to believe it is `chain`'s.
//!
//! Claims are Fulcio's extensions (<https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>): what the issuer of the token said about
//! the signer, by the names of that table. A certificate of an own authority may carry them too.

use std::collections::{BTreeMap, BTreeSet};

use x509_cert::Certificate;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::{Subject, VerifyError, names};
use crate::trust::{PublicKey, Window, validity};

/// The arc of Fulcio's extensions.
const FULCIO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
/// The claims by the last number of their object identifiers. The issuer stands under two of them, the user name in a name.
const CLAIMS: [(u32, &str); 22] = [
    (2, "githubWorkflowTrigger"),
    (3, "githubWorkflowSHA"),
    (4, "githubWorkflowName"),
    (5, "githubWorkflowRepository"),
    (6, "githubWorkflowRef"),
    (8, ISSUER),
    (9, "buildSignerURI"),
    (10, "buildSignerDigest"),
    (11, "runnerEnvironment"),
    (12, "sourceRepositoryURI"),
    (13, "sourceRepositoryDigest"),
    (14, "sourceRepositoryRef"),
    (15, "sourceRepositoryIdentifier"),
    (16, "sourceRepositoryOwnerURI"),
    (17, "sourceRepositoryOwnerIdentifier"),
    (18, "buildConfigURI"),
    (19, "buildConfigDigest"),
    (20, "buildTrigger"),
    (21, "runInvocationURI"),
    (22, "sourceRepositoryVisibilityAtSigning"),
    (23, "deploymentEnvironment"),
    (24, "tokenSubject"),
];
/// The claim that names who vouched for the signer.
const ISSUER: &str = "issuer";
/// The issuer where the older extension alone gives it.
const OLD_ISSUER: u32 = 1;
/// Up to here the extensions hold bare text, above it a `UTF8String`.
const LAST_BARE: u32 = 6;

/// The claims that a certificate can make, by name: what a policy may ask for.
pub fn claim_names() -> impl Iterator<Item = &'static str> {
    CLAIMS.iter().map(|(_, name)| *name)
}

/// A signer's certificate.
#[derive(Debug)]
pub(super) struct SigningCertificate {
    pub(super) certificate: Certificate,
    pub(super) key: PublicKey,
    pub(super) valid: Window,
    pub(super) subjects: Vec<Subject>,
    pub(super) claims: BTreeMap<&'static str, String>,
}

impl SigningCertificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// Bytes that are no certificate, a key that is not verified, an extension that stands there twice, a malformed issuer.
    pub(super) fn read(der: &[u8]) -> Result<Self, VerifyError> {
        let certificate = Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
        let inner = &certificate.tbs_certificate;
        let mut seen = BTreeSet::new();
        if !inner.extensions.iter().flatten().all(|extension| seen.insert(extension.extn_id)) {
            return Err(malformed("one of its extensions is there twice"));
        }
        let spki = inner.subject_public_key_info.to_der().map_err(|error| malformed(error.to_string()))?;
        let key = PublicKey::from_spki(&spki).map_err(|error| malformed(error.to_string()))?;
        let valid = validity(&certificate);
        let (subjects, claims) = (names::subjects(&certificate)?, claims(&certificate)?);
        Ok(Self { certificate, key, valid, subjects, claims })
    }

    /// Whether it says that it is for signing code.
    pub(super) fn signs_code(&self) -> bool {
        const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
        let purposes = self.certificate.tbs_certificate.get::<ExtendedKeyUsage>();
        matches!(purposes, Ok(Some((_, purposes))) if purposes.0.contains(&CODE_SIGNING))
    }

    /// Who vouched for the signer.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get(ISSUER).map(String::as_str)
    }
}

fn claims(certificate: &Certificate) -> Result<BTreeMap<&'static str, String>, VerifyError> {
    let mut claims = BTreeMap::new();
    let mut old_issuer = None;
    for extension in certificate.tbs_certificate.extensions.iter().flatten() {
        let Some(number) = number(&extension.extn_id) else { continue };
        let bytes = extension.extn_value.as_bytes();
        let bare = || std::str::from_utf8(bytes).ok().map(str::to_owned);
        let wrapped = || Utf8StringRef::from_der(bytes).ok().map(|text| text.to_string());
        if number == OLD_ISSUER {
            old_issuer = wrapped().or_else(bare);
            continue;
        }
        let Some((_, name)) = CLAIMS.iter().find(|(known, _)| *known == number) else { continue };
        match if number <= LAST_BARE { bare() } else { wrapped() } {
            Some(value) => {
                claims.insert(*name, value);
            }
            None if *name == ISSUER => return Err(malformed("its issuer extension is malformed")),
            // What cannot be read is not there: a policy that asks for it fails.
            None => {}
        }
    }
    if let Some(issuer) = old_issuer {
        claims.entry(ISSUER).or_insert(issuer);
    }
    Ok(claims)
}

/// The last number of an extension of Fulcio's.
fn number(identifier: &ObjectIdentifier) -> Option<u32> {
    (identifier.parent()? == FULCIO).then(|| identifier.arcs().last()).flatten()
}

fn malformed(reason: impl Into<String>) -> VerifyError {
    VerifyError::Certificate { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn der(extensions: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        for (number, value) in extensions {
            let identifier = [1, 3, 6, 1, 4, 1, 57264, 1, *number];
            params.custom_extensions.push(CustomExtension::from_oid_content(&identifier, value.clone()));
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn utf8(text: &str) -> Vec<u8> {
        Utf8StringRef::new(text).unwrap().to_der().unwrap()
    }

    #[test]
    fn every_claim_is_read_by_its_name() {
        let value = |number: u32| format!("value of {number}");
        let encoded = |number: u32| if number <= 6 { value(number).into_bytes() } else { utf8(&value(number)) };
        let extensions: Vec<_> = CLAIMS.iter().map(|(number, _)| (u64::from(*number), encoded(*number))).collect();
        let read = SigningCertificate::read(&der(&extensions)).unwrap();
        assert_eq!(read.claims.len(), 22);
        for (number, name) in CLAIMS {
            assert_eq!(read.claims[name], value(number), "{name}");
        }
        assert_eq!(read.issuer(), Some("value of 8"));
    }

    #[test]
    fn the_newer_issuer_counts_and_a_broken_one_is_not_passed_over() {
        let read = |extensions: &[(u64, Vec<u8>)]| {
            SigningCertificate::read(&der(extensions)).map(|read| read.issuer().map(str::to_owned))
        };
        let old = || (1, b"https://old.example".to_vec());
        assert_eq!(read(&[old()]).unwrap().as_deref(), Some("https://old.example"));
        assert_eq!(read(&[old(), (8, utf8("https://new.example"))]).unwrap().as_deref(), Some("https://new.example"));
        assert_eq!(read(&[]).unwrap(), None);
        assert!(matches!(read(&[old(), (8, b"https://bare.example".to_vec())]), Err(VerifyError::Certificate { .. })));
        assert!(matches!(read(&[old(), old()]), Err(VerifyError::Certificate { .. })));
        assert!(SigningCertificate::read(b"no certificate").is_err());
    }

    #[test]
    fn a_malformed_claim_is_absent() {
        let read = SigningCertificate::read(&der(&[(11, b"github-hosted".to_vec()), (12, utf8("x"))])).unwrap();
        assert_eq!(read.claims.into_iter().collect::<Vec<_>>(), [("sourceRepositoryURI", "x".to_owned())]);
    }
}
