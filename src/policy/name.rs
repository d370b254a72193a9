//! The name of a policy, as messages give it, and where the policy comes from.
//!
//! Two policies of one name and different kinds, namespaces or feeds are different policies, and read differently: no name of an object
//! holds a `/` or a blank.

use std::fmt;
use std::sync::Arc;

/// Where a policy comes from, which says what it may do.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PolicySource {
    /// A `ClusterSignaturePolicy`.
    Cluster,
    /// A `SignaturePolicy` of this namespace.
    Namespace(Arc<str>),
    /// A `SignaturePolicy` that a feed delivered. It never counts as a match.
    Feed {
        /// The feed's name.
        feed: Arc<str>,
        /// The namespace that it governs.
        namespace: Arc<str>,
    },
    /// No policy, but the cluster's own rules: what cannot be judged because of them.
    Rules,
}

/// The name of a policy.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyName {
    source: PolicySource,
    /// As messages give it.
    text: Arc<str>,
}

impl PolicyName {
    pub(super) fn cluster(name: &str) -> Self {
        Self { source: PolicySource::Cluster, text: name.into() }
    }

    pub(super) fn namespaced(namespace: &str, name: &str) -> Self {
        Self { source: PolicySource::Namespace(namespace.into()), text: format!("{namespace}/{name}").into() }
    }

    /// The name of what stands in the place of a policy where the cluster's rules themselves keep an image from being judged.
    pub(super) fn rules(what: &str) -> Self {
        Self { source: PolicySource::Rules, text: what.into() }
    }

    /// The same policy, delivered by a feed.
    pub(super) fn of_feed(self, feed: &str) -> Self {
        match self.source {
            PolicySource::Namespace(namespace) => {
                let text = format!("{} (feed {feed})", self.text).into();
                Self { source: PolicySource::Feed { feed: feed.into(), namespace }, text }
            }
            PolicySource::Cluster | PolicySource::Feed { .. } | PolicySource::Rules => self,
        }
    }

    /// The name: of a policy of the cluster by itself, of another one behind its namespace and `/`, with its feed if it has one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the policy comes from.
    pub fn source(&self) -> &PolicySource {
        &self.source
    }

    /// The kind of object that it is.
    pub fn kind(&self) -> &'static str {
        match self.source {
            PolicySource::Cluster => "ClusterSignaturePolicy",
            PolicySource::Namespace(_) | PolicySource::Feed { .. } => "SignaturePolicy",
            PolicySource::Rules => "CountersignConfig",
        }
    }

    /// The one namespace that it governs, if it lives in one.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match &self.source {
            PolicySource::Namespace(namespace) | PolicySource::Feed { namespace, .. } => Some(namespace),
            PolicySource::Cluster | PolicySource::Rules => None,
        }
    }

    /// The feed that delivered it, if one did.
    pub fn feed(&self) -> Option<&str> {
        match &self.source {
            PolicySource::Feed { feed, .. } => Some(feed),
            PolicySource::Cluster | PolicySource::Namespace(_) | PolicySource::Rules => None,
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
