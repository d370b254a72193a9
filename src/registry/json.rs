//! JSON that other programs read too: keys that they would take for ours are refused, and errors quote nothing.
//!
//! Duplicates of known keys are refused by serde's derived code already. This is no schema: unknown keys are fine.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::RegistryError;

/// Parses JSON without letting a message quote it: serde's own messages repeat unexpected values.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| RegistryError::Malformed {
        what,
        reason: format!("{} at line {} column {}", describe(&error), error.line(), error.column()),
    })
}

fn describe(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "a field is missing, repeated or of the wrong type",
        serde_json::error::Category::Eof => "the document ends too early",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not valid JSON",
    }
}

/// Refuses keys that Go's decoder would take for one of `fields` and ours does not.
pub(super) fn refuse_lookalikes(rest: &OtherKeys, fields: &[&str], what: &'static str) -> Result<(), RegistryError> {
    let lookalike = |key: &str| fields.iter().find(|field| **field != key && go_fold(key).eq(go_fold(field)));
    match rest.0.iter().find_map(|key| lookalike(key)) {
        Some(field) => Err(malformed(what, &format!("it has a field that some readers take for {field}"))),
        None => Ok(()),
    }
}

/// The keys of an object that its type does not name; their values are skipped.
#[derive(Debug, Default)]
pub(super) struct OtherKeys(BTreeSet<String>);

impl<'de> Deserialize<'de> for OtherKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = OtherKeys;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OtherKeys, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.insert(key);
                }
                Ok(OtherKeys(keys))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Go's simple folding, as far as it reaches ASCII letters: case, the long s and the Kelvin sign.
fn go_fold(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

pub(super) fn malformed(what: &'static str, reason: &str) -> RegistryError {
    RegistryError::Malformed { what, reason: reason.to_owned() }
}
