//! `SignatureRevocation`: what is no longer to be believed, whatever a policy says.
//!
//! The shape and its bounds; `revocation::Revocation::parse` gives it meaning. The schema is deliberately loose inside the entries:
//! an entry that is malformed must not keep the valid ones beside it out of the cluster, so that the parser reports it and the
//! others act.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is no longer to be believed. Beats every pass, cache, exception, exemption and action; lifted by deleting the object.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "policy.countersign.dev",
    version = "v1alpha1",
    kind = "SignatureRevocation",
    shortname = "srev",
    category = "countersign",
    status = "SignatureRevocationStatus",
    doc = "What is no longer to be believed: artifacts, signers, keys, certificates, log entries, services.",
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Suspended","type":"boolean","jsonPath":".spec.suspended"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignatureRevocationSpec {
    /// Artifacts by digest: images, indexes with all that they hold, and what is signed beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub artifacts: Vec<RevokedArtifact>,
    /// Signers by identity, whatever trust root and repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub identities: Vec<RevokedIdentity>,
    /// Signers by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub keys: Vec<RevokedKey>,
    /// Signers by certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub certificates: Vec<RevokedCertificate>,
    /// Single signatures by their entries in a transparency log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub log_entries: Vec<RevokedLogEntry>,
    /// Services that are distrusted, in every trust root at once: what they say counts only if another, undistrusted service dates
    /// it before `after`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub services: Vec<DistrustedService>,
    /// Why, for whoever reads the denial.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Where to read more, such as the address of an advisory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub reference: Option<String>,
    /// Whether it is only a suggestion that does not act. Absent: it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
}

/// An artifact.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedArtifact {
    /// The manifest's digest, `sha256:` and 64 hexadecimal digits.
    #[schemars(length(max = 256))]
    pub digest: String,
}

/// A signer by identity. Any name of the certificate may match, in any case of letters.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedIdentity {
    /// The OpenID Connect issuer. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub issuer: Option<String>,
    /// The subject alternative name.
    pub subject: RevokedSubject,
    /// The first moment that is struck out (RFC 3339), by verified time. Absent: no first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub signed_after: Option<String>,
    /// The last moment that is struck out (RFC 3339), by verified time. Absent: no last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub signed_before: Option<String>,
}

/// Exactly one way to name a subject.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedSubject {
    /// The name itself, in any case of letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub exact: Option<String>,
    /// A glob, in any case of letters: `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub glob: Option<String>,
}

/// A signer by key.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedKey {
    /// SHA-256 of the `SubjectPublicKeyInfo`, in hexadecimal digits.
    #[schemars(length(max = 256))]
    pub sha256: String,
}

/// A certificate: by its own digest, or by its serial number and issuer.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedCertificate {
    /// SHA-256 of the certificate, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub sha256: Option<String>,
    /// The serial number, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub serial: Option<String>,
    /// The issuer's name, as in `CN=sigstore-intermediate,O=sigstore.dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub issuer: Option<String>,
}

/// An entry of a transparency log.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedLogEntry {
    /// The log's key id, in hexadecimal digits.
    #[schemars(length(max = 256))]
    pub log: String,
    /// The entry's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// The entry's identifier: its leaf hash in hexadecimal digits, with or without the tree's in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub uuid: Option<String>,
}

/// A service of any trust root: exactly one of the four, by key id or by the SHA-256 of a certificate, in hexadecimal digits.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DistrustedService {
    /// A log of signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub log: Option<String>,
    /// A certificate authority, by any certificate of its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub ca: Option<String>,
    /// A timestamp authority, by any certificate of its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub timestamp_authority: Option<String>,
    /// A log of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub ct_log: Option<String>,
    /// From when on (RFC 3339). Absent: it was never to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub after: Option<String>,
}

/// What the controller knows of a revocation.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureRevocationStatus {
    /// The generation of `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: every entry acts; if not, which do not and why. `Expanding`: what revoked indexes hold is not known yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Digests of what the revoked indexes hold, which is struck out with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4000), inner(length(max = 256)))]
    pub descendants: Vec<String>,
}
