//! Timestamp authorities: whose RFC 3161 tokens give times.
//!
//! A trusted root lists an authority's chain, the lowest certificate first. Where that one is the signer's, tokens must be signed by it
//! and by no other; where it is an authority's, the token brings the signer's certificate. What a signer's certificate must be says
//! <https://datatracker.ietf.org/doc/html/rfc3161#section-2.3>.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use super::authority::signed_by;
use super::{Issuers, Operator, TrustError, Window, validity};

/// The one purpose of a certificate that signs timestamps.
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// A timestamp authority of a trusted root.
#[derive(Clone, Debug)]
pub(crate) struct TimestampAuthority {
    pub(crate) address: String,
    pub(crate) operator: Operator,
    /// When the root believes it.
    pub(crate) window: Window,
    /// The only signer, with the time in which it and all above it are valid; none: any certificate under `issuers`.
    pub(crate) signer: Option<(Certificate, Window)>,
    /// What may issue signers' certificates.
    pub(crate) issuers: Issuers,
}

impl TimestampAuthority {
    pub(super) fn read(
        chain: &[Vec<u8>],
        window: Window,
        address: String,
        operator: Operator,
    ) -> Result<Self, TrustError> {
        let (lowest, above) = chain.split_first().ok_or_else(|| invalid("a timestamp authority has an empty chain"))?;
        let certificate = Certificate::from_der(lowest).map_err(|error| invalid(error.to_string()))?;
        let constraints = certificate.tbs_certificate.get::<BasicConstraints>();
        let constraints = constraints.map_err(|error| invalid(error.to_string()))?;
        let mut issuers = Issuers::default();
        if constraints.is_some_and(|(_, constraints)| constraints.ca) {
            issuers.add(chain, Window::ALWAYS)?;
            return Ok(Self { address, operator, window, signer: None, issuers });
        }
        if !may_sign(&certificate) {
            let subject = &certificate.tbs_certificate.subject;
            return Err(invalid(format!("{subject} is not limited to signing timestamps")));
        }
        let mut valid = validity(&certificate);
        if let Some(next) = above.first() {
            let next = Certificate::from_der(next).map_err(|error| invalid(error.to_string()))?;
            signed_by(&certificate, &next)?;
            issuers.add(above, Window::ALWAYS)?;
            // The highest comes first, the signer's own issuer last.
            valid = issuers.lowest().map_or(valid, |issuer| issuer.valid.and(valid));
        }
        Ok(Self { address, operator, window, signer: Some((certificate, valid)), issuers })
    }
}

/// Whether a certificate is for timestamps and nothing else, and says so in a critical extension.
pub(crate) fn may_sign(certificate: &Certificate) -> bool {
    match certificate.tbs_certificate.get::<ExtendedKeyUsage>() {
        Ok(Some((critical, purposes))) => critical && purposes.0 == [TIME_STAMPING],
        _ => false,
    }
}

fn invalid(reason: impl Into<String>) -> TrustError {
    TrustError::InvalidCertificate { reason: reason.into() }
}
