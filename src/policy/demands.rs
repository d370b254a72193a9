//! Demands that parse, and those that nothing could meet or that would do nothing, which do not.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use super::Policy;
use super::tests::{ISSUER, SUBJECT, keyless, parse, policy_object, valid, with};
use crate::trust::{GITHUB, PUBLIC_GOOD};

const IDENTITY: &str = "/authorities/0/keyless/identities/0";
const TIME: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-02T00:00:00Z";

fn pem() -> String {
    KeyPair::generate().unwrap().public_key_pem()
}

fn root() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn public_good(evidence: Value) -> Value {
    with(valid(), "/authorities/0/evidence", evidence)
}

fn github(evidence: Value) -> Value {
    with(public_good(evidence), "/authorities/0/keyless/trustRoot", json!(GITHUB))
}

fn keys(evidence: &Value) -> Value {
    let keys = json!([{"name": "k", "pem": pem()}]);
    json!({"images": ["**"], "authorities": [{"name": "a", "keys": keys, "evidence": evidence}]})
}

fn dated(evidence: &Value) -> Value {
    with(keys(evidence), "/authorities/0/trustRoot", json!("own"))
}

fn own(evidence: &Value) -> Value {
    let identities = json!([{"subject": {"exact": "x"}}]);
    let certificates = json!({"roots": root(), "trustRoot": "own", "identities": identities});
    json!({"images": ["**"], "authorities": [{"name": "a", "evidence": evidence, "certificates": certificates}]})
}

fn certificates(field: &str, value: Value) -> Value {
    with(own(&json!({})), &format!("/authorities/0/certificates/{field}"), value)
}

fn signed(window: Value) -> Value {
    with(valid(), &format!("{IDENTITY}/signed"), window)
}

fn claims(claims: Value) -> Value {
    with(valid(), &format!("{IDENTITY}/claims"), claims)
}

/// A table of what must not parse, each with a part of the reason.
fn refuse(table: Vec<(&str, Value, &str)>) {
    for (what, spec, reason) in table {
        match Policy::parse(&policy_object(&spec)) {
            Ok(_) => panic!("{what} parsed: {spec}"),
            Err(error) => assert!(error.to_string().contains(reason), "{what}: {error} does not say {reason}"),
        }
    }
}

#[test]
fn proofs_that_nothing_could_give_are_refused() {
    let accepted = [
        public_good(json!({})),
        public_good(json!({"logs": 0, "timestamps": 0, "certificateTransparency": false, "inclusionProof": false})),
        public_good(json!({"logs": 8, "timestamps": 8, "inclusionProof": true, "maxAge": "90d"})),
        github(json!({"logs": 0, "timestamps": 2, "certificateTransparency": false, "maxAge": "1d"})),
        keys(&json!({"logs": 0, "timestamps": 0, "inclusionProof": false, "certificateTransparency": false})),
        dated(&json!({"logs": 2, "timestamps": 1, "inclusionProof": true, "maxAge": "1h"})),
        own(&json!({"timestamps": 0, "logs": 1, "inclusionProof": true})),
        own(&json!({"timestamps": 2, "maxAge": "1h"})),
    ];
    for spec in accepted {
        parse(&spec);
    }
    let transparency = json!({"certificateTransparency": true});
    refuse(vec![
        ("a number of logs", public_good(json!({"logs": 9})), "evidence.logs"),
        ("a negative number", public_good(json!({"timestamps": -1})), "evidence.timestamps"),
        ("an unknown proof", public_good(json!({"log": 1})), "evidence"),
        ("an age without unit", public_good(json!({"maxAge": "90"})), "evidence.maxAge"),
        ("no age", public_good(json!({"maxAge": "0s"})), "evidence.maxAge"),
        ("proofs in no log", public_good(json!({"logs": 0, "inclusionProof": true})), "evidence.inclusionProof"),
        ("GitHub's log", github(json!({"logs": 1})), "evidence.logs"),
        ("GitHub's CT log", github(transparency.clone()), "evidence.certificateTransparency"),
        ("GitHub's proof", github(json!({"inclusionProof": true})), "evidence.inclusionProof"),
        ("a log for keys", keys(&json!({"logs": 1})), "evidence.logs"),
        ("a timestamp for keys", keys(&json!({"timestamps": 1})), "evidence.timestamps"),
        ("an age for keys", keys(&json!({"maxAge": "1h"})), "evidence.maxAge"),
        ("a proof for keys", keys(&json!({"inclusionProof": true})), "evidence.inclusionProof"),
        ("CT for keys", keys(&transparency), "evidence.certificateTransparency"),
        ("CT for dated keys", dated(&transparency), "evidence.certificateTransparency"),
        ("CT for certificates", own(&transparency), "evidence.certificateTransparency"),
        ("undated certificates", own(&json!({"timestamps": 0})), "evidence.timestamps"),
    ]);
}

#[test]
fn windows_and_claims_that_mean_nothing_are_refused() {
    let key = |field: &str| format!("/authorities/0/keys/0/{field}");
    let until = |spec: Value| with(spec, &key("notAfter"), json!(TIME));
    let bare = || keys(&json!({}));
    let accepted = [
        until(dated(&json!({}))),
        with(bare(), &key("uri"), json!("awskms:///alias/x")),
        signed(json!({"notBefore": TIME, "notAfter": TIME})),
        claims(json!([{"name": "buildTrigger", "exact": "push"}, {"name": "otherName", "glob": "*"}])),
    ];
    for spec in accepted {
        parse(&spec);
    }
    let aliased =
        json!([{"name": "sourceRepositoryID", "exact": "1"}, {"name": "sourceRepositoryIdentifier", "exact": "1"}]);
    let inverted = with(until(dated(&json!({}))), &key("notBefore"), json!(LATER));
    refuse(vec![
        ("a window for bare keys", until(bare()), "trustRoot"),
        ("an inverted window of a key", inverted, "later"),
        ("an empty note", with(bare(), &key("uri"), json!("")), "uri"),
        ("a trust root beside keyless", with(valid(), "/authorities/0/trustRoot", json!("own")), "trustRoot"),
        ("an empty trust root", with(bare(), "/authorities/0/trustRoot", json!("")), "trustRoot"),
        ("an empty window", signed(json!({})), "signed"),
        ("an inverted window", signed(json!({"notBefore": LATER, "notAfter": TIME})), "later"),
        ("a date", signed(json!({"notBefore": "2026-01-01"})), "signed.notBefore"),
        ("an unknown claim", claims(json!([{"name": "buildTriger", "exact": "x"}])), "did you mean buildTrigger"),
        ("no claims", claims(json!([])), "claims"),
        ("a claim without value", claims(json!([{"name": "buildTrigger"}])), "claims[0]"),
        ("a claim in two ways", claims(json!([{"name": "buildTrigger", "exact": "x", "glob": "x"}])), "claims[0]"),
        ("a claim twice", claims(json!([{"name": "issuer", "exact": "x"}, {"name": "issuer", "exact": "y"}])), "twice"),
        ("a claim twice, once by its other name", claims(aliased), "twice"),
    ]);
}

#[test]
fn own_authorities_bring_certificates_and_no_issuer() {
    let (pem, root) = (pem(), root());
    parse(&certificates("intermediates", json!(root)));
    let beside = |field: &str, value: Value| with(own(&json!({})), &format!("/authorities/0/{field}"), value);
    refuse(vec![
        ("a trust root beside certificates", beside("trustRoot", json!("own")), "trustRoot"),
        ("keys beside certificates", beside("keys", json!([{"name": "k", "pem": pem}])), "exactly one"),
        ("an issuer", certificates("identities/0/issuer", json!({"exact": "x"})), "issuer"),
        ("no identities", certificates("identities", json!([])), "identities"),
        ("no roots", certificates("roots", json!("")), "roots"),
        ("roots that are none", certificates("roots", json!("x")), "certificates"),
        ("a key for a root", certificates("roots", json!(pem)), "certificates"),
        ("endless roots", certificates("roots", json!(root.repeat(200))), "roots"),
        ("endless intermediates", certificates("intermediates", json!(root.repeat(200))), "intermediates"),
        ("no trust root", certificates("trustRoot", json!(null)), "trustRoot"),
    ]);
}

#[test]
fn thresholds_that_cannot_be_met_are_refused() {
    let (pem, other) = (pem(), pem());
    let named = |names: &[&str]| names.iter().map(|name| json!({"authority": name})).collect::<Vec<_>>();
    let key = |name: &str, pem: &str| json!({"name": name, "keys": [{"name": "k", "pem": pem}]});
    let anybody = keyless("c", PUBLIC_GOOD, &json!({"exact": ISSUER}), &json!({"exact": SUBJECT}));
    let require = |require: Value| json!({"images": ["**"], "authorities": [key("a", &pem), key("b", &other), anybody], "require": require});
    let three = require(json!({"atLeast": 3, "of": named(&["a", "b", "c"])}));
    let accepted = [
        three.clone(),
        require(json!({"atLeast": 2, "of": [{"anyOf": named(&["a", "b"])}, {"authority": "c"}]})),
        require(json!({"allOf": [{"atLeast": 1, "of": named(&["a", "b"])}, {"authority": "c"}]})),
        require(json!({"atLeast": 2, "of": [{"anyOf": named(&["a", "b"])}, {"anyOf": named(&["b", "c"])}]})),
    ];
    for spec in accepted {
        parse(&spec);
    }
    let two_ways = json!({"allOf": named(&["a", "b", "c"]), "atLeast": 1, "of": named(&["a"])});
    let mixed = json!({"atLeast": 2, "of": [{"authority": "b"}, {"allOf": named(&["a", "c"])}]});
    let nested = json!({"atLeast": 1, "of": [{"atLeast": 1, "of": named(&["a", "b", "c"])}]});
    let inner = json!({"allOf": [{"atLeast": 2, "of": named(&["a"])}, {"anyOf": named(&["b", "c"])}]});
    refuse(vec![
        ("nobody at least", require(json!({"atLeast": 0, "of": named(&["a", "b", "c"])})), "atLeast"),
        ("more than there are", require(json!({"atLeast": 4, "of": named(&["a", "b", "c"])})), "atLeast"),
        ("one key as two signers", with(three, "/authorities/1", key("b", &pem)), "atLeast"),
        ("one key twice", require(json!({"atLeast": 3, "of": named(&["a", "a", "c"])})), "atLeast"),
        ("a key that holds a certificate", require(mixed), "atLeast"),
        ("a count of nothing", require(json!({"atLeast": 1})), "exactly one"),
        ("items without count", require(json!({"of": named(&["a", "b", "c"])})), "exactly one"),
        ("no items", require(json!({"atLeast": 1, "of": []})), "spec.require.of"),
        ("two ways", require(two_ways), "exactly one"),
        ("a threshold in a threshold", require(nested), "spec.require.of"),
        ("an inner threshold that cannot be met", require(inner), "spec.require.allOf[0].atLeast"),
        ("an authority out of reach", require(json!({"atLeast": 1, "of": named(&["a", "b"])})), "does not reach"),
    ]);
}
