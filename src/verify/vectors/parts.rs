//! What candidates are made of: checkpoints, proofs, timestamps, certificates, log entries, signatures.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sigstore_types::{Checkpoint, Sha256Hash};
use x509_cert::Certificate;
use x509_cert::der::{DecodePem as _, Encode as _};

use super::super::fixtures::{bytes, root};
use super::super::{log, timestamp, transparency};
use super::{Case, Outcome};
use crate::evidence::candidate::{EntryKind, InclusionProof, LogEntry};
use crate::image::{Digest, from_hexadecimal};
use crate::trust::{Log, Message, PUBLIC_GOOD, PublicKey, STAGING, Window};

pub(super) fn checkpoint(case: &Case) -> Outcome {
    let text = String::from_utf8(bytes(case.path())).unwrap();
    Checkpoint::from_text(&text).map(|_| ()).map_err(|error| ("MalformedCheckpoint", error.to_string()))
}

/// Every proof of a folder, which says itself whether it is one.
pub(super) fn merkle(case: &Case) -> Outcome {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    files(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(case.path()), &mut found);
    assert_eq!(found.len(), 98);
    for path in found {
        let proof: Value = serde_json::from_slice(&bytes(&path)).unwrap();
        // Some roots are placeholders of another length, of which only it matters whether they differ.
        let hash = |value: &Value| match base64_text(value) {
            Some(placeholder) if !placeholder.is_empty() && placeholder.len() != 32 => {
                Sha256Hash::try_from(Digest::of(&placeholder).bytes().as_slice()).map_err(|_| ())
            }
            Some(bytes) => Sha256Hash::try_from(bytes.as_slice()).map_err(|_| ()),
            None => Err(()),
        };
        let hashes = proof["proof"].as_array().into_iter().flatten().map(hash).collect::<Result<Vec<_>, _>>();
        let number = |name: &str| proof[name].as_u64();
        let holds = if let Some(index) = number("leafIdx") {
            match (hash(&proof["leafHash"]), number("treeSize"), hashes, hash(&proof["root"])) {
                (Ok(leaf), Some(size), Ok(hashes), Ok(root)) => {
                    sigstore_merkle::verify_inclusion_proof(&leaf, index, size, &hashes, &root).is_ok()
                }
                _ => false,
            }
        } else {
            match (number("size1"), number("size2"), hashes, hash(&proof["root1"]), hash(&proof["root2"])) {
                (Some(old), Some(new), Ok(hashes), Ok(first), Ok(second)) => {
                    sigstore_merkle::verify_consistency_proof(old, new, &hashes, &first, &second).is_ok()
                }
                _ => false,
            }
        };
        if holds == proof["wantErr"].as_bool().unwrap() {
            return Err(("WrongVerdict", path.display().to_string()));
        }
    }
    Ok(())
}

/// A token of an authority over a signature that nobody kept: all but the imprint.
pub(super) fn timestamp(case: &Case) -> Outcome {
    let instance = root(if case.name.contains("sigstage") { STAGING } else { PUBLIC_GOOD });
    timestamp::verify_without_imprint(&bytes(case.path()), instance.timestamp_authorities())
        .map_err(|error| (error.code(), error.to_string()))
}

/// A certificate under the log and the authority beside it.
pub(super) fn certificate_transparency(case: &Case) -> Outcome {
    let read = |name: &str| bytes(case.path().with_file_name(name));
    let pem = |name: &str| {
        let text = String::from_utf8(read(name)).unwrap();
        let start = text.find("-----BEGIN ").unwrap();
        text.get(start..).unwrap().to_owned()
    };
    let key = PublicKey::parse_pem(&pem("ct-server-key-public.pem")).unwrap();
    if case.name.ends_with("ct-server-key-public.pem") {
        return Ok(());
    }
    let id = Digest::of(key.spki()).bytes();
    let (scheme, operator) = (key.default_scheme(), crate::trust::Operator::default());
    let log = Log { id, key, scheme, window: Window::ALWAYS, address: "ct".into(), operator };
    let issuer = Certificate::from_pem(pem("ca-cert.pem")).unwrap();
    let issuer = issuer.tbs_certificate.subject_public_key_info.to_der().unwrap();
    let name = case.path().file_name().unwrap().to_str().unwrap().to_owned();
    let certificate = Certificate::from_pem(pem(&name)).unwrap();
    transparency::verify(&certificate, &issuer, std::slice::from_ref(&log))
        .map_err(|reason| ("CertificateTransparencyMissing", reason))?;
    // Another authority's certificate, and another log.
    let mut other = log;
    assert!(transparency::verify(&certificate, b"another issuer", std::slice::from_ref(&other)).is_err());
    other.id = vec![0; 32];
    assert!(transparency::verify(&certificate, &issuer, &[other]).is_err());
    Ok(())
}

/// An entry as a log answers it, under the instance whose log it names: promise, proof, checkpoint, whatever there is.
pub(super) fn rekor(case: &Case) -> Outcome {
    if case.name.ends_with("rekor.pub") {
        let pem = String::from_utf8(bytes(case.path())).unwrap();
        return PublicKey::parse_pem(&pem).map(|_| ()).map_err(|error| ("InvalidKey", error.to_string()));
    }
    let answer: Value = serde_json::from_slice(&bytes(case.path())).unwrap();
    let entry = match answer.get("canonicalizedBody") {
        Some(_) => second_version(&answer),
        None => first_version(answer.as_object().unwrap().values().next().unwrap()),
    };
    let verified =
        [PUBLIC_GOOD, STAGING].map(|name| log::verify(&entry, root(name).logs()).map(|found| found.is_some()));
    match verified {
        [Ok(true), _] | [_, Ok(true)] => Ok(()),
        [Err(error), _] | [_, Err(error)] => Err(super::refused(&error)),
        _ => Err(("LogEntryInvalid", "no instance knows its log".to_owned())),
    }
}

fn base64_text(value: &Value) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok()
}

fn base64(value: &Value) -> Vec<u8> {
    base64_text(value).unwrap()
}

fn first_version(entry: &Value) -> LogEntry {
    let proof = entry["verification"].get("inclusionProof").map(|proof| InclusionProof {
        index: proof["logIndex"].as_u64().unwrap(),
        tree_size: proof["treeSize"].as_u64().unwrap(),
        hashes: proof["hashes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| Sha256Hash::from_hex(hash.as_str().unwrap()).unwrap())
            .collect(),
        checkpoint: Checkpoint::from_text(proof["checkpoint"].as_str().unwrap()).unwrap(),
    });
    LogEntry {
        kind: EntryKind::HashedRekord001,
        log_id: from_hexadecimal(entry["logID"].as_str().unwrap()).unwrap(),
        index: entry["logIndex"].as_u64().unwrap(),
        integrated_time: Some(jiff::Timestamp::from_second(entry["integratedTime"].as_i64().unwrap()).unwrap()),
        promise: Some(base64(&entry["verification"]["signedEntryTimestamp"])),
        proof,
        body: base64(&entry["body"]),
    }
}

fn second_version(entry: &Value) -> LogEntry {
    let proof = &entry["inclusionProof"];
    let number = |value: &Value| value.as_str().map_or_else(|| value.as_u64().unwrap(), |text| text.parse().unwrap());
    LogEntry {
        kind: EntryKind::HashedRekord002,
        log_id: base64(&entry["logId"]["keyId"]),
        index: number(&entry["logIndex"]),
        integrated_time: None,
        promise: None,
        proof: Some(InclusionProof {
            index: number(&proof["logIndex"]),
            tree_size: number(&proof["treeSize"]),
            hashes: proof["hashes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hash| Sha256Hash::from_base64(hash.as_str().unwrap()).unwrap())
                .collect(),
            checkpoint: Checkpoint::from_text(proof["checkpoint"]["envelope"].as_str().unwrap()).unwrap(),
        }),
        body: base64(&entry["canonicalizedBody"]),
    }
}

/// Every signature of a file, which says itself whether it is valid.
pub(super) fn wycheproof(case: &Case) -> Outcome {
    let file: Value = serde_json::from_slice(&bytes(case.path())).unwrap();
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let key = PublicKey::from_spki(&from_hexadecimal(group["publicKeyDer"].as_str().unwrap()).unwrap());
        for test in group["tests"].as_array().unwrap() {
            seen += 1;
            let bytes = |name: &str| from_hexadecimal(test[name].as_str().unwrap()).unwrap();
            let (message, signature) = (bytes("msg"), bytes("sig"));
            let valid = key
                .as_ref()
                .is_ok_and(|key| key.verify(key.default_scheme(), Message::Bytes(&message), &signature).is_ok());
            // "acceptable" may go either way.
            let right = match test["result"].as_str().unwrap() {
                "valid" => valid,
                "invalid" => !valid,
                _ => true,
            };
            if !right {
                return Err(("WrongVerdict", format!("test {} is {}", test["tcId"], test["result"])));
            }
        }
    }
    assert_eq!(seen, file["numberOfTests"].as_u64().unwrap());
    Ok(())
}
