//! A timestamp authority (RFC 3161): its certificates, and tokens whose every part can be replaced before they are signed.
//!
//! How a token is written is `cms`'s. Signatures are over signed attributes with a `SigningCertificateV2` (RFC 5816).

use jiff::Timestamp;

use super::Window;
use super::certificate::{
    CERTIFICATE_SIGN, CRL_SIGN, CertificateParts, Certified, DIGITAL_SIGNATURE, Extension, Name, TIME_STAMPING,
};
use super::cms::{SignatureAlgorithm, SignedAttributes, SignerId, TST_INFO, TokenParts};
use super::key::{Algorithm, Hash, Key};
use super::text::random;

/// How an authority is made.
#[derive(Clone, Debug)]
pub(crate) struct TimestampOptions {
    /// Of the key that signs timestamps. The authority's root is always P-384.
    pub(crate) algorithm: Algorithm,
    /// Certify the signer through an intermediate.
    pub(crate) intermediate: bool,
    /// The validity of all its certificates.
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// The signer's extended key usage, and whether it is critical, as RFC 3161 demands.
    pub(crate) usages: Vec<&'static str>,
    pub(crate) critical_usage: bool,
    /// The window in the trust root.
    pub(crate) valid_for: Window,
    pub(crate) organization: String,
    pub(crate) uri: String,
}

impl Default for TimestampOptions {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::P256,
            intermediate: false,
            not_before: "2021-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2035-01-01T00:00:00Z".parse().unwrap(),
            usages: vec![TIME_STAMPING],
            critical_usage: true,
            valid_for: Window::default(),
            organization: "timestamp.example".to_owned(),
            uri: "https://timestamp.example/api/v1/timestamp".to_owned(),
        }
    }
}

/// An authority, as the trust root has it.
#[derive(Clone, Debug)]
pub(crate) struct TimestampAuthority {
    /// From the root to the one above the signer.
    pub(crate) authorities: Vec<Certified>,
    pub(crate) signer: Certified,
    pub(crate) valid_for: Window,
    pub(crate) organization: String,
    pub(crate) uri: String,
}

impl TimestampAuthority {
    pub(crate) fn new(options: TimestampOptions) -> Self {
        Self::with(options, |_, _| ())
    }

    /// An authority whose certificates are changed before they are signed; number 0 is the root's, the last the signer's.
    pub(crate) fn with(options: TimestampOptions, edit: impl Fn(usize, &mut CertificateParts)) -> Self {
        let valid = (options.not_before, options.not_after);
        let parts =
            |name: &str, key: &Key| CertificateParts::new(Name::new(&options.organization, name), key.spki(), valid);
        let authority = |name: &str, path_length: u8| {
            let key = Key::generate(Algorithm::P384);
            let mut parts = parts(name, &key);
            parts.set(Extension::key_usage(CERTIFICATE_SIGN | CRL_SIGN));
            parts.set(Extension::basic_constraints(true, Some(path_length)));
            (parts, key)
        };
        let (root, key) = authority("tsa-root", 1);
        let mut authorities = vec![Certified::self_signed(root, &key, |parts| edit(0, parts))];
        if options.intermediate {
            let (mut parts, key) = authority("tsa-intermediate", 0);
            parts.set(Extension::extended_key_usage(false, &[TIME_STAMPING]));
            let intermediate = authorities[0].issue(parts, &key, |parts| edit(1, parts));
            authorities.push(intermediate);
        }
        let key = Key::generate(options.algorithm);
        let mut parts = parts("tsa", &key);
        parts.set(Extension::key_usage(DIGITAL_SIGNATURE));
        if !options.usages.is_empty() {
            parts.set(Extension::extended_key_usage(options.critical_usage, &options.usages));
        }
        let number = authorities.len();
        let signer = authorities[number - 1].issue(parts, &key, |parts| edit(number, parts));
        let TimestampOptions { valid_for, organization, uri, .. } = options;
        Self { authorities, signer, valid_for, organization, uri }
    }

    /// The certificates, from the signer's to the root.
    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        let certificates = [&self.signer].into_iter().chain(self.authorities.iter().rev());
        certificates.map(|certified| certified.certificate.clone()).collect()
    }

    /// A sound token over a signature, not signed yet.
    pub(crate) fn token(&self, signature: &[u8], at: Timestamp) -> TokenParts {
        let hash = self.signer.key.scheme().hash().unwrap_or(Hash::Sha256);
        TokenParts {
            status: 0,
            response: true,
            version: 1,
            policy: "1.3.6.1.4.1.57264.2".to_owned(),
            timestamped: signature.to_vec(),
            imprint_hash: Hash::Sha256,
            imprint: None,
            serial: random(16),
            time: at,
            fraction_digits: 0,
            accuracy: Some((1, 0, 0)),
            ordering: false,
            nonce: None,
            further_info: Vec::new(),
            content_type: TST_INFO.to_owned(),
            info: None,
            certificates: vec![self.signer.certificate.clone()],
            signer: self.signer.clone(),
            signer_id: SignerId::IssuerAndSerial,
            digest: hash,
            scheme: self.signer.key.scheme(),
            signature_algorithm: SignatureAlgorithm::Specific,
            signed_attributes: SignedAttributes::Sorted,
            attribute_content_type: None,
            message_digest: None,
            signing_time: Some(at),
            signing_certificate: Some(self.signer.certificate.clone()),
            further_attributes: Vec::new(),
            unsigned_attributes: Vec::new(),
            further_signers: Vec::new(),
        }
    }
}
