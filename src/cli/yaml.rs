//! YAML that says the same to kubectl as to the reader here, which follows YAML 1.2.
//!
//! Kubernetes clients split a stream at its lines first and hand each piece to a reader of YAML 1.1. Where the two would read different
//! objects, what is judged here is not what is sent to the cluster, and the text is refused. It is no second reader: it knows only where
//! they differ.

use serde_json::Value;
use serde_saphyr::MergeKeyPolicy;

/// Why a YAML text is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum YamlError {
    /// No YAML.
    #[error("{reason}")]
    Syntax {
        /// What is wrong, and where.
        reason: String,
    },
    /// A mapping that takes in another. Readers resolve it in different orders, or not at all.
    #[error("it merges mappings by `<<`, which other readers resolve differently; write them out")]
    Merge,
    /// A character that ends a line, or a comment, in YAML 1.1 or in 1.2 only.
    #[error("line {line} holds the character U+{character:04X}, at which only some readers begin a new line")]
    LineBreak {
        /// Counted from 1.
        line: usize,
        /// Its code point.
        character: u32,
    },
    /// Something behind the `---` that kubectl passes over, or takes for no separator.
    #[error(
        "line {line} begins with `---`, behind which only spaces and a comment may stand; put the rest on a line of its own"
    )]
    Separator {
        /// Counted from 1.
        line: usize,
    },
    /// A document that kubectl would not see.
    #[error("line {line} ends a document with `...`, behind which other readers see nothing up to the next `---`")]
    BehindEnd {
        /// Counted from 1.
        line: usize,
    },
}

/// The documents of a YAML text; empty ones are left out.
///
/// # Errors
/// No YAML, or one that other readers could read differently.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    check_lines(text)?;
    // As ordinary keys, so that a merge is found however it is written: in quotes, with a tag, escaped, by an alias.
    let options = serde_saphyr::options! { merge_keys: MergeKeyPolicy::AsOrdinary };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| YamlError::Syntax { reason: reason(&error) })?;
    if documents.iter().any(merges) { Err(YamlError::Merge) } else { Ok(documents) }
}

/// What is wrong with a YAML text, and where. The lines around it, which the reader would print too, may hold a secret.
pub(super) fn reason(error: &serde_saphyr::Error) -> String {
    // The reader's hint is for programmers.
    error.without_snippet().to_string().replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

/// Whether any mapping within has the key `<<`.
fn merges(document: &Value) -> bool {
    let mut left = vec![document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) if fields.contains_key("<<") => return true,
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(entries) => left.extend(entries),
            _ => {}
        }
    }
    false
}

/// Whether all readers see the same lines, and the same documents in them.
fn check_lines(text: &str) -> Result<(), YamlError> {
    let blank = |character: char| matches!(character, ' ' | '\t');
    let nothing = |rest: &str| {
        let inner = rest.trim_start_matches(blank);
        inner.is_empty() || (inner.starts_with('#') && inner.len() < rest.len())
    };
    let mut ended = None;
    for (position, line) in text.split('\n').enumerate() {
        let number = position + 1;
        let line = line.strip_suffix('\r').unwrap_or(line);
        let breaks = |character: &char| matches!(character, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if let Some(character) = line.chars().find(breaks) {
            return Err(YamlError::LineBreak { line: number, character: u32::from(character) });
        }
        if let Some(rest) = line.strip_prefix("---") {
            if !nothing(rest) {
                return Err(YamlError::Separator { line: number });
            }
            ended = None;
        } else if line.strip_prefix("...").is_some_and(|rest| rest.is_empty() || rest.starts_with(blank)) {
            ended.get_or_insert(number);
        } else if let Some(end) = ended
            && !(line.starts_with('#') || nothing(line))
        {
            return Err(YamlError::BehindEnd { line: end });
        }
    }
    Ok(())
}
