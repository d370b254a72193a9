//! Another verifier's word on the same bytes: what Sigstore's own Rust client accepts we accept, and what it refuses we refuse, but for
//! what it is known not to read.
//!
//! One place of a real or made bundle is changed at a time, all over the document.

use countersign::evidence::Discovered;
use countersign::trust::TrustMaterial;
use countersign::verify::{Anchor, verify};
use serde_json::Value;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::Bundle;
use sigstore_verify::{VerificationPolicy, Verifier};

use super::virtual_sigstore::{Kind, Subject, Version, VirtualSigstore};
use super::{MANIFEST, discovered, image};

/// Fields that nobody signs and that prove nothing, which the two verifiers may judge apart.
const UNSIGNED: &[(&str, &str)] = &[
    // The oracle tries the authorities with a token that has unsigned parts; so do we, with other limits of form.
    ("/timestampVerificationData", "the unsigned parts of a token"),
    // It takes the first of several signatures, we look at the name of each.
    ("/checkpoint", "the signers of a checkpoint, and what follows it"),
    // It asks for a proof only where the version says so, for all entries together.
    ("/mediaType", "a version names what must be there"),
    // It takes any size of tree beside the proof under which the path happens to be as long as under the checkpoint's.
    ("/treeSize", "the size that is repeated beside the checkpoint"),
    ("/logId", "the log's name beside an entry of Rekor's second version"),
];

fn candidate(bundle: &Value) -> Discovered {
    discovered(Version::V03.media_type(), bundle.to_string().into_bytes(), std::collections::BTreeMap::new())
}

/// Whether the oracle accepts: chain, transparency, entries, times, signature.
fn oracle(verifier: &Verifier, bundle: &Value, artifact: &[u8]) -> bool {
    let Ok(bundle) = Bundle::from_json(&bundle.to_string()) else { return false };
    verifier.verify(artifact, &bundle, &VerificationPolicy::any_identity()).is_ok()
}

/// Whether we accept with what the oracle always wants.
fn ours(root: &TrustMaterial, bundle: &Value, artifact: &[u8]) -> bool {
    let verified = verify(&candidate(bundle), &image(artifact), &Anchor::Root(root.clone()));
    verified.is_ok_and(|evidence| evidence.certificate_transparency() && !evidence.logs().is_empty())
}

/// Every change of one leaf: a character changed at several places, a number more, nothing.
fn changes(value: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                changes(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (position, value) in values.iter().enumerate() {
                changes(value, &format!("{pointer}/{position}"), found);
            }
        }
        Value::String(text) => {
            let step = (text.len() / 12).max(1);
            for place in (0..text.len()).step_by(step) {
                if let Some(old) = text.get(place..=place) {
                    let mut changed = text.clone();
                    changed.replace_range(place..=place, if old == "A" { "B" } else { "A" });
                    found.push((pointer.to_owned(), changed.into()));
                }
            }
            if let Ok(number) = text.parse::<u64>() {
                found.push((pointer.to_owned(), (number + 1).to_string().into()));
            }
            found.push((pointer.to_owned(), "".into()));
        }
        Value::Number(number) => found.push((pointer.to_owned(), (number.as_u64().unwrap_or_default() + 1).into())),
        Value::Bool(_) | Value::Null => {}
    }
}

fn compare(name: &str, root_json: &str, bundle: &Value, artifact: &[u8]) -> usize {
    let root = TrustMaterial::parse("virtual", root_json).unwrap();
    let verifier = Verifier::new(&TrustedRoot::from_json(root_json).unwrap()).unwrap();
    assert!(ours(&root, bundle, artifact) && oracle(&verifier, bundle, artifact), "{name} is sound");
    let mut found = Vec::new();
    changes(bundle, "", &mut found);
    let mut compared = 0;
    for (pointer, value) in found {
        let mut changed = bundle.clone();
        *changed.pointer_mut(&pointer).unwrap() = value.clone();
        let (we, they) = (ours(&root, &changed, artifact), oracle(&verifier, &changed, artifact));
        compared += 1;
        let excused = UNSIGNED.iter().any(|(part, _)| pointer.contains(part));
        assert!(we == they || excused, "{name} {pointer} = {value}: we say {we}, the oracle {they}");
    }
    compared
}

#[test]
fn every_change_of_a_made_bundle_is_judged_alike() {
    let sigstore = VirtualSigstore::new();
    let root = sigstore.root().json();
    let mut compared = 0;
    let message = || sigstore.sign(Subject::manifest(MANIFEST));
    let statement = || sigstore.sign(Subject::cosign_sign(MANIFEST));
    let cases = [
        ("message", message().parts(), vec![Version::V01, Version::V02, Version::V03]),
        ("message with a timestamp", message().timestamped().parts(), vec![Version::V03]),
        ("message, Rekor v2", message().rekor_v2().parts(), vec![Version::V03]),
        ("statement", statement().parts(), vec![Version::V01, Version::V03]),
        ("statement, intoto", statement().kind(Kind::Intoto002).parts(), vec![Version::V03]),
        ("statement, Rekor v2", statement().rekor_v2().parts(), vec![Version::V03]),
    ];
    for (name, parts, versions) in cases {
        for version in versions {
            compared += compare(&format!("{name} {version:?}"), &root, &parts.value(version), MANIFEST);
        }
    }
    assert!(compared > 500, "only {compared} changes were compared");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests read their data")]
fn every_change_of_a_real_bundle_is_judged_alike() {
    let mut compared = 0;
    for case in
        ["sigstore-rust--cosign-v3-blob", "sigstore-java--dsse", "sigstore-java--rekor-v2", "sigstore-rust--conda"]
    {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bundles").join(case);
        let bundle: Value =
            serde_json::from_slice(&std::fs::read(folder.join("bundle.sigstore.json")).unwrap()).unwrap();
        let root = std::fs::read_to_string(folder.join("trusted_root.json"))
            .unwrap_or_else(|_| sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT.to_owned());
        compared += compare(case, &root, &bundle, &std::fs::read(folder.join("artifact")).unwrap());
    }
    assert!(compared > 300, "only {compared} changes were compared");
}
