//! Trust material: whose word counts. A Sigstore instance's trusted root, or a public key.
//!
//! Parsing and identity of the material; how it stays fresh is `trust_store`'s. Roots are never merged: one root's CA must not
//! borrow another root's log. Format: <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto>.

mod authority;
mod description;
mod inline;
mod key;
mod pki;
mod roots;
mod spec;
mod timestamp_authority;
mod tuf_role;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sigstore_trust_root::{SigstoreInstance, TrustedRoot, trusted_root};

use crate::image::{Digest, hexadecimal};

pub(crate) use authority::{Issuers, Window, validity};
pub use description::{Believed, DescribedAuthority, DescribedLog, DescribedTimestamps, Description};
pub use key::{KeyFingerprint, PublicKey};
pub(crate) use key::{Message, Scheme, SignatureError};
pub use pki::CertificateRoots;
pub use roots::{RootProblem, StaleWarning, TrustRoots};
pub(crate) use spec::is_target_path;
pub use spec::{MirrorAddress, PinnedRoot, RootSource, RootSpec, RootSpecError, TufSpec};
pub(crate) use timestamp_authority::{TimestampAuthority, may_sign};
pub use tuf_role::{FulcioIdentity, RoleIdentities, RoleName, RoleUnavailable, TufRoles};

/// The name of the public-good instance's root.
pub const PUBLIC_GOOD: &str = "public-good";
/// The name of the staging instance's root.
pub const STAGING: &str = "staging";
/// The name of GitHub's root, which has neither transparency log nor certificate transparency.
pub const GITHUB: &str = "github";
/// The names whose roots are embedded.
pub const EMBEDDED: [&str; 3] = [PUBLIC_GOOD, STAGING, GITHUB];

/// Material that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A trusted root that does not parse or contradicts itself.
    #[error("trust root {name:?} is invalid: {reason}")]
    InvalidRoot {
        /// The root's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name for which no root is embedded.
    #[error("no trust root named {name:?} is embedded; embedded are {}", EMBEDDED.join(", "))]
    NotEmbedded {
        /// The name asked for.
        name: String,
    },
    /// A certificate of an authority that cannot be one.
    #[error("certificate is invalid: {reason}")]
    InvalidCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// A key that does not parse or whose algorithm is not verified.
    #[error("public key is invalid: {reason}")]
    InvalidKey {
        /// What is wrong with it.
        reason: String,
    },
}

/// One Sigstore instance, ready to verify with.
#[derive(Clone)]
pub struct TrustMaterial {
    inner: Arc<Material>,
}

struct Material {
    name: String,
    digest: Digest,
    issuers: Issuers,
    logs: Vec<Log>,
    certificate_logs: Vec<Log>,
    timestamp_authorities: Vec<TimestampAuthority>,
    unusable: Vec<String>,
}

/// Who runs a service: what thresholds count. Services of one root that do not say count as one.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(transparent)]
pub struct Operator(Option<String>);

impl Operator {
    /// Whether the trust root says who it is.
    pub fn is_stated(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_deref().unwrap_or("(no operator)"))
    }
}

/// A log of entries or of certificates.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The key id by which entries and checkpoints name it.
    pub(crate) id: Vec<u8>,
    pub(crate) key: PublicKey,
    /// How it signs heads and promises. What it says of certificates names its scheme itself.
    pub(crate) scheme: Scheme,
    pub(crate) window: Window,
    pub(crate) address: String,
    pub(crate) operator: Operator,
}

impl fmt::Debug for TrustMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TrustMaterial({} {})", self.inner.name, self.inner.digest)
    }
}

impl TrustMaterial {
    /// Parses a `trusted_root.json` under the name that policies use for it.
    ///
    /// # Errors
    /// Bytes that are no trusted root, keys or certificates that do not parse, windows that end before they start.
    pub fn parse(name: &str, json: &str) -> Result<Self, TrustError> {
        Self::parse_with_operators(name, json, &BTreeMap::new())
    }

    /// The same, with other operators of services than the root says, by the services' addresses.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with_operators(
        name: &str,
        json: &str,
        operators: &BTreeMap<String, String>,
    ) -> Result<Self, TrustError> {
        let invalid = |reason: String| TrustError::InvalidRoot { name: name.to_owned(), reason };
        let root = TrustedRoot::from_json(json).map_err(|error| invalid(error.to_string()))?;
        // The library's type leaves the operators out.
        let mut value: Value = serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        override_operators(&mut value, operators);
        if root.certificate_authorities.is_empty() {
            return Err(invalid("it names no certificate authority".to_owned()));
        }
        if name == GITHUB && !(root.tlogs.is_empty() && root.ctlogs.is_empty()) {
            // Policies that name it ask for no log; a root that has logs would lose them by its name.
            return Err(invalid("this name is for an instance without logs, and it names some".to_owned()));
        }
        let material = Material::read(name, &root, &value).map_err(|error| match error {
            TrustError::InvalidKey { reason } | TrustError::InvalidCertificate { reason } => invalid(reason),
            other => other,
        })?;
        Ok(Self { inner: Arc::new(material) })
    }

    /// A root that is compiled in, so that nothing needs the network.
    ///
    /// # Errors
    /// A name that is none of [`EMBEDDED`].
    pub fn embedded(name: &str) -> Result<Self, TrustError> {
        Self::embedded_with_operators(name, &BTreeMap::new())
    }

    /// The embedded `trusted_root.json` of a name.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded).
    pub fn embedded_json(name: &str) -> Result<&'static str, TrustError> {
        Ok(instance(name)?.embedded_trusted_root_json())
    }

    /// The embedded root of a name, with other operators of services than it says.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded).
    fn embedded_with_operators(name: &str, operators: &BTreeMap<String, String>) -> Result<Self, TrustError> {
        Self::parse_with_operators(name, instance(name)?.embedded_trusted_root_json(), operators)
    }

    /// The name that policies use.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Digest of the canonical form: two roots with the same digest verify alike.
    pub fn digest(&self) -> &Digest {
        &self.inner.digest
    }

    /// What may issue certificates of signers.
    pub(crate) fn issuers(&self) -> &Issuers {
        &self.inner.issuers
    }

    /// The log with this key id, if the root knows it.
    pub(crate) fn log(&self, key_id: &[u8]) -> Option<&Log> {
        self.inner.logs.iter().find(|log| log.id == key_id)
    }

    /// All logs of entries.
    pub(crate) fn logs(&self) -> &[Log] {
        &self.inner.logs
    }

    /// All logs of certificates.
    pub(crate) fn certificate_logs(&self) -> &[Log] {
        &self.inner.certificate_logs
    }

    /// All timestamp authorities.
    pub(crate) fn timestamp_authorities(&self) -> &[TimestampAuthority] {
        &self.inner.timestamp_authorities
    }

    /// Addresses and key ids (hexadecimal) of the logs of entries.
    pub fn described_logs(&self) -> Vec<(String, String)> {
        self.logs().iter().map(|log| (log.address.clone(), hexadecimal(&log.id))).collect()
    }

    /// What the root names and this version cannot use: keys of unknown algorithms, certificates that may not issue. Each says why.
    pub fn unusable(&self) -> &[String] {
        &self.inner.unusable
    }

    /// Whether the instance logs what is signed.
    pub fn has_logs(&self) -> bool {
        !self.inner.logs.is_empty()
    }

    /// Whether the instance logs its certificates.
    pub fn has_certificate_transparency(&self) -> bool {
        !self.inner.certificate_logs.is_empty()
    }
}

fn instance(name: &str) -> Result<SigstoreInstance, TrustError> {
    match name {
        PUBLIC_GOOD => Ok(SigstoreInstance::PublicGood),
        STAGING => Ok(SigstoreInstance::Staging),
        GITHUB => Ok(SigstoreInstance::GitHub),
        _ => Err(TrustError::NotEmbedded { name: name.to_owned() }),
    }
}

/// Puts operators in, where services have these addresses.
fn override_operators(root: &mut Value, operators: &BTreeMap<String, String>) {
    for (list, address) in [("tlogs", "baseUrl"), ("timestampAuthorities", "uri")] {
        let services = root.get_mut(list).and_then(Value::as_array_mut);
        for service in services.into_iter().flatten().filter_map(Value::as_object_mut) {
            let stated = service.get(address).and_then(Value::as_str).and_then(|address| operators.get(address));
            if let Some(operator) = stated.cloned() {
                service.insert("operator".to_owned(), Value::String(operator));
            }
        }
    }
}

impl Material {
    fn read(name: &str, root: &TrustedRoot, value: &Value) -> Result<Self, TrustError> {
        let window = |range: Option<&sigstore_types::TimeRange>| {
            Window::of(range).map_err(|reason| TrustError::InvalidKey { reason })
        };
        let operator = |list: &str, position: usize| {
            let stated = value.pointer(&format!("/{list}/{position}/operator")).and_then(Value::as_str);
            Operator(stated.filter(|stated| !stated.is_empty()).map(str::to_owned))
        };
        // What this version cannot use is left out, as if the root did not name it: what stands on it is refused, the rest goes on.
        let mut unusable = Vec::new();
        let mut log = |list: &str, position: usize, id: &[u8], key: &trusted_root::PublicKey, address: &str| {
            let window = window(key.valid_for.as_ref())?;
            let read = PublicKey::from_trusted_root(key.raw_bytes.as_bytes());
            Ok(
                match read.and_then(|read| read.declared_scheme(key.key_details.as_str()).map(|scheme| (read, scheme)))
                {
                    Ok((key, scheme)) => {
                        let (id, address) = (id.to_vec(), address.to_owned());
                        Some(Log { id, key, scheme, window, address, operator: operator(list, position) })
                    }
                    Err(error) => {
                        unusable.push(format!("{list}[{position}] ({address}): {error}"));
                        None
                    }
                },
            )
        };
        let mut logs = Vec::new();
        for (position, found) in root.tlogs.iter().enumerate() {
            let id = found.log_id.key_id.as_bytes();
            logs.extend(log("tlogs", position, id, &found.public_key, &found.base_url)?);
        }
        let mut certificate_logs = Vec::new();
        for (position, found) in root.ctlogs.iter().enumerate() {
            let id = found.log_id.key_id.as_bytes();
            certificate_logs.extend(log("ctlogs", position, id, &found.public_key, &found.base_url)?);
        }
        for list in [&logs, &certificate_logs] {
            if list.iter().map(|log| &log.id).collect::<BTreeSet<_>>().len() != list.len() {
                return Err(TrustError::InvalidKey { reason: "two logs have one key id".to_owned() });
            }
            if list.iter().any(|log| log.id.len() != 32) {
                return Err(TrustError::InvalidKey { reason: "a log's key id has not 32 bytes".to_owned() });
            }
        }
        let chain = |chain: &trusted_root::CertChain| -> Vec<Vec<u8>> {
            chain.certificates.iter().map(|certificate| certificate.raw_bytes.as_bytes().to_vec()).collect()
        };
        let mut issuers = Issuers::default();
        for (position, authority) in root.certificate_authorities.iter().enumerate() {
            let window = window(authority.valid_for.as_ref())?;
            if let Err(error) = issuers.add(&chain(&authority.cert_chain), window) {
                unusable.push(format!("certificateAuthorities[{position}] ({}): {error}", authority.uri));
            }
        }
        if issuers.anchors().is_empty() {
            let reason = format!("no certificate authority of it can be used: {}", unusable.join("; "));
            return Err(TrustError::InvalidCertificate { reason });
        }
        let mut timestamp_authorities = Vec::new();
        for (position, authority) in root.timestamp_authorities.iter().enumerate() {
            let window = window(authority.valid_for.as_ref())?;
            let (address, operator) =
                (authority.uri.clone().unwrap_or_default(), operator("timestampAuthorities", position));
            match TimestampAuthority::read(&chain(&authority.cert_chain), window, address, operator) {
                Ok(authority) => timestamp_authorities.push(authority),
                Err(error) => unusable.push(format!("timestampAuthorities[{position}]: {error}")),
            }
        }
        let operators: Vec<&Operator> = logs
            .iter()
            .map(|log| &log.operator)
            .chain(timestamp_authorities.iter().map(|authority| &authority.operator))
            .collect();
        let canonical = serde_json::to_vec(&(root, operators))
            .map_err(|error| TrustError::InvalidRoot { name: name.to_owned(), reason: error.to_string() })?;
        let digest = Digest::of(&canonical);
        Ok(Self { name: name.to_owned(), digest, issuers, logs, certificate_logs, timestamp_authorities, unusable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_root_parses_and_differs() {
        let digests: BTreeSet<_> =
            EMBEDDED.iter().map(|name| TrustMaterial::embedded(name).unwrap().digest().clone()).collect();
        assert_eq!(digests.len(), EMBEDDED.len());
        assert!(matches!(TrustMaterial::embedded("other"), Err(TrustError::NotEmbedded { .. })));
    }

    #[test]
    fn refuses_roots_without_material() {
        for json in ["", "{}", "null", r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#] {
            assert!(matches!(TrustMaterial::parse("x", json), Err(TrustError::InvalidRoot { .. })), "{json}");
        }
    }

    #[test]
    fn no_root_loses_its_logs_by_a_name() {
        let public_good = SigstoreInstance::PublicGood.embedded_trusted_root_json();
        assert!(matches!(TrustMaterial::parse(GITHUB, public_good), Err(TrustError::InvalidRoot { .. })));
        assert!(TrustMaterial::parse("own", public_good).is_ok());
    }
}
