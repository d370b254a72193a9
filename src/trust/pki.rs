//! An own public key infrastructure: root certificates that a policy brings, trusted for themselves and for nothing else.
//!
//! No system roots, ever; no revocation lists. When a certificate was valid is a question of a verified time, which a trust root's logs
//! and timestamp authorities give.

use sigstore_types::DerCertificate;

use super::{Issuers, TrustError, Window};
use crate::image::Digest;

/// Certificates that one policy may bring.
const LIMIT: usize = 32;

/// Root certificates with the intermediates that signers need not bring.
#[derive(Clone, Debug)]
pub struct CertificateRoots {
    issuers: Issuers,
    digest: Digest,
}

impl CertificateRoots {
    /// Parses root certificates, and intermediates that are trusted for nothing by themselves; both as PEM blocks, one after another.
    ///
    /// # Errors
    /// Text that is no certificates, no root at all, too many, a root that may not issue.
    pub fn parse_pem(roots: &str, intermediates: &str) -> Result<Self, TrustError> {
        let (roots, intermediates) = (certificates(roots)?, certificates(intermediates)?);
        if roots.is_empty() {
            return Err(invalid("no root certificate is given"));
        }
        let mut issuers = Issuers::default();
        let mut canonical = Vec::new();
        for der in &roots {
            issuers.add(std::slice::from_ref(der), Window::ALWAYS)?;
            canonical.extend_from_slice(Digest::of(der).hex().as_bytes());
        }
        canonical.push(b'/');
        for der in intermediates {
            canonical.extend_from_slice(Digest::of(&der).hex().as_bytes());
            issuers.add_intermediate(der);
        }
        Ok(Self { issuers, digest: Digest::of(&canonical) })
    }

    /// Digest of all the certificates: two sets with the same digest verify alike.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn issuers(&self) -> &Issuers {
        &self.issuers
    }
}

/// The certificates of a text that holds PEM blocks of this type and nothing else.
pub(super) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, TrustError> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = text.split_inclusive(END).map(str::trim).filter(|block| !block.is_empty());
    let mut found = Vec::new();
    for block in blocks {
        if found.len() == LIMIT {
            return Err(invalid(format!("more than {LIMIT} certificates are given")));
        }
        if block.matches("-----BEGIN ").count() != 1 {
            return Err(invalid("PEM blocks of the type CERTIFICATE are read, no others"));
        }
        let der = DerCertificate::from_pem(block).map_err(|error| invalid(error.to_string()))?;
        found.push(der.as_bytes().to_vec());
    }
    Ok(found)
}

fn invalid(reason: impl Into<String>) -> TrustError {
    TrustError::InvalidCertificate { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn pem(authority: bool) -> String {
        let mut params = CertificateParams::default();
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        } else {
            params.is_ca = IsCa::ExplicitNoCa;
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn roots_are_authorities_and_at_least_one() {
        let (root, leaf) = (pem(true), pem(false));
        let one = CertificateRoots::parse_pem(&root, "").unwrap();
        let two = CertificateRoots::parse_pem(&format!("{root}\n{}", pem(true)), &root).unwrap();
        assert_ne!(one.digest(), two.digest());
        assert_ne!(one.digest(), CertificateRoots::parse_pem(&root, &root).unwrap().digest());
        let key = KeyPair::generate().unwrap().serialize_pem();
        for bad in ["", "x", leaf.as_str(), &format!("{root}x"), &format!("{key}{root}")] {
            let parsed = CertificateRoots::parse_pem(bad, "");
            assert!(matches!(parsed, Err(TrustError::InvalidCertificate { .. })), "{bad}");
        }
        let many = root.repeat(LIMIT + 1);
        assert!(CertificateRoots::parse_pem(&many, "").is_err());
    }
}
