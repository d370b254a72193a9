//! What serde would let pass of an object that did not come through the API server, and the schema does not: null for a field, a list for
//! an object. Not the schema itself: fields and their types are checked where the object is read.

use serde::Serialize;
use serde_json::Value;

/// A place in an object that is not written as the schema wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Misshapen {
    /// The path to the field.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

fn misshapen(path: &str, reason: &str) -> Misshapen {
    Misshapen { path: path.to_owned(), reason: reason.to_owned() }
}

/// An object of another kind or version than is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OtherKind {
    /// `apiVersion` or `kind`.
    pub field: &'static str,
    /// What was found.
    pub found: String,
    /// What is read.
    pub expected: String,
}

/// Refuses an object that is not of this kind in our group and version.
///
/// # Errors
/// The first of the two fields that differs.
pub fn check_kind(object: &Value, kind: &str) -> Result<(), OtherKind> {
    let expected = [("apiVersion", format!("{}/{}", super::GROUP, super::VERSION)), ("kind", kind.to_owned())];
    for (field, expected) in expected {
        let found = object.get(field).and_then(Value::as_str).unwrap_or_default();
        if found != expected {
            return Err(OtherKind { field, found: found.to_owned(), expected });
        }
    }
    Ok(())
}

/// Refuses null in the spec, which serde reads as a field that is not there: a restriction whose value a template left empty would be
/// none at all. The schema allows it, because the API server keeps what older clients wrote.
///
/// # Errors
/// The first null.
pub fn check_no_null(object: &Value) -> Result<(), Misshapen> {
    match object.get("spec").and_then(|spec| null(spec, "spec")) {
        Some(path) => Err(misshapen(&path, "null says nothing; give a value or leave it out")),
        None => Ok(()),
    }
}

/// The path of the first null.
fn null(node: &Value, path: &str) -> Option<String> {
    match node {
        Value::Null => Some(path.to_owned()),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| null(item, &format!("{path}[{at}]"))),
        Value::Object(fields) => fields.iter().find_map(|(key, field)| null(field, &format!("{path}.{key}"))),
        _ => None,
    }
}

/// Refuses a list where an object is needed, and an object where a word is: serde reads both, the API server's schema does not.
///
/// # Errors
/// The first such node of the spec, or metadata that is no object.
pub fn check_kinds_of_nodes(object: &Value, spec: &impl Serialize) -> Result<(), Misshapen> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        return Err(misshapen("metadata", "an object is needed"));
    }
    let read = serde_json::to_value(spec).map_err(|error| misshapen("spec", &error.to_string()))?;
    match other_kind(object.get("spec").unwrap_or(&Value::Null), &read, "spec") {
        Some(path) => Err(misshapen(&path, "it is a list, an object or a word where another of these is needed")),
        None => Ok(()),
    }
}

/// The path of a node that was written as another kind of JSON than it is read as. What was left out is not looked for.
fn other_kind(written: &Value, read: &Value, path: &str) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            let both = read.iter().filter_map(|(key, read)| Some((key, written.get(key)?, read)));
            both.into_iter().find_map(|(key, written, read)| other_kind(written, read, &format!("{path}.{key}")))
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let items = written.iter().zip(read).enumerate();
            items.into_iter().find_map(|(at, (written, read))| other_kind(written, read, &format!("{path}[{at}]")))
        }
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => Some(path.to_owned()),
        _ => None,
    }
}
