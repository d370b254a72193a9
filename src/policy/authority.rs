//! Authorities: whose signature counts, verified under what, and with which proofs.

use jiff::Timestamp;

use super::identity::Identity;
use super::miss::{Miss, WHO};
use super::parse::{check_count, check_length, check_names};
use super::proofs::{Kind, Proofs};
use super::window::SigningWindow;
use super::{PolicyError, describe};
use crate::api;
use crate::trust::{CertificateRoots, PublicKey, TrustRoots};
use crate::verify::{Anchor, AnchorId, Evidence, Signer};

/// Bytes of PEM that a list of certificates may have.
const CERTIFICATES_LIMIT: usize = 65_536;

/// Somebody whose signature or attestation counts.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) name: String,
    pub(super) signers: Signers,
    /// None: a signature of the image itself.
    pub(super) predicate_type: Option<String>,
    pub(super) proofs: Proofs,
}

#[derive(Debug)]
pub(super) enum Signers {
    Keyless {
        trust_root: String,
        identities: Vec<Identity>,
    },
    Keys {
        /// None: nothing dates what they signed.
        trust_root: Option<String>,
        keys: Vec<NamedKey>,
    },
    Certificates {
        roots: CertificateRoots,
        trust_root: String,
        identities: Vec<Identity>,
    },
}

#[derive(Debug)]
pub(super) struct NamedKey {
    pub(super) name: String,
    pub(super) key: PublicKey,
    pub(super) signed: Option<SigningWindow>,
}

/// Parses `spec.authorities`.
pub(super) fn authorities(specs: &[api::Authority]) -> Result<Vec<Authority>, PolicyError> {
    check_count("spec.authorities", specs.len(), 1, 16)?;
    check_names("spec.authorities", specs.iter().map(|authority| authority.name.as_str()))?;
    let parse = |(position, spec)| Authority::parse(&format!("spec.authorities[{position}]"), spec);
    specs.iter().enumerate().map(parse).collect()
}

impl Authority {
    fn parse(field: &str, spec: &api::Authority) -> Result<Self, PolicyError> {
        let signers = Signers::parse(field, spec)?;
        let predicate_type = spec.attestation.as_ref().map(|attestation| attestation.predicate_type.clone());
        if let Some(predicate_type) = &predicate_type {
            check_length(&format!("{field}.attestation.predicateType"), predicate_type, 512)?;
        }
        let proofs = Proofs::parse(&format!("{field}.evidence"), spec.evidence.as_ref(), signers.kind())?;
        Ok(Self { name: spec.name.clone(), signers, predicate_type, proofs })
    }
}

impl Signers {
    fn parse(field: &str, spec: &api::Authority) -> Result<Self, PolicyError> {
        if let Some(trust_root) = &spec.trust_root {
            check_length(&format!("{field}.trustRoot"), trust_root, 253)?;
            if spec.keys.is_none() {
                let reason = "it stands beside keys only; keyless and certificates have their own";
                return Err(PolicyError::Useless { field: format!("{field}.trustRoot"), reason });
            }
        }
        match (&spec.keyless, &spec.keys, &spec.certificates) {
            (Some(keyless), None, None) => {
                let field = format!("{field}.keyless");
                check_length(&format!("{field}.trustRoot"), &keyless.trust_root, 253)?;
                let identities = identities(&field, &keyless.identities, Identity::keyless)?;
                Ok(Self::Keyless { trust_root: keyless.trust_root.clone(), identities })
            }
            (None, Some(keys), None) => {
                let keys = named_keys(&format!("{field}.keys"), keys, spec.trust_root.is_some())?;
                Ok(Self::Keys { trust_root: spec.trust_root.clone(), keys })
            }
            (None, None, Some(certificates)) => {
                let field = format!("{field}.certificates");
                check_length(&format!("{field}.roots"), &certificates.roots, CERTIFICATES_LIMIT)?;
                if let Some(intermediates) = &certificates.intermediates {
                    check_length(&format!("{field}.intermediates"), intermediates, CERTIFICATES_LIMIT)?;
                }
                check_length(&format!("{field}.trustRoot"), &certificates.trust_root, 253)?;
                let intermediates = certificates.intermediates.as_deref().unwrap_or_default();
                let roots = CertificateRoots::parse_pem(&certificates.roots, intermediates)
                    .map_err(|source| PolicyError::Certificates { field: field.clone(), source })?;
                let identities = identities(&field, &certificates.identities, Identity::certificate)?;
                Ok(Self::Certificates { roots, trust_root: certificates.trust_root.clone(), identities })
            }
            _ => Err(PolicyError::NotOneOf { field: field.to_owned(), choices: "keyless, keys and certificates" }),
        }
    }

    fn kind(&self) -> Kind<'_> {
        match self {
            Self::Keyless { trust_root, .. } => Kind::Keyless(trust_root),
            Self::Keys { trust_root: Some(_), .. } => Kind::DatedKeys,
            Self::Keys { trust_root: None, .. } => Kind::BareKeys,
            Self::Certificates { .. } => Kind::Certificates,
        }
    }

    /// The trust root that is needed, if any.
    pub(super) fn trust_root(&self) -> Option<&str> {
        match self {
            Self::Keyless { trust_root, .. } | Self::Certificates { trust_root, .. } => Some(trust_root),
            Self::Keys { trust_root, .. } => trust_root.as_deref(),
        }
    }

    /// Whether a Sigstore instance vouches for them.
    pub(super) fn is_keyless(&self) -> bool {
        matches!(self, Self::Keyless { .. })
    }

    /// Who they are by a certificate; nobody where they are keys.
    pub(super) fn identities(&self) -> &[Identity] {
        match self {
            Self::Keyless { identities, .. } | Self::Certificates { identities, .. } => identities,
            Self::Keys { .. } => &[],
        }
    }

    /// What evidence is verified under. None where the trust root is not there.
    pub(super) fn anchors(&self, available: &TrustRoots) -> Vec<Anchor> {
        let dating = match self.trust_root().map(|name| available.find(name)) {
            // Without the root that dates, a key would verify more than it may.
            Some(None) => return Vec::new(),
            found => found.flatten().cloned(),
        };
        match (self, dating) {
            (Self::Keyless { .. }, Some(root)) => vec![Anchor::Root(root)],
            (Self::Certificates { roots, .. }, Some(dating)) => {
                vec![Anchor::Certificates { roots: roots.clone(), dating }]
            }
            (Self::Keys { keys, .. }, dating) => {
                keys.iter().map(|key| Anchor::Key { key: key.key.clone(), dating: dating.clone() }).collect()
            }
            // These two always name a root.
            (Self::Keyless { .. } | Self::Certificates { .. }, None) => Vec::new(),
        }
    }

    /// Whether evidence under this anchor is this authority's business.
    pub(super) fn stand_on(&self, anchor: &AnchorId) -> bool {
        match (self, anchor) {
            (Self::Keyless { trust_root, .. }, AnchorId::TrustRoot(name)) => trust_root == name,
            (Self::Keys { trust_root, keys }, AnchorId::Key { sha256, dated_by }) => {
                trust_root == dated_by && keys.iter().any(|key| key.key.fingerprint() == sha256)
            }
            (Self::Certificates { roots, trust_root, .. }, AnchorId::Certificates { sha256, dated_by }) => {
                trust_root == dated_by && roots.digest() == sha256
            }
            _ => false,
        }
    }

    /// Whether one of them is this signer, as the trust root of this name knows signers.
    pub(super) fn name(&self, root: &str, signer: &Signer, roots: &TrustRoots, now: Timestamp) -> bool {
        match (self, signer) {
            (Self::Keyless { trust_root, identities }, Signer::Certificate { issuer, subjects, .. }) => {
                let named = |identity: &Identity| identity.names(issuer.as_deref(), subjects, roots, now);
                trust_root == root && identities.iter().any(named)
            }
            (Self::Keys { trust_root, keys }, Signer::Key { sha256 }) => {
                trust_root.as_deref() == Some(root) && keys.iter().any(|key| key.key.fingerprint() == sha256)
            }
            _ => false,
        }
    }

    /// Whether one of them signed, at a time at which it may. The nearest miss if none did.
    pub(super) fn admit(&self, evidence: &Evidence, roots: &TrustRoots, now: Timestamp) -> Result<(), Miss> {
        if !self.stand_on(evidence.under()) {
            return Err(Miss::Elsewhere);
        }
        let mut nearest: Option<Miss> = None;
        let tried: Vec<Result<(), Miss>> = match (self, evidence.signer()) {
            (Self::Keys { keys, .. }, Signer::Key { sha256 }) => {
                let own = keys.iter().filter(|key| key.key.fingerprint() == sha256);
                own.map(|key| key.signed.map_or(Ok(()), |window| window.check(evidence))).collect()
            }
            (
                Self::Keyless { identities, .. } | Self::Certificates { identities, .. },
                Signer::Certificate { issuer, subjects, claims },
            ) => {
                let issuer = issuer.as_deref();
                let admit = |identity: &Identity| identity.admit(issuer, subjects, claims, evidence, roots, now);
                identities.iter().map(admit).collect()
            }
            _ => return Err(Miss::Elsewhere),
        };
        for result in tried {
            let Err(miss) = result else { return Ok(()) };
            if nearest.as_ref().is_none_or(|found| found.nearness() < miss.nearness()) {
                nearest = Some(miss);
            }
        }
        Err(nearest.unwrap_or_else(|| Miss::near("IdentityMismatch", WHO, describe(evidence))))
    }

    /// Who may have signed, for people.
    pub(super) fn describe(&self) -> String {
        let names: Vec<String> = match self {
            Self::Keyless { identities, .. } | Self::Certificates { identities, .. } => {
                identities.iter().map(Identity::to_string).collect()
            }
            Self::Keys { keys, .. } => keys.iter().map(NamedKey::describe).collect(),
        };
        let under = match self {
            Self::Keyless { trust_root, .. } => format!(", under the trust root {trust_root}"),
            Self::Keys { trust_root: None, .. } => String::new(),
            Self::Keys { trust_root: Some(trust_root), .. } => format!(", dated by the trust root {trust_root}"),
            Self::Certificates { trust_root, .. } => {
                format!(", under the policy's own certificates, dated by the trust root {trust_root}")
            }
        };
        format!("{}{under}", names.join(" or "))
    }
}

impl NamedKey {
    fn describe(&self) -> String {
        let signed = self.signed.map_or_else(String::new, |window| format!(", signed {window}"));
        format!("the key {} ({}){signed}", self.name, self.key.fingerprint())
    }
}

fn identities<T>(
    field: &str,
    specs: &[T],
    parse: impl Fn(&str, &T) -> Result<Identity, PolicyError>,
) -> Result<Vec<Identity>, PolicyError> {
    let field = format!("{field}.identities");
    check_count(&field, specs.len(), 1, 32)?;
    specs.iter().enumerate().map(|(position, spec)| parse(&format!("{field}[{position}]"), spec)).collect()
}

fn named_keys(field: &str, keys: &[api::Key], dated: bool) -> Result<Vec<NamedKey>, PolicyError> {
    check_count(field, keys.len(), 1, 16)?;
    check_names(field, keys.iter().map(|key| key.name.as_str()))?;
    let key = |(position, spec): (usize, &api::Key)| {
        let field = format!("{field}[{position}]");
        check_length(&format!("{field}.pem"), &spec.pem, 8_192)?;
        if let Some(uri) = &spec.uri {
            check_length(&format!("{field}.uri"), uri, 1_024)?;
        }
        let key = PublicKey::parse_pem(&spec.pem)
            .map_err(|source| PolicyError::Key { field: format!("{field}.pem"), source })?;
        let signed = SigningWindow::parse(&field, spec.not_before.as_deref(), spec.not_after.as_deref())?;
        if signed.is_some() && !dated {
            let reason = "notBefore and notAfter need trustRoot beside keys: without it nothing dates the signature";
            return Err(PolicyError::Useless { field, reason });
        }
        Ok(NamedKey { name: spec.name.clone(), key, signed })
    };
    keys.iter().enumerate().map(key).collect()
}
