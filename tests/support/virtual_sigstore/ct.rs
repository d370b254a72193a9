//! A certificate transparency log: signed certificate timestamps over precertificates (RFC 6962, section 3.2), embedded in
//! certificates (section 3.3). It keeps no tree; nobody asks it for proofs.

use jiff::Timestamp;

use super::Window;
use super::certificate::{CertificateParts, Certified, Extension};
use super::der;
use super::key::{Algorithm, Hash, Key, Scheme};
use super::text::sha256;

pub(crate) const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

/// A log, as the trust root has it.
#[derive(Clone, Debug)]
pub(crate) struct CtLog {
    pub(crate) key: Key,
    pub(crate) base_url: String,
    pub(crate) operator: String,
    pub(crate) valid_for: Window,
}

/// A signed certificate timestamp before it is signed. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct SctParts {
    /// 0 is version 1.
    pub(crate) version: u8,
    pub(crate) log_id: Vec<u8>,
    pub(crate) timestamp: Timestamp,
    pub(crate) extensions: Vec<u8>,
    /// SHA-256 of the issuer's `SubjectPublicKeyInfo`.
    pub(crate) issuer_key_hash: Vec<u8>,
    /// The `TBSCertificate` without the list of timestamps.
    pub(crate) precertificate: Vec<u8>,
    pub(crate) signer: Key,
    pub(crate) scheme: Scheme,
}

impl CtLog {
    pub(crate) fn new(algorithm: Algorithm, base_url: &str, operator: &str) -> Self {
        let (base_url, operator) = (base_url.to_owned(), operator.to_owned());
        Self { key: Key::generate(algorithm), base_url, operator, valid_for: Window::default() }
    }

    /// The promise to log a certificate that `issuer` is about to sign.
    pub(crate) fn sct(&self, parts: &CertificateParts, issuer: &Certified, at: Timestamp) -> SctParts {
        let scheme = parts.scheme.unwrap_or_else(|| issuer.key.scheme());
        SctParts {
            version: 0,
            log_id: self.key.id(),
            timestamp: at,
            extensions: Vec::new(),
            issuer_key_hash: issuer.key.id(),
            precertificate: parts.to_be_signed(scheme),
            signer: self.key.clone(),
            scheme: self.key.scheme(),
        }
    }
}

impl SctParts {
    /// The same promise, given by another log.
    pub(crate) fn by(mut self, log: &CtLog) -> Self {
        self.log_id = log.key.id();
        self.signer = log.key.clone();
        self.scheme = log.key.scheme();
        self
    }

    /// As if it were about another certificate.
    pub(crate) fn over_another_certificate(&mut self) {
        self.precertificate = sha256(&self.precertificate);
    }

    fn milliseconds(&self) -> Vec<u8> {
        u64::try_from(self.timestamp.as_millisecond()).unwrap().to_be_bytes().to_vec()
    }

    /// The `digitally-signed` struct of a precertificate.
    fn signed(&self) -> Vec<u8> {
        [
            vec![self.version, 0],
            self.milliseconds(),
            vec![0, 1],
            self.issuer_key_hash.clone(),
            prefixed(3, &self.precertificate),
            prefixed(2, &self.extensions),
        ]
        .concat()
    }

    /// The `SignedCertificateTimestamp`.
    pub(crate) fn sign(&self) -> Vec<u8> {
        let hash = match self.scheme.hash() {
            Some(Hash::Sha256) => 4,
            Some(Hash::Sha384) => 5,
            Some(Hash::Sha512) => 6,
            None => 8,
        };
        let kind = match self.scheme {
            Scheme::RsaPkcs1(_) | Scheme::RsaPss(_) => 1,
            Scheme::Ecdsa(_) => 3,
            Scheme::Ed25519 => 7,
        };
        let signature = self.signer.sign_with(self.scheme, &self.signed());
        [
            vec![self.version],
            self.log_id.clone(),
            self.milliseconds(),
            prefixed(2, &self.extensions),
            vec![hash, kind],
            prefixed(2, &signature),
        ]
        .concat()
    }
}

/// The extension that embeds timestamps in a certificate.
pub(crate) fn embed(timestamps: &[SctParts]) -> Extension {
    let list: Vec<u8> = timestamps.iter().flat_map(|timestamp| prefixed(2, &timestamp.sign())).collect();
    Extension::new(SCT_LIST, false, der::octets(&prefixed(2, &list)))
}

/// A TLS vector with a length of `width` bytes.
fn prefixed(width: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - width..], content].concat()
}
