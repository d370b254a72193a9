//! From the stored `CountersignConfig` to the cluster's own rules: unmatched and exempt images, what namespaces may
//! govern themselves, feeds.
//!
//! Strict as for policies. Without an object the caller says what happens to unmatched images, nothing is delegated or exempt, and
//! there is no feed. An object that does not parse must not loosen anything: see [`ClusterRules::salvage`].

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use super::matcher::NameGlob;
use super::parse::{check_count, check_length, check_names, patterns, read};
use super::select::{LabelRule, globs, label_rules, may_match};
use super::window::duration;
use super::{NamespaceLabels, PolicyError, Scope, Unmatched};
use crate::api;
use crate::image::{Digest, ImagePattern, Repository};
use crate::trust::is_target_path;

const KIND: &str = "CountersignConfig";
/// The one name that a `CountersignConfig` may have.
const NAME: &str = "cluster";
/// The shortest `maxAge` of a feed.
const LEAST_MAX_AGE: SignedDuration = SignedDuration::from_mins(1);

/// The cluster's own rules.
#[derive(Clone, Debug)]
pub struct ClusterRules {
    unmatched: Unmatched,
    exemptions: Arc<[Exemption]>,
    delegations: Arc<[Delegation]>,
    feeds: Vec<Arc<FeedRule>>,
    /// Why it is not known which images a feed governs, where the stored object says so in a way that nobody understands.
    unreadable: Option<Arc<str>>,
}

/// Images that nobody verifies, and why.
#[derive(Debug)]
struct Exemption {
    images: Vec<ImagePattern>,
    /// Empty: every namespace.
    namespaces: Vec<NameGlob>,
    reason: Arc<str>,
}

/// Namespaces, and the images for which their own policies count as a match.
#[derive(Debug)]
struct Delegation {
    namespaces: Vec<LabelRule>,
    images: Vec<ImagePattern>,
}

/// A feed: where it comes from, how old it may grow, and what it may speak of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedRule {
    name: String,
    trust_root: String,
    target: String,
    max_age: SignedDuration,
    pub(super) images: Vec<ImagePattern>,
    pub(super) issuers: BTreeSet<String>,
}

impl ClusterRules {
    /// The rules where there is no object.
    pub fn without_object(unmatched: Unmatched) -> Self {
        let (exemptions, delegations) = (Arc::new([]), Arc::new([]));
        Self { unmatched, exemptions, delegations, feeds: Vec::new(), unreadable: None }
    }

    /// Whether a document says that it is a `CountersignConfig`.
    pub fn is_config(document: &Value) -> bool {
        document.get("kind").and_then(Value::as_str) == Some(KIND)
    }

    /// Parses the `CountersignConfig` as stored or as read from a file.
    ///
    /// # Errors
    /// The rule that the object breaks, with the place.
    pub fn parse(object: &Value) -> Result<Self, PolicyError> {
        let (metadata, spec) = read::<api::CountersignConfigSpec>(object, KIND)?;
        if metadata.name != NAME {
            let reason = "there is one CountersignConfig, and its name is cluster";
            return Err(PolicyError::Useless { field: "metadata.name".to_owned(), reason });
        }
        check_count("spec.exempt", spec.exempt.len(), 0, 64)?;
        let exemption = |(position, spec)| Exemption::parse(&format!("spec.exempt[{position}]"), spec);
        let exemptions: Result<Vec<_>, _> = spec.exempt.iter().enumerate().map(exemption).collect();
        check_count("spec.delegations", spec.delegations.len(), 0, 64)?;
        let delegation = |(position, spec)| Delegation::parse(&format!("spec.delegations[{position}]"), spec);
        let delegations: Result<Vec<_>, _> = spec.delegations.iter().enumerate().map(delegation).collect();
        check_count("spec.feeds", spec.feeds.len(), 0, 16)?;
        check_names("spec.feeds", spec.feeds.iter().map(|feed| feed.name.as_str()))?;
        let feed = |(position, spec)| FeedRule::parse(&format!("spec.feeds[{position}]"), spec).map(Arc::new);
        let feeds: Result<Vec<_>, _> = spec.feeds.iter().enumerate().map(feed).collect();
        Ok(Self {
            unmatched: spec.unmatched.unwrap_or(Unmatched::Deny),
            exemptions: exemptions?.into(),
            delegations: delegations?.into(),
            feeds: feeds?,
            unreadable: None,
        })
    }

    /// The rules of a stored object that [`ClusterRules::parse`] refused, where no last good form of it is known: unmatched images are
    /// denied, nothing is delegated or exempt, and feeds that can be read by themselves are in force. If one of them cannot, any image might be
    /// one that it governs, and none can be judged.
    pub fn salvage(object: &Value, error: &PolicyError) -> Self {
        let listed = object.pointer("/spec/feeds").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let read = |(position, value): (usize, &Value)| {
            let spec = api::Feed::deserialize(value).ok()?;
            FeedRule::parse(&format!("spec.feeds[{position}]"), &spec).ok().map(Arc::new)
        };
        let read: Vec<_> = listed.iter().take(16).enumerate().filter_map(read).collect();
        // Of two of one name it is open which one is meant: neither is in force.
        let is_one = |rule: &&Arc<FeedRule>| read.iter().filter(|other| other.name == rule.name).count() == 1;
        let feeds: Vec<_> = read.iter().filter(is_one).cloned().collect();
        let all_read = feeds.len() == listed.len() && object.pointer("/spec/feeds").is_none_or(Value::is_array);
        let unreadable = (!all_read).then(|| error.to_string().into());
        Self { feeds, unreadable, ..Self::without_object(Unmatched::Deny) }
    }

    /// The same rules where every image must be matched, for those who ask whether one is.
    #[must_use]
    pub fn demanding_a_match(self) -> Self {
        Self { unmatched: Unmatched::Deny, exemptions: Arc::new([]), ..self }
    }

    /// What happens to images that nothing matches.
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    /// Why an image that nothing matches is allowed all the same, if it is exempt. A digest is that which the reference names or, where
    /// the image was resolved, was found.
    pub fn exemption(&self, repository: &Repository, digest: Option<&Digest>, scope: &Scope) -> Option<&Arc<str>> {
        let holds = |exemption: &&Exemption| {
            let named = match scope {
                Scope::Namespace(namespace) => exemption.namespaces.iter().any(|glob| glob.matches(&namespace.name)),
                Scope::Anywhere => false,
            };
            (exemption.namespaces.is_empty() || named)
                && exemption.images.iter().any(|pattern| pattern.matches(repository, digest))
        };
        self.exemptions.iter().find(holds).map(|exemption| &exemption.reason)
    }

    /// The feeds, whose names differ.
    pub fn feeds(&self) -> &[Arc<FeedRule>] {
        &self.feeds
    }

    /// Why no image can be judged, if none can.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Whether anything is delegated, so that the labels of a namespace are worth a look.
    pub(super) fn delegates_something(&self) -> bool {
        !self.delegations.is_empty()
    }

    /// Whether the policies of a namespace count as a match for an image. Where the namespace's labels are not known they do not. An
    /// image by itself, on the command line, has no namespace to ask about: there they do.
    pub(super) fn delegates(&self, repository: &Repository, digest: Option<&Digest>, scope: &Scope) -> bool {
        let Scope::Namespace(namespace) = scope else { return true };
        self.delegations_to(&namespace.labels)
            .any(|delegation| delegation.images.iter().any(|pattern| pattern.matches(repository, digest)))
    }

    /// Whether the policies of a namespace with these labels count as a match for some image.
    pub fn delegates_to(&self, labels: &NamespaceLabels) -> bool {
        self.delegations_to(labels).next().is_some()
    }

    fn delegations_to<'a>(&'a self, labels: &'a NamespaceLabels) -> impl Iterator<Item = &'a Delegation> {
        let holds = |delegation: &&Delegation| match labels {
            NamespaceLabels::Known(labels) => delegation.namespaces.iter().all(|rule| rule.holds(labels)),
            NamespaceLabels::Unknown => false,
        };
        self.delegations.iter().filter(holds)
    }
}

impl Exemption {
    fn parse(field: &str, spec: &api::Exemption) -> Result<Self, PolicyError> {
        check_length(&format!("{field}.reason"), &spec.reason, 1_024)?;
        Ok(Self {
            images: patterns(&format!("{field}.images"), &spec.images, 1)?,
            namespaces: globs(&format!("{field}.namespaces"), &spec.namespaces)?,
            reason: spec.reason.as_str().into(),
        })
    }
}

impl Delegation {
    fn parse(field: &str, spec: &api::Delegation) -> Result<Self, PolicyError> {
        let selector = format!("{field}.namespaceSelector");
        let namespaces = label_rules(&selector, &spec.namespace_selector)?;
        if namespaces.is_empty() {
            let reason = "it selects every namespace; to mean that, ask that kubernetes.io/metadata.name Exists";
            return Err(PolicyError::Useless { field: selector, reason });
        }
        Ok(Self { namespaces, images: patterns(&format!("{field}.images"), &spec.images, 1)? })
    }
}

impl FeedRule {
    fn parse(field: &str, spec: &api::Feed) -> Result<Self, PolicyError> {
        let api::Feed { name, trust_root, target, max_age, allow } = spec;
        let name_field = format!("{field}.name");
        check_length(&name_field, name, 63)?;
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !name.bytes().all(is_inner) || name.starts_with('-') || name.ends_with('-') {
            let reason = "it names what is kept of the feed: lower-case letters, digits, and `-` between them";
            return Err(PolicyError::Useless { field: name_field, reason });
        }
        check_length(&format!("{field}.trustRoot"), trust_root, 253)?;
        let target_field = format!("{field}.target");
        check_length(&target_field, target, 512)?;
        if !is_target_path(target) {
            let reason = "it is no path of a target, which has no part that is empty, `.` or `..`";
            return Err(PolicyError::Useless { field: target_field, reason });
        }
        let max_age_field = format!("{field}.maxAge");
        let max_age = duration(&max_age_field, max_age)?;
        if max_age < LEAST_MAX_AGE {
            let reason = "it is shorter than a minute, within which no feed is delivered again";
            return Err(PolicyError::Useless { field: max_age_field, reason });
        }
        let issuers = format!("{field}.allow.issuers");
        check_count(&issuers, allow.issuers.len(), 0, 64)?;
        for (position, issuer) in allow.issuers.iter().enumerate() {
            check_length(&format!("{issuers}[{position}]"), issuer, 1_024)?;
        }
        Ok(Self {
            name: name.clone(),
            trust_root: trust_root.clone(),
            target: target.clone(),
            max_age,
            images: patterns(&format!("{field}.allow.images"), &allow.images, 1)?,
            issuers: allow.issuers.iter().cloned().collect(),
        })
    }

    /// The feed's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The trust root through whose repository it comes.
    pub fn trust_root(&self) -> &str {
        &self.trust_root
    }

    /// The target's path.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How long after its last verified delivery it is fresh.
    pub fn max_age(&self) -> SignedDuration {
        self.max_age
    }

    /// Whether the feed may speak of an image; a tag that nobody has resolved yet counts as if it were what a pattern names.
    pub(super) fn may_govern(&self, repository: &Repository, digest: Option<&Digest>) -> bool {
        self.images.iter().any(|pattern| may_match(pattern, repository, digest))
    }

    /// Whether all that a pattern selects lies within what the feed may speak of.
    pub(super) fn allows(&self, pattern: &ImagePattern) -> bool {
        self.images.iter().any(|allowed| allowed.contains(pattern))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::image::ImageReference;
    use crate::policy::Namespace;

    fn object(spec: &Value) -> Value {
        json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "CountersignConfig",
            "metadata": {"name": "cluster"}, "spec": spec})
    }

    fn feed() -> Value {
        json!({"name": "advisories", "trustRoot": "acme", "target": "feed.json", "maxAge": "24h",
            "allow": {"images": ["ghcr.io/acme/**"], "issuers": ["https://issuer"]}})
    }

    fn delegation() -> Value {
        json!({"namespaceSelector": {"matchLabels": {"team": "a"}}, "images": ["ghcr.io/acme/a/**"]})
    }

    fn exemption() -> Value {
        json!({"images": ["registry.k8s.io/**"], "namespaces": ["kube-*"], "reason": "the nodes' own"})
    }

    fn valid() -> Value {
        json!({"unmatched": "Warn", "delegations": [delegation()], "exempt": [exemption()], "feeds": [feed()]})
    }

    fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match spec.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        spec
    }

    #[test]
    fn refuses_what_it_does_not_fully_understand() {
        let rules = ClusterRules::parse(&object(&valid())).unwrap();
        assert_eq!((rules.unmatched(), rules.feeds().len()), (Unmatched::Warn, 1));
        assert_eq!(ClusterRules::parse(&object(&json!({}))).unwrap().unmatched(), Unmatched::Deny);
        let selector = "/delegations/0/namespaceSelector";
        let table: Vec<(&str, Value)> = vec![
            ("an unknown field", with(valid(), "/exempts", json!([]))),
            ("null", with(valid(), "/delegations", Value::Null)),
            ("an exemption without a reason", with(valid(), "/exempt/0/reason", json!(""))),
            ("an exemption of nothing", with(valid(), "/exempt/0/images", json!([]))),
            ("a tag in an exemption", with(valid(), "/exempt/0/images/0", json!("registry.k8s.io/pause:3"))),
            ("a namespace that none can be", with(valid(), "/exempt/0/namespaces/0", json!("Kube"))),
            ("an unknown field of an exemption", with(valid(), "/exempt/0/namespace", json!("kube-system"))),
            ("too many exemptions", with(valid(), "/exempt", json!(vec![exemption(); 65]))),
            ("an unknown word", with(valid(), "/unmatched", json!("allow"))),
            ("a list for the spec", json!(["Allow", [], []])),
            ("a delegation of every namespace", with(valid(), selector, json!({}))),
            ("an unknown field of a selector", with(valid(), &format!("{selector}/matchLabel"), json!({}))),
            ("a delegation of nothing", with(valid(), "/delegations/0/images", json!([]))),
            ("a tag in a delegation", with(valid(), "/delegations/0/images/0", json!("ghcr.io/acme/a:1"))),
            ("too many delegations", with(valid(), "/delegations", json!(vec![delegation(); 65]))),
            ("two feeds of one name", with(valid(), "/feeds", json!([feed(), feed()]))),
            ("too many feeds", with(valid(), "/feeds", json!(vec![feed(); 17]))),
            ("a feed without a name", with(valid(), "/feeds/0/name", json!(""))),
            ("a feed whose name has a blank", with(valid(), "/feeds/0/name", json!("a b"))),
            ("a feed whose name ends in -", with(valid(), "/feeds/0/name", json!("a-"))),
            ("a feed without a root", with(valid(), "/feeds/0/trustRoot", json!(""))),
            ("a feed without a target", with(valid(), "/feeds/0/target", json!(""))),
            ("a target above the repository", with(valid(), "/feeds/0/target", json!("../t"))),
            ("a target from the top", with(valid(), "/feeds/0/target", json!("/t"))),
            ("a target with a control character", with(valid(), "/feeds/0/target", json!("a\nb"))),
            ("no length of time", with(valid(), "/feeds/0/maxAge", json!("1 day"))),
            ("too short a time", with(valid(), "/feeds/0/maxAge", json!("59s"))),
            ("a feed of nothing", with(valid(), "/feeds/0/allow/images", json!([]))),
            ("an empty issuer", with(valid(), "/feeds/0/allow/issuers/0", json!(""))),
            ("an unknown field of a feed", with(valid(), "/feeds/0/alow", json!({}))),
        ];
        for (what, spec) in table {
            assert!(ClusterRules::parse(&object(&spec)).is_err(), "{what}");
        }
        let mut other = object(&valid());
        other["metadata"]["name"] = json!("other");
        assert!(ClusterRules::parse(&other).is_err(), "another name");
        other["metadata"]["name"] = json!("cluster");
        other["kind"] = json!("ClusterConfig");
        assert!(ClusterRules::parse(&other).is_err(), "another kind");
    }

    #[test]
    fn what_does_not_parse_loosens_nothing() {
        let salvage = |spec: &Value| {
            let object = object(spec);
            ClusterRules::salvage(&object, &ClusterRules::parse(&object).unwrap_err())
        };
        let rules = salvage(&with(valid(), "/exempts", json!([])));
        assert_eq!((rules.unmatched(), rules.feeds().len(), rules.delegates_something()), (Unmatched::Deny, 1, false));
        assert_eq!(rules.unreadable(), None);
        let pause = ImageReference::parse("registry.k8s.io/pause").unwrap();
        let system = Scope::Namespace(Namespace { name: "kube-system".into(), labels: NamespaceLabels::Unknown });
        assert_eq!(rules.exemption(pause.repository(), None, &system), None);
        for spec in [with(valid(), "/feeds/0/alow", json!({})), with(valid(), "/feeds", json!({}))] {
            assert!(salvage(&spec).unreadable().is_some(), "a feed that may govern anything");
        }
        let mut second = feed();
        second["target"] = json!("another.json");
        let of_one_name = salvage(&with(valid(), "/feeds", json!([feed(), second])));
        assert!(of_one_name.unreadable().is_some() && of_one_name.feeds().is_empty(), "it is open which one is meant");
        second["name"] = json!("second");
        let of_two = salvage(&with(with(valid(), "/exempts", json!([])), "/feeds", json!([feed(), second])));
        assert_eq!((of_two.unreadable(), of_two.feeds().len()), (None, 2));
    }

    #[test]
    fn a_delegation_names_namespaces_and_images() {
        let rules = ClusterRules::parse(&object(&valid())).unwrap();
        let scope = |labels: NamespaceLabels| Scope::Namespace(Namespace { name: "n".into(), labels });
        let labelled = |value: &str| scope(NamespaceLabels::Known([("team".to_owned(), value.to_owned())].into()));
        let table = [
            (labelled("a"), "ghcr.io/acme/a/app", true),
            (labelled("a"), "ghcr.io/acme/b/app", false),
            (labelled("b"), "ghcr.io/acme/a/app", false),
            (scope(NamespaceLabels::Known([].into())), "ghcr.io/acme/a/app", false),
            (scope(NamespaceLabels::Unknown), "ghcr.io/acme/a/app", false),
            (Scope::Anywhere, "ghcr.io/acme/a/app", true),
        ];
        for (scope, image, expected) in table {
            let image = ImageReference::parse(image).unwrap();
            assert_eq!(rules.delegates(image.repository(), None, &scope), expected, "{scope:?} {image}");
        }
        let none = ClusterRules::without_object(Unmatched::Allow);
        let image = ImageReference::parse("ghcr.io/acme/a/app").unwrap();
        assert!(!none.delegates(image.repository(), None, &labelled("a")));
    }

    #[test]
    fn an_exemption_names_images_and_namespaces() {
        let hex = "ab".repeat(32);
        let by_digest = json!({"images": [format!("quay.io/x/y@sha256:{hex}")], "reason": "old"});
        let spec = with(valid(), "/exempt", json!([exemption(), by_digest]));
        let rules = ClusterRules::parse(&object(&spec)).unwrap();
        let within =
            |name: &str| Scope::Namespace(Namespace { name: name.to_owned(), labels: NamespaceLabels::Unknown });
        let (named, other) = (format!("quay.io/x/y@sha256:{hex}"), format!("quay.io/x/y@sha256:{}", "cd".repeat(32)));
        let table = [
            (within("kube-system"), "registry.k8s.io/pause:3", Some("the nodes' own")),
            (within("team-a"), "registry.k8s.io/pause:3", None),
            (within("kube-system"), "ghcr.io/pause:3", None),
            (Scope::Anywhere, "registry.k8s.io/pause:3", None),
            (within("team-a"), named.as_str(), Some("old")),
            (Scope::Anywhere, named.as_str(), Some("old")),
            (within("team-a"), other.as_str(), None),
            (within("team-a"), "quay.io/x/y:1", None),
        ];
        for (scope, image, expected) in table {
            let image = ImageReference::parse(image).unwrap();
            let found = rules.exemption(image.repository(), image.digest(), &scope);
            assert_eq!(found.map(|reason| &**reason), expected, "{scope:?} {image}");
            let strict = rules.clone().demanding_a_match();
            assert_eq!(strict.exemption(image.repository(), image.digest(), &scope), None);
        }
    }
}
