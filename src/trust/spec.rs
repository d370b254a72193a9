//! From a stored `SignatureTrustRoot` to what it means: the one parser, for the controllers, the webhook and the command line.
//!
//! Strict as policies are. The bounds of the schema hold here too, because files do not pass the API server. What a mirror delivers is
//! not asked for here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use super::{EMBEDDED, GITHUB, PUBLIC_GOOD, STAGING, TrustError, TrustMaterial, inline, pki};
use crate::api::{self, OnStale, SignatureTrustRootSpec};
use crate::image::{Digest, ImageReference};

/// How often a root is refreshed, where its object does not say.
const REFRESH_INTERVAL: Duration = Duration::from_hours(6);
/// The target with the trusted root, where the object does not say.
const TARGET: &str = "trusted_root.json";
/// Bytes of JSON or of a TUF root in an object.
const JSON_LIMIT: usize = 524_288;

/// A trust root as its object declares it.
#[derive(Clone, Debug)]
pub struct RootSpec {
    name: String,
    source: RootSource,
    max_age: Option<SignedDuration>,
    on_stale: OnStale,
    refresh_interval: Duration,
    ca: Option<String>,
    operators: BTreeMap<String, String>,
    identity: Digest,
}

/// Where the keys come from.
#[derive(Clone, Debug)]
pub enum RootSource {
    /// The object has them.
    Fixed(TrustMaterial),
    /// A TUF repository delivers them.
    Tuf(TufSpec),
}

/// A TUF repository.
#[derive(Clone, Debug)]
pub struct TufSpec {
    /// Where it is.
    pub mirror: MirrorAddress,
    /// The pinned root metadata.
    pub root: PinnedRoot,
    /// The target with the trusted root.
    pub target: String,
    /// What is used until something was delivered; none: nothing.
    pub embedded: Option<TrustMaterial>,
}

/// Where a repository is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MirrorAddress {
    /// A web server: HTTPS, or plain HTTP on this machine, which is for tests.
    Web(String),
    /// A folder, by its absolute path.
    Folder(PathBuf),
    /// An artifact in a registry.
    Artifact(ImageReference),
}

/// The root metadata that everything is verified from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PinnedRoot {
    /// The bytes.
    Bytes(Arc<[u8]>),
    /// An entry of a `ConfigMap` of the controller's namespace, which somebody has to read.
    ConfigMap {
        /// The `ConfigMap`'s name.
        name: String,
        /// The entry's key.
        key: String,
    },
}

/// A `SignatureTrustRoot` that does not parse: always the fault of its author.
#[derive(Debug, thiserror::Error)]
pub enum RootSpecError {
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
    /// Not exactly one of the fields that exclude each other.
    #[error("{field}: exactly one of {choices} is needed")]
    NotOneOf {
        /// The field.
        field: &'static str,
        /// The fields to choose from.
        choices: &'static str,
    },
    /// A name that is kept for an embedded instance, or an instance under another name.
    #[error("the name {name:?} and spec.{source_field} do not belong together: {reason}")]
    Reserved {
        /// The object's name.
        name: String,
        /// The field that says where the keys come from.
        source_field: &'static str,
        /// What belongs together.
        reason: String,
    },
    /// A field whose value cannot be meant.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// Material that cannot be used.
    #[error("{field}: {source}")]
    Material {
        /// The field.
        field: String,
        /// Why.
        source: TrustError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: SignatureTrustRootSpec,
    #[serde(default, rename = "status")]
    _status: Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl RootSpec {
    /// Parses a `SignatureTrustRoot` as stored or as read from a file.
    ///
    /// # Errors
    /// The rule that the object breaks, with the place.
    pub fn parse(object: &Value) -> Result<Self, RootSpecError> {
        check_kind(object)?;
        let shape = |found: api::Misshapen| RootSpecError::Shape { path: found.path, reason: found.reason };
        api::check_no_null(object).map_err(shape)?;
        let Object { metadata: Metadata { name }, spec, .. } =
            serde_path_to_error::deserialize(object).map_err(|error| RootSpecError::Shape {
                path: error.path().to_string(),
                reason: error.inner().to_string(),
            })?;
        api::check_kinds_of_nodes(object, &spec).map_err(shape)?;
        check_name(&name)?;
        let operators = operators(spec.operators.as_deref().unwrap_or_default())?;
        let source = source(&name, &spec, &operators)?;
        let is_fixed = matches!(source, RootSource::Fixed(_));
        if is_fixed
            && (spec.max_age.is_some()
                || spec.on_stale.is_some()
                || spec.refresh_interval.is_some()
                || spec.ca.is_some())
        {
            let reason = "maxAge, onStale, refreshInterval and ca are for keys that come through TUF".to_owned();
            return Err(RootSpecError::Field { field: "spec".to_owned(), reason });
        }
        let minute = Duration::from_mins(1);
        let century = Duration::from_hours(24 * 36_525);
        let max_age = duration("spec.maxAge", spec.max_age.as_deref(), minute, century)?;
        let given =
            duration("spec.refreshInterval", spec.refresh_interval.as_deref(), minute, Duration::from_hours(24))?;
        if let (Some(max_age), Some(given)) = (max_age, given)
            && max_age < given
        {
            let reason =
                "it is shorter than refreshInterval, so that the root would be stale between refreshes".to_owned();
            return Err(RootSpecError::Field { field: "spec.maxAge".to_owned(), reason });
        }
        let usual = max_age.map_or(REFRESH_INTERVAL, |max_age| (max_age / 4).clamp(minute, REFRESH_INTERVAL));
        if let Some(ca) = &spec.ca {
            check_length("spec.ca", ca, 65_536)?;
            let found = pki::certificates(ca).map_err(|source| material("spec.ca", source))?;
            if found.is_empty() {
                let reason = "no certificate is in it".to_owned();
                return Err(RootSpecError::Field { field: "spec.ca".to_owned(), reason });
            }
            for der in &found {
                webpki::anchor_from_trusted_cert(&der.as_slice().into()).map_err(|error| {
                    let reason = format!("it holds a certificate that does not parse: {error}");
                    RootSpecError::Field { field: "spec.ca".to_owned(), reason }
                })?;
            }
        }
        let text = serde_json::to_vec(&(&name, &spec)).unwrap_or_default();
        Ok(Self {
            name,
            source,
            max_age: max_age.and_then(|max_age| SignedDuration::try_from(max_age).ok()),
            on_stale: spec.on_stale.unwrap_or(OnStale::Error),
            refresh_interval: given.unwrap_or(usual),
            ca: spec.ca,
            operators,
            identity: Digest::of(&text),
        })
    }

    /// A spec with the TUF repository of an embedded instance, as an object without any further field has it.
    ///
    /// # Errors
    /// A name that is none of [`EMBEDDED`].
    pub fn embedded(name: &str) -> Result<Self, RootSpecError> {
        let field = match name {
            PUBLIC_GOOD => "publicGood",
            STAGING => "staging",
            GITHUB => "github",
            _ => return Err(material("metadata.name", TrustError::NotEmbedded { name: name.to_owned() })),
        };
        Self::parse(&serde_json::json!({
            "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
            "kind": "SignatureTrustRoot",
            "metadata": {"name": name},
            "spec": {field: {}},
        }))
    }

    /// The name that policies use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the keys come from.
    pub fn source(&self) -> &RootSource {
        &self.source
    }

    /// How old what was delivered may grow; none: as old as its metadata is valid.
    pub fn max_age(&self) -> Option<SignedDuration> {
        self.max_age
    }

    /// What happens past that.
    pub fn on_stale(&self) -> OnStale {
        self.on_stale
    }

    /// How long to wait from one refresh to the next.
    pub fn refresh_interval(&self) -> Duration {
        self.refresh_interval
    }

    /// Certificate authorities of the mirror as PEM; none: those that are usual on the web.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// Who runs services, by their addresses, where the object says so.
    pub fn operators(&self) -> &BTreeMap<String, String> {
        &self.operators
    }

    /// The entry of a `ConfigMap` that holds the pinned root, if it has to be read first: name and key.
    pub fn root_reference(&self) -> Option<(&str, &str)> {
        match &self.source {
            RootSource::Tuf(TufSpec { root: PinnedRoot::ConfigMap { name, key }, .. }) => Some((name, key)),
            _ => None,
        }
    }

    /// With these bytes as the pinned root.
    #[must_use]
    pub fn with_root(mut self, bytes: &[u8]) -> Self {
        if let RootSource::Tuf(tuf) = &mut self.source {
            tuf.root = PinnedRoot::Bytes(bytes.into());
        }
        self
    }

    /// Whether both say the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity && self.pinned() == other.pinned()
    }

    /// Whether what was accepted under the one is accepted under the other.
    pub fn has_same_roots(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operators == other.operators
            && self.pinned().is_some()
            && self.pinned() == other.pinned()
    }

    /// What everything is verified from, and which target is wanted.
    fn pinned(&self) -> Option<(&PinnedRoot, &str)> {
        match &self.source {
            RootSource::Tuf(tuf) => Some((&tuf.root, &tuf.target)),
            RootSource::Fixed(_) => None,
        }
    }
}

impl MirrorAddress {
    /// Parses the address of a repository.
    ///
    /// # Errors
    /// Why it is none, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_plain = text.chars().all(|character| !character.is_control() && !character.is_whitespace());
        if text.len() > 1024 || !is_plain {
            return Err("it is too long, or holds spaces".to_owned());
        }
        if let Some(path) = text.strip_prefix("file://") {
            let path = Path::new(path);
            let is_plain = path.components().all(|part| part.as_os_str() != "..");
            return if path.is_absolute() && is_plain {
                Ok(Self::Folder(path.to_owned()))
            } else {
                Err("after file:// an absolute path is needed, without ..".to_owned())
            };
        }
        if let Some(reference) = text.strip_prefix("oci://") {
            return ImageReference::parse(reference).map(Self::Artifact).map_err(|error| error.to_string());
        }
        let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
        if text.contains(['@', '?', '#']) {
            return Err("it has credentials, a query or a fragment".to_owned());
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return if host(rest).is_empty() {
                Err("it has no host".to_owned())
            } else {
                Ok(Self::Web(text.to_owned()))
            };
        }
        if let Some(rest) = text.strip_prefix("http://") {
            let (host, loopback) = (host(rest), ["127.0.0.1", "localhost", "[::1]"]);
            let is_loopback = loopback.iter().any(|name| host == *name || host.starts_with(&format!("{name}:")));
            if is_loopback {
                return Ok(Self::Web(text.to_owned()));
            }
        }
        Err("https://, file:// or oci:// is needed".to_owned())
    }
}

fn source(
    name: &str,
    spec: &SignatureTrustRootSpec,
    operators: &BTreeMap<String, String>,
) -> Result<RootSource, RootSpecError> {
    const CHOICES: &str = "publicGood, github, staging, tuf, trustedRoot and inline";
    let embedded = [
        (PUBLIC_GOOD, "publicGood", spec.public_good.is_some()),
        (GITHUB, "github", spec.github.is_some()),
        (STAGING, "staging", spec.staging.is_some()),
    ];
    let others =
        [("tuf", spec.tuf.is_some()), ("trustedRoot", spec.trusted_root.is_some()), ("inline", spec.inline.is_some())];
    let given =
        embedded.iter().filter(|(.., given)| *given).count() + others.iter().filter(|(_, given)| *given).count();
    if given != 1 {
        return Err(RootSpecError::NotOneOf { field: "spec", choices: CHOICES });
    }
    if let Some((own, source_field, _)) = embedded.iter().find(|(.., given)| *given) {
        if name != *own {
            let reason = format!("this instance is named {own}");
            return Err(RootSpecError::Reserved { name: name.to_owned(), source_field, reason });
        }
        return embedded_instance(own, operators);
    }
    let source_field = others.iter().find(|(_, given)| *given).map_or("", |(field, _)| field);
    if EMBEDDED.contains(&name) {
        let own = embedded.iter().find(|(own, ..)| *own == name).map_or("", |(_, field, _)| field);
        let reason = format!("this name is kept for spec.{own}");
        return Err(RootSpecError::Reserved { name: name.to_owned(), source_field, reason });
    }
    match (&spec.tuf, &spec.trusted_root, &spec.inline) {
        (Some(tuf), None, None) => repository(tuf),
        (None, Some(json), None) => {
            check_length("spec.trustedRoot", json, JSON_LIMIT)?;
            let parsed = TrustMaterial::parse_with_operators(name, json, operators);
            let parsed = parsed.map_err(|source| material("spec.trustedRoot", source))?;
            Ok(RootSource::Fixed(known(parsed, operators)?))
        }
        (None, None, Some(services)) => {
            let json = inline::trusted_root(services)?;
            let parsed = TrustMaterial::parse_with_operators(name, &json, operators);
            let parsed = parsed.map_err(|source| material("spec.inline", source))?;
            if let Some(unusable) = parsed.unusable().first() {
                return Err(RootSpecError::Field { field: "spec.inline".to_owned(), reason: unusable.clone() });
            }
            Ok(RootSource::Fixed(known(parsed, operators)?))
        }
        _ => Err(RootSpecError::NotOneOf { field: "spec", choices: CHOICES }),
    }
}

fn repository(tuf: &api::TufSource) -> Result<RootSource, RootSpecError> {
    let field = |field: &str, reason: String| RootSpecError::Field { field: field.to_owned(), reason };
    let mirror = MirrorAddress::parse(&tuf.mirror).map_err(|reason| field("spec.tuf.mirror", reason))?;
    let root = match (&tuf.root.inline, &tuf.root.config_map_ref) {
        (Some(json), None) => {
            check_length("spec.tuf.root.inline", json, JSON_LIMIT)?;
            // One that does not stand by itself, by its own keys and threshold, would only ever be refused by the client.
            sigstore_tuf::TrustedMetadataSet::from_root(json.as_bytes())
                .map_err(|error| field("spec.tuf.root.inline", error.to_string()))?;
            PinnedRoot::Bytes(json.as_bytes().into())
        }
        (None, Some(reference)) => {
            check_length("spec.tuf.root.configMapRef.name", &reference.name, 253)?;
            check_length("spec.tuf.root.configMapRef.key", &reference.key, 253)?;
            PinnedRoot::ConfigMap { name: reference.name.clone(), key: reference.key.clone() }
        }
        _ => return Err(RootSpecError::NotOneOf { field: "spec.tuf.root", choices: "inline and configMapRef" }),
    };
    let target = tuf.target.as_deref().unwrap_or(TARGET);
    check_length("spec.tuf.target", target, 512)?;
    if !is_target_path(target) {
        return Err(field("spec.tuf.target", "it is no path of a target".to_owned()));
    }
    Ok(RootSource::Tuf(TufSpec { mirror, root, target: target.to_owned(), embedded: None }))
}

/// An instance whose TUF root and trusted root are compiled in (the former from `sigstore-trust-root` 0.15.1).
fn embedded_instance(name: &str, operators: &BTreeMap<String, String>) -> Result<RootSource, RootSpecError> {
    let (mirror, root): (_, &[u8]) = match name {
        PUBLIC_GOOD => ("https://tuf-repo-cdn.sigstore.dev", include_bytes!("tuf/public-good.json")),
        STAGING => ("https://tuf-repo-cdn.sigstage.dev", include_bytes!("tuf/staging.json")),
        _ => ("https://tuf-repo.github.com", include_bytes!("tuf/github.json")),
    };
    let embedded = TrustMaterial::embedded_with_operators(name, operators);
    let embedded = Some(embedded.map_err(|source| material("spec", source))?);
    let (mirror, root) = (MirrorAddress::Web(mirror.to_owned()), PinnedRoot::Bytes(root.into()));
    Ok(RootSource::Tuf(TufSpec { mirror, root, target: TARGET.to_owned(), embedded }))
}

/// Refuses overrides of services that the material does not have.
fn known(material: TrustMaterial, operators: &BTreeMap<String, String>) -> Result<TrustMaterial, RootSpecError> {
    let addresses = material.logs().iter().map(|log| log.address.as_str());
    let addresses: Vec<&str> =
        addresses.chain(material.timestamp_authorities().iter().map(|authority| authority.address.as_str())).collect();
    match operators.keys().find(|service| !addresses.contains(&service.as_str())) {
        Some(service) => {
            let reason = format!("no log or timestamp authority has the address {service:?}");
            Err(RootSpecError::Field { field: "spec.operators".to_owned(), reason })
        }
        None => Ok(material),
    }
}

fn operators(overrides: &[api::OperatorOverride]) -> Result<BTreeMap<String, String>, RootSpecError> {
    let field = |reason: String| RootSpecError::Field { field: "spec.operators".to_owned(), reason };
    if overrides.len() > 64 {
        return Err(field("more than 64 entries are given".to_owned()));
    }
    let mut operators = BTreeMap::new();
    for api::OperatorOverride { service, operator } in overrides {
        check_length("spec.operators[].service", service, 1024)?;
        check_length("spec.operators[].operator", operator, 253)?;
        if operators.insert(service.clone(), operator.clone()).is_some() {
            return Err(field(format!("the service {service:?} is named twice")));
        }
    }
    Ok(operators)
}

fn check_kind(object: &Value) -> Result<(), RootSpecError> {
    api::check_kind(object, "SignatureTrustRoot").map_err(|other| RootSpecError::OtherKind {
        field: other.field,
        found: other.found,
        expected: other.expected,
    })?;
    for field in ["metadata", "spec"] {
        if !object.get(field).is_some_and(Value::is_object) {
            return Err(RootSpecError::Shape { path: field.to_owned(), reason: "an object is needed".to_owned() });
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), RootSpecError> {
    let usable = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(usable) || name.starts_with(['.', '-']) {
        let reason = "a name has 1 to 253 lower-case letters, digits, '-' and '.'".to_owned();
        return Err(RootSpecError::Field { field: "metadata.name".to_owned(), reason });
    }
    Ok(())
}

/// Whether a text may be the path of a target in a TUF repository: parts between slashes, none of which is empty or leads upwards.
pub(crate) fn is_target_path(text: &str) -> bool {
    text.split('/').all(|part| !matches!(part, "" | "." | "..")) && !text.contains(char::is_control)
}

pub(super) fn check_length(field: &str, text: &str, maximum: usize) -> Result<(), RootSpecError> {
    if text.is_empty() || text.len() > maximum {
        let reason = format!("it has {} bytes, 1 to {maximum} are needed", text.len());
        return Err(RootSpecError::Field { field: field.to_owned(), reason });
    }
    Ok(())
}

pub(super) fn material(field: &str, source: TrustError) -> RootSpecError {
    RootSpecError::Material { field: field.to_owned(), source }
}

/// Parses a length of time such as `14d` or `1h30m`: days, hours, minutes, seconds, in this order.
fn duration(
    field: &str,
    text: Option<&str>,
    least: Duration,
    most: Duration,
) -> Result<Option<Duration>, RootSpecError> {
    let Some(text) = text else { return Ok(None) };
    match api::seconds(text).map(Duration::from_secs) {
        Some(read) if (least..=most).contains(&read) => Ok(Some(read)),
        _ => {
            let reason = format!(
                "{text:?} is no length of time such as 14d, 72h or 1h30m, from 1m to {} h",
                most.as_secs() / 3_600
            );
            Err(RootSpecError::Field { field: field.to_owned(), reason })
        }
    }
}

#[cfg(test)]
mod tests;
