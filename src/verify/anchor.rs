//! What a candidate is verified under: a Sigstore instance, a key, or an own authority.

use std::fmt;

use serde::Serialize;

use crate::image::Digest;
use crate::trust::{CertificateRoots, KeyFingerprint, PublicKey, TrustMaterial};

/// Where trust starts.
#[derive(Clone, Debug)]
pub enum Anchor {
    /// A Sigstore instance: its authorities issue the signer's certificate, its logs and timestamp authorities date it.
    Root(TrustMaterial),
    /// A key, trusted by itself; a root, where there is one, dates what it signed.
    Key {
        /// The key.
        key: PublicKey,
        /// Whose logs and timestamp authorities date what it signed. None: nothing is dated.
        dating: Option<TrustMaterial>,
    },
    /// An own authority: its certificates are valid only at a time that a root's services verified.
    Certificates {
        /// The authority's certificates.
        roots: CertificateRoots,
        /// Whose logs and timestamp authorities date what was signed.
        dating: TrustMaterial,
    },
}

/// The name of an anchor: evidence under one is none under another.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AnchorId {
    /// A trust root by its name.
    TrustRoot(String),
    /// A key.
    #[serde(rename_all = "camelCase")]
    Key {
        /// Its fingerprint.
        sha256: KeyFingerprint,
        /// The name of the root that dates.
        #[serde(skip_serializing_if = "Option::is_none")]
        dated_by: Option<String>,
    },
    /// An own authority.
    #[serde(rename_all = "camelCase")]
    Certificates {
        /// Digest of its certificates.
        sha256: Digest,
        /// The name of the root that dates.
        dated_by: String,
    },
}

impl Anchor {
    /// The root whose logs and timestamp authorities date what is signed; none where nobody does.
    pub(crate) fn dating(&self) -> Option<&TrustMaterial> {
        match self {
            Self::Root(root) | Self::Certificates { dating: root, .. } => Some(root),
            Self::Key { dating, .. } => dating.as_ref(),
        }
    }

    /// The anchor's name.
    pub fn id(&self) -> AnchorId {
        match self {
            Self::Root(root) => AnchorId::TrustRoot(root.name().to_owned()),
            Self::Key { key, dating } => AnchorId::Key {
                sha256: key.fingerprint().clone(),
                dated_by: dating.as_ref().map(|root| root.name().to_owned()),
            },
            Self::Certificates { roots, dating } => {
                AnchorId::Certificates { sha256: roots.digest().clone(), dated_by: dating.name().to_owned() }
            }
        }
    }

    /// Digest of all the material: two anchors with the same digest verify alike.
    pub fn digest(&self) -> Digest {
        let dating =
            |root: Option<&TrustMaterial>| root.map_or_else(|| "-".to_owned(), |root| root.digest().to_string());
        // The root's name is a fact of the evidence; the parts have fixed lengths or come last.
        let text = match self {
            Self::Root(root) => format!("root {} {}", root.digest(), root.name()),
            Self::Key { key, dating: root } => {
                let name = root.as_ref().map_or("", TrustMaterial::name);
                format!("key {} {} {name}", key.fingerprint(), dating(root.as_ref()))
            }
            Self::Certificates { roots, dating: root } => {
                format!("certificates {} {} {}", roots.digest(), root.digest(), root.name())
            }
        };
        Digest::of(text.as_bytes())
    }
}

impl AnchorId {
    /// The name of the trust root in it, if there is one.
    pub fn root(&self) -> Option<&str> {
        match self {
            Self::TrustRoot(name) => Some(name),
            Self::Key { dated_by, .. } => dated_by.as_deref(),
            Self::Certificates { dated_by, .. } => Some(dated_by),
        }
    }
}

impl fmt::Display for AnchorId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustRoot(name) => formatter.write_str(name),
            Self::Key { sha256, dated_by: None } => write!(formatter, "{sha256}"),
            Self::Key { sha256, dated_by: Some(root) } => write!(formatter, "{sha256} dated by {root}"),
            Self::Certificates { sha256, dated_by } => write!(formatter, "certificates {sha256} dated by {dated_by}"),
        }
    }
}
