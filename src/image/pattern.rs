//! Patterns that select images by registry host, repository path and, if the pattern says so, digest.
//!
//! Host and path are matched apart, so that no wildcard reaches from one into the other and `*.acme.io/app` cannot be
//! met by `evil.example/acme.io/app`. A pattern never looks at a tag, which is whatever its author wrote. There are no
//! regular expressions and no backtracking over alternatives: a match takes time proportional to the product of the
//! two lengths, which are bounded.
//!
//! | in the pattern | in the host | in the path |
//! |---|---|---|
//! | `*` | any characters within one label; a host of just `*` is any host with any port | any characters within one part |
//! | `**` | refused | one or more whole parts |
//!
//! Both sides are canonical: Docker Hub's short names have their `docker.io/library/`, hosts are in lower case and
//! without `:443`. The syntax is our own and written down in `API.md`, section "Patterns".

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::reference::{DOCKER_HUB, OFFICIAL_NAMESPACE, canonical_host, is_path_component, names_host, split_port};
use super::{Digest, ReferenceError, Repository};

/// Longest pattern in bytes.
const MAXIMUM_LENGTH: usize = 512;

/// Why a text is no image pattern, or one that could not mean what its author thinks.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatternError {
    /// A first part that could be a registry host or a path on Docker Hub.
    #[error("{part:?} could be a registry host or a path on Docker Hub: write {suggestion:?}")]
    Ambiguous {
        /// The first part as written.
        part: String,
        /// What says one or the other.
        suggestion: String,
    },
    /// The digest after `@` is none.
    #[error("the digest in the pattern is not valid: {0}")]
    Digest(ReferenceError),
    /// `**` beside other characters of the same part.
    #[error("`**` must be a whole part between slashes, not in {part:?}")]
    DoubleWildcard {
        /// The part as written.
        part: String,
    },
    /// `**` in the place of the registry host.
    #[error("`**` does not reach from the registry host into the path: write {suggestion:?}")]
    DoubleWildcardHost {
        /// The pattern with `*` as its host.
        suggestion: String,
    },
    /// No text at all.
    #[error("image pattern is empty")]
    Empty,
    /// A character that no repository, digest or wildcard has.
    #[error("image pattern holds the character {character:?} at byte {offset}")]
    ForbiddenCharacter {
        /// The character.
        character: char,
        /// Its offset in bytes.
        offset: usize,
    },
    /// The registry host is none that a reference could name.
    #[error("the registry host in the pattern is not valid: {0}")]
    Host(ReferenceError),
    /// A registry host with wildcards that no host could match.
    #[error("no registry host can match {host:?}")]
    HostPattern {
        /// The host as written.
        host: String,
    },
    /// A registry host alone.
    #[error("{host:?} is a registry host without a repository: write {suggestion:?}")]
    NoRepository {
        /// The text as written.
        host: String,
        /// The pattern for everything on that host.
        suggestion: String,
    },
    /// A part of the path that no repository has.
    #[error("no repository path can have the part {part:?}")]
    PathPart {
        /// The part as written.
        part: String,
    },
    /// Upper case in the path.
    #[error("repository paths are in lower case: {path:?} can never match")]
    PathUpperCase {
        /// The path as written.
        path: String,
    },
    /// A tag.
    #[error("a pattern cannot name the tag {tag:?}: a tag is whatever its author wrote, name a digest or none")]
    Tag {
        /// The tag as written.
        tag: String,
    },
    /// A text that is too long to be looked at.
    #[error("image pattern has {length} bytes, more than {maximum}")]
    TooLong {
        /// Bytes in the text.
        length: usize,
        /// Bytes allowed.
        maximum: usize,
    },
}

/// A pattern over image names. Cloning shares the parsed form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImagePattern {
    as_written: Arc<str>,
    host: HostPattern,
    path: Arc<[PathToken]>,
    digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostPattern {
    Any,
    Exact(Arc<str>),
    Labels { labels: Arc<[String]>, port: Option<u16> },
}

/// One step of a path pattern. `**` is `AnyPart` and then `AnyParts`: one part at least.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PathToken {
    AnyPart,
    AnyParts,
    Part(String),
}

impl ImagePattern {
    /// Parses `host/path[@digest]` with wildcards, at most 512 bytes.
    ///
    /// `**` alone means `*/**`, which is every image. A first part is a registry host by the rule for references (a
    /// `.`, a `:`, or `localhost`), or if it is exactly `*`. Paths are compared as canonical references have them, so
    /// `*/nginx` does not select Docker Hub's `library/nginx`, and `docker.io/*` means `docker.io/library/*`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_text(text)?;
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => (name, Some(Digest::parse(digest).map_err(PatternError::Digest)?)),
        };
        let (host, path) = if name == "**" { (HostPattern::Any, name) } else { split_host(name)? };
        let path = parse_path(&host, path)?.into();
        Ok(Self { as_written: text.into(), host, path, digest })
    }

    /// Whether the pattern selects an image of `repository`. A pattern with a digest selects that digest and no other,
    /// and nothing while the image's digest is unknown.
    pub fn matches(&self, repository: &Repository, digest: Option<&Digest>) -> bool {
        self.digest.as_ref().is_none_or(|expected| digest == Some(expected)) && self.matches_repository(repository)
    }

    /// Whether every image that `other` selects is one that this pattern selects. A `false` may be too cautious where wildcards meet
    /// wildcards; a `true` never is too bold.
    pub fn contains(&self, other: &Self) -> bool {
        let digest = self.digest.is_none() || self.digest == other.digest;
        // The other pattern is read as a text in which a wildcard is a character of its own, that only a wildcard of at least its reach
        // covers.
        digest
            && self.host.contains(&other.host)
            && wildcard_match(
                &self.path,
                &other.path,
                |token| *token == PathToken::AnyParts,
                |token, found| match (token, found) {
                    (PathToken::AnyParts, _) | (_, PathToken::AnyParts) | (PathToken::Part(_), PathToken::AnyPart) => {
                        false
                    }
                    (PathToken::AnyPart, _) => true,
                    (PathToken::Part(glob), PathToken::Part(found)) => glob_match(glob, found),
                },
            )
    }

    /// Whether the pattern may select an image of `repository`, whatever its digest turns out to be.
    pub fn matches_repository(&self, repository: &Repository) -> bool {
        let parts: Vec<&str> = repository.path().split('/').collect();
        self.host.matches(repository.host())
            && wildcard_match(
                &self.path,
                &parts,
                |token| *token == PathToken::AnyParts,
                |token, part| match token {
                    PathToken::AnyPart => true,
                    PathToken::AnyParts => false,
                    PathToken::Part(glob) => glob_match(glob, part),
                },
            )
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.as_written)
    }
}

impl HostPattern {
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Labels { labels, port }, Self::Labels { labels: found, port: found_port }) => {
                port == found_port
                    && labels.len() == found.len()
                    && labels.iter().zip(found.iter()).all(|(glob, label)| glob_match(glob, label))
            }
            (Self::Exact(_) | Self::Labels { .. }, Self::Any) | (Self::Exact(_), Self::Labels { .. }) => false,
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(expected) => **expected == *host,
            // A wildcard stands for part of a DNS name, and an address in brackets is none.
            Self::Labels { .. } if host.starts_with('[') => false,
            Self::Labels { labels, port } => match split_port(host) {
                Ok((name, found)) => {
                    found == *port
                        && name.split('.').count() == labels.len()
                        && name.split('.').zip(labels.iter()).all(|(label, glob)| glob_match(glob, label))
                }
                Err(_) => false,
            },
        }
    }
}

fn check_text(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.len() > MAXIMUM_LENGTH {
        return Err(PatternError::TooLong { length: text.len(), maximum: MAXIMUM_LENGTH });
    }
    let is_allowed = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '/' | ':' | '@' | '*' | '[' | ']')
    };
    if let Some((offset, character)) = text.char_indices().find(|(_, character)| !is_allowed(*character)) {
        return Err(PatternError::ForbiddenCharacter { character, offset });
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(PatternError::Host(ReferenceError::Scheme { scheme: scheme.to_owned() }));
    }
    Ok(())
}

/// Splits `[host/]path` where a reference would, and refuses where a reader could split it elsewhere.
fn split_host(name: &str) -> Result<(HostPattern, &str), PatternError> {
    let docker_hub = HostPattern::Exact(DOCKER_HUB.into());
    let Some((first, remainder)) = name.split_once('/') else {
        let (bare, tag) = name.split_once(':').map_or((name, None), |(bare, tag)| (bare, Some(tag)));
        // `ghcr.io` and `localhost:5000` would be images of Docker Hub by the letter, and surely are not meant so.
        return if bare == "localhost" || bare.contains(['.', '[']) {
            Err(no_repository(name))
        } else if let Some(tag) = tag {
            Err(PatternError::Tag { tag: tag.to_owned() })
        } else if name.contains('*') {
            Err(ambiguous(name, None))
        } else {
            Ok((docker_hub, name))
        };
    };
    if first == "*" {
        return Ok((HostPattern::Any, remainder));
    }
    if first.contains("**") {
        return Err(PatternError::DoubleWildcardHost { suggestion: format!("*/**/{remainder}") });
    }
    if !first.contains('*') {
        if !names_host(first) {
            return Ok((docker_hub, name));
        }
        let host = canonical_host(first).map_err(PatternError::Host)?;
        return Ok((HostPattern::Exact(host.into()), remainder));
    }
    if !first.contains(['.', ':']) {
        return Err(ambiguous(first, Some(remainder)));
    }
    Ok((parse_host_pattern(first)?, remainder))
}

fn ambiguous(first: &str, remainder: Option<&str>) -> PatternError {
    let suggestion = match remainder {
        None => format!("{DOCKER_HUB}/{OFFICIAL_NAMESPACE}{first}"),
        Some(remainder) => format!("{DOCKER_HUB}/{first}/{remainder}"),
    };
    PatternError::Ambiguous { part: first.to_owned(), suggestion }
}

fn no_repository(host: &str) -> PatternError {
    PatternError::NoRepository { host: host.to_owned(), suggestion: format!("{host}/**") }
}

/// Parses a host with wildcards in its labels.
fn parse_host_pattern(text: &str) -> Result<HostPattern, PatternError> {
    let refused = || PatternError::HostPattern { host: text.to_owned() };
    let (name, port) = split_port(text).map_err(PatternError::Host)?;
    // Repositories are compared without a default port, which loopback addresses keep: with a wildcard, both readings
    // would be open. Without the port the pattern says what is meant.
    if port == Some(443) {
        return Err(PatternError::Host(ReferenceError::AmbiguousHost { host: text.to_owned() }));
    }
    let name = name.to_ascii_lowercase();
    let labels: Arc<[String]> = name.split('.').map(str::to_owned).collect();
    let is_label = |label: &String| {
        // With the shortest thing that a wildcard can stand for in its place, the label must be one that DNS has.
        let literal = label.replace('*', "a");
        !literal.is_empty()
            && !literal.starts_with('-')
            && !literal.ends_with('-')
            && literal.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if labels.iter().all(is_label) { Ok(HostPattern::Labels { labels, port }) } else { Err(refused()) }
}

/// Parses the path, and adds the namespace that Docker Hub's short names leave out.
fn parse_path(host: &HostPattern, path: &str) -> Result<Vec<PathToken>, PatternError> {
    if let Some((_, tag)) = path.split_once(':') {
        return Err(PatternError::Tag { tag: tag.to_owned() });
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(PatternError::PathUpperCase { path: path.to_owned() });
    }
    let is_docker_hub = matches!(host, HostPattern::Exact(host) if **host == *DOCKER_HUB);
    let mut tokens = Vec::new();
    // `docker.io/**` is all of Docker Hub, `docker.io/*` what can be written as a short name without a slash.
    if is_docker_hub && !path.contains('/') && path != "**" {
        tokens.push(PathToken::Part(OFFICIAL_NAMESPACE.trim_end_matches('/').to_owned()));
    }
    for part in path.split('/') {
        match part {
            "**" => tokens.extend([PathToken::AnyPart, PathToken::AnyParts]),
            "*" => tokens.push(PathToken::AnyPart),
            _ if part.contains("**") => return Err(PatternError::DoubleWildcard { part: part.to_owned() }),
            // With a letter in the wildcard's place, the part must be one that a repository can have.
            _ if is_path_component(&part.replace('*', "a")) => tokens.push(PathToken::Part(part.to_owned())),
            _ => return Err(PatternError::PathPart { part: part.to_owned() }),
        }
    }
    Ok(tokens)
}

/// `*` for any number of characters, none included; everything else for itself. In the text, `*` is no character: only a wildcard
/// covers it.
fn glob_match(glob: &str, text: &str) -> bool {
    wildcard_match(glob.as_bytes(), text.as_bytes(), |byte| *byte == b'*', |expected, found| expected == found)
}

/// Whether `pattern` covers all of `text`, where a token that `is_wildcard` covers any number of items.
///
/// Only the last wildcard is ever tried again: what follows an earlier one has been matched as far left as can be, and
/// moving it right could only take items away. Hence the time is bounded by the product of the two lengths.
fn wildcard_match<P, T>(
    pattern: &[P],
    text: &[T],
    is_wildcard: impl Fn(&P) -> bool,
    is_match: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut pattern_at, mut text_at) = (0_usize, 0_usize);
    // After the last wildcard: where the pattern goes on, and up to where the wildcard reaches.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(item) = text.get(text_at) {
        match (pattern.get(pattern_at), retry) {
            (Some(token), _) if is_wildcard(token) => {
                pattern_at = pattern_at.saturating_add(1);
                retry = Some((pattern_at, text_at));
            }
            (Some(token), _) if is_match(token, item) => {
                pattern_at = pattern_at.saturating_add(1);
                text_at = text_at.saturating_add(1);
            }
            (_, Some((after_wildcard, reached))) => {
                pattern_at = after_wildcard;
                text_at = reached.saturating_add(1);
                retry = Some((after_wildcard, text_at));
            }
            (_, None) => return false,
        }
    }
    pattern.get(pattern_at..).is_some_and(|rest| rest.iter().all(is_wildcard))
}

#[cfg(test)]
mod tests;
