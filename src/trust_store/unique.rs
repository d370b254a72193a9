//! JSON in which no name stands twice in one object.
//!
//! A signature is over the canonical form of what was parsed, and parsers differ in which of two equal names they keep: where there are
//! two, it is not known what was signed.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Whether an object in this text has a name twice. Text that is no JSON has none: its reader says what it is.
pub(super) fn repeats_a_name(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<Unique>(bytes) {
        Ok(Unique) => false,
        Err(error) => error.classify() == serde_json::error::Category::Data,
    }
}

struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Depth is bounded by the parser.
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unique;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON in which no name stands twice in one object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name stands twice in one object"));
            }
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unique, A::Error> {
        while let Some(Unique) = list.next_element()? {}
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_once_in_each_object() {
        for once in
            [r#"{"a":{"a":1},"b":[{"a":null},{"a":1.5}],"c":-1}"#, "[true, 1, \"a\", \"a\"]", "", "{\"a\"", "{} {}"]
        {
            assert!(!repeats_a_name(once.as_bytes()), "{once}");
        }
        for twice in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"c":2,"b":3}}"#, r#"[[{"x":1,"\u0078":1}]]"#] {
            assert!(repeats_a_name(twice.as_bytes()), "{twice}");
        }
    }
}
