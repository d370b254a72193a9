//! Tables of what each entry names, of what makes an entry invalid, and of the moments at which spans and distrust begin.
//!
//! Whole verdicts, over signatures of every kind, are in `tests/revocation.rs`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::entry::{CertificateName, Identity, SignerNames};
use super::*;
use crate::api;
use crate::verify::fixtures::{DSSE, candidate, root, slsa};
use crate::verify::{Claim, Subject, TimeSource, verify_with_root};

const DIGEST: &str = "sha256:e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5";

fn object(spec: &Value) -> Value {
    json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
        "metadata": {"name": "stolen"}, "spec": spec,
    })
}

fn parse(spec: &Value) -> Revocation {
    let mut spec = spec.clone();
    spec["reason"] = json!("the key was stolen");
    Revocation::parse(&object(&spec)).unwrap()
}

fn set(spec: &Value) -> Revocations {
    Revocations::new(vec![Arc::new(parse(spec))])
}

/// A real attestation by a GitHub workflow, with a promise of Rekor.
fn evidence() -> Evidence {
    let (image, layer, annotations) = slsa();
    verify_with_root(&candidate(DSSE, layer, annotations), &image, &root("public-good")).unwrap()
}

fn struck(spec: &Value) -> bool {
    set(spec).judge(&evidence()).is_err()
}

#[test]
fn digests_are_read_as_people_write_them() {
    let hex = DIGEST.strip_prefix("sha256:").unwrap();
    let pairs: Vec<String> =
        hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
    let grouped = pairs.join(":");
    let good = [DIGEST, hex, &hex.to_uppercase(), &DIGEST.to_uppercase(), &format!(" {DIGEST}\n"), &grouped];
    for text in good {
        let revocations = set(&json!({"artifacts": [{"digest": text}]}));
        assert!(revocations.artifact(&Digest::parse(DIGEST).unwrap()).is_some(), "{text}");
        assert_eq!(revocations.artifact(&Digest::of(b"")), None);
    }
    for text in ["", "sha256:", "sha512:00", &hex[1..], &format!("{hex}0"), &format!("g{}", &hex[1..]), "app@sha256:00"]
    {
        let revocation = parse(&json!({"artifacts": [{"digest": text}]}));
        assert!(revocation.is_empty(), "{text}");
        assert_eq!(revocation.invalid().len(), 1, "{text}");
    }
}

#[test]
fn an_invalid_entry_is_told_and_those_beside_it_act() {
    let key = Digest::of(b"key");
    let table = [
        (json!({"artifacts": [{"digest": "beef"}]}), "spec.artifacts[0]"),
        (json!({"artifacts": [[DIGEST]]}), "spec.artifacts[0]"),
        (json!({"artifacts": {"digest": DIGEST}}), "spec.artifacts"),
        (json!({"artifacts": [{"digest": DIGEST, "tag": "v1"}]}), "spec.artifacts[0]"),
        (json!({"artifact": [{"digest": DIGEST}]}), "spec.artifact"),
        (json!({"identities": [{"subject": {}}]}), "spec.identities[0]"),
        (json!({"identities": [{"subject": {"exact": "a", "glob": "b"}}]}), "spec.identities[0]"),
        (json!({"identities": [{"subject": {"exact": ""}}]}), "spec.identities[0]"),
        (json!({"identities": [{"subject": {"exact": "a"}, "signedAfter": "yesterday"}]}), "spec.identities[0]"),
        (
            json!({"identities": [{"subject": {"exact": "a"},
                "signedAfter": "2026-01-02T00:00:00Z", "signedBefore": "2026-01-01T00:00:00Z"}]}),
            "spec.identities[0]",
        ),
        (json!({"certificates": [{}]}), "spec.certificates[0]"),
        (json!({"certificates": [{"serial": "0a"}]}), "spec.certificates[0]"),
        (json!({"certificates": [{"serial": "0a", "issuer": "nobody"}]}), "spec.certificates[0]"),
        (json!({"certificates": [{"serial": "xyz", "issuer": "CN=a"}]}), "spec.certificates[0]"),
        (json!({"certificates": [{"sha256": key.hex(), "serial": "0a", "issuer": "CN=a"}]}), "spec.certificates[0]"),
        (json!({"logEntries": [{"log": key.hex()}]}), "spec.logEntries[0]"),
        (json!({"logEntries": [{"log": key.hex(), "index": -1}]}), "spec.logEntries[0]"),
        (json!({"logEntries": [{"log": key.hex(), "uuid": "24296fb2"}]}), "spec.logEntries[0]"),
        (json!({"logEntries": [{"log": "rekor", "index": 1}]}), "spec.logEntries[0]"),
        (json!({"services": [{}]}), "spec.services[0]"),
        (json!({"services": [{"log": key.hex(), "ca": key.hex()}]}), "spec.services[0]"),
        (json!({"services": [{"log": key.hex(), "after": "2026"}]}), "spec.services[0]"),
        (json!({"suspended": "yes"}), "spec.suspended"),
        (json!({"reference": 7}), "spec.reference"),
        (json!({"expires": "2027-01-01T00:00:00Z"}), "spec.expires"),
    ];
    for (mut spec, path) in table {
        spec["keys"] = json!([{"sha256": key.hex()}]);
        let revocation = parse(&spec);
        let paths: Vec<&str> = revocation.invalid().iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, [path], "{spec}");
        assert_eq!(revocation.keys.len(), 1, "{spec}");
        assert!(!revocation.is_suspended() && !revocation.is_empty(), "{spec}");
    }
    let mut beside = object(&json!({"reason": "r", "keys": [{"sha256": key.hex()}]}));
    beside["status"] = json!({});
    beside["artifacts"] = json!([{"digest": DIGEST}]);
    let beside = Revocation::parse(&beside).unwrap();
    let paths: Vec<&str> = beside.invalid().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!((paths, beside.keys.len()), (vec!["artifacts"], 1));
    let valid = parse(&json!({"keys": [{"sha256": key.hex()}], "identities": null, "reference": "https://a.example"}));
    assert_eq!((valid.invalid(), valid.reference()), (&[][..], Some("https://a.example")));
}

#[test]
fn what_is_no_revocation_is_refused() {
    let good = object(&json!({"reason": "r", "artifacts": [{"digest": DIGEST}]}));
    assert!(Revocation::parse(&good).is_ok());
    for (pointer, value) in [
        ("/kind", json!("ClusterSignaturePolicy")),
        ("/apiVersion", json!("policy.countersign.dev/v1")),
        ("/metadata/name", json!("")),
        ("/metadata", json!(null)),
        ("/spec", json!([])),
        ("/spec", json!(null)),
    ] {
        let mut object = good.clone();
        *object.pointer_mut(pointer).unwrap() = value;
        Revocation::parse(&object).unwrap_err();
    }
}

#[test]
fn lists_have_a_bound_and_what_is_within_acts() {
    let entries: Vec<Value> =
        (0..1_001_u32).map(|number| json!({"sha256": Digest::of(&number.to_be_bytes()).hex()})).collect();
    let revocation = parse(&json!({"keys": entries}));
    assert_eq!(revocation.keys.len(), 1_000);
    assert!(matches!(revocation.invalid(), [InvalidEntry { error: EntryError::TooMany { found: 1_001, .. }, .. }]));
}

#[test]
fn descendants_fall_with_the_index_that_is_named() {
    let (index, child) = (Digest::of(b"index"), Digest::of(b"child"));
    let mut object = object(&json!({"reason": "r", "artifacts": [{"digest": index.to_string()}]}));
    object["status"] = json!({"descendants": [child.to_string(), "nonsense", 7]});
    let of = |object: &Value| Revocations::new(vec![Arc::new(Revocation::parse(object).unwrap())]);
    let revoked = of(&object).artifact(&child).unwrap();
    assert!(revoked.what.contains("which an index that it names holds") && revoked.by == "stolen");
    // A spec that names no artifact any more has lifted them.
    object["spec"]["artifacts"] = json!([]);
    assert_eq!(of(&object).artifact(&child), None);
    assert!(!of(&object).names_artifacts());
}

#[test]
fn a_suspended_revocation_does_not_act() {
    let evidence = evidence();
    let mut spec = json!({"artifacts": [{"digest": DIGEST}], "identities": [{"subject": {"glob": "*"}}]});
    assert!(set(&spec).names_artifacts() && set(&spec).judge(&evidence).is_err());
    spec["suspended"] = json!(true);
    assert!(!set(&spec).names_artifacts() && set(&spec).judge(&evidence).is_ok());
}

#[test]
fn each_entry_strikes_out_a_real_signature_and_its_neighbour_does_not() {
    let evidence = evidence();
    let certificate = evidence.certificate().unwrap();
    let proof = evidence.logs().first().unwrap();
    let neighbour = Digest::of(b"neighbour");
    let log = &proof.key_id;
    let tree = "24296fb24b8ad77a";
    let reordered = certificate.issuer.split(',').rev().map(|part| part.replace('=', " = ").to_lowercase());
    let reordered = reordered.collect::<Vec<_>>().join(", ");
    let table = [
        ("image", json!({"artifacts": [{"digest": evidence.image().to_string()}]}), true),
        ("carrier", json!({"artifacts": [{"digest": evidence.origin().manifest.to_string()}]}), true),
        ("another image", json!({"artifacts": [{"digest": neighbour.to_string()}]}), false),
        ("key", json!({"keys": [{"sha256": certificate.key.hex()}]}), true),
        ("another key", json!({"keys": [{"sha256": neighbour.hex()}]}), false),
        ("certificate", json!({"certificates": [{"sha256": certificate.sha256.hex()}]}), true),
        ("another certificate", json!({"certificates": [{"sha256": neighbour.hex()}]}), false),
        ("serial", json!({"certificates": [{"serial": certificate.serial, "issuer": certificate.issuer}]}), true),
        (
            "serial in another hand",
            json!({"certificates": [{"serial": format!("00:{}", certificate.serial.to_uppercase()), "issuer": reordered}]}),
            true,
        ),
        ("serial of another", json!({"certificates": [{"serial": certificate.serial, "issuer": "CN=another"}]}), false),
        ("another serial", json!({"certificates": [{"serial": "1", "issuer": certificate.issuer}]}), false),
        ("entry", json!({"logEntries": [{"log": log, "index": proof.index}]}), true),
        ("next entry", json!({"logEntries": [{"log": log, "index": proof.index + 1}]}), false),
        ("entry of another log", json!({"logEntries": [{"log": neighbour.hex(), "index": proof.index}]}), false),
        ("uuid", json!({"logEntries": [{"log": log, "uuid": proof.uuid.hex()}]}), true),
        ("uuid of a tree", json!({"logEntries": [{"log": log, "uuid": format!("{tree}{}", proof.uuid.hex())}]}), true),
        (
            "uuid as printed",
            json!({"logEntries": [{"log": log, "uuid": format!("sha256:{}", proof.uuid.hex())}]}),
            true,
        ),
        ("another uuid", json!({"logEntries": [{"log": log, "uuid": neighbour.hex()}]}), false),
    ];
    for (name, spec, expected) in table {
        assert_eq!(parse(&spec).invalid(), [], "{name}");
        assert_eq!(struck(&spec), expected, "{name}: {spec}");
    }
}

#[test]
fn an_authority_falls_by_any_certificate_of_its_chain() {
    let evidence = evidence();
    let names: Vec<&Digest> = evidence.certificate().unwrap().authority().iter().collect();
    assert!(names.len() >= 4, "two certificates and their keys: {names:?}");
    for name in names {
        assert!(struck(&json!({"services": [{"ca": name.hex()}]})));
        assert!(struck(&json!({"certificates": [{"sha256": name.hex()}]})));
        assert!(!struck(&json!({"services": [{"timestampAuthority": name.hex()}]})));
        assert!(!struck(&json!({"keys": [{"sha256": name.hex()}]})), "it signed no image");
    }
}

fn identity(spec: &Value) -> Identity {
    let spec: api::RevokedIdentity = serde_json::from_value(spec.clone()).unwrap();
    Identity::parse(&spec).unwrap()
}

#[test]
fn identities_match_any_name_in_any_case() {
    let signer = Signer::Certificate {
        issuer: Some("https://Issuer.example".to_owned()),
        subjects: vec![
            Subject::Email("Alice@Acme.example".to_owned()),
            Subject::Uri("https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main".to_owned()),
        ],
        claims: BTreeMap::new(),
    };
    let nameless = Signer::Certificate { issuer: None, subjects: Vec::new(), claims: BTreeMap::new() };
    let table = [
        (json!({"subject": {"exact": "alice@acme.example"}}), true, false),
        (json!({"subject": {"exact": "ALICE@ACME.EXAMPLE"}, "issuer": "HTTPS://issuer.example"}), true, false),
        (json!({"subject": {"exact": "alice@acme.example"}, "issuer": "https://other.example"}), false, false),
        (json!({"subject": {"exact": "lice@acme.example"}}), false, false),
        (json!({"subject": {"glob": "*@acme.example"}}), true, false),
        (json!({"subject": {"glob": "*@acme.exampl"}}), false, false),
        (json!({"subject": {"glob": "https://github.com/acme/*"}}), true, false),
        (json!({"subject": {"glob": "https://github.com/*/release.yml@*"}}), true, false),
        (json!({"subject": {"glob": "https://github.com/acme-labs/*"}}), false, false),
        (json!({"subject": {"glob": "*release*release*"}}), false, false),
        (json!({"subject": {"glob": "**"}}), true, true),
        (json!({"subject": {"glob": "*"}, "issuer": "https://issuer.example"}), true, false),
    ];
    for (spec, signs, signs_without_names) in table {
        assert_eq!(identity(&spec).names(&SignerNames::of(&signer).unwrap()), signs, "{spec}");
        assert_eq!(identity(&spec).names(&SignerNames::of(&nameless).unwrap()), signs_without_names, "{spec}");
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A time that is exact to a second on either side.
fn dated(text: &str) -> VerifiedTime {
    let second = jiff::SignedDuration::from_secs(1);
    VerifiedTime {
        at: at(text),
        earliest: at(text) - second,
        latest: at(text) + second,
        source: TimeSource::TimestampAuthority,
        service: "https://tsa.example".to_owned(),
        operator: crate::trust::Operator::default(),
        names: ServiceNames::new([]),
    }
}

#[test]
fn an_identity_is_struck_out_if_any_time_touches_its_span() {
    let span = identity(&json!({"subject": {"exact": "a"},
        "signedAfter": "2026-01-01T00:00:00Z", "signedBefore": "2026-02-01T00:00:00Z"}));
    let table: [(&[&str], bool); 9] = [
        (&["2025-12-31T23:59:58Z"], false),
        (&["2025-12-31T23:59:59Z"], true),
        (&["2026-01-01T00:00:00Z"], true),
        (&["2026-01-15T00:00:00Z"], true),
        (&["2026-02-01T00:00:01Z"], true),
        (&["2026-02-01T00:00:02Z"], false),
        (&["2025-01-01T00:00:00Z", "2026-01-15T00:00:00Z"], true),
        (&["2025-01-01T00:00:00Z", "2027-01-15T00:00:00Z"], false),
        (&[], true),
    ];
    for (times, expected) in table {
        let times: Vec<VerifiedTime> = times.iter().map(|time| dated(time)).collect();
        assert_eq!(span.bites(&times, &times), expected, "{times:?}");
    }
    let earlier = [dated("2025-06-01T00:00:00Z")];
    assert!(!span.bites(&earlier, &earlier));
    assert!(span.bites(&earlier, &[]), "nobody who is believed says that it was earlier");
    let always = identity(&json!({"subject": {"exact": "a"}}));
    assert!(always.bites(&[], &[]) && always.bites(&earlier, &earlier));
    let from = identity(&json!({"subject": {"exact": "a"}, "signedAfter": "2026-01-01T00:00:00Z"}));
    assert!(!from.bites(&earlier, &earlier) && from.bites(&[dated("2030-01-01T00:00:00Z")], &earlier));
}

#[test]
fn a_distrusted_service_counts_only_for_what_others_date_before() {
    let service = |after: Option<&str>| {
        Service::parse(&api::DistrustedService {
            log: Some(Digest::of(b"log").hex().to_owned()),
            after: after.map(str::to_owned),
            ..Default::default()
        })
        .unwrap()
    };
    let after = service(Some("2026-01-01T00:00:00Z"));
    let table: [(&[&str], bool); 6] = [
        (&["2025-12-31T23:59:58Z"], true),
        // A second later it may have been midnight.
        (&["2025-12-31T23:59:59Z"], false),
        (&["2026-01-01T00:00:00Z"], false),
        (&["2025-06-01T00:00:00Z", "2026-06-01T00:00:00Z"], false),
        (&["2025-06-01T00:00:00Z", "2025-07-01T00:00:00Z"], true),
        (&[], false),
    ];
    for (times, expected) in table {
        let times: Vec<VerifiedTime> = times.iter().map(|time| dated(time)).collect();
        let vouched: Vec<&VerifiedTime> = times.iter().collect();
        assert_eq!(after.is_excused(&vouched), expected, "{times:?}");
        assert!(!service(None).is_excused(&vouched));
    }
}

#[test]
fn a_distrusted_log_dates_nothing_and_proves_nothing() {
    let evidence = evidence();
    assert!(matches!(evidence.claim(), Claim::Attestation { .. }) && !evidence.times().is_empty());
    let log = &evidence.logs().first().unwrap().key_id;
    for after in [json!(null), json!("2030-01-01T00:00:00Z")] {
        let revocations = set(&json!({"services": [{"log": log, "after": after}]}));
        let heard = revocations.judge(&evidence).unwrap();
        assert!(heard.logs().is_empty() && heard.times().is_empty(), "it vouches for nobody, itself included");
        assert!(revocations.distrusted(&evidence).unwrap().what.contains(log));
    }
    let other = set(&json!({"services": [{"log": Digest::of(b"another").hex()}]}));
    assert!(matches!(other.judge(&evidence), Ok(Cow::Borrowed(_))));
    assert_eq!(other.distrusted(&evidence), None);
    // Undated now, so that a span over another age does not spare it.
    let both = set(&json!({"services": [{"log": log}],
        "identities": [{"subject": {"glob": "*"}, "signedBefore": "2001-01-01T00:00:00Z"}]}));
    assert!(both.judge(&evidence).is_err());
}

#[test]
fn names_of_issuers_are_compared_whatever_their_order_and_spaces() {
    let parse = |issuer: &str| {
        let spec = api::RevokedCertificate {
            serial: Some("1".to_owned()),
            issuer: Some(issuer.to_owned()),
            ..Default::default()
        };
        CertificateName::parse(&spec)
    };
    let name = parse("CN=sigstore-intermediate,O=sigstore.dev").unwrap();
    for same in ["O = sigstore.dev, CN = sigstore-intermediate", "o=Sigstore.dev+cn=sigstore-intermediate"] {
        assert_eq!(parse(same).unwrap(), name, "{same}");
    }
    assert_ne!(parse("CN=sigstore-intermediate").unwrap(), name);
    assert_eq!(parse(r"O=Acme\, Inc").unwrap(), parse(r#"O="Acme, Inc""#).unwrap());
    // Slashes within a value are no matter.
    assert!(parse("CN=a/b=c,O=sigstore.dev").is_ok());
    for bad in ["", ",", "sigstore", "CN=a,b", "/O=sigstore.dev/CN=sigstore-intermediate", "CN=a, /O=b", "=a"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn sets_are_equal_by_what_they_hold() {
    let spec = json!({"artifacts": [{"digest": DIGEST}]});
    assert_eq!(set(&spec), set(&spec));
    assert_ne!(set(&spec), Revocations::none());
}

#[test]
fn no_text_in_an_entry_makes_the_parser_panic_or_its_complaint_endless() {
    let (long, stars) = ("a".repeat(1 << 20), "*a".repeat(512));
    let texts = [
        "",
        " ",
        ":",
        "é",
        "0x",
        "\\",
        "\"",
        "=,=",
        "\\,",
        "sha256:",
        "sha256:é",
        "\u{202e}",
        &long,
        &stars,
        &"é".repeat(40),
    ];
    for text in
        texts.into_iter().chain([&*format!("{}é", "0".repeat(62)), &*format!("{}é{}", "0".repeat(15), "0".repeat(63))])
    {
        let span = json!({"subject": {"glob": text}, "issuer": text, "signedAfter": text, "signedBefore": text});
        let mut entries = json!({
            "artifacts": [{"digest": text}], "keys": [{"sha256": text}], "identities": [span, {"subject": {"glob": text}}],
            "certificates": [{"sha256": text}, {"serial": text, "issuer": text}],
            "logEntries": [{"log": text, "index": i64::MIN}, {"log": text, "uuid": text}],
            "services": [{"log": text, "after": text}, {"ca": text}], "reference": text,
        });
        entries[text] = json!(text);
        let revocation = parse(&entries);
        assert!(revocation.invalid().len() >= 8);
        for invalid in revocation.invalid() {
            let told = invalid.to_string();
            assert!(told.len() < 512 && !told.contains('\u{202e}'), "{told:?}");
        }
        let _ = Revocations::new(vec![Arc::new(revocation)]).judge(&evidence());
    }
}
