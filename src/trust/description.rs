//! What is in a trust root, for people and for revocations: services with the names that a `SignatureRevocation` knows them by, and when
//! they are believed.

use jiff::Timestamp;
use rustls_pki_types::TrustAnchor;
use serde::Serialize;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, Encode as _, Tag};
use x509_cert::name::Name;

use super::{Issuers, Log, Operator, TimestampAuthority, TrustMaterial, Window};
use crate::image::{Digest, hexadecimal};

/// What is in a trust root.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The root's name.
    pub name: String,
    /// Digest of its canonical form.
    pub digest: Digest,
    /// Certificates that may issue those of signers.
    pub certificate_authorities: Vec<DescribedAuthority>,
    /// Logs of entries.
    pub logs: Vec<DescribedLog>,
    /// Logs of certificates.
    pub certificate_logs: Vec<DescribedLog>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<DescribedTimestamps>,
    /// What it names and this version cannot use, with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<String>,
}

/// A certificate that may issue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedAuthority {
    /// Its subject.
    pub subject: String,
    /// SHA-256 of the certificate.
    pub sha256: Option<Digest>,
    /// When it, and all above it, are believed.
    #[serde(flatten)]
    pub believed: Believed,
}

/// A log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedLog {
    /// Its address.
    pub address: String,
    /// Its key id, in hexadecimal digits.
    pub key_id: String,
    /// Who runs it.
    pub operator: Operator,
    /// When it is believed.
    #[serde(flatten)]
    pub believed: Believed,
}

/// A timestamp authority.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedTimestamps {
    /// Its address.
    pub address: String,
    /// SHA-256 of its signer's certificate; none: any certificate that it issued for timestamps.
    pub sha256: Option<Digest>,
    /// Who runs it.
    pub operator: Operator,
    /// When it is believed.
    #[serde(flatten)]
    pub believed: Believed,
}

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Believed {
    /// The first moment; none: always was.
    pub from: Option<Timestamp>,
    /// The last moment; none: no end is set.
    pub until: Option<Timestamp>,
}

impl From<Window> for Believed {
    fn from(Window { from, until }: Window) -> Self {
        Self { from, until }
    }
}

impl TrustMaterial {
    /// What is in it.
    pub fn describe(&self) -> Description {
        let logs = |logs: &[Log]| logs.iter().map(DescribedLog::from).collect();
        Description {
            name: self.name().to_owned(),
            digest: self.digest().clone(),
            certificate_authorities: authorities(self.issuers()),
            logs: logs(self.logs()),
            certificate_logs: logs(self.certificate_logs()),
            timestamp_authorities: self.timestamp_authorities().iter().map(DescribedTimestamps::from).collect(),
            unusable: self.unusable().to_vec(),
        }
    }
}

impl From<&Log> for DescribedLog {
    fn from(log: &Log) -> Self {
        let (address, operator) = (log.address.clone(), log.operator.clone());
        Self { address, key_id: hexadecimal(&log.id), operator, believed: log.window.into() }
    }
}

impl From<&TimestampAuthority> for DescribedTimestamps {
    fn from(authority: &TimestampAuthority) -> Self {
        let signer = authority.signer.as_ref();
        let certificate = signer.and_then(|(certificate, _)| certificate.to_der().ok());
        // The root believes the authority, and its certificate must be valid too.
        let believed = signer.map_or(authority.window, |(_, valid)| authority.window.and(*valid)).into();
        let (address, operator) = (authority.address.clone(), authority.operator.clone());
        Self { address, sha256: certificate.as_deref().map(Digest::of), operator, believed }
    }
}

fn authorities(issuers: &Issuers) -> Vec<DescribedAuthority> {
    let mut found: Vec<DescribedAuthority> = Vec::new();
    for anchor in issuers.anchors() {
        for issuer in issuers.of(anchor) {
            let sha256 = issuer.names.first().cloned();
            if !found.iter().any(|known| known.sha256 == sha256) {
                found.push(DescribedAuthority { subject: subject(anchor), sha256, believed: issuer.valid.into() });
            }
        }
    }
    found
}

fn subject(anchor: &TrustAnchor<'_>) -> String {
    // An anchor holds a name without its header.
    let name = AnyRef::new(Tag::Sequence, anchor.subject.as_ref()).and_then(|name| name.to_der());
    let name = name.and_then(|der| Name::from_der(&der));
    name.map_or_else(|_| "(no readable name)".to_owned(), |name| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{GITHUB, PUBLIC_GOOD};

    #[test]
    fn names_what_is_there() {
        let good = TrustMaterial::embedded(PUBLIC_GOOD).unwrap().describe();
        let rekor = good.logs.iter().find(|log| log.address == "https://rekor.sigstore.dev").unwrap();
        assert_eq!(rekor.key_id, "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d");
        assert!(good.certificate_authorities.iter().any(|authority| authority.subject == "CN=sigstore,O=sigstore.dev"));
        let digests: std::collections::BTreeSet<_> =
            good.certificate_authorities.iter().map(|authority| authority.sha256.clone()).collect();
        assert_eq!(digests.len(), good.certificate_authorities.len());
        assert!(!good.certificate_logs.is_empty());
        let github = TrustMaterial::embedded(GITHUB).unwrap().describe();
        assert!(github.logs.is_empty() && github.certificate_logs.is_empty());
        assert!(github.timestamp_authorities.iter().all(|authority| authority.sha256.is_some()));
    }
}
