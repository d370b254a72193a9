//! Which images a CREATE or an UPDATE gives cause to judge.
//!
//! An update that touches no image must go through even if an image has been revoked since: a controller removes a
//! finalizer, a Deployment is scaled to zero. So an UPDATE of a Pod is judged for the images that it brings in, and an
//! UPDATE of another kind for all of them, unless it changes nothing but what controllers and operators change.
//! Whoever does not create a Pod by this gets none: Pods are judged when they are created.
//!
//! An earlier verdict is never taken from the object. "Unchanged" is said of the two objects of one request, the old of
//! which comes from the API server's store and not from the request's author. The rule is our own, and is written down
//! in `DESIGN.md`, section 3.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{ContainerImage, WorkloadError, WorkloadKind, images};

/// The operations that are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `CREATE`.
    Create,
    /// `UPDATE`, which is what the API server calls a patch too.
    Update,
}

impl Operation {
    /// Reads the operation of an `AdmissionRequest`. DELETE and CONNECT carry no images, and are refused because no
    /// webhook of ours asks for them: to wave them through would hide a webhook that was configured wrongly.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        match text {
            "CREATE" => Ok(Self::Create),
            "UPDATE" => Ok(Self::Update),
            _ => Err(WorkloadError::UnexpectedOperation { operation: text.to_owned() }),
        }
    }
}

/// What a request gives cause to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// These images, never none.
    Images(Vec<ContainerImage>),
    /// Nothing.
    Unchanged(Unchanged),
}

/// Why there is nothing to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// The object was being deleted before the request, and the request brings in no image.
    BeingDeleted,
    /// Only fields differ that cannot bring in an image: [`images_to_judge`] names them.
    BookkeepingOnly,
    /// The Pod's images stand where they stood, each with the same text.
    SameImages,
}

/// Fields of `metadata` in which an UPDATE may differ and still bring in no image. The last two are the API server's.
const BOOKKEEPING_METADATA: [&str; 6] =
    ["annotations", "finalizers", "managedFields", "ownerReferences", "generation", "resourceVersion"];

/// Fields of `spec` that say how many Pods are made, and not of what.
const BOOKKEEPING_SPEC: [&str; 3] = ["paused", "replicas", "suspend"];

/// The images of a request that must be judged.
///
/// - CREATE: all. A `deletionTimestamp` in the object is ignored; the API server clears it after mutation.
/// - UPDATE of a Pod, `pods/ephemeralcontainers` included: those whose field is new or has another text than before. A
///   list in another order is judged where its texts moved.
/// - UPDATE of another kind: none, if nothing differs but `metadata.{annotations, finalizers, ownerReferences,
///   managedFields}`, `spec.{replicas, paused, suspend}` and what the API server sets itself (`metadata.generation`,
///   `metadata.resourceVersion`, `status`); else all. If the object has a `metadata.deletionTimestamp` **before and
///   after**, then as for a Pod: before, because only a DELETE writes it there and the old object is read from the
///   store, while the new one could carry whatever its author wrote; and still not blindly, because a finalizer keeps
///   a deleted object alive for as long as its author likes.
/// - UPDATE without an old object, or with one that cannot be read: all.
pub fn images_to_judge(
    kind: WorkloadKind,
    operation: Operation,
    sub_resource: Option<&str>,
    new: &Value,
    old: Option<&Value>,
) -> Result<Judged, WorkloadError> {
    match (sub_resource.unwrap_or_default(), kind, operation) {
        ("", _, _) | ("ephemeralcontainers", WorkloadKind::Pod, Operation::Update) => {}
        (sub_resource, _, _) => {
            return Err(WorkloadError::UnexpectedSubResource {
                kind: kind.as_str(),
                sub_resource: sub_resource.to_owned(),
            });
        }
    }
    kind.check_object(new)?;
    let old = match (operation, old) {
        (Operation::Update, Some(old)) if kind.check_object(old).is_ok() => old,
        _ => return images(kind, new).map(Judged::Images),
    };
    if kind == WorkloadKind::Pod {
        return changed_images(kind, new, old, Unchanged::SameImages);
    }
    if differs_in_bookkeeping_only(new, old) {
        return Ok(Judged::Unchanged(Unchanged::BookkeepingOnly));
    }
    if is_being_deleted(new) && is_being_deleted(old) {
        return changed_images(kind, new, old, Unchanged::BeingDeleted);
    }
    images(kind, new).map(Judged::Images)
}

/// The images of `new` that do not stand in `old` under the same field with the same text.
fn changed_images(kind: WorkloadKind, new: &Value, old: &Value, unchanged: Unchanged) -> Result<Judged, WorkloadError> {
    // Images are read from the Pod specification alone. Where it is equal there is nothing to judge, even if it is one
    // that could not be read today: an object from before the webhook must be able to lose its finalizers.
    if let (Ok((new, _)), Ok((old, _))) = (kind.pod_spec(new), kind.pod_spec(old))
        && new == old
    {
        return Ok(Judged::Unchanged(unchanged));
    }
    let new = images(kind, new)?;
    let Ok(old) = images(kind, old) else {
        return Ok(Judged::Images(new));
    };
    let old: HashMap<&str, &str> = old.iter().map(|image| (image.field(), image.text())).collect();
    let changed: Vec<ContainerImage> =
        new.into_iter().filter(|image| old.get(image.field()) != Some(&image.text())).collect();
    Ok(if changed.is_empty() { Judged::Unchanged(unchanged) } else { Judged::Images(changed) })
}

fn is_being_deleted(object: &Value) -> bool {
    object.get("metadata").and_then(|metadata| metadata.get("deletionTimestamp")).is_some_and(Value::is_string)
}

/// Whether two objects are equal but for `status` and the fields that are listed above.
fn differs_in_bookkeeping_only(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
        return false;
    };
    equal_except(new, old, &["metadata", "spec", "status"])
        && equal_inside(new, old, "metadata", &BOOKKEEPING_METADATA)
        && equal_inside(new, old, "spec", &BOOKKEEPING_SPEC)
}

/// Whether one field of two objects is equal but for some of its own fields.
fn equal_inside(new: &Map<String, Value>, old: &Map<String, Value>, field: &str, ignored: &[&str]) -> bool {
    match (new.get(field), old.get(field)) {
        (Some(Value::Object(new)), Some(Value::Object(old))) => equal_except(new, old, ignored),
        (new, old) => new == old,
    }
}

/// Whether two objects have the same fields with the same values, but for those that are ignored.
fn equal_except(new: &Map<String, Value>, old: &Map<String, Value>, ignored: &[&str]) -> bool {
    new.keys()
        .chain(old.keys())
        .filter(|field| !ignored.contains(&field.as_str()))
        .all(|field| new.get(field) == old.get(field))
}

#[cfg(test)]
mod tests;
