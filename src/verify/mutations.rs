//! No change to a signed part of a real bundle is accepted.
//!
//! Every leaf of the JSON is changed in several places, one at a time. It must be refused; where no signature covers the field, which is
//! listed with why, it may be accepted if the facts stay what they were.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fixtures::{BUNDLE, bytes, candidate, image};
use super::*;
use crate::image::ResolvedImage;
use crate::trust::{PUBLIC_GOOD, TrustMaterial};

/// Fields that no signature covers, and that prove nothing.
const UNSIGNED: &[(&str, &str)] = &[
    ("/mediaType", "names the version; relabelled material must bring what that version asks for"),
    (
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
        "a token has unsigned parts",
    ),
    ("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope", "a note may carry signatures of others"),
];

/// A change of one leaf: where, and what it becomes.
fn changes(value: &Value) -> Vec<(String, Value)> {
    fn walk(value: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(value, &format!("{pointer}/{name}"), found);
                }
            }
            Value::Array(values) => {
                for (position, value) in values.iter().enumerate() {
                    walk(value, &format!("{pointer}/{position}"), found);
                }
            }
            Value::String(text) => {
                let places = [0, text.len() / 3, text.len() / 2, text.len().saturating_sub(6)];
                for place in places.into_iter().collect::<BTreeSet<_>>() {
                    if let Some(old) = text.get(place..=place) {
                        let new = if old == "A" { "B" } else { "A" };
                        let mut changed = text.clone();
                        changed.replace_range(place..=place, new);
                        found.push((pointer.to_owned(), changed.into()));
                    }
                }
                if let Ok(number) = text.parse::<u64>() {
                    found.push((pointer.to_owned(), (number + 1).to_string().into()));
                }
                found.push((pointer.to_owned(), "".into()));
            }
            Value::Number(number) => {
                found.push((pointer.to_owned(), (number.as_u64().unwrap_or_default() + 1).into()));
            }
            Value::Bool(_) | Value::Null => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// The facts that a policy could look at.
fn facts(bundle: &Value, artifact: &ResolvedImage, root: &TrustMaterial) -> Option<String> {
    let candidate = candidate(BUNDLE, bundle.to_string().into_bytes(), BTreeMap::new());
    let Evidence { claim, signer, times, logs, certificate_transparency, .. } =
        verify_with_root(&candidate, artifact, root).ok()?;
    Some(format!("{claim:?} {signer:?} {times:?} {logs:?} {certificate_transparency}"))
}

#[test]
fn no_change_to_a_signed_part_is_accepted() {
    let unsigned: BTreeMap<_, _> = UNSIGNED.iter().copied().collect();
    let mut tried = 0;
    for case in ["sigstore-rust--cosign-v3-blob", "sigstore-java--dsse", "sigstore-rust--conda"] {
        let read = |file: &str| bytes(format!("tests/data/bundles/{case}/{file}"));
        let bundle: Value = serde_json::from_slice(&read("bundle.sigstore.json")).unwrap();
        let artifact = image(read("artifact"));
        let root = TrustMaterial::embedded(PUBLIC_GOOD).unwrap();
        let genuine = facts(&bundle, &artifact, &root).expect("the genuine bundle verifies");
        for (pointer, value) in changes(&bundle) {
            tried += 1;
            let mut changed = bundle.clone();
            *changed.pointer_mut(&pointer).unwrap() = value.clone();
            let found = facts(&changed, &artifact, &root);
            let right = match found.as_ref() {
                None => true,
                // What no signature covers may change; the facts may not.
                Some(found) => unsigned.contains_key(pointer.as_str()) && *found == genuine,
            };
            assert!(right, "{case} {pointer} = {value} was accepted as {found:?}, like {genuine}");
        }
    }
    assert!(tried > 150, "only {tried} changes were tried");
}
