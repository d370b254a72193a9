//! From a stored object to a [`Policy`], or to the reason why not.
//!
//! Strict: unknown fields, empty lists, names that nothing bears, authorities that nothing reaches are refused. The bounds of the
//! schema hold here too, because files and old objects do not pass the API server.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::matcher::{MatcherError, StringMatcher};
use super::select::NamespaceMatch;
use super::{Action, Authority, Identity, InvalidPolicy, NamedKey, Policy, PolicyName, Requirement, Signers, Tags};
use crate::api;
use crate::image::{ImagePattern, PatternError};
use crate::trust::{PublicKey, TrustError};

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
struct Object {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: api::ClusterSignaturePolicySpec,
    #[serde(default, rename = "status")]
    _status: Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Policy {
    /// Parses a `ClusterSignaturePolicy` as stored or as read from a file.
    ///
    /// # Errors
    /// The rule that the object breaks, with the place.
    pub fn parse(object: &Value) -> Result<Self, PolicyError> {
        check_kind(object)?;
        let Object { metadata, spec, .. } = serde_path_to_error::deserialize(object).map_err(|error| {
            PolicyError::Shape { path: error.path().to_string(), reason: error.inner().to_string() }
        })?;
        check_kinds_of_nodes(object, &spec)?;
        let authorities = authorities(&spec.authorities)?;
        let require = requirement(spec.require.as_ref(), &authorities)?;
        if let Some((_, authority)) = authorities.iter().enumerate().find(|(position, _)| !require.reaches(*position)) {
            return Err(PolicyError::UnreachedAuthority { name: authority.name.clone() });
        }
        Ok(Self {
            name: PolicyName::new(&metadata.name),
            action: spec.action.unwrap_or(Action::Enforce),
            images: patterns("spec.images", &spec.images, 1)?,
            exclude: patterns("spec.exclude", &spec.exclude, 0)?,
            namespaces: NamespaceMatch::parse(spec.matches.as_ref())?,
            tags: spec.tags.unwrap_or(Tags::Pin),
            authorities,
            require,
        })
    }
}

impl InvalidPolicy {
    /// What can be read of an object that [`Policy::parse`] refused: its name, and its images if every pattern of them parses.
    pub fn salvage(object: &Value, error: PolicyError) -> Self {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("(no name)");
        let images = object
            .pointer("/spec/images")
            .and_then(|images| Vec::<String>::deserialize(images).ok())
            .and_then(|images| patterns("spec.images", &images, 1).ok());
        Self { name: PolicyName::new(name), images, error }
    }
}

fn check_kind(object: &Value) -> Result<(), PolicyError> {
    let expected =
        [("apiVersion", format!("{}/{}", api::GROUP, api::VERSION)), ("kind", "ClusterSignaturePolicy".into())];
    for (field, expected) in expected {
        let found = object.get(field).and_then(Value::as_str).unwrap_or_default();
        if found != expected {
            return Err(PolicyError::OtherKind { field, found: found.to_owned(), expected });
        }
    }
    Ok(())
}

/// Refuses a list where an object is needed, and an object where a word is: serde reads both, the API server's schema does not.
fn check_kinds_of_nodes(object: &Value, spec: &api::ClusterSignaturePolicySpec) -> Result<(), PolicyError> {
    let shape = |path: &str, reason: &str| PolicyError::Shape { path: path.to_owned(), reason: reason.to_owned() };
    if !object.get("metadata").is_some_and(Value::is_object) {
        return Err(shape("metadata", "an object is needed"));
    }
    let read = serde_json::to_value(spec).map_err(|error| shape("spec", &error.to_string()))?;
    match other_kind(object.get("spec").unwrap_or(&Value::Null), &read, "spec") {
        Some(path) => Err(shape(&path, "it is a list, an object or a word where another of these is needed")),
        None => Ok(()),
    }
}

/// The path of a node that was written as another kind of JSON than it is read as. What was left out is not looked for.
fn other_kind(written: &Value, read: &Value, path: &str) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            let both = read.iter().filter_map(|(key, read)| Some((key, written.get(key)?, read)));
            both.into_iter().find_map(|(key, written, read)| other_kind(written, read, &format!("{path}.{key}")))
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let items = written.iter().zip(read).enumerate();
            items.into_iter().find_map(|(at, (written, read))| other_kind(written, read, &format!("{path}[{at}]")))
        }
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => Some(path.to_owned()),
        _ => None,
    }
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

fn check_names<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_length(field, name, 63)?;
        if !seen.insert(name) {
            return Err(PolicyError::DuplicateName { field: field.to_owned(), name: name.to_owned() });
        }
    }
    Ok(())
}

fn patterns(field: &str, texts: &[String], minimum: usize) -> Result<Vec<ImagePattern>, PolicyError> {
    check_count(field, texts.len(), minimum, 256)?;
    let parse = |(position, text): (usize, &String)| {
        ImagePattern::parse(text)
            .map_err(|source| PolicyError::Pattern { field: format!("{field}[{position}]"), source })
    };
    texts.iter().enumerate().map(parse).collect()
}

fn authorities(specs: &[api::Authority]) -> Result<Vec<Authority>, PolicyError> {
    check_count("spec.authorities", specs.len(), 1, 16)?;
    check_names("spec.authorities", specs.iter().map(|authority| authority.name.as_str()))?;
    specs.iter().enumerate().map(|(position, spec)| authority(&format!("spec.authorities[{position}]"), spec)).collect()
}

fn authority(field: &str, spec: &api::Authority) -> Result<Authority, PolicyError> {
    let signers = match (&spec.keyless, &spec.keys) {
        (Some(keyless), None) => keyless_signers(&format!("{field}.keyless"), keyless)?,
        (None, Some(keys)) => Signers::Keys(named_keys(&format!("{field}.keys"), keys)?),
        _ => return Err(PolicyError::NotOneOf { field: field.to_owned(), choices: "keyless and keys" }),
    };
    let predicate_type = spec.attestation.as_ref().map(|attestation| attestation.predicate_type.clone());
    if let Some(predicate_type) = &predicate_type {
        check_length(&format!("{field}.attestation.predicateType"), predicate_type, 512)?;
    }
    Ok(Authority { name: spec.name.clone(), signers, predicate_type })
}

fn keyless_signers(field: &str, keyless: &api::Keyless) -> Result<Signers, PolicyError> {
    check_length(&format!("{field}.trustRoot"), &keyless.trust_root, 253)?;
    check_count(&format!("{field}.identities"), keyless.identities.len(), 1, 32)?;
    let identity = |(position, identity): (usize, &api::Identity)| {
        let matcher = |part: &str, spec: &api::StringMatch| {
            StringMatcher::parse(spec).map_err(|source| PolicyError::Matcher {
                field: format!("{field}.identities[{position}].{part}"),
                source,
            })
        };
        Ok(Identity { issuer: matcher("issuer", &identity.issuer)?, subject: matcher("subject", &identity.subject)? })
    };
    let identities = keyless.identities.iter().enumerate().map(identity).collect::<Result<_, PolicyError>>()?;
    Ok(Signers::Keyless { trust_root: keyless.trust_root.clone(), identities })
}

fn named_keys(field: &str, keys: &[api::Key]) -> Result<Vec<NamedKey>, PolicyError> {
    check_count(field, keys.len(), 1, 16)?;
    check_names(field, keys.iter().map(|key| key.name.as_str()))?;
    let key = |(position, key): (usize, &api::Key)| {
        let field = format!("{field}[{position}].pem");
        check_length(&field, &key.pem, 8_192)?;
        let parsed = PublicKey::parse_pem(&key.pem).map_err(|source| PolicyError::Key { field, source })?;
        Ok(NamedKey { name: key.name.clone(), key: parsed })
    };
    keys.iter().enumerate().map(key).collect()
}

fn requirement(spec: Option<&api::Requirement>, authorities: &[Authority]) -> Result<Requirement, PolicyError> {
    let Some(spec) = spec else {
        return if authorities.len() == 1 { Ok(Requirement::Authority(0)) } else { Err(PolicyError::RequireMissing) };
    };
    let items = |field: &str, items: &[api::RequirementItem]| {
        check_count(field, items.len(), 1, 16)?;
        let item = |(position, item)| requirement_item(&format!("{field}[{position}]"), item, authorities);
        items.iter().enumerate().map(item).collect::<Result<Vec<_>, _>>()
    };
    match (&spec.all_of, &spec.any_of) {
        (Some(list), None) => Ok(Requirement::AllOf(items("spec.require.allOf", list)?)),
        (None, Some(list)) => Ok(Requirement::AnyOf(items("spec.require.anyOf", list)?)),
        _ => Err(PolicyError::NotOneOf { field: "spec.require".to_owned(), choices: "allOf and anyOf" }),
    }
}

fn requirement_item(
    field: &str,
    item: &api::RequirementItem,
    authorities: &[Authority],
) -> Result<Requirement, PolicyError> {
    let leaf = |field: &str, name: &str| {
        let found = authorities.iter().position(|authority| authority.name == name);
        found
            .map(Requirement::Authority)
            .ok_or_else(|| PolicyError::UnknownAuthority { field: field.to_owned(), name: name.to_owned() })
    };
    let leaves = |part: &str, names: &[api::AuthorityName]| {
        let field = format!("{field}.{part}");
        check_count(&field, names.len(), 1, 16)?;
        names.iter().map(|name| leaf(&field, &name.authority)).collect::<Result<Vec<_>, _>>()
    };
    match (&item.authority, &item.all_of, &item.any_of) {
        (Some(name), None, None) => leaf(field, name),
        (None, Some(names), None) => Ok(Requirement::AllOf(leaves("allOf", names)?)),
        (None, None, Some(names)) => Ok(Requirement::AnyOf(leaves("anyOf", names)?)),
        _ => Err(PolicyError::NotOneOf { field: field.to_owned(), choices: "authority, allOf and anyOf" }),
    }
}
