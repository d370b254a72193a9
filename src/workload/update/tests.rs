//! What an UPDATE may change without being judged, one field at a time.

use serde_json::json;

use super::super::tests::object;
use super::*;

const DELETED: &str = "2026-03-06T12:34:56Z";

fn pod_spec() -> Value {
    json!({"containers": [{"image": "a:1"}, {"image": "b:1"}], "initContainers": [{"image": "c:1"}]})
}

/// The fields that are judged, or why none is.
type Outcome = Result<Vec<String>, Unchanged>;

fn outcome(judged: Judged) -> Outcome {
    match judged {
        Judged::Images(images) => Ok(images.iter().map(|image| image.field().to_owned()).collect()),
        Judged::Unchanged(reason) => Err(reason),
    }
}

#[expect(clippy::unwrap_in_result, reason = "the test's result is not an error")]
fn judge(kind: WorkloadKind, new: &Value, old: &Value) -> Outcome {
    outcome(images_to_judge(kind, Operation::Update, None, new, Some(old)).unwrap())
}

/// `object` with `value` at a pointer, whose parents are made if need be.
fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let mut at = &mut object;
    for field in pointer.split('/').skip(1) {
        at = match field.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[field],
        };
    }
    *at = value;
    object
}

#[test]
fn judges_only_what_an_update_of_a_pod_brings_in() {
    let old = object(WorkloadKind::Pod, pod_spec());
    // What changes, the new object, the fields that are judged.
    let cases: &[(&str, Value, &[&str])] = &[
        ("nothing", old.clone(), &[]),
        ("a label", with(&old, "/metadata/labels", json!({"a": "b"})), &[]),
        ("a finalizer", with(&old, "/metadata/finalizers", json!([])), &[]),
        ("a toleration", with(&old, "/spec/tolerations", json!([{}])), &[]),
        ("an image", with(&old, "/spec/containers/1/image", json!("b:2")), &["spec.containers[1].image"]),
        (
            "the same image in another spelling",
            with(&old, "/spec/containers/0/image", json!("docker.io/library/a:1")),
            &["spec.containers[0].image"],
        ),
        (
            "an ephemeral container",
            with(&old, "/spec/ephemeralContainers", json!([{"image": "a:1"}])),
            &["spec.ephemeralContainers[0].image"],
        ),
        (
            "an image volume",
            with(&old, "/spec/volumes", json!([{"image": {"reference": "a:1"}}])),
            &["spec.volumes[0].image.reference"],
        ),
        (
            "the order",
            with(&old, "/spec/containers", json!([{"image": "b:1"}, {"image": "a:1"}])),
            &["spec.containers[0].image", "spec.containers[1].image"],
        ),
        ("one less", with(&old, "/spec/containers", json!([{"image": "a:1"}])), &[]),
    ];
    for (what, new, expected) in cases {
        let expected = if expected.is_empty() {
            Err(Unchanged::SameImages)
        } else {
            Ok(expected.iter().map(|field| (*field).to_owned()).collect())
        };
        assert_eq!(judge(WorkloadKind::Pod, new, &old), expected, "{what}");
        // A Pod that is being deleted can still be given a container to run.
        let (new, old) = (
            with(new, "/metadata/deletionTimestamp", json!(DELETED)),
            with(&old, "/metadata/deletionTimestamp", json!(DELETED)),
        );
        assert_eq!(judge(WorkloadKind::Pod, &new, &old), expected, "{what}, while being deleted");
    }
}

#[test]
fn judges_other_kinds_unless_only_bookkeeping_differs() {
    let old = object(WorkloadKind::Deployment, pod_spec());
    let unjudged = [
        ("/metadata/annotations", json!({"countersign": "skip"})),
        ("/metadata/finalizers", json!([])),
        ("/metadata/ownerReferences", json!([{"kind": "Deployment"}])),
        ("/metadata/managedFields", json!([{}])),
        ("/metadata/generation", json!(2)),
        ("/metadata/resourceVersion", json!("2")),
        ("/spec/replicas", json!(0)),
        ("/spec/paused", json!(true)),
        ("/spec/suspend", json!(true)),
        ("/status", json!({"replicas": 1})),
    ];
    let mut all = old.clone();
    for (pointer, value) in unjudged {
        let new = with(&old, pointer, value.clone());
        assert_eq!(judge(WorkloadKind::Deployment, &new, &old), Err(Unchanged::BookkeepingOnly), "{pointer}");
        // Taken away as well as added.
        assert_eq!(judge(WorkloadKind::Deployment, &old, &new), Err(Unchanged::BookkeepingOnly), "{pointer}");
        all = with(&all, pointer, value);
    }
    assert_eq!(judge(WorkloadKind::Deployment, &all, &old), Err(Unchanged::BookkeepingOnly));

    let judged = [
        ("/metadata/labels", json!({"a": "b"})),
        ("/metadata/name", json!("y")),
        ("/metadata/namespace", json!("kube-system")),
        ("/metadata/deletionTimestamp", json!(DELETED)),
        ("/metadata", json!(null)),
        ("/spec/selector", json!({})),
        ("/spec/template/metadata", json!({"annotations": {"restartedAt": "now"}})),
        ("/spec/template/spec/replicas", json!(1)),
        ("/spec/template/spec/paused", json!(true)),
        ("/spec/template/spec/containers/0/command", json!(["sh"])),
        ("/spec/template/spec/containers/0/image", json!("a:2")),
        ("/extra", json!({})),
    ];
    for (pointer, value) in judged {
        // Bookkeeping beside it makes no difference.
        let new = with(&all, pointer, value);
        assert_eq!(judge(WorkloadKind::Deployment, &new, &old).map(|fields| fields.len()), Ok(3), "{pointer}");
    }
}

#[test]
fn a_deletion_that_only_the_new_object_tells_of_is_not_believed() {
    let live = object(WorkloadKind::Deployment, pod_spec());
    let deleted = with(&live, "/metadata/deletionTimestamp", json!(DELETED));
    let relabelled = |object: &Value| with(object, "/metadata/labels", json!({"a": "b"}));
    let kind = WorkloadKind::Deployment;
    assert_eq!(judge(kind, &relabelled(&deleted), &deleted), Err(Unchanged::BeingDeleted));
    assert_eq!(judge(kind, &relabelled(&deleted), &live).map(|fields| fields.len()), Ok(3));
    assert_eq!(judge(kind, &relabelled(&live), &deleted).map(|fields| fields.len()), Ok(3));
    // A finalizer keeps the object for as long as its author likes: new images are judged all the same.
    let changed = with(&deleted, "/spec/template/spec/containers/0/image", json!("evil"));
    assert_eq!(judge(kind, &changed, &deleted), Ok(vec!["spec.template.spec.containers[0].image".to_owned()]));
    for value in [json!(null), json!(true), json!({}), json!(0)] {
        let pretended = with(&live, "/metadata/deletionTimestamp", value);
        assert_eq!(judge(kind, &relabelled(&pretended), &pretended).map(|fields| fields.len()), Ok(3));
    }
    let created = images_to_judge(kind, Operation::Create, None, &deleted, Some(&deleted));
    assert!(matches!(created, Ok(Judged::Images(images)) if images.len() == 3));
}

#[test]
fn judges_everything_without_an_old_object_to_compare() {
    for kind in [WorkloadKind::Pod, WorkloadKind::Job] {
        let new = object(kind, pod_spec());
        let unreadable = with(&new, "/kind", json!("ConfigMap"));
        let imageless = object(kind, json!({}));
        for old in [None, Some(&json!(null)), Some(&json!({})), Some(&unreadable), Some(&imageless)] {
            let found = images_to_judge(kind, Operation::Update, None, &new, old);
            assert!(matches!(found, Ok(Judged::Images(images)) if images.len() == 3), "{kind:?} {old:?}");
        }
        let found = images_to_judge(kind, Operation::Create, None, &new, Some(&new));
        assert!(matches!(found, Ok(Judged::Images(images)) if images.len() == 3), "{kind:?}");
    }
}

#[test]
fn an_object_that_cannot_be_read_can_still_lose_its_finalizers() {
    let spec = json!({"containers": [{"name": "no image"}]});
    let pod = object(WorkloadKind::Pod, spec.clone());
    let released = with(&pod, "/metadata/finalizers", json!([]));
    assert_eq!(judge(WorkloadKind::Pod, &released, &pod), Err(Unchanged::SameImages));
    let job = object(WorkloadKind::Job, spec);
    let released = with(&job, "/metadata/finalizers", json!([]));
    assert_eq!(judge(WorkloadKind::Job, &released, &job), Err(Unchanged::BookkeepingOnly));
    // Any other change is judged, and refused.
    let relabelled = with(&job, "/metadata/labels", json!({}));
    let found = images_to_judge(WorkloadKind::Job, Operation::Update, None, &relabelled, Some(&job));
    assert!(matches!(found, Err(WorkloadError::MissingImage { .. })));
}

#[test]
fn refuses_operations_and_subresources_that_no_webhook_asks_for() {
    use Operation::{Create, Update};
    for text in ["DELETE", "CONNECT", "update", "", "CREATE "] {
        let expected = WorkloadError::UnexpectedOperation { operation: text.into() };
        assert_eq!(Operation::parse(text), Err(expected), "{text:?}");
    }
    assert_eq!(Operation::parse("CREATE"), Ok(Create));
    assert_eq!(Operation::parse("UPDATE"), Ok(Update));

    let cases = [
        (WorkloadKind::Pod, Update, "", true),
        (WorkloadKind::Pod, Update, "ephemeralcontainers", true),
        (WorkloadKind::Pod, Create, "ephemeralcontainers", false),
        (WorkloadKind::Pod, Update, "status", false),
        (WorkloadKind::Pod, Update, "resize", false),
        (WorkloadKind::Pod, Create, "binding", false),
        (WorkloadKind::Deployment, Update, "scale", false),
        (WorkloadKind::Deployment, Update, "ephemeralcontainers", false),
    ];
    for (kind, operation, sub_resource, accepted) in cases {
        let object = object(kind, pod_spec());
        let found = images_to_judge(kind, operation, Some(sub_resource), &object, Some(&object));
        match found {
            Ok(_) => assert!(accepted, "{kind:?} {operation:?} {sub_resource}"),
            Err(WorkloadError::UnexpectedSubResource { .. }) => {
                assert!(!accepted, "{kind:?} {operation:?} {sub_resource}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    // The kind is checked even where nothing would be judged.
    let pod = with(&object(WorkloadKind::Pod, pod_spec()), "/apiVersion", json!("v2"));
    let found = images_to_judge(WorkloadKind::Pod, Update, None, &pod, Some(&pod));
    assert!(matches!(found, Err(WorkloadError::ObjectKindMismatch { .. })));
}
