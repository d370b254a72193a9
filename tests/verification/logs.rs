//! Transparency logs: promise, proof, checkpoint, the log's window, and that the entry is about this signature.

use base64::Engine as _;
use countersign::verify::{Evidence, TimeSource, VerifyError};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::virtual_sigstore::checkpoint::Signer;
use super::virtual_sigstore::text::{base64, hex, sha256};
use super::virtual_sigstore::{
    Algorithm, Identity, Kind, Log, Parts, RekorV1, Subject, TrustedRoot, Version, VirtualSigstore, Window,
};
use super::{MANIFEST, accepted, as_bundle, as_layer, judge, judge_under, material, noon, refused, times};

const LOG: &str = "LogEntryInvalid";

/// One thing changed, by name.
type Flip = (&'static str, fn(&mut Parts));

/// A second, the smallest step of a promise's time.
fn second() -> SignedDuration {
    SignedDuration::from_secs(1)
}

#[test]
fn a_promise_covers_body_index_time_and_log() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).parts().with(|parts| parts.entry().proof = None);
    let judged = |parts: &Parts| judge_under(&sigstore.root(), parts, &as_bundle(parts, Version::V01));
    let evidence = accepted("sound", judged(&parts));
    let [log] = evidence.logs() else { panic!("{evidence:?}") };
    assert!(log.dated && !log.inclusion_proof);
    assert_eq!((log.log.as_str(), log.index), ("https://rekor.example", parts.entries[0].log_index));
    assert_eq!(times(&evidence, TimeSource::Log), [noon()]);
    let flips: [Flip; 6] = [
        ("index", |parts| parts.entry().log_index += 1),
        ("time", |parts| parts.entry().integrated_time = Some(noon() + second())),
        ("body", |parts| parts.entry().body.push(b' ')),
        ("promise", |parts| parts.entry().set.as_mut().unwrap()[20] ^= 1),
        ("no promise", |parts| parts.entry().set = Some(Vec::new())),
        ("no time", |parts| parts.entry().integrated_time = None),
    ];
    for (name, flip) in flips {
        refused(name, judged(&parts.with(flip)), LOG, "promise");
    }
    refused("another log", judged(&parts.with(|parts| parts.entry().log_id[0] ^= 1)), LOG, "does not know");
    let bare = parts.with(|parts| parts.entry().set = None);
    refused("nothing", judged(&bare), "MalformedEvidence", "promise");
}

#[test]
fn a_proof_leads_from_the_body_to_a_signed_head() {
    let sigstore = VirtualSigstore::doubled();
    // Rekor's first version without a promise: the authority's time dates it.
    let v1 = sigstore.sign(Subject::manifest(MANIFEST)).timestamped().parts().with(|parts| {
        parts.entry().set = None;
        parts.entry().integrated_time = None;
    });
    let v2 = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().parts();
    for (name, parts) in [("v1", &v1), ("v2", &v2)] {
        let evidence = accepted(name, judge(&sigstore, parts));
        let [log] = evidence.logs() else { panic!("{evidence:?}") };
        assert!(!log.dated && log.inclusion_proof, "{name}");
        assert_eq!(times(&evidence, TimeSource::TimestampAuthority), [noon()], "{name}");
        assert!(times(&evidence, TimeSource::Log).is_empty(), "{name}");
        let flips: [(&str, Flip); 4] = [
            ("proof", ("body", |parts| parts.entry().body.push(b' '))),
            ("proof", ("hash", |parts| parts.entry().proof().hashes[0][0] ^= 1)),
            ("proof", ("hash more", |parts| parts.entry().proof().hashes.push(vec![0; 32]))),
            ("proof", ("hash less", |parts| drop(parts.entry().proof().hashes.pop()))),
        ];
        for (why, (flip, edit)) in flips {
            refused(&format!("{name}, {flip}"), judge(&sigstore, &parts.with(edit)), LOG, why);
        }
        // The head of another log, and one that nobody signed.
        let unsigned = parts.with(|parts| {
            let text = parts.entry().proof().checkpoint.clone().unwrap();
            let (body, signature) = text.split_once("\n\n").unwrap();
            let (start, end) = signature.trim_end().rsplit_once(' ').unwrap();
            let broken = format!("{}{}", &end[..20], if &end[20..21] == "A" { "B" } else { "A" });
            parts.entry().proof().checkpoint = Some(format!("{body}\n\n{start} {broken}{}\n", &end[21..]));
        });
        refused(name, judge(&sigstore, &unsigned), LOG, "signature of the checkpoint");
        let nobody = parts.with(|parts| {
            let text = parts.entry().proof().checkpoint.clone().unwrap();
            parts.entry().proof().checkpoint = text.split_once("\n\n").map(|(body, _)| format!("{body}\n\n"));
        });
        refused(name, judge(&sigstore, &nobody), "MalformedEvidence", "checkpoint");
        let none = parts.with(|parts| parts.entry().proof = None);
        refused(name, judge(&sigstore, &none), "MalformedEvidence", "proof");
        let none = parts.with(|parts| parts.entry().proof().checkpoint = None);
        refused(name, judge(&sigstore, &none), "MalformedEvidence", "checkpoint");
    }
    // What stands beside the proof of the first version must agree with its head; the second leaves it unsigned.
    for (name, edit) in [
        ("size", (|parts: &mut Parts| parts.entry().proof().tree_size += 1) as fn(&mut Parts)),
        ("index", |parts| parts.entry().proof().log_index += 1),
    ] {
        assert!(judge(&sigstore, &v1.with(edit)).is_err(), "v1, {name}");
        accepted(&format!("v2, {name}"), judge(&sigstore, &v2.with(edit)));
    }
    refused("v2, index", judge(&sigstore, &v2.with(|parts| parts.entry().log_index += 1)), LOG, "proof");
    accepted("v2, log id", judge(&sigstore, &v2.with(|parts| parts.entry().log_id = vec![9; 32])));
    refused("v1, log id", judge(&sigstore, &v1.with(|parts| parts.entry().log_id = vec![9; 32])), LOG, "does not know");
    let mine = sigstore.logs_v1[1].key.id();
    refused(
        "v1, the other log's id",
        judge(&sigstore, &v1.with(|parts| parts.entry().log_id = mine)),
        LOG,
        "not signed by its log",
    );
}

#[test]
fn a_promise_beside_a_proof_must_hold_too() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let evidence = accepted("both", judge(&sigstore, &parts));
    assert!(evidence.logs()[0].dated && evidence.logs()[0].inclusion_proof);
    refused(
        "promise",
        judge(&sigstore, &parts.with(|parts| parts.entry().set.as_mut().unwrap()[20] ^= 1)),
        LOG,
        "promise",
    );
    refused("proof", judge(&sigstore, &parts.with(|parts| parts.entry().proof().hashes[0][0] ^= 1)), LOG, "proof");
    // A promise in the second version of Rekor, which makes none.
    let promised = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().parts().with(|v2| {
        v2.entry().set.clone_from(&parts.entries[0].set);
        v2.entry().integrated_time = Some(noon());
    });
    refused("v2", judge(&sigstore, &promised), LOG, "second version");
}

#[test]
fn witnesses_are_passed_over_and_never_stand_for_the_log() {
    let mut sigstore = VirtualSigstore::new();
    sigstore.logs_v2[0].witnesses = vec!["witness.example".to_owned(), "log2025-1.rekor.example".to_owned()];
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().parts();
    let text = parts.entries[0].proof.as_ref().unwrap().checkpoint.clone().unwrap();
    assert_eq!(text.matches('\u{2014}').count(), 3);
    accepted("witnessed", judge(&sigstore, &parts));
    let lines = |keep: fn(&str) -> bool| {
        let (body, signatures) = text.split_once("\n\n").unwrap();
        let kept: String = signatures.split_inclusive('\n').filter(|line| keep(line)).collect();
        parts.with(|parts| parts.entry().proof().checkpoint = Some(format!("{body}\n\n{kept}")))
    };
    accepted("the log alone", judge(&sigstore, &lines(|line| line.contains("log2025"))));
    refused("a witness alone", judge(&sigstore, &lines(|line| line.contains("witness"))), LOG, "does not know");
    // Signed in another name than the origin's.
    let renamed = parts.with(|parts| {
        let renamed = text.replace("\u{2014} log2025-1.rekor.example", "\u{2014} other.example");
        parts.entry().proof().checkpoint = Some(renamed);
    });
    refused("another name", judge(&sigstore, &renamed), LOG, "does not know");
}

#[test]
fn ghsa_wqqc_jjcq_vfxm_a_log_is_believed_within_its_window() {
    let sigstore = VirtualSigstore::new();
    let v1 = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let v2 = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().parts();
    let windows = [
        ("from then", Window::from(noon()), true),
        ("from after", Window::from(noon() + second()), false),
        ("until then", Window::until(noon()), true),
        ("until before", Window::until(noon() - second()), false),
        ("around", Window::between(noon() - second(), noon() + second()), true),
    ];
    for (name, window, inside) in windows {
        for (parts, position) in [(&v1, 0), (&v2, 1)] {
            let root = sigstore.root().with(|root| root.logs[position].valid_for = window);
            let result = judge_under(&root, parts, &as_bundle(parts, Version::V03));
            if inside {
                accepted(name, result);
            } else {
                refused(name, result, LOG, "does not believe");
            }
        }
    }
}

/// The fields that bind an entry, each replaced by something that the log signed and proved all the same.
#[test]
fn cve_2026_22703_an_entry_is_about_this_signature_this_signer_and_this_content() {
    let sigstore = VirtualSigstore::new();
    let mallory = Identity::email("mallory@example.com", "https://accounts.example.com");
    let stranger = sigstore.sign(Subject::manifest(MANIFEST)).by(&mallory).parts();
    let certificate = json!(base64(stranger.material.certificate().unwrap()));
    let pem = json!(base64(stranger.material.pem().as_bytes()));
    let nothing = hex(&sha256(b"nothing"));
    let hash = json!(base64(&sha256(b"nothing")));
    let fields: [(Kind, &str, Value, &str); 17] = [
        (Kind::HashedRekord, "/spec/data/hash/value", json!(nothing), "other content"),
        (Kind::HashedRekord, "/spec/data/hash/algorithm", json!("sha1"), "algorithm"),
        (Kind::HashedRekord, "/spec/signature/content", json!("AAAA"), "another signature"),
        (Kind::HashedRekord, "/spec/signature/publicKey/content", pem.clone(), "another signer"),
        (Kind::Dsse, "/spec/payloadHash/value", json!(nothing), "another payload"),
        (Kind::Dsse, "/spec/signatures/0/signature", json!("AAAA"), "another signature"),
        (Kind::Dsse, "/spec/signatures/0/verifier", pem.clone(), "another signer"),
        (Kind::Dsse, "/spec/signatures", json!([]), "0 signatures"),
        (Kind::Intoto001, "/spec/content/hash/value", json!(nothing), "another envelope"),
        (Kind::Intoto001, "/spec/content/payloadHash/value", json!(nothing), "another payload"),
        (Kind::Intoto001, "/spec/publicKey", pem.clone(), "another signer"),
        (Kind::Intoto002, "/spec/content/payloadHash/value", json!(nothing), "another payload"),
        (Kind::Intoto002, "/spec/content/envelope/signatures/0/sig", json!(base64(b"AAAA")), "another signature"),
        (Kind::Intoto002, "/spec/content/envelope/signatures/0/publicKey", pem, "another signer"),
        (Kind::HashedRekord002, "/spec/hashedRekordV002/data/digest", hash, "other content"),
        (Kind::HashedRekord002, "/spec/hashedRekordV002/signature/content", json!("AAAA"), "another signature"),
        (
            Kind::HashedRekord002,
            "/spec/hashedRekordV002/signature/verifier/x509Certificate/rawBytes",
            certificate,
            "another signer",
        ),
    ];
    for (kind, field, value, why) in fields {
        let subject =
            if kind == Kind::HashedRekord { Subject::manifest(MANIFEST) } else { Subject::cosign_sign(MANIFEST) };
        let signing = || match kind {
            Kind::HashedRekord002 => sigstore.sign(subject.clone()).rekor_v2(),
            kind => sigstore.sign(subject.clone()).kind(kind),
        };
        // Such entries stand beside envelopes that stand alone.
        let judged = |parts: &Parts| match kind {
            Kind::Intoto001 => judge_under(&sigstore.root(), parts, &as_layer(parts)),
            _ => judge(&sigstore, parts),
        };
        accepted(field, judged(&signing().parts()));
        let wrong = signing().body(|body| *body.pointer_mut(field).unwrap() = value.clone()).parts();
        refused(field, judged(&wrong), LOG, why);
    }
    // The kind beside the body is nobody's word: the one inside must be the same.
    for (field, value) in [("kind", "rekord"), ("apiVersion", "0.0.2")] {
        let other = sigstore.sign(Subject::manifest(MANIFEST)).body(|body| body[field] = json!(value)).parts();
        let other = other.with(|parts| {
            (parts.entry().kind, parts.entry().version) = ("hashedrekord".to_owned(), "0.0.1".to_owned());
        });
        refused(field, judge(&sigstore, &other), LOG, "of kind");
    }
}

#[test]
fn under_a_key_the_entry_names_the_key() {
    let sigstore = VirtualSigstore::new();
    let stranger = sigstore.sign(Subject::manifest(MANIFEST)).without_certificate().parts();
    let pem = json!(base64(stranger.material.pem().as_bytes()));
    let spki = json!(base64(&stranger.material.spki()));
    for (subject, v2, field, value) in [
        (Subject::manifest(MANIFEST), false, "/spec/signature/publicKey/content", pem.clone()),
        (Subject::cosign_sign(MANIFEST), false, "/spec/signatures/0/verifier", pem),
        (Subject::manifest(MANIFEST), true, "/spec/hashedRekordV002/signature/verifier/publicKey/rawBytes", spki),
    ] {
        let signing = || {
            let signing = sigstore.sign(subject.clone()).without_certificate();
            if v2 { signing.rekor_v2() } else { signing }
        };
        accepted(field, judge(&sigstore, &signing().parts()));
        let wrong = signing().body(|body| *body.pointer_mut(field).unwrap() = value.clone()).parts();
        refused(field, judge(&sigstore, &wrong), LOG, "another signer");
    }
}

#[test]
fn an_entry_of_an_unknown_log_proves_nothing_and_hinders_nothing() {
    let sigstore = VirtualSigstore::doubled();
    let logs = [Log::V1(&sigstore.logs_v1[0]), Log::V1(&sigstore.logs_v1[1]), Log::V2(&sigstore.logs_v2[0])];
    let parts = sigstore.sign(Subject::cosign_sign(MANIFEST)).logged_in(&logs).timestamped().parts();
    let judged = |keep: &[usize]| -> Result<Evidence, VerifyError> {
        let root = sigstore.root().with(|root| {
            let logs = std::mem::take(&mut root.logs);
            root.logs =
                logs.into_iter().enumerate().filter(|(place, _)| keep.contains(place)).map(|(_, log)| log).collect();
        });
        judge_under(&root, &parts, &as_bundle(&parts, Version::V03))
    };
    let names = |evidence: &Evidence| evidence.logs().iter().map(|log| log.log.clone()).collect::<Vec<_>>();
    assert_eq!(names(&accepted("all", judged(&[0, 1, 2, 3]))).len(), 3);
    assert_eq!(names(&accepted("one", judged(&[1]))), ["https://rekor.other.example"]);
    refused("none", judged(&[3]), LOG, "does not know");
    // An entry of a known log must hold, whatever the others prove.
    for broken in 0..3 {
        let parts = parts.with(|parts| parts.entries[broken].body.push(b' '));
        assert!(judge(&sigstore, &parts).is_err(), "{broken}");
    }
    let twice = parts.with(|parts| parts.entries.push(parts.entries[0].clone()));
    refused("twice", judge(&sigstore, &twice), "MalformedEvidence", "twice");
}

#[test]
fn a_checkpoint_may_be_signed_again_under_one_hint() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().parts();
    let log = &sigstore.logs_v2[0];
    // A stranger's signature under the log's hint and name comes first: it is tried, and the log's own counts.
    let signer = Signer::log("log2025-1.rekor.example", &log.key);
    let stranger = Signer { key: log.key.other(), ..signer.clone() };
    let with = |signers: Vec<Signer>| {
        parts.with(|parts| {
            let text = parts.entry().proof().checkpoint.clone().unwrap();
            let body = text.split_once("\n\n").unwrap().0.to_owned();
            let mut lines = body.lines();
            let (origin, size, root) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap());
            let head = super::virtual_sigstore::checkpoint::CheckpointParts {
                origin: origin.to_owned(),
                size: size.parse().unwrap(),
                root: base64::engine::general_purpose::STANDARD.decode(root).unwrap(),
                extensions: Vec::new(),
                signers,
            };
            parts.entry().proof().checkpoint = Some(head.text());
        })
    };
    accepted("both", judge(&sigstore, &with(vec![stranger.clone(), signer])));
    refused("the stranger's", judge(&sigstore, &with(vec![stranger.clone()])), LOG, "signature of the checkpoint");
    refused("many", judge(&sigstore, &with(vec![stranger; 20])), LOG, "too many");
}

/// A root says what key a log has and how it signs. One that contradicts itself is believed in neither.
#[test]
fn a_log_signs_as_its_root_declares() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let under = |root: &TrustedRoot| judge_under(root, &parts, &as_bundle(&parts, Version::V03));
    for (details, why) in
        [("PKIX_ED25519", "does not know"), ("PKIX_ECDSA_P384_SHA_384", "does not know"), ("FUTURE", "does not know")]
    {
        let root = sigstore.root().with(|root| root.logs[0].key_details = details.to_owned());
        assert!(material(&root).unusable()[0].starts_with("tlogs[0]"), "{details}");
        refused(details, under(&root), LOG, why);
        let root = sigstore.root().with(|root| root.ct_logs[0].key_details = details.to_owned());
        assert!(material(&root).unusable()[0].starts_with("ctlogs[0]"), "{details}");
        let evidence = accepted(details, under(&root));
        assert!(!evidence.certificate_transparency(), "{details}");
    }
    for details in ["PKIX_ECDSA_P256_SHA_256", "PUBLIC_KEY_DETAILS_UNSPECIFIED"] {
        let root = sigstore.root().with(|root| {
            root.logs[0].key_details = details.to_owned();
            root.ct_logs[0].key_details = details.to_owned();
        });
        assert!(material(&root).unusable().is_empty());
        assert!(accepted(details, under(&root)).certificate_transparency());
    }
    // The same key, signing with another digest.
    let mut sigstore = VirtualSigstore::new();
    sigstore.logs_v1[0] = RekorV1::new(Algorithm::P384, "rekor.example", "log.example");
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    accepted("SHA-384", judge(&sigstore, &parts));
    let root = sigstore.root().with(|root| root.logs[0].key_details = "PKIX_ECDSA_P384_SHA_256".to_owned());
    assert!(material(&root).unusable().is_empty());
    refused("SHA-256", judge_under(&root, &parts, &as_bundle(&parts, Version::V03)), LOG, "does not verify");
}
