//! `SignatureTrustRoot`: a Sigstore instance, by the name that policies use, and how its keys come.
//!
//! The shape and its bounds; `trust::RootSpec::parse` gives it meaning. Distrust of a single service is not said here: it is a
//! `SignatureRevocation`, which holds for every root at once.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Sigstore instance and how its keys come.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "policy.countersign.dev",
    version = "v1alpha1",
    kind = "SignatureTrustRoot",
    shortname = "str",
    category = "countersign",
    status = "SignatureTrustRootStatus",
    doc = "A Sigstore instance, by the name that policies use, and how its keys come.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Refreshed","type":"date","jsonPath":".status.refreshedAt"}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".status.expires"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.publicGood) ? 1 : 0) + (has(self.github) ? 1 : 0) + (has(self.staging) ? 1 : 0) + (has(self.tuf) ? 1 : 0) + (has(self.trustedRoot) ? 1 : 0) + (has(self.inline) ? 1 : 0) == 1")
    .message("exactly one of `publicGood`, `github`, `staging`, `tuf`, `trustedRoot` and `inline`"))]
#[x_kube(validation = Rule::new("!(has(self.trustedRoot) || has(self.inline)) || !(has(self.maxAge) || has(self.onStale) || has(self.refreshInterval) || has(self.ca))")
    .message("`maxAge`, `onStale`, `refreshInterval` and `ca` are for keys that come through TUF"))]
pub struct SignatureTrustRootSpec {
    /// Sigstore's public instance, refreshed from its own TUF repository. The object's name must be `public-good`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_good: Option<EmbeddedInstance>,
    /// GitHub's instance, refreshed from its own TUF repository. The object's name must be `github`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github: Option<EmbeddedInstance>,
    /// Sigstore's staging instance, refreshed from its own TUF repository. The object's name must be `staging`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<EmbeddedInstance>,
    /// Keys that come through a TUF repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuf: Option<TufSource>,
    /// A `trusted_root.json` as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 524_288))]
    pub trusted_root: Option<String>,
    /// The instance's services, one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<InlineRoot>,
    /// How old what TUF delivered may grow before what needs this root is no longer judged, such as `72h` or `14d`. Absent: as old
    /// as its metadata is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), pattern(r"^([0-9]{1,7}d)?([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$"))]
    pub max_age: Option<String>,
    /// What happens past `maxAge`: what needs the root cannot be judged and is denied, or it is judged with a warning. Absent: Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stale: Option<OnStale>,
    /// How long to wait from one refresh to the next, from a minute to a day. Absent: 6h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), pattern(r"^([0-9]{1,7}d)?([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$"))]
    pub refresh_interval: Option<String>,
    /// Certificate authorities of the mirror as PEM, in place of those that are usual on the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub ca: Option<String>,
    /// Who runs which service, where the root does not say so or says it otherwise. Thresholds count operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".to_owned()]))]
    pub operators: Option<Vec<OperatorOverride>>,
}

/// An instance whose TUF root is compiled in.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmbeddedInstance {}

/// What happens when what TUF delivered is older than `maxAge`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnStale {
    /// What needs the root is not judged, and denied.
    Error,
    /// It is judged by what was delivered last, with a warning.
    Warn,
}

/// A TUF repository.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TufSource {
    /// Where the repository is: `https://`, `file://` (a folder), or `oci://` (an artifact).
    #[schemars(length(min = 1, max = 1024), pattern("^(https|file|oci)://"))]
    pub mirror: String,
    /// The root metadata that everything is verified from.
    pub root: TufRoot,
    /// The target that holds the trusted root. Absent: `trusted_root.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub target: Option<String>,
}

/// The TUF root metadata, in the object or in a `ConfigMap` of the controller's namespace.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMapRef)").message("exactly one of `inline` and `configMapRef`"))]
pub struct TufRoot {
    /// The bytes of `root.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 524_288))]
    pub inline: Option<String>,
    /// Where the bytes of `root.json` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKey>,
}

/// An entry of a `ConfigMap` of the controller's namespace.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKey {
    /// The `ConfigMap`'s name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The entry's key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The services of an instance.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InlineRoot {
    /// What issues certificates to signers.
    #[schemars(length(min = 1, max = 32))]
    pub certificate_authorities: Vec<InlineAuthority>,
    /// Logs of signatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub logs: Vec<InlineLog>,
    /// Logs of certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ct_logs: Vec<InlineLog>,
    /// What dates signatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub timestamp_authorities: Vec<InlineAuthority>,
}

/// A certificate authority or a timestamp authority.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InlineAuthority {
    /// Its address, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub operator: Option<String>,
    /// Its chain as PEM (`BEGIN CERTIFICATE`): what signs first, the root last.
    #[schemars(length(min = 1, max = 65_536))]
    pub chain: String,
    /// When it may have signed. Absent: as long as its certificates are valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<ServiceWindow>,
}

/// A transparency log.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InlineLog {
    /// Its address, which is asked where a policy wants online confirmation, and the origin of its checkpoints.
    #[schemars(length(min = 1, max = 1024))]
    pub uri: String,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub operator: Option<String>,
    /// Its public key as PEM (`BEGIN PUBLIC KEY`).
    #[schemars(length(min = 1, max = 8192))]
    pub key: String,
    /// Its key id in hexadecimal digits. Absent: the SHA-256 of the key, as logs other than those of Rekor v2 have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), pattern("^[0-9a-f]{64}$"))]
    pub key_id: Option<String>,
    /// When it may have signed. Absent: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<ServiceWindow>,
}

/// When a service may have signed.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceWindow {
    /// The first moment (RFC 3339). Absent: no first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub start: Option<String>,
    /// The last moment (RFC 3339). Absent: no last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub end: Option<String>,
}

/// Who runs a service.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorOverride {
    /// The service's address in the root.
    #[schemars(length(min = 1, max = 1024))]
    pub service: String,
    /// Who runs it.
    #[schemars(length(min = 1, max = 253))]
    pub operator: String,
}

/// What the controller knows of a trust root.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureTrustRootStatus {
    /// The generation of `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: policies can be judged by it. `Refreshed`: the last refresh succeeded; if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The versions that were accepted last. Older ones are refused, after a restart too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<TufVersions>,
    /// When the first piece of metadata expires (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When the last successful refresh ended (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<String>,
    /// SHA-256 of the canonical form of what is trusted now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The logs that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub logs: Vec<LogStatus>,
}

/// Versions of TUF metadata.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TufVersions {
    /// Of the root.
    pub root: i64,
    /// Of the timestamp.
    pub timestamp: i64,
    /// Of the snapshot.
    pub snapshot: i64,
    /// Of the top-level targets.
    pub targets: i64,
}

/// A log of a trust root.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    /// Its address.
    pub uri: String,
    /// Its key id in hexadecimal digits.
    pub key_id: String,
    /// What is known of its consistency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<String>,
}
