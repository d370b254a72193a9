//! An AdmissionReview to its answer, around `judge`.
//!
//! Decodes strictly enough to know what is asked, finds the images, has them judged, and responds. It never allows what it could
//! not decode. Follows `admission.k8s.io/v1`:
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use std::collections::BTreeMap;
use std::future::Future;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::decision::{Decision, ReviewAnswer, deny_undecodable};
use crate::judge::{Judge, Request};
use crate::policy::{NamespaceLabels, Problem, Scope, Snapshot};
use crate::registry::ImageSource;
use crate::revocation::Revocations;
use crate::workload::{Judged, Operation, WorkloadError, WorkloadKind, images_to_judge};

/// Times that one review is judged anew because of newer revocations.
const JUDGED_ANEW: usize = 3;

/// What a review looks up beyond its snapshot, the seam to `cluster`: namespaces that it does not have yet, and newer revocations.
pub trait NamespaceLookup: Send + Sync {
    /// The labels of a namespace as the API server has them now. None: it has none of that name, or did not say.
    fn labels(&self, name: &str) -> impl Future<Output = Option<BTreeMap<String, String>>> + Send;
    /// The revocations of this moment, asked for just before an answer goes out. None: there are no others than the snapshot's.
    fn revocations(&self) -> Option<Revocations>;
}

/// Knows nothing beyond the snapshot: the command line's.
#[derive(Clone, Copy, Debug)]
pub struct NoLookup;

impl NamespaceLookup for NoLookup {
    async fn labels(&self, _name: &str) -> Option<BTreeMap<String, String>> {
        None
    }

    fn revocations(&self) -> Option<Revocations> {
        None
    }
}

/// The answer to one review, and what of it is worth telling.
#[derive(Debug)]
pub struct Answered {
    /// The review to send.
    pub response: ReviewAnswer,
    /// The decision and its subject; none if the review could not be decoded.
    pub decided: Option<Decided>,
}

/// A decision, and what it was about.
#[derive(Debug)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// The request's uid.
    pub uid: String,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name, or the start of it where the API server completes it.
    pub name: String,
    /// Whether nothing is to come of the request.
    pub dry_run: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    api_version: String,
    kind: String,
    request: Option<AdmissionRequest>,
}

/// What is read of the request; the rest, such as the user, must not weigh.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdmissionRequest {
    pub(crate) uid: String,
    pub(crate) kind: GroupVersionKind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    namespace: String,
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) object: Value,
    #[serde(default)]
    pub(crate) old_object: Value,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GroupVersionKind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

/// A review that was decoded and not answered yet. Built only by [`decode`].
#[derive(Debug)]
pub struct Review(AdmissionRequest);

/// Answers a review that arrived as bytes.
pub async fn answer<S: ImageSource>(
    judge: &Judge<S>,
    snapshot: &Snapshot,
    namespaces: &impl NamespaceLookup,
    body: &[u8],
    now: Timestamp,
    deadline: Instant,
) -> Answered {
    match decode(body) {
        Ok(review) => review.answer(judge, snapshot, namespaces, now, deadline).await,
        Err(denied) => *denied,
    }
}

/// Decodes a review.
///
/// # Errors
/// The denial of what is no review.
pub fn decode(body: &[u8]) -> Result<Review, Box<Answered>> {
    let namespaced = |request: AdmissionRequest| match request.namespace.as_str() {
        // Every kind that we judge lives in a namespace, and policies select by it.
        "" => Err((request.uid, "the request has no namespace".to_owned())),
        _ => Ok(Review(request)),
    };
    read(body).and_then(namespaced).map_err(|(uid, reason)| {
        let response = deny_undecodable(&uid, &reason);
        Box::new(Answered { response, decided: None })
    })
}

impl Review {
    /// The namespace that the request is for, on the API server's word.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Has the review judged, and answers it.
    pub async fn answer<S: ImageSource>(
        self,
        judge: &Judge<S>,
        snapshot: &Snapshot,
        namespaces: &impl NamespaceLookup,
        now: Timestamp,
        deadline: Instant,
    ) -> Answered {
        let Self(request) = self;
        let decision = decide(judge, snapshot, namespaces, &request, now, deadline).await;
        let dry_run = request.dry_run.unwrap_or(false);
        let response = decision.respond(&request.uid, dry_run);
        let metadata = |field: &str| request.object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
        let name = metadata("name").or_else(|| metadata("generateName")).unwrap_or_default().to_owned();
        let AdmissionRequest { uid, kind, namespace, .. } = request;
        Answered { response, decided: Some(Decided { decision, uid, kind: kind.kind, namespace, name, dry_run }) }
    }
}

/// Whether a JSON document is an AdmissionReview.
pub fn is_review(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some("AdmissionReview")
}

/// The request in a body, or the uid as far as it can be read and the reason.
pub(crate) fn read(body: &[u8]) -> Result<AdmissionRequest, (String, String)> {
    let document: Value = serde_json::from_slice(body).map_err(|error| (String::new(), error.to_string()))?;
    let uid = document.pointer("/request/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let failed = |reason: String| (uid.clone(), reason);
    let review: Envelope = serde_json::from_value(document).map_err(|error| failed(error.to_string()))?;
    if review.kind != "AdmissionReview" || review.api_version != "admission.k8s.io/v1" {
        return Err(failed(format!(
            "{} {} is no AdmissionReview of admission.k8s.io/v1",
            review.api_version, review.kind
        )));
    }
    let request = review.request.ok_or_else(|| failed("it holds no request".to_owned()))?;
    if request.uid.is_empty() {
        return Err(failed("the request has no uid".to_owned()));
    }
    Ok(request)
}

async fn decide<S: ImageSource>(
    judge: &Judge<S>,
    snapshot: &Snapshot,
    namespaces: &impl NamespaceLookup,
    request: &AdmissionRequest,
    now: Timestamp,
    deadline: Instant,
) -> Decision {
    let images = match extract(request) {
        Ok((Judged::Images(images), runs)) => {
            Request { images, scope: scope(snapshot, namespaces, request, deadline).await, runs }
        }
        Ok((Judged::Unchanged(_), _)) => return Decision::unchanged(),
        Err(problem) => return Decision::refuse(problem),
    };
    let mut by = snapshot.revocations().clone();
    for _ in 0..=JUDGED_ANEW {
        let verdicts = judge.judge_by(&images, snapshot, &by, now, deadline).await;
        let decision = Decision::new(verdicts, snapshot.unmatched());
        match namespaces.revocations() {
            // What was judged while they came in was judged by the older ones. They only take away: a denial stands.
            Some(newer) if !newer.is_same(&by) && newer != by && decision.allows() => by = newer,
            _ => return decision,
        }
    }
    let message = "revocations changed again and again while the request was judged".to_owned();
    Decision::refuse(Problem { code: "RevocationsChanging", message, undecided: true })
}

/// The images that the request asks to judge, and whether its object runs as it stands.
fn extract(request: &AdmissionRequest) -> Result<(Judged, bool), Problem> {
    let GroupVersionKind { group, version, kind } = &request.kind;
    let refuse = |code, message| Problem { code, message, undecided: false };
    let workload = WorkloadKind::from_group_kind(group, kind).ok_or_else(|| {
        let message =
            format!("{kind} {group}/{version} is no kind whose images are known; the webhook's rules send too much");
        refuse("UnknownKind", message)
    })?;
    // The API server converts what it is asked to match; a request in another version was matched by rules that nobody meant.
    let group_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    if group_version != workload.api_version() {
        let message = format!("the request is for {kind} of {group_version}, and {} is read", workload.api_version());
        return Err(refuse("ObjectKindMismatch", message));
    }
    let error = |error: WorkloadError| refuse(error.code(), error.to_string());
    let operation = Operation::parse(&request.operation).map_err(error)?;
    let old = Some(&request.old_object).filter(|old| !old.is_null());
    let sub_resource = request.sub_resource.as_deref().filter(|name| !name.is_empty());
    let judged = images_to_judge(workload, operation, sub_resource, &request.object, old).map_err(error)?;
    Ok((judged, workload == WorkloadKind::Pod))
}

/// The namespace by the request, never by the object: the API server vouches for the former. One that the watch has not seen
/// yet is asked for, so that a Pod may follow its namespace at once.
async fn scope(
    snapshot: &Snapshot,
    namespaces: &impl NamespaceLookup,
    request: &AdmissionRequest,
    deadline: Instant,
) -> Scope {
    let mut namespace = snapshot.namespace(&request.namespace);
    if namespace.labels == NamespaceLabels::Unknown && snapshot.needs_labels() {
        let found = tokio::time::timeout_at(deadline, namespaces.labels(&namespace.name)).await;
        if let Ok(Some(labels)) = found {
            namespace.labels = NamespaceLabels::Known(labels);
        }
    }
    Scope::Namespace(namespace)
}
