//! What one request is judged by: policies, revocations, trust roots, namespaces and the cluster's own rules with what
//! its feeds delivered, as they were at one moment.
//!
//! A request takes one `Arc<Snapshot>` and never looks again. A name that is missing here is missing: it gives an `Error`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::select::Applies;
use super::{ClusterRules, FeedProblem, Feeds, InvalidPolicy, Namespace, NamespaceLabels, Policy, Scope, Unmatched};
use crate::image::{Digest, Repository};
use crate::revocation::Revocations;
use crate::trust::TrustRoots;

/// The state of one moment.
#[derive(Debug)]
pub struct Snapshot {
    policies: Vec<Arc<Policy>>,
    invalid: Vec<Arc<InvalidPolicy>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    revocations: Revocations,
    roots: TrustRoots,
    rules: ClusterRules,
    feeds: Feeds,
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
    /// Why the cluster's own rules leave the image unjudged, such as a feed that is stale.
    pub problems: Vec<FeedProblem>,
    /// Whether a policy of the image's namespace counts as a match.
    pub delegated: bool,
}

impl Selected {
    /// Whether nothing governs the image.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.undecided.is_empty() && self.invalid.is_empty() && self.problems.is_empty()
    }
}

impl Snapshot {
    /// A snapshot of these parts, with no revocations and, beside what happens to unmatched images, no rules of the cluster.
    pub fn new(roots: TrustRoots, unmatched: Unmatched) -> Self {
        Self {
            policies: Vec::new(),
            invalid: Vec::new(),
            namespaces: BTreeMap::new(),
            revocations: Revocations::none(),
            roots,
            rules: ClusterRules::without_object(unmatched),
            feeds: Feeds::default(),
        }
    }

    /// With the cluster's own rules, which also say what happens to unmatched images.
    #[must_use]
    pub fn with_rules(mut self, rules: ClusterRules) -> Self {
        self.rules = rules;
        self
    }

    /// With what the feeds delivered. Their policies are in force; their revocations belong to the set of all revocations.
    #[must_use]
    pub fn with_feeds(mut self, feeds: Feeds) -> Self {
        self.feeds = feeds;
        self
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
        let selected = self.select_by(
            |policy| policy.applies(repository, digest, scope),
            |invalid| invalid.applies(repository, digest, scope),
        );
        Selected { delegated: self.rules.delegates(repository, digest, scope), ..selected }
    }

    /// Why the cluster's own rules leave an image unjudged at this moment: feeds that may speak of it and are not fresh.
    pub fn problems(&self, repository: &Repository, digest: Option<&Digest>, now: Timestamp) -> Vec<FeedProblem> {
        let feeds = self.rules.feeds().iter().filter_map(|rule| self.feeds.problem(rule, repository, digest, now));
        feeds.chain(self.unreadable()).collect()
    }

    /// The same for an image of which nobody can say what it is: any feed may speak of it.
    pub fn problems_of_any(&self, now: Timestamp) -> Vec<FeedProblem> {
        let feeds = self.rules.feeds().iter().filter_map(|rule| self.feeds.staleness(rule, now));
        feeds.chain(self.unreadable()).collect()
    }

    fn unreadable(&self) -> Option<FeedProblem> {
        self.rules.unreadable().map(|reason| FeedProblem::ConfigInvalid { reason: reason.to_owned() })
    }

    /// The policies that govern anything in a scope: those of an image of which nobody can say what it is.
    pub fn select_any(&self, scope: &Scope) -> Selected {
        self.select_by(|policy| policy.applies_within(scope), |invalid| invalid.applies_within(scope))
    }

    fn select_by(
        &self,
        applies: impl Fn(&Policy) -> Applies,
        invalid_applies: impl Fn(&InvalidPolicy) -> bool,
    ) -> Selected {
        let mut selected = Selected::default();
        for policy in self.policies.iter().chain(self.feeds.delivered().flat_map(|feed| feed.policies())) {
            match applies(policy) {
                Applies::Yes => selected.policies.push(Arc::clone(policy)),
                Applies::No => {}
                Applies::Undecided => selected.undecided.push(Arc::clone(policy)),
            }
        }
        // A policy that is in force in its last good form speaks for itself where that form governs; elsewhere what it meant to
        // say now denies.
        let speaks = |invalid: &InvalidPolicy| selected.policies.iter().any(|policy| policy.name() == invalid.name());
        let all = self.invalid.iter().chain(self.feeds.delivered().flat_map(|feed| feed.invalid()));
        let invalid = all.filter(|policy| invalid_applies(policy) && !speaks(policy));
        selected.invalid = invalid.map(Arc::clone).collect();
        selected
    }

    /// A namespace by name, with its labels if they are known.
    pub fn namespace(&self, name: &str) -> Namespace {
        let labels = self.namespaces.get(name).cloned().map_or(NamespaceLabels::Unknown, NamespaceLabels::Known);
        Namespace { name: name.to_owned(), labels }
    }

    /// The policies of namespaces that count as a match for no image, because no delegation names their namespace. They
    /// add requirements all the same.
    pub fn matching_nothing(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter().filter(|policy| {
            policy.name().namespace().is_some_and(|name| !self.rules.delegates_to(&self.namespace(name).labels))
        })
    }

    /// Whether some policy or delegation selects by the labels of namespaces, so that an unknown namespace is worth a look.
    pub fn needs_labels(&self) -> bool {
        self.rules.delegates_something() || self.policies.iter().any(|policy| policy.selects_by_labels())
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
        self.rules.unmatched()
    }

    /// The cluster's own rules.
    pub fn rules(&self) -> &ClusterRules {
        &self.rules
    }

    /// What the feeds delivered.
    pub fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// How many policies there are: those that parse, and those that do not.
    pub fn policy_counts(&self) -> (usize, usize) {
        (self.policies.len(), self.invalid.len())
    }
}
