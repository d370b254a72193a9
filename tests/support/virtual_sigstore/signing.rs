//! One signature from beginning to end, with a place to interfere before each service signs.
//!
//! What is changed before a service signs is consistent and wrong; what is changed in [`Parts`] afterwards no longer fits what was
//! signed. Tests need both.

use jiff::Timestamp;
use serde_json::Value;

use super::VirtualSigstore;
use super::certificate::CertificateParts;
use super::cms::TokenParts;
use super::content::{Content, Material, Subject};
use super::ct::{CtLog, SctParts, embed};
use super::entry::Kind;
use super::fulcio::{CertificateAuthority, Identity};
use super::key::{Algorithm, Hash, Key, Scheme};
use super::parts::Parts;
use super::rekor_v1::RekorV1;
use super::rekor_v2::RekorV2;
use super::text::{base64, sha256};
use super::tsa::TimestampAuthority;

/// A log of either generation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Log<'a> {
    V1(&'a RekorV1),
    V2(&'a RekorV2),
}

type Edit<'a, T> = Box<dyn Fn(&mut T) + 'a>;

/// A signature that is about to be made. The defaults are what cosign 2 does: a certificate for an e-mail address on a P-256 key,
/// with one signed certificate timestamp, logged in the first Rekor v1, without timestamp authority.
pub(crate) struct Signing<'a> {
    sigstore: &'a VirtualSigstore,
    subject: Subject,
    at: Timestamp,
    key: Key,
    scheme: Option<Scheme>,
    identity: Option<Identity>,
    authority: &'a CertificateAuthority,
    ct_log: Option<&'a CtLog>,
    logs: Vec<Log<'a>>,
    kind: Option<Kind>,
    integrated_at: Option<Timestamp>,
    authorities: Vec<&'a TimestampAuthority>,
    edit_certificate: Vec<Edit<'a, CertificateParts>>,
    edit_scts: Vec<Edit<'a, Vec<SctParts>>>,
    edit_after_sct: Vec<Edit<'a, CertificateParts>>,
    edit_body: Vec<Edit<'a, Value>>,
    edit_token: Vec<Edit<'a, TokenParts>>,
}

impl<'a> Signing<'a> {
    pub(super) fn new(sigstore: &'a VirtualSigstore, subject: Subject) -> Self {
        Self {
            sigstore,
            subject,
            at: "2024-06-01T12:00:00Z".parse().unwrap(),
            key: Key::generate(Algorithm::P256),
            scheme: None,
            identity: Some(Identity::email("alice@example.com", "https://accounts.example.com")),
            authority: &sigstore.authorities[0],
            ct_log: sigstore.ct_logs.first(),
            logs: sigstore.logs_v1.first().map(Log::V1).into_iter().collect(),
            kind: None,
            integrated_at: None,
            authorities: Vec::new(),
            edit_certificate: Vec::new(),
            edit_scts: Vec::new(),
            edit_after_sct: Vec::new(),
            edit_body: Vec::new(),
            edit_token: Vec::new(),
        }
    }

    /// The time of everything: the certificate begins, the logs and authorities sign.
    pub(crate) fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }

    /// Who signs, by certificate.
    pub(crate) fn by(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// The key that signs; with a certificate unless [`Self::without_certificate`] is called too.
    pub(crate) fn key(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self
    }

    /// How the key signs, where it can in several ways.
    pub(crate) fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Signed by the key alone: the bundle names it by a hint.
    pub(crate) fn without_certificate(mut self) -> Self {
        self.identity = None;
        self
    }

    /// The authority that issues the certificate.
    pub(crate) fn issued_by(mut self, authority: &'a CertificateAuthority) -> Self {
        self.authority = authority;
        self
    }

    /// The log that promises to log the certificate.
    pub(crate) fn ct_log(mut self, log: &'a CtLog) -> Self {
        self.ct_log = Some(log);
        self
    }

    /// A certificate without signed certificate timestamps.
    pub(crate) fn without_sct(mut self) -> Self {
        self.ct_log = None;
        self
    }

    /// Not logged.
    pub(crate) fn without_log(mut self) -> Self {
        self.logs.clear();
        self
    }

    /// Logged in these logs, one entry each.
    pub(crate) fn logged_in(mut self, logs: &[Log<'a>]) -> Self {
        self.logs = logs.to_vec();
        self
    }

    /// Logged in the first Rekor v2, and so timestamped by the first authority.
    pub(crate) fn rekor_v2(self) -> Self {
        let log = Log::V2(&self.sigstore.logs_v2[0]);
        self.logged_in(&[log]).timestamped()
    }

    /// The kind of log entry. Otherwise `hashedrekord` for messages, `dsse` for envelopes, `hashedrekord` 0.0.2 in Rekor v2.
    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The time that Rekor v1 says, if it is not that of everything.
    pub(crate) fn integrated_at(mut self, at: Timestamp) -> Self {
        self.integrated_at = Some(at);
        self
    }

    /// Timestamped by the first authority.
    pub(crate) fn timestamped(self) -> Self {
        let authority = &self.sigstore.timestamp_authorities[0];
        self.timestamped_by(&[authority])
    }

    /// Timestamped by these authorities.
    pub(crate) fn timestamped_by(mut self, authorities: &[&'a TimestampAuthority]) -> Self {
        self.authorities = authorities.to_vec();
        self
    }

    /// Changes the certificate before anything is signed.
    pub(crate) fn certificate(mut self, edit: impl Fn(&mut CertificateParts) + 'a) -> Self {
        self.edit_certificate.push(Box::new(edit));
        self
    }

    /// Changes the signed certificate timestamps before the log signs them.
    pub(crate) fn scts(mut self, edit: impl Fn(&mut Vec<SctParts>) + 'a) -> Self {
        self.edit_scts.push(Box::new(edit));
        self
    }

    /// Changes the certificate after the log has signed, and before the authority does.
    pub(crate) fn certificate_after_sct(mut self, edit: impl Fn(&mut CertificateParts) + 'a) -> Self {
        self.edit_after_sct.push(Box::new(edit));
        self
    }

    /// Changes the body of the log entries before they are logged.
    pub(crate) fn body(mut self, edit: impl Fn(&mut Value) + 'a) -> Self {
        self.edit_body.push(Box::new(edit));
        self
    }

    /// Changes the timestamps before the authorities sign them.
    pub(crate) fn token(mut self, edit: impl Fn(&mut TokenParts) + 'a) -> Self {
        self.edit_token.push(Box::new(edit));
        self
    }

    /// Signs.
    pub(crate) fn parts(self) -> Parts {
        let scheme = self.scheme.unwrap_or_else(|| self.key.scheme());
        let hash = scheme.hash().unwrap_or(Hash::Sha256);
        let content = Content::sign(&self.subject, hash, |message| self.key.sign_with(scheme, message));
        let material = self.material();
        let mut entries = Vec::new();
        for log in &self.logs {
            let kind = self.kind.unwrap_or(match (log, &content) {
                (Log::V1(_), Content::Message(_)) => Kind::HashedRekord,
                (Log::V1(_), Content::Envelope(_)) => Kind::Dsse,
                (Log::V2(_), _) => Kind::HashedRekord002,
            });
            let mut body = kind.body(&content, hash, &material);
            apply(&self.edit_body, &mut body);
            let at = self.integrated_at.unwrap_or(self.at);
            entries.push(match log {
                Log::V1(log) => log.log(&body, at),
                Log::V2(log) => log.log(&body, at),
            });
        }
        let timestamp = |authority: &&TimestampAuthority| {
            let mut token = authority.token(content.signature(), self.at);
            apply(&self.edit_token, &mut token);
            token.sign()
        };
        let timestamps = self.authorities.iter().map(timestamp).collect();
        Parts { content, material, entries, timestamps }
    }

    fn material(&self) -> Material {
        let key = self.key.clone();
        let Some(identity) = &self.identity else {
            return Material::Key { hint: base64(&sha256(&key.spki())), key };
        };
        let issuer = self.authority.issuer();
        let mut parts = self.authority.leaf(identity, &key, self.at);
        apply(&self.edit_certificate, &mut parts);
        let mut timestamps: Vec<SctParts> =
            self.ct_log.map(|log| log.sct(&parts, issuer, self.at)).into_iter().collect();
        apply(&self.edit_scts, &mut timestamps);
        apply(&self.edit_after_sct, &mut parts);
        if !timestamps.is_empty() {
            parts.set(embed(&timestamps));
        }
        Material::Certificate { leaf: parts.sign(&issuer.key), chain: self.authority.chain(), key }
    }
}

fn apply<T>(edits: &[Edit<'_, T>], subject: &mut T) {
    for edit in edits {
        edit(subject);
    }
}
