//! What a feed delivered: revocations and policies of namespaces, as far as the feed may speak of them.
//!
//! A feed can only take away. Its policies add requirements and never count as a match; its revocations strike out. What lies outside
//! of `allow` is refused object by object, or entry by entry of a revocation, and told. A policy that the feed may speak of and that
//! does not parse denies what it selects, as a stored one would. How the bytes came, and that TUF vouches for them, is `feeds`'.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::config::FeedRule;
use super::matcher::StringMatcher;
use super::parse::NAMESPACED;
use super::{InvalidPolicy, Policy, json};
use crate::image::{Digest, Repository};
use crate::revocation::Revocation;

/// Bytes of a feed, few enough that it can be kept in the cluster.
const BYTES_LIMIT: usize = 512 << 10;
/// Objects of a feed.
const OBJECTS_LIMIT: usize = 1_000;
/// Lists of a revocation whose entries each name one thing.
const SINGLE: [&str; 2] = ["artifacts", "logEntries"];
/// Lists of a revocation that would reach beyond what any `allow` says: keys and certificates sign for any issuer, services serve all.
const TOO_WIDE: [&str; 3] = ["keys", "certificates", "services"];

/// A feed that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FeedError {
    /// Too many bytes.
    #[error("the feed has {found} bytes, more than {BYTES_LIMIT}")]
    TooLarge {
        /// How many.
        found: usize,
    },
    /// Too many objects.
    #[error("the feed holds {found} objects, more than {OBJECTS_LIMIT}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// No JSON, or an object of it that gives a key twice.
    #[error("the feed is no JSON: {reason}")]
    Unreadable {
        /// Why not.
        reason: String,
    },
}

impl FeedError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => "FeedTooLarge",
            Self::Unreadable { .. } => "FeedMalformed",
        }
    }
}

/// An object of a feed, or an entry of one, that is not in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedObject {
    /// Which one.
    pub object: String,
    /// Why not.
    pub reason: String,
}

/// What a feed delivered.
#[derive(Debug, Default)]
pub struct Feed {
    revocations: Vec<Arc<Revocation>>,
    policies: Vec<Arc<Policy>>,
    invalid: Vec<Arc<InvalidPolicy>>,
    refused: Vec<RefusedObject>,
}

impl Feed {
    /// Reads a feed: JSON documents, each an object or a list of objects.
    ///
    /// # Errors
    /// Too large, or unreadable as a whole. Single objects that are refused are no error: see [`Feed::refused`].
    pub fn parse(bytes: &[u8], rule: &FeedRule) -> Result<Self, FeedError> {
        let mut feed = Self::default();
        for (position, object) in objects(bytes)?.iter().enumerate() {
            feed.take(position, object, rule);
        }
        Ok(feed)
    }

    /// Its revocations.
    pub fn revocations(&self) -> &[Arc<Revocation>] {
        &self.revocations
    }

    /// Its policies that parse.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Its policies that do not, and deny what they select.
    pub fn invalid(&self) -> &[Arc<InvalidPolicy>] {
        &self.invalid
    }

    /// What of it is not in force.
    pub fn refused(&self) -> &[RefusedObject] {
        &self.refused
    }

    fn take(&mut self, position: usize, object: &Value, rule: &FeedRule) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind").to_owned(), text("/metadata/name").to_owned());
        let of = |reason: String| RefusedObject { object: format!("{kind} {name} (object {position})"), reason };
        match kind.as_str() {
            NAMESPACED => match self.take_policy(object, rule) {
                Ok(()) => {}
                Err(reason) => self.refused.push(of(reason)),
            },
            "SignatureRevocation" => {
                let (object, refused) = bounded(object.clone(), rule);
                self.refused.extend(refused.into_iter().map(of));
                match Revocation::parse(&object) {
                    Ok(revocation) => {
                        let invalid = revocation.invalid().iter().map(|entry| of(entry.to_string()));
                        self.refused.extend(invalid);
                        self.revocations.push(Arc::new(revocation));
                    }
                    Err(error) => self.refused.push(of(error.to_string())),
                }
            }
            _ => self.refused.push(of("a feed holds SignatureRevocations and SignaturePolicies".to_owned())),
        }
    }

    fn take_policy(&mut self, object: &Value, rule: &FeedRule) -> Result<(), String> {
        match Policy::parse(object) {
            Ok(policy) => {
                if let Some(pattern) = policy.images.iter().find(|pattern| !rule.allows(pattern)) {
                    return Err(format!("its images reach beyond allow.images: {pattern}"));
                }
                policy.check_issuers(rule)?;
                self.policies.push(Arc::new(Policy { name: policy.name.of_feed(rule.name()), ..policy }));
            }
            Err(error) => {
                let InvalidPolicy { name, images, error } = InvalidPolicy::salvage(object, error);
                if name.namespace().is_none() {
                    return Err(error.to_string());
                }
                // Nobody knows what it would have demanded, so that it denies; of what the feed may not speak of, nothing.
                let images = match images {
                    Some(images) if images.iter().all(|pattern| rule.allows(pattern)) => images,
                    Some(_) => return Err(format!("its images reach beyond allow.images, and {error}")),
                    None => rule.images.clone(),
                };
                self.refused.push(RefusedObject { object: name.to_string(), reason: error.to_string() });
                let name = name.of_feed(rule.name());
                self.invalid.push(Arc::new(InvalidPolicy { name, images: Some(images), error }));
            }
        }
        Ok(())
    }
}

impl Policy {
    /// Whether each keyless identity names an issuer that the feed may name.
    fn check_issuers(&self, rule: &FeedRule) -> Result<(), String> {
        let keyless = self.authorities.iter().filter(|authority| authority.signers.is_keyless());
        for identity in keyless.flat_map(|authority| authority.signers.identities()) {
            match identity.issuer() {
                Some(StringMatcher::Exact(issuer)) if rule.issuers.contains(issuer) => {}
                Some(StringMatcher::Exact(issuer)) => return Err(format!("allow.issuers does not name {issuer}")),
                Some(_) => return Err("a policy of a feed names its issuers exactly".to_owned()),
                None => return Err("a policy of a feed names its issuers itself, and not by tufRole".to_owned()),
            }
        }
        Ok(())
    }
}

/// The objects of a feed.
fn objects(bytes: &[u8]) -> Result<Vec<Value>, FeedError> {
    if bytes.len() > BYTES_LIMIT {
        return Err(FeedError::TooLarge { found: bytes.len() });
    }
    let unreadable = |error: &dyn std::fmt::Display| FeedError::Unreadable { reason: error.to_string() };
    let text = std::str::from_utf8(bytes).map_err(|error| unreadable(&error))?;
    let documents = json::documents(text).map_err(|error| unreadable(&error))?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Array(items) => objects.extend(items),
            other => objects.push(other),
        }
    }
    if objects.len() > OBJECTS_LIMIT {
        return Err(FeedError::TooMany { found: objects.len() });
    }
    Ok(objects)
}

/// A revocation with what the feed may revoke, under a name that tells the feed; and why the rest of it is left out.
fn bounded(mut object: Value, rule: &FeedRule) -> (Value, Vec<String>) {
    let mut refused = Vec::new();
    if let Some(fields) = object.as_object_mut() {
        // A feed has no controller that would have written it.
        fields.remove("status");
    }
    if let Some(name) = object.pointer_mut("/metadata/name")
        && let Some(own) = name.as_str()
    {
        *name = format!("{own} (feed {})", rule.name()).into();
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for list in TOO_WIDE {
            if spec.remove(list).is_some_and(|entries| entries.as_array().is_none_or(|entries| !entries.is_empty())) {
                refused.push(format!("a feed revokes {} and identities only, not {list}", SINGLE.join(", ")));
            }
        }
        if let Some(identities) = spec.get_mut("identities").and_then(Value::as_array_mut) {
            identities.retain(|identity| match identity.get("issuer").and_then(Value::as_str) {
                Some(issuer) if rule.issuers.contains(issuer) => true,
                Some(issuer) => {
                    refused.push(format!("allow.issuers does not name {issuer}"));
                    false
                }
                None => {
                    refused.push("an identity that a feed revokes has one of allow.issuers".to_owned());
                    false
                }
            });
        }
    }
    (object, refused)
}

/// What is known of one feed: what it delivered last, and until when that counts as fresh.
#[derive(Clone, Debug, Default)]
pub struct FeedState {
    /// What it delivered last. It stays in force when it is no longer fresh.
    pub delivered: Option<Arc<Feed>>,
    /// The last moment at which the delivery is fresh; none: nothing was ever delivered.
    pub fresh_until: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub problem: Option<String>,
}

/// What is known of the feeds, by name.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    by_name: BTreeMap<String, FeedState>,
}

impl Feeds {
    /// Says what is known of a feed.
    pub fn insert(&mut self, name: &str, state: FeedState) {
        self.by_name.insert(name.to_owned(), state);
    }

    /// What is known of a feed.
    pub fn find(&self, name: &str) -> Option<&FeedState> {
        self.by_name.get(name)
    }

    /// The revocations of every feed, for the set that each request is judged by.
    pub fn revocations(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        self.delivered().flat_map(|feed| feed.revocations())
    }

    pub(super) fn delivered(&self) -> impl Iterator<Item = &Arc<Feed>> {
        self.by_name.values().filter_map(|state| state.delivered.as_ref())
    }

    /// Why a feed leaves an image unjudged at this moment, if the feed may speak of it and does not count as fresh.
    pub(super) fn problem(
        &self,
        rule: &FeedRule,
        repository: &Repository,
        digest: Option<&Digest>,
        now: Timestamp,
    ) -> Option<FeedProblem> {
        if rule.may_govern(repository, digest) { self.staleness(rule, now) } else { None }
    }

    /// Why a feed does not count as fresh at this moment, if it does not.
    pub fn staleness(&self, rule: &FeedRule, now: Timestamp) -> Option<FeedProblem> {
        let state = self.by_name.get(rule.name());
        let feed = rule.name().to_owned();
        match state.and_then(|state| Some((state.delivered.as_ref()?, state.fresh_until?))) {
            Some((_, until)) if now <= until => None,
            Some((_, until)) => Some(FeedProblem::Stale { feed, until }),
            None => {
                let reason = state.and_then(|state| state.problem.clone());
                Some(FeedProblem::Unavailable { feed, reason: reason.unwrap_or_else(|| "nothing came yet".to_owned()) })
            }
        }
    }
}

/// Why the cluster's rules leave an image unjudged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FeedProblem {
    /// A feed was never delivered.
    #[error("the feed {feed} was not delivered: {reason}")]
    Unavailable {
        /// The feed's name.
        feed: String,
        /// Why not.
        reason: String,
    },
    /// What a feed delivered is too old.
    #[error("what the feed {feed} delivered was fresh until {until}")]
    Stale {
        /// The feed's name.
        feed: String,
        /// Until when it was.
        until: Timestamp,
    },
    /// The stored rules say which images a feed governs in a way that nobody understands.
    #[error("the stored CountersignConfig does not parse: {reason}")]
    ConfigInvalid {
        /// Why not.
        reason: String,
    },
}

impl FeedProblem {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "FeedUnavailable",
            Self::Stale { .. } => "FeedStale",
            Self::ConfigInvalid { .. } => "ConfigInvalid",
        }
    }

    /// What stands in the place of a policy's name.
    pub(super) fn about(&self) -> String {
        match self {
            Self::Unavailable { feed, .. } | Self::Stale { feed, .. } => format!("feed {feed}"),
            Self::ConfigInvalid { .. } => "CountersignConfig cluster".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
