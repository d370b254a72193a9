//! The images of an admitted object, and which of them a request gives cause to judge.
//!
//! Every kind of Kubernetes that holds a Pod is known here by the path of its Pod specification; what is not known has
//! no [`WorkloadKind`], and it is for the caller to refuse it. Objects are read as JSON and not as typed structs,
//! because a field that a struct drops would be an image that nobody judges. Nothing here looks at annotations,
//! labels, owners or users: their author may be the workload's.
//!
//! An image that is missing or malformed is an error for the whole object. Kubernetes itself refuses an empty `image`
//! in Pods and templates alike ([`validateContainerCommon`](https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/apis/core/validation/validation.go));
//! in templates it accepts white space, which image triggers fill in later, and an empty reference of an image
//! volume. The former is a [`ReferenceError`] of that image here and the latter a [`WorkloadError::MissingImage`].

mod update;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::image::{ImageReference, ReferenceError};

pub use update::{Judged, Operation, Unchanged, images_to_judge};

/// Most images in one object. A Pod that the API server stores within its 1.5 MiB can hold more; none that runs does.
const MAXIMUM_IMAGES: usize = 512;

/// Why an object's images cannot be told, which denies it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WorkloadError {
    /// A part of the object that the API server would never send in this shape.
    #[error("{field} is not {expected}")]
    Malformed {
        /// Path of the field.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A container or image volume that names no image.
    #[error("{field} is missing or empty")]
    MissingImage {
        /// Path of the field.
        field: String,
    },
    /// The Pod specification is absent, which Kubernetes allows in a `ReplicationController`.
    #[error("the object has no {path}")]
    MissingPodSpec {
        /// Path of the Pod specification.
        path: String,
    },
    /// A Pod specification without a single container.
    #[error("{path} names no image")]
    NoImages {
        /// Path of the Pod specification.
        path: String,
    },
    /// The object is not of the kind that the request names.
    #[error("the object is {found_kind:?} of {found_api_version:?}, not {expected_kind:?} of {expected_api_version:?}")]
    ObjectKindMismatch {
        /// `apiVersion` that goes with the request's kind.
        expected_api_version: &'static str,
        /// The request's kind.
        expected_kind: &'static str,
        /// `apiVersion` of the object, empty if absent.
        found_api_version: String,
        /// `kind` of the object, empty if absent.
        found_kind: String,
    },
    /// More images than are judged for one object.
    #[error("the object names more than {maximum} images")]
    TooManyImages {
        /// Images allowed.
        maximum: usize,
    },
    /// An operation that no webhook of ours asks for.
    #[error("operation {operation:?} is neither CREATE nor UPDATE")]
    UnexpectedOperation {
        /// The operation as written.
        operation: String,
    },
    /// A subresource that no webhook of ours asks for, or in a combination that does not exist.
    #[error("subresource {sub_resource:?} of {kind} is not judged")]
    UnexpectedSubResource {
        /// The request's kind.
        kind: &'static str,
        /// The subresource as written.
        sub_resource: String,
    },
}

impl WorkloadError {
    /// A stable code for the trace and for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "MalformedObject",
            Self::MissingImage { .. } => "MissingImage",
            Self::MissingPodSpec { .. } | Self::NoImages { .. } => "NoImages",
            Self::ObjectKindMismatch { .. } => "ObjectKindMismatch",
            Self::TooManyImages { .. } => "TooManyImages",
            Self::UnexpectedOperation { .. } => "UnexpectedOperation",
            Self::UnexpectedSubResource { .. } => "UnexpectedSubResource",
        }
    }
}

/// The kinds that hold a Pod specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// `batch/v1`.
    CronJob,
    /// `apps/v1`.
    DaemonSet,
    /// `apps/v1`.
    Deployment,
    /// `batch/v1`.
    Job,
    /// `v1`.
    Pod,
    /// `v1`.
    PodTemplate,
    /// `apps/v1`.
    ReplicaSet,
    /// `v1`.
    ReplicationController,
    /// `apps/v1`.
    StatefulSet,
}

impl WorkloadKind {
    /// The kind of that name in that group (empty for the core group). The version is judged with the object.
    pub fn from_group_kind(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("", "Pod") => Some(Self::Pod),
            ("", "PodTemplate") => Some(Self::PodTemplate),
            ("", "ReplicationController") => Some(Self::ReplicationController),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            ("apps", "Deployment") => Some(Self::Deployment),
            ("apps", "ReplicaSet") => Some(Self::ReplicaSet),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("batch", "CronJob") => Some(Self::CronJob),
            ("batch", "Job") => Some(Self::Job),
            _ => None,
        }
    }

    /// The one `apiVersion` in which objects of this kind are read. Webhooks ask for it with `matchPolicy: Equivalent`,
    /// and the API server then converts requests that come in another version.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Pod | Self::PodTemplate | Self::ReplicationController => "v1",
            Self::DaemonSet | Self::Deployment | Self::ReplicaSet | Self::StatefulSet => "apps/v1",
            Self::CronJob | Self::Job => "batch/v1",
        }
    }

    /// The kind's name as objects carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CronJob => "CronJob",
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::PodTemplate => "PodTemplate",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The fields that lead from the object to its Pod specification.
    pub fn pod_spec_path(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &["spec"],
            Self::PodTemplate => &["template", "spec"],
            Self::CronJob => &["spec", "jobTemplate", "spec", "template", "spec"],
            Self::DaemonSet
            | Self::Deployment
            | Self::Job
            | Self::ReplicaSet
            | Self::ReplicationController
            | Self::StatefulSet => &["spec", "template", "spec"],
        }
    }

    /// Refuses an object of another kind or version: its images could be elsewhere.
    fn check_object(self, object: &Value) -> Result<(), WorkloadError> {
        let text = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("apiVersion") == self.api_version() && text("kind") == self.as_str() {
            return Ok(());
        }
        Err(WorkloadError::ObjectKindMismatch {
            expected_api_version: self.api_version(),
            expected_kind: self.as_str(),
            found_api_version: text("apiVersion").to_owned(),
            found_kind: text("kind").to_owned(),
        })
    }

    /// The Pod specification and its path in dots.
    fn pod_spec(self, object: &Value) -> Result<(&Map<String, Value>, String), WorkloadError> {
        let path = self.pod_spec_path().join(".");
        let found = self.pod_spec_path().iter().try_fold(object, |value, field| value.get(field));
        match found {
            None | Some(Value::Null) => Err(WorkloadError::MissingPodSpec { path }),
            Some(Value::Object(spec)) => Ok((spec, path)),
            Some(_) => Err(WorkloadError::Malformed { field: path, expected: "an object" }),
        }
    }
}

/// One image of an object, and where it stands. Built by [`images`], or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerImage {
    field: String,
    text: String,
    reference: Result<ImageReference, ReferenceError>,
}

impl ContainerImage {
    /// An image that stands in no object, such as one named on a command line.
    pub fn named(field: &str, text: &str) -> Self {
        Self { field: field.to_owned(), text: text.to_owned(), reference: ImageReference::parse(text) }
    }

    /// The path of the field, as people write it: `spec.template.spec.initContainers[0].image`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The same path as a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)), for a patch.
    pub fn pointer(&self) -> String {
        // No field on the way has a character that a pointer would escape.
        format!("/{}", self.field.replace(['.', '['], "/").replace(']', ""))
    }

    /// The text of the field.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text names, or why it names nothing that could be judged.
    pub fn reference(&self) -> Result<&ImageReference, &ReferenceError> {
        self.reference.as_ref()
    }
}

/// All images of an object of `kind`, in the order of the lists below: containers, init containers (sidecars are among
/// them), ephemeral containers, image volumes. At least one and at most 512.
pub fn images(kind: WorkloadKind, object: &Value) -> Result<Vec<ContainerImage>, WorkloadError> {
    kind.check_object(object)?;
    let (spec, path) = kind.pod_spec(object)?;
    let mut images = Vec::new();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in entries(spec, &path, list)? {
            push(&mut images, container.object, &container.field, "image")?;
        }
    }
    for volume in entries(spec, &path, "volumes")? {
        let field = format!("{}.image", volume.field);
        match volume.object.get("image") {
            None | Some(Value::Null) => {}
            Some(Value::Object(image)) => push(&mut images, image, &field, "reference")?,
            Some(_) => return Err(WorkloadError::Malformed { field, expected: "an object" }),
        }
    }
    if images.is_empty() { Err(WorkloadError::NoImages { path }) } else { Ok(images) }
}

/// An object of a list, and its path.
struct Entry<'a> {
    field: String,
    object: &'a Map<String, Value>,
}

/// The objects of a list. Absent and null are both how Go writes an empty one.
fn entries<'a>(spec: &'a Map<String, Value>, path: &str, list: &str) -> Result<Vec<Entry<'a>>, WorkloadError> {
    let values = match spec.get(list) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values,
        Some(_) => return Err(WorkloadError::Malformed { field: format!("{path}.{list}"), expected: "a list" }),
    };
    let entry = |(index, value): (usize, &'a Value)| {
        let field = format!("{path}.{list}[{index}]");
        match value {
            Value::Object(object) => Ok(Entry { field, object }),
            _ => Err(WorkloadError::Malformed { field, expected: "an object" }),
        }
    };
    values.iter().enumerate().map(entry).collect()
}

/// Reads the image text of one entry.
fn push(
    images: &mut Vec<ContainerImage>,
    entry: &Map<String, Value>,
    path: &str,
    name: &str,
) -> Result<(), WorkloadError> {
    let field = format!("{path}.{name}");
    let text = match entry.get(name) {
        None | Some(Value::Null) => return Err(WorkloadError::MissingImage { field }),
        Some(Value::String(text)) if text.is_empty() => return Err(WorkloadError::MissingImage { field }),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(WorkloadError::Malformed { field, expected: "a string" }),
    };
    if images.len() >= MAXIMUM_IMAGES {
        return Err(WorkloadError::TooManyImages { maximum: MAXIMUM_IMAGES });
    }
    let reference = ImageReference::parse(&text);
    images.push(ContainerImage { field, text, reference });
    Ok(())
}

#[cfg(test)]
mod tests;
