//! Matching of issuers, subjects and namespace names: exactly, by glob, by anchored regular expression.
//!
//! All in linear time, over the whole string. No wildcard of a glob matches `@`, so that none can stretch over the border between
//! a workflow's path and its git ref.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::api;

/// Compiled size that one pattern may have, in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// Length of a pattern, in bytes.
const LENGTH_LIMIT: usize = 1_024;

/// A matcher that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum MatcherError {
    /// Not exactly one of the three ways.
    #[error("exactly one of exact, glob and regex is needed, {found} are given")]
    NotOneOf {
        /// How many are given.
        found: usize,
    },
    /// Empty or too long.
    #[error("a pattern has 1 to {LENGTH_LIMIT} bytes, this one has {found}")]
    Length {
        /// Its length in bytes.
        found: usize,
    },
    /// A name or glob that no namespace can match.
    #[error(
        "no namespace can be named {text:?}: names are of lower-case letters, digits and hyphens, and no hyphen is first or last"
    )]
    NoName {
        /// The name or glob.
        text: String,
    },
    /// A regular expression that does not compile.
    #[error("regular expression {pattern:?} does not compile: {reason}")]
    Regex {
        /// The expression.
        pattern: String,
        /// Why not.
        reason: String,
    },
}

/// A way to match a whole string.
#[derive(Clone, Debug)]
pub enum StringMatcher {
    /// The string itself.
    Exact(String),
    /// A glob, kept as written beside its expression.
    Glob {
        /// As written.
        text: String,
        /// As compiled.
        expression: Regex,
    },
    /// A regular expression, kept as written beside its anchored form.
    Regex {
        /// As written.
        text: String,
        /// As compiled.
        expression: Regex,
    },
}

impl StringMatcher {
    /// Parses a `StringMatch`.
    ///
    /// # Errors
    /// Not exactly one way, an empty or overlong pattern, an expression that does not compile.
    pub fn parse(spec: &api::StringMatch) -> Result<Self, MatcherError> {
        match (&spec.exact, &spec.glob, &spec.regex) {
            (Some(text), None, None) => {
                check_length(text)?;
                Ok(Self::Exact(text.clone()))
            }
            (None, Some(text), None) => {
                check_length(text)?;
                Ok(Self::Glob { text: text.clone(), expression: compile(&subject_glob(text), text)? })
            }
            (None, None, Some(text)) => {
                check_length(text)?;
                // By itself first: `a)|(b` is no expression, but would become one between the anchors.
                compile(text, text)?;
                Ok(Self::Regex { text: text.clone(), expression: compile(&format!(r"\A(?:{text})\z"), text)? })
            }
            (exact, glob, regex) => {
                let found = [exact, glob, regex].into_iter().filter(|way| way.is_some()).count();
                Err(MatcherError::NotOneOf { found })
            }
        }
    }

    /// Whether the whole string matches. A string with more than one `@` matches no glob and no regular expression: a branch
    /// may be named `x@refs/tags/v1`, and what stands behind the first `@` of a workflow's name is the author's choice.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Glob { expression, .. } | Self::Regex { expression, .. } => {
                text.matches('@').count() < 2 && expression.is_match(text)
            }
        }
    }
}

impl fmt::Display for StringMatcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => formatter.write_str(text),
            Self::Glob { text, .. } => write!(formatter, "{text} (glob)"),
            Self::Regex { text, .. } => write!(formatter, "{text} (regex)"),
        }
    }
}

/// A glob over names of namespaces, where `*` stands for any characters.
#[derive(Clone, Debug)]
pub struct NameGlob(Regex);

impl NameGlob {
    /// Parses a name or glob.
    ///
    /// # Errors
    /// An empty or overlong pattern, and one that no name matches: it would never do what its author wants.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        check_length(text)?;
        // RFC 1123 labels, as the API server demands of namespaces.
        let named = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'*'));
        if !named || text.starts_with('-') || text.ends_with('-') {
            return Err(MatcherError::NoName { text: text.to_owned() });
        }
        Ok(Self(compile(&translate(text, |_| "[^/]*"), text)?))
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// A subject glob as an expression: `*` stops at `/` and `@`, `**` at `@` only, and so does a final `*` behind a ref's prefix.
fn subject_glob(glob: &str) -> String {
    let behind_ref = ["@refs/tags/*", "@refs/heads/*"].iter().any(|suffix| glob.ends_with(suffix));
    translate(glob, |wildcard| match wildcard {
        Wildcard::Double => "[^@]*",
        Wildcard::Single { last: true } if behind_ref => "[^@]*",
        Wildcard::Single { .. } => "[^/@]*",
    })
}

enum Wildcard {
    Single { last: bool },
    Double,
}

fn translate(glob: &str, wildcard: impl Fn(Wildcard) -> &'static str) -> String {
    let mut expression = String::from(r"\A");
    let mut rest = glob;
    while let Some((literal, tail)) = rest.split_once('*') {
        expression.push_str(&regex::escape(literal));
        let (kind, tail) = match tail.strip_prefix('*') {
            // Three stars and more are two.
            Some(tail) => (Wildcard::Double, tail.trim_start_matches('*')),
            None => (Wildcard::Single { last: tail.is_empty() }, tail),
        };
        expression.push_str(wildcard(kind));
        rest = tail;
    }
    expression.push_str(&regex::escape(rest));
    expression.push_str(r"\z");
    expression
}

fn compile(expression: &str, text: &str) -> Result<Regex, MatcherError> {
    let error = |error: regex::Error| {
        // The expression is quoted already; the last line says what is wrong with it.
        let reason = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        MatcherError::Regex { pattern: text.to_owned(), reason }
    };
    RegexBuilder::new(expression).size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).build().map_err(error)
}

fn check_length(text: &str) -> Result<(), MatcherError> {
    if text.is_empty() || text.len() > LENGTH_LIMIT {
        return Err(MatcherError::Length { found: text.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> StringMatcher {
        StringMatcher::parse(&api::StringMatch { glob: Some(text.to_owned()), ..Default::default() }).unwrap()
    }

    fn regex(text: &str) -> Result<StringMatcher, MatcherError> {
        StringMatcher::parse(&api::StringMatch { regex: Some(text.to_owned()), ..Default::default() })
    }

    #[test]
    fn globs_respect_their_borders() {
        let workflow = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/*";
        let table = [
            (workflow, "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1", true),
            (workflow, "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1/rc", true),
            (workflow, "https://github.com/acme/app/x/.github/workflows/release.yml@refs/tags/v1", false),
            (workflow, "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main", false),
            (workflow, "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/x@refs/tags/v1", false),
            (workflow, "https://github.com/acme//.github/workflows/release.yml@refs/tags/", true),
            (workflow, "xhttps://github.com/acme/a/.github/workflows/release.yml@refs/tags/v", false),
            (workflow, "https://github.com/acme/a/.github/workflows/release.yml@refs/tags/v\n", true),
            ("https://github.com/acme/**", "https://github.com/acme/a/b/c", true),
            ("https://github.com/acme/**", "https://github.com/acme/a@refs/heads/main", false),
            ("https://github.com/acme/*", "https://github.com/acme/a/b", false),
            ("https://github.com/acme/*", "https://github.com/acmeX/a", false),
            ("*@example.com", "alice@example.com", true),
            ("*@example.com", "alice@example.com.evil.org", false),
            ("*@example.com", "a@b@example.com", false),
            ("a.c", "abc", false),
            ("[a-z]*", "abc", false),
            ("***", "a/b", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern).matches(text), expected, "{pattern} {text:?}");
        }
    }

    #[test]
    fn regular_expressions_are_anchored_at_both_ends() {
        let table = [
            ("a|b", "a", true),
            ("a|b", "ab", false),
            ("a|b", "xa", false),
            ("(?m)^a$", "a\nb", false),
            ("(?i)alice@x", "ALICE@x", true),
            (".*@x", "a@b@x", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(regex(pattern).unwrap().matches(text), expected, "{pattern} {text:?}");
        }
        let error = regex("a)|(b").unwrap_err().to_string();
        assert_eq!(error, r#"regular expression "a)|(b" does not compile: unopened group"#);
        for bad in ["a)|(b", "(", "(?x)a #", "a{1000}{1000}{1000}", ""] {
            assert!(regex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exactly_one_way_is_needed() {
        let none = StringMatcher::parse(&api::StringMatch::default());
        assert!(matches!(none, Err(MatcherError::NotOneOf { found: 0 })));
        let two = api::StringMatch { exact: Some("a".into()), glob: Some("*".into()), regex: None };
        assert!(matches!(StringMatcher::parse(&two), Err(MatcherError::NotOneOf { found: 2 })));
    }

    #[test]
    fn an_exact_subject_may_hold_what_globs_refuse() {
        let exact = api::StringMatch { exact: Some("a@b@c".into()), ..Default::default() };
        assert!(StringMatcher::parse(&exact).unwrap().matches("a@b@c"));
    }

    #[test]
    fn namespace_globs_cover_the_whole_name() {
        let table = [("team-*", "team-a", true), ("team-*", "my-team-a", false), ("a", "ab", false), ("*", "x", true)];
        for (pattern, name, expected) in table {
            assert_eq!(NameGlob::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn namespace_globs_that_no_name_can_match_are_refused() {
        for text in [
            "Prod",
            "prod-*-EU",
            "my_team",
            "a.b",
            "team?",
            "[ab]",
            "{a,b}",
            "-a",
            "a-",
            "*-",
            "a/b",
            " a",
            "a\n",
            "\u{e4}",
            "!a",
        ] {
            assert!(matches!(NameGlob::parse(text), Err(MatcherError::NoName { .. })), "{text:?}");
        }
        for text in ["prod", "prod-*-eu", "*-prod", "team-**", "0", "a--b"] {
            assert!(NameGlob::parse(text).is_ok(), "{text}");
        }
    }
}
