//! `SignaturePolicy`: which images must carry what, in one namespace.
//!
//! The same demands as a `ClusterSignaturePolicy` makes, without `match`: it governs its own namespace and no other. It adds
//! requirements to those of the cluster and never takes one away. One parser reads both: this spec becomes the other one.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Authority, ClusterSignaturePolicySpec, Requirement, Tags};

/// Which images of one namespace must carry which signatures and attestations.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "policy.countersign.dev",
    version = "v1alpha1",
    kind = "SignaturePolicy",
    namespaced,
    shortname = "sp",
    category = "countersign",
    status = "SignaturePolicyStatus",
    doc = "Which images of its namespace must carry which signatures and attestations, beside what the cluster's policies demand.",
    printcolumn = r#"{"name":"Action","type":"string","jsonPath":".spec.action"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.authorities.size() < 2 || has(self.require)")
    .message("two or more authorities need `require` to say how they combine"))]
pub struct SignaturePolicySpec {
    /// What a failed verdict does: deny the request, warn the user, or only record it. Absent: Enforce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Image patterns that this policy governs: `host/path` with `*` within a path part and `**` across parts; a digest may be
    /// named, a tag may not.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// Image patterns that are left out of `images`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    pub exclude: Vec<String>,
    /// How tags are treated. Absent: Pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// Who may sign, and what.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub authorities: Vec<Authority>,
    /// How the authorities combine. Mandatory with two or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Requirement>,
}

impl From<SignaturePolicySpec> for ClusterSignaturePolicySpec {
    fn from(spec: SignaturePolicySpec) -> Self {
        let SignaturePolicySpec { action, images, exclude, tags, authorities, require } = spec;
        Self { action, images, exclude, matches: None, tags, authorities, require }
    }
}

/// What the controller knows of a policy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignaturePolicyStatus {
    /// The generation of `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: it is in force as it stands; if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
