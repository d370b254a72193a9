//! Evidence: by signer, key, certificate, log entry, and by the services that spoke for it.

use std::collections::BTreeMap;

use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::policy::{Outcome, Policy, Verdict, evaluate};
use countersign::revocation::Revocations;
use countersign::trust::{TrustMaterial, TrustRoots};
use countersign::verify::{Gathered, Prepared};
use serde_json::{Value, json};

use super::revoking;
use super::virtual_sigstore::text::{hex, sha256};
use super::virtual_sigstore::{Algorithm, Identity, Key, Log, Parts, Signing, Subject, Version, VirtualSigstore};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
const ISSUER: &str = "https://accounts.example.com";
const NOW: &str = "2026-01-01T00:00:00Z";
/// When everything is signed.
const NOON: &str = "2024-06-01T12:00:00Z";
const BEFORE: &str = "2024-06-01T11:59:59Z";
const AFTER: &str = "2024-06-01T12:00:01Z";
/// The first moment of which a timestamp of noon, exact to a second, is certainly before.
const LATER: &str = "2024-06-01T12:00:02Z";

/// An instance, and a policy over what it signs.
struct Setting {
    sigstore: VirtualSigstore,
    authority: Value,
}

impl Setting {
    /// Signatures by alice or bob, with these proofs.
    fn keyless(evidence: &Value) -> Self {
        let sigstore = VirtualSigstore::doubled();
        let subject = |name: &str| json!({"issuer": {"exact": ISSUER}, "subject": {"exact": name}});
        let identities = [subject("alice@example.com"), subject("bob@example.com")];
        let keyless = json!({"trustRoot": "own", "identities": identities});
        Self { sigstore, authority: json!({"name": "a", "keyless": keyless, "evidence": evidence}) }
    }

    /// Signatures by a key, dated by nobody.
    fn key(key: &Key) -> Self {
        let authority = json!({"name": "a", "keys": [{"name": "k", "pem": key.pem()}]});
        Self { sigstore: VirtualSigstore::new(), authority }
    }

    fn sign(&self) -> Signing<'_> {
        self.sigstore.sign(Subject::cosign_sign(MANIFEST)).by(&Identity::email("alice@example.com", ISSUER))
    }

    fn verdict(&self, signatures: &[&Parts], revocations: &Revocations) -> Verdict {
        let mut roots = TrustRoots::default();
        roots.insert(TrustMaterial::parse("own", &self.sigstore.root().json()).unwrap());
        let policy = Policy::parse(&json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy",
            "metadata": {"name": "p"}, "spec": {"images": ["**"], "authorities": [self.authority]},
        }))
        .unwrap();
        let mut gathered = Gathered::default();
        for parts in signatures {
            let prepared = Prepared::new(bundle(parts));
            for anchor in policy.anchors(&roots) {
                gathered.extend(prepared.gather(&image(), &anchor));
            }
        }
        evaluate(&policy, &gathered, &[], &roots, revocations, NOW.parse().unwrap())
    }

    /// Nothing for a pass, else the code of the nearest miss.
    fn code(&self, signatures: &[&Parts], entries: &Value) -> &'static str {
        let before = self.verdict(signatures, &Revocations::none());
        assert!(before.passes(), "without revocations: {before:?}");
        let verdict = self.verdict(signatures, &revoking(entries));
        match verdict.outcome() {
            Outcome::Pass => "",
            Outcome::Error(_) => "Error",
            Outcome::Fail(_) => {
                let miss = &verdict.authorities()[0].near_misses[0];
                let word = if miss.code == "Revoked" { ["revokes", "distrusts"].as_slice() } else { &["distrusts"] };
                assert!(word.iter().any(|word| miss.found.contains(&format!("incident-7 {word} "))), "{}", miss.found);
                assert!(miss.found.ends_with(": stolen in the night"), "who and why: {}", miss.found);
                miss.code
            }
        }
    }
}

fn bundle(parts: &Parts) -> Discovered {
    let content = parts.bundle(Version::V03).into_bytes();
    let digest = Digest::of(&content);
    let origin = Origin { path: DiscoveryPath::ReferrersApi, manifest: digest.clone(), layer: digest };
    Discovered::untrusted(origin, Version::V03.media_type().to_owned(), content, BTreeMap::new())
}

fn image() -> ResolvedImage {
    let text = format!("registry.example/app@{}", Digest::of(MANIFEST));
    ImageReference::parse(&text).unwrap().resolve(MANIFEST.to_vec(), String::new()).unwrap()
}

fn fingerprint(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

#[test]
fn each_kind_of_entry_flips_the_verdict_and_its_neighbour_does_not() {
    let setting = Setting::keyless(&json!({}));
    let parts = setting.sign().parts();
    let certificate = parts.material.certificate().unwrap();
    let log = hex(&setting.sigstore.logs_v1[0].key.id());
    let index = parts.entries[0].log_index;
    let leaf = fingerprint(&[&[0], parts.entries[0].body.as_slice()].concat());
    let neighbour = fingerprint(b"neighbour");
    let identity = |subject: Value| json!({"identities": [{"issuer": ISSUER, "subject": subject}]});
    let table = [
        (identity(json!({"exact": "alice@example.com"})), "Revoked"),
        (identity(json!({"exact": "Alice@Example.com"})), "Revoked"),
        (identity(json!({"glob": "*@example.com"})), "Revoked"),
        (identity(json!({"exact": "bob@example.com"})), ""),
        (json!({"identities": [{"issuer": "https://other.example", "subject": {"glob": "*"}}]}), ""),
        (json!({"identities": [{"subject": {"exact": "alice@example.com"}}]}), "Revoked"),
        (json!({"keys": [{"sha256": fingerprint(&parts.material.spki())}]}), "Revoked"),
        (json!({"keys": [{"sha256": neighbour}]}), ""),
        (json!({"certificates": [{"sha256": fingerprint(certificate)}]}), "Revoked"),
        (json!({"certificates": [{"sha256": neighbour}]}), ""),
        (json!({"logEntries": [{"log": log, "index": index}]}), "Revoked"),
        (json!({"logEntries": [{"log": log, "index": index - 1}]}), ""),
        (json!({"logEntries": [{"log": neighbour, "index": index}]}), ""),
        (json!({"logEntries": [{"log": log, "uuid": leaf}]}), "Revoked"),
        (json!({"logEntries": [{"log": log, "uuid": neighbour}]}), ""),
        (json!({"artifacts": [{"digest": Digest::of(MANIFEST).to_string()}]}), "Revoked"),
        (json!({"artifacts": [{"digest": format!("sha256:{neighbour}")}]}), ""),
    ];
    for (entries, expected) in table {
        assert_eq!(setting.code(&[&parts], &entries), expected, "{entries}");
        let mut suspended = entries.clone();
        suspended["suspended"] = json!(true);
        assert_eq!(setting.code(&[&parts], &suspended), "", "suspended: {entries}");
    }
}

#[test]
fn another_signer_still_counts_wherever_the_revoked_one_stands() {
    let setting = Setting::keyless(&json!({}));
    let alice = setting.sign().parts();
    let bob = setting.sign().by(&Identity::email("bob@example.com", ISSUER)).parts();
    let revoked = json!({"identities": [{"subject": {"exact": "alice@example.com"}}]});
    for (signatures, expected) in
        [(vec![&alice], "Revoked"), (vec![&bob], ""), (vec![&alice, &bob], ""), (vec![&bob, &alice], "")]
    {
        assert_eq!(setting.code(&signatures, &revoked), expected);
    }
}

#[test]
fn a_key_falls_by_its_fingerprint_and_by_nothing_else() {
    let key = Key::generate(Algorithm::P256);
    let setting = Setting::key(&key);
    let parts = setting.sigstore.sign(Subject::cosign_sign(MANIFEST)).key(&key).without_certificate().parts();
    assert_eq!(setting.code(&[&parts], &json!({"keys": [{"sha256": fingerprint(&key.spki())}]})), "Revoked");
    assert_eq!(setting.code(&[&parts], &json!({"keys": [{"sha256": fingerprint(b"another")}]})), "");
    // A key has no identity, and where no log is asked for none is missed.
    let log = hex(&setting.sigstore.logs_v1[0].key.id());
    let elsewhere = json!({"identities": [{"subject": {"glob": "*"}}], "services": [{"log": log}]});
    assert_eq!(setting.code(&[&parts], &elsewhere), "");
}

#[test]
fn an_identity_is_struck_out_within_its_span_both_ends_included() {
    let setting = Setting::keyless(&json!({}));
    let exact = setting.sign().parts();
    let blurred = setting.sign().timestamped().parts();
    let table = [
        (json!({"signedAfter": NOON}), "Revoked", "Revoked"),
        (json!({"signedAfter": AFTER}), "", "Revoked"),
        (json!({"signedAfter": LATER}), "", ""),
        (json!({"signedBefore": NOON}), "Revoked", "Revoked"),
        (json!({"signedBefore": BEFORE}), "", "Revoked"),
        (json!({"signedBefore": "2024-06-01T11:59:58Z"}), "", ""),
        (json!({"signedAfter": NOON, "signedBefore": NOON}), "Revoked", "Revoked"),
        (json!({"signedAfter": "2024-06-02T00:00:00Z", "signedBefore": "2024-06-03T00:00:00Z"}), "", ""),
    ];
    for (span, with_log, with_timestamp) in table {
        let mut identity = span.clone();
        identity["subject"] = json!({"exact": "alice@example.com"});
        let entries = json!({"identities": [identity]});
        assert_eq!(setting.code(&[&exact], &entries), with_log, "{span}");
        // A timestamp says that it was noon to within a second: any of these moments may be it.
        assert_eq!(setting.code(&[&blurred], &entries), with_timestamp, "{span}");
    }
}

#[test]
fn undated_evidence_falls_to_any_span() {
    let setting = Setting::keyless(&json!({"logs": 0}));
    let parts = setting.sign().timestamped().without_log().parts();
    let authority = &setting.sigstore.timestamp_authorities[0];
    let elsewhere = json!({"subject": {"glob": "*"}, "signedBefore": "2001-01-01T00:00:00Z"});
    let tsa = json!({"timestampAuthority": fingerprint(&authority.signer.certificate)});
    assert_eq!(setting.code(&[&parts], &json!({"identities": [elsewhere.clone()]})), "");
    assert_eq!(setting.code(&[&parts], &json!({"identities": [elsewhere], "services": [tsa.clone()]})), "Revoked");
    assert_eq!(setting.code(&[&parts], &json!({"services": [tsa]})), "ServiceDistrusted");
}

/// A distrusted service, from when on or always.
fn distrusted(kind: &str, name: &str, after: Option<&str>) -> Value {
    let mut service = json!({kind: name});
    if let Some(after) = after {
        service["after"] = json!(after);
    }
    json!({"services": [service]})
}

#[test]
fn a_distrusted_log_counts_for_what_a_timestamp_dates_before() {
    let setting = Setting::keyless(&json!({"logs": 1}));
    let log = hex(&setting.sigstore.logs_v1[0].key.id());
    let (alone, stamped) = (setting.sign().parts(), setting.sign().timestamped().parts());
    let table = [
        (None, "ServiceDistrusted"),
        (Some(NOON), "ServiceDistrusted"),
        // The timestamp may have been made at that very moment.
        (Some(AFTER), "ServiceDistrusted"),
        (Some(LATER), ""),
        (Some("2030-01-01T00:00:00Z"), ""),
    ];
    for (after, expected) in table {
        let entries = distrusted("log", &log, after);
        assert_eq!(setting.code(&[&stamped], &entries), expected, "{after:?}");
        // Its own word that it was before is the word of a thief.
        assert_eq!(setting.code(&[&alone], &entries), "ServiceDistrusted", "{after:?}");
    }
    let other = hex(&setting.sigstore.logs_v1[1].key.id());
    assert_eq!(setting.code(&[&alone], &distrusted("log", &other, None)), "");
}

#[test]
fn two_distrusted_services_do_not_vouch_for_each_other() {
    let setting = Setting::keyless(&json!({}));
    let stamped = setting.sign().timestamped().parts();
    let log = hex(&setting.sigstore.logs_v1[0].key.id());
    let tsa = fingerprint(&setting.sigstore.timestamp_authorities[0].signer.certificate);
    let far = "2030-01-01T00:00:00Z";
    let both = json!({"services": [{"log": log, "after": far}, {"timestampAuthority": tsa, "after": far}]});
    assert_eq!(setting.code(&[&stamped], &both), "ServiceDistrusted");
    let second = &setting.sigstore.timestamp_authorities;
    let twice = setting.sign().timestamped_by(&[&second[0], &second[1]]).parts();
    assert_eq!(setting.code(&[&twice], &both), "", "a third one vouches");
}

#[test]
fn another_log_takes_the_place_of_a_distrusted_one_and_thresholds_count_what_is_left() {
    let sigstores = [Setting::keyless(&json!({"logs": 1})), Setting::keyless(&json!({"logs": 2}))];
    for (setting, expected) in sigstores.iter().zip(["", "ServiceDistrusted"]) {
        let logs = &setting.sigstore.logs_v1;
        let parts = setting.sign().logged_in(&[Log::V1(&logs[0]), Log::V1(&logs[1])]).parts();
        for log in logs {
            assert_eq!(setting.code(&[&parts], &distrusted("log", &hex(&log.key.id()), None)), expected);
        }
    }
}

#[test]
fn a_distrusted_timestamp_authority_counts_for_what_a_log_dates_before() {
    let setting = Setting::keyless(&json!({"timestamps": 1}));
    let authority = &setting.sigstore.timestamp_authorities[0];
    let parts = setting.sign().timestamped().parts();
    for name in authority.chain().iter().map(|certificate| fingerprint(certificate)) {
        for (after, expected) in [(None, "ServiceDistrusted"), (Some(NOON), "ServiceDistrusted"), (Some(AFTER), "")] {
            assert_eq!(setting.code(&[&parts], &distrusted("timestampAuthority", &name, after)), expected, "{after:?}");
        }
        // Whoever can issue certificates can issue one for a timestamp authority; a log is nobody's to issue.
        assert_eq!(setting.code(&[&parts], &distrusted("ca", &name, None)), "ServiceDistrusted");
        assert_eq!(setting.code(&[&parts], &distrusted("log", &name, None)), "");
    }
}

#[test]
fn a_distrusted_certificate_log_counts_for_what_was_dated_before() {
    let setting = Setting::keyless(&json!({}));
    let log = hex(&setting.sigstore.ct_logs[0].key.id());
    let parts = setting.sign().parts();
    for (after, expected) in [(None, "ServiceDistrusted"), (Some(NOON), "ServiceDistrusted"), (Some(AFTER), "")] {
        assert_eq!(setting.code(&[&parts], &distrusted("ctLog", &log, after)), expected, "{after:?}");
    }
    let other = hex(&setting.sigstore.ct_logs[1].key.id());
    assert_eq!(setting.code(&[&parts], &distrusted("ctLog", &other, None)), "");
    let unasked =
        Setting { authority: Setting::keyless(&json!({"certificateTransparency": false})).authority, ..setting };
    let parts = unasked.sign().parts();
    assert_eq!(unasked.code(&[&parts], &distrusted("ctLog", &log, None)), "", "nobody asks for its word");
}

#[test]
fn a_distrusted_authority_counts_for_what_was_dated_before_by_any_of_its_certificates() {
    let setting = Setting::keyless(&json!({}));
    let parts = setting.sign().parts();
    for certificate in setting.sigstore.authorities[0].chain() {
        let name = fingerprint(&certificate);
        for (after, expected) in [(None, "Revoked"), (Some(NOON), "Revoked"), (Some(AFTER), "")] {
            assert_eq!(setting.code(&[&parts], &distrusted("ca", &name, after)), expected, "{after:?}");
        }
        let other = fingerprint(&setting.sigstore.authorities[1].issuer().certificate);
        assert_eq!(setting.code(&[&parts], &distrusted("ca", &other, None)), "");
    }
}

#[test]
fn entries_of_rekor_2_are_named_by_their_place_and_by_their_hash() {
    let setting = Setting::keyless(&json!({}));
    let parts = setting.sign().rekor_v2().parts();
    let key = &setting.sigstore.logs_v2[0].key;
    let (index, leaf) = (parts.entries[0].log_index, fingerprint(&[&[0], parts.entries[0].body.as_slice()].concat()));
    // The digest of the key names the log too.
    let names = [hex(&setting.sigstore.logs_v2[0].id()), fingerprint(&key.spki())];
    for log in names {
        let entry = |entry: Value| json!({"logEntries": [entry]});
        assert_eq!(setting.code(&[&parts], &entry(json!({"log": log, "index": index}))), "Revoked");
        assert_eq!(setting.code(&[&parts], &entry(json!({"log": log, "index": index + 1}))), "");
        assert_eq!(setting.code(&[&parts], &entry(json!({"log": log, "uuid": leaf}))), "Revoked");
        assert_eq!(setting.code(&[&parts], &distrusted("log", &log, None)), "ServiceDistrusted");
        assert_eq!(setting.code(&[&parts], &distrusted("log", &log, Some(LATER))), "");
        assert_eq!(setting.code(&[&parts], &distrusted("log", &log, Some(AFTER))), "ServiceDistrusted");
    }
}

/// An index that only the registry wrote does not keep an entry from being found: the promise that signs it can be left out.
#[test]
fn a_changed_index_that_nobody_signed_does_not_escape() {
    let setting = Setting::keyless(&json!({}));
    let parts = setting.sign().timestamped().parts();
    let log = hex(&setting.sigstore.logs_v1[0].key.id());
    let index = parts.entries[0].log_index;
    let moved = parts.with(|parts| {
        parts.entry().set = None;
        parts.entry().log_index += 1_000;
    });
    let revoked = json!({"logEntries": [{"log": log, "index": index}]});
    assert_eq!(setting.code(&[&moved], &revoked), "Revoked");
    // Its place in the tree is proved, and later entries have greater ones.
    assert_eq!(setting.code(&[&moved], &json!({"logEntries": [{"log": log, "index": 0}]})), "");
}
