//! Policies: from the stored object to what can be evaluated, which images they select, and their verdicts.
//!
//! One parser for every way in: the cluster's watch, the command line, and later the webhook for our own kinds. Evaluation is a
//! pure function of verified evidence; it is done anew for every request.

mod evaluate;
mod matcher;
mod parse;
mod select;
mod snapshot;

use std::fmt;
use std::sync::Arc;

use crate::image::ImagePattern;
use crate::trust::{PublicKey, TrustRoots};
use crate::verify::{Anchor, AnchorId};

pub use crate::api::{Action, Tags};
pub use evaluate::{
    AuthorityTrace, ErrorReason, FailReason, NearMiss, Outcome, Problem, Verdict, evaluate, refused, through_children,
    undecided, unparsable,
};
pub use matcher::{MatcherError, NameGlob, StringMatcher};
pub use parse::PolicyError;
pub use select::{Namespace, NamespaceLabels, Scope};
pub use snapshot::{Selected, Snapshot, Unmatched};

/// The name of a policy, as messages give it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A policy that parsed. Built only by [`Policy::parse`].
#[derive(Debug)]
pub struct Policy {
    name: PolicyName,
    action: Action,
    images: Vec<ImagePattern>,
    exclude: Vec<ImagePattern>,
    namespaces: select::NamespaceMatch,
    tags: Tags,
    authorities: Vec<Authority>,
    require: Requirement,
}

impl Policy {
    /// The policy's name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// What a verdict that is no pass does to the request.
    pub fn action(&self) -> Action {
        self.action
    }

    /// How tags are treated.
    pub fn tags(&self) -> Tags {
        self.tags
    }

    /// The names of the trust roots that the policy needs.
    pub fn trust_roots(&self) -> impl Iterator<Item = &str> {
        self.authorities.iter().filter_map(|authority| match &authority.signers {
            Signers::Keyless { trust_root, .. } => Some(trust_root.as_str()),
            Signers::Keys(_) => None,
        })
    }

    /// What evidence for this policy is verified under. A root that is not there is left out: its authorities stay unsatisfied.
    pub fn anchors(&self, roots: &TrustRoots) -> Vec<Anchor> {
        let anchors = |authority: &Authority| match &authority.signers {
            Signers::Keyless { trust_root, .. } => {
                roots.find(trust_root).cloned().map(Anchor::Root).into_iter().collect()
            }
            Signers::Keys(keys) => {
                keys.iter().map(|key| Anchor::Key { key: key.key.clone(), dating: None }).collect::<Vec<Anchor>>()
            }
        };
        self.authorities.iter().flat_map(anchors).collect()
    }
}

/// A stored policy that did not parse: it selects by what can be read of its images, and admits nothing that it selects.
#[derive(Debug)]
pub struct InvalidPolicy {
    name: PolicyName,
    /// None: the patterns did not parse either, and everything is selected.
    images: Option<Vec<ImagePattern>>,
    error: PolicyError,
}

impl InvalidPolicy {
    /// The policy's name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// Why it did not parse.
    pub fn error(&self) -> &PolicyError {
        &self.error
    }
}

/// Somebody whose signature or attestation counts.
#[derive(Debug)]
struct Authority {
    name: String,
    signers: Signers,
    /// None: a signature of the image itself.
    predicate_type: Option<String>,
}

#[derive(Debug)]
enum Signers {
    Keyless { trust_root: String, identities: Vec<Identity> },
    Keys(Vec<NamedKey>),
}

impl Signers {
    /// Whether evidence under this anchor is this authority's business.
    fn stand_on(&self, anchor: &AnchorId) -> bool {
        match (self, anchor) {
            (Self::Keyless { trust_root, .. }, AnchorId::TrustRoot(name)) => trust_root == name,
            (Self::Keys(keys), AnchorId::Key { sha256, dated_by: None }) => {
                keys.iter().any(|key| key.key.fingerprint() == sha256)
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Identity {
    issuer: StringMatcher,
    subject: StringMatcher,
}

#[derive(Debug)]
struct NamedKey {
    name: String,
    key: PublicKey,
}

/// How authorities combine; the leaves are positions in [`Policy::authorities`], checked when parsed.
#[derive(Debug)]
enum Requirement {
    Authority(usize),
    AllOf(Vec<Requirement>),
    AnyOf(Vec<Requirement>),
}

impl Requirement {
    /// Whether the authorities that are satisfied satisfy the requirement. Empty lists do not parse.
    fn holds(&self, satisfied: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Authority(position) => satisfied(*position),
            Self::AllOf(items) => !items.is_empty() && items.iter().all(|item| item.holds(satisfied)),
            Self::AnyOf(items) => items.iter().any(|item| item.holds(satisfied)),
        }
    }

    fn reaches(&self, position: usize) -> bool {
        match self {
            Self::Authority(own) => *own == position,
            Self::AllOf(items) | Self::AnyOf(items) => items.iter().any(|item| item.reaches(position)),
        }
    }
}

#[cfg(test)]
mod tests;
