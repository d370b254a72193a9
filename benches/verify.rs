//! What verification costs beside the public-key operations that it cannot do without.
//!
//! `cargo bench` prints one line for each format: the time of `verify`, the floor, their ratio, and what the floor is made of. The floor is
//! each signature that the format needs once: the signer's, the certificate's, its certificate timestamp's, the log's promise and
//! checkpoint, the timestamp's, done by the same library on the same curves with keys that are parsed beforehand. Which of them a format
//! needs is read off the evidence, so that the count is of what was verified.
//!
//! Both are timed in turns, and the fastest turn of each counts: whatever else the machine does can only add. A harness that times one
//! thing after the other would compare two moods of the machine, which is why there is none here.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "../tests/support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::trust::{PUBLIC_GOOD, PublicKey, TrustMaterial};
use countersign::verify::{Anchor, Evidence, Signer, TimeSource, verify};
use serde_json::Value;

use virtual_sigstore::{Algorithm, Key, Log, Parts, Subject, Version, VirtualSigstore};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
/// What a whole keyless verification may cost, as a multiple of its floor.
const GOAL: f64 = 1.25;
/// Turns that each side gets.
const TURNS: usize = 500;
/// How long a turn is, about: shorter than what a busy machine gives to one process at a time, so that some turns are whole.
const TURN: Duration = Duration::from_micros(1500);

/// One format with what it is verified under.
struct Case {
    name: &'static str,
    candidate: Discovered,
    artifact: ResolvedImage,
    anchor: Anchor,
    curves: Curves,
}

/// The curves of everybody who signs; those who do not are not asked.
#[derive(Clone, Copy)]
struct Curves {
    signer: Algorithm,
    issuer: Algorithm,
    certificate_log: Algorithm,
    log: Algorithm,
    timestamp: Algorithm,
}

/// As the public instance has them.
const USUAL: Curves = Curves {
    signer: Algorithm::P256,
    issuer: Algorithm::P384,
    certificate_log: Algorithm::P256,
    log: Algorithm::P256,
    timestamp: Algorithm::P256,
};

/// One signature that has to be verified.
struct Operation {
    name: String,
    key: ParsedPublicKey,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Operation {
    fn new(what: &str, algorithm: Algorithm) -> Self {
        let verification: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            Algorithm::P384 => &signature::ECDSA_P384_SHA384_ASN1,
            Algorithm::Ed25519 => &signature::ED25519,
            other => panic!("no format here is signed with {other:?}"),
        };
        let (key, message) = (Key::generate(algorithm), vec![7; 512]);
        let signature = key.sign(&message);
        let key = ParsedPublicKey::new(verification, key.raw()).unwrap();
        Self { name: format!("{what} {algorithm:?}"), key, message, signature }
    }

    fn run(&self) {
        self.key.verify_sig(black_box(&self.message), black_box(&self.signature)).unwrap();
    }
}

/// The operations that this evidence rests on.
fn operations(evidence: &Evidence, curves: Curves) -> Vec<Operation> {
    let mut found = vec![Operation::new("signature", curves.signer)];
    if matches!(evidence.signer(), Signer::Certificate { .. }) {
        found.push(Operation::new("certificate", curves.issuer));
    }
    if evidence.certificate_transparency() {
        found.push(Operation::new("SCT", curves.certificate_log));
    }
    for log in evidence.logs() {
        if log.dated {
            found.push(Operation::new("SET", curves.log));
        }
        if log.inclusion_proof {
            found.push(Operation::new("checkpoint", curves.log));
        }
    }
    let stamped = evidence.times().iter().filter(|time| time.source == TimeSource::TimestampAuthority);
    found.extend(stamped.map(|_| Operation::new("timestamp", curves.timestamp)));
    found
}

fn image(manifest: &[u8]) -> ResolvedImage {
    let text = format!("registry.example/image@{}", Digest::of(manifest));
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    ImageReference::parse(&text).unwrap().resolve(manifest.to_vec(), media_type).unwrap()
}

fn discovered(media_type: &str, content: Vec<u8>, annotations: BTreeMap<String, String>) -> Discovered {
    let origin =
        Origin { path: DiscoveryPath::ReferrersApi, manifest: Digest::of(b"manifest"), layer: Digest::of(&content) };
    Discovered::untrusted(origin, media_type.to_owned(), content, annotations)
}

fn bundle(parts: &Parts) -> Discovered {
    discovered(Version::V03.media_type(), parts.bundle(Version::V03).into_bytes(), BTreeMap::new())
}

fn layer(parts: &Parts) -> Discovered {
    let layer = parts.layer();
    discovered(&layer.media_type, layer.content, layer.annotations)
}

/// Signatures of an instance in memory, in every format.
fn virtual_cases() -> Vec<Case> {
    let sigstore = VirtualSigstore::new();
    let root = Anchor::Root(TrustMaterial::parse("virtual", &sigstore.root().json()).unwrap());
    let message = || sigstore.sign(Subject::manifest(MANIFEST));
    let statement = || sigstore.sign(Subject::cosign_sign(MANIFEST));
    let payload = || sigstore.sign(Subject::simple_signing(MANIFEST));
    let keyed = payload().without_certificate().without_log();
    let key = Key::generate(Algorithm::P256);
    let keyed = keyed.key(&key).parts();
    let key = Anchor::Key { key: PublicKey::parse_pem(&key.pem()).unwrap(), dating: None };
    let ed25519 = Curves { log: Algorithm::Ed25519, ..USUAL };
    let v2 = Log::V2(&sigstore.logs_v2[0]);
    let case = |name, candidate, anchor: &Anchor, curves| Case {
        name,
        candidate,
        artifact: image(MANIFEST),
        anchor: anchor.clone(),
        curves,
    };
    vec![
        case("bundle, message, Rekor v1", bundle(&message().parts()), &root, USUAL),
        case("bundle, message, Rekor v1, TSA", bundle(&message().timestamped().parts()), &root, USUAL),
        case("bundle, message, Rekor v2, TSA", bundle(&message().rekor_v2().parts()), &root, ed25519),
        case("bundle, DSSE, Rekor v1", bundle(&statement().parts()), &root, USUAL),
        case(
            "bundle, DSSE, Rekor v2, TSA",
            bundle(&statement().logged_in(&[v2]).timestamped().parts()),
            &root,
            ed25519,
        ),
        case("cosign .sig, SET", layer(&payload().parts()), &root, USUAL),
        case("cosign .att, SET", layer(&statement().parts()), &root, USUAL),
        case("cosign .sig, key alone", layer(&keyed), &key, USUAL),
    ]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads its data")]
fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Signatures that public projects published.
fn real_cases() -> Vec<Case> {
    let data = |case: &str, file: &str| read(&format!("tests/data/bundles/{case}/{file}"));
    let public_good = Anchor::Root(TrustMaterial::embedded(PUBLIC_GOOD).unwrap());
    let of = |name, case: &str, anchor, curves| Case {
        name,
        candidate: discovered(Version::V03.media_type(), data(case, "bundle.sigstore.json"), BTreeMap::new()),
        artifact: image(&data(case, "artifact")),
        anchor,
        curves,
    };
    let staging = String::from_utf8(data("sigstore-java--rekor-v2", "trusted_root.json")).unwrap();
    let staging = Anchor::Root(TrustMaterial::parse("staging", &staging).unwrap());
    let rekor_v1 = Curves { timestamp: Algorithm::P384, ..USUAL };
    let rekor_v2 = Curves { log: Algorithm::Ed25519, timestamp: Algorithm::P384, ..USUAL };
    vec![
        of("real: cosign 3, a file", "sigstore-rust--cosign-v3-blob", public_good.clone(), rekor_v1),
        of("real: sigstore-java, Rekor v2", "sigstore-java--rekor-v2", staging, rekor_v2),
        provenance(public_good),
    ]
}

/// The attestation of the example `slsa-provenance`.
fn provenance(anchor: Anchor) -> Case {
    let blob = |digest: &str| read(&format!("policies/examples/slsa-provenance/image/blobs/sha256/{digest}"));
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let digest = |value: &Value| value.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let index = parse(&read("policies/examples/slsa-provenance/image/index.json"));
    let named = |kind: &str| {
        let mut manifests = index["manifests"].as_array().unwrap().iter();
        let found = manifests.find(|manifest| manifest["annotations"]["kind"] == kind).unwrap();
        digest(&found["digest"])
    };
    let layer = parse(&blob(&named("dev.cosignproject.cosign/atts")))["layers"][0].clone();
    let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
    Case {
        name: "real: SLSA provenance, .att",
        candidate: discovered(layer["mediaType"].as_str().unwrap(), blob(&digest(&layer["digest"])), annotations),
        artifact: image(&blob(&named("dev.cosignproject.cosign/imageIndex"))),
        anchor,
        curves: USUAL,
    }
}

/// The time of one call, in a turn of so many.
fn turn(calls: u32, mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        run();
    }
    start.elapsed() / calls
}

fn main() {
    // `cargo bench` says so; `cargo test --all-targets` does not, and only wants to know that everything runs.
    let measure = std::env::args().any(|argument| argument == "--bench");
    // What else is said names cases by a part of their name.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    println!("{:<32} {:>10} {:>10} {:>6}  operations", "format", "verify µs", "floor µs", "ratio");
    let mut over = Vec::new();
    for case in virtual_cases().into_iter().chain(real_cases()).filter(|case| case.name.contains(&wanted)) {
        let check = || match verify(black_box(&case.candidate), &case.artifact, black_box(&case.anchor)) {
            Ok(evidence) => evidence,
            Err(error) => panic!("{}: {} {error}", case.name, error.code()),
        };
        let evidence = check();
        let operations = operations(&evidence, case.curves);
        let floor = || operations.iter().for_each(Operation::run);
        let once = turn(8, || drop(black_box(check())));
        let calls = if measure { u32::try_from(TURN.as_nanos() / once.as_nanos().max(1)).unwrap().max(1) } else { 1 };
        let turns = if measure { TURNS } else { 1 };
        let times = (0..turns).map(|_| (turn(calls, || drop(black_box(check()))), turn(calls, floor)));
        let (verified, bare): (Vec<Duration>, Vec<Duration>) = times.unzip();
        let [verified, bare] = [verified, bare].map(|times| times.into_iter().min().unwrap().as_secs_f64() * 1e6);
        let names: Vec<&str> = operations.iter().map(|operation| operation.name.as_str()).collect();
        let ratio = verified / bare;
        println!("{:<32} {verified:>10.1} {bare:>10.1} {ratio:>6.2}  {}", case.name, names.join(", "));
        if ratio > GOAL {
            over.push(case.name);
        }
    }
    println!("over {GOAL}: {}", if over.is_empty() { "none".to_owned() } else { over.join("; ") });
}
