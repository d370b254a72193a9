//! Transparency logs: their trees, and what they answer when they are asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::virtual_sigstore::entry::Proof;
use super::virtual_sigstore::merkle;
use super::virtual_sigstore::text::{hex, sha256};
use super::virtual_sigstore::{Algorithm, Identity, Kind, Log, RekorV1, RekorV2, Subject, Version, VirtualSigstore};
use super::{MANIFEST, accepted, noon, refused};

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap()).collect()
}

/// The tree of the reference implementation's tests, of RFC 6962.
#[test]
fn trees_have_published_roots_and_proofs() {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let leaves: Vec<Vec<u8>> = leaves.iter().map(|leaf| merkle::leaf(&unhex(leaf))).collect();
    let hexes = |hashes: Vec<Vec<u8>>| hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>();
    assert_eq!(hex(&merkle::root(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(hex(&merkle::root(&leaves)), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    assert_eq!(
        hexes(merkle::consistency(&leaves, 6)),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(
        hexes(merkle::inclusion(&leaves, 5)),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert!(merkle::consistency(&leaves, 8).is_empty());
}

#[test]
fn one_signature_in_several_logs_needs_all_of_them() {
    let sigstore = VirtualSigstore::doubled();
    let logs = [Log::V1(&sigstore.logs_v1[0]), Log::V1(&sigstore.logs_v1[1]), Log::V2(&sigstore.logs_v2[0])];
    let parts = sigstore.sign(Subject::cosign_sign(MANIFEST)).logged_in(&logs).timestamped().parts();
    assert_eq!(accepted(&sigstore, "three logs", &parts, Version::V03), [noon(); 3]);
    for (broken, why) in ["inclusion promise", "inclusion promise", "inclusion proof"].into_iter().enumerate() {
        let parts = parts.with(|parts| parts.entries[broken].body.push(b' '));
        refused(&sigstore, "one of three", &parts, why);
    }
}

/// The logs signed and proved these bodies; only that they are about something else is wrong (CVE-2022-36056).
#[test]
fn an_entry_has_to_be_about_the_signature() {
    let sigstore = VirtualSigstore::new();
    let stranger = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let certificate = stranger.material.certificate().unwrap().to_vec();
    let pem = STANDARD.encode(stranger.material.pem());
    let nothing = hex(&sha256(b"nothing"));
    let fields: [(Kind, &str, Value); 11] = [
        (Kind::HashedRekord, "/data/hash/value", json!(nothing)),
        (Kind::HashedRekord, "/signature/content", json!("AAAA")),
        (Kind::HashedRekord, "/signature/publicKey/content", json!(pem)),
        (Kind::Dsse, "/payloadHash/value", json!(nothing)),
        (Kind::Dsse, "/signatures/0/signature", json!("AAAA")),
        (Kind::Dsse, "/signatures/0/verifier", json!(pem)),
        (Kind::Intoto002, "/content/payloadHash/value", json!(nothing)),
        (Kind::Intoto002, "/content/envelope/signatures/0/sig", json!(STANDARD.encode("AAAA"))),
        (Kind::HashedRekord002, "/hashedRekordV002/data/digest", json!(STANDARD.encode(sha256(b"nothing")))),
        (Kind::HashedRekord002, "/hashedRekordV002/signature/content", json!("AAAA")),
        (
            Kind::HashedRekord002,
            "/hashedRekordV002/signature/verifier/x509Certificate/rawBytes",
            json!(STANDARD.encode(&certificate)),
        ),
    ];
    for (kind, field, value) in fields {
        let subject = match kind {
            Kind::HashedRekord => Subject::manifest(MANIFEST),
            _ => Subject::cosign_sign(MANIFEST),
        };
        let signing = || match kind {
            Kind::HashedRekord002 => sigstore.sign(subject.clone()).rekor_v2(),
            kind => sigstore.sign(subject.clone()).kind(kind),
        };
        accepted(&sigstore, field, &signing().parts(), Version::V03);
        let wrong = signing().body(|body| *body.pointer_mut(&format!("/spec{field}")).unwrap() = value.clone());
        refused(&sigstore, field, &wrong.parts(), "match");
    }
}

#[test]
fn logs_sign_with_any_key() {
    for algorithm in [Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa2048] {
        let mut sigstore = VirtualSigstore::new();
        sigstore.logs_v1 = vec![RekorV1::new(algorithm, "rekor.example", "rekor.example")];
        let parts = sigstore.sign(Subject::manifest(MANIFEST)).parts();
        accepted(&sigstore, "any key", &parts, Version::V03);
        let other = parts.with(|parts| parts.entry().set = Some(sigstore.logs_v1[0].key.other().sign(b"")));
        refused(&sigstore, "another key", &other, "SET verification failed");
    }
}

#[test]
fn what_rekor_v1_answers_fits_what_it_signed() {
    let sigstore = VirtualSigstore::new();
    let log = &sigstore.logs_v1[0];
    let identity = Identity::email("bob@example.com", "https://accounts.example.com");
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).by(&identity).parts();
    let index = parts.entries[0].log_index;
    let uuid = log.uuid(index - log.offset).unwrap();
    sigstore.sign(Subject::cosign_sign(MANIFEST)).parts();

    let answer = log.get(&format!("/api/v1/log/entries?logIndex={index}")).unwrap();
    let body = |answer: Value| answer[&uuid]["body"].clone();
    assert_eq!(body(log.get(&format!("/api/v1/log/entries/{uuid}")).unwrap()), answer[&uuid]["body"]);
    assert_eq!(body(log.get(&format!("/api/v1/log/entries/{}", &uuid[16..])).unwrap()), answer[&uuid]["body"]);
    let retrieved = log.post("/api/v1/log/entries/retrieve", &json!({"logIndexes": [index]})).unwrap();
    assert_eq!(body(retrieved[0].clone()), answer[&uuid]["body"]);
    assert_eq!(log.get("/api/v1/log/entries?logIndex=0"), None);
    assert_eq!(log.get("/api/v1/log/entries/00"), None);

    // The answer is proved in a later tree than the entry was, and the oracle takes it.
    let entry = &answer[&uuid];
    let proof = &entry["verification"]["inclusionProof"];
    let (parts, logged) = (parts.clone(), &parts.entries[0]);
    assert!(proof["treeSize"].as_u64().unwrap() > logged.proof.as_ref().unwrap().tree_size);
    let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    assert_eq!(decode(&entry["body"]), logged.body);
    let parts = parts.with(|parts| {
        parts.entry().set = Some(decode(&entry["verification"]["signedEntryTimestamp"]));
        *parts.entry().proof() = Proof {
            log_index: proof["logIndex"].as_u64().unwrap(),
            tree_size: proof["treeSize"].as_u64().unwrap(),
            root: unhex(proof["rootHash"].as_str().unwrap()),
            hashes: proof["hashes"].as_array().unwrap().iter().map(|hash| unhex(hash.as_str().unwrap())).collect(),
            checkpoint: proof["checkpoint"].as_str().map(str::to_owned),
        };
    });
    accepted(&sigstore, "the answer", &parts, Version::V03);

    let search = |query: Value| log.post("/api/v1/index/retrieve", &query).unwrap();
    assert_eq!(search(json!({"hash": format!("sha256:{}", hex(&sha256(MANIFEST)))})), json!([uuid]));
    assert_eq!(search(json!({"email": "bob@example.com"})), json!([uuid]));
    assert_eq!(search(json!({"email": "nobody@example.com"})), json!([]));

    let info = log.get("/api/v1/log").unwrap();
    assert_eq!(info["treeSize"], log.size());
    assert_eq!(info["inactiveShards"][0]["treeSize"], log.offset);
    let consistency = log.get("/api/v1/log/proof?firstSize=3&lastSize=6").unwrap();
    assert_eq!(consistency["rootHash"], hex(&merkle::root(&log.leaves(6))));
    assert_eq!(log.get("/api/v1/log/proof?firstSize=3&lastSize=9999"), None);
}

#[test]
fn tiles_are_those_of_the_tree() {
    let log = RekorV2::new(Algorithm::Ed25519, "log.example", "example");
    while log.size() < 600 {
        log.append(log.size().to_be_bytes().to_vec());
    }
    let get = |path: &str| log.get(path, 600, noon());
    let hashes = |tile: Vec<u8>| tile.chunks(32).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let full = [get("tile/0/000").unwrap(), get("tile/0/001").unwrap(), get("tile/0/002.p/88").unwrap()];
    let leaves: Vec<Vec<u8>> = full.iter().cloned().flat_map(hashes).collect();
    assert_eq!(leaves, log.leaves(600));
    assert_eq!(hashes(get("tile/1/000.p/2").unwrap()), [merkle::root(&leaves[..256]), merkle::root(&leaves[256..512])]);
    let checkpoint = String::from_utf8(get("/api/v2/checkpoint").unwrap()).unwrap();
    let head = format!("log.example\n600\n{}\n\n", STANDARD.encode(merkle::root(&leaves)));
    assert!(checkpoint.starts_with(&head), "{checkpoint}");
    let entries = get("tile/entries/002.p/88").unwrap();
    assert_eq!(entries[..10], [&[0, 8], &512_u64.to_be_bytes()[..]].concat());
    for none in [
        "tile/0/002",
        "tile/0/003.p/1",
        "tile/1/000",
        "tile/0/2",
        "tile/0/x000",
        "tile/0/002.p/0",
        "tile/9/000",
        "other",
    ] {
        assert_eq!(get(none), None, "{none}");
    }
    assert_eq!(get("tile/0/x000/000"), get("tile/0/000"));
}

/// Kinds of entry that the oracle does not read are at least of the published shape.
#[test]
fn an_old_in_toto_entry_has_the_published_shape() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::cosign_sign(MANIFEST)).kind(Kind::Intoto001).parts();
    let entry = &parts.entries[0];
    assert_eq!((entry.kind.as_str(), entry.version.as_str()), ("intoto", "0.0.1"));
    let body: Value = serde_json::from_slice(&entry.body).unwrap();
    let envelope = parts.content.envelope();
    let hash = |bytes: &[u8]| json!({"algorithm": "sha256", "value": hex(&sha256(bytes))});
    let expected = json!({
        "apiVersion": "0.0.1",
        "kind": "intoto",
        "spec": {
            "content": {"hash": hash(&parts.layer().content), "payloadHash": hash(&envelope.payload)},
            "publicKey": STANDARD.encode(&parts.layer().annotations["dev.sigstore.cosign/certificate"]),
        },
    });
    assert_eq!(body, expected);
    refused(&sigstore, "not known", &parts, "unsupported Rekor entry format");
}
