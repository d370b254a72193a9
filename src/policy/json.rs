//! JSON documents whose objects name each key once.
//!
//! serde takes the last of two equal keys, other readers the first: what is judged here and what is sent to the cluster would not be
//! the same. The YAML reader refuses them already.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The documents of a text, one behind the other. Depth is bounded by `serde_json`.
///
/// # Errors
/// No JSON, or an object that gives a key twice.
pub fn documents(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Once>();
    documents.map(|document| document.map(|Once(value)| value)).collect()
}

/// A value in which no object gives a key twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Once(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is given twice")));
            }
            let Once(value) = entries.next_value()?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_reads_except_for_keys_that_come_twice() {
        let text = r#"{"a":[1,-2,2.5,true]} {"b":{"a":null,"A":"\u00e4","":{}},"c":18446744073709551615}"#;
        let plain: Vec<Value> =
            serde_json::Deserializer::from_str(text).into_iter::<Value>().collect::<Result<_, _>>().unwrap();
        assert_eq!(documents(text).unwrap(), plain);
        for twice in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"b":{"c":[{"d":1,"e":2,"d":3}]}}]"#] {
            assert!(documents(twice).unwrap_err().to_string().contains("twice"), "{twice}");
        }
        for bad in ["{", r#"{"a"}"#, "{} x", &"[".repeat(1_000)] {
            assert!(documents(bad).is_err(), "{bad}");
        }
    }
}
