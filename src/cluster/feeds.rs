//! Feeds in the cluster: where their deliveries are kept, and what the `CountersignConfig` says of them.
//!
//! The replica that keeps a delivery does not replace one that is newer, or came later. What is said is for people; nothing that judges reads it.

use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::conditions::{Condition, Truth, Wanted, bounded, seconds};
use super::ledger::{Document, Ledger, LedgerError};
use crate::feeds::{FeedArchive, FeedStatus, FeedStore, Kept};
use crate::policy::ClusterRules;

/// Attempts to keep a delivery, where another replica writes at the same time.
const ATTEMPTS: usize = 3;
/// Whether what every feed delivered last is fresh.
pub(super) const FRESH: &str = "FeedsFresh";
/// Whether the last fetch of every feed succeeded, and all that it holds is in force.
pub(super) const DELIVERED: &str = "FeedsDelivered";
/// Problems of one feed that a status names.
const SHOWN: usize = 8;
/// Bytes of one of them.
const SHOWN_BYTES: usize = 512;

/// Keeps what feeds delivered in documents named `feed-` and the feed's name.
pub struct LedgerFeedArchive<L> {
    ledger: L,
}

impl<L> LedgerFeedArchive<L> {
    /// In the documents of this ledger.
    pub fn new(ledger: L) -> Self {
        Self { ledger }
    }
}

impl<L> fmt::Debug for LedgerFeedArchive<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LedgerFeedArchive")
    }
}

fn document(feed: &str) -> String {
    format!("feed-{feed}")
}

fn kept(found: Option<&Document>) -> Option<Kept> {
    serde_json::from_value(found?.content.clone()).ok()
}

impl<L: Ledger> LedgerFeedArchive<L> {
    async fn load_now(&self, feed: &str) -> Result<Option<Kept>, String> {
        match self.ledger.load(&document(feed)).await {
            Ok(found) => Ok(kept(found.as_ref())),
            // Waiting would not make it better.
            Err(error @ LedgerError::Malformed { .. }) => {
                tracing::error!(feed, %error, "what was kept of a feed is lost");
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn save_now(&self, feed: &str, delivery: &Kept) -> Result<(), String> {
        let name = document(feed);
        let content = serde_json::to_value(delivery).map_err(|error| error.to_string())?;
        for _ in 0..ATTEMPTS {
            let found = self.ledger.load(&name).await.map_err(|error| error.to_string())?;
            if kept(found.as_ref()).is_some_and(|before| !delivery.replaces(&before)) {
                return Ok(());
            }
            match self.ledger.save(&name, &content, found.as_ref().map(|found| &found.version)).await {
                Ok(_) => return Ok(()),
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("somebody else writes it all the time".to_owned())
    }
}

impl<L: Ledger> FeedArchive for LedgerFeedArchive<L> {
    fn load<'a>(&'a self, feed: &'a str) -> BoxFuture<'a, Result<Option<Kept>, String>> {
        self.load_now(feed).boxed()
    }

    fn save<'a>(&'a self, feed: &'a str, kept: Kept) -> BoxFuture<'a, Result<(), String>> {
        async move { self.save_now(feed, &kept).await }.boxed()
    }
}

/// What the object says of the feeds that its rules name.
pub(super) fn wanted(rules: &ClusterRules, store: &FeedStore, now: Timestamp) -> Wanted {
    let known: Vec<(&str, FeedStatus)> =
        rules.feeds().iter().map(|rule| (rule.name(), store.status(rule.name()).unwrap_or_default())).collect();
    let described: Vec<Value> = known.iter().map(|(name, status)| described(name, status)).collect();
    let feeds = (!described.is_empty()).then_some(Value::Array(described));
    Wanted::default()
        .condition(FRESH, fresh(rules, store, now))
        .condition(DELIVERED, delivered(&known))
        .field("feeds", feeds)
}

fn fresh(rules: &ClusterRules, store: &FeedStore, now: Timestamp) -> Condition {
    let feeds = store.feeds();
    let problems: Vec<_> = rules.feeds().iter().filter_map(|rule| feeds.staleness(rule, now)).collect();
    match problems.first() {
        None if rules.feeds().is_empty() => Condition::new(Truth::True, "NoFeeds", "there are no feeds"),
        None => Condition::new(Truth::True, "Fresh", "every feed was delivered in time"),
        Some(first) => {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let message = format!("{}; images that they may speak of are denied", all.join("; "));
            Condition::new(Truth::False, first.code(), message)
        }
    }
}

fn delivered(known: &[(&str, FeedStatus)]) -> Condition {
    let failed = known.iter().filter_map(|(name, status)| {
        let (code, reason) = status.failure.as_ref()?;
        Some((*code, format!("{name}: {reason} ({} in a row)", status.failures)))
    });
    let unkept = known.iter().filter_map(|(name, status)| {
        Some(("FeedUnkept", format!("{name}: a restart would forget what it delivered: {}", status.unkept.as_ref()?)))
    });
    let refused = known.iter().filter(|(_, status)| !status.refused.is_empty()).map(|(name, status)| {
        ("FeedObjectsRefused", format!("{name}: {} of what it holds is not in force", status.refused.len()))
    });
    let problems: Vec<(&'static str, String)> = failed.chain(unkept).chain(refused).collect();
    match problems.first() {
        None if known.is_empty() => Condition::new(Truth::True, "NoFeeds", "there are no feeds"),
        None => Condition::new(Truth::True, "Delivered", "every feed was delivered, and all of it is in force"),
        Some((code, _)) => {
            let all: Vec<&str> = problems.iter().map(|(_, problem)| problem.as_str()).collect();
            Condition::new(Truth::False, code, all.join("; "))
        }
    }
}

fn described(name: &str, status: &FeedStatus) -> Value {
    let failure = status.failure.iter().map(|(code, reason)| format!("{reason} [{code}]"));
    let refused = status.refused.iter().map(|refused| format!("{}: {}", refused.object, refused.reason));
    let problems = failure.chain(refused).take(SHOWN).map(|problem| bounded(&problem, SHOWN_BYTES));
    let mut described = json!({
        "name": name, "revocations": status.revocations, "policies": status.policies, "refused": status.refused.len(),
        "problems": problems.collect::<Vec<_>>(),
    });
    let time = |time: Option<Timestamp>| time.map(|time| json!(seconds(time)));
    let digest = status.digest.as_ref().map(|digest| json!(digest.to_string()));
    let optional = [
        ("deliveredAt", time(status.delivered)),
        ("freshUntil", time(status.fresh_until)),
        ("expires", time(status.expires)),
        ("digest", digest),
    ];
    if let Some(fields) = described.as_object_mut() {
        fields.extend(optional.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))));
    }
    described
}

/// Feeds of which none ever comes.
#[cfg(test)]
pub(super) fn none() -> std::sync::Arc<FeedStore> {
    use std::sync::Arc;

    use crate::feeds::{FeedStoreOptions, MemoryFeedArchive};
    use crate::trust::TrustRoots;
    use crate::trust_store::{MemoryArchive, TrustStore, TrustStoreOptions};
    let clock = || Arc::new(|| Timestamp::UNIX_EPOCH);
    let options = TrustStoreOptions::new(TrustRoots::default(), clock());
    let trust = TrustStore::new(options, Arc::new(MemoryArchive::default()));
    FeedStore::new(FeedStoreOptions::new(clock()), trust, Arc::new(MemoryFeedArchive::default()))
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeCluster;
    use super::super::ledger::ConfigMapLedger;
    use super::*;

    fn delivery(hour: i64, content: &str) -> Kept {
        let at = |hour: i64| Timestamp::new(hour * 3_600, 0).unwrap();
        let (trust_root, pinned, target) = ("own".to_owned(), "sha256:ab".to_owned(), "feed.json".to_owned());
        let content = content.to_owned();
        Kept { trust_root, pinned, target, delivered: at(hour), expires: at(100), version: 1, content }
    }

    #[tokio::test]
    async fn a_delivery_is_kept_and_replaces_none_that_came_later() {
        let cluster = FakeCluster::default();
        let archive = || LedgerFeedArchive::new(ConfigMapLedger::new(cluster.client(), "ours"));
        assert_eq!(archive().load("acme").await, Ok(None));
        let (first, second) = (delivery(1, "[]"), delivery(2, "[{}]"));
        archive().save("acme", second.clone()).await.unwrap();
        archive().save("acme", first.clone()).await.unwrap();
        assert_eq!(archive().load("acme").await, Ok(Some(second)));
        // An older version never replaces a newer one, whenever it was delivered; where it is not said whose it is, neither.
        let newer = Kept { version: 2, ..first.clone() };
        archive().save("acme", newer.clone()).await.unwrap();
        let of_whom = |pinned: &str| Kept { pinned: pinned.to_owned(), ..delivery(3, "[1]") };
        for older in [delivery(3, "[1]"), of_whom("")] {
            archive().save("acme", older).await.unwrap();
            assert_eq!(archive().load("acme").await, Ok(Some(newer.clone())));
        }
        // Of another repository, nothing is later.
        for other in [of_whom("sha256:cd"), Kept { trust_root: "other".to_owned(), ..first }] {
            archive().save("acme", other.clone()).await.unwrap();
            assert_eq!(archive().load("acme").await, Ok(Some(other)));
        }
        assert_eq!(archive().load("other").await, Ok(None));
        let map = "/api/v1/namespaces/ours/configmaps";
        for document in [json!({"document.json": "{"}), json!({"document.json": "{}"})] {
            cluster.put(map, "countersign-feed-acme", json!({"data": document}));
            assert_eq!(archive().load("acme").await, Ok(None), "{document}");
        }
        cluster.fail(503);
        assert!(archive().load("acme").await.is_err() && archive().save("acme", delivery(9, "[]")).await.is_err());
    }

    #[tokio::test]
    async fn the_object_says_which_feed_is_not_fresh_and_why() {
        let store = none();
        let rules = |feeds: Value| {
            ClusterRules::parse(&json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "CountersignConfig",
                "metadata": {"name": "cluster"}, "spec": {"feeds": feeds}}))
            .unwrap()
        };
        let feed = json!({"name": "acme", "trustRoot": "own", "target": "feed.json", "maxAge": "1h",
            "allow": {"images": ["ghcr.io/acme/**"]}});
        let reasons = |wanted: &Wanted| [FRESH, DELIVERED].map(|kind| wanted.conditions[kind].reason);
        let nothing = wanted(&rules(json!([])), &store, Timestamp::UNIX_EPOCH);
        assert_eq!((reasons(&nothing), nothing.fields["feeds"].is_null()), (["NoFeeds"; 2], true));
        let rules = rules(json!([feed]));
        store.declare(&rules);
        let mut changed = store.changed();
        while store.status("acme").unwrap().failure.is_none() {
            changed.changed().await.unwrap();
        }
        let said = wanted(&rules, &store, Timestamp::UNIX_EPOCH);
        assert_eq!(reasons(&said), ["FeedUnavailable", "TufNotDeclared"]);
        assert!(said.conditions[FRESH].message.contains("acme"), "{said:?}");
        let feeds = &said.fields["feeds"];
        assert_eq!((&feeds[0]["name"], &feeds[0]["policies"]), (&json!("acme"), &json!(0)));
        assert!(feeds[0]["problems"][0].as_str().unwrap().ends_with("[TufNotDeclared]"), "{feeds}");
    }
}
