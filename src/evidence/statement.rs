//! In-toto statements: what an attestation says, and about which artifacts.
//!
//! Follows <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md> and its v0.1 predecessor. Subject names are
//! never used: an artifact is its digest.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::FormatError;

/// Statement types that are read.
const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"];
/// Subjects that one statement may name.
const SUBJECT_LIMIT: usize = 1_000;

/// A statement, parsed and not yet bound to any artifact.
#[derive(Clone, Debug)]
pub struct Statement {
    predicate_type: String,
    subjects: Vec<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(default)]
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

impl Statement {
    /// Parses a statement. The `predicate` may be absent, as in what cosign 3 `sign` writes.
    ///
    /// # Errors
    /// Bytes that are no statement, an unknown `_type`, no subject, or more than 1,000 subjects.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let malformed = |reason: String| FormatError::Malformed { format: "in-toto statement", reason };
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if !TYPES.contains(&wire.kind.as_str()) {
            let [_, expected] = TYPES;
            return Err(FormatError::UnexpectedValue { field: "_type", found: wire.kind, expected });
        }
        if wire.subject.is_empty() {
            return Err(malformed("no subject".to_owned()));
        }
        if wire.subject.len() > SUBJECT_LIMIT {
            return Err(FormatError::TooMany { what: "subjects", found: wire.subject.len(), limit: SUBJECT_LIMIT });
        }
        let subjects = wire.subject.into_iter().map(|subject| subject.digest).collect();
        Ok(Self { predicate_type: wire.predicate_type, subjects })
    }

    /// The predicate type; empty where the statement gives none, which no policy asks for.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// Whether one subject names an artifact with these digests (lower-case hexadecimal). A subject that carries both
    /// algorithms must match in both.
    ///
    /// Without a sha512 at hand, a subject's sha512 is not looked at: beside a sha256 that matches it is no hindrance, and alone it
    /// names nothing.
    pub(crate) fn names(&self, sha256: &str, sha512: Option<&str>) -> bool {
        self.subjects.iter().any(|digests| match (digests.get("sha256"), digests.get("sha512")) {
            (Some(left), Some(right)) => left == sha256 && sha512.is_none_or(|sha512| right == sha512),
            (Some(left), None) => left == sha256,
            (None, Some(right)) => sha512.is_some_and(|sha512| right == sha512),
            (None, None) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(kind: &str, subjects: &str) -> Result<Statement, FormatError> {
        Statement::parse(format!(r#"{{"_type":"{kind}","predicateType":"p","subject":[{subjects}]}}"#).as_bytes())
    }

    #[test]
    fn accepts_both_types_and_nothing_else() {
        let subject = r#"{"name":"x","digest":{"sha256":"a"}}"#;
        for kind in TYPES {
            assert!(statement(kind, subject).is_ok());
        }
        for kind in ["", "https://in-toto.io/Statement/v2", "https://in-toto.io/statement/v1"] {
            assert!(matches!(statement(kind, subject), Err(FormatError::UnexpectedValue { .. })));
        }
    }

    #[test]
    fn a_subject_must_match_in_every_digest_that_it_carries() {
        let table = [
            (r#"{"digest":{"sha256":"a"}}"#, true),
            (r#"{"digest":{"sha512":"b"}}"#, true),
            (r#"{"digest":{"sha256":"a","sha512":"b"}}"#, true),
            (r#"{"digest":{"sha256":"a","sha512":"x"}}"#, false),
            (r#"{"digest":{"sha256":"x","sha512":"b"}}"#, false),
            (r#"{"digest":{"sha1":"a"}}"#, false),
            (r#"{"digest":{}}"#, false),
            (r#"{"digest":{"sha256":"x"}},{"digest":{"sha256":"a"}}"#, true),
        ];
        for (subjects, expected) in table {
            assert_eq!(statement(TYPES[1], subjects).unwrap().names("a", Some("b")), expected, "{subjects}");
        }
    }

    #[test]
    fn without_a_sha512_at_hand_only_a_sha256_names_the_artifact() {
        let names = |subject: &str| statement(TYPES[1], subject).unwrap().names("a", None);
        assert!(names(r#"{"digest":{"sha256":"a","sha512":"b"}}"#) && names(r#"{"digest":{"sha256":"a"}}"#));
        assert!(!names(r#"{"digest":{"sha512":"b"}}"#) && !names(r#"{"digest":{"sha256":"x","sha512":"b"}}"#));
    }

    #[test]
    fn bounds_the_subjects() {
        let many = vec![r#"{"digest":{"sha256":"x"}}"#; SUBJECT_LIMIT + 1].join(",");
        assert!(matches!(statement(TYPES[1], &many), Err(FormatError::TooMany { what: "subjects", .. })));
        assert!(matches!(statement(TYPES[1], ""), Err(FormatError::Malformed { .. })));
    }
}
