//! Every field that can hold an image, in every kind, and every shape that is refused.

use serde_json::json;

use super::*;

const KINDS: [WorkloadKind; 9] = [
    WorkloadKind::CronJob,
    WorkloadKind::DaemonSet,
    WorkloadKind::Deployment,
    WorkloadKind::Job,
    WorkloadKind::Pod,
    WorkloadKind::PodTemplate,
    WorkloadKind::ReplicaSet,
    WorkloadKind::ReplicationController,
    WorkloadKind::StatefulSet,
];

/// An object of `kind` around a Pod specification.
pub(super) fn object(kind: WorkloadKind, pod_spec: Value) -> Value {
    let mut object = kind.pod_spec_path().iter().rev().fold(pod_spec, |value, field| json!({ *field: value }));
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.as_str());
    object["metadata"] = json!({"name": "x", "namespace": "default"});
    object
}

fn fields(kind: WorkloadKind, object: &Value) -> Result<Vec<(String, String)>, WorkloadError> {
    Ok(images(kind, object)?.into_iter().map(|image| (image.field().to_owned(), image.text().to_owned())).collect())
}

fn all_fields() -> Value {
    json!({
        "containers": [{"name": "a", "image": "a:1", "futureField": {"image": "not-an-image"}}, {"image": "b:1"}],
        "initContainers": [{"image": "c:1"}, {"image": "sidecar:1", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"image": "d:1", "targetContainerName": "a"}],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "model", "image": {"reference": "e:1", "pullPolicy": "Always"}},
            {"name": "none", "image": null},
        ],
        "imagePullSecrets": [{"name": "image"}],
    })
}

#[test]
fn connaisseur_finds_every_image_of_every_kind() {
    let expected = [
        ("containers[0].image", "a:1"),
        ("containers[1].image", "b:1"),
        ("initContainers[0].image", "c:1"),
        ("initContainers[1].image", "sidecar:1"),
        ("ephemeralContainers[0].image", "d:1"),
        ("volumes[1].image.reference", "e:1"),
    ];
    for kind in KINDS {
        let object = object(kind, all_fields());
        let path = kind.pod_spec_path().join(".");
        let found = images(kind, &object).unwrap();
        assert_eq!(found.len(), expected.len(), "{kind:?}");
        for (image, (field, text)) in found.iter().zip(expected) {
            assert_eq!(image.field(), format!("{path}.{field}"));
            assert_eq!(image.text(), text);
            assert_eq!(image.reference().unwrap().as_written(), text);
            // The pointer leads to the text.
            assert_eq!(object.pointer(&image.pointer()), Some(&json!(text)), "{}", image.pointer());
        }
    }
}

#[test]
fn knows_where_each_kind_keeps_its_pods() {
    let cases = [
        ("", "Pod", "v1", "spec"),
        ("", "PodTemplate", "v1", "template.spec"),
        ("", "ReplicationController", "v1", "spec.template.spec"),
        ("apps", "DaemonSet", "apps/v1", "spec.template.spec"),
        ("apps", "Deployment", "apps/v1", "spec.template.spec"),
        ("apps", "ReplicaSet", "apps/v1", "spec.template.spec"),
        ("apps", "StatefulSet", "apps/v1", "spec.template.spec"),
        ("batch", "CronJob", "batch/v1", "spec.jobTemplate.spec.template.spec"),
        ("batch", "Job", "batch/v1", "spec.template.spec"),
    ];
    assert_eq!(cases.len(), KINDS.len());
    for (group, name, api_version, path) in cases {
        let kind = WorkloadKind::from_group_kind(group, name).unwrap();
        assert_eq!(kind.as_str(), name);
        assert_eq!(kind.api_version(), api_version);
        assert_eq!(kind.pod_spec_path().join("."), path);
    }
    for (group, name) in [
        ("extensions", "Deployment"),
        ("apps", "Pod"),
        ("", "Deployment"),
        ("batch", "cronjob"),
        ("", "PodList"),
        ("argoproj.io", "Rollout"),
        ("", "Binding"),
    ] {
        assert_eq!(WorkloadKind::from_group_kind(group, name), None, "{group} {name}");
    }
}

#[test]
fn keeps_an_unparsable_reference_with_its_image() {
    let pod = object(WorkloadKind::Pod, json!({"containers": [{"image": " "}, {"image": "nginx"}]}));
    let found = images(WorkloadKind::Pod, &pod).unwrap();
    assert_eq!(found[0].reference(), Err(&ReferenceError::ForbiddenCharacter { character: ' ', offset: 0 }));
    assert!(found[1].reference().is_ok());
}

#[test]
fn refuses_what_it_cannot_read() {
    use WorkloadError as E;
    let malformed = |field: &str, expected| E::Malformed { field: field.into(), expected };
    let missing = |field: &str| E::MissingImage { field: field.into() };
    let ok = json!([{"image": "a"}]);
    let many = |count| json!(vec![json!({"image": "a"}); count]);
    let cases: Vec<(Value, WorkloadError)> = vec![
        (json!({}), E::NoImages { path: "spec".into() }),
        (json!({"containers": []}), E::NoImages { path: "spec".into() }),
        (json!({"containers": null, "initContainers": null}), E::NoImages { path: "spec".into() }),
        (json!({"Containers": ok}), E::NoImages { path: "spec".into() }),
        (json!({"volumes": [{"emptyDir": {}}]}), E::NoImages { path: "spec".into() }),
        (json!(null), E::MissingPodSpec { path: "spec".into() }),
        (json!([]), malformed("spec", "an object")),
        (json!("x"), malformed("spec", "an object")),
        (json!({"containers": {"image": "a"}}), malformed("spec.containers", "a list")),
        (json!({"containers": "a"}), malformed("spec.containers", "a list")),
        (json!({"containers": ok, "initContainers": 1}), malformed("spec.initContainers", "a list")),
        (json!({"containers": ok, "ephemeralContainers": false}), malformed("spec.ephemeralContainers", "a list")),
        (json!({"containers": ok, "volumes": {}}), malformed("spec.volumes", "a list")),
        (json!({"containers": ["a"]}), malformed("spec.containers[0]", "an object")),
        (json!({"containers": [{"image": "a"}, null]}), malformed("spec.containers[1]", "an object")),
        (json!({"containers": ok, "volumes": [1]}), malformed("spec.volumes[0]", "an object")),
        (json!({"containers": ok, "volumes": [{"image": "a"}]}), malformed("spec.volumes[0].image", "an object")),
        (json!({"containers": [{"image": 1}]}), malformed("spec.containers[0].image", "a string")),
        (json!({"containers": [{"image": ["a"]}]}), malformed("spec.containers[0].image", "a string")),
        (
            json!({"containers": ok, "volumes": [{"image": {"reference": {}}}]}),
            malformed("spec.volumes[0].image.reference", "a string"),
        ),
        (json!({"containers": [{"name": "a"}]}), missing("spec.containers[0].image")),
        (json!({"containers": [{"Image": "a"}]}), missing("spec.containers[0].image")),
        (json!({"containers": [{"image": ""}]}), missing("spec.containers[0].image")),
        (json!({"containers": [{"image": null}]}), missing("spec.containers[0].image")),
        (json!({"containers": ok, "initContainers": [{}]}), missing("spec.initContainers[0].image")),
        (json!({"containers": ok, "ephemeralContainers": [{}]}), missing("spec.ephemeralContainers[0].image")),
        (json!({"containers": ok, "volumes": [{"image": {}}]}), missing("spec.volumes[0].image.reference")),
        (
            json!({"containers": ok, "volumes": [{"image": {"reference": ""}}]}),
            missing("spec.volumes[0].image.reference"),
        ),
        (json!({"containers": many(513)}), E::TooManyImages { maximum: 512 }),
        (json!({"containers": many(500), "initContainers": many(13)}), E::TooManyImages { maximum: 512 }),
    ];
    for (pod_spec, expected) in cases {
        assert_eq!(
            fields(WorkloadKind::Pod, &object(WorkloadKind::Pod, pod_spec.clone())),
            Err(expected),
            "{pod_spec}"
        );
    }
    let full = object(WorkloadKind::Pod, json!({"containers": many(500), "initContainers": many(12)}));
    assert_eq!(images(WorkloadKind::Pod, &full).unwrap().len(), 512);
}

#[test]
fn refuses_an_object_of_another_kind_or_version() {
    let deployment = object(WorkloadKind::Deployment, json!({"containers": [{"image": "a"}]}));
    for (pointer, value) in [
        ("/kind", json!("ReplicaSet")),
        ("/kind", json!("deployment")),
        ("/kind", json!(null)),
        ("/apiVersion", json!("apps/v1beta1")),
        ("/apiVersion", json!("extensions/v1beta1")),
        ("/apiVersion", json!("v1")),
        ("/apiVersion", json!(["apps/v1"])),
    ] {
        let mut other = deployment.clone();
        *other.pointer_mut(pointer).unwrap() = value.clone();
        let found = images(WorkloadKind::Deployment, &other);
        assert!(matches!(found, Err(WorkloadError::ObjectKindMismatch { .. })), "{pointer} {value}: {found:?}");
    }
    // A Pod's images are not where a Deployment's are.
    assert!(images(WorkloadKind::Pod, &deployment).is_err());
    for other in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(images(WorkloadKind::Pod, &other).is_err(), "{other}");
    }
}

#[test]
fn a_replication_controller_without_a_template_has_no_images() {
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "spec": {"replicas": 1}});
    assert_eq!(
        images(WorkloadKind::ReplicationController, &controller),
        Err(WorkloadError::MissingPodSpec { path: "spec.template.spec".into() })
    );
}

/// Requests that the test suites of other controllers carry, whole or without the envelope of the review.
fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/data/admission-reviews/{name}.json", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "test data of this package")]
    let text = std::fs::read_to_string(path).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    value.get("request").cloned().unwrap_or(value)
}

fn judge(request: &Value) -> Result<Judged, WorkloadError> {
    let kind = |field: &str| request["kind"][field].as_str().unwrap();
    images_to_judge(
        WorkloadKind::from_group_kind(kind("group"), kind("kind")).unwrap(),
        Operation::parse(request["operation"].as_str().unwrap())?,
        request["subResource"].as_str(),
        &request["object"],
        request.get("oldObject"),
    )
}

#[test]
fn reads_the_requests_of_other_controllers() {
    let cases = [
        ("connaisseur--02_pod", "spec.containers[0].image"),
        ("connaisseur--03_replicaset", "spec.template.spec.containers[0].image"),
        ("connaisseur--06_daemonset", "spec.template.spec.containers[0].image"),
        ("connaisseur--07_statefulset", "spec.template.spec.containers[0].image"),
        ("connaisseur--08_job", "spec.template.spec.containers[0].image"),
        ("connaisseur--20_pod_ephemeralcontainer", "spec.ephemeralContainers[0].image"),
    ];
    for (name, field) in cases {
        let Judged::Images(images) = judge(&fixture(name)).unwrap() else { panic!("{name}: unchanged") };
        assert!(images.iter().any(|image| image.field() == field && image.reference().is_ok()), "{name}: {images:?}");
    }
}

#[test]
fn reads_updates_of_other_controllers() {
    // Scaled, with the images that it had.
    let scaled = judge(&fixture("connaisseur--10_update"));
    assert_eq!(scaled, Ok(Judged::Unchanged(Unchanged::BookkeepingOnly)));
    // `deletionTimestamp` in the new object alone is not the API server's doing.
    let deleted = judge(&fixture("connaisseur--29_deleted_deployment_update_for_delete"));
    assert!(matches!(deleted, Ok(Judged::Images(images)) if images.len() == 1));
}

#[test]
fn refuses_requests_that_are_not_what_an_api_server_sends() {
    // An empty Pod, and a version that is no longer served.
    for name in ["connaisseur--12_err_pod", "connaisseur--04_cronjob"] {
        let found = judge(&fixture(name));
        assert!(matches!(found, Err(WorkloadError::ObjectKindMismatch { .. })), "{name}: {found:?}");
    }
    // These objects were written by hand, without `apiVersion` and `kind`.
    for name in ["pod_creation_signed", "cronjob_creation_signed", "replicationcontroller_creation_unsigned"] {
        let mut request = fixture(&format!("verify-image-signatures--{name}"));
        assert!(matches!(judge(&request), Err(WorkloadError::ObjectKindMismatch { .. })), "{name}");
        let kind = request["kind"].clone();
        let kind = WorkloadKind::from_group_kind(kind["group"].as_str().unwrap(), kind["kind"].as_str().unwrap());
        request["object"]["apiVersion"] = json!(kind.unwrap().api_version());
        request["object"]["kind"] = json!(kind.unwrap().as_str());
        assert!(matches!(judge(&request), Ok(Judged::Images(_))), "{name}");
    }
}
