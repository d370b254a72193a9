//! Trust roots and revocations: cluster-wide objects of ours that go when they are dropped, and what the controller says about them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::api::Answer;
use crate::cluster::Cluster;
use crate::process::{Outcome, eventually};

/// Until the controller has something to say: it is told by a watch, and another replica may have to take over first.
const STATUS_LIMIT: Duration = Duration::from_secs(40);
const GROUP: &str = "policy.countersign.dev/v1alpha1";

/// A cluster-wide kind of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnKind {
    /// `SignatureTrustRoot`.
    TrustRoot,
    /// `SignatureRevocation`.
    Revocation,
}

impl OwnKind {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::TrustRoot => ("SignatureTrustRoot", "signaturetrustroots"),
            Self::Revocation => ("SignatureRevocation", "signaturerevocations"),
        }
    }

    /// An object of this kind.
    pub fn object(self, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": GROUP, "kind": self.names().0, "metadata": {"name": name}, "spec": spec})
    }

    /// The path of all objects of this kind.
    pub fn path(self) -> String {
        format!("/apis/{GROUP}/{}", self.names().1)
    }
}

/// An object of ours, deleted when dropped.
#[derive(Debug)]
pub struct Resource<'s> {
    cluster: &'s Cluster,
    kind: OwnKind,
    name: String,
}

impl<'s> Resource<'s> {
    /// Creates an object, which must be admitted without a warning.
    pub fn create(cluster: &'s Cluster, kind: OwnKind, name: &str, spec: &Value) -> Result<Self> {
        let (created, warnings) = Self::create_with_warnings(cluster, kind, name, spec)?;
        ensure!(warnings.is_empty(), "{name}: {warnings:?}");
        Ok(created)
    }

    /// Creates an object, which must be admitted, and the warnings that came with it.
    pub fn create_with_warnings(
        cluster: &'s Cluster,
        kind: OwnKind,
        name: &str,
        spec: &Value,
    ) -> Result<(Self, Vec<String>)> {
        match cluster.api().post(&kind.path(), &kind.object(name, spec))? {
            Answer::Admitted(warnings) => Ok((Self { cluster, kind, name: name.to_owned() }, warnings)),
            Answer::Denied(message) | Answer::Refused(message) => bail!("{name} was refused: {message}"),
        }
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes fields of `spec`; null takes one away.
    pub fn patch(&self, spec: &Value) -> Result<Outcome> {
        let patch = json!({"spec": spec}).to_string();
        let (resource, name) = (self.resource(), self.name.as_str());
        self.cluster.kubectl().accepts(&["patch", &resource, name, "--type=merge", "--patch", &patch], None)
    }

    /// The object as it is stored.
    pub fn get(&self) -> Result<Value> {
        let found = self.cluster.api().get(&format!("{}/{}", self.kind.path(), self.name))?;
        found.with_context(|| format!("{} is gone", self.name))
    }

    /// Waits for a condition of this truth about the object as it is, in words (reason or message) that hold all `parts`; returns the
    /// status.
    pub fn eventually(&self, condition: &str, truth: &str, parts: &[&str]) -> Result<Value> {
        let mut last = Value::Null;
        let waited = eventually(&format!("{}: {condition}={truth} {parts:?}", self.name), STATUS_LIMIT, || {
            last = self.get()?;
            Ok(self.said(&last, condition, truth, parts).ok())
        });
        waited.with_context(|| format!("{last}"))
    }

    /// Fails unless the status says this now.
    pub fn says(&self, condition: &str, truth: &str, parts: &[&str]) -> Result<Value> {
        let object = self.get()?;
        self.said(&object, condition, truth, parts).with_context(|| format!("{object}"))
    }

    fn said(&self, object: &Value, condition: &str, truth: &str, parts: &[&str]) -> Result<Value> {
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let status = object.get("status").context("no status")?;
        let conditions = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
        let found =
            conditions.into_iter().find(|found| text(found, "type") == condition).context("no such condition")?;
        let generation = object.pointer("/metadata/generation");
        ensure!(found.get("observedGeneration") == generation, "{} is about an older object", self.name);
        ensure!(text(found, "status") == truth, "{condition} is not {truth}");
        let words = format!("{}: {}", text(found, "reason"), text(found, "message"));
        for part in parts {
            ensure!(words.contains(part), "{condition} lacks {part:?}");
        }
        Ok(status.clone())
    }

    /// Deletes the object. Dropping does the same.
    pub fn delete(self) {
        drop(self);
    }

    fn resource(&self) -> String {
        format!("{}.policy.countersign.dev", self.kind.names().1)
    }
}

impl Drop for Resource<'_> {
    fn drop(&mut self) {
        // The cluster ends with the tests. Names are those of one case, so that what stays is not in the way of others.
        let arguments = ["delete", &self.resource(), &self.name, "--ignore-not-found", "--wait=false"];
        let _ = self.cluster.kubectl().run(&arguments, "");
    }
}
