//! Objects as JSON: Pods, every other pod-bearing kind, policies and their authorities.

use serde_json::{Value, json};

/// The provenance that the real image carries, and who signed it.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v0.2";
/// The issuer in the certificate of the real image's provenance.
pub const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// The subject in the certificate of the real image's provenance.
pub const SUBJECT: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v1.10.0";

/// A Pod with one container.
pub fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": image}]},
    })
}

/// A pod-bearing kind other than Pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the kinds of Kubernetes")]
pub enum Kind {
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    PodTemplate,
    ReplicaSet,
    ReplicationController,
    StatefulSet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CronJob,
        Self::DaemonSet,
        Self::Deployment,
        Self::Job,
        Self::PodTemplate,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::StatefulSet,
    ];

    /// An object of this kind whose Pods would have one container.
    pub fn object(self, name: &str, image: &str) -> Value {
        let labels = json!({"app": name});
        let template = json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": image}]},
        });
        let mut job_template = template.clone();
        if let Some(spec) = job_template.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.insert("restartPolicy".to_owned(), json!("Never"));
        }
        let job = json!({"template": job_template});
        let selected = json!({"selector": {"matchLabels": labels}, "template": template});
        let (version, body) = match self {
            Self::CronJob => ("batch/v1", json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}})),
            Self::Job => ("batch/v1", job),
            Self::DaemonSet | Self::Deployment | Self::ReplicaSet | Self::StatefulSet => ("apps/v1", selected),
            Self::ReplicationController => ("v1", json!({"selector": labels, "template": template})),
            Self::PodTemplate => ("v1", template),
        };
        let field = if self == Self::PodTemplate { "template" } else { "spec" };
        json!({"apiVersion": version, "kind": format!("{self:?}"), "metadata": {"name": name}, field: body})
    }
}

/// An enforced policy for one namespace.
pub fn policy(name: &str, namespace: &str, images: &[String], authorities: &Value) -> Value {
    json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": name},
        "spec": {
            "action": "Enforce", "images": images, "match": {"namespaces": [namespace]}, "authorities": authorities,
        },
    })
}

/// The authorities of a policy that asks for SLSA provenance by this identity of the public-good Sigstore instance.
pub fn provenance_by(issuer: &str, subject: &str) -> Value {
    json!([{
        "name": "provenance",
        "keyless": {
            "trustRoot": "public-good",
            "identities": [{"issuer": {"exact": issuer}, "subject": {"exact": subject}}],
        },
        "attestation": {"predicateType": PREDICATE_TYPE},
    }])
}

/// The authorities of a policy that asks for a signature by any of these keys.
pub fn signed_by(keys: &[(&str, &str)]) -> Value {
    let keys: Vec<_> = keys.iter().map(|(name, pem)| json!({"name": name, "pem": pem})).collect();
    json!([{"name": "release", "keys": keys}])
}

/// The authorities of a policy that asks for a signature by this identity under a trust root.
pub fn signed_keyless(trust_root: &str, issuer: &str, subject: &str) -> Value {
    json!([{
        "name": "release",
        "keyless": {
            "trustRoot": trust_root,
            "identities": [{"issuer": {"exact": issuer}, "subject": {"exact": subject}}],
        },
    }])
}

/// The same authorities, asking for an attestation of this type instead of a signature.
pub fn attested(mut authorities: Value, predicate_type: &str) -> Value {
    for authority in authorities.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        authority.insert("attestation".to_owned(), json!({"predicateType": predicate_type}));
    }
    authorities
}
