//! Trust material: whose word counts. A Sigstore instance's trusted root, or a public key.
//!
//! Parsing and identity of the material; how it stays fresh is `trust_store`'s. Roots are never merged: one root's CA must not
//! borrow another root's log. Format: <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto>.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sigstore_crypto::{KeyAlgorithm, VerificationKey};
use sigstore_trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_types::DerPublicKey;
use sigstore_verify::Verifier;

use crate::image::Digest;

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
    verifier: Verifier,
    logs: BTreeMap<Vec<u8>, String>,
    has_certificate_transparency: bool,
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
        let invalid = |reason: String| TrustError::InvalidRoot { name: name.to_owned(), reason };
        let root = TrustedRoot::from_json(json).map_err(|error| invalid(error.to_string()))?;
        if root.certificate_authorities.is_empty() {
            return Err(invalid("it names no certificate authority".to_owned()));
        }
        if name == GITHUB && !(root.tlogs.is_empty() && root.ctlogs.is_empty()) {
            // Policies that name it ask for no log; a root that has logs would lose them by its name.
            return Err(invalid("this name is for an instance without logs, and it names some".to_owned()));
        }
        let verifier = Verifier::new(&root).map_err(|error| invalid(error.to_string()))?;
        let canonical = serde_json::to_vec(&root).map_err(|error| invalid(error.to_string()))?;
        let logs = root.tlogs.iter().map(|log| (log.log_id.key_id.as_bytes().to_vec(), log.base_url.clone())).collect();
        let has_certificate_transparency = !root.ctlogs.is_empty();
        Ok(Self {
            inner: Arc::new(Material {
                name: name.to_owned(),
                digest: Digest::of(&canonical),
                verifier,
                logs,
                has_certificate_transparency,
            }),
        })
    }

    /// A root that is compiled in, so that nothing needs the network.
    ///
    /// # Errors
    /// A name that is none of [`EMBEDDED`].
    pub fn embedded(name: &str) -> Result<Self, TrustError> {
        let instance = match name {
            PUBLIC_GOOD => SigstoreInstance::PublicGood,
            STAGING => SigstoreInstance::Staging,
            GITHUB => SigstoreInstance::GitHub,
            _ => return Err(TrustError::NotEmbedded { name: name.to_owned() }),
        };
        Self::parse(name, instance.embedded_trusted_root_json())
    }

    /// The name that policies use.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Digest of the canonical form: two roots with the same digest verify alike.
    pub fn digest(&self) -> &Digest {
        &self.inner.digest
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.inner.verifier
    }

    /// The address of the log with this key id, if the root knows it.
    pub(crate) fn log(&self, key_id: &[u8]) -> Option<&str> {
        self.inner.logs.get(key_id).map(String::as_str)
    }

    /// Whether the instance logs its certificates.
    pub(crate) fn has_certificate_transparency(&self) -> bool {
        self.inner.has_certificate_transparency
    }
}

/// The trust roots of a request, by name. A name that is not there gives `Error`, never a pass.
#[derive(Clone, Debug, Default)]
pub struct TrustRoots {
    by_name: BTreeMap<String, TrustMaterial>,
}

impl TrustRoots {
    /// The embedded roots.
    ///
    /// # Errors
    /// An embedded root that does not parse, which a test excludes.
    pub fn embedded() -> Result<Self, TrustError> {
        let mut roots = Self::default();
        for name in EMBEDDED {
            roots.insert(TrustMaterial::embedded(name)?);
        }
        Ok(roots)
    }

    /// Adds a root, in place of one with the same name.
    pub fn insert(&mut self, material: TrustMaterial) {
        self.by_name.insert(material.name().to_owned(), material);
    }

    /// The root of this name.
    pub fn find(&self, name: &str) -> Option<&TrustMaterial> {
        self.by_name.get(name)
    }
}

/// A public key of a signer.
#[derive(Clone)]
pub struct PublicKey {
    fingerprint: KeyFingerprint,
    algorithm: KeyAlgorithm,
    key: Arc<VerificationKey>,
}

/// SHA-256 of a key's `SubjectPublicKeyInfo`: what a key is called in messages, revocations and thresholds.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct KeyFingerprint(Digest);

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({:?} {})", self.algorithm, self.fingerprint)
    }
}

impl PublicKey {
    /// Parses one PEM block with a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// Text that is not exactly one such block, and algorithms that are not verified.
    pub fn parse_pem(pem: &str) -> Result<Self, TrustError> {
        let invalid = |reason: String| TrustError::InvalidKey { reason };
        if pem.matches("-----BEGIN ").count() != 1 {
            return Err(invalid("exactly one PEM block is read".to_owned()));
        }
        if !pem.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(invalid("a PEM block of the type PUBLIC KEY is read, no other".to_owned()));
        }
        let der = DerPublicKey::from_pem(pem.trim()).map_err(|error| invalid(error.to_string()))?;
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(|error| invalid(error.to_string()))?;
        let key = VerificationKey::from_spki(&der).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { fingerprint: KeyFingerprint(Digest::of(der.as_bytes())), algorithm, key: Arc::new(key) })
    }

    /// The key's fingerprint.
    pub fn fingerprint(&self) -> &KeyFingerprint {
        &self.fingerprint
    }

    /// The algorithm that signatures are verified by, in the verifier's spelling. The fingerprint does not settle it: an RSA key may
    /// be used with more than one padding.
    pub fn algorithm(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    pub(crate) fn verification_key(&self) -> &VerificationKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_root_parses_and_differs() {
        let digests: std::collections::BTreeSet<_> =
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

    #[test]
    fn keys_are_one_public_pem_block() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = key.public_key_pem();
        let parsed = PublicKey::parse_pem(&pem).unwrap();
        assert_eq!(
            parsed.fingerprint().to_string(),
            Digest::of(&rcgen::PublicKeyData::subject_public_key_info(&key)).to_string()
        );
        let private = key.serialize_pem();
        let twice = format!("{pem}{pem}");
        let broken = pem.replace("MF", "AA");
        for bad in ["", "x", private.as_str(), twice.as_str(), broken.as_str()] {
            assert!(matches!(PublicKey::parse_pem(bad), Err(TrustError::InvalidKey { .. })), "{bad}");
        }
    }
}
