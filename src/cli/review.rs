//! `countersign review`: manifests or admission reviews in, a decision for each object out.
//!
//! A manifest is judged as if it were being created; an AdmissionReview is answered as the webhook would answer it, by the same
//! code. Namespaces among the inputs give the labels that policies select by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::input::JudgingFlags;
use super::output::{self, Format};
use super::{Error, Exit, input, now};
use crate::admission::{self, Answered, Decided, NoLookup};
use crate::decision::{Decision, ReviewAnswer, SCHEMA_VERSION, Trace, plain};
use crate::judge::Judge;
use crate::policy::{Snapshot, Unmatched};
use crate::registry::{Limits, Sources};
use crate::settings::{TrustRootFlag, UnmatchedFlag};
use crate::workload::WorkloadKind;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Manifests (multi-document YAML or JSON) or admission reviews; `-` is standard input. May be repeated.
    #[arg(short, long, value_name = "FILE", required = true)]
    file: Vec<PathBuf>,
    /// A file with policies and, if you like, the `CountersignConfig`; or a folder of them. May be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,
    /// What happens to images that no enforcing policy governs, where no `CountersignConfig` says it.
    #[arg(long, value_enum, default_value = "Deny")]
    unmatched: UnmatchedFlag,
    /// A trust root for policies by name, from a file. May be repeated.
    #[arg(long, value_name = "NAME=FILE")]
    trust_root: Vec<TrustRootFlag>,
    #[command(flatten)]
    judging: JudgingFlags,
}

/// Groups of which every kind that names images is known, so that another kind in them is a mistake.
const KNOWN_GROUPS: [&str; 3] = ["apps", "batch", "extensions"];
/// Groups without a dot that Kubernetes has. No custom resource can be in such a group.
const PLAIN_GROUPS: [&str; 6] = ["", "apps", "autoscaling", "batch", "extensions", "policy"];
/// What a misspelt kind may have been meant to be.
const JUDGED_KINDS: [&str; 10] = [
    "AdmissionReview",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "Pod",
    "PodTemplate",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
];

/// One object and its answer.
struct Reviewed {
    kind: String,
    namespace: String,
    name: String,
    decision: Decision,
    response: ReviewAnswer,
}

/// All decisions as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    objects: Vec<ObjectReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReport {
    kind: String,
    namespace: String,
    name: String,
    #[serde(flatten)]
    decision: Trace,
    response: ReviewAnswer,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Error> {
    let Arguments { file, policies, unmatched, trust_root, judging } = arguments;
    let mut documents: Vec<(&Path, Value)> = Vec::new();
    for path in &file {
        documents.extend(input::documents(path)?.into_iter().map(|document| (path.as_path(), document)));
    }
    let snapshot = input::policies(&policies)?
        .snapshot(input::trust_roots(&trust_root, output::warn)?, Unmatched::from(unmatched))
        .with_namespaces(namespaces(&documents))
        .with_revocations(judging.revocations()?);
    for policy in snapshot.matching_nothing() {
        let what = plain(policy.name().as_str());
        output::complain(&format!(
            "countersign: {what} matches no image, since no delegation of a CountersignConfig among the policies names its namespace; it only adds requirements"
        ));
    }
    let judge = Judge::new(judging.sources()?, Limits::default());
    let only_reviews = documents.iter().all(|(_, document)| admission::is_review(document));
    let mut reviewed = Vec::new();
    for (path, document) in documents {
        reviewed.extend(review(&judge, &snapshot, path, document, judging.timeout).await?);
    }
    if reviewed.is_empty() {
        return Err(Error::Usage("the input holds no object that names images".to_owned()));
    }
    let exit = reviewed.iter().map(|one| Exit::from(one.decision.outcome())).max().unwrap_or(Exit::Denied);
    match judging.output {
        Format::Text => print_text(&reviewed)?,
        Format::Json if only_reviews => {
            for one in &reviewed {
                output::print_json(&one.response)?;
            }
        }
        Format::Json => {
            let object = |one: Reviewed| ObjectReport {
                kind: one.kind,
                namespace: one.namespace,
                name: one.name,
                decision: one.decision.trace(),
                response: one.response,
            };
            let objects = reviewed.into_iter().map(object).collect();
            output::print_json(&Report { schema_version: SCHEMA_VERSION, objects })?;
        }
    }
    Ok(exit)
}

/// Reviews one document. None: an object of a kind that names no images; which, is said on standard error.
async fn review(
    judge: &Judge<Sources>,
    snapshot: &Snapshot,
    path: &Path,
    document: Value,
    timeout: Duration,
) -> Result<Option<Reviewed>, Error> {
    let review = if admission::is_review(&document) {
        document
    } else {
        match creation(path, &document)? {
            Document::Names(review) => review,
            Document::NotJudged { kind, name, custom } => {
                let why =
                    if custom { "nobody here knows whether its kind names images" } else { "its kind names no images" };
                let what = plain(&format!("{kind} {name}"));
                output::warn(&format!("not judged, since {why}: {what}"));
                return Ok(None);
            }
        }
    };
    let body = serde_json::to_vec(&review).map_err(|error| super::surroundings("reading the input", &error))?;
    let Answered { response, decided } =
        admission::answer(judge, snapshot, &NoLookup, &body, now(), Instant::now() + timeout).await;
    let Some(Decided { decision, .. }) = decided else {
        // The webhook has to answer, and denies; here it is input that cannot be read.
        return Err(input::unreadable(path, &plain(response.message())));
    };
    let text = |pointer: &str| text(&review, pointer);
    let names = ["/request/name", "/request/object/metadata/name", "/request/object/metadata/generateName"];
    let name = names.map(text).into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    Ok(Some(Reviewed {
        kind: text("/request/kind/kind"),
        namespace: text("/request/namespace"),
        name,
        decision,
        response,
    }))
}

/// What a document of the input is to us.
enum Document {
    /// An object that names images, as the request that would create it.
    Names(Value),
    /// An object of a kind that names none, or of somebody's own, which the webhook does not judge either.
    NotJudged { kind: String, name: String, custom: bool },
}

/// The request that would create an object.
fn creation(path: &Path, object: &Value) -> Result<Document, Error> {
    let (group_version, kind, name) =
        (text(object, "/apiVersion"), text(object, "/kind"), text(object, "/metadata/name"));
    if group_version.is_empty() || kind.is_empty() {
        return Err(input::unreadable(
            path,
            &"a document has no apiVersion or no kind, so that nobody knows what it is",
        ));
    }
    let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
    if WorkloadKind::from_group_kind(group, &kind).is_none() {
        if KNOWN_GROUPS.contains(&group) {
            let message = format!("{group_version} {kind} {name}: no kind of that group is known by this name");
            return Err(input::unreadable(path, &plain(&message)));
        }
        let custom = group.contains('.') && !group.ends_with(".k8s.io");
        if !custom && let Some(meant) = misspelt(group, &kind) {
            let message = format!("{group_version} {kind} {name}: there is no such kind; was {meant} meant?");
            return Err(input::unreadable(path, &plain(&message)));
        }
        return Ok(Document::NotJudged { kind, name, custom });
    }
    let namespace = text(object, "/metadata/namespace");
    Ok(Document::Names(json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "review",
            "kind": {"group": group, "version": version, "kind": kind},
            "namespace": if namespace.is_empty() { "default" } else { namespace.as_str() },
            "operation": "CREATE",
            "object": object,
        },
    })))
}

/// The kind that was meant where a group of Kubernetes' own stands beside a kind that is judged but for one letter, its case or its
/// group. What is passed over in silence here would be refused by the API server at best.
fn misspelt(group: &str, kind: &str) -> Option<&'static str> {
    let kind = kind.to_ascii_lowercase();
    let alike = |judged: &&&str| strsim::damerau_levenshtein(&judged.to_ascii_lowercase(), &kind) <= 1;
    match JUDGED_KINDS.iter().find(alike) {
        Some(meant) => Some(meant),
        None if group.contains('.') || PLAIN_GROUPS.contains(&group) => None,
        None => Some("another group"),
    }
}

fn text(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The labels of the Namespaces in the input, with the one that Kubernetes sets on every namespace.
fn namespaces(documents: &[(&Path, Value)]) -> BTreeMap<String, BTreeMap<String, String>> {
    let is_namespace = |document: &&Value| {
        document.get("kind").and_then(Value::as_str) == Some("Namespace")
            && document.get("apiVersion").and_then(Value::as_str) == Some("v1")
    };
    let namespace = |document: &Value| {
        let name = document.pointer("/metadata/name")?.as_str()?.to_owned();
        let labels = document.pointer("/metadata/labels").and_then(Value::as_object);
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        let mut labels: BTreeMap<String, String> = labels.into_iter().flatten().filter_map(label).collect();
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
        Some((name, labels))
    };
    documents.iter().map(|(_, document)| document).filter(is_namespace).filter_map(namespace).collect()
}

fn print_text(reviewed: &[Reviewed]) -> Result<(), Error> {
    for one in reviewed {
        let name = if one.name.is_empty() { "(no name)" } else { one.name.as_str() };
        let kind = one.kind.as_str();
        let place = if one.namespace.is_empty() { String::new() } else { format!("{}/", one.namespace) };
        output::print(&format!("{}\n", plain(&format!("{kind} {place}{name}"))))?;
        output::print_text(&one.decision.text())?;
    }
    Ok(())
}
