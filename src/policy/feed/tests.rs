//! What of a feed is in force: each object that is has twins in which one thing lies outside of what the feed may speak of.

use serde_json::json;

use super::*;
use crate::image::ImageReference;
use crate::policy::{ClusterRules, Namespace, NamespaceLabels, Scope, Snapshot, Unmatched};
use crate::trust::TrustRoots;

const ISSUER: &str = "https://issuer";

fn rules() -> ClusterRules {
    ClusterRules::parse(&json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "CountersignConfig", "metadata": {"name": "cluster"},
        "spec": {"unmatched": "Deny", "feeds": [{"name": "acme", "trustRoot": "acme", "target": "feed.json", "maxAge": "24h",
            "allow": {"images": ["ghcr.io/acme/**"], "issuers": [ISSUER]}}]},
    }))
    .unwrap()
}

fn parse(objects: &Value) -> Feed {
    Feed::parse(&serde_json::to_vec(objects).unwrap(), &rules().feeds()[0]).unwrap()
}

fn policy(change: &dyn Fn(&mut Value)) -> Value {
    let mut object = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignaturePolicy",
        "metadata": {"name": "p", "namespace": "team-a"},
        "spec": {"images": ["ghcr.io/acme/app/*"], "authorities": [{"name": "a", "keyless": {"trustRoot": "public-good",
            "identities": [{"issuer": {"exact": ISSUER}, "subject": {"exact": "s"}}]}}]},
    });
    change(&mut object);
    object
}

#[test]
fn policies_are_taken_as_far_as_the_feed_may_speak() {
    let identity = "/spec/authorities/0/keyless/identities/0";
    let set =
        |pointer: &'static str, value: Value| policy(&|object| *object.pointer_mut(pointer).unwrap() = value.clone());
    let feed = parse(&json!([policy(&|_| {})]));
    assert_eq!((feed.policies().len(), feed.invalid().len(), feed.refused()), (1, 0, &[][..]));
    let name = feed.policies()[0].name();
    assert_eq!((name.as_str(), name.feed()), ("team-a/p (feed acme)", Some("acme")));
    let refused: Vec<(&str, Value)> = vec![
        ("other images", set("/spec/images/0", json!("ghcr.io/other/*"))),
        ("more images", set("/spec/images/0", json!("ghcr.io/**"))),
        ("any images", set("/spec/images/0", json!("**"))),
        ("images beside the allowed", set("/spec/images", json!(["ghcr.io/acme/*", "quay.io/acme/*"]))),
        ("another issuer", set("/spec/authorities/0/keyless/identities/0/issuer", json!({"exact": "https://other"}))),
        ("any issuer", set("/spec/authorities/0/keyless/identities/0/issuer", json!({"glob": "*"}))),
        (
            "a role",
            set("/spec/authorities/0/keyless/identities/0", json!({"tufRole": {"trustRoot": "r", "role": "d"}})),
        ),
        ("a policy of the cluster", set("/kind", json!("ClusterSignaturePolicy"))),
        ("the cluster's rules", set("/kind", json!("CountersignConfig"))),
        ("a lift", set("/kind", json!("SignaturePolicyException"))),
        ("a trust root", set("/kind", json!("SignatureTrustRoot"))),
        ("no object", json!("SignaturePolicy")),
    ];
    assert!(policy(&|_| {}).pointer(identity).is_some());
    for (what, object) in refused {
        let feed = parse(&json!([object, policy(&|_| {})]));
        assert_eq!((feed.policies().len(), feed.invalid().len(), feed.refused().len()), (1, 0, 1), "{what}: {feed:?}");
    }
    // What it may speak of and nobody understands denies there, and nowhere else.
    let images = |object: Value| {
        let feed = parse(&json!([object]));
        assert_eq!((feed.policies().len(), feed.refused().len()), (0, 1), "{feed:?}");
        feed.invalid().first().map(|invalid| invalid.images.clone().unwrap()[0].to_string())
    };
    let misspelt = |pointer: &'static str, value: Value| {
        let mut object = set(pointer, value);
        object["spec"]["exclud"] = json!([]);
        object
    };
    assert_eq!(images(misspelt("/kind", json!("SignaturePolicy"))).as_deref(), Some("ghcr.io/acme/app/*"));
    assert_eq!(images(misspelt("/spec/images", json!(["ghcr.io/acme/app:1"]))).as_deref(), Some("ghcr.io/acme/**"));
    assert_eq!(images(misspelt("/spec/images", json!(["**"]))), None);
}

#[test]
fn revocations_are_taken_as_far_as_the_feed_may_speak() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let object = |spec: Value| {
        json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation", "metadata": {"name": "bad"},
            "spec": spec})
    };
    let (key, reason) = (json!([{"sha256": "ab".repeat(32)}]), "stolen");
    let artifact = json!([{"digest": digest}]);
    let identity = |issuer: Option<&str>| {
        let mut identity = json!({"subject": {"exact": "s"}});
        if let Some(issuer) = issuer {
            identity["issuer"] = json!(issuer);
        }
        json!([identity])
    };
    let feed =
        parse(&json!([object(json!({"artifacts": artifact, "identities": identity(Some(ISSUER)), "reason": reason}))]));
    assert_eq!(feed.refused(), &[][..]);
    let revocation = &feed.revocations()[0];
    assert_eq!((revocation.name(), revocation.artifacts().len()), ("bad (feed acme)", 1));
    // Each does nothing, and keeps nothing beside it from acting.
    let refused = [
        ("keys", key.clone()),
        ("certificates", key),
        ("services", json!([{"log": "ab".repeat(32)}])),
        ("identities", identity(Some("https://other"))),
        ("identities", identity(None)),
        ("artifacts", json!([{"digest": "sha256:ab"}, {"digest": digest}])),
        ("keys", json!("all")),
    ];
    for (field, entries) in refused {
        let mut spec = json!({"artifacts": artifact, "reason": reason});
        spec[field] = entries.clone();
        let feed = parse(&json!([object(spec)]));
        assert_eq!(feed.refused().len(), 1, "{field} {entries}: {feed:?}");
        let alone = Revocation::parse(&object(json!({"artifacts": artifact, "reason": reason}))).unwrap();
        assert_eq!(feed.revocations()[0].artifacts(), alone.artifacts(), "{field} {entries}");
        let mut spec = json!({"reason": reason});
        spec[field] = if field == "artifacts" { json!([]) } else { entries };
        assert!(parse(&json!([object(spec)])).revocations()[0].is_empty(), "{field}");
    }
    // What a status says was found below an index was found by nobody.
    let mut with_status = object(json!({"artifacts": artifact, "reason": reason}));
    with_status["status"] = json!({"descendants": [format!("sha256:{}", "cd".repeat(32))]});
    assert_eq!(parse(&json!([with_status])).revocations()[0].descendants(), &[]);
    let nameless = json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation", "spec": {}});
    let feed = parse(&json!([nameless]));
    assert_eq!((feed.revocations().len(), feed.refused().len()), (0, 1));
}

#[test]
fn what_is_no_feed_is_refused_as_a_whole() {
    let rules = rules();
    let read = |bytes: &[u8]| Feed::parse(bytes, &rules.feeds()[0]).map(|feed| feed.policies().len());
    let one = serde_json::to_string(&policy(&|_| {})).unwrap();
    assert_eq!(read(one.as_bytes()), Ok(1));
    assert_eq!(read(format!("{one}\n{one}").as_bytes()), Ok(2));
    assert_eq!(read(format!("[{one},{one}]\n{one}\n").as_bytes()), Ok(3));
    assert_eq!(read(b""), Ok(0));
    let code = |bytes: &[u8]| read(bytes).unwrap_err().code();
    for bytes in [&b"{"[..], b"[1,", b"a: [", b"\xff", b"{} x", br#"{"a": 1, "a": 2}"#] {
        assert_eq!(code(bytes), "FeedMalformed", "{bytes:?}");
    }
    assert_eq!(code(&vec![b' '; BYTES_LIMIT + 1]), "FeedTooLarge");
    assert_eq!(code(format!("[{}0]", "0,".repeat(OBJECTS_LIMIT)).as_bytes()), "FeedTooLarge");
    assert_eq!(read(format!("[{}0]", "0,".repeat(OBJECTS_LIMIT - 1)).as_bytes()), Ok(0));
}

#[test]
fn what_a_feed_may_speak_of_is_unjudged_while_it_is_not_fresh() {
    let until: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    let after = until + jiff::SignedDuration::from_nanos(1);
    let delivered = || Some(Arc::new(parse(&json!([policy(&|_| {})]))));
    let table = [
        ("fresh", FeedState { delivered: delivered(), fresh_until: Some(until), problem: None }, until, None),
        (
            "fresh, and the last attempt failed",
            FeedState { delivered: delivered(), fresh_until: Some(until), problem: Some("x".into()) },
            until,
            None,
        ),
        (
            "stale",
            FeedState { delivered: delivered(), fresh_until: Some(until), problem: None },
            after,
            Some("FeedStale"),
        ),
        ("undated", FeedState { delivered: delivered(), ..FeedState::default() }, until, Some("FeedUnavailable")),
        ("never delivered", FeedState::default(), until, Some("FeedUnavailable")),
    ];
    let scope = Scope::Namespace(Namespace { name: "team-a".into(), labels: NamespaceLabels::Unknown });
    for (what, state, now, code) in table {
        let has_policy = state.delivered.is_some();
        let mut feeds = Feeds::default();
        feeds.insert("acme", state);
        let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Deny).with_rules(rules()).with_feeds(feeds);
        let problems = |image: &str| {
            let image = ImageReference::parse(image).unwrap();
            let found = snapshot.problems(image.repository(), image.digest(), now);
            // Its policies stay in force, however old they are.
            let selected = snapshot.select(image.repository(), image.digest(), &scope);
            (found.first().map(FeedProblem::code), selected.policies.len())
        };
        assert_eq!(problems("ghcr.io/acme/app/x:1"), (code, usize::from(has_policy)), "{what}");
        assert_eq!(problems("ghcr.io/other/app:1"), (None, 0), "{what}");
        assert_eq!(snapshot.problems_of_any(now).len(), usize::from(code.is_some()), "{what}");
    }
    let unknown = Snapshot::new(TrustRoots::default(), Unmatched::Deny).with_rules(rules());
    let image = ImageReference::parse("ghcr.io/acme/app/x:1").unwrap();
    assert_eq!(unknown.problems(image.repository(), None, until)[0].code(), "FeedUnavailable");
}
