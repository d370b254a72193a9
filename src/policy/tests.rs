//! Policies that must not parse, and verdicts over real evidence: each accept with twins in which one thing is off.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::OnStale;
use crate::image::Digest;
use crate::revocation::Revocations;
use crate::trust::{GITHUB, PUBLIC_GOOD, PublicKey, RootProblem, TrustMaterial, TrustRoots};
use crate::verify::fixtures::{
    BUNDLE, DSSE, bytes, candidate, confirmed, gathered, image, legacy, root, slsa, tree, without,
};
use crate::verify::{Anchor, Gathered, gather};

pub(super) const SUBJECT: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v1.10.0";
pub(super) const ISSUER: &str = "https://token.actions.githubusercontent.com";
const SLSA: &str = "https://slsa.dev/provenance/v0.2";

pub(super) fn policy_object(spec: &Value) -> Value {
    json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy",
        "metadata": {"name": "p", "uid": "u", "managedFields": []}, "spec": spec,
    })
}

pub(super) fn keyless(name: &str, root: &str, issuer: &Value, subject: &Value) -> Value {
    json!({"name": name, "keyless": {"trustRoot": root, "identities": [{"issuer": issuer, "subject": subject}]}})
}

pub(super) fn valid() -> Value {
    let mut authority = keyless("a", PUBLIC_GOOD, &json!({"exact": ISSUER}), &json!({"exact": SUBJECT}));
    authority["attestation"] = json!({"predicateType": SLSA});
    json!({"images": ["ghcr.io/**"], "authorities": [authority]})
}

pub(super) fn parse(spec: &Value) -> Policy {
    Policy::parse(&policy_object(spec)).unwrap_or_else(|error| panic!("{error}: {spec}"))
}

/// The spec with a value put at a JSON pointer.
pub(super) fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    spec
}

#[test]
fn refuses_what_it_does_not_fully_understand() {
    let pem = rcgen::KeyPair::generate().unwrap().public_key_pem();
    let identity = "/authorities/0/keyless/identities/0";
    let second = || {
        let mut spec = valid();
        let mut other = spec["authorities"][0].clone();
        other["name"] = json!("b");
        spec["authorities"].as_array_mut().unwrap().push(other);
        spec
    };
    let table: Vec<(&str, Value)> = vec![
        ("an unknown field", with(valid(), "/exlude", json!([]))),
        ("an unknown field of an authority", with(valid(), "/authorities/0/atestation", json!({}))),
        ("an unknown field of an identity", with(valid(), &format!("{identity}/claim"), json!([]))),
        ("an unknown field of a matcher", with(valid(), &format!("{identity}/issuer/prefix"), json!("x"))),
        ("an unknown field of the match", with(valid(), "/match", json!({"namespace": ["a"]}))),
        ("a namespace that cannot be", with(valid(), "/match", json!({"namespaces": ["Prod"]}))),
        ("an excluded namespace that cannot be", with(valid(), "/match", json!({"excludeNamespaces": ["my_team"]}))),
        ("an overlong namespace", with(valid(), "/match", json!({"namespaces": ["a".repeat(64)]}))),
        ("an unknown field of a selector", with(valid(), "/match", json!({"namespaceSelector": {"matchLabel": {}}}))),
        ("no images", with(valid(), "/images", json!([]))),
        ("images of another type", with(valid(), "/images", json!("ghcr.io/**"))),
        ("null images", with(valid(), "/images", json!(null))),
        ("a tag in a pattern", with(valid(), "/images/0", json!("ghcr.io/a/b:tag"))),
        ("too many images", with(valid(), "/images", json!(vec!["ghcr.io/a/b"; 257]))),
        ("a broken exclude", with(valid(), "/exclude", json!([""]))),
        ("an unknown action", with(valid(), "/action", json!("Ignore"))),
        ("an unknown tag rule", with(valid(), "/tags", json!("allow"))),
        ("no authorities", with(valid(), "/authorities", json!([]))),
        ("no identities", with(valid(), "/authorities/0/keyless/identities", json!([]))),
        ("no issuer", with(valid(), identity, json!({"subject": {"exact": "x"}}))),
        ("an issuer alone", with(valid(), identity, json!({"issuer": {"exact": "x"}}))),
        ("nobody", with(valid(), identity, json!({}))),
        (
            "a role beside a subject",
            with(valid(), &format!("{identity}/tufRole"), json!({"trustRoot": "r", "role": "d"})),
        ),
        ("a role of no root", with(valid(), identity, json!({"tufRole": {"trustRoot": "", "role": "d"}}))),
        ("no role", with(valid(), identity, json!({"tufRole": {"trustRoot": "r", "role": ""}}))),
        ("a list for a role", with(valid(), identity, json!({"tufRole": ["r", "d"]}))),
        (
            "an unknown field of a role",
            with(valid(), identity, json!({"tufRole": {"trustRoot": "r", "role": "d", "x": 1}})),
        ),
        ("an empty matcher", with(valid(), &format!("{identity}/subject"), json!({}))),
        ("two ways to match", with(valid(), &format!("{identity}/subject"), json!({"exact": "x", "glob": "x"}))),
        ("a broken expression", with(valid(), &format!("{identity}/subject"), json!({"regex": "a)|(b"}))),
        ("an empty exact", with(valid(), &format!("{identity}/subject"), json!({"exact": ""}))),
        ("an empty trust root", with(valid(), "/authorities/0/keyless/trustRoot", json!(""))),
        ("an empty predicate type", with(valid(), "/authorities/0/attestation/predicateType", json!(""))),
        ("keyless and keys", with(valid(), "/authorities/0/keys", json!([{"name": "k", "pem": pem}]))),
        ("neither keyless nor keys", with(valid(), "/authorities/0", json!({"name": "a"}))),
        (
            "a key that is none",
            with(valid(), "/authorities/0", json!({"name": "a", "keys": [{"name": "k", "pem": "x"}]})),
        ),
        (
            "a log to ask under a key that no log dates",
            with(
                valid(),
                "/authorities/0",
                json!({"name": "a", "keys": [{"name": "k", "pem": pem}], "evidence": {"online": true}}),
            ),
        ),
        (
            "a log to ask under a root without logs",
            with(
                with(valid(), "/authorities/0/keyless/trustRoot", json!(GITHUB)),
                "/authorities/0/evidence",
                json!({"online": true}),
            ),
        ),
        ("an unknown field of the proofs", with(valid(), "/authorities/0/evidence", json!({"onlin": true}))),
        ("no keys", with(valid(), "/authorities/0", json!({"name": "a", "keys": []}))),
        ("a name twice", with(second(), "/authorities/1/name", json!("a"))),
        ("two authorities without require", second()),
        ("an authority out of reach", with(second(), "/require", json!({"allOf": [{"authority": "a"}]}))),
        ("an unknown authority", with(valid(), "/require", json!({"allOf": [{"authority": "z"}]}))),
        ("an empty require", with(valid(), "/require", json!({}))),
        ("an empty list in require", with(valid(), "/require", json!({"anyOf": []}))),
        (
            "two lists in require",
            with(valid(), "/require", json!({"anyOf": [{"authority": "a"}], "allOf": [{"authority": "a"}]})),
        ),
        ("an empty item", with(valid(), "/require", json!({"anyOf": [{}]}))),
        ("a list for an item", with(valid(), "/require", json!({"anyOf": [["a"]]}))),
        ("a list for require", with(valid(), "/require", json!([[{"authority": "a"}]]))),
        ("a list for the spec", json!(["Enforce", ["ghcr.io/**"], [], null, "Pin", valid()["authorities"], null])),
        ("a list for the match", with(valid(), "/match", json!([["n"]]))),
        ("a list for a matcher", with(valid(), &format!("{identity}/issuer"), json!([ISSUER]))),
        ("a list for an identity", with(valid(), identity, json!([{"exact": ISSUER}, {"exact": SUBJECT}]))),
        ("a list for an attestation", with(valid(), "/authorities/0/attestation", json!([SLSA]))),
        ("an object for an action", with(valid(), "/action", json!({"Enforce": null}))),
        ("an empty inner list", with(valid(), "/require", json!({"anyOf": [{"allOf": []}]}))),
        ("a third level", with(valid(), "/require", json!({"anyOf": [{"allOf": [{"anyOf": [{"authority": "a"}]}]}]}))),
        (
            "values for Exists",
            with(
                valid(),
                "/match",
                json!({"namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "Exists", "values": ["v"]}]}}),
            ),
        ),
        (
            "no values for In",
            with(
                valid(),
                "/match",
                json!({"namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "In"}]}}),
            ),
        ),
    ];
    parse(&valid());
    for (what, spec) in table {
        assert!(Policy::parse(&policy_object(&spec)).is_err(), "{what} parsed: {spec}");
    }
    for (field, value) in [("kind", "ClusterImagePolicy"), ("apiVersion", "policy.countersign.dev/v1"), ("specs", "x")]
    {
        let mut object = policy_object(&valid());
        object[field] = json!(value);
        assert!(Policy::parse(&object).is_err(), "{field} {value}");
    }
    for object in [json!(null), json!([]), json!({}), json!("x")] {
        assert!(Policy::parse(&object).is_err(), "{object}");
    }
    let mut object = policy_object(&valid());
    object["metadata"] = json!(["p"]);
    assert!(Policy::parse(&object).is_err(), "a list for the metadata");
    for (name, sound) in [(String::new(), false), ("a".repeat(254), false), ("a".repeat(253), true)] {
        object["metadata"] = json!({"name": name});
        assert_eq!(Policy::parse(&object).is_ok(), sound, "a name of {} characters", name.len());
    }
}

/// The schema lets a field be null, and serde reads null as a field that is not there: `match: null`, left over from a template whose
/// value was empty, would be a policy for all namespaces, and `attestation: null` one that a signature satisfies.
#[test]
fn null_is_no_way_to_leave_a_field_out() {
    for (pointer, path) in [
        ("/match", "spec.match"),
        ("/action", "spec.action"),
        ("/exclude", "spec.exclude"),
        ("/exclude/0", "spec.exclude[0]"),
        ("/require", "spec.require"),
        ("/authorities/0/attestation", "spec.authorities[0].attestation"),
        ("/authorities/0/keys", "spec.authorities[0].keys"),
        ("/authorities/0/evidence", "spec.authorities[0].evidence"),
        ("/authorities/0/keyless/identities/0/signed", "spec.authorities[0].keyless.identities[0].signed"),
        ("/authorities/0/keyless/identities/0/subject/glob", "spec.authorities[0].keyless.identities[0].subject.glob"),
    ] {
        let spec = with(with(valid(), "/exclude", json!(["ghcr.io/a/b"])), pointer, json!(null));
        let error = Policy::parse(&policy_object(&spec)).unwrap_err().to_string();
        assert!(error.contains(&format!("at {path}: null")), "{pointer}: {error}");
    }
    parse(&with(valid(), "/exclude", json!(["ghcr.io/a/b"])));
    // What others write beside the spec is theirs.
    let mut object = policy_object(&valid());
    object["metadata"]["creationTimestamp"] = json!(null);
    object["status"] = json!(null);
    assert!(Policy::parse(&object).is_ok());
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let spec = with(valid(), "/authorities/0/keyless/identities/0/subjct", json!({"exact": "x"}));
    let error = Policy::parse(&policy_object(&spec)).unwrap_err().to_string();
    assert!(error.contains("spec.authorities[0].keyless.identities[0]") && error.contains("subjct"), "{error}");
}

fn gathered_slsa(roots: &[&str], keys: &[PublicKey]) -> Gathered {
    let (image, envelope, annotations) = slsa();
    let mut anchors: Vec<_> = roots.iter().map(|name| Anchor::Root(root(name))).collect();
    anchors.extend(keys.iter().cloned().map(by_key));
    gather(&[candidate(DSSE, envelope, annotations)], &image, &anchors)
}

fn by_key(key: PublicKey) -> Anchor {
    Anchor::Key { key, dating: None }
}

fn now() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn verdict(spec: &Value, gathered: &Gathered, problems: &[Problem], now: jiff::Timestamp) -> Verdict {
    evaluate(&parse(spec), gathered, problems, &TrustRoots::embedded().unwrap(), &Revocations::none(), now)
}

fn nearest(verdict: &Verdict) -> &str {
    verdict.authorities()[0].near_misses.first().map_or("", |miss| miss.code)
}

#[test]
fn each_field_of_an_authority_decides() {
    let gathered = gathered_slsa(&[PUBLIC_GOOD], &[]);
    assert!(verdict(&valid(), &gathered, &[], now()).passes());
    let identity = "/authorities/0/keyless/identities/0";
    let mut signature = valid();
    signature["authorities"][0].as_object_mut().unwrap().remove("attestation");
    let table = [
        (
            "IdentityMismatch",
            with(valid(), &format!("{identity}/subject"), json!({"exact": SUBJECT.replace("v1.10.0", "v1.10.1")})),
        ),
        (
            "IdentityMismatch",
            with(valid(), &format!("{identity}/subject"), json!({"glob": "https://github.com/acme/**@refs/tags/*"})),
        ),
        (
            "IdentityMismatch",
            with(valid(), &format!("{identity}/subject"), json!({"regex": "https://github.com/slsa-framework"})),
        ),
        (
            "IssuerMismatch",
            with(valid(), &format!("{identity}/issuer"), json!({"exact": "https://accounts.google.com"})),
        ),
        ("IssuerMismatch", with(valid(), &format!("{identity}/issuer"), json!({"exact": format!("{ISSUER}/")}))),
        (
            "PredicateTypeMismatch",
            with(valid(), "/authorities/0/attestation/predicateType", json!("https://slsa.dev/provenance/v1")),
        ),
        // An attestation is no signature of the image.
        ("AttestationOnly", signature),
        ("", with(valid(), "/authorities/0/keyless/trustRoot", json!(STAGING_NAME))),
    ];
    for (code, spec) in table {
        let verdict = verdict(&spec, &gathered, &[], now());
        assert!(matches!(verdict.outcome(), Outcome::Fail(FailReason::RequirementNotMet)), "{verdict:?}");
        assert_eq!(nearest(&verdict), code, "{spec}");
    }
    for subject in [
        json!({"glob": "https://github.com/slsa-framework/**@refs/tags/*"}),
        json!({"regex": "https://github.com/slsa-framework/.+@refs/tags/v1[.]10[.]0"}),
    ] {
        let spec = with(valid(), &format!("{identity}/subject"), subject);
        assert!(verdict(&spec, &gathered, &[], now()).passes(), "{spec}");
    }
}

const STAGING_NAME: &str = crate::trust::STAGING;

/// Whatever kept the log from being asked, nobody else's word is enough, and that is no fail.
#[test]
fn evidence_that_its_log_did_not_confirm_is_an_open_question() {
    let found = gathered_slsa(&[PUBLIC_GOOD], &[]);
    let online = with(valid(), "/authorities/0/evidence", json!({"online": true}));
    let open = verdict(&online, &found, &[], now());
    let Outcome::Error(ErrorReason::Unreachable(problem)) = open.outcome() else { panic!("{open:?}") };
    assert_eq!((problem.code, problem.undecided), ("LogNotConfirmed", true));
    let asked = confirmed(&found.verified()[0]);
    assert!(verdict(&online, &gathered(vec![asked.clone()]), &[], now()).passes());
    // What would not satisfy it is not asked about, and no log makes it count.
    for other in [without(&asked, "log"), without(&asked, "certificate transparency")] {
        let fail = verdict(&online, &gathered(vec![other]), &[], now());
        assert!(matches!(fail.outcome(), Outcome::Fail(_)), "{fail:?}");
    }
    let stranger = with(online, "/authorities/0/keyless/identities/0/subject", json!({"exact": "x"}));
    assert!(matches!(verdict(&stranger, &found, &[], now()).outcome(), Outcome::Fail(_)));
    let asked = |spec: &Value| {
        let policy = parse(spec);
        (policy.wants_online(), unconfirmed(&policy, &found, &TrustRoots::default(), &Revocations::none(), now()))
    };
    assert_eq!(asked(&valid()), (false, vec![]));
    assert_eq!(asked(&with(valid(), "/authorities/0/evidence", json!({"online": false}))), (false, vec![]));
    assert_eq!(asked(&with(valid(), "/authorities/0/evidence", json!({"online": true}))), (true, vec![0]));
    assert_eq!(asked(&stranger), (true, vec![]));
}

#[test]
fn an_identity_is_one_pair_and_not_two_lists() {
    let other = json!({"issuer": {"exact": ISSUER}, "subject": {"exact": "x"}});
    let wrong_issuer = json!({"issuer": {"exact": "https://other"}, "subject": {"exact": SUBJECT}});
    let spec = with(valid(), "/authorities/0/keyless/identities", json!([other, wrong_issuer]));
    assert!(!verdict(&spec, &gathered_slsa(&[PUBLIC_GOOD], &[]), &[], now()).passes());
}

#[test]
fn evidence_under_a_root_that_is_too_old_counts_for_nothing_or_with_a_warning() {
    let gathered = gathered_slsa(&[PUBLIC_GOOD], &[]);
    let judged = |roots: &TrustRoots| evaluate(&parse(&valid()), &gathered, &[], roots, &Revocations::none(), now());
    let before = now() - jiff::SignedDuration::from_nanos(1);
    let mut roots = TrustRoots::default();
    roots.insert_until(root(PUBLIC_GOOD), Some(now()), OnStale::Error);
    assert!(judged(&roots).passes() && judged(&roots).stale().is_empty());
    roots.insert_until(root(PUBLIC_GOOD), Some(before), OnStale::Error);
    let stale = judged(&roots);
    assert!(
        matches!(stale.outcome(), Outcome::Error(ErrorReason::TrustRoot(RootProblem::Stale { since, .. })) if *since == before)
    );
    assert_eq!(
        (stale.authorities()[0].satisfied_by.len(), stale.authorities()[0].near_misses[0].code),
        (0, "TrustRootStale")
    );
    roots.insert_until(root(PUBLIC_GOOD), Some(before), OnStale::Warn);
    let warned = judged(&roots);
    assert!(warned.passes());
    assert_eq!(
        warned.stale().iter().map(|warning| (warning.name.as_str(), warning.since)).collect::<Vec<_>>(),
        [(PUBLIC_GOOD, before)]
    );
    roots.insert_unavailable(PUBLIC_GOOD, "nothing was delivered yet");
    assert!(matches!(
        judged(&roots).outcome(),
        Outcome::Error(ErrorReason::TrustRoot(RootProblem::Unavailable { .. }))
    ));
}

#[test]
fn a_name_without_trust_root_and_an_open_problem_are_errors_and_never_passes() {
    let gathered = gathered_slsa(&[PUBLIC_GOOD], &[]);
    let unknown = with(valid(), "/authorities/0/keyless/trustRoot", json!("own"));
    let found = verdict(&unknown, &gathered, &[], now());
    assert!(
        matches!(found.outcome(), Outcome::Error(ErrorReason::TrustRoot(RootProblem::Unknown { name })) if name == "own")
    );

    let open = Problem { code: "RegistryUnavailable", message: "503".into(), undecided: true };
    let broken = Problem { code: "DigestMismatch", message: "x".into(), undecided: false };
    let nothing = Gathered::default();
    let table = [
        (verdict(&valid(), &nothing, std::slice::from_ref(&open), now()), "error"),
        (verdict(&valid(), &nothing, &[broken.clone(), open.clone()], now()), "error"),
        (verdict(&valid(), &nothing, std::slice::from_ref(&broken), now()), "content"),
        (verdict(&valid(), &nothing, &[], now()), "fail"),
        // Evidence that is there still counts: a broken or missing neighbour turns no pass into a fail.
        (verdict(&valid(), &gathered, &[broken, open], now()), "pass"),
    ];
    for (verdict, expected) in table {
        let found = match verdict.outcome() {
            Outcome::Pass => "pass",
            Outcome::Fail(FailReason::RequirementNotMet) => "fail",
            Outcome::Fail(FailReason::Content(_)) => "content",
            Outcome::Error(ErrorReason::Unreachable(_)) => "error",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    }
}

/// Whoever may push signatures must not make answers and logs as long as they like; what is nearest is kept.
#[test]
fn near_misses_are_bounded_and_the_others_counted() {
    let (image, envelope, annotations) = slsa();
    let wrong = with(valid(), "/authorities/0/keyless/identities/0/subject", json!({"exact": "https://example.com/x"}));
    let broken = candidate(DSSE, b"{}".to_vec(), annotations.clone());
    let near = candidate(DSSE, envelope, annotations);
    let anchors = [Anchor::Root(root(PUBLIC_GOOD))];
    for (count, left_out) in [(NEAR_MISS_LIMIT - 1, 0), (NEAR_MISS_LIMIT, 1), (100, 69)] {
        let mut candidates = vec![broken.clone(); count];
        candidates.push(near.clone());
        let found = verdict(&wrong, &gather(&candidates, &image, &anchors), &[], now());
        let trace = &found.authorities()[0];
        assert_eq!((trace.near_misses.len(), trace.near_misses_left_out), (NEAR_MISS_LIMIT, left_out), "{count}");
        assert_eq!(nearest(&found), "IdentityMismatch", "{count}");
        let children = [0, 1].map(|number| (Digest::of(&[number]), found.clone()));
        let whole = through_children(found.clone(), children.into());
        let trace = &whole.authorities()[0];
        assert_eq!(trace.near_misses.len(), NEAR_MISS_LIMIT, "{count}");
        assert_eq!(trace.near_misses_left_out, 3 * (count + 1) - NEAR_MISS_LIMIT, "{count}");
    }
}

#[test]
fn evidence_from_the_future_counts_for_nothing() {
    let gathered = gathered_slsa(&[PUBLIC_GOOD], &[]);
    let signed: jiff::Timestamp = "2024-03-21T10:34:04Z".parse().unwrap();
    let skewed = signed - jiff::SignedDuration::from_mins(5);
    assert!(verdict(&valid(), &gathered, &[], skewed).passes());
    let earlier = verdict(&valid(), &gathered, &[], skewed - jiff::SignedDuration::from_secs(1));
    assert_eq!((earlier.passes(), nearest(&earlier)), (false, "TimeInFuture"));
}

#[test]
fn a_key_authority_takes_its_keys_only() {
    let image = tree("multi-cosigned-alice-bob-charlie");
    let (layers, alice) = legacy("connaisseur-three-signers-alice");
    let (_, bob) = legacy("connaisseur-three-signers-bob");
    let pem = |name: &str| {
        let fixture: Value = serde_json::from_slice(&bytes(format!("tests/data/cosign-legacy/{name}.json"))).unwrap();
        fixture["verify"]["key"].as_str().unwrap().to_owned()
    };
    let (alice_pem, bob_pem) = (pem("connaisseur-three-signers-alice"), pem("connaisseur-three-signers-bob"));
    let stranger = rcgen::KeyPair::generate().unwrap().public_key_pem();
    let keys = [alice.unwrap(), bob.unwrap(), PublicKey::parse_pem(&stranger).unwrap()];
    let gathered = gather(&layers, &image, &keys.map(by_key));
    let authority = |name: &str, pem: &str| json!({"name": name, "keys": [{"name": "k", "pem": pem}]});
    let spec = |authorities: Vec<Value>, require: Value| json!({"images": ["**"], "authorities": authorities, "require": require});
    let (a, b, s) = (authority("a", &alice_pem), authority("b", &bob_pem), authority("s", &stranger));
    let named = |name: &str| json!({"authority": name});
    let table = [
        (spec(vec![a.clone()], json!({"allOf": [named("a")]})), true),
        (spec(vec![s.clone()], json!({"allOf": [named("s")]})), false),
        (spec(vec![a.clone(), b.clone()], json!({"allOf": [named("a"), named("b")]})), true),
        (spec(vec![a.clone(), s.clone()], json!({"allOf": [named("a"), named("s")]})), false),
        (spec(vec![a.clone(), s.clone()], json!({"anyOf": [named("a"), named("s")]})), true),
        (
            spec(
                vec![a.clone(), b.clone(), s.clone()],
                json!({"allOf": [named("a"), {"anyOf": [named("b"), named("s")]}]}),
            ),
            true,
        ),
        (
            spec(
                vec![a.clone(), b, s.clone()],
                json!({"anyOf": [named("s"), {"allOf": [named("a"), named("s")]}, {"allOf": [named("b"), named("s")]}]}),
            ),
            false,
        ),
        // A signature is no attestation.
        (spec(vec![with(a, "/attestation", json!({"predicateType": SLSA}))], json!({"allOf": [named("a")]})), false),
    ];
    for (spec, expected) in table {
        assert_eq!(verdict(&spec, &gathered, &[], now()).passes(), expected, "{spec}");
    }
}

#[test]
fn each_proof_is_needed_by_itself() {
    use crate::verify::TimeSource::{Log, TimestampAuthority};
    use crate::verify::fixtures::{gathered, under, without};
    let slsa = gathered_slsa(&[PUBLIC_GOOD], &[]);
    let whole = &slsa.verified()[0];
    for (proof, code) in [
        ("log", "LogMissing"),
        ("certificate transparency", "CertificateTransparencyMissing"),
        ("time", "TimestampMissing"),
    ] {
        let found = verdict(&valid(), &gathered(vec![without(whole, proof)]), &[], now());
        assert_eq!((found.passes(), nearest(&found)), (false, code));
        // What lacks a proof beside what has it takes nothing away.
        assert!(verdict(&valid(), &gathered(vec![without(whole, proof), whole.clone()]), &[], now()).passes());
    }
    // Under GitHub's root a timestamp authority's word is needed, and a log's is not enough.
    let github = with(valid(), "/authorities/0/keyless/trustRoot", json!(GITHUB));
    let bare = without(&without(whole, "log"), "certificate transparency");
    assert!(verdict(&github, &gathered(vec![under(&bare, GITHUB, TimestampAuthority)]), &[], now()).passes());
    let found = verdict(&github, &gathered(vec![under(&bare, GITHUB, Log)]), &[], now());
    assert_eq!((found.passes(), nearest(&found)), (false, "TimestampMissing"));
    // And what GitHub's root excuses, no other does.
    let found = verdict(&valid(), &gathered(vec![under(&bare, PUBLIC_GOOD, TimestampAuthority)]), &[], now());
    assert_eq!((found.passes(), nearest(&found)), (false, "LogMissing"));
}

#[test]
fn proofs_are_needed_by_default_and_githubs_root_asks_for_a_timestamp_instead() {
    // Under GitHub's root nothing of the public-good instance verifies, so that no proof can be borrowed.
    let gathered = gathered_slsa(&[GITHUB], &[]);
    assert!(gathered.verified().is_empty());
    let spec = with(valid(), "/authorities/0/keyless/trustRoot", json!(GITHUB));
    assert!(!verdict(&spec, &gathered, &[], now()).passes());
    // A bundle without a log entry is no evidence where a log is wanted.
    let case = "tests/data/bundles/sigstore-python--no_log_entry_fail";
    let artifact = image(bytes(format!("{case}/artifact")));
    let bundle = candidate(BUNDLE, bytes(format!("{case}/bundle.sigstore.json")), std::collections::BTreeMap::new());
    let gathered = gather(&[bundle], &artifact, &[Anchor::Root(root(PUBLIC_GOOD))]);
    let any = with(
        valid(),
        "/authorities/0/keyless/identities/0",
        json!({"issuer": {"regex": ".*"}, "subject": {"regex": ".*"}}),
    );
    assert!(!verdict(&any, &gathered, &[], now()).passes());
}

#[test]
fn namespaces_are_matched_by_name_and_label() {
    use crate::image::ImageReference;
    let reference = ImageReference::parse("ghcr.io/a/b:1").unwrap();
    let known = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Scope::Namespace(Namespace { name: name.to_owned(), labels: NamespaceLabels::Known(labels) })
    };
    let unknown = |name: &str| Scope::Namespace(Namespace { name: name.to_owned(), labels: NamespaceLabels::Unknown });
    let selector = json!({"namespaceSelector": {"matchLabels": {"env": "prod"}, "matchExpressions": [
        {"key": "team", "operator": "NotIn", "values": ["x"]}, {"key": "off", "operator": "DoesNotExist"}]}});
    let (yes, no, open) = ((1, 0), (0, 0), (0, 1));
    let table = [
        (json!({}), unknown("any"), yes),
        (json!({"namespaces": ["team-*"]}), unknown("team-a"), yes),
        (json!({"namespaces": ["team-*"]}), unknown("other"), no),
        (json!({"excludeNamespaces": ["team-*"]}), unknown("team-a"), no),
        (json!({"namespaces": ["*"], "excludeNamespaces": ["a"]}), unknown("b"), yes),
        (selector.clone(), known("n", &[("env", "prod")]), yes),
        (selector.clone(), known("n", &[("env", "prod"), ("team", "x")]), no),
        (selector.clone(), known("n", &[("env", "prod"), ("off", "")]), no),
        (selector.clone(), known("n", &[("env", "test")]), no),
        (selector.clone(), known("n", &[]), no),
        (selector.clone(), unknown("n"), open),
        (selector, Scope::Anywhere, yes),
    ];
    for (matches, scope, expected) in table {
        let policy = Arc::new(parse(&with(valid(), "/match", matches.clone())));
        let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Deny).with_policies(vec![policy], Vec::new());
        let selected = snapshot.select(reference.repository(), None, &scope);
        assert_eq!((selected.policies.len(), selected.undecided.len()), expected, "{matches} {scope:?}");
    }
}

#[test]
fn a_tag_that_may_become_a_named_digest_is_not_missed() {
    use crate::image::{Digest, ImageReference};
    let named = Digest::of(b"x");
    let reference = ImageReference::parse("ghcr.io/a/b:1").unwrap();
    let snapshot = |images: Value, exclude: Value| {
        let spec = with(with(valid(), "/images", images), "/exclude", exclude);
        Snapshot::new(TrustRoots::default(), Unmatched::Deny).with_policies(vec![Arc::new(parse(&spec))], Vec::new())
    };
    let selects = |snapshot: &Snapshot, digest: Option<&Digest>| {
        !snapshot.select(reference.repository(), digest, &Scope::Anywhere).is_empty()
    };
    let only = snapshot(json!([format!("ghcr.io/a/b@{named}")]), json!([]));
    assert!(selects(&only, None) && selects(&only, Some(&named)) && !selects(&only, Some(&Digest::of(b"y"))));
    let but = snapshot(json!(["ghcr.io/**"]), json!([format!("ghcr.io/a/b@{named}")]));
    assert!(selects(&but, None) && !selects(&but, Some(&named)) && selects(&but, Some(&Digest::of(b"y"))));
}

/// Identities, each with its issuer.
type Named<'a> = &'a [(&'a str, &'a str)];

/// Who may sign is delivered by TUF, and compared exactly; whoever cannot be told may not.
#[test]
fn identities_of_a_delegated_role_are_those_that_it_names() {
    use crate::trust::{FulcioIdentity, RoleIdentities, RoleName, RoleUnavailable, TufRoles};
    let found = gathered_slsa(&[PUBLIC_GOOD], &[]);
    let identity = "/authorities/0/keyless/identities/0";
    let spec = with(valid(), identity, json!({"tufRole": {"trustRoot": "acme", "role": "release"}}));
    let role = |trust_root: &str, role: &str| RoleName { trust_root: trust_root.into(), role: role.into() };
    let judge = |spec: &Value, name: RoleName, state: Result<RoleIdentities, RoleUnavailable>| {
        let mut roles = TufRoles::default();
        roles.insert(name, state);
        let mut roots = TrustRoots::embedded().unwrap().with_roles(roles);
        roots.insert(TrustMaterial::parse("acme", TrustMaterial::embedded_json(PUBLIC_GOOD).unwrap()).unwrap());
        evaluate(&parse(spec), &found, &[], &roots, &Revocations::none(), now())
    };
    let named = |named: &[(&str, &str)]| {
        let identity = |(identity, issuer): &(&str, &str)| FulcioIdentity {
            identity: (*identity).to_owned(),
            issuer: (*issuer).to_owned(),
        };
        Ok(RoleIdentities { identities: named.iter().map(identity).collect(), until: now() })
    };
    let release = || role("acme", "release");
    assert!(judge(&spec, release(), named(&[(SUBJECT, ISSUER)])).passes());
    assert!(judge(&spec, release(), named(&[("x", "y"), (SUBJECT, ISSUER)])).passes());
    let upper = SUBJECT.to_uppercase();
    let strangers: [(&str, Named<'_>, &str); 5] = [
        ("another subject", &[("https://github.com/slsa-framework/*", ISSUER)], "IdentityMismatch"),
        ("another case", &[(&upper, ISSUER)], "IdentityMismatch"),
        ("a longer subject", &[(&SUBJECT[..SUBJECT.len() - 1], ISSUER)], "IdentityMismatch"),
        ("another issuer", &[(SUBJECT, "https://issuer")], "IssuerMismatch"),
        ("halves of two", &[(SUBJECT, "https://issuer"), ("x", ISSUER)], "IssuerMismatch"),
    ];
    for (what, identities, code) in strangers {
        let verdict = judge(&spec, release(), named(identities));
        assert!(matches!(verdict.outcome(), Outcome::Fail(FailReason::RequirementNotMet)), "{what}: {verdict:?}");
        assert_eq!(verdict.authorities()[0].near_misses[0].code, code, "{what}");
    }
    // Claims and times are demanded beside it, as beside any other identity.
    let old = with(spec.clone(), &format!("{identity}/signed"), json!({"notAfter": "2020-01-01T00:00:00Z"}));
    assert!(!judge(&old, release(), named(&[(SUBJECT, ISSUER)])).passes());
    let stale =
        RoleIdentities { until: now() - jiff::SignedDuration::from_secs(1), ..named(&[(SUBJECT, ISSUER)]).unwrap() };
    let unknown: [(&str, RoleName, Result<RoleIdentities, RoleUnavailable>); 6] = [
        ("another role", role("acme", "other"), named(&[(SUBJECT, ISSUER)])),
        ("another root", role("public-good", "release"), named(&[(SUBJECT, ISSUER)])),
        ("nobody", release(), named(&[])),
        ("stale", release(), Ok(stale)),
        ("unknown", release(), Err(RoleUnavailable::Unknown)),
        ("not verified", release(), Err(RoleUnavailable::Unverified { reason: "a threshold is not met".into() })),
    ];
    for (what, name, state) in unknown {
        let verdict = judge(&spec, name, state);
        let is_open = matches!(verdict.outcome(), Outcome::Error(ErrorReason::TufRoleUnavailable { .. }));
        assert!(is_open, "{what}: {verdict:?}");
    }
    // What is known beside it is enough where the policy says that it is.
    let both = json!([spec.pointer(identity).unwrap(), valid().pointer(identity).unwrap()]);
    let either = with(spec.clone(), "/authorities/0/keyless/identities", both);
    assert!(judge(&either, release(), Err(RoleUnavailable::Unknown)).passes());
}
