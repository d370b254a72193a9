//! The one writer of status: what is wanted of each object, written one after another by the replica that holds the Lease.
//!
//! Whoever wants something says so and goes on. Wants about one object are put together; only the last word about a condition is written.
//! The object is read before it is written, and the write carries the version that was read: a conflict is tried again, a bounded number of
//! times. Nothing is written that is said already. What could not be written is wanted anew by whoever still wants it: every watch lists
//! again now and then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::conditions::Wanted;
use super::lease::Leadership;
use super::objects::Meta;
use crate::api::{ClusterSignaturePolicy, CountersignConfig, SignaturePolicy, SignatureRevocation, SignatureTrustRoot};

/// Attempts to write one status.
const ATTEMPTS: u32 = 5;
/// Before the second attempt; later ones wait for longer.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for one object, all attempts included.
const LIMIT: Duration = Duration::from_secs(20);
/// Who wrote a field, in `managedFields`.
const MANAGER: &str = "countersign";

/// A kind of ours that has a status.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// `ClusterSignaturePolicy`.
    Policy,
    /// `SignaturePolicy`.
    NamespacePolicy,
    /// `CountersignConfig`.
    Config,
    /// `SignatureTrustRoot`.
    TrustRoot,
    /// `SignatureRevocation`.
    Revocation,
}

impl Kind {
    /// What the API server calls it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Policy => ApiResource::erase::<ClusterSignaturePolicy>(&()),
            Self::NamespacePolicy => ApiResource::erase::<SignaturePolicy>(&()),
            Self::Config => ApiResource::erase::<CountersignConfig>(&()),
            Self::TrustRoot => ApiResource::erase::<SignatureTrustRoot>(&()),
            Self::Revocation => ApiResource::erase::<SignatureRevocation>(&()),
        }
    }
}

/// An object whose status is written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, if its kind lives in one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid: nothing is written to another object of that name.
    pub uid: String,
}

impl Target {
    pub(super) fn of(kind: Kind, meta: &Meta) -> Self {
        let Meta { name, namespace, uid, .. } = meta.clone();
        Self { kind, namespace, name, uid }
    }
}

/// What is wanted of one object.
#[derive(Debug)]
struct Pending {
    generation: i64,
    wanted: Wanted,
}

/// Writes status.
pub struct StatusWriter {
    client: Client,
    now: fn() -> Timestamp,
    leadership: Arc<Leadership>,
    pending: Mutex<BTreeMap<Target, Pending>>,
    woken: Notify,
}

impl fmt::Debug for StatusWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StatusWriter({} pending)", self.lock().len())
    }
}

impl StatusWriter {
    /// Writes by this client, while `leadership` holds.
    pub fn new(client: Client, leadership: Arc<Leadership>, now: fn() -> Timestamp) -> Arc<Self> {
        Arc::new(Self { client, now, leadership, pending: Mutex::default(), woken: Notify::new() })
    }

    /// Wants this of an object, as of this generation of its spec. A replica that does not hold the Lease forgets it.
    pub fn want(&self, target: Target, generation: i64, wanted: Wanted) {
        if !self.leadership.holds() {
            return;
        }
        {
            let mut pending = self.lock();
            let entry = pending.entry(target).or_insert_with(|| Pending { generation, wanted: Wanted::default() });
            entry.generation = entry.generation.max(generation);
            entry.wanted.extend(wanted);
        }
        self.woken.notify_one();
    }

    /// Writes for ever.
    pub async fn write(&self) {
        loop {
            let next = self.lock().pop_first();
            let Some((target, pending)) = next else {
                self.woken.notified().await;
                continue;
            };
            if !self.leadership.holds() {
                continue;
            }
            match tokio::time::timeout(LIMIT, self.write_one(&target, &pending)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(kind = ?target.kind, name = target.name, %error, "a status could not be written");
                }
                Err(_late) => {
                    tracing::warn!(kind = ?target.kind, name = target.name, "a status could not be written in time");
                }
            }
        }
    }

    async fn write_one(&self, target: &Target, pending: &Pending) -> Result<(), kube::Error> {
        let resource = target.kind.resource();
        let api: Api<DynamicObject> = match &target.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        for attempt in 0.. {
            let Some(object) = api.get_opt(&target.name).await? else { return Ok(()) };
            let newer = object.metadata.generation.unwrap_or_default() > pending.generation;
            // Of a newer spec the watch tells soon enough, and of a new object too.
            if newer || object.metadata.uid.as_deref() != Some(&*target.uid) || !self.leadership.holds() {
                return Ok(());
            }
            let status = object.data.get("status").unwrap_or(&Value::Null);
            let Some(patch) = pending.wanted.patch(status, pending.generation, (self.now)()) else { return Ok(()) };
            let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": patch});
            match api.patch_status(&target.name, &parameters, &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 && attempt + 1 < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A panic while the lock was held would be a bug; what is wanted stays usable all the same.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Target, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::{Condition, Truth};
    use super::super::fake::FakeCluster;
    use super::super::lease::held;
    use super::*;

    const FOLDER: &str = "/apis/policy.countersign.dev/v1alpha1/clustersignaturepolicies";

    fn target(uid: &str) -> Target {
        Target { kind: Kind::Policy, namespace: None, name: "p".into(), uid: uid.into() }
    }

    fn ready(message: &str) -> Wanted {
        Wanted::default().condition("Ready", Condition::new(Truth::True, "Accepted", message))
    }

    /// A cluster with one policy of generation 2, and a writer that may write.
    fn given() -> (FakeCluster, Arc<StatusWriter>) {
        let cluster = FakeCluster::default();
        cluster.put(
            FOLDER,
            "p",
            json!({
                "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy",
                "metadata": {"uid": "u", "generation": 2}, "spec": {},
            }),
        );
        let writer = StatusWriter::new(cluster.client(), Arc::new(held()), || Timestamp::UNIX_EPOCH);
        (cluster, writer)
    }

    /// Writes all that is wanted.
    async fn written(writer: &StatusWriter) {
        let _ = tokio::time::timeout(Duration::from_mins(1), writer.write()).await;
        assert!(writer.lock().is_empty());
    }

    fn status(cluster: &FakeCluster) -> Value {
        cluster.get(&format!("{FOLDER}/p")).unwrap()["status"].clone()
    }

    fn writes(cluster: &FakeCluster) -> usize {
        cluster.requests().iter().filter(|request| request.starts_with("PATCH")).count()
    }

    #[tokio::test(start_paused = true)]
    async fn wants_are_put_together_and_written_once() {
        let (cluster, writer) = given();
        writer.want(target("u"), 1, ready("first"));
        writer.want(target("u"), 2, ready("second"));
        writer.want(target("u"), 2, Wanted::default().field("running", Some(json!({"checked": 1}))));
        written(&writer).await;
        let found = status(&cluster);
        assert_eq!((&found["observedGeneration"], &found["running"]["checked"]), (&json!(2), &json!(1)));
        assert_eq!(found["conditions"][0]["message"], "second");
        assert_eq!(writes(&cluster), 1);
        writer.want(target("u"), 2, ready("second"));
        written(&writer).await;
        assert_eq!(writes(&cluster), 1, "it says so already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_is_tried_again_and_loses_nothing_of_the_others() {
        let (cluster, writer) = given();
        let path = format!("{FOLDER}/p");
        for turn in 1..=3 {
            cluster.meddle(&path, json!({"other": turn}));
        }
        writer.want(target("u"), 2, ready("a"));
        written(&writer).await;
        let found = status(&cluster);
        assert_eq!((&found["other"], &found["conditions"][0]["type"]), (&json!(3), &json!("Ready")));
        assert_eq!(writes(&cluster), 4);
        for turn in 0..ATTEMPTS {
            cluster.meddle(&path, json!({"other": turn}));
        }
        writer.want(target("u"), 2, ready("b"));
        written(&writer).await;
        assert_eq!((writes(&cluster), &status(&cluster)["conditions"][0]["message"]), (9, &json!("a")), "it gave up");
    }

    #[tokio::test(start_paused = true)]
    async fn another_object_of_the_name_and_a_newer_spec_are_left_alone() {
        let (cluster, writer) = given();
        writer.want(target("another"), 2, ready("a"));
        written(&writer).await;
        writer.want(target("u"), 1, ready("a"));
        written(&writer).await;
        assert_eq!((writes(&cluster), status(&cluster)), (0, Value::Null));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_hold_the_lease_writes_nothing() {
        let (cluster, _) = given();
        let writer = StatusWriter::new(cluster.client(), Arc::default(), || Timestamp::UNIX_EPOCH);
        writer.want(target("u"), 2, ready("a"));
        written(&writer).await;
        assert_eq!(cluster.requests(), Vec::<String>::new());
    }
}
