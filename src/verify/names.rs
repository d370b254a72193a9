//! The names in a certificate: every subject alternative name by which a signer may be known.
//!
//! Reads e-mail addresses, URIs and Fulcio's `otherName` (RFC 5280, section 4.2.1.6;
//! <https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>). Names of other kinds, such as DNS names, name no signer and are
//! passed over. Whether the certificate is to be believed is `chain`'s.

use x509_cert::Certificate;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Subject, VerifyError};

/// The type of the `otherName` in which Fulcio puts user names.
const FULCIO_USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
/// Names that one certificate may have; Fulcio gives one.
const NAME_LIMIT: usize = 16;

/// The names of a certificate, in its order. None at all is no error here: such a signer matches no policy.
pub(super) fn subjects(certificate: &Certificate) -> Result<Vec<Subject>, VerifyError> {
    let malformed = |error: x509_cert::der::Error| VerifyError::Certificate { reason: error.to_string() };
    let found: Option<(bool, SubjectAltName)> = certificate.tbs_certificate.get().map_err(malformed)?;
    let names = found.map(|(_, names)| names.0).unwrap_or_default();
    if names.len() > NAME_LIMIT {
        let reason = format!("it has {} names, at most {NAME_LIMIT} are read", names.len());
        return Err(VerifyError::Certificate { reason });
    }
    let mut subjects = Vec::new();
    for name in names {
        match name {
            GeneralName::Rfc822Name(email) => subjects.push(Subject::Email(email.to_string())),
            GeneralName::UniformResourceIdentifier(uri) => subjects.push(Subject::Uri(uri.to_string())),
            GeneralName::OtherName(other) if other.type_id == FULCIO_USER_NAME => {
                let value = other.value.to_der().map_err(malformed)?;
                let name = Utf8StringRef::from_der(&value).map_err(malformed)?;
                subjects.push(Subject::OtherName(name.to_string()));
            }
            _ => {}
        }
    }
    Ok(subjects)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, OtherNameValue, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        Certificate::from_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    fn other(oid: &[u64], text: &str) -> SanType {
        SanType::OtherName((oid.to_vec(), OtherNameValue::Utf8String(text.to_owned())))
    }

    #[test]
    fn every_name_of_a_signer_is_read_in_order() {
        let uri = || SanType::URI("spiffe://acme.example/release".try_into().unwrap());
        let email = || SanType::Rfc822Name("alice@example.com".try_into().unwrap());
        let user = || other(&[1, 3, 6, 1, 4, 1, 57264, 1, 7], "alice!oidc.example");
        let dns = || SanType::DnsName("example.com".try_into().unwrap());
        let all = [
            Subject::Uri("spiffe://acme.example/release".into()),
            Subject::Email("alice@example.com".into()),
            Subject::OtherName("alice!oidc.example".into()),
        ];
        assert_eq!(subjects(&certificate(vec![uri(), dns(), email(), user()])).unwrap(), all);
        assert_eq!(
            subjects(&certificate(vec![other(&[1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "alice!oidc.example"), dns()]))
                .unwrap(),
            []
        );
        assert_eq!(subjects(&certificate(vec![])).unwrap(), []);
    }

    #[test]
    fn a_certificate_with_endless_names_is_refused() {
        let names = |count: usize| vec![SanType::Rfc822Name("a@example.com".try_into().unwrap()); count];
        assert_eq!(subjects(&certificate(names(NAME_LIMIT))).unwrap().len(), NAME_LIMIT);
        assert!(matches!(subjects(&certificate(names(NAME_LIMIT + 1))), Err(VerifyError::Certificate { .. })));
    }
}
