//! A `SignatureRevocation`, parsed: every entry that is valid, and why the others do nothing.
//!
//! Read entry by entry from the JSON, because one that is malformed must never keep those beside it from acting. Unlike a policy, an
//! object with an unknown field still acts: without that field it strikes out no less.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::entry::{self, CertificateName, EntryError, Identity, LoggedEntry, Service};
use crate::api;
use crate::image::Digest;

/// Entries of one list.
const LIST_LIMIT: usize = 1_000;
/// Digests that the controller may have found below revoked indexes.
pub const DESCENDANTS_LIMIT: usize = 4_000;
/// What a spec holds.
const FIELDS: [&str; 9] =
    ["artifacts", "identities", "keys", "certificates", "logEntries", "services", "reason", "reference", "suspended"];

/// What an object holds.
const OBJECT_FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// An object that is no revocation at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RevocationError {
    /// Another kind or version.
    #[error("{field} is {found:?}, {expected:?} is wanted")]
    OtherKind {
        /// The field.
        field: &'static str,
        /// The start of its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// No name to tell it by.
    #[error("metadata.name is missing")]
    NoName,
    /// No object where its entries are.
    #[error("spec: an object is wanted")]
    NoSpec,
}

/// An entry or field that does nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidEntry {
    /// Where it stands, such as `spec.artifacts[3]`.
    pub path: String,
    /// What is wrong with it.
    pub error: EntryError,
}

impl fmt::Display for InvalidEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.error)
    }
}

/// A revocation: what it strikes out, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    name: String,
    reason: String,
    reference: Option<String>,
    suspended: bool,
    artifacts: Vec<Digest>,
    descendants: Vec<Digest>,
    pub(super) keys: Vec<Digest>,
    pub(super) identities: Vec<Identity>,
    pub(super) certificates: Vec<CertificateName>,
    pub(super) log_entries: Vec<LoggedEntry>,
    pub(super) services: Vec<Service>,
    invalid: Vec<InvalidEntry>,
}

impl Revocation {
    /// Parses a `SignatureRevocation` as stored or as read from a file. What is wrong inside of `spec`, or stands beside it, is in
    /// [`Self::invalid`], and the rest acts.
    ///
    /// # Errors
    /// An object of another kind, without a name, or without a spec.
    pub fn parse(object: &Value) -> Result<Self, RevocationError> {
        api::check_kind(object, "SignatureRevocation").map_err(|other| RevocationError::OtherKind {
            field: other.field,
            found: entry::excerpt(&other.found),
            expected: other.expected,
        })?;
        let name = object.pointer("/metadata/name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or(RevocationError::NoName)?.to_owned();
        let spec = object.get("spec").and_then(Value::as_object).ok_or(RevocationError::NoSpec)?;
        let mut reader = Reader { spec, invalid: Vec::new() };
        let artifacts = reader.list("artifacts", entry::artifact);
        let identities = reader.list("identities", Identity::parse);
        let keys = reader.list("keys", entry::key);
        let certificates = reader.list("certificates", CertificateName::parse);
        let log_entries = reader.list("logEntries", LoggedEntry::parse);
        let services = reader.list("services", Service::parse);
        let reason = reader.text("reason");
        if reason.is_none() {
            reader.note("reason", EntryError::Missing);
        }
        let reference = reader.text("reference");
        let suspended = reader.suspended();
        for field in spec.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
            reader.note(&shown(field), EntryError::UnknownField);
        }
        // Such as a list of entries that is indented too little to belong to `spec`.
        let fields = object.as_object().into_iter().flat_map(Map::keys);
        for field in fields.filter(|field| !OBJECT_FIELDS.contains(&field.as_str())) {
            reader.invalid.push(InvalidEntry { path: shown(field), error: EntryError::UnknownField });
        }
        // Without a revoked artifact there is nothing that they could descend from: the status is behind the spec.
        let descendants = if artifacts.is_empty() { Vec::new() } else { descendants(object) };
        Ok(Self {
            name,
            reason: reason.unwrap_or_else(|| "no reason is given".to_owned()),
            reference,
            suspended,
            artifacts,
            descendants,
            keys,
            identities,
            certificates,
            log_entries,
            services,
            invalid: reader.invalid,
        })
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why what it names is struck out.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Where to read more.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Whether it is only a suggestion, and does not act.
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// The artifacts that it names.
    pub fn artifacts(&self) -> &[Digest] {
        &self.artifacts
    }

    /// What the controller found below those that are indexes.
    pub fn descendants(&self) -> &[Digest] {
        &self.descendants
    }

    /// The entries and fields that do nothing, and why.
    pub fn invalid(&self) -> &[InvalidEntry] {
        &self.invalid
    }

    /// Whether not one of its entries is valid.
    pub fn is_empty(&self) -> bool {
        self.artifacts.is_empty()
            && self.keys.is_empty()
            && self.identities.is_empty()
            && self.certificates.is_empty()
            && self.log_entries.is_empty()
            && self.services.is_empty()
    }
}

/// The start of a field's name that somebody else chose.
fn shown(field: &str) -> String {
    entry::excerpt(field).escape_debug().to_string()
}

/// What the controller wrote; what of it is no digest was not written by it.
fn descendants(object: &Value) -> Vec<Digest> {
    let listed = object.pointer("/status/descendants").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().take(DESCENDANTS_LIMIT).filter_map(Value::as_str);
    listed.filter_map(|text| entry::digest(text).ok()).collect()
}

/// Reads the fields of a spec, and notes what is wrong with them.
struct Reader<'a> {
    spec: &'a Map<String, Value>,
    invalid: Vec<InvalidEntry>,
}

impl Reader<'_> {
    fn note(&mut self, field: &str, error: EntryError) {
        self.invalid.push(InvalidEntry { path: format!("spec.{field}"), error });
    }

    fn list<D: DeserializeOwned, T>(&mut self, field: &str, parse: fn(&D) -> Result<T, EntryError>) -> Vec<T> {
        let shape = |reason: &str| EntryError::Shape { reason: reason.to_owned() };
        let entries = match self.spec.get(field) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(_) => {
                self.note(field, shape("a list is wanted"));
                return Vec::new();
            }
        };
        if entries.len() > LIST_LIMIT {
            self.note(field, EntryError::TooMany { found: entries.len(), maximum: LIST_LIMIT });
        }
        let mut parsed = Vec::new();
        for (position, entry) in entries.iter().take(LIST_LIMIT).enumerate() {
            // serde would read a list as a struct.
            let read = if entry.is_object() {
                D::deserialize(entry)
            } else {
                Err(serde::de::Error::custom("an object is wanted"))
            };
            let read = read.map_err(|error| shape(&entry::excerpt(&error.to_string())));
            match read.and_then(|read| parse(&read)) {
                Ok(valid) => parsed.push(valid),
                Err(error) => self.note(&format!("{field}[{position}]"), error),
            }
        }
        parsed
    }

    fn text(&mut self, field: &str) -> Option<String> {
        match self.spec.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if !text.trim().is_empty() => Some(text.clone()),
            Some(Value::String(_)) => {
                self.note(field, EntryError::Length { found: 0 });
                None
            }
            Some(_) => {
                self.note(field, EntryError::Shape { reason: "a text is wanted".to_owned() });
                None
            }
        }
    }

    /// What is neither true nor false does not keep a revocation from acting.
    fn suspended(&mut self) -> bool {
        match self.spec.get("suspended") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(suspended)) => *suspended,
            Some(_) => {
                self.note("suspended", EntryError::Shape { reason: "true or false is wanted".to_owned() });
                false
            }
        }
    }
}
