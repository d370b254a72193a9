//! The kinds that are watched: how an object of each becomes what it means.
//!
//! The parsers are those of the pure half, which the command line and the webhook for our own kinds use too.

use std::collections::BTreeMap;
use std::convert::Infallible;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Error, Event};
use serde_json::Value;

use super::objects::{Meta, Objects, Seen};
use crate::policy::{ClusterRules, InvalidPolicy, Policy, PolicyError};
use crate::revocation::{Revocation, RevocationError};
use crate::trust::{RootSpec, RootSpecError};

/// The labels of a namespace.
pub(super) type Labels = BTreeMap<String, String>;
/// The policies.
pub(super) type PolicyObjects = Objects<Policy, InvalidPolicy>;
/// The cluster's own rules: one object counts, whatever others there are.
pub(super) type ConfigObjects = Objects<ClusterRules, InvalidConfig>;
/// The revocations.
pub(super) type RevocationObjects = Objects<Revocation, RevocationError>;
/// The trust roots, as they are declared.
pub(super) type TrustRootObjects = Objects<RootSpec, RootSpecError>;

/// Rules that do not parse, and what is in force instead where there is no last good form of them.
#[derive(Debug)]
pub(super) struct InvalidConfig {
    /// Why not.
    pub(super) error: PolicyError,
    /// What is in force instead.
    pub(super) salvaged: ClusterRules,
}

/// The cluster's own rules as the watch brings them.
pub(super) fn config(object: &Value) -> Seen<ClusterRules, InvalidConfig> {
    let salvage = |error| InvalidConfig { salvaged: ClusterRules::salvage(object, &error), error };
    seen("CountersignConfig", object, ClusterRules::parse(object).map_err(salvage), |flaw| flaw.error.to_string())
}

/// A revocation as the watch brings it. Entries of it that do not parse do nothing; the others act.
pub(super) fn revocation(object: &Value) -> Seen<Revocation, RevocationError> {
    let parsed = Revocation::parse(object);
    if let Ok(revocation) = &parsed
        && let Some(invalid) = revocation.invalid().first()
    {
        tracing::warn!(name = revocation.name(), %invalid, "an entry of a revocation does nothing");
    }
    seen("revocation", object, parsed, ToString::to_string)
}

/// A policy of the cluster, or of a namespace, as the watch brings it.
pub(super) fn policy(object: &Value) -> Seen<Policy, InvalidPolicy> {
    let parsed = Policy::parse(object).map_err(|error| InvalidPolicy::salvage(object, error));
    seen("policy", object, parsed, |flaw| flaw.error().to_string())
}

/// A trust root as the watch brings it.
pub(super) fn trust_root(object: &Value) -> Seen<RootSpec, RootSpecError> {
    seen("trust root", object, RootSpec::parse(object), ToString::to_string)
}

/// A namespace as the watch brings it.
pub(super) fn namespace(object: PartialObjectMeta<Namespace>) -> Seen<Labels, Infallible> {
    let metadata = object.metadata;
    let meta = Meta { name: metadata.name.unwrap_or_default(), ..Meta::default() };
    Seen { meta, parsed: Ok(metadata.labels.unwrap_or_default()) }
}

/// An event of a watch of one of our kinds, with its object parsed.
pub(super) fn parsed<F, E>(
    event: Result<Event<DynamicObject>, Error>,
    parse: impl Fn(&Value) -> Seen<F, E>,
) -> Result<Event<Seen<F, E>>, Error> {
    let value = |object| serde_json::to_value::<DynamicObject>(object).unwrap_or_default();
    event.map(|event| read(event, |object| parse(&value(object))))
}

/// An event of a watch, with its object read as something else.
pub(super) fn read<K, T>(event: Event<K>, read: impl Fn(K) -> T) -> Event<T> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(read(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(read(object)),
        Event::Delete(object) => Event::Delete(read(object)),
    }
}

fn seen<F, E>(what: &str, object: &Value, parsed: Result<F, E>, reason: impl Fn(&E) -> String) -> Seen<F, E> {
    let meta = Meta::of(object);
    if let Err(flaw) = &parsed {
        tracing::warn!(what, name = meta.name, reason = reason(flaw), "a stored object does not parse");
    }
    Seen { meta, parsed }
}
