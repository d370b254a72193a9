//! Certificate authorities: the certificates that may issue, each with the time in which all that stands above it is valid too.
//!
//! A trusted root lists whole chains. Their signatures are verified once, when the root is read; what is left for each candidate is the
//! leaf. The validity of an issuing certificate is not left to the path builder, which takes the time of an anchor for granted
//! (<https://datatracker.ietf.org/doc/html/rfc5280#section-6.1>).

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use sigstore_types::TimeRange;
use webpki::ALL_VERIFICATION_ALGS;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use super::TrustError;
use crate::image::Digest;

/// Certificates that the chain of one authority may have.
const CHAIN_LIMIT: usize = 8;

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Window {
    /// The first moment; none: always was.
    pub(crate) from: Option<Timestamp>,
    /// The last moment; none: always will be.
    pub(crate) until: Option<Timestamp>,
}

impl Window {
    /// All of time.
    pub(crate) const ALWAYS: Self = Self { from: None, until: None };

    /// The window that a trusted root gives.
    ///
    /// # Errors
    /// A window that ends before it starts, which would never hold.
    pub(super) fn of(range: Option<&TimeRange>) -> Result<Self, String> {
        let window = range.map_or(Self::ALWAYS, |range| Self { from: Some(range.start), until: range.end });
        match (window.from, window.until) {
            (Some(from), Some(until)) if until < from => {
                Err(format!("a window ends at {until}, before it starts at {from}"))
            }
            _ => Ok(window),
        }
    }

    /// Whether a moment lies within.
    pub(crate) fn contains(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time <= until)
    }

    /// What lies in both.
    pub(super) fn and(self, other: Self) -> Self {
        let later = |left: Option<Timestamp>, right: Option<Timestamp>| left.max(right);
        let earlier = |left: Option<Timestamp>, right: Option<Timestamp>| match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
        Self { from: later(self.from, other.from), until: earlier(self.until, other.until) }
    }
}

/// A certificate that may issue.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) anchor: TrustAnchor<'static>,
    /// When it, all above it, and the authority itself are valid.
    pub(crate) valid: Window,
    /// Certificates that may stand between it and the leaf; none: any number.
    pub(crate) path_length: Option<u8>,
    /// The purposes to which it is limited, by object identifier; none: any.
    pub(crate) purposes: Option<Vec<String>>,
    /// SHA-256 of its certificate and of its key, and of all above it: what it is called by.
    pub(crate) names: Vec<Digest>,
}

/// What may issue certificates of one kind under one root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issuers {
    all: Vec<Issuer>,
    anchors: Vec<TrustAnchor<'static>>,
    /// Certificates that a candidate need not bring.
    intermediates: Vec<CertificateDer<'static>>,
}

impl Issuers {
    /// The anchors, for the path builder.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Certificates that may stand between anchor and leaf.
    pub(crate) fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// What all of them are called by.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Digest> {
        self.all.iter().flat_map(|issuer| &issuer.names)
    }

    /// The issuers behind an anchor: several where one key has several certificates or windows.
    pub(crate) fn of<'a>(&'a self, anchor: &'a TrustAnchor<'_>) -> impl Iterator<Item = &'a Issuer> {
        self.all.iter().filter(move |issuer| {
            issuer.anchor.subject == anchor.subject
                && issuer.anchor.subject_public_key_info == anchor.subject_public_key_info
                && issuer.anchor.name_constraints == anchor.name_constraints
        })
    }

    /// Adds the issuing certificates of a chain, the lowest first: each may issue within the window.
    ///
    /// # Errors
    /// A chain that is no chain.
    pub(super) fn add(&mut self, chain: &[Vec<u8>], window: Window) -> Result<(), TrustError> {
        for issuer in issuers(chain, window)? {
            self.anchors.push(issuer.anchor.clone());
            self.all.push(issuer);
        }
        Ok(())
    }

    /// Adds a certificate that may stand between anchor and leaf, and is trusted for nothing.
    pub(super) fn add_intermediate(&mut self, der: Vec<u8>) {
        self.intermediates.push(der.into());
    }

    /// The issuer that was added last: of a chain, the lowest.
    pub(super) fn lowest(&self) -> Option<&Issuer> {
        self.all.last()
    }
}

/// The issuers of a chain, the highest first: each is signed by the one above it, and valid no longer than that.
fn issuers(chain: &[Vec<u8>], window: Window) -> Result<Vec<Issuer>, TrustError> {
    if chain.is_empty() || chain.len() > CHAIN_LIMIT {
        return Err(invalid(format!("a chain has {} certificates, 1 to {CHAIN_LIMIT} are read", chain.len())));
    }
    let mut found: Vec<Issuer> = Vec::new();
    let mut above: Option<Certificate> = None;
    for der in chain.iter().rev() {
        let certificate = Certificate::from_der(der).map_err(|error| invalid(error.to_string()))?;
        if let Some(above) = &above {
            signed_by(&certificate, above)?;
        }
        let outer = found.last().map_or(window, |issuer| issuer.valid);
        let mut issuer = issuer(der, &certificate, outer)?;
        issuer.names.extend(found.last().into_iter().flat_map(|above| above.names.iter().cloned()));
        found.push(issuer);
        above = Some(certificate);
    }
    Ok(found)
}

fn issuer(der: &[u8], certificate: &Certificate, outer: Window) -> Result<Issuer, TrustError> {
    let malformed = |error: x509_cert::der::Error| invalid(error.to_string());
    let constraints = certificate.tbs_certificate.get::<BasicConstraints>().map_err(malformed)?;
    let purposes = certificate.tbs_certificate.get::<ExtendedKeyUsage>().map_err(malformed)?;
    let constraints = constraints.map(|(_, constraints)| constraints);
    if !constraints.as_ref().is_some_and(|constraints| constraints.ca) {
        return Err(invalid(format!("{} is no certificate authority", certificate.tbs_certificate.subject)));
    }
    let certificate_der = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&certificate_der).map_err(|error| invalid(error.to_string()))?;
    Ok(Issuer {
        anchor: anchor.to_owned(),
        valid: validity(certificate).and(outer),
        path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
        purposes: purposes.map(|(_, purposes)| purposes.0.iter().map(ToString::to_string).collect()),
        names: vec![
            Digest::of(der),
            Digest::of(&certificate.tbs_certificate.subject_public_key_info.to_der().map_err(malformed)?),
        ],
    })
}

/// When a certificate is valid. A time after the last that can be represented is the end of time: 99991231235959Z means that there is no
/// end (RFC 5280, section 4.1.2.5).
pub(crate) fn validity(certificate: &Certificate) -> Window {
    let validity = &certificate.tbs_certificate.validity;
    let time = |time: x509_cert::time::Time| Timestamp::try_from(time.to_system_time()).unwrap_or(Timestamp::MAX);
    Window { from: Some(time(validity.not_before)), until: Some(time(validity.not_after)) }
}

/// Whether a certificate of a trusted root is signed by the one above it.
pub(super) fn signed_by(certificate: &Certificate, issuer: &Certificate) -> Result<(), TrustError> {
    let subject = &certificate.tbs_certificate.subject;
    if certificate.tbs_certificate.issuer != issuer.tbs_certificate.subject {
        return Err(invalid(format!("{subject} is not issued by the certificate above it in its chain")));
    }
    let malformed = |error: x509_cert::der::Error| invalid(error.to_string());
    let message = certificate.tbs_certificate.to_der().map_err(malformed)?;
    let inner =
        |der: Vec<u8>| x509_cert::der::AnyRef::from_der(&der).map(|any| any.value().to_vec()).map_err(malformed);
    let signature_algorithm = inner(certificate.signature_algorithm.to_der().map_err(malformed)?)?;
    let key = &issuer.tbs_certificate.subject_public_key_info;
    let key_algorithm = inner(key.algorithm.to_der().map_err(malformed)?)?;
    let signed = ALL_VERIFICATION_ALGS
        .iter()
        .filter(|algorithm| {
            algorithm.signature_alg_id().as_ref() == signature_algorithm
                && algorithm.public_key_alg_id().as_ref() == key_algorithm
        })
        .any(|algorithm| {
            let (key, signature) = (key.subject_public_key.raw_bytes(), certificate.signature.raw_bytes());
            algorithm.verify_signature(key, &message, signature).is_ok()
        });
    if signed {
        Ok(())
    } else {
        Err(invalid(format!("{subject} is not signed by the certificate above it in its chain")))
    }
}

fn invalid(reason: impl Into<String>) -> TrustError {
    TrustError::InvalidCertificate { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn authority(path_length: Option<u8>) -> CertificateParams {
        let mut params = CertificateParams::default();
        let constraint = path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
        params.is_ca = IsCa::Ca(constraint);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{path_length:?}"));
        params
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_include_both_ends() {
        let window = Window { from: Some(at("2026-01-01T00:00:00Z")), until: Some(at("2026-02-01T00:00:00Z")) };
        for (time, inside) in [
            ("2025-12-31T23:59:59.999999999Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2026-02-01T00:00:00Z", true),
            ("2026-02-01T00:00:00.000000001Z", false),
        ] {
            assert_eq!(window.contains(at(time)), inside, "{time}");
        }
        assert!(Window::ALWAYS.contains(Timestamp::MIN) && Window::ALWAYS.contains(Timestamp::MAX));
        assert_eq!(window.and(Window::ALWAYS), window);
        let inverted = TimeRange::new(at("2026-02-01T00:00:00Z"), Some(at("2026-01-01T00:00:00Z")));
        assert!(Window::of(Some(&inverted)).is_err());
    }

    #[test]
    fn an_issuer_is_valid_no_longer_than_what_stands_above_it() {
        let mut root = authority(Some(3));
        (root.not_before, root.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 6, 1));
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let mut below = authority(Some(1));
        (below.not_before, below.not_after) = (rcgen::date_time_ymd(2026, 3, 1), rcgen::date_time_ymd(2030, 1, 1));
        let key = KeyPair::generate().unwrap();
        let below = below.signed_by(&key, &root).unwrap();
        let chain = [below.der().to_vec(), root.der().to_vec()];
        let found = issuers(&chain, Window::ALWAYS).unwrap();
        let spans: Vec<_> = found.iter().map(|issuer| (issuer.valid, issuer.path_length)).collect();
        let span = |from, until| Window { from: Some(at(from)), until: Some(at(until)) };
        assert_eq!(
            spans,
            [
                (span("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"), Some(3)),
                (span("2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"), Some(1)),
            ]
        );
        // The wrong way round, from another root, and a leaf as an authority.
        let swapped = [root.der().to_vec(), below.der().to_vec()];
        let other = CertifiedIssuer::self_signed(authority(Some(3)), KeyPair::generate().unwrap()).unwrap();
        let borrowed = [below.der().to_vec(), other.der().to_vec()];
        let leaf = CertificateParams::default().signed_by(&key, &root).unwrap();
        for chain in [&swapped[..], &borrowed, &[leaf.der().to_vec(), root.der().to_vec()], &[], &[b"x".to_vec()]] {
            assert!(matches!(issuers(chain, Window::ALWAYS), Err(TrustError::InvalidCertificate { .. })));
        }
    }
}
