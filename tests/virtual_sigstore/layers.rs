//! Layers with annotations, as cosign attaches them to tags, say the same as bundles.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::virtual_sigstore::parts::{BUNDLE, CERTIFICATE, CHAIN, Layer, SIGNATURE, TIMESTAMP};
use super::virtual_sigstore::{Parts, Subject, Version, VirtualSigstore};
use super::{MANIFEST, accepted, judge, noon};

/// The bundle that a layer amounts to, read from its text alone.
fn bundle(layer: &Layer) -> Value {
    let annotation = |name: &str| layer.annotations.get(name).map(String::as_str);
    let raw = |pem: &str| pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let mut material = json!({"publicKey": {"hint": ""}});
    if let Some(pem) = annotation(CERTIFICATE) {
        material = json!({"x509CertificateChain": {"certificates": [{"rawBytes": raw(pem)}]}});
    }
    if let Some(text) = annotation(BUNDLE) {
        let log: Value = serde_json::from_str(text).unwrap();
        let payload = &log["Payload"];
        let body = payload["body"].as_str().unwrap();
        let id = payload["logID"].as_str().unwrap();
        let id: Vec<u8> =
            (0..id.len()).step_by(2).map(|place| u8::from_str_radix(&id[place..place + 2], 16).unwrap()).collect();
        let entry: Value = serde_json::from_slice(&unbase64(body)).unwrap();
        material["tlogEntries"] = json!([{
            "logIndex": payload["logIndex"].to_string(),
            "logId": {"keyId": super::virtual_sigstore::text::base64(&id)},
            "kindVersion": {"kind": entry["kind"], "version": entry["apiVersion"]},
            "integratedTime": payload["integratedTime"].to_string(),
            "inclusionPromise": {"signedEntryTimestamp": log["SignedEntryTimestamp"]},
            "canonicalizedBody": body,
        }]);
    }
    if let Some(text) = annotation(TIMESTAMP) {
        let timestamp: Value = serde_json::from_str(text).unwrap();
        material["timestampVerificationData"] =
            json!({"rfc3161Timestamps": [{"signedTimestamp": timestamp["SignedRFC3161Timestamp"]}]});
    }
    let mut bundle = json!({"mediaType": Version::V01.media_type(), "verificationMaterial": material});
    if layer.media_type == "application/vnd.dsse.envelope.v1+json" {
        bundle["dsseEnvelope"] = serde_json::from_slice(&layer.content).unwrap();
    } else {
        bundle["messageSignature"] = json!({"signature": annotation(SIGNATURE).unwrap()});
    }
    bundle
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn annotations(parts: &Parts) -> BTreeSet<String> {
    parts.layer().annotations.keys().cloned().collect()
}

#[test]
fn layers_are_verified_as_bundles_are() {
    let sigstore = VirtualSigstore::new();
    let statement = sigstore.sign(Subject::cosign_sign(MANIFEST)).timestamped().parts();
    let message = sigstore.sign(Subject::manifest(MANIFEST)).timestamped().parts();
    for parts in [statement, message] {
        accepted(&sigstore, "bundle", &parts, Version::V03);
        let read = |parts: &Parts| judge(&sigstore.root().json(), &bundle(&parts.layer()).to_string(), None);
        assert_eq!(read(&parts).unwrap(), [noon(), noon()]);
        let flips: [fn(&mut Parts); 4] = [
            |parts| parts.entry().log_index += 1,
            |parts| parts.content.signature_mut()[9] ^= 1,
            |parts| parts.timestamps[0][99] ^= 1,
            |parts| *parts.material.certificate_mut() = vec![0; 9],
        ];
        for (number, flip) in flips.into_iter().enumerate() {
            assert!(read(&parts.with(flip)).is_err(), "flip {number}");
        }
    }
}

#[test]
fn layers_carry_what_cosign_writes() {
    let sigstore = VirtualSigstore::new();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    // The names are those in published manifests, and so are not taken from the instance.
    let all = [
        "dev.cosignproject.cosign/signature",
        "dev.sigstore.cosign/certificate",
        "dev.sigstore.cosign/chain",
        "dev.sigstore.cosign/bundle",
        "dev.sigstore.cosign/rfc3161timestamp",
    ];
    let keyless = sigstore.sign(Subject::simple_signing(MANIFEST)).timestamped().parts();
    assert_eq!(annotations(&keyless), names(&all));
    let layer = keyless.layer();
    assert_eq!(layer.media_type, "application/vnd.dev.cosign.simplesigning.v1+json");
    assert_eq!(layer.annotations[CHAIN].matches("BEGIN CERTIFICATE").count(), 2);
    let payload: Value = serde_json::from_slice(&layer.content).unwrap();
    let digest = super::virtual_sigstore::text::hex(&super::virtual_sigstore::text::sha256(MANIFEST));
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], format!("sha256:{digest}"));

    let keyed = sigstore.sign(Subject::simple_signing(MANIFEST)).without_certificate().without_log().parts();
    assert_eq!(annotations(&keyed), names(&all[..1]));
    let attested = sigstore.sign(Subject::cosign_sign(MANIFEST)).parts();
    assert_eq!(annotations(&attested), names(&[&all[..4], &["predicateType"]].concat()));
    assert_eq!(attested.layer().annotations[SIGNATURE], "");
}
