//! What policies demand of signatures, over what a whole Sigstore instance signed: each field that narrows, flipped alone, turns a pass
//! into a fail (CVE-2025-29778), services and signers count once (GHSA-9vcr-p3rj-q5q6), old signatures are told by verified times
//! (CVE-2024-23332), and neither order nor a bad attestation decides.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

#[path = "policy_proofs/fields.rs"]
mod fields;
#[path = "policy_proofs/operators.rs"]
mod operators;
#[path = "policy_proofs/signers.rs"]
mod signers;

use std::collections::BTreeMap;

use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::policy::{Outcome, Policy, Verdict, evaluate};
use countersign::revocation::Revocations;
use countersign::trust::{TrustMaterial, TrustRoots};
use countersign::verify::{Anchor, Gathered, Prepared};
use jiff::Timestamp;
use serde_json::{Value, json};

use virtual_sigstore::{Identity, Parts, Subject, TrustedRoot, Version, VirtualSigstore};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
const ISSUER: &str = "https://accounts.example.com";

/// Every candidate under every anchor.
fn gather(candidates: &[Discovered], image: &ResolvedImage, anchors: &[Anchor]) -> Gathered {
    let mut gathered = Gathered::default();
    for candidate in candidates {
        let prepared = Prepared::new(candidate.clone());
        for anchor in anchors {
            gathered.extend(prepared.gather(image, anchor));
        }
    }
    gathered
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time at which signatures are made unless told otherwise.
fn noon() -> Timestamp {
    at("2024-06-01T12:00:00Z")
}

/// An hour after.
fn one() -> Timestamp {
    at("2024-06-01T13:00:00Z")
}

fn found(media_type: &str, content: Vec<u8>, annotations: BTreeMap<String, String>) -> Discovered {
    let digest = Digest::of(&content);
    let origin = Origin { path: DiscoveryPath::ReferrersApi, manifest: digest.clone(), layer: digest };
    Discovered::untrusted(origin, media_type.to_owned(), content, annotations)
}

fn bundle(parts: &Parts) -> Discovered {
    let media_type = Version::V03.media_type();
    found(media_type, parts.bundle(Version::V03).into_bytes(), BTreeMap::new())
}

fn layer(parts: &Parts) -> Discovered {
    let layer = parts.layer();
    found(&layer.media_type, layer.content, layer.annotations)
}

fn image() -> ResolvedImage {
    ImageReference::parse(&format!("registry.example/app@{}", Digest::of(MANIFEST)))
        .unwrap()
        .resolve(MANIFEST.to_vec(), String::new())
        .unwrap()
}

fn roots(named: &[(&str, TrustedRoot)]) -> TrustRoots {
    let mut roots = TrustRoots::default();
    for (name, root) in named {
        roots.insert(TrustMaterial::parse(name, &root.json()).unwrap());
    }
    roots
}

fn policy(spec: &Value) -> Policy {
    try_policy(spec).unwrap_or_else(|error| panic!("{error}: {spec:#}"))
}

fn try_policy(spec: &Value) -> Result<Policy, String> {
    Policy::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"}, "spec": spec,
    }))
    .map_err(|error| error.to_string())
}

/// The verdict of a policy with this spec over these candidates.
fn verdict(spec: &Value, roots: &TrustRoots, candidates: &[Discovered], now: Timestamp) -> Verdict {
    let policy = policy(spec);
    let gathered = gather(candidates, &image(), &policy.anchors(roots));
    evaluate(&policy, &gathered, &[], roots, &Revocations::none(), now)
}

/// Nothing for a pass, or the nearest miss of all authorities.
fn code(verdict: &Verdict) -> &'static str {
    match verdict.outcome() {
        Outcome::Pass => return "",
        Outcome::Error(_) => return "Error",
        Outcome::Fail(_) => {}
    }
    if verdict.shortfalls().iter().any(countersign::policy::Shortfall::lacks_signers_only) {
        return "SignersNotDistinct";
    }
    let unmet = verdict.authorities().iter().filter(|trace| trace.satisfied_by.is_empty());
    let nearest = unmet.filter_map(|trace| trace.near_misses.first()).max_by_key(|miss| miss.nearness);
    nearest.map_or("NoSignature", |miss| miss.code)
}

/// The spec with a value put at a JSON pointer, or taken away by null.
fn with(spec: &Value, pointer: &str, value: Value) -> Value {
    let mut spec = spec.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match spec.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not there")) {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(key)),
        parent => parent[key] = value,
    }
    spec
}

/// A policy of these authorities, all of which `require` combines.
fn spec(authorities: &[Value], require: &Value) -> Value {
    json!({"images": ["**"], "authorities": authorities, "require": require})
}

/// A policy of one authority.
fn alone(authority: &Value) -> Value {
    json!({"images": ["**"], "authorities": [authority]})
}

/// A keyless authority for any identity, with these further fields of `evidence`.
fn anybody(name: &str, root: &str, evidence: &Value) -> Value {
    let any = json!({"regex": ".*"});
    json!({"name": name, "keyless": {"trustRoot": root, "identities": [{"issuer": any, "subject": any}]}, "evidence": evidence})
}

fn by(address: &str) -> Identity {
    Identity::email(address, ISSUER)
}

fn sign(sigstore: &VirtualSigstore) -> virtual_sigstore::Signing<'_> {
    sigstore.sign(Subject::cosign_sign(MANIFEST)).at(noon())
}
