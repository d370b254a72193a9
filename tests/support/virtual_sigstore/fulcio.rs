//! A certificate authority like Fulcio: a root, an intermediate, and leaf certificates for identities
//! (<https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>, `certificate-specification.md` beside it).

use jiff::{SignedDuration, Timestamp};

use super::Window;
use super::certificate::{
    CERTIFICATE_SIGN, CODE_SIGNING, CRL_SIGN, CertificateParts, Certified, DIGITAL_SIGNATURE, Extension, Name,
    SUBJECT_ALTERNATIVE_NAME,
};
use super::der;
use super::key::{Algorithm, Key};

/// The arc of Fulcio's extensions.
pub(crate) const FULCIO: &str = "1.3.6.1.4.1.57264.1";
/// An otherName with this type names users that have no e-mail address.
pub(crate) const OTHER_NAME: &str = "1.3.6.1.4.1.57264.1.7";

/// How an authority is made.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityOptions {
    pub(crate) algorithm: Algorithm,
    /// The path length constraint of each certificate, from the root to the one that issues.
    pub(crate) path_lengths: Vec<Option<u8>>,
    /// The validity of the authority's own certificates.
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// The window in the trust root.
    pub(crate) valid_for: Window,
    pub(crate) organization: String,
    pub(crate) uri: String,
}

impl Default for AuthorityOptions {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::P384,
            path_lengths: vec![Some(1), Some(0)],
            not_before: "2021-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2035-01-01T00:00:00Z".parse().unwrap(),
            valid_for: Window::default(),
            organization: "fulcio.example".to_owned(),
            uri: "https://fulcio.example".to_owned(),
        }
    }
}

/// An authority, as the trust root has it.
#[derive(Clone, Debug)]
pub(crate) struct CertificateAuthority {
    /// From the root to the one that issues.
    pub(crate) certificates: Vec<Certified>,
    pub(crate) valid_for: Window,
    pub(crate) organization: String,
    pub(crate) uri: String,
}

impl CertificateAuthority {
    pub(crate) fn new(options: AuthorityOptions) -> Self {
        Self::with(options, |_, _| ())
    }

    /// An authority whose certificates are changed before they are signed; number 0 is the root's.
    pub(crate) fn with(options: AuthorityOptions, edit: impl Fn(usize, &mut CertificateParts)) -> Self {
        let valid = (options.not_before, options.not_after);
        let mut certificates: Vec<Certified> = Vec::new();
        for (number, path_length) in options.path_lengths.iter().enumerate() {
            let key = Key::generate(options.algorithm);
            let name = if number == 0 { "root".to_owned() } else { format!("intermediate {number}") };
            let mut parts = CertificateParts::new(Name::new(&options.organization, &name), key.spki(), valid);
            parts.set(Extension::key_usage(CERTIFICATE_SIGN | CRL_SIGN));
            parts.set(Extension::basic_constraints(true, *path_length));
            if number > 0 {
                parts.set(Extension::extended_key_usage(false, &[CODE_SIGNING]));
            }
            certificates.push(match certificates.last() {
                Some(issuer) => issuer.issue(parts, &key, |parts| edit(number, parts)),
                None => Certified::self_signed(parts, &key, |parts| edit(number, parts)),
            });
        }
        let AuthorityOptions { valid_for, organization, uri, .. } = options;
        Self { certificates, valid_for, organization, uri }
    }

    /// The certificate that issues.
    pub(crate) fn issuer(&self) -> &Certified {
        self.certificates.last().unwrap()
    }

    /// The certificates of the authority, from the one that issues to the root.
    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        self.certificates.iter().rev().map(|certified| certified.certificate.clone()).collect()
    }

    /// A sound leaf certificate, not signed yet, that is valid for ten minutes.
    pub(crate) fn leaf(&self, identity: &Identity, key: &Key, from: Timestamp) -> CertificateParts {
        let valid = (from, from + SignedDuration::from_mins(10));
        let mut parts = CertificateParts::new(Name::default(), key.spki(), valid);
        parts.set(Extension::key_usage(DIGITAL_SIGNATURE));
        parts.set(Extension::extended_key_usage(false, &[CODE_SIGNING]));
        self.issuer().prepare(&mut parts);
        for extension in identity.extensions() {
            parts.set(extension);
        }
        parts
    }
}

/// A subject alternative name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum San {
    Email(String),
    Uri(String),
    Dns(String),
    /// Fulcio's otherName, with a `UTF8String`.
    OtherName(String),
    /// Any `GeneralName`, in DER.
    Raw(Vec<u8>),
}

impl San {
    fn der(&self) -> Vec<u8> {
        match self {
            Self::Email(text) => der::context_primitive(1, text.as_bytes()),
            Self::Dns(text) => der::context_primitive(2, text.as_bytes()),
            Self::Uri(text) => der::context_primitive(6, text.as_bytes()),
            Self::OtherName(text) => {
                der::context(0, &[der::oid(OTHER_NAME), der::context(0, &der::utf8(text))].concat())
            }
            Self::Raw(der) => der.clone(),
        }
    }
}

/// Who a leaf certificate is for: its names, and what Fulcio says of the token it was issued for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) names: Vec<San>,
    /// Fulcio's extensions by their last arc. Up to 6 the value is the text itself, from 8 on a DER `UTF8String`.
    pub(crate) claims: Vec<(u8, String)>,
}

impl Identity {
    /// A user with an e-mail address, known to an OpenID Connect issuer.
    pub(crate) fn email(address: &str, issuer: &str) -> Self {
        Self::named(vec![San::Email(address.to_owned())], issuer)
    }

    /// Any names, known to an OpenID Connect issuer.
    pub(crate) fn named(names: Vec<San>, issuer: &str) -> Self {
        Self { names, claims: vec![(1, issuer.to_owned()), (8, issuer.to_owned())] }
    }

    /// A workflow of GitHub Actions at a ref, such as `refs/heads/main`, with every claim that Fulcio knows.
    pub(crate) fn workflow(repository: &str, file: &str, reference: &str) -> Self {
        const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
        let issuer = "https://token.actions.githubusercontent.com";
        let source = format!("https://github.com/{repository}");
        let owner = repository.split('/').next().unwrap();
        let uri = format!("{source}/.github/workflows/{file}@{reference}");
        let claims: [(u8, &str); 23] = [
            (1, issuer),
            (2, "push"),
            (3, COMMIT),
            (4, "Release"),
            (5, repository),
            (6, reference),
            (8, issuer),
            (9, &uri),
            (10, COMMIT),
            (11, "github-hosted"),
            (12, &source),
            (13, COMMIT),
            (14, reference),
            (15, "1001"),
            (16, &format!("https://github.com/{owner}")),
            (17, "2002"),
            (18, &uri),
            (19, COMMIT),
            (20, "push"),
            (21, &format!("{source}/actions/runs/3003/attempts/1")),
            (22, "public"),
            (23, "production"),
            (24, &format!("repo:{repository}:ref:{reference}")),
        ];
        let claims = claims.into_iter().map(|(number, text)| (number, text.to_owned())).collect();
        Self { names: vec![San::Uri(uri)], claims }
    }

    /// With a claim added or replaced.
    pub(crate) fn claim(mut self, number: u8, text: &str) -> Self {
        self.claims.retain(|(one, _)| *one != number);
        self.claims.push((number, text.to_owned()));
        self
    }

    /// Without a claim.
    pub(crate) fn without_claim(mut self, number: u8) -> Self {
        self.claims.retain(|(one, _)| *one != number);
        self
    }

    fn extensions(&self) -> Vec<Extension> {
        let names: Vec<Vec<u8>> = self.names.iter().map(San::der).collect();
        // The names are critical because the subject is empty.
        let names = (!names.is_empty()).then(|| Extension::new(SUBJECT_ALTERNATIVE_NAME, true, der::sequence(&names)));
        let claims = self.claims.iter().map(|(number, text)| {
            let value = if *number <= 6 { text.as_bytes().to_vec() } else { der::utf8(text) };
            Extension::new(&format!("{FULCIO}.{number}"), false, value)
        });
        names.into_iter().chain(claims).collect()
    }
}
