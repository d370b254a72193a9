//! What a status should say, and how it is put into the one that is there.
//!
//! No client and no clock. Conditions are merged by type: those of others stay, a time changes only when the condition does, and a status
//! that says already what is wanted is left alone. Follows the conventions of `metav1.Condition`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Bytes of a message.
const MESSAGE_LIMIT: usize = 4 << 10;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say yet.
    Unknown,
}

impl Truth {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition should say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// Whether it holds.
    pub truth: Truth,
    /// Why, in a word that scripts may match.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl Condition {
    /// A condition of these parts.
    pub fn new(truth: Truth, reason: &'static str, message: impl Into<String>) -> Self {
        Self { truth, reason, message: message.into() }
    }
}

/// What a status should say: some conditions by type, and some fields. What is not named stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// Conditions by type.
    pub conditions: BTreeMap<&'static str, Condition>,
    /// Other fields; null takes one away.
    pub fields: BTreeMap<&'static str, Value>,
}

impl Wanted {
    /// With this condition.
    #[must_use]
    pub fn condition(mut self, kind: &'static str, condition: Condition) -> Self {
        self.conditions.insert(kind, condition);
        self
    }

    /// With this field. None takes it away.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: Option<Value>) -> Self {
        self.fields.insert(name, value.unwrap_or_default());
        self
    }

    /// Puts what another wants over this.
    pub fn extend(&mut self, other: Self) {
        self.conditions.extend(other.conditions);
        self.fields.extend(other.fields);
    }

    /// The fields of the status that must change, as a merge patch; none if it says already what is wanted.
    pub fn patch(&self, status: &Value, generation: i64, now: Timestamp) -> Option<Value> {
        let mut patch = Map::new();
        let mut set = |name: &str, value: Value| {
            if status.get(name).unwrap_or(&Value::Null) != &value {
                patch.insert(name.to_owned(), value);
            }
        };
        for (name, value) in &self.fields {
            set(name, value.clone());
        }
        if !self.conditions.is_empty() {
            set("observedGeneration", json!(generation));
            set("conditions", self.merged(status, generation, now));
        }
        (!patch.is_empty()).then_some(Value::Object(patch))
    }

    fn merged(&self, status: &Value, generation: i64, now: Timestamp) -> Value {
        let kind = |condition: &Value| condition.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut all = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        for (name, wanted) in &self.conditions {
            let Condition { truth, reason, message } = wanted;
            let found = all.iter().position(|condition| kind(condition) == **name);
            let before = found.and_then(|position| all.get(position));
            // Of the truth, not of the words about it.
            let since = before
                .filter(|before| before.get("status").and_then(Value::as_str) == Some(truth.as_str()))
                .and_then(|before| before.get("lastTransitionTime").cloned());
            let since = since.unwrap_or_else(|| json!(seconds(now)));
            let condition = json!({
                "type": name, "status": truth.as_str(), "reason": reason, "message": bounded(message, MESSAGE_LIMIT),
                "observedGeneration": generation, "lastTransitionTime": since,
            });
            match found.and_then(|position| all.get_mut(position)) {
                Some(before) => *before = condition,
                None => all.push(condition),
            }
        }
        Value::Array(all)
    }
}

/// A time as Kubernetes writes it, without fractions.
pub(super) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A text for people that must not be longer than so many bytes.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit.saturating_sub(4)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{} ...", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 999).unwrap()
    }

    fn ready(truth: Truth, message: &str) -> Wanted {
        Wanted::default().condition("Ready", Condition::new(truth, "Some", message))
    }

    /// The status after a merge patch of its fields.
    fn patched(mut status: Value, patch: &Value) -> Value {
        for (name, value) in patch.as_object().unwrap() {
            status[name] = value.clone();
        }
        status
    }

    #[test]
    fn a_time_changes_with_the_truth_and_not_with_the_words() {
        let first = ready(Truth::False, "a").patch(&Value::Null, 1, at(0)).unwrap();
        assert_eq!(first["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!((&first["observedGeneration"], &first["conditions"][0]["status"]), (&json!(1), &json!("False")));
        let words = ready(Truth::False, "b").patch(&first, 2, at(60)).unwrap();
        assert_eq!(words["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(words["conditions"][0]["message"], "b");
        let truth = ready(Truth::True, "b").patch(&words, 2, at(60)).unwrap();
        assert_eq!(truth["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:00Z");
        assert_eq!(truth.get("observedGeneration"), None, "it is the same");
    }

    #[test]
    fn what_is_said_already_is_not_said_again() {
        let wanted = ready(Truth::True, "a").field("digest", Some(json!("x")));
        let status = wanted.patch(&Value::Null, 1, at(0)).unwrap();
        assert_eq!(wanted.patch(&status, 1, at(60)), None);
        assert!(wanted.patch(&status, 2, at(60)).is_some(), "another generation was seen");
        let without = Wanted::default().field("digest", None);
        assert_eq!(without.patch(&status, 1, at(60)), Some(json!({"digest": null})));
        assert_eq!(without.patch(&Value::Null, 1, at(60)), None);
    }

    #[test]
    fn the_conditions_of_others_stay() {
        let other = json!({"type": "Fork", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"conditions": [other], "logs": [1]});
        let patch = ready(Truth::True, "a").patch(&status, 1, at(0)).unwrap();
        let status = patched(status, &patch);
        assert_eq!((&status["conditions"][0], &status["logs"]), (&other, &json!([1])));
        assert_eq!(status["conditions"][1]["type"], "Ready");
        let kinds = |wanted: &Wanted| patched(status.clone(), &wanted.patch(&status, 2, at(0)).unwrap());
        assert_eq!(kinds(&ready(Truth::False, "b"))["conditions"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(bounded("äää", 6), "äää");
        assert_eq!(bounded("ääää", 7), "ä ...");
        let patch = ready(Truth::True, &"ä".repeat(MESSAGE_LIMIT)).patch(&Value::Null, 1, at(0)).unwrap();
        assert!(patch["conditions"][0]["message"].as_str().unwrap().len() <= MESSAGE_LIMIT);
    }
}
