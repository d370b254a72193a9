//! What the virtual Sigstore instance of the tests signs is accepted by a verifier that is not ours, and refused once one thing is
//! wrong. So a test of ours that is refused is refused for the reason that it set up.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

#[path = "virtual_sigstore/certificates.rs"]
mod certificates;
#[path = "virtual_sigstore/images.rs"]
mod images;
#[path = "virtual_sigstore/layers.rs"]
mod layers;
#[path = "virtual_sigstore/logs.rs"]
mod logs;
#[path = "virtual_sigstore/timestamps.rs"]
mod timestamps;

use jiff::Timestamp;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

use virtual_sigstore::checkpoint::Signer;
use virtual_sigstore::content::Material;
use virtual_sigstore::{Algorithm, Hash, Key, Kind, Log, Parts, Scheme, Subject, Version, VirtualSigstore};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time at which signatures are made unless told otherwise.
fn noon() -> Timestamp {
    at("2024-06-01T12:00:00Z")
}

/// What the oracle says of a bundle under a trust root.
fn judge(root: &str, bundle: &str, key: Option<&Key>) -> Result<Vec<Timestamp>, String> {
    let root = TrustedRoot::from_json(root).map_err(|error| error.to_string())?;
    let verifier = Verifier::new(&root).map_err(|error| error.to_string())?;
    let bundle = Bundle::from_json(bundle).map_err(|error| error.to_string())?;
    let result = match key {
        Some(key) => {
            let policy = PublicKeyVerificationPolicy::new(DerPublicKey::new(key.spki()));
            verifier.verify(MANIFEST, &bundle, &policy)
        }
        None => verifier.verify(MANIFEST, &bundle, &VerificationPolicy::any_identity()),
    };
    result.map(|result| result.verified_timestamps().to_vec()).map_err(|error| error.to_string())
}

/// Fails unless the oracle accepts, and gives the verified times.
fn accepted(sigstore: &VirtualSigstore, name: &str, parts: &Parts, version: Version) -> Vec<Timestamp> {
    let key = match &parts.material {
        Material::Key { key, .. } => Some(key),
        Material::Certificate { .. } => None,
    };
    judge(&sigstore.root().json(), &parts.bundle(version), key).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Fails unless the oracle refuses, and for a reason that contains `why`.
fn refused(sigstore: &VirtualSigstore, name: &str, parts: &Parts, why: &str) {
    let root = sigstore.root().json();
    let key = match &parts.material {
        Material::Key { key, .. } => Some(key),
        Material::Certificate { .. } => None,
    };
    match judge(&root, &parts.bundle(Version::V03), key) {
        Ok(times) => panic!("{name}: accepted at {times:?}"),
        Err(error) => assert!(error.contains(why), "{name}: {error:?} does not say {why:?}"),
    }
}

#[test]
fn every_format_is_verified() {
    let sigstore = VirtualSigstore::new();
    let message = || sigstore.sign(Subject::manifest(MANIFEST));
    let statement = || sigstore.sign(Subject::cosign_sign(MANIFEST));
    for version in [Version::V01, Version::V02, Version::V03, Version::V03Old] {
        let name = version.media_type();
        assert_eq!(accepted(&sigstore, name, &message().parts(), version), [noon()]);
        accepted(&sigstore, name, &statement().parts(), version);
        accepted(&sigstore, name, &statement().kind(Kind::Intoto002).parts(), version);
        let both = message().timestamped().parts();
        assert_eq!(accepted(&sigstore, name, &both, version), [noon(), noon()]);
    }
    for signing in [message(), statement()] {
        assert_eq!(accepted(&sigstore, "Rekor v2", &signing.rekor_v2().parts(), Version::V03), [noon()]);
    }
}

#[test]
fn every_kind_of_key_is_verified() {
    let sigstore = VirtualSigstore::new();
    let cases = [
        (Algorithm::P256, Scheme::Ecdsa(Hash::Sha256), true),
        // The oracle reads no other hash than SHA-256 in entries of messages, and takes the key's own for envelopes.
        (Algorithm::P384, Scheme::Ecdsa(Hash::Sha256), false),
        (Algorithm::P384, Scheme::Ecdsa(Hash::Sha384), true),
        (Algorithm::Rsa2048, Scheme::RsaPkcs1(Hash::Sha256), true),
        (Algorithm::Ed25519, Scheme::Ed25519, true),
    ];
    for (algorithm, scheme, envelopes) in cases {
        let key = Key::generate(algorithm);
        let name = format!("{scheme:?}");
        let messages = matches!(scheme.hash(), None | Some(Hash::Sha256));
        let subjects = [(messages, Subject::manifest(MANIFEST)), (envelopes, Subject::cosign_sign(MANIFEST))];
        for subject in subjects.into_iter().filter_map(|(known, subject)| known.then_some(subject)) {
            let signing = || sigstore.sign(subject.clone()).key(&key).scheme(scheme);
            accepted(&sigstore, &name, &signing().parts(), Version::V03);
            accepted(&sigstore, &name, &signing().without_certificate().parts(), Version::V03);
        }
    }
    let keyed = sigstore.sign(Subject::cosign_sign(MANIFEST)).without_certificate().rekor_v2().parts();
    accepted(&sigstore, "a key in Rekor v2", &keyed, Version::V03);
    let other = keyed.with(|parts| {
        let Material::Key { key, .. } = &mut parts.material else { panic!("a key") };
        *key = key.other();
    });
    refused(&sigstore, "another key", &other, "signature invalid");
}

/// Schemes that the oracle does not use are held against the library that signs, which is told the scheme by another name.
#[test]
fn every_scheme_is_the_one_it_says() {
    use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    let cases: [(Algorithm, Scheme, &dyn VerificationAlgorithm); 10] = [
        (Algorithm::P256, Scheme::Ecdsa(Hash::Sha384), &signature::ECDSA_P256_SHA384_ASN1),
        (Algorithm::P384, Scheme::Ecdsa(Hash::Sha256), &signature::ECDSA_P384_SHA256_ASN1),
        (Algorithm::P521, Scheme::Ecdsa(Hash::Sha256), &signature::ECDSA_P521_SHA256_ASN1),
        (Algorithm::P521, Scheme::Ecdsa(Hash::Sha384), &signature::ECDSA_P521_SHA384_ASN1),
        (Algorithm::P521, Scheme::Ecdsa(Hash::Sha512), &signature::ECDSA_P521_SHA512_ASN1),
        (Algorithm::Rsa2048, Scheme::RsaPkcs1(Hash::Sha384), &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rsa2048, Scheme::RsaPkcs1(Hash::Sha512), &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Rsa2048, Scheme::RsaPss(Hash::Sha256), &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::Rsa2048, Scheme::RsaPss(Hash::Sha384), &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::Rsa2048, Scheme::RsaPss(Hash::Sha512), &signature::RSA_PSS_2048_8192_SHA512),
    ];
    for (algorithm, scheme, known_as) in cases {
        let key = Key::generate(algorithm);
        let signed = key.sign_with(scheme, MANIFEST);
        let public = UnparsedPublicKey::new(known_as, key.raw());
        assert!(public.verify(MANIFEST, &signed).is_ok(), "{scheme:?}");
        assert!(public.verify(b"other", &signed).is_err(), "{scheme:?}");
        assert!(UnparsedPublicKey::new(known_as, key.other().raw()).verify(MANIFEST, &signed).is_err(), "{scheme:?}");
    }
}

/// What is flipped, what the refusal says, and how it is flipped.
type Flip<'a> = (&'a str, &'a str, &'a dyn Fn(&mut Parts));

/// Refuses each flip of parts that are accepted as they are.
fn flips(sigstore: &VirtualSigstore, sound: &Parts, flips: &[Flip<'_>]) {
    accepted(sigstore, "sound", sound, Version::V03);
    for (name, why, flip) in flips {
        refused(sigstore, name, &sound.with(flip), why);
    }
}

#[test]
fn a_part_that_does_not_fit_is_refused() {
    let sigstore = VirtualSigstore::new();
    let other = VirtualSigstore::new();
    let stranger = other.sign(Subject::manifest(MANIFEST)).parts();
    let message = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let twin = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    flips(
        &sigstore,
        &message,
        &[
            ("another payload's signature", "signature", &|parts| {
                *parts.content.signature_mut() = parts.material.key().sign(b"other");
            }),
            ("another certificate", "signature invalid", &|parts| parts.material = twin.material.clone()),
            ("a stranger's certificate", "chain", &|parts| parts.material = stranger.material.clone()),
            ("another log entry", "does not match", &|parts| parts.entries = twin.entries.clone()),
            ("a stranger's log entry", "No log key", &|parts| parts.entries = stranger.entries.clone()),
            ("no log entry", "must have an inclusion proof", &|parts| parts.entries.clear()),
            ("no promise", "No verified timestamp", &|parts| parts.entry().set = None),
            ("no proof", "nclusion proof", &|parts| parts.entry().proof = None),
            ("no checkpoint", "heckpoint", &|parts| parts.entry().proof().checkpoint = None),
            ("another index under the promise", "SET", &|parts| parts.entry().log_index += 1),
            ("another time under the promise", "SET", &|parts| {
                let entry = parts.entry();
                entry.integrated_time = entry.integrated_time.map(|time| time + jiff::SignedDuration::from_secs(1));
            }),
            ("another log under the promise", "No log key", &|parts| parts.entry().log_id = other.logs_v1[0].key.id()),
            ("another body", "SET", &|parts| {
                parts.entry().edit_body(|body| body["spec"]["signature"]["content"] = "AAAA".into());
            }),
            ("a shorter proof", "nclusion proof", &|parts| drop(parts.entry().proof().hashes.pop())),
            ("another leaf's proof", "nclusion proof", &|parts| parts.entry().proof().log_index -= 1),
            ("another tree's root", "oot hash", &|parts| parts.entry().proof().root = vec![7; 32]),
            ("another checkpoint", "oot hash", &|parts| {
                parts.entry().proof().checkpoint = Some(sigstore.logs_v1[0].checkpoint(3).text());
            }),
            ("a checkpoint that a stranger signed", "No matching Rekor key", &|parts| {
                let proof = parts.entry().proof();
                let mut checkpoint = sigstore.logs_v1[0].checkpoint(proof.tree_size);
                checkpoint.signers = vec![Signer::log("rekor.example", &Key::generate(Algorithm::P256))];
                proof.checkpoint = Some(checkpoint.text());
            }),
        ],
    );
}

#[test]
fn rekor_v2_without_a_part_is_refused() {
    let mut sigstore = VirtualSigstore::doubled();
    sigstore.logs_v2[0].witnesses = vec!["witness.example/w1".to_owned(), "witness.example/w2".to_owned()];
    let p256 = Log::V2(&sigstore.logs_v2[1]);
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).logged_in(&[p256]).timestamped().parts();
    accepted(&sigstore, "a log with a P-256 key", &parts, Version::V03);
    let sound = sigstore.sign(Subject::cosign_sign(MANIFEST)).rekor_v2().parts();
    assert_eq!(sound.entries[0].proof.as_ref().unwrap().checkpoint.as_ref().unwrap().matches("witness").count(), 2);
    flips(
        &sigstore,
        &sound,
        &[
            ("no timestamp", "V2 bundle requires RFC3161", &|parts| parts.timestamps.clear()),
            ("no proof", "nclusion proof", &|parts| parts.entry().proof = None),
            ("another leaf", "nclusion proof", &|parts| parts.entry().log_index -= 1),
            ("a later tree", "nclusion proof", &|parts| {
                let log = &sigstore.logs_v2[0];
                log.append(b"another leaf".to_vec());
                let hashes = parts.entry().proof().hashes.clone();
                *parts.entry().proof() = log.proof(parts.entry().log_index, log.size(), noon());
                parts.entry().proof().hashes = hashes;
            }),
            ("witnesses alone", "No matching Rekor key", &|parts| {
                let mut checkpoint = sigstore.logs_v2[0].checkpoint(parts.entry().proof().tree_size, noon());
                checkpoint.signers.remove(0);
                parts.entry().proof().checkpoint = Some(checkpoint.text());
            }),
            ("another payload", "signature invalid", &|parts| parts.content.payload().push(b' ')),
        ],
    );
}
