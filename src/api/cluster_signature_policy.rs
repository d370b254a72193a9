//! `ClusterSignaturePolicy`: which images must carry what, for the whole cluster.
//!
//! The shape and its bounds; `policy::Policy::parse` gives it meaning. Fields that nothing evaluates yet are absent, so that a
//! policy which asks for them is refused and not half obeyed.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which images must carry which signatures and attestations.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "policy.countersign.dev",
    version = "v1alpha1",
    kind = "ClusterSignaturePolicy",
    shortname = "csp",
    category = "countersign",
    status = "ClusterSignaturePolicyStatus",
    doc = "Which images must carry which signatures and attestations, for the whole cluster.",
    printcolumn = r#"{"name":"Action","type":"string","jsonPath":".spec.action"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.authorities.size() < 2 || has(self.require)")
    .message("two or more authorities need `require` to say how they combine"))]
pub struct ClusterSignaturePolicySpec {
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
    /// Namespaces to which the policy applies. Absent: all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
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

/// What a verdict that is not a pass does to the request. Absent: Enforce.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Action {
    /// The request is denied.
    Enforce,
    /// The request is allowed with a warning.
    Warn,
    /// The request is allowed; the audit annotations record the failure.
    Audit,
}

/// How a reference that carries a tag and no digest is treated. Absent: Pin.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Tags {
    /// A Pod must name the digest that was verified; templates are judged at the digest that the tag has now.
    Pin,
    /// Every reference must name a digest.
    Require,
    /// A tag is judged at the digest that it has now, although the node may pull another one later.
    Allow,
}

/// Namespaces by name and by label.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Names and globs (`*` stands for any characters). Empty: all namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Names and globs of namespaces that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub exclude_namespaces: Vec<String>,
    /// Labels that the namespace must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// The Kubernetes label selector, with unknown fields refused.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with exactly these values, all of them.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: std::collections::BTreeMap<String, String>,
    /// Expressions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<LabelExpression>,
}

/// One expression of a label selector.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelExpression {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: LabelOperator,
    /// The values: some for `In` and `NotIn`, none for `Exists` and `DoesNotExist`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// Operators of a label selector.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LabelOperator {
    /// The label is there with one of the values.
    In,
    /// The label is absent, or its value is none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Somebody whose signature, or whose attestation, counts.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.keyless) ? 1 : 0) + (has(self.keys) ? 1 : 0) + (has(self.certificates) ? 1 : 0) == 1")
    .message("exactly one of `keyless`, `keys` and `certificates`"))]
#[x_kube(validation = Rule::new("!has(self.trustRoot) || has(self.keys)")
    .message("`trustRoot` stands beside `keys` only; `keyless` and `certificates` have their own"))]
pub struct Authority {
    /// The name by which `require` and messages mention this authority.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Signers with a short-lived certificate of a Sigstore instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyless: Option<Keyless>,
    /// Signers with a long-lived key; any one of the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub keys: Option<Vec<Key>>,
    /// The trust root, by name, whose logs and timestamp authorities date what the `keys` signed. Absent: nothing dates it, and
    /// no log is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub trust_root: Option<String>,
    /// Signers with a certificate of an own authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Asks for an attestation of this kind by the authority. Absent: asks for a signature of the image itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// The proofs that a signature must carry. Absent: those that are usual for the kind of signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Proofs>,
}

/// Certificate identities under a Sigstore instance.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keyless {
    /// The trust root by name: `public-good`, `staging`, `github`, or one that the controller was started with.
    #[schemars(length(min = 1, max = 253))]
    pub trust_root: String,
    /// Identities, any of which may have signed.
    #[schemars(length(min = 1, max = 32))]
    pub identities: Vec<Identity>,
}

/// An identity: who vouched for the signer, and for whom; or the TUF role that says both.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.issuer) == has(self.subject) && has(self.issuer) != has(self.tufRole)")
    .message("exactly one of `issuer` with `subject`, and `tufRole`"))]
pub struct Identity {
    /// The OpenID Connect issuer in the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<StringMatch>,
    /// The certificate's subject alternative name: an e-mail address or a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<StringMatch>,
    /// A delegated role of a TUF repository, whose Fulcio identities take the place of issuer and subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuf_role: Option<TufRole>,
    /// What the certificate must say about the signer, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub claims: Option<Vec<ClaimMatch>>,
    /// When the identity may have signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SigningWindow>,
}

/// A delegated role of a TUF repository. Who may sign for it by a Fulcio identity (TAP 18) may have signed the image. While these
/// identities cannot be told, what needs them is not judged.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TufRole {
    /// The `SignatureTrustRoot`, by name, whose TUF repository delegates the role.
    #[schemars(length(min = 1, max = 253))]
    pub trust_root: String,
    /// The delegated role's name.
    #[schemars(length(min = 1, max = 253))]
    pub role: String,
}

/// A claim of a certificate, by its name in Fulcio's table of extensions, and exactly one way to match it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.exact) ? 1 : 0) + (has(self.glob) ? 1 : 0) + (has(self.regex) ? 1 : 0) == 1")
    .message("exactly one of `exact`, `glob` and `regex`"))]
pub struct ClaimMatch {
    /// The claim's name, such as `sourceRepositoryOwnerIdentifier` or `runnerEnvironment`; `otherName` is the user name that
    /// stands among the certificate's names.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub exact: Option<String>,
    /// A glob, as for subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub glob: Option<String>,
    /// A regular expression of linear time, anchored at both ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub regex: Option<String>,
}

/// A span of time, both ends included. Every verified time of a signature must lie in it, with all that its accuracy leaves open;
/// a signature without a verified time does not.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.notBefore) || has(self.notAfter)")
    .message("at least one of `notBefore` and `notAfter`"))]
pub struct SigningWindow {
    /// The first moment (RFC 3339). Absent: no first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub not_before: Option<String>,
    /// The last moment (RFC 3339). Absent: no last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub not_after: Option<String>,
}

/// Certificate identities under an own authority. A certificate counts only at a time that the trust root's services verified.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificates {
    /// The authority's root certificates as PEM (`BEGIN CERTIFICATE`), one after another. The system's are never used.
    #[schemars(length(min = 1, max = 65_536))]
    pub roots: String,
    /// Certificates between the roots and the signers, which signers then need not bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub intermediates: Option<String>,
    /// The trust root, by name, whose logs and timestamp authorities date the signatures.
    #[schemars(length(min = 1, max = 253))]
    pub trust_root: String,
    /// Identities, any of which may have signed.
    #[schemars(length(min = 1, max = 32))]
    pub identities: Vec<CertificateIdentity>,
}

/// An identity under an own authority, which vouches for it itself: no issuer.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateIdentity {
    /// The certificate's subject alternative name: an e-mail address or a URI.
    pub subject: StringMatch,
    /// What the certificate must say about the signer, all of it, where the authority writes Fulcio's extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub claims: Option<Vec<ClaimMatch>>,
    /// When the identity may have signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SigningWindow>,
}

/// The proofs that a signature must carry. Logs and timestamp authorities are counted by who operates them.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proofs {
    /// Operators of transparency logs that must hold an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0, max = 8))]
    pub logs: Option<u8>,
    /// Operators of timestamp authorities that must have dated the signature. A log's own date does not count here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0, max = 8))]
    pub timestamps: Option<u8>,
    /// Count only log entries whose inclusion is proved, not merely promised. Absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusion_proof: Option<bool>,
    /// Whether the transparency logs themselves must confirm, while the request is judged, that they hold the entries; a log that cannot
    /// be asked leaves the image unjudged. Absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Whether the certificate must be promised to a certificate transparency log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_transparency: Option<bool>,
    /// How long ago the signature may have been made, by every verified time: days, hours, minutes and seconds in this order,
    /// such as `90d`, `24h` or `1h30m`. Absent: any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), pattern(r"^([0-9]{1,7}d)?([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$"))]
    pub max_age: Option<String>,
}

/// Exactly one way to match a whole string.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.exact) ? 1 : 0) + (has(self.glob) ? 1 : 0) + (has(self.regex) ? 1 : 0) == 1")
    .message("exactly one of `exact`, `glob` and `regex`"))]
pub struct StringMatch {
    /// The string itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub exact: Option<String>,
    /// A glob: `*` stands for any characters but `/` and `@`, `**` for any but `@`; a final `*` after `@refs/tags/` or
    /// `@refs/heads/` also for `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub glob: Option<String>,
    /// A regular expression of linear time, anchored at both ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub regex: Option<String>,
}

/// A public key.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// The name by which messages mention this key.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The key as PEM (`BEGIN PUBLIC KEY`).
    #[schemars(length(min = 1, max = 8192))]
    pub pem: String,
    /// The first moment at which the key may have signed (RFC 3339), by verified time, so that `trustRoot` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub not_before: Option<String>,
    /// The last moment at which the key may have signed (RFC 3339), by verified time, so that `trustRoot` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub not_after: Option<String>,
    /// Where the private key is kept, for people, such as the URI of a key management service. It is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
}

/// An attestation that an authority must have made about the image.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attestation {
    /// The statement's predicate type, compared exactly.
    #[schemars(length(min = 1, max = 512))]
    pub predicate_type: String,
}

/// How authorities combine: all of, any of, or at least some of their listed items.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.allOf) ? 1 : 0) + (has(self.anyOf) ? 1 : 0) + (has(self.of) ? 1 : 0) == 1 && has(self.atLeast) == has(self.of)")
    .message("exactly one of `allOf`, `anyOf` and `atLeast` with `of`"))]
#[x_kube(validation = Rule::new("!has(self.atLeast) || !has(self.of) || self.atLeast <= self.of.size()")
    .message("`atLeast` is more than the items of `of`"))]
pub struct Requirement {
    /// Every item must be satisfied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub all_of: Option<Vec<RequirementItem>>,
    /// One item must be satisfied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub any_of: Option<Vec<RequirementItem>>,
    /// This many items of `of` must be satisfied, each by another signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 16))]
    pub at_least: Option<u8>,
    /// The items that `atLeast` counts. An item counts for a signer who satisfies it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub of: Option<Vec<RequirementItem>>,
}

/// An item of a requirement: an authority, or one more level.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.authority) ? 1 : 0) + (has(self.allOf) ? 1 : 0) + (has(self.anyOf) ? 1 : 0) + (has(self.of) ? 1 : 0) == 1 && has(self.atLeast) == has(self.of)")
    .message("exactly one of `authority`, `allOf`, `anyOf` and `atLeast` with `of`"))]
#[x_kube(validation = Rule::new("!has(self.atLeast) || !has(self.of) || self.atLeast <= self.of.size()")
    .message("`atLeast` is more than the items of `of`"))]
pub struct RequirementItem {
    /// The name of an authority of this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub authority: Option<String>,
    /// Every one of these authorities; inside `of`, by one and the same signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub all_of: Option<Vec<AuthorityName>>,
    /// One of these authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub any_of: Option<Vec<AuthorityName>>,
    /// This many of these authorities, each by another signer. Not inside another `of`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 16))]
    pub at_least: Option<u8>,
    /// The authorities that `atLeast` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub of: Option<Vec<AuthorityName>>,
}

/// An authority by name, at the innermost level of a requirement.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorityName {
    /// The name of an authority of this policy.
    #[schemars(length(min = 1, max = 63))]
    pub authority: String,
}

/// What the controller knows of a policy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSignaturePolicyStatus {
    /// The generation of `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: images can be judged by it; if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
