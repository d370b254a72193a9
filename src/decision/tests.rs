//! What makes a decision deny, what is said about it, and that nothing in it is written by somebody else.

use serde_json::{Value, json};

use super::*;
use crate::policy::{ErrorReason, FailReason, Policy, refused, undecided};
use crate::trust::RootProblem;

fn policy(action: &str) -> Policy {
    Policy::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": action},
        "spec": {"action": action, "images": ["**"], "authorities": [{"name": "a", "keyless": {"trustRoot": "public-good",
            "identities": [{"issuer": {"exact": "i"}, "subject": {"exact": "s"}}]}}]},
    }))
    .unwrap()
}

fn fail(action: &str) -> Verdict {
    refused(&policy(action), FailReason::RequirementNotMet)
}

fn error(action: &str) -> Verdict {
    undecided(&policy(action), ErrorReason::TrustRoot(RootProblem::Unknown { name: "own".into() }))
}

fn unknown_namespace(action: &str) -> Verdict {
    undecided(&policy(action), ErrorReason::NamespaceUnknown { namespace: "n".into() })
}

/// The verdict of a policy of a namespace, which is no match by itself.
fn of_namespace(action: &str) -> Verdict {
    let policy = Policy::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignaturePolicy",
        "metadata": {"name": "p", "namespace": "team-a"},
        "spec": {"action": action, "images": ["**"], "authorities": [{"name": "a", "keyless": {"trustRoot": "public-good",
            "identities": [{"issuer": {"exact": "i"}, "subject": {"exact": "s"}}]}}]},
    }))
    .unwrap();
    refused(&policy, FailReason::ShortName)
}

/// A pass, the only way there is one: evidence that was verified.
fn pass(action: &str) -> Verdict {
    use crate::verify::fixtures::{DSSE, candidate, root, slsa};
    use crate::verify::{Anchor, gather};
    let (image, envelope, annotations) = slsa();
    let gathered = gather(&[candidate(DSSE, envelope, annotations)], &image, &[Anchor::Root(root("public-good"))]);
    let policy = Policy::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": action},
        "spec": {"action": action, "images": ["**"], "authorities": [{"name": "a",
            "attestation": {"predicateType": "https://slsa.dev/provenance/v0.2"},
            "keyless": {"trustRoot": "public-good", "identities": [{"issuer": {"regex": ".*"}, "subject": {"regex": ".*"}}]}}]},
    }))
    .unwrap();
    let roots = crate::trust::TrustRoots::embedded().unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    crate::policy::evaluate(&policy, &gathered, &[], &roots, &crate::revocation::Revocations::none(), now)
}

fn image(finding: Finding) -> ImageVerdicts {
    ImageVerdicts {
        field: "spec.containers[0].image".into(),
        text: "ghcr.io/a/b:1".into(),
        digest: None,
        finding,
        exempt: None,
    }
}

fn limit(undecided: bool) -> Finding {
    Finding::Refused(Refused::NotJudged(Problem { code: "Deadline", message: "out of time".into(), undecided }))
}

fn as_exempt(image: ImageVerdicts) -> ImageVerdicts {
    ImageVerdicts { exempt: Some("known".into()), ..image }
}

fn exempt(finding: Finding) -> ImageVerdicts {
    as_exempt(image(finding))
}

#[test]
fn exactly_what_must_deny_denies() {
    use Answer::{Allow, Deny, Undecided};
    use Unmatched::{Allow as Open, Deny as Closed, Warn};
    let judged = |verdicts: Vec<Verdict>| vec![image(Finding::Judged(verdicts))];
    let revoked = Finding::Refused(Refused::Revoked(Revoked {
        what: "the digest".into(),
        by: "r".into(),
        reason: "stolen".into(),
        reference: None,
    }));
    let table: Vec<(&str, Vec<ImageVerdicts>, Unmatched, Answer)> = vec![
        ("no image", vec![], Open, Deny),
        ("no verdict", judged(vec![]), Open, Deny),
        ("unmatched, open", vec![image(Finding::Unmatched)], Open, Allow),
        ("unmatched, warned", vec![image(Finding::Unmatched)], Warn, Allow),
        ("unmatched, closed", vec![image(Finding::Unmatched)], Closed, Deny),
        ("pass", judged(vec![pass("Enforce")]), Closed, Allow),
        ("fail", judged(vec![fail("Enforce")]), Open, Deny),
        ("error", judged(vec![error("Enforce")]), Open, Undecided),
        ("a pass does not outweigh a fail", judged(vec![pass("Enforce"), fail("Enforce")]), Open, Deny),
        ("a pass does not outweigh an error", judged(vec![error("Enforce"), pass("Enforce")]), Open, Undecided),
        ("a fail outweighs an error", judged(vec![error("Enforce"), fail("Enforce")]), Open, Deny),
        ("warn lets through", judged(vec![fail("Warn")]), Open, Allow),
        ("audit lets through", judged(vec![error("Audit")]), Open, Allow),
        ("warn is no match", judged(vec![pass("Warn")]), Closed, Deny),
        ("audit is no match", judged(vec![pass("Audit")]), Closed, Deny),
        ("warn beside a pass", judged(vec![pass("Enforce"), fail("Warn")]), Closed, Allow),
        ("a policy of a namespace denies", judged(vec![pass("Enforce"), of_namespace("Enforce")]), Open, Deny),
        ("a policy of a namespace that warns", judged(vec![pass("Enforce"), of_namespace("Warn")]), Closed, Allow),
        ("a policy of a namespace is no match", judged(vec![of_namespace("Warn")]), Closed, Deny),
        (
            "one that warns is no match either if it is delegated",
            judged(vec![of_namespace("Warn").delegated()]),
            Closed,
            Deny,
        ),
        ("unknown namespace", judged(vec![unknown_namespace("Enforce")]), Open, Undecided),
        ("unknown namespace under audit", judged(vec![unknown_namespace("Audit")]), Open, Allow),
        ("exempt, closed", vec![exempt(Finding::Unmatched)], Closed, Allow),
        ("exempt, warned", vec![exempt(Finding::Unmatched)], Warn, Allow),
        (
            "exempt, and a policy that warns",
            judged(vec![fail("Warn")]).into_iter().map(as_exempt).collect(),
            Closed,
            Allow,
        ),
        ("exempt is no pass", judged(vec![fail("Enforce")]).into_iter().map(as_exempt).collect(), Open, Deny),
        (
            "exempt is no pass of a namespace",
            vec![exempt(Finding::Judged(vec![of_namespace("Enforce")]))],
            Closed,
            Deny,
        ),
        ("exempt and revoked", vec![exempt(revoked.clone())], Open, Deny),
        ("exempt beside one that is not", vec![exempt(Finding::Unmatched), image(Finding::Unmatched)], Closed, Deny),
        ("revoked", vec![image(revoked)], Open, Deny),
        ("a limit", vec![image(limit(false))], Open, Deny),
        ("out of time", vec![image(limit(true))], Open, Undecided),
        ("one of two images", [judged(vec![pass("Enforce")]), judged(vec![fail("Enforce")])].concat(), Open, Deny),
    ];
    for (what, images, unmatched, expected) in table {
        let decision = Decision::new(images, unmatched);
        assert_eq!(decision.outcome(), expected, "{what}");
        assert_eq!(decision.allows(), expected == Allow, "{what}");
        assert_eq!(decision.respond("u", false).allowed(), expected == Allow, "{what}");
        assert_eq!(decision.respond("u", false).message().is_empty(), expected == Allow, "{what}");
    }
    assert!(Decision::unchanged().allows());
}

fn answer(decision: &Decision, dry_run: bool) -> Value {
    serde_json::to_value(decision.respond("u", dry_run)).unwrap()
}

#[test]
fn warnings_tell_what_would_fail_and_a_dry_run_everything() {
    let decision = Decision::new(
        vec![image(Finding::Judged(vec![fail("Warn"), fail("Audit"), pass("Enforce")]))],
        Unmatched::Deny,
    );
    let warnings = |dry_run| answer(&decision, dry_run)["response"]["warnings"].as_array().cloned().unwrap_or_default();
    assert_eq!(warnings(false).len(), 1);
    assert!(warnings(false)[0].as_str().unwrap().contains("policy Warn [NoSignature]"));
    assert_eq!(warnings(true).len(), 3);
    // What an audit policy found is kept even if nobody is told.
    let trace = answer(&decision, false)["response"]["auditAnnotations"]["trace"].as_str().unwrap().to_owned();
    assert!(trace.contains(r#""policy":"Audit","action":"Audit","verdict":"Fail""#), "{trace}");
    let known = Decision::new(vec![exempt(Finding::Unmatched)], Unmatched::Warn);
    assert!(answer(&known, false)["response"].get("warnings").is_none());
    assert!(answer(&known, true)["response"]["warnings"][0].as_str().unwrap().ends_with("exempt: known [Exempt]"));
    let trace = serde_json::to_value(known.trace()).unwrap();
    assert_eq!((&trace["images"][0]["code"], &trace["images"][0]["message"]), (&json!("Exempt"), &json!("known")));
    let unmatched = Decision::new(vec![image(Finding::Unmatched)], Unmatched::Warn);
    assert!(answer(&unmatched, false)["response"]["warnings"][0].as_str().unwrap().contains("[Unmatched]"));
}

#[test]
fn answers_are_bounded_and_hold_no_control_characters() {
    let hostile = "\u{1b}[2J\u{202e}evil\nallowed everything\r".repeat(200);
    let problem = Problem { code: "MalformedContent", message: hostile.clone(), undecided: false };
    let broken = || Finding::Judged(vec![refused(&policy("Enforce"), FailReason::Content(problem.clone()))]);
    let images: Vec<_> = (0..500)
        .map(|number| ImageVerdicts {
            field: format!("f[{number}]"),
            text: hostile.clone(),
            digest: None,
            finding: broken(),
            exempt: None,
        })
        .collect();
    let decision = Decision::new(images, Unmatched::Deny);
    let answer = decision.respond("u", true);
    assert!(answer.message().len() < 100_000, "{}", answer.message().len());
    assert!(answer.message().contains("and 490 more"));
    for text in [answer.message().to_owned(), decision.text()] {
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']), "a control character");
        assert!(text.lines().all(|line| !line.starts_with("allowed")), "a line of somebody else's");
    }
    let whole = serde_json::to_string(&answer).unwrap();
    assert!(whole.len() < 150_000, "{}", whole.len());
    assert!(decision.respond("u", true).message().len() == answer.message().len());
}

#[test]
fn an_undecodable_review_is_denied() {
    let value = serde_json::to_value(deny_undecodable("u", "why")).unwrap();
    assert_eq!(value["response"]["allowed"], false);
    assert_eq!(value["response"]["status"]["code"], 400);
}

#[test]
fn messages_and_traces_tell_policies_of_namespaces_from_those_of_the_cluster() {
    let decision =
        Decision::new(vec![image(Finding::Judged(vec![of_namespace("Enforce"), fail("Enforce")]))], Unmatched::Deny);
    let message = decision.respond("u", false).message().to_owned();
    assert!(message.contains("policy team-a/p: ") && message.contains("policy Enforce: "), "{message}");
    let trace = serde_json::to_value(decision.trace()).unwrap();
    let verdicts = &trace["images"][0]["verdicts"];
    assert_eq!(verdicts[0]["kind"], "SignaturePolicy");
    assert_eq!((&verdicts[0]["namespace"], &verdicts[0]["policy"]), (&json!("team-a"), &json!("team-a/p")));
    assert_eq!(verdicts[1]["kind"], "ClusterSignaturePolicy");
    assert_eq!(verdicts[1].get("namespace"), None);
}

/// Only the nearest misses are shown, or even kept; how many there were is said.
#[test]
fn what_is_not_shown_is_counted() {
    use crate::verify::fixtures::{DSSE, candidate, root, slsa};
    use crate::verify::{Anchor, gather};
    let (artifact, _, annotations) = slsa();
    let policy = Policy::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["**"], "authorities": [{"name": "a",
            "keyless": {"trustRoot": "public-good", "identities": [{"issuer": {"regex": ".*"}, "subject": {"regex": ".*"}}]}}]},
    }))
    .unwrap();
    let roots = crate::trust::TrustRoots::embedded().unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    for (count, more) in [(4, None), (5, Some(1)), (100, Some(96))] {
        let candidates = vec![candidate(DSSE, b"{}".to_vec(), annotations.clone()); count];
        let gathered = gather(&candidates, &artifact, &[Anchor::Root(root("public-good"))]);
        let verdict =
            crate::policy::evaluate(&policy, &gathered, &[], &roots, &crate::revocation::Revocations::none(), now);
        let text = Decision::new(vec![image(Finding::Judged(vec![verdict]))], Unmatched::Deny).text();
        assert_eq!(text.matches("found: ").count(), 4, "{text}");
        match more {
            None => assert!(!text.contains("more"), "{text}"),
            Some(more) => assert!(text.contains(&format!("and {more} more")), "{text}"),
        }
    }
}
