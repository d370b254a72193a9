//! Policies: from the stored object to what can be evaluated, which images they select, and their verdicts.
//!
//! One parser for every way in: the cluster's watch, the command line, and later the webhook for our own kinds. Evaluation is a
//! pure function of verified evidence; it is done anew for every request.

mod authority;
mod config;
mod evaluate;
mod feed;
mod identity;
pub mod json;
mod matcher;
mod miss;
mod name;
mod parse;
mod principal;
mod proofs;
mod requirement;
mod select;
mod snapshot;
mod window;

use crate::image::ImagePattern;
use crate::trust::{RoleName, TrustRoots};
use crate::verify::{Anchor, Claim, Evidence, Signer};

use authority::Authority;
use identity::Identity;
use requirement::Requirement;

pub use crate::api::{Action, Tags, Unmatched};
pub use config::{ClusterRules, FeedRule};
pub use evaluate::{
    AuthorityTrace, ErrorReason, FailReason, NEAR_MISS_LIMIT, NearMiss, Outcome, Problem, Shortfall, Verdict, evaluate,
    refused, through_children, unconfirmed, undecided, unparsable, unruled,
};
pub use feed::{Feed, FeedError, FeedProblem, FeedState, Feeds, RefusedObject};
pub use matcher::{MatcherError, NameGlob, StringMatcher};
pub use name::{PolicyName, PolicySource};
pub use parse::PolicyError;
pub use proofs::{Lacking, Proofs};
pub use select::{Namespace, NamespaceLabels, Scope};
pub use snapshot::{Selected, Snapshot};

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
        self.authorities.iter().filter_map(|authority| authority.signers.trust_root())
    }

    /// Whether an authority knows this signer under a trust root: who it is, whatever else is asked of what was signed. Own certificates are
    /// no root's, and are left out.
    pub fn trusts(&self, root: &str, signer: &Signer, roots: &TrustRoots, now: jiff::Timestamp) -> bool {
        self.authorities.iter().any(|authority| authority.signers.name(root, signer, roots, now))
    }

    /// The delegated TUF roles whose identities the policy asks for.
    pub fn tuf_roles(&self) -> impl Iterator<Item = &RoleName> {
        self.authorities.iter().flat_map(|authority| authority.signers.identities()).filter_map(Identity::tuf_role)
    }

    /// Whether an authority wants logs to be asked.
    pub fn wants_online(&self) -> bool {
        self.authorities.iter().any(|authority| authority.proofs.wants_online())
    }

    /// What evidence is verified under for the authorities that want logs to be asked.
    pub fn online_anchors(&self, roots: &TrustRoots) -> Vec<Anchor> {
        let online = self.authorities.iter().filter(|authority| authority.proofs.wants_online());
        online.flat_map(|authority| authority.signers.anchors(roots)).collect()
    }

    /// What evidence for this policy is verified under. A root that is not there is left out: its authorities stay unsatisfied.
    pub fn anchors(&self, roots: &TrustRoots) -> Vec<Anchor> {
        self.authorities.iter().flat_map(|authority| authority.signers.anchors(roots)).collect()
    }
}

/// What evidence says, and who signed it, for people.
fn describe(evidence: &Evidence) -> String {
    let what = match evidence.claim() {
        Claim::Signature => "a signature".to_owned(),
        Claim::Attestation { predicate_type } => format!("an attestation of type {predicate_type}"),
    };
    format!("{what} signed by {}", evidence.signer())
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

#[cfg(test)]
mod demands;
#[cfg(test)]
mod tests;
