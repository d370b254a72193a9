//! An AdmissionReview to its answer, around `judge`.
//!
//! Decodes strictly enough to know what is asked, finds the images, has them judged, and responds. It never allows what it could
//! not decode. Follows `admission.k8s.io/v1`:
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::decision::{Decision, Response, deny_undecodable};
use crate::judge::{Judge, Request};
use crate::policy::{Problem, Scope, Snapshot};
use crate::registry::ImageSource;
use crate::workload::{Judged, Operation, WorkloadError, WorkloadKind, images_to_judge};

/// The answer to one review, and what of it is worth counting.
#[derive(Debug)]
pub struct Answered {
    /// The AdmissionReview to send.
    pub response: Response,
    /// The decision; none if the review could not be decoded.
    pub decision: Option<Decision>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<AdmissionRequest>,
}

/// What is read of the request; the rest, such as the user, must not weigh.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionRequest {
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    operation: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// Answers a review that arrived as bytes.
pub async fn answer<S: ImageSource>(
    judge: &Judge<S>,
    snapshot: &Arc<Snapshot>,
    body: &[u8],
    now: Timestamp,
    deadline: Instant,
) -> Answered {
    let request = match decode(body) {
        Ok(request) => request,
        Err((uid, reason)) => return Answered { response: deny_undecodable(&uid, &reason), decision: None },
    };
    let decision = decide(judge, snapshot, &request, now, deadline).await;
    let response = decision.respond(&request.uid, request.dry_run.unwrap_or(false));
    Answered { response, decision: Some(decision) }
}

/// Whether a JSON document is an AdmissionReview.
pub fn is_review(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some("AdmissionReview")
}

/// The request in a body, or the uid as far as it can be read and the reason.
fn decode(body: &[u8]) -> Result<AdmissionRequest, (String, String)> {
    let document: Value = serde_json::from_slice(body).map_err(|error| (String::new(), error.to_string()))?;
    let uid = document.pointer("/request/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let failed = |reason: String| (uid.clone(), reason);
    let review: Review = serde_json::from_value(document).map_err(|error| failed(error.to_string()))?;
    if review.kind != "AdmissionReview" || review.api_version != "admission.k8s.io/v1" {
        return Err(failed(format!("{} {} is no AdmissionReview of admission.k8s.io/v1", review.api_version, review.kind)));
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
    request: &AdmissionRequest,
    now: Timestamp,
    deadline: Instant,
) -> Decision {
    let images = match extract(request) {
        Ok((Judged::Images(images), runs)) => Request { images, scope: scope(snapshot, request), runs },
        Ok((Judged::Unchanged(_), _)) => return Decision::unchanged(),
        Err(problem) => return Decision::refuse(problem),
    };
    let verdicts = judge.judge(&images, snapshot, now, deadline).await;
    Decision::new(verdicts, snapshot.unmatched())
}

/// The images that the request asks to judge, and whether its object runs as it stands.
fn extract(request: &AdmissionRequest) -> Result<(Judged, bool), Problem> {
    let GroupVersionKind { group, version, kind } = &request.kind;
    let refuse = |code, message| Problem { code, message, undecided: false };
    let workload = WorkloadKind::from_group_kind(group, kind).ok_or_else(|| {
        let message = format!("{kind} {group}/{version} is no kind whose images are known; the webhook's rules send too much");
        refuse("UnknownKind", message)
    })?;
    let error = |error: WorkloadError| refuse(error.code(), error.to_string());
    let operation = Operation::parse(&request.operation).map_err(error)?;
    let old = Some(&request.old_object).filter(|old| !old.is_null());
    let sub_resource = request.sub_resource.as_deref().filter(|name| !name.is_empty());
    let judged = images_to_judge(workload, operation, sub_resource, &request.object, old).map_err(error)?;
    Ok((judged, workload == WorkloadKind::Pod))
}

/// The namespace by the request, never by the object: the API server vouches for the former.
fn scope(snapshot: &Snapshot, request: &AdmissionRequest) -> Scope {
    Scope::Namespace(snapshot.namespace(request.namespace.as_deref().unwrap_or_default()))
}
