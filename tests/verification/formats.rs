//! Formats and keys: every one is found to be what it is, and another artifact, key or content is not.

use countersign::image::Digest;
use countersign::verify::{Anchor, Claim, Signer, Subject as Name, TimeSource, verify};
use serde_json::json;

use super::virtual_sigstore::{
    Algorithm, Hash, Identity, Key, Kind, San, Scheme, Signing, Subject, Version, VirtualSigstore,
};
use super::{
    MANIFEST, accepted, anchor, as_bundle, as_layer, discovered, image, judge, judge_under, material, noon, public_key,
    refused, times,
};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

type Setup = (&'static str, fn(&VirtualSigstore) -> Signing<'_>);

/// Ways to sign, by how the log takes them in.
fn setups() -> Vec<Setup> {
    vec![
        ("message, Rekor v1", |sigstore| sigstore.sign(Subject::manifest(MANIFEST))),
        ("message, Rekor v2", |sigstore| sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2()),
        ("message, timestamp alone", |sigstore| sigstore.sign(Subject::manifest(MANIFEST)).without_log().timestamped()),
        ("envelope, dsse 0.0.1", |sigstore| sigstore.sign(Subject::cosign_sign(MANIFEST)).kind(Kind::Dsse)),
        ("envelope, intoto 0.0.2", |sigstore| sigstore.sign(Subject::cosign_sign(MANIFEST)).kind(Kind::Intoto002)),
        ("envelope, Rekor v2", |sigstore| sigstore.sign(Subject::cosign_sign(MANIFEST)).rekor_v2()),
    ]
}

#[test]
fn bundles_of_every_version_are_verified_for_their_image_only() {
    let sigstore = VirtualSigstore::new();
    let root = material(&sigstore.root());
    for (name, setup) in setups() {
        for key in [false, true] {
            let signing = setup(&sigstore);
            let parts = if key { signing.without_certificate() } else { signing }.parts();
            for version in [Version::V01, Version::V02, Version::V03, Version::V03Old] {
                let name = format!("{name}, {version:?}, key {key}");
                // The first version knows promises alone.
                if version == Version::V01 && parts.entries.iter().any(|entry| entry.set.is_none()) {
                    refused(
                        &name,
                        judge_under(&sigstore.root(), &parts, &as_bundle(&parts, version)),
                        "MalformedEvidence",
                        "promise",
                    );
                    continue;
                }
                let bundle = as_bundle(&parts, version);
                let under = anchor(root.clone(), &parts);
                let evidence = accepted(&name, verify(&bundle, &image(MANIFEST), &under));
                assert_eq!(*evidence.claim(), Claim::Signature, "{name}");
                assert_eq!(evidence.logs().len(), parts.entries.len(), "{name}");
                assert_eq!(
                    evidence.times().len(),
                    parts.timestamps.len() + parts.entries.iter().filter(|entry| entry.set.is_some()).count(),
                    "{name}"
                );
                assert_eq!(evidence.certificate_transparency(), !key, "{name}");
                // By its digest alone, and not for another image.
                accepted(&name, verify(&bundle, &Digest::of(MANIFEST), &under));
                let other = verify(&bundle, &image(b"another"), &under);
                assert!(other.is_err(), "{name}: {other:?}");
            }
        }
    }
}

#[test]
fn layers_say_the_same_as_bundles() {
    let sigstore = VirtualSigstore::new();
    let simple = || sigstore.sign(Subject::simple_signing(MANIFEST));
    let attested = || sigstore.sign(Subject::attestation(MANIFEST, PROVENANCE, json!({})));
    let cases = [
        ("signature", simple(), Claim::Signature),
        ("signature with a timestamp", simple().timestamped(), Claim::Signature),
        ("signature, timestamp alone", simple().without_log().timestamped(), Claim::Signature),
        ("signature by a key", simple().without_certificate(), Claim::Signature),
        ("signature by a key with a timestamp", simple().without_certificate().timestamped(), Claim::Signature),
        ("attestation", attested(), Claim::Attestation { predicate_type: PROVENANCE.to_owned() }),
        (
            "attestation, intoto 0.0.1",
            attested().kind(Kind::Intoto001),
            Claim::Attestation { predicate_type: PROVENANCE.to_owned() },
        ),
        (
            "attestation, intoto 0.0.2",
            attested().kind(Kind::Intoto002),
            Claim::Attestation { predicate_type: PROVENANCE.to_owned() },
        ),
        (
            "attestation by a key, intoto 0.0.1",
            attested().kind(Kind::Intoto001).without_certificate(),
            Claim::Attestation { predicate_type: PROVENANCE.to_owned() },
        ),
        (
            "attestation with a timestamp",
            attested().timestamped(),
            Claim::Attestation { predicate_type: PROVENANCE.to_owned() },
        ),
    ];
    for (name, signing, claim) in cases {
        let parts = signing.parts();
        let evidence = accepted(name, judge_under(&sigstore.root(), &parts, &as_layer(&parts)));
        assert_eq!(*evidence.claim(), claim, "{name}");
        assert_eq!(times(&evidence, TimeSource::TimestampAuthority).len(), parts.timestamps.len(), "{name}");
        assert_eq!(times(&evidence, TimeSource::Log).len(), parts.entries.len(), "{name}");
        let under = anchor(material(&sigstore.root()), &parts);
        refused(name, verify(&as_layer(&parts), &image(b"another"), &under), "OtherArtifact", "another");
        let forged = parts.with(|parts| parts.content.signature_mut()[9] ^= 1);
        let forged = judge_under(&sigstore.root(), &forged, &as_layer(&forged));
        assert!(forged.is_err(), "{name}: {forged:?}");
    }
}

#[test]
fn without_log_and_timestamp_a_key_is_believed_and_a_certificate_is_not() {
    let sigstore = VirtualSigstore::new();
    for subject in [Subject::simple_signing(MANIFEST), Subject::cosign_sign(MANIFEST)] {
        let parts = sigstore.sign(subject.clone()).without_certificate().without_log().parts();
        let key = public_key(parts.material.key());
        for dating in [None, Some(material(&sigstore.root()))] {
            let evidence =
                accepted("key", verify(&as_layer(&parts), &image(MANIFEST), &Anchor::Key { key: key.clone(), dating }));
            assert!(evidence.times().is_empty() && evidence.logs().is_empty());
            assert!(!evidence.certificate_transparency());
        }
        let parts = sigstore.sign(subject).without_log().parts();
        refused("certificate", judge_under(&sigstore.root(), &parts, &as_layer(&parts)), "LogMissing", "no log entry");
    }
    let parts = sigstore.sign(Subject::simple_signing(MANIFEST)).without_log().parts();
    let without_logs = sigstore.root().without_logs();
    refused("no log", judge_under(&without_logs, &parts, &as_layer(&parts)), "TimestampMissing", "no timestamp");
}

#[test]
fn under_a_key_alone_proofs_are_not_looked_at() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).without_certificate().timestamped().parts();
    let key = public_key(parts.material.key());
    let broken = parts.with(|parts| {
        parts.entry().set = Some(vec![0; 70]);
        parts.timestamps[0][90] ^= 1;
    });
    let alone = Anchor::Key { key: key.clone(), dating: None };
    for parts in [&parts, &broken] {
        let evidence = accepted("alone", verify(&as_bundle(parts, Version::V03), &image(MANIFEST), &alone));
        assert!(evidence.times().is_empty() && evidence.logs().is_empty());
    }
    let dated = Anchor::Key { key, dating: Some(material(&sigstore.root())) };
    // Nor are they of a kind that is not read, in a layer.
    let parts_of_layer = sigstore.sign(Subject::simple_signing(MANIFEST)).without_certificate().timestamped().parts();
    for annotation in ["dev.sigstore.cosign/bundle", "dev.sigstore.cosign/rfc3161timestamp"] {
        let mut layer = parts_of_layer.layer();
        layer.annotations.insert(annotation.to_owned(), "{}".to_owned());
        let layer = discovered(&layer.media_type, layer.content, layer.annotations);
        let key = public_key(parts_of_layer.material.key());
        let by = |dating| Anchor::Key { key: key.clone(), dating };
        accepted(annotation, verify(&layer, &image(MANIFEST), &by(None)));
        let dating = Some(material(&sigstore.root()));
        refused(annotation, verify(&layer, &image(MANIFEST), &by(dating)), "MalformedEvidence", "malformed");
    }
    let evidence = accepted("dated", verify(&as_bundle(&parts, Version::V03), &image(MANIFEST), &dated));
    assert_eq!((evidence.times().len(), evidence.logs().len()), (2, 1));
    assert!(verify(&as_bundle(&broken, Version::V03), &image(MANIFEST), &dated).is_err());
}

#[test]
fn keys_of_every_kind_sign_in_every_usual_scheme() {
    let sigstore = VirtualSigstore::new();
    let cases = [
        (Algorithm::P256, Scheme::Ecdsa(Hash::Sha256)),
        (Algorithm::P384, Scheme::Ecdsa(Hash::Sha384)),
        (Algorithm::P384, Scheme::Ecdsa(Hash::Sha256)),
        (Algorithm::P521, Scheme::Ecdsa(Hash::Sha512)),
        (Algorithm::P521, Scheme::Ecdsa(Hash::Sha256)),
        (Algorithm::Rsa2048, Scheme::RsaPkcs1(Hash::Sha256)),
        (Algorithm::Rsa2048, Scheme::RsaPkcs1(Hash::Sha512)),
        (Algorithm::Rsa2048, Scheme::RsaPss(Hash::Sha256)),
        (Algorithm::Rsa2048, Scheme::RsaPss(Hash::Sha384)),
        (Algorithm::Rsa4096, Scheme::RsaPkcs1(Hash::Sha256)),
        (Algorithm::Rsa4096, Scheme::RsaPss(Hash::Sha256)),
        (Algorithm::Ed25519, Scheme::Ed25519),
    ];
    for (algorithm, scheme) in cases {
        let key = Key::generate(algorithm);
        let name = format!("{algorithm:?} {scheme:?}");
        let subjects = [Subject::manifest(MANIFEST), Subject::simple_signing(MANIFEST), Subject::cosign_sign(MANIFEST)];
        for (position, subject) in subjects.into_iter().enumerate() {
            let signing = || sigstore.sign(subject.clone()).key(&key).scheme(scheme);
            for parts in [signing().parts(), signing().without_certificate().parts()] {
                let candidate = if position == 1 { as_layer(&parts) } else { as_bundle(&parts, Version::V03) };
                accepted(&name, judge_under(&sigstore.root(), &parts, &candidate));
            }
            // Another key of the same kind, and of another.
            let parts = signing().without_certificate().without_log().parts();
            let candidate = if position == 1 { as_layer(&parts) } else { as_bundle(&parts, Version::V03) };
            for other in [key.other(), Key::generate(Algorithm::P256)] {
                let other = Anchor::Key { key: public_key(&other), dating: None };
                refused(&name, verify(&candidate, &image(MANIFEST), &other), "SignatureInvalid", "not the key's");
            }
        }
    }
}

#[test]
fn a_signature_over_another_digest_than_sha256_needs_the_bytes() {
    let sigstore = VirtualSigstore::new();
    let key = Key::generate(Algorithm::P384);
    let signing = || sigstore.sign(Subject::manifest(MANIFEST)).key(&key);
    let by = |scheme| signing().scheme(scheme).without_certificate().without_log().parts();
    let anchor = Anchor::Key { key: public_key(&key), dating: None };
    let sha256 = by(Scheme::Ecdsa(Hash::Sha256));
    accepted("sha256", verify(&as_bundle(&sha256, Version::V03), &Digest::of(MANIFEST), &anchor));
    let sha384 = by(Scheme::Ecdsa(Hash::Sha384));
    refused(
        "sha384",
        verify(&as_bundle(&sha384, Version::V03), &Digest::of(MANIFEST), &anchor),
        "EvidenceUnsupported",
        "sha256",
    );
    accepted("sha384", verify(&as_bundle(&sha384, Version::V03), &image(MANIFEST), &anchor));
}

#[test]
fn every_name_and_claim_is_a_fact() {
    let sigstore = VirtualSigstore::new();
    let issuer = "https://accounts.example.com";
    let names = vec![
        San::Email("alice@example.com".to_owned()),
        San::Uri("spiffe://example.com/release".to_owned()),
        San::OtherName("alice!example.com".to_owned()),
        San::Dns("build.example.com".to_owned()),
    ];
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).by(&Identity::named(names, issuer)).parts();
    let evidence = accepted("names", judge(&sigstore, &parts));
    let Signer::Certificate { issuer: found, subjects, .. } = evidence.signer() else { panic!("a key") };
    let expected = [
        Name::Email("alice@example.com".to_owned()),
        Name::Uri("spiffe://example.com/release".to_owned()),
        Name::OtherName("alice!example.com".to_owned()),
    ];
    assert_eq!((found.as_deref(), subjects.as_slice()), (Some(issuer), &expected[..]));

    let workflow = Identity::workflow("octo/app", "release.yml", "refs/tags/v1");
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).by(&workflow).parts();
    let evidence = accepted("claims", judge(&sigstore, &parts));
    let Signer::Certificate { claims, .. } = evidence.signer() else { panic!("a key") };
    assert_eq!(claims.keys().copied().collect::<Vec<_>>().len(), countersign::verify::claim_names().count());
    assert_eq!(claims["sourceRepositoryRef"], "refs/tags/v1");
    assert_eq!(claims["tokenSubject"], "repo:octo/app:ref:refs/tags/v1");

    // A certificate that names nobody is a fact without a name; no policy matches it.
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).by(&Identity::named(vec![], issuer)).parts();
    let evidence = accepted("nobody", judge(&sigstore, &parts));
    assert!(matches!(evidence.signer(), Signer::Certificate { subjects, .. } if subjects.is_empty()));
    assert_eq!(times(&evidence, TimeSource::Log), [noon()]);
}
