//! Real signatures, and twins of them in which one thing is wrong.
//!
//! The data is what public projects published (`tests/data/SOURCES.md`); nothing here is signed by us.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::fixtures::{BUNDLE, DSSE, SIMPLE, bytes, candidate, image, legacy, root, slsa, tree};
use super::*;
use crate::image::ResolvedImage;
use crate::trust::{GITHUB, PUBLIC_GOOD, PublicKey, STAGING, TrustMaterial};

fn code(result: Result<Evidence, VerifyError>) -> &'static str {
    match result {
        Ok(evidence) => panic!("accepted: {evidence:?}"),
        Err(error) => error.code(),
    }
}

/// The refusal of an attestation layer.
fn verify(
    envelope: &[u8],
    annotations: &BTreeMap<String, String>,
    image: &ResolvedImage,
    root: &TrustMaterial,
) -> &'static str {
    code(verify_with_root(&candidate(DSSE, envelope.to_vec(), annotations.clone()), image, root))
}

#[test]
fn a_real_attestation_is_verified_and_says_who_when_and_what() {
    let (image, envelope, annotations) = slsa();
    let evidence = verify_with_root(&candidate(DSSE, envelope, annotations), &image, &root(PUBLIC_GOOD)).unwrap();
    assert_eq!(
        evidence.signer().to_string(),
        "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v1.10.0 (issuer https://token.actions.githubusercontent.com)"
    );
    assert_eq!(*evidence.claim(), Claim::Attestation { predicate_type: "https://slsa.dev/provenance/v0.2".to_owned() });
    assert!(evidence.certificate_transparency());
    let [log] = evidence.logs() else { panic!("one log entry: {:?}", evidence.logs()) };
    assert_eq!((log.log.as_str(), log.inclusion_proof), ("https://rekor.sigstore.dev", false));
    let [time] = evidence.times() else { panic!("one time: {:?}", evidence.times()) };
    assert_eq!((time.at.to_string().as_str(), time.source), ("2024-03-21T10:34:04Z", TimeSource::Log));
}

#[test]
fn each_part_of_a_real_attestation_is_needed() {
    const LOG: &str = "dev.sigstore.cosign/bundle";
    const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    let (image, envelope, annotations) = slsa();
    let public_good = root(PUBLIC_GOOD);
    let edited = |key: &str, edit: &dyn Fn(&str) -> String| {
        let mut annotations = annotations.clone();
        let value = edit(&annotations[key]);
        annotations.insert(key.to_owned(), value);
        annotations
    };
    let without = |key: &str| {
        let mut annotations = annotations.clone();
        annotations.remove(key).unwrap();
        annotations
    };

    // Another instance knows neither the authority nor the log.
    assert_eq!(verify(&envelope, &annotations, &image, &root(STAGING)), "LogEntryInvalid");
    // Another image.
    assert_eq!(verify(&envelope, &annotations, &tree("keyless"), &public_good), "OtherArtifact");
    // One character of the payload: `sha256` of the subject is inside, so is everything else.
    let payload = String::from_utf8(envelope.clone()).unwrap().replacen("eyJfdHlwZSI6", "eyJfdHlwZSI7", 1);
    assert_ne!(payload.as_bytes(), envelope);
    verify(payload.as_bytes(), &annotations, &image, &public_good);
    // No certificate, no log entry, another time under the same promise, another promise.
    assert_eq!(verify(&envelope, &without(CERTIFICATE), &image, &public_good), "NoCertificate");
    assert_eq!(verify(&envelope, &without(LOG), &image, &public_good), "LogMissing");
    let later = edited(LOG, &|text| {
        let mut log: Value = serde_json::from_str(text).unwrap();
        let time = log["Payload"]["integratedTime"].as_i64().unwrap();
        log["Payload"]["integratedTime"] = (time + 1).into();
        log.to_string()
    });
    assert_eq!(verify(&envelope, &later, &image, &public_good), "LogEntryInvalid");
    let unpromised = edited(LOG, &|text| {
        let mut log: Value = serde_json::from_str(text).unwrap();
        log["SignedEntryTimestamp"] =
            "MEUCIQDEpCz1ePy7RqB/EioOYn74tuaKj6NHKziEJq0ijvp0gQIgCov3Upqhq+WmxCkFS/UFEWyP1OWPlOoVDxaNMWvpe1I=".into();
        log.to_string()
    });
    assert_eq!(verify(&envelope, &unpromised, &image, &public_good), "LogEntryInvalid");
    // The certificate of another signer with this signature.
    let (other, _) = legacy("connaisseur-keyless");
    let swapped = edited(CERTIFICATE, &|_| other[0].annotations()[CERTIFICATE].clone());
    verify(&envelope, &swapped, &image, &public_good);
    // The log entry of another signature (CVE-2022-36056, CVE-2026-22703).
    let swapped = edited(LOG, &|_| other[0].annotations()[LOG].clone());
    verify(&envelope, &swapped, &image, &public_good);
}

#[test]
fn a_real_keyless_signature_is_verified_for_its_image_only() {
    let (layers, _) = legacy("connaisseur-keyless");
    let evidence = verify_with_root(&layers[0], &tree("keyless"), &root(PUBLIC_GOOD)).unwrap();
    assert_eq!(*evidence.claim(), Claim::Signature);
    assert_eq!(
        evidence.signer().to_string(),
        "philipp.belitz@securesystems.de (issuer https://github.com/login/oauth)"
    );
    let moved = verify_with_root(&layers[0], &tree("multi-cosigned-alice-bob-charlie"), &root(PUBLIC_GOOD));
    assert_eq!(code(moved), "OtherArtifact");
    // The payload is under the signature.
    let mut payload = layers[0].bytes().to_vec();
    payload.push(b' ');
    let padded = candidate(SIMPLE, payload, layers[0].annotations().clone());
    code(verify_with_root(&padded, &tree("keyless"), &root(PUBLIC_GOOD)));
}

#[test]
fn a_key_verifies_its_own_signature_and_no_other() {
    let image = tree("multi-cosigned-alice-bob-charlie");
    let (layers, alice) = legacy("connaisseur-three-signers-alice");
    let (_, bob) = legacy("connaisseur-three-signers-bob");
    let (alice, bob) = (alice.unwrap(), bob.unwrap());
    let by = |key: &PublicKey| layers.iter().filter(|layer| verify_with_key(layer, &image, key).is_ok()).count();
    assert_eq!((layers.len(), by(&alice), by(&bob)), (3, 1, 1));
    assert_ne!(alice.fingerprint(), bob.fingerprint());
    let other = rcgen::KeyPair::generate().unwrap().public_key_pem();
    assert_eq!(by(&PublicKey::parse_pem(&other).unwrap()), 0);
    // The same signature for another image.
    let moved: Vec<_> = layers.iter().map(|layer| code(verify_with_key(layer, &tree("keyless"), &alice))).collect();
    assert!(moved.contains(&"OtherArtifact"), "{moved:?}");
    // A key's signature is no keyless signature, and the other way round.
    for layer in &layers {
        assert_eq!(code(verify_with_root(layer, &image, &root(PUBLIC_GOOD))), "NoCertificate");
    }
    let (keyless, _) = legacy("connaisseur-keyless");
    assert_eq!(code(verify_with_key(&keyless[0], &tree("keyless"), &alice)), "SignatureInvalid");
}

#[test]
fn bundles_of_several_clients_are_verified_and_their_broken_twins_are_not() {
    let read = |case: &str, file: &str| bytes(format!("tests/data/bundles/{case}/{file}"));
    let text = |case: &str, file: &str| String::from_utf8(read(case, file)).unwrap().trim().to_owned();
    let public_good = root(PUBLIC_GOOD);
    for case in
        ["sigstore-rust--cosign-v3-blob", "sigstore-java--dsse", "sigstore-java--rekor-v2", "sigstore-rust--conda"]
    {
        let artifact = image(read(case, "artifact"));
        let bundle = read(case, "bundle.sigstore.json");
        // A case that brings its own root is verified under that one.
        let own =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/bundles/{case}/trusted_root.json"));
        let trusted = if own.is_file() {
            TrustMaterial::parse("own", &text(case, "trusted_root.json")).unwrap()
        } else {
            public_good.clone()
        };
        let evidence = verify_with_root(&candidate(BUNDLE, bundle.clone(), BTreeMap::new()), &artifact, &trusted)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let Signer::Certificate { issuer, subjects, .. } = evidence.signer() else { panic!("{case}: a key") };
        let subjects: Vec<&str> = subjects.iter().map(Subject::as_str).collect();
        assert_eq!(subjects, [text(case, "identity")], "{case}");
        assert_eq!(issuer.as_deref(), Some(text(case, "issuer").as_str()), "{case}");
        assert!(!evidence.logs().is_empty() && !evidence.times().is_empty(), "{case}");
        let other = image(b"another artifact".to_vec());
        code(verify_with_root(&candidate(BUNDLE, bundle.clone(), BTreeMap::new()), &other, &trusted));
        code(verify_with_root(&candidate(BUNDLE, bundle, BTreeMap::new()), &artifact, &root(GITHUB)));
    }
    for (case, expected) in [
        ("sigstore-java--dsse.bad-signature_fail", "SignatureInvalid"),
        ("sigstore-java--mismatched-set_fail", "LogEntryInvalid"),
        ("sigstore-python--cve_2022_36056_fail", "LogEntryInvalid"),
    ] {
        let image = image(read(case, "artifact"));
        let bundle = candidate(BUNDLE, read(case, "bundle.sigstore.json"), BTreeMap::new());
        assert_eq!(code(verify_with_root(&bundle, &image, &public_good)), expected, "{case}");
    }
}

#[test]
fn a_layer_of_another_type_is_no_evidence() {
    let (layers, alice) = legacy("connaisseur-three-signers-alice");
    let renamed = candidate("text/plain", layers[0].bytes().to_vec(), layers[0].annotations().clone());
    let image = tree("multi-cosigned-alice-bob-charlie");
    assert_eq!(code(verify_with_key(&renamed, &image, &alice.unwrap())), "MalformedEvidence");
    assert_eq!(code(verify_with_root(&renamed, &image, &root(PUBLIC_GOOD))), "MalformedEvidence");
}
