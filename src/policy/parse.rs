//! From a stored object to a [`Policy`], or to the reason why not.
//!
//! Strict: unknown fields, null, empty lists, names that nothing bears, authorities that nothing reaches are refused. The bounds of the
//! schema hold here too, because files and old objects do not pass the API server.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::authority::authorities;
use super::matcher::MatcherError;
use super::select::NamespaceMatch;
use super::{Action, InvalidPolicy, Policy, PolicyName, Requirement, Tags};
use crate::api;
use crate::image::{ImagePattern, PatternError};
use crate::trust::TrustError;

/// The kind of policies for the whole cluster.
const CLUSTER: &str = "ClusterSignaturePolicy";
/// The kind of policies for one namespace.
pub(super) const NAMESPACED: &str = "SignaturePolicy";

/// A policy that does not parse: always the fault of its author.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not an object of our kind and version.
    #[error("{field} is {found:?}, not {expected:?}")]
    OtherKind {
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// What was found.
        found: String,
        /// What is read.
        expected: String,
    },
    /// An unknown field, a missing one, or one of another type.
    #[error("at {path}: {reason}")]
    Shape {
        /// The path to the field.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A list that is empty or too long.
    #[error("{field} has {found} entries, {minimum} to {maximum} are needed")]
    Count {
        /// The list.
        field: String,
        /// How many entries it has.
        found: usize,
        /// How many it must have.
        minimum: usize,
        /// How many it may have.
        maximum: usize,
    },
    /// A name or text that is empty or too long.
    #[error("{field} has {found} bytes, 1 to {maximum} are needed")]
    Length {
        /// The field.
        field: String,
        /// Its length in bytes.
        found: usize,
        /// How many bytes it may have.
        maximum: usize,
    },
    /// An image pattern that does not parse.
    #[error("{field}: {source}")]
    Pattern {
        /// The field.
        field: String,
        /// Why.
        source: PatternError,
    },
    /// A matcher that does not parse.
    #[error("{field}: {source}")]
    Matcher {
        /// The field.
        field: String,
        /// Why.
        source: MatcherError,
    },
    /// A key that does not parse.
    #[error("{field}: {source}")]
    Key {
        /// The field.
        field: String,
        /// Why.
        source: TrustError,
    },
    /// Certificates of an own authority that do not parse.
    #[error("{field}: {source}")]
    Certificates {
        /// The field.
        field: String,
        /// Why.
        source: TrustError,
    },
    /// A text that is no time.
    #[error("{field}: {found:?} is no time of RFC 3339 such as 2026-01-31T00:00:00Z")]
    Time {
        /// The field.
        field: String,
        /// The text.
        found: String,
    },
    /// A text that is no length of time.
    #[error("{field}: {found:?} is no length of time such as 90d, 24h or 1h30m, up to 100 years")]
    Duration {
        /// The field.
        field: String,
        /// The text.
        found: String,
    },
    /// A claim that no certificate makes.
    #[error("{field}: no claim is named {name:?}; did you mean {nearest}?")]
    UnknownClaim {
        /// The field.
        field: String,
        /// The name.
        name: String,
        /// The known name that is most like it.
        nearest: &'static str,
    },
    /// A demand that would do nothing, or that nothing could meet.
    #[error("{field}: {reason}")]
    Useless {
        /// The field.
        field: String,
        /// Why.
        reason: &'static str,
    },
    /// A threshold that can never be met.
    #[error("{field} is {wanted}, and different signers can satisfy 1 to {possible} of the items")]
    Threshold {
        /// The field.
        field: String,
        /// How many items are wanted.
        wanted: usize,
        /// How many different signers can satisfy at most.
        possible: usize,
    },
    /// Not exactly one of the fields that exclude each other.
    #[error("{field}: exactly one of {choices} is needed")]
    NotOneOf {
        /// The field.
        field: String,
        /// The fields to choose from.
        choices: &'static str,
    },
    /// Two entries of a list bear one name.
    #[error("{field}: the name {name:?} is given twice")]
    DuplicateName {
        /// The list.
        field: String,
        /// The name.
        name: String,
    },
    /// A name that no authority bears.
    #[error("{field}: no authority is named {name:?}")]
    UnknownAuthority {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
    /// An authority that `require` does not reach.
    #[error("require does not reach the authority {name:?}; name it there or delete it")]
    UnreachedAuthority {
        /// The authority's name.
        name: String,
    },
    /// Two or more authorities without `require`.
    #[error("two or more authorities need require to say how they combine")]
    RequireMissing,
    /// A label expression whose operator and values do not fit.
    #[error("{field}: In and NotIn need values, Exists and DoesNotExist take none")]
    LabelValues {
        /// The field.
        field: String,
    },
}

/// The object around the spec; its kind has been checked before it is read. `status` is ours to write and nobody's to read here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: S,
    #[serde(default, rename = "status")]
    _status: Value,
}

/// What is read of an object's metadata.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    namespace: Option<String>,
}

impl Policy {
    /// Parses a `ClusterSignaturePolicy` or a `SignaturePolicy` as stored or as read from a file.
    ///
    /// # Errors
    /// The rule that the object breaks, with the place.
    pub fn parse(object: &Value) -> Result<Self, PolicyError> {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        if kind == NAMESPACED {
            let (metadata, spec) = read::<api::SignaturePolicySpec>(object, NAMESPACED)?;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            check_length("metadata.namespace", namespace, 63)?;
            check_length("metadata.name", &metadata.name, 253)?;
            Self::of(PolicyName::namespaced(namespace, &metadata.name), &spec.into())
        } else {
            let (metadata, spec) = read::<api::ClusterSignaturePolicySpec>(object, CLUSTER)?;
            check_length("metadata.name", &metadata.name, 253)?;
            Self::of(PolicyName::cluster(&metadata.name), &spec)
        }
    }

    fn of(name: PolicyName, spec: &api::ClusterSignaturePolicySpec) -> Result<Self, PolicyError> {
        let authorities = authorities(&spec.authorities)?;
        let require = Requirement::parse(spec.require.as_ref(), &authorities)?;
        if let Some((_, authority)) = authorities.iter().enumerate().find(|(position, _)| !require.reaches(*position)) {
            return Err(PolicyError::UnreachedAuthority { name: authority.name.clone() });
        }
        Ok(Self {
            namespaces: NamespaceMatch::parse(name.namespace(), spec.matches.as_ref())?,
            name,
            action: spec.action.unwrap_or(Action::Enforce),
            images: patterns("spec.images", &spec.images, 1)?,
            exclude: patterns("spec.exclude", &spec.exclude, 0)?,
            tags: spec.tags.unwrap_or(Tags::Pin),
            authorities,
            require,
        })
    }
}

impl InvalidPolicy {
    /// What can be read of an object that [`Policy::parse`] refused: its name, and its images if every pattern of them parses.
    pub fn salvage(object: &Value, error: PolicyError) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or("(no name)");
        let name = match (text("/kind"), text("/metadata/namespace")) {
            (Some(NAMESPACED), Some(namespace)) => PolicyName::namespaced(namespace, name),
            _ => PolicyName::cluster(name),
        };
        let images = object
            .pointer("/spec/images")
            .and_then(|images| Vec::<String>::deserialize(images).ok())
            .and_then(|images| patterns("spec.images", &images, 1).ok());
        Self { name, images, error }
    }
}

/// Reads an object of this kind and our version: its metadata and its spec.
pub(super) fn read<S: DeserializeOwned + Serialize>(object: &Value, kind: &str) -> Result<(Metadata, S), PolicyError> {
    api::check_kind(object, kind).map_err(|other| PolicyError::OtherKind {
        field: other.field,
        found: other.found,
        expected: other.expected,
    })?;
    let shape = |found: api::Misshapen| PolicyError::Shape { path: found.path, reason: found.reason };
    api::check_no_null(object).map_err(shape)?;
    let Object { metadata, spec, .. } = serde_path_to_error::deserialize(object)
        .map_err(|error| PolicyError::Shape { path: error.path().to_string(), reason: error.inner().to_string() })?;
    api::check_kinds_of_nodes(object, &spec).map_err(shape)?;
    check_length("metadata.name", &metadata.name, 253)?;
    Ok((metadata, spec))
}

pub(super) fn check_count(field: &str, found: usize, minimum: usize, maximum: usize) -> Result<(), PolicyError> {
    if (minimum..=maximum).contains(&found) {
        return Ok(());
    }
    Err(PolicyError::Count { field: field.to_owned(), found, minimum, maximum })
}

pub(super) fn check_length(field: &str, text: &str, maximum: usize) -> Result<(), PolicyError> {
    if (1..=maximum).contains(&text.len()) {
        return Ok(());
    }
    Err(PolicyError::Length { field: field.to_owned(), found: text.len(), maximum })
}

pub(super) fn check_names<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_length(field, name, 63)?;
        if !seen.insert(name) {
            return Err(PolicyError::DuplicateName { field: field.to_owned(), name: name.to_owned() });
        }
    }
    Ok(())
}

pub(super) fn patterns(field: &str, texts: &[String], minimum: usize) -> Result<Vec<ImagePattern>, PolicyError> {
    check_count(field, texts.len(), minimum, 256)?;
    let parse = |(position, text): (usize, &String)| {
        ImagePattern::parse(text)
            .map_err(|source| PolicyError::Pattern { field: format!("{field}[{position}]"), source })
    };
    texts.iter().enumerate().map(parse).collect()
}
