//! What verifiers of others got wrong, each by its name; `tests/advisories.rs` says where the rest is.

use countersign::verify::{Anchor, Prepared};

use super::virtual_sigstore::cms::SIGNED_DATA;
use super::virtual_sigstore::{Identity, Kind, Log, Parts, Subject, Version, VirtualSigstore, Window, der};
use super::{
    MANIFEST, accepted, as_bundle, as_layer, at, discovered, image, judge, judge_under, material, noon, refused,
};

const LOG: &str = "LogEntryInvalid";

/// The log entries of two sound signatures change places: of two signers, of two signatures by one signer, of two contents.
#[test]
fn cve_2022_36056_an_entry_of_another_signature_is_refused() {
    let sigstore = VirtualSigstore::new();
    let alice = Identity::email("alice@example.com", "https://accounts.example.com");
    let mallory = Identity::email("mallory@example.com", "https://accounts.example.com");
    let subjects = [Subject::manifest(MANIFEST), Subject::simple_signing(MANIFEST), Subject::cosign_sign(MANIFEST)];
    for (number, subject) in subjects.iter().enumerate() {
        let judged = |parts: &Parts| {
            let candidate = if number == 1 { as_layer(parts) } else { as_bundle(parts, Version::V03) };
            judge_under(&sigstore.root(), parts, &candidate)
        };
        for v2 in [false, true] {
            // Layers have no place for a proof.
            if v2 && number == 1 {
                continue;
            }
            let sign = |subject: &Subject, identity: &Identity| {
                let signing = sigstore.sign(subject.clone()).by(identity);
                if v2 { signing.rekor_v2() } else { signing }.parts()
            };
            let ours = sign(subject, &alice);
            accepted("ours", judged(&ours));
            for theirs in [sign(subject, &mallory), sign(subject, &alice), sign(&Subject::manifest(b"other"), &alice)] {
                let swapped = ours.with(|parts| parts.entries.clone_from(&theirs.entries));
                refused("swapped", judged(&swapped), LOG, "");
                let both = ours.with(|parts| parts.entries.extend(theirs.entries.clone()));
                if number != 1 {
                    refused("beside ours", judged(&both), LOG, "");
                }
            }
        }
    }
    // Under a key too.
    let key = |subject: Subject| sigstore.sign(subject).without_certificate().parts();
    let (ours, theirs) = (key(Subject::manifest(MANIFEST)), key(Subject::manifest(MANIFEST)));
    accepted("key", judge(&sigstore, &ours));
    refused("key", judge(&sigstore, &ours.with(|parts| parts.entries.clone_from(&theirs.entries))), LOG, "");
}

/// An integrated time that no log signed: neither altered, nor beside a proof that does not cover it.
#[test]
fn sigstore_rs_an_unsigned_integrated_time_dates_nothing() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let later = at("2024-06-01T12:05:00Z");
    let altered = parts.with(|parts| parts.entry().integrated_time = Some(later));
    refused("altered", judge(&sigstore, &altered), LOG, "promise");
    let unsigned = parts.with(|parts| {
        parts.entry().integrated_time = Some(later);
        parts.entry().set = None;
    });
    refused("unsigned", judge(&sigstore, &unsigned), "TimestampMissing", "no promise");
    // With another time beside it, the unsigned one is not among the verified.
    let stamped = sigstore.sign(Subject::manifest(MANIFEST)).timestamped().parts().with(|parts| {
        parts.entry().integrated_time = Some(later);
        parts.entry().set = None;
    });
    let evidence = accepted("stamped", judge(&sigstore, &stamped));
    assert_eq!(evidence.times().iter().map(|time| time.at).collect::<Vec<_>>(), [noon()]);
    assert!(!evidence.logs()[0].dated);
}

/// An envelope with several signatures, of which one is sound: which one counts must not be a question.
#[test]
fn tob_sigstore_an_envelope_with_several_signatures_is_refused() {
    let sigstore = VirtualSigstore::new();
    let parts = sigstore.sign(Subject::cosign_sign(MANIFEST)).kind(Kind::Dsse).parts();
    accepted("one", judge(&sigstore, &parts));
    for position in [0, 1] {
        let mut bundle = parts.value(Version::V03);
        let list = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        let mut other = list[0].clone();
        other["sig"] = "AAAA".into();
        list.insert(position, other);
        let candidate =
            discovered(Version::V03.media_type(), bundle.to_string().into_bytes(), std::collections::BTreeMap::new());
        refused("two", judge_under(&sigstore.root(), &parts, &candidate), "MalformedEvidence", "");
        let mut none = parts.value(Version::V03);
        none["dsseEnvelope"]["signatures"] = serde_json::json!([]);
        let candidate =
            discovered(Version::V03.media_type(), none.to_string().into_bytes(), std::collections::BTreeMap::new());
        refused("none", judge_under(&sigstore.root(), &parts, &candidate), "MalformedEvidence", "");
    }
}

/// A log key that is no longer believed signs an entry today; another log's promise dates the signature (GHSA-wqqc-jjcq-vfxm, by way of
/// the other entry).
#[test]
fn ghsa_wqqc_jjcq_vfxm_a_key_past_its_window_is_measured_by_the_times_of_others() {
    let sigstore = VirtualSigstore::doubled();
    let logs = [Log::V1(&sigstore.logs_v1[0]), Log::V2(&sigstore.logs_v2[1])];
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).logged_in(&logs).parts();
    let second = jiff::SignedDuration::from_secs(1);
    for (end, inside) in [(noon(), true), (noon() - second, false)] {
        let root = sigstore.root().with(|root| {
            let log = root.logs.iter_mut().find(|log| log.log_id == parts.entries[1].log_id).unwrap();
            log.valid_for = Window::until(end);
        });
        let result = judge_under(&root, &parts, &as_bundle(&parts, Version::V03));
        if inside {
            assert_eq!(accepted("within", result).logs().len(), 2);
        } else {
            refused("past", result, LOG, "does not believe");
        }
    }
    // Under a key, where nothing dates the entry at all.
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).without_certificate().logged_in(&logs[1..]).parts();
    let ended =
        |end| sigstore.root().with(|root| root.logs.iter_mut().for_each(|log| log.valid_for = Window::until(end)));
    refused("undated", judge_under(&ended(noon()), &parts, &as_bundle(&parts, Version::V03)), LOG, "nothing dates");
    accepted("undated", judge_under(&sigstore.root(), &parts, &as_bundle(&parts, Version::V03)));
}

/// Sets that a parser would sort for minutes, and texts that would be kept for a day.
#[test]
fn what_a_stranger_wrote_is_bounded_before_it_is_parsed_and_kept() {
    let sigstore = VirtualSigstore::new();
    let sound = sigstore.sign(Subject::manifest(MANIFEST)).timestamped().parts();
    let many: Vec<Vec<u8>> = (0..5_000_u64).rev().map(der::integer).collect();
    let set = der::element(0x31, &many.concat());
    let token =
        der::sequence(&[der::oid(SIGNED_DATA), der::context(0, &der::sequence(&[der::integer(3), set.clone()]))]);
    let begun = std::time::Instant::now();
    refused(
        "token",
        judge(&sigstore, &sound.with(|parts| parts.timestamps = vec![token.clone(); 1])),
        "MalformedEvidence",
        "set",
    );
    let certificate = sound
        .with(|parts| *parts.material.certificate_mut() = der::sequence(&[der::sequence(std::slice::from_ref(&set))]));
    refused("certificate", judge(&sigstore, &certificate), "MalformedEvidence", "set");
    // A hang guard: the sets alone would take minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));

    let layer = sigstore.sign(Subject::simple_signing(MANIFEST)).parts().layer();
    let mut annotations = layer.annotations.clone();
    let long = "A".repeat(1 << 20);
    annotations.insert(
        "dev.sigstore.cosign/bundle".to_owned(),
        format!(r#"{{"SignedEntryTimestamp":"","Payload":{{"body":"","integratedTime":"{long}"}}}}"#),
    );
    let prepared = Prepared::new(discovered(&layer.media_type, layer.content, annotations));
    let gathered = prepared.gather(&image(MANIFEST), &Anchor::Root(material(&sigstore.root())));
    assert!(gathered.verified().is_empty() && gathered.refused()[0].reason.len() < 600);
}
