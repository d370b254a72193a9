//! What a feed delivers takes away, at once and for as long as nothing newer is delivered.

use super::*;

const APP: &str = "registry.example/app";
const OTHER: &str = "registry.example/other";

#[tokio::test]
async fn a_delivered_revocation_acts_on_what_it_names() {
    let bench = Bench::start(&json!([])).await;
    let (rules, policies) = (rules(&json!({})), [cluster_policy(ALICE)]);
    bench.feeds.declare(&rules);
    bench.delivered().await;
    let image = bench.image("app", ALICE);
    let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
    assert_eq!(answer, Answer::Allow, "{text}");
    let digest = image.digest();
    let stranger = format!("sha256:{}", "ab".repeat(32));
    let person = |person: &str, issuer: &str| json!({"identities": [{"subject": {"exact": person}, "issuer": issuer}]});
    let table = [
        (json!({"artifacts": [{"digest": digest}]}), Answer::Deny),
        (json!({"artifacts": [{"digest": stranger}]}), Answer::Allow),
        (person(ALICE, ISSUER), Answer::Deny),
        (person(BOB, ISSUER), Answer::Allow),
        // Beyond what the feed may speak of.
        (person(ALICE, "https://other.example.com"), Answer::Allow),
        (json!({"identities": [{"subject": {"exact": ALICE}}]}), Answer::Allow),
        // Beside what does nothing, what names something acts.
        (
            json!({"artifacts": [{"digest": "sha256:ab"}, {"digest": digest}], "keys": [{"sha256": "ab".repeat(32)}]}),
            Answer::Deny,
        ),
    ];
    for (spec, expected) in table {
        bench.deliver(&json!([revocation(&spec)]));
        assert_eq!(bench.delivered().await.revocations, 1);
        // Wherever the image is.
        for repository in [APP, OTHER] {
            let (answer, text) = bench.judge(&image, repository, &policies, &rules).await;
            assert_eq!(answer, expected, "{spec} {repository}: {text}");
            let is_told = text.contains("r (feed acme)") && text.contains("stolen");
            assert_eq!(is_told, expected == Answer::Deny, "{spec}: {text}");
        }
    }
    // It is lifted as it came.
    bench.deliver(&json!([]));
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Allow);
}

#[tokio::test]
async fn what_was_delivered_outlives_its_freshness_and_a_restart() {
    let mut bench = Bench::start(&json!([])).await;
    let (rules, policies) = (rules(&json!({})), [cluster_policy(ALICE)]);
    let (revoked, image) = (bench.image("revoked", ALICE), bench.image("app", ALICE));
    bench.deliver(&json!([revocation(&json!({"artifacts": [{"digest": revoked.digest()}]}))]));
    bench.feeds.declare(&rules);
    bench.delivered().await;
    bench.served.behave(Manner::Status(503));
    bench.failed().await;
    for restarted in [false, true] {
        if restarted {
            bench.restart();
            // A request that is judged now would wait for this.
            bench.feeds.declare(&rules);
            bench.feeds.settled().await;
            bench.trust.settled().await;
        }
        // Both ends of the time.
        bench.set_clock(later(12));
        assert_eq!(bench.judge(&revoked, APP, &policies, &rules).await.0, Answer::Deny, "{restarted}");
        assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Allow, "{restarted}");
        bench.set_clock(later(12) + jiff::SignedDuration::from_secs(1));
        let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
        assert_eq!(answer, Answer::Undecided, "{restarted}: {text}");
        assert!(text.contains("[FeedStale]"), "{text}");
        // Only what it may speak of is open; and what it struck out stays so.
        assert_eq!(bench.judge(&image, OTHER, &policies, &rules).await.0, Answer::Allow, "{restarted}");
        assert_eq!(bench.judge(&revoked, OTHER, &policies, &rules).await.0, Answer::Deny, "{restarted}");
        bench.set_clock(noon());
    }
    bench.set_clock(later(13));
    bench.served.behave(Manner::Honest);
    bench.until("fresh", |status| status.fresh_until == Some(later(25))).await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Allow);
}

#[tokio::test]
async fn a_feed_that_never_came_leaves_its_images_open() {
    let bench = Bench::start(&json!([])).await;
    let policies = [cluster_policy(ALICE)];
    let image = bench.image("app", ALICE);
    for (what, further) in [
        ("another target", json!({"target": "other.json"})),
        ("another root", json!({"trustRoot": "other"})),
        ("a target that is no feed", json!({"target": "broken.json"})),
    ] {
        bench.served.edit(|repository| repository.deliver("broken.json", b"{"));
        let rules = rules(&further);
        bench.feeds.declare(&rules);
        bench.failed().await;
        let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
        assert_eq!(answer, Answer::Undecided, "{what}: {text}");
        assert!(text.contains("[FeedUnavailable]"), "{what}: {text}");
        assert_eq!(bench.judge(&image, OTHER, &policies, &rules).await.0, Answer::Allow, "{what}");
    }
    // Taken out of the rules, it is asked about no more.
    let none = ClusterRules::without_object(Unmatched::Deny);
    bench.feeds.declare(&none);
    assert!(bench.feeds.status("acme").is_none());
    assert_eq!(bench.judge(&image, APP, &policies, &none).await.0, Answer::Allow);
}

#[tokio::test]
async fn a_rule_that_changes_is_held_against_what_was_delivered() {
    let bench = Bench::start(&json!([feed_policy(BOB, APP)])).await;
    let (narrow, policies) = (rules(&json!({})), [cluster_policy(ALICE)]);
    let image = bench.image("app", ALICE);
    bench.feeds.declare(&narrow);
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &narrow).await.0, Answer::Deny);
    bench.served.behave(Manner::Status(503));
    bench.failed().await;
    let elsewhere = rules(&json!({"allow": {"images": [OTHER], "issuers": [ISSUER]}}));
    bench.feeds.declare(&elsewhere);
    let status = bench.feeds.status("acme").unwrap();
    assert_eq!((status.policies, status.refused.len(), status.delivered), (0, 1, Some(noon())));
    assert_eq!(bench.judge(&image, APP, &policies, &elsewhere).await.0, Answer::Allow);
    // Of another target, what this one delivered says nothing.
    let other = rules(&json!({"target": "other.json"}));
    bench.feeds.declare(&other);
    assert_eq!(bench.feeds.status("acme").unwrap().delivered, None);
}

#[tokio::test]
async fn an_archive_that_cannot_be_read_at_first_is_waited_for() {
    let mut bench = Bench::start(&json!([])).await;
    let (rules, policies) = (rules(&json!({})), [cluster_policy(ALICE)]);
    let (revoked, image) = (bench.image("revoked", ALICE), bench.image("app", ALICE));
    bench.deliver(&json!([revocation(&json!({"artifacts": [{"digest": revoked.digest()}]}))]));
    bench.feeds.declare(&rules);
    bench.delivered().await;
    bench.served.behave(Manner::Status(503));
    // What was delivered is kept by then.
    bench.failed().await;
    bench.kept_feeds.failures.store(1, Ordering::SeqCst);
    bench.restart();
    bench.trust.settled().await;
    bench.feeds.declare(&rules);
    tokio::time::timeout(HANG, bench.feeds.settled()).await.expect("hangs");
    for repository in [APP, OTHER] {
        assert_eq!(bench.judge(&revoked, repository, &policies, &rules).await.0, Answer::Deny, "{repository}");
        assert_eq!(bench.judge(&image, repository, &policies, &rules).await.0, Answer::Allow, "{repository}");
    }
    // While it cannot be read, what the feed may speak of is open.
    bench.kept_feeds.failures.store(usize::MAX, Ordering::SeqCst);
    bench.restart();
    bench.trust.settled().await;
    bench.feeds.declare(&rules);
    assert_eq!(bench.failed().await, "FeedArchiveUnavailable");
    assert!(bench.feeds.settled().now_or_never().is_none(), "it is waited for");
    let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
    assert_eq!(answer, Answer::Undecided, "{text}");
    assert!(text.contains("[FeedUnavailable]"), "{text}");
}
