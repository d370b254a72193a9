//! JSON in which no name stands twice in one object.
//!
//! A signature is over the canonical form of what was parsed, and parsers differ in which of two equal names they keep: where there are
//! two, it is not known what was signed.

use crate::policy::json;

/// Whether an object in this text has a name twice. Text that is no JSON has none: its reader says what it is.
pub(super) fn repeats_a_name(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| json::documents(text).is_err_and(|error| error.is_data()))
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
