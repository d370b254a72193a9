//! Custom resource types of the group `policy.countersign.dev`, version `v1alpha1`.
//!
//! Data only: what the API server stores and what policy files hold, field by field. No meaning is given here; `policy` parses
//! these types into what can be evaluated. Every struct refuses unknown fields, because a misspelt restriction that is silently
//! dropped is an open door; `shape` refuses what serde would still drop or turn round.

mod cluster_signature_policy;
mod countersign_config;
mod duration;
mod schema;
mod shape;
mod signature_policy;
mod signature_revocation;
mod signature_trust_root;

pub use cluster_signature_policy::{
    Action, Attestation, Authority, AuthorityName, CertificateIdentity, Certificates, ClaimMatch,
    ClusterSignaturePolicy, ClusterSignaturePolicySpec, ClusterSignaturePolicyStatus, Identity, Key, Keyless,
    LabelExpression, LabelOperator, LabelSelector, Match, Proofs, Requirement, RequirementItem, SigningWindow,
    StringMatch, Tags, TufRole,
};
pub use countersign_config::{
    CountersignConfig, CountersignConfigSpec, CountersignConfigStatus, Delegation, Exemption, Feed, FeedAllowance,
    FeedStatus, Unmatched,
};
pub use duration::seconds;
pub use schema::custom_resource_definitions;
pub use shape::{Misshapen, OtherKind, check_kind, check_kinds_of_nodes, check_no_null};
pub use signature_policy::{SignaturePolicy, SignaturePolicySpec, SignaturePolicyStatus};
pub use signature_revocation::{
    DistrustedService, RevokedArtifact, RevokedCertificate, RevokedIdentity, RevokedKey, RevokedLogEntry,
    RevokedSubject, SignatureRevocation, SignatureRevocationSpec, SignatureRevocationStatus,
};
pub use signature_trust_root::{
    ConfigMapKey, EmbeddedInstance, InlineAuthority, InlineLog, InlineRoot, LogStatus, OnStale, OperatorOverride,
    ServiceWindow, SignatureTrustRoot, SignatureTrustRootSpec, SignatureTrustRootStatus, TufRoot, TufSource,
    TufVersions,
};

/// API group of every kind of ours.
pub const GROUP: &str = "policy.countersign.dev";

/// The one served version.
pub const VERSION: &str = "v1alpha1";
