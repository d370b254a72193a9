//! What one request is judged by: policies, revocations, trust roots, namespaces and the rule for unmatched images, as they
//! were at one moment.
//!
//! A request takes one `Arc<Snapshot>` and never looks again. A name that is missing here is missing: it gives an `Error`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::select::Applies;
use super::{InvalidPolicy, Namespace, NamespaceLabels, Policy, Scope};
use crate::image::{Digest, Repository};
use crate::revocation::Revocations;
use crate::trust::TrustRoots;

/// What happens to an image that no enforcing policy selects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unmatched {
    /// It is allowed.
    Allow,
    /// It is allowed with a warning.
    Warn,
    /// It is denied.
    Deny,
}

/// The state of one moment.
#[derive(Debug)]
pub struct Snapshot {
    policies: Vec<Arc<Policy>>,
    invalid: Vec<Arc<InvalidPolicy>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    revocations: Revocations,
    roots: TrustRoots,
    unmatched: Unmatched,
}

/// The policies that govern one image.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// Those that apply.
    pub policies: Vec<Arc<Policy>>,
    /// Those that would apply to a namespace with certain labels, which nobody knows.
    pub undecided: Vec<Arc<Policy>>,
    /// Those that do not parse.
    pub invalid: Vec<Arc<InvalidPolicy>>,
}

impl Selected {
    /// Whether nothing governs the image.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.undecided.is_empty() && self.invalid.is_empty()
    }
}

impl Snapshot {
    /// A snapshot of these parts, with no revocations.
    pub fn new(roots: TrustRoots, unmatched: Unmatched) -> Self {
        Self {
            policies: Vec::new(),
            invalid: Vec::new(),
            namespaces: BTreeMap::new(),
            revocations: Revocations::none(),
            roots,
            unmatched,
        }
    }

    /// With these policies, the valid and the invalid.
    #[must_use]
    pub fn with_policies(mut self, policies: Vec<Arc<Policy>>, invalid: Vec<Arc<InvalidPolicy>>) -> Self {
        self.policies = policies;
        self.invalid = invalid;
        self
    }

    /// With the labels of these namespaces, by name.
    #[must_use]
    pub fn with_namespaces(mut self, namespaces: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// With these revocations: of the cluster's objects, and of whatever else revokes.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// The policies that govern an image. Without a digest, those that may govern it once its tag is resolved.
    pub fn select(&self, repository: &Repository, digest: Option<&Digest>, scope: &Scope) -> Selected {
        self.select_by(
            |policy| policy.applies(repository, digest, scope),
            |invalid| invalid.applies(repository, digest),
        )
    }

    /// The policies that govern anything in a scope: those of an image of which nobody can say what it is.
    pub fn select_any(&self, scope: &Scope) -> Selected {
        self.select_by(|policy| policy.applies_within(scope), |_| true)
    }

    fn select_by(
        &self,
        applies: impl Fn(&Policy) -> Applies,
        invalid_applies: impl Fn(&InvalidPolicy) -> bool,
    ) -> Selected {
        let mut selected = Selected::default();
        for policy in &self.policies {
            match applies(policy) {
                Applies::Yes => selected.policies.push(Arc::clone(policy)),
                Applies::No => {}
                Applies::Undecided => selected.undecided.push(Arc::clone(policy)),
            }
        }
        // A policy that is in force in its last good form speaks for itself where that form governs; elsewhere what it meant to
        // say now denies.
        let speaks = |invalid: &InvalidPolicy| selected.policies.iter().any(|policy| policy.name() == invalid.name());
        let invalid = self.invalid.iter().filter(|policy| invalid_applies(policy) && !speaks(policy));
        selected.invalid = invalid.map(Arc::clone).collect();
        selected
    }

    /// A namespace by name, with its labels if they are known.
    pub fn namespace(&self, name: &str) -> Namespace {
        let labels = self.namespaces.get(name).cloned().map_or(NamespaceLabels::Unknown, NamespaceLabels::Known);
        Namespace { name: name.to_owned(), labels }
    }

    /// Whether some policy selects by the labels of namespaces, so that an unknown namespace is worth a look.
    pub fn needs_labels(&self) -> bool {
        self.policies.iter().any(|policy| policy.selects_by_labels())
    }

    /// The revocations.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The policies that parse.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// The trust roots.
    pub fn roots(&self) -> &TrustRoots {
        &self.roots
    }

    /// The rule for images that no enforcing policy selects.
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    /// How many policies there are: those that parse, and those that do not.
    pub fn policy_counts(&self) -> (usize, usize) {
        (self.policies.len(), self.invalid.len())
    }
}
