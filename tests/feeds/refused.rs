//! What no feed can do: weaken what the cluster demands, go back, or count when its metadata does not.

use super::*;

const APP: &str = "registry.example/app";

#[tokio::test]
async fn a_feed_adds_demands_and_never_takes_one_away() {
    let bench = Bench::start(&json!([])).await;
    let rules = rules(&json!({}));
    bench.feeds.declare(&rules);
    let image = bench.image("app", ALICE);
    let (good, bad) = ([cluster_policy(ALICE)], [cluster_policy(BOB)]);
    let mut warns = feed_policy(BOB, APP);
    warns["spec"]["action"] = json!("Warn");
    let mut namespaced = feed_policy(ALICE, APP);
    namespaced["metadata"]["name"] = json!("own");
    let mut lenient = object("CountersignConfig", "cluster", &json!({"unmatched": "Allow"}));
    lenient["metadata"]["namespace"] = json!("team-a");
    let exception =
        object("SignaturePolicyException", "x", &json!({"policy": {"kind": "ClusterSignaturePolicy", "name": "p"}}));
    let mut same_name = cluster_policy(ALICE);
    same_name["spec"]["action"] = json!("Audit");
    let unmatched: [Value; 0] = [];
    let table: [(&str, Value, &[Value], Answer, &str); 10] = [
        ("a demand that is met", json!([feed_policy(ALICE, APP)]), &good, Answer::Allow, "f (feed acme): satisfied"),
        ("a demand that is not", json!([feed_policy(BOB, APP)]), &good, Answer::Deny, "f (feed acme): not"),
        ("one that warns", json!([warns]), &good, Answer::Allow, "(warns only)"),
        ("in place of the cluster's", json!([feed_policy(ALICE, APP)]), &bad, Answer::Deny, "policy p: not"),
        ("where nothing else matches", json!([feed_policy(ALICE, APP)]), &unmatched, Answer::Deny, "[Unmatched]"),
        ("other rules", json!([lenient]), &unmatched, Answer::Deny, "[Unmatched]"),
        ("a lift", json!([exception]), &bad, Answer::Deny, "policy p: not"),
        ("the cluster's policy", json!([same_name]), &bad, Answer::Deny, "policy p: not"),
        ("nothing", json!([]), &bad, Answer::Deny, "policy p: not"),
        (
            "of a namespace beside it",
            json!([feed_policy(BOB, APP)]),
            std::slice::from_ref(&namespaced),
            Answer::Deny,
            "own: satisfied",
        ),
    ];
    for (what, feed, policies, expected, said) in table {
        bench.deliver(&feed);
        bench.delivered().await;
        let (answer, text) = bench.judge(&image, APP, policies, &rules).await;
        assert_eq!(answer, expected, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
    }
    // The namespace's own policy is a match as far as it is delegated; a feed's never is.
    bench.deliver(&json!([]));
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &[namespaced], &rules).await.0, Answer::Allow);
}

#[tokio::test]
async fn a_feed_that_is_out_of_bounds_is_refused_object_by_object() {
    let bench = Bench::start(&json!([])).await;
    let rules = rules(&json!({}));
    bench.feeds.declare(&rules);
    let (image, policies) = (bench.image("app", ALICE), [cluster_policy(ALICE)]);
    bench.deliver(&json!([feed_policy(BOB, "registry.example/other"), feed_policy(BOB, "**")]));
    let status = bench.delivered().await;
    assert_eq!((status.policies, status.refused.len()), (0, 2), "{status:?}");
    for repository in [APP, "registry.example/other"] {
        assert_eq!(bench.judge(&image, repository, &policies, &rules).await.0, Answer::Allow, "{repository}");
    }
    // What it may speak of, said so that nobody understands it, denies there.
    let mut misspelt = feed_policy(ALICE, APP);
    misspelt["spec"]["exclud"] = json!([]);
    bench.deliver(&json!([misspelt]));
    bench.delivered().await;
    let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
    assert_eq!(answer, Answer::Undecided, "{text}");
    assert!(text.contains("[PolicyInvalid]"), "{text}");
    assert_eq!(bench.judge(&image, "registry.example/other", &policies, &rules).await.0, Answer::Allow);
}

#[tokio::test]
async fn expired_metadata_is_no_delivery_and_ends_freshness() {
    let bench = Bench::start(&json!([])).await;
    let rules = rules(&json!({"maxAge": "7d"}));
    bench.served.edit(|repository| {
        repository.expire(&later(1));
        repository.publish();
    });
    bench.feeds.declare(&rules);
    let status = bench.delivered().await;
    assert_eq!((status.expires, status.fresh_until), (Some(later(1)), Some(later(1))), "the sooner of both");
    let (image, policies) = (bench.image("app", ALICE), [cluster_policy(ALICE)]);
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Allow);
    bench.set_clock(later(2));
    assert_eq!(bench.failed().await, "TufMetadataExpired");
    // The root is past its time too; what does not need it shows the feed alone.
    let key_policies: [Value; 0] = [];
    let (answer, text) = bench.judge(&image, APP, &key_policies, &rules).await;
    assert!(answer != Answer::Allow && text.contains("[FeedStale]"), "{text}");
    bench.served.edit(|repository| {
        repository.expire(&later(3));
        repository.publish();
    });
    bench.until("fresh", |status| status.fresh_until == Some(later(3))).await;
    let (_, text) = bench.judge(&image, APP, &key_policies, &rules).await;
    assert!(!text.contains("[FeedStale]"), "{text}");
}

#[tokio::test]
async fn a_repository_that_goes_back_is_refused_and_what_it_struck_out_stays() {
    let bench = Bench::start(&json!([])).await;
    let (rules, policies) = (rules(&json!({})), [cluster_policy(ALICE)]);
    let image = bench.image("app", ALICE);
    bench.feeds.declare(&rules);
    bench.delivered().await;
    let before = bench.served.edit(|repository| repository.clone());
    bench.deliver(&json!([revocation(&json!({"artifacts": [{"digest": image.digest()}]}))]));
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Deny);
    let newest = bench.served.edit(|repository| std::mem::replace(repository, before));
    assert_eq!(bench.failed().await, "TufRollback");
    let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
    assert_eq!(answer, Answer::Deny, "{text}");
    // The same repository, and then a newer one, is taken again.
    bench.served.edit(|repository| *repository = newest);
    bench.delivered().await;
    bench.deliver(&json!([]));
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Allow);
}

#[tokio::test]
async fn a_restart_that_forgets_what_was_accepted_of_the_root_brings_no_older_feed_back() {
    let mut bench = Bench::start(&json!([])).await;
    let (rules, policies) = (rules(&json!({})), [cluster_policy(ALICE)]);
    let image = bench.image("app", ALICE);
    bench.feeds.declare(&rules);
    bench.delivered().await;
    let before = bench.served.edit(|repository| repository.clone());
    bench.deliver(&json!([revocation(&json!({"artifacts": [{"digest": image.digest()}]}))]));
    bench.delivered().await;
    let kept = async {
        while bench.kept_feeds.load("acme").await.unwrap().is_none_or(|kept| kept.content == "[]") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, kept).await.expect("hangs");
    let newest = bench.served.edit(|repository| std::mem::replace(repository, before));
    bench.kept_roots = Arc::default();
    bench.restart();
    bench.feeds.declare(&rules);
    assert_eq!(bench.failed().await, "TufRollback");
    let (answer, text) = bench.judge(&image, APP, &policies, &rules).await;
    assert_eq!(answer, Answer::Deny, "{text}");
    assert_ne!(bench.kept_feeds.load("acme").await.unwrap().unwrap().content, "[]");
    // The version that was accepted is taken again, and so is a newer one.
    bench.served.edit(|repository| *repository = newest);
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Deny);
    bench.deliver(&json!([]));
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Allow);
    // Versions of another repository are none of this one.
    let mut other = Repository::new(TRUSTED_ROOT, bench.sigstore.root().json().as_bytes());
    other.deliver(FEED, &bytes(&json!([feed_policy(BOB, APP)])));
    assert!(bench.served.edit(|repository| repository.targets_version) > other.targets_version);
    bench.served.edit(|repository| *repository = other);
    bench.declare_root();
    bench.delivered().await;
    assert_eq!(bench.judge(&image, APP, &policies, &rules).await.0, Answer::Deny);
}
