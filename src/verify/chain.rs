//! The chain from a signer's certificate to what a root or policy trusts, at every verified time.
//!
//! `webpki` builds the path and verifies its signatures (RFC 5280, section 6); its anchors are the issuing certificates themselves,
//! whose own validity, path length and purposes are checked here. There is no default time: without a verified one nothing is valid.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::facts::{self, ServiceNames};
use super::{UnknownService, VerifyError};
use crate::image::Digest;
use crate::trust::{Issuers, Window, validity};

/// What a certificate must be for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Signing code: signers.
    CodeSigning,
    /// Signing timestamps: timestamp authorities.
    TimeStamping,
}

impl Purpose {
    /// The object identifier as text and in DER without its header.
    fn identifier(self) -> (&'static str, &'static [u8]) {
        match self {
            Self::CodeSigning => ("1.3.6.1.5.5.7.3.3", &[0x2b, 6, 1, 5, 5, 7, 3, 3]),
            Self::TimeStamping => ("1.3.6.1.5.5.7.3.8", &[0x2b, 6, 1, 5, 5, 7, 3, 8]),
        }
    }
}

/// Any purpose, which an issuing certificate may name instead.
const ANY_PURPOSE: &str = "2.5.29.37.0";

/// Certificates of one name that a candidate may bring: one authority's, issued anew or by another.
const EQUAL_NAMES: usize = 3;

/// What issued a certificate.
#[derive(Debug)]
pub(super) struct Issued {
    /// The issuer's `SubjectPublicKeyInfo` in DER.
    pub(super) issuer: Vec<u8>,
    /// What all that stands above the certificate is called by.
    pub(super) by: ServiceNames,
}

/// Verifies the chain of a certificate, which has the purpose, at every one of these times, of which there must be one, and says what
/// issued it.
///
/// # Errors
/// No chain, or one that does not hold at one of the times.
pub(super) fn verify(
    leaf: &[u8],
    valid: Window,
    intermediates: &[Vec<u8>],
    issuers: &Issuers,
    times: &[Timestamp],
    purpose: Purpose,
) -> Result<Issued, VerifyError> {
    let first = times.first().ok_or_else(|| refused("no time is verified at which it could be valid"))?;
    if let Some(time) = times.iter().find(|time| !valid.contains(**time)) {
        let at = |bound: Option<Timestamp>| bound.map_or_else(String::new, |bound| bound.to_string());
        return Err(refused(format!(
            "it is valid from {} to {}, and was used at {time}",
            at(valid.from),
            at(valid.until)
        )));
    }
    bound(intermediates)?;
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(|error| refused(error.to_string()))?;
    let own = issuers.intermediates().iter().map(|der| CertificateDer::from(der.as_ref()));
    let between: Vec<CertificateDer<'_>> =
        own.chain(intermediates.iter().map(|der| CertificateDer::from(der.as_slice()))).collect();
    let found = path(&leaf, &between, issuers, *first, purpose)?;
    // One path for all times where it holds at all of them: its signatures are verified once.
    match holds(&found, issuers, times, purpose) {
        Ok(()) => Ok(Issued { issuer: found.issuer_spki().to_vec(), by: ServiceNames::new(names(&found, issuers)) }),
        Err(error) if times.len() == 1 => Err(error),
        // Another path may hold at the other times: each must have one.
        Err(_) => {
            let (mut issuer, mut by) = (Vec::new(), Vec::new());
            for time in times {
                let path = path(&leaf, &between, issuers, *time, purpose)?;
                holds(&path, issuers, &[*time], purpose)?;
                issuer = path.issuer_spki().to_vec();
                by.extend(names(&path, issuers));
            }
            Ok(Issued { issuer, by: ServiceNames::new(by) })
        }
    }
}

/// What the certificates of a path, and those above its anchor, are called by: SHA-256 of each certificate and of its key.
fn names(path: &VerifiedPath<'_>, issuers: &Issuers) -> Vec<Digest> {
    let mut names: Vec<Digest> = issuers.of(path.anchor()).flat_map(|issuer| issuer.names.iter().cloned()).collect();
    for between in path.intermediate_certificates() {
        let der = between.der();
        if let Ok(certificate) = Certificate::from_der(&der) {
            names.extend(facts::digests(&der, &certificate));
            names.extend(certificate.tbs_certificate.subject_public_key_info.to_der().map(|spki| Digest::of(&spki)));
        }
    }
    names
}

/// Refuses certificates of a candidate among which there are paths without number (CVE-2026-32280): each that bears the name of an issuer
/// may be it. The path builder gives up after 200,000 steps, which is long where every candidate makes it take them.
fn bound(intermediates: &[Vec<u8>]) -> Result<(), VerifyError> {
    if intermediates.len() <= EQUAL_NAMES {
        return Ok(());
    }
    let mut names: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for der in intermediates {
        let malformed = |error: x509_cert::der::Error| refused(format!("a certificate above it is malformed: {error}"));
        let certificate = Certificate::from_der(der).map_err(malformed)?;
        let count = names.entry(certificate.tbs_certificate.subject.to_der().map_err(malformed)?).or_default();
        *count += 1;
        if *count > EQUAL_NAMES {
            return Err(refused(format!("more than {EQUAL_NAMES} certificates above it have one name")));
        }
    }
    Ok(())
}

/// Builds a path at a time. A path whose anchor does not hold then is passed over for another.
fn path<'a>(
    leaf: &'a EndEntityCert<'a>,
    intermediates: &'a [CertificateDer<'a>],
    issuers: &'a Issuers,
    time: Timestamp,
    purpose: Purpose,
) -> Result<VerifiedPath<'a>, VerifyError> {
    let seconds = u64::try_from(time.as_second()).map_err(|_| refused(format!("it was used at {time}")))?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let usable =
        |path: &VerifiedPath<'_>| holds(path, issuers, &[time], purpose).map_err(|_| webpki::Error::UnknownIssuer);
    let (_, required) = purpose.identifier();
    leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        issuers.anchors(),
        intermediates,
        at,
        // Absent, it limits nothing (RFC 5280, section 4.2.1.12); that the leaf has it is for the caller to see.
        KeyUsage::required_if_present(required),
        None,
        Some(&usable),
    )
    .map_err(|error| {
        let reason = format!("at {time}: {error}");
        match error {
            webpki::Error::UnknownIssuer => VerifyError::Unknown { kind: UnknownService::CertificateAuthority, reason },
            _ => refused(reason),
        }
    })
}

/// Whether what the path builder takes for granted holds too: the anchor's validity and limits, and at times that it has not seen, the
/// validity of what stands between.
fn holds(path: &VerifiedPath<'_>, issuers: &Issuers, times: &[Timestamp], purpose: Purpose) -> Result<(), VerifyError> {
    let (name, _) = purpose.identifier();
    let length = path.intermediate_certificates().count();
    for certificate in path.intermediate_certificates() {
        let certificate = Certificate::from_der(&certificate.der()).map_err(|error| refused(error.to_string()))?;
        let valid = validity(&certificate);
        if let Some(time) = times.iter().find(|time| !valid.contains(**time)) {
            return Err(refused(format!("a certificate above it is not valid at {time}")));
        }
    }
    let limits = |purposes: &Option<Vec<String>>| {
        purposes.as_ref().is_none_or(|purposes| purposes.iter().any(|found| found == name || found == ANY_PURPOSE))
    };
    let usable = issuers.of(path.anchor()).any(|issuer| {
        times.iter().all(|time| issuer.valid.contains(*time))
            && issuer.path_length.is_none_or(|limit| length <= usize::from(limit))
            && limits(&issuer.purposes)
    });
    if usable { Ok(()) } else { Err(refused("the authority that issued it is not valid for it at the verified times")) }
}

fn refused(reason: impl Into<String>) -> VerifyError {
    VerifyError::Certificate { reason: reason.into() }
}
