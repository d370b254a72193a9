//! One table for each kind of authority: every field that narrows is set to a value that fits, and each flip alone is refused.

use serde_json::{Value, json};

use super::virtual_sigstore::text::pem;
use super::virtual_sigstore::{
    Algorithm, AuthorityOptions, CertificateAuthority, Identity, Key, Log, San, Subject, VirtualSigstore,
};
use super::{MANIFEST, alone, bundle, by, code, layer, noon, one, roots, sign, try_policy, verdict, with};

const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";
const GITHUB_ACTIONS: &str = "https://token.actions.githubusercontent.com";

/// Every claim by its name, as the workflow's certificate makes it.
fn claims() -> Vec<(&'static str, String)> {
    let text = |text: &str| text.to_owned();
    let commit = text("0123456789abcdef0123456789abcdef01234567");
    let source = text("https://github.com/acme/app");
    vec![
        ("githubWorkflowTrigger", text("push")),
        ("githubWorkflowSHA", commit.clone()),
        ("githubWorkflowName", text("Release")),
        ("githubWorkflowRepository", text("acme/app")),
        ("githubWorkflowRef", text("refs/tags/v1")),
        ("issuer", text(GITHUB_ACTIONS)),
        ("buildSignerURI", text(WORKFLOW)),
        ("buildSignerDigest", commit.clone()),
        ("runnerEnvironment", text("github-hosted")),
        ("sourceRepositoryURI", source.clone()),
        ("sourceRepositoryDigest", commit.clone()),
        ("sourceRepositoryRef", text("refs/tags/v1")),
        ("sourceRepositoryIdentifier", text("1001")),
        ("sourceRepositoryOwnerURI", text("https://github.com/acme")),
        ("sourceRepositoryOwnerIdentifier", text("2002")),
        ("buildConfigURI", text(WORKFLOW)),
        ("buildConfigDigest", commit),
        ("buildTrigger", text("push")),
        ("runInvocationURI", format!("{source}/actions/runs/3003/attempts/1")),
        ("sourceRepositoryVisibilityAtSigning", text("public")),
        ("deploymentEnvironment", text("production")),
        ("tokenSubject", text("repo:acme/app:ref:refs/tags/v1")),
    ]
}

fn window(not_before: &str, not_after: &str) -> Value {
    json!({"notBefore": not_before, "notAfter": not_after})
}

#[test]
fn cve_2025_29778_each_field_of_a_keyless_authority_decides() {
    let (sigstore, other) = (VirtualSigstore::doubled(), VirtualSigstore::new());
    let roots = roots(&[("own", sigstore.root()), ("other", other.root())]);
    let workflow = Identity::workflow("acme/app", "release.yml", "refs/tags/v1");
    let candidate = [bundle(&sign(&sigstore).by(&workflow).timestamped().parts())];
    // The timestamp is accurate to a second.
    let signed = window("2024-06-01T11:59:59Z", "2024-06-01T12:00:01Z");
    let spec = alone(&json!({
        "name": "a",
        "keyless": {"trustRoot": "own", "identities": [{
            "issuer": {"exact": GITHUB_ACTIONS}, "subject": {"exact": WORKFLOW}, "signed": signed,
        }]},
        "evidence": {"logs": 1, "timestamps": 1, "inclusionProof": true, "certificateTransparency": true, "maxAge": "1h1s"},
    }));
    assert_eq!(code(&verdict(&spec, &roots, &candidate, one())), "");

    let identity = "/authorities/0/keyless/identities/0";
    let evidence = "/authorities/0/evidence";
    let flips = [
        (format!("{identity}/issuer/exact"), json!("https://other.example"), "IssuerMismatch"),
        (format!("{identity}/subject/exact"), json!(WORKFLOW.replace("v1", "v2")), "IdentityMismatch"),
        (format!("{identity}/signed/notBefore"), json!("2024-06-01T11:59:59.000000001Z"), "SignedOutsideWindow"),
        (format!("{identity}/signed/notAfter"), json!("2024-06-01T12:00:00.999999999Z"), "SignedOutsideWindow"),
        (format!("{evidence}/logs"), json!(2), "LogMissing"),
        (format!("{evidence}/timestamps"), json!(2), "TimestampMissing"),
        (format!("{evidence}/maxAge"), json!("1h"), "SignatureTooOld"),
        ("/authorities/0/attestation".to_owned(), json!({"predicateType": "https://x"}), "PredicateTypeMismatch"),
        ("/authorities/0/keyless/trustRoot".to_owned(), json!("other"), "TimestampInvalid"),
        ("/authorities/0/keyless/trustRoot".to_owned(), json!("unknown"), "Error"),
    ];
    for (pointer, value, expected) in flips {
        let flipped = with(&spec, &pointer, value.clone());
        assert_eq!(code(&verdict(&flipped, &roots, &candidate, one())), expected, "{pointer} {value}");
    }

    let alias = [("sourceRepositoryID", "1001".to_owned()), ("sourceRepositoryOwnerID", "2002".to_owned())];
    for (name, value) in claims().into_iter().chain(alias) {
        let claims = format!("{identity}/claims");
        let right = with(&spec, &claims, json!([{"name": name, "exact": value}]));
        assert_eq!(code(&verdict(&right, &roots, &candidate, one())), "", "{name}");
        for wrong in [json!({"exact": format!("{value}x")}), json!({"glob": "x*"}), json!({"regex": "x.*"})] {
            let mut claim = wrong;
            claim["name"] = json!(name);
            let flipped = with(&spec, &claims, json!([claim]));
            assert_eq!(code(&verdict(&flipped, &roots, &candidate, one())), "ClaimMismatch", "{claim}");
        }
    }
}

#[test]
fn all_claims_must_hold_and_one_that_is_not_made_does_not() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let workflow = Identity::workflow("acme/app", "release.yml", "refs/tags/v1");
    let full = [bundle(&sign(&sigstore).by(&workflow).parts())];
    let silent = [bundle(&sign(&sigstore).by(&workflow.without_claim(11)).parts())];
    let claimed = |claims: Value| {
        alone(&json!({"name": "a", "keyless": {"trustRoot": "own", "identities": [{
            "issuer": {"exact": GITHUB_ACTIONS}, "subject": {"exact": WORKFLOW}, "claims": claims,
        }]}}))
    };
    let owner = |value: &str| json!({"name": "sourceRepositoryOwnerID", "exact": value});
    let runner = json!({"name": "runnerEnvironment", "regex": ".*"});
    let table = [
        (json!([owner("2002"), runner]), &full, ""),
        (json!([owner("2003"), runner]), &full, "ClaimMismatch"),
        (json!([runner, owner("2003")]), &full, "ClaimMismatch"),
        (json!([owner("2002")]), &silent, ""),
        // Whatever value is wanted, there is none.
        (json!([owner("2002"), runner]), &silent, "ClaimMismatch"),
        (json!([{"name": "otherName", "regex": ".*"}]), &full, "ClaimMismatch"),
    ];
    for (claims, candidates, expected) in table {
        assert_eq!(code(&verdict(&claimed(claims.clone()), &roots, candidates, one())), expected, "{claims}");
    }

    // The user name stands among the names, not the extensions.
    let user = Identity::named(vec![San::OtherName("alice!acme".into())], GITHUB_ACTIONS);
    let user = [bundle(&sign(&sigstore).by(&user).parts())];
    for (name, expected) in [("alice!acme", ""), ("bob!acme", "ClaimMismatch")] {
        let named = claimed(json!([{"name": "otherName", "exact": name}]));
        let named = with(&named, "/authorities/0/keyless/identities/0/subject", json!({"glob": "*"}));
        assert_eq!(code(&verdict(&named, &roots, &user, one())), expected, "{name}");
    }
}

#[test]
fn every_part_must_hold_for_one_and_the_same_identity() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let workflow = Identity::workflow("acme/app", "release.yml", "refs/tags/v1");
    let candidate = [bundle(&sign(&sigstore).by(&workflow).parts())];
    let identity = |subject: &str, owner: &str, not_after: &str| {
        json!({"issuer": {"exact": GITHUB_ACTIONS}, "subject": {"exact": subject},
            "claims": [{"name": "sourceRepositoryOwnerID", "exact": owner}], "signed": {"notAfter": not_after}})
    };
    let (early, late) = ("2024-06-01T11:00:00Z", "2024-06-01T12:00:00Z");
    let listed =
        |identities: &[Value]| alone(&json!({"name": "a", "keyless": {"trustRoot": "own", "identities": identities}}));
    let wrong = [identity("x", "2002", late), identity(WORKFLOW, "1", late), identity(WORKFLOW, "2002", early)];
    // The identity that came nearest gives the reason.
    assert_eq!(code(&verdict(&listed(&wrong), &roots, &candidate, one())), "SignedOutsideWindow");
    let right = [&wrong[..], &[identity(WORKFLOW, "2002", late)]].concat();
    assert_eq!(code(&verdict(&listed(&right), &roots, &candidate, one())), "");
}

#[test]
fn proofs_that_a_policy_gives_up_or_asks_for_decide() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    // cosign's layer holds the log's promise and no proof of inclusion.
    let promised = [layer(&sigstore.sign(Subject::simple_signing(MANIFEST)).at(noon()).parts())];
    let (v1, v2) = (Log::V1(&sigstore.logs_v1[0]), Log::V2(&sigstore.logs_v2[0]));
    let logged = [bundle(&sign(&sigstore).logged_in(&[v1]).parts())];
    let proved = [bundle(&sign(&sigstore).logged_in(&[v2]).timestamped().parts())];
    let stamped = [bundle(&sign(&sigstore).without_log().timestamped().parts())];
    let unpromised = [bundle(&sign(&sigstore).without_sct().parts())];
    let bare = [bundle(&sign(&sigstore).without_log().parts())];
    let table = [
        (&promised, json!({}), ""),
        (&promised, json!({"inclusionProof": false}), ""),
        (&promised, json!({"inclusionProof": true}), "InclusionProofMissing"),
        (&logged, json!({"inclusionProof": true}), ""),
        (&logged, json!({"timestamps": 1}), "TimestampMissing"),
        (&proved, json!({"timestamps": 1, "inclusionProof": true}), ""),
        (&stamped, json!({}), "LogMissing"),
        (&stamped, json!({"logs": 0}), ""),
        (&stamped, json!({"logs": 0, "timestamps": 1}), ""),
        (&bare, json!({}), "LogMissing"),
        (&bare, json!({"logs": 0}), "TimestampMissing"),
        (&bare, json!({"logs": 0, "timestamps": 1}), "TimestampMissing"),
        (&unpromised, json!({}), "CertificateTransparencyMissing"),
        (&unpromised, json!({"certificateTransparency": true}), "CertificateTransparencyMissing"),
        (&unpromised, json!({"certificateTransparency": false}), ""),
    ];
    for (candidates, evidence, expected) in table {
        let spec = alone(&super::anybody("a", "own", &evidence));
        assert_eq!(code(&verdict(&spec, &roots, candidates, one())), expected, "{evidence}");
    }
}

#[test]
fn cve_2025_29778_each_field_of_a_key_decides() {
    let (sigstore, other) = (VirtualSigstore::new(), VirtualSigstore::new());
    let roots = roots(&[("own", sigstore.root()), ("other", other.root())]);
    let key = Key::generate(Algorithm::P256);
    let candidate = [bundle(&sign(&sigstore).key(&key).without_certificate().timestamped().parts())];
    let spec = alone(&json!({
        "name": "a", "trustRoot": "own",
        "keys": [{"name": "2024", "pem": key.pem(), "uri": "awskms:///alias/release",
            "notBefore": "2024-06-01T11:59:59Z", "notAfter": "2024-06-01T12:00:01Z"}],
        "evidence": {"logs": 1, "timestamps": 1, "inclusionProof": true, "maxAge": "1h1s"},
    }));
    assert_eq!(code(&verdict(&spec, &roots, &candidate, one())), "");
    let flips = [
        ("/authorities/0/keys/0/pem", json!(key.other().pem()), "SignatureInvalid"),
        ("/authorities/0/keys/0/notBefore", json!("2024-06-01T12:00:00Z"), "SignedOutsideWindow"),
        ("/authorities/0/keys/0/notAfter", json!("2024-06-01T12:00:00Z"), "SignedOutsideWindow"),
        ("/authorities/0/trustRoot", json!("other"), "TimestampInvalid"),
        ("/authorities/0/trustRoot", json!("unknown"), "Error"),
        ("/authorities/0/evidence/logs", json!(2), "LogMissing"),
        ("/authorities/0/evidence/timestamps", json!(2), "TimestampMissing"),
        ("/authorities/0/evidence/maxAge", json!("1h"), "SignatureTooOld"),
        ("/authorities/0/attestation", json!({"predicateType": "https://x"}), "PredicateTypeMismatch"),
    ];
    for (pointer, value, expected) in flips {
        let flipped = with(&spec, pointer, value.clone());
        assert_eq!(code(&verdict(&flipped, &roots, &candidate, one())), expected, "{pointer} {value}");
    }
    // A key under two names may sign while either does.
    let mut both = spec.clone();
    let expired = json!({"name": "old", "pem": key.pem(), "notAfter": "2023-01-01T00:00:00Z"});
    both["authorities"][0]["keys"].as_array_mut().unwrap().insert(0, expired);
    assert_eq!(code(&verdict(&both, &roots, &candidate, one())), "");
}

#[test]
fn what_a_key_signed_is_dated_where_a_trust_root_is_asked() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let key = Key::generate(Algorithm::P256);
    let signing = || sign(&sigstore).key(&key).without_certificate();
    let bare = [bundle(&signing().without_log().parts())];
    let v2 = Log::V2(&sigstore.logs_v2[0]);
    let undated = [bundle(&signing().logged_in(&[v2]).parts())];
    let stamped = [bundle(&signing().without_log().timestamped().parts())];
    let logged = [bundle(&signing().parts())];
    let keys = json!([{"name": "k", "pem": key.pem()}]);
    let alone_key = alone(&json!({"name": "a", "keys": keys}));
    let dated = |evidence: Value| alone(&json!({"name": "a", "keys": keys, "trustRoot": "own", "evidence": evidence}));
    for candidates in [&bare, &undated, &stamped, &logged] {
        assert_eq!(code(&verdict(&alone_key, &roots, candidates, one())), "");
    }
    let table = [
        (json!({}), &logged, ""),
        (json!({}), &bare, "LogMissing"),
        (json!({}), &stamped, "LogMissing"),
        // Logged, but at no time that anybody vouches for.
        (json!({}), &undated, "TimestampMissing"),
        (json!({"logs": 0}), &stamped, ""),
        (json!({"logs": 0}), &bare, "TimestampMissing"),
        (json!({"logs": 0, "maxAge": "1d"}), &bare, "TimestampMissing"),
    ];
    for (evidence, candidates, expected) in table {
        assert_eq!(code(&verdict(&dated(evidence.clone()), &roots, candidates, one())), expected, "{evidence}");
    }
}

#[test]
fn cve_2025_29778_each_field_of_own_certificates_decides() {
    let (sigstore, other) = (VirtualSigstore::new(), VirtualSigstore::new());
    let roots = roots(&[("own", sigstore.root()), ("other", other.root())]);
    let [authority, stranger] = [(); 2].map(|()| CertificateAuthority::new(AuthorityOptions::default()));
    let chain = |authority: &CertificateAuthority| {
        let chain = authority.chain();
        (pem("CERTIFICATE", &chain[1]), pem("CERTIFICATE", &chain[0]))
    };
    let (root, intermediate) = chain(&authority);
    let (strange_root, strange_intermediate) = chain(&stranger);
    let alice = by("alice@acme.example").claim(11, "self-hosted");
    let signing = || sign(&sigstore).by(&alice).issued_by(&authority).without_sct();
    let candidate = [bundle(&signing().timestamped().parts())];
    let spec = alone(&json!({
        "name": "a",
        "certificates": {"roots": root, "intermediates": intermediate, "trustRoot": "own", "identities": [{
            "subject": {"exact": "alice@acme.example"},
            "claims": [{"name": "runnerEnvironment", "exact": "self-hosted"}],
            "signed": window("2024-06-01T11:59:59Z", "2024-06-01T12:00:01Z"),
        }]},
        "evidence": {"logs": 1, "timestamps": 1, "inclusionProof": true, "maxAge": "1h1s"},
    }));
    assert_eq!(code(&verdict(&spec, &roots, &candidate, one())), "");
    let at = "/authorities/0/certificates";
    let identity = format!("{at}/identities/0");
    let flips = [
        (format!("{at}/roots"), json!(strange_root), "CertificateInvalid"),
        (format!("{at}/intermediates"), json!(strange_intermediate), "CertificateInvalid"),
        (format!("{at}/intermediates"), Value::Null, "CertificateInvalid"),
        (format!("{at}/trustRoot"), json!("other"), "TimestampInvalid"),
        (format!("{at}/trustRoot"), json!("unknown"), "Error"),
        (format!("{identity}/subject/exact"), json!("bob@acme.example"), "IdentityMismatch"),
        (format!("{identity}/claims/0/exact"), json!("github-hosted"), "ClaimMismatch"),
        (format!("{identity}/claims/0/name"), json!("buildTrigger"), "ClaimMismatch"),
        (format!("{identity}/signed/notBefore"), json!("2024-06-01T12:00:00Z"), "SignedOutsideWindow"),
        (format!("{identity}/signed/notAfter"), json!("2024-06-01T12:00:00Z"), "SignedOutsideWindow"),
        ("/authorities/0/evidence/logs".to_owned(), json!(2), "LogMissing"),
        ("/authorities/0/evidence/timestamps".to_owned(), json!(2), "TimestampMissing"),
        ("/authorities/0/evidence/maxAge".to_owned(), json!("1h"), "SignatureTooOld"),
    ];
    for (pointer, value, expected) in flips {
        let flipped = with(&spec, &pointer, value.clone());
        assert_eq!(code(&verdict(&flipped, &roots, &candidate, one())), expected, "{pointer} {value}");
    }

    // Usually a timestamp authority dates it, and a log's date does where the policy says so; something always must.
    let usual = with(&spec, "/authorities/0/evidence", json!({}));
    let logged_only = with(&spec, "/authorities/0/evidence", json!({"timestamps": 0, "logs": 1}));
    let (logged, stamped) = ([bundle(&signing().parts())], [bundle(&signing().without_log().timestamped().parts())]);
    let bare = [bundle(&signing().without_log().parts())];
    assert_eq!(code(&verdict(&usual, &roots, &stamped, one())), "");
    assert_eq!(code(&verdict(&usual, &roots, &logged, one())), "TimestampMissing");
    assert_eq!(code(&verdict(&logged_only, &roots, &logged, one())), "");
    assert_eq!(code(&verdict(&logged_only, &roots, &stamped, one())), "LogMissing");
    // What is missing is what the policy asks for.
    assert_eq!(code(&verdict(&usual, &roots, &bare, one())), "TimestampMissing");
    assert_eq!(code(&verdict(&logged_only, &roots, &bare, one())), "LogMissing");

    // Own certificates vouch for nobody under a Sigstore instance, nor the other way about.
    let keyless = alone(&super::anybody("a", "own", &json!({})));
    assert_eq!(code(&verdict(&keyless, &roots, &candidate, one())), "CertificateInvalid");
    let fulcio = [bundle(&sign(&sigstore).by(&alice).timestamped().parts())];
    assert_eq!(code(&verdict(&spec, &roots, &fulcio, one())), "CertificateInvalid");
    let issuer = with(&spec, &format!("{identity}/issuer"), json!({"exact": "x"}));
    assert!(try_policy(&issuer).unwrap_err().contains("issuer"));
}

/// Authorities that differ in their roots alone: what one root proves is nothing under another.
#[test]
fn roots_are_not_mixed_between_the_authorities_of_a_policy() {
    let (sigstore, other) = (VirtualSigstore::new(), VirtualSigstore::new());
    let roots = roots(&[("own", sigstore.root()), ("other", other.root())]);
    let authority = CertificateAuthority::new(AuthorityOptions::default());
    let chain = authority.chain();
    let key = Key::generate(Algorithm::P256);
    let keys = |root: &str| json!({"name": root, "trustRoot": root, "keys": [{"name": "k", "pem": key.pem()}]});
    let certificates = |root: &str| {
        let identities = json!([{"subject": {"glob": "*@example.com"}}]);
        json!({"name": root, "certificates": {"trustRoot": root, "identities": identities,
            "roots": pem("CERTIFICATE", &chain[1]), "intermediates": pem("CERTIFICATE", &chain[0])}})
    };
    let signed = bundle(&sign(&sigstore).key(&key).without_certificate().timestamped().parts());
    let certified = bundle(&sign(&sigstore).issued_by(&authority).without_sct().timestamped().parts());
    let keyless = bundle(&sign(&sigstore).timestamped().parts());
    let anybody = |root: &str| super::anybody(root, root, &json!({}));
    let table = [
        ([keys("own"), keys("other")], signed),
        ([certificates("own"), certificates("other")], certified),
        ([anybody("own"), anybody("other")], keyless),
    ];
    let items = json!([{"authority": "own"}, {"authority": "other"}]);
    for (authorities, candidate) in table {
        for (require, expected) in [(json!({"anyOf": items}), true), (json!({"allOf": items}), false)] {
            let verdict =
                verdict(&super::spec(&authorities, &require), &roots, std::slice::from_ref(&candidate), one());
            assert_eq!(verdict.passes(), expected, "{require} {authorities:?}");
        }
    }
}

/// A registry that serves an old image with its old signature (CVE-2024-23332): the time of signing is verified, and may be asked for.
#[test]
fn cve_2024_23332_an_old_signature_is_refused_where_the_policy_says_so() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let candidate = [bundle(&sign(&sigstore).timestamped().parts())];
    let fresh = |age: &str| alone(&super::anybody("a", "own", &json!({"maxAge": age})));
    let since = |time: &str| {
        let spec = alone(&super::anybody("a", "own", &json!({})));
        with(&spec, "/authorities/0/keyless/identities/0/signed", json!({"notBefore": time}))
    };
    let minutes = |minutes: i64| noon() + jiff::SignedDuration::from_mins(minutes);
    // The earliest moment counts, which is a second before noon.
    let edge = minutes(60) - jiff::SignedDuration::from_secs(1);
    let table = [
        (fresh("1h"), edge, ""),
        (fresh("1h"), edge + jiff::SignedDuration::from_nanos(1), "SignatureTooOld"),
        (fresh("90d"), minutes(60 * 24 * 89), ""),
        (fresh("90d"), minutes(60 * 24 * 90), "SignatureTooOld"),
        // Years later, without a word about time, it is still a signature.
        (since("2024-01-01T00:00:00Z"), minutes(60 * 24 * 3650), ""),
        (since("2024-06-02T00:00:00Z"), one(), "SignedOutsideWindow"),
        // Our clock may be five minutes behind the latest moment, and no more.
        (fresh("1h"), minutes(-5) + jiff::SignedDuration::from_secs(1), ""),
        (fresh("1h"), minutes(-5), "TimeInFuture"),
    ];
    for (spec, now, expected) in table {
        assert_eq!(code(&verdict(&spec, &roots, &candidate, now)), expected, "{now} {spec}");
    }
}

/// One authority says in time, another not: all must.
#[test]
fn every_verified_time_counts_and_not_the_best() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let late = noon() + jiff::SignedDuration::from_mins(5);
    let candidate = [bundle(&sign(&sigstore).integrated_at(late).timestamped().parts())];
    let signed = |signed: Value| {
        let spec = alone(&super::anybody("a", "own", &json!({})));
        with(&spec, "/authorities/0/keyless/identities/0/signed", signed)
    };
    let table = [
        (json!({"notAfter": "2024-06-01T12:05:00Z"}), ""),
        (json!({"notAfter": "2024-06-01T12:04:59Z"}), "SignedOutsideWindow"),
        (json!({"notBefore": "2024-06-01T11:59:59Z"}), ""),
        (json!({"notBefore": "2024-06-01T12:01:00Z"}), "SignedOutsideWindow"),
    ];
    for (window, expected) in table {
        assert_eq!(code(&verdict(&signed(window.clone()), &roots, &candidate, one())), expected, "{window}");
    }
}
