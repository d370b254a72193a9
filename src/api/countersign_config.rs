//! `CountersignConfig`: the cluster's own rules. There is one, and its name is `cluster`.
//!
//! The shape and its bounds; `policy::ClusterRules::parse` gives it meaning. Fields that nothing obeys yet are absent, so that a
//! configuration which asks for them is refused and not half obeyed.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LabelSelector;

/// The cluster's own rules.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "policy.countersign.dev",
    version = "v1alpha1",
    kind = "CountersignConfig",
    plural = "countersignconfigs",
    shortname = "csc",
    category = "countersign",
    status = "CountersignConfigStatus",
    doc = "The cluster's own rules: unmatched and exempt images, what namespaces may govern themselves, and feeds. Its name is `cluster`.",
    validation = Rule::new("self.metadata.name == 'cluster'").message("there is one CountersignConfig, and its name is `cluster`"),
    printcolumn = r#"{"name":"Unmatched","type":"string","jsonPath":".spec.unmatched"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountersignConfigSpec {
    /// What happens to an image that nothing matches: an enforcing `ClusterSignaturePolicy` that selects it, or a `SignaturePolicy`
    /// as far as `delegations` go. Absent: Deny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Unmatched>,
    /// Namespaces whose own `SignaturePolicy` objects count as a match, and for which images. Elsewhere these objects add
    /// requirements and match nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub delegations: Vec<Delegation>,
    /// Images that nobody verifies, known as such: where nothing matches them, they are allowed whatever `unmatched` says. No policy
    /// that selects them, and no revocation, is lifted by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exempt: Vec<Exemption>,
    /// Revocations and requirements that come as targets of TUF repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub feeds: Vec<Feed>,
}

/// What happens to an image that no enforcing policy selects. Absent: Deny.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Unmatched {
    /// It is allowed.
    Allow,
    /// It is allowed with a warning.
    Warn,
    /// It is denied.
    Deny,
}

/// What some namespaces may govern by their own policies.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delegation {
    /// Labels of the namespaces; at least one. Whoever may label a namespace may give it this power.
    pub namespace_selector: LabelSelector,
    /// Image patterns for which a policy of such a namespace counts as a match.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
}

/// Images that are known to be verified by nobody.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exemption {
    /// Image patterns. A pattern that names a digest holds for references that name it too.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// Namespaces in which it holds: names, or globs in which `*` stands for any number of characters. Empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Why, for those who read it in a year.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

/// A TUF target that holds `SignatureRevocation` and `SignaturePolicy` objects, and nothing else.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Feed {
    /// The name by which messages mention this feed: lower-case letters, digits, and `-` between them.
    #[schemars(length(min = 1, max = 63), pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The `SignatureTrustRoot`, by name, through whose TUF repository the target comes.
    #[schemars(length(min = 1, max = 253))]
    pub trust_root: String,
    /// The target's path in the repository.
    #[schemars(length(min = 1, max = 512))]
    pub target: String,
    /// How long after its last verified delivery the feed still counts as fresh, such as `24h`, from a minute to 100 years. Past it, images
    /// in `allow.images` cannot be judged; what it delivered stays in force.
    #[schemars(length(min = 2, max = 32), pattern(r"^([0-9]{1,7}d)?([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$"))]
    pub max_age: String,
    /// What the feed may speak of.
    pub allow: FeedAllowance,
}

/// What a feed may speak of. What lies outside is refused, object by object.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FeedAllowance {
    /// Image patterns; each pattern of a policy in the feed must lie within one of them.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// `OpenID` Connect issuers, compared exactly, that keyless authorities of its policies and identities of its revocations may name.
    /// Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub issuers: Vec<String>,
}

/// What the controller knows of the cluster's rules.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountersignConfigStatus {
    /// The generation of `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the rules are in force. `FeedsFresh`: every feed was delivered within its `maxAge`; if not, which was not and why.
    /// `FeedsDelivered`: the last fetch of every feed succeeded, and all that it holds is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// What each feed delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub feeds: Vec<FeedStatus>,
}

/// What a feed delivered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedStatus {
    /// The feed's name.
    pub name: String,
    /// When it was last delivered and verified (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// Until when it is fresh: the sooner of `maxAge` after its delivery and `expires` (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_until: Option<String>,
    /// When the metadata that vouches for it expires (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// SHA-256 of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How many revocations of it are in force.
    pub revocations: i64,
    /// How many policies of it are in force.
    pub policies: i64,
    /// How many of its objects were refused.
    pub refused: i64,
    /// The first few objects that were refused, each with the reason; or why the last delivery failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub problems: Vec<String>,
}
