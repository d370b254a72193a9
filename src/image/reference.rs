//! Image references as Kubernetes objects carry them, parsed to what the kubelet would pull.
//!
//! This is `ParseNormalizedNamed` and `ParseDockerRef` of
//! [distribution/reference](https://github.com/distribution/reference) without their latitude: one spelling of a host
//! is kept, and text on which Docker, containerd and CRI-O could disagree is refused. Short names resolve to Docker
//! Hub as they do in containerd; a node whose `registries.conf` says otherwise is why `is_short_name` exists.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;

use super::Digest;

/// Longest reference text in bytes; the longest that the grammar allows is about 700.
const MAXIMUM_LENGTH: usize = 1024;

/// Longest repository path in bytes (`RepositoryNameTotalLengthMax` of distribution/reference).
const MAXIMUM_PATH_LENGTH: usize = 255;

/// Longest host name in bytes, and longest label in it ([RFC 1035, section 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)).
const MAXIMUM_HOST_LENGTH: usize = 253;
const MAXIMUM_LABEL_LENGTH: usize = 63;

/// Longest tag in bytes.
const MAXIMUM_TAG_LENGTH: usize = 128;

/// Docker Hub as it is written in canonical references, and the older name that distribution/reference folds into it.
pub(super) const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_LEGACY: &str = "index.docker.io";

/// Other hosts of Docker Hub; each image has one name here.
const DOCKER_HUB_ALIASES: [&str; 5] =
    ["auth.docker.io", "hub.docker.com", "registry-1.docker.io", "registry.docker.io", "registry.hub.docker.com"];

/// The namespace of Docker Hub's official images, which short names leave out.
pub(super) const OFFICIAL_NAMESPACE: &str = "library/";

/// Digest algorithms that container runtimes know.
const DIGEST_ALGORITHMS: [&str; 3] = ["sha256", "sha384", "sha512"];

/// Why a text is no image reference, or none that can be judged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// A host that reads as another server once it is in lower case or without `:443`.
    #[error("registry host {host:?} is ambiguous: write it in lower case and without a default port")]
    AmbiguousHost {
        /// The host as written.
        host: String,
    },
    /// Docker Hub under a name that policies for `docker.io` do not see.
    #[error("registry host {host:?} is another name of Docker Hub: write \"docker.io\"")]
    DockerHubAlias {
        /// The host as written.
        host: String,
    },
    /// A digest of another algorithm than sha256.
    #[error("digest algorithm {algorithm:?} is not supported: only sha256 is")]
    DigestAlgorithm {
        /// What stands before the colon.
        algorithm: String,
    },
    /// A digest with other characters than `0-9a-f`.
    #[error("digest {hex:?} is not lower-case hexadecimal")]
    DigestCharacters {
        /// What stands after the colon.
        hex: String,
    },
    /// A digest that is too short or too long.
    #[error("digest has {length} characters after the colon, not {expected}")]
    DigestLength {
        /// Bytes after the colon.
        length: usize,
        /// Digits that sha256 has.
        expected: usize,
    },
    /// What follows the `@` has no colon.
    #[error("digest {digest:?} names no algorithm")]
    DigestWithoutAlgorithm {
        /// What stands in the digest's place.
        digest: String,
    },
    /// No text at all.
    #[error("image reference is empty")]
    Empty,
    /// A character that no part of a reference may hold: white space, control, or outside ASCII.
    #[error("image reference holds the character {character:?} at byte {offset}")]
    ForbiddenCharacter {
        /// The character.
        character: char,
        /// Its offset in bytes.
        offset: usize,
    },
    /// A registry host outside the grammar.
    #[error("registry host {host:?} is not a host name, an IPv4 address or an IPv6 address in brackets")]
    Host {
        /// The host as written, without its port.
        host: String,
    },
    /// A text that runtimes take for the identifier of an image on the node, whatever its registry.
    #[error("{text:?} reads as the identifier of an image on the node, not as a name")]
    ImageIdentifier {
        /// The text as written.
        text: String,
    },
    /// A part of the repository path outside the grammar, empty parts included.
    #[error("{component:?} is not a valid part of a repository path")]
    PathComponent {
        /// The part.
        component: String,
    },
    /// A repository path that is too long.
    #[error("repository path has {length} bytes, more than {maximum}")]
    PathTooLong {
        /// Bytes in the canonical path.
        length: usize,
        /// Bytes allowed.
        maximum: usize,
    },
    /// Upper case in the repository path.
    #[error("repository path {path:?} must be in lower case")]
    PathUpperCase {
        /// The path as written.
        path: String,
    },
    /// A port that is not a decimal number from 1 to 65535 without leading zeros.
    #[error("registry port {port:?} is not a number from 1 to 65535")]
    Port {
        /// What follows the host's colon.
        port: String,
    },
    /// A URL.
    #[error("image reference starts with a URL scheme {scheme:?}")]
    Scheme {
        /// What stands before `://`.
        scheme: String,
    },
    /// A tag outside the grammar.
    #[error("{tag:?} is not a valid tag")]
    Tag {
        /// The tag as written.
        tag: String,
    },
    /// A text that is too long to be looked at.
    #[error("image reference has {length} bytes, more than {maximum}")]
    TooLong {
        /// Bytes in the text.
        length: usize,
        /// Bytes allowed.
        maximum: usize,
    },
}

/// A repository on a registry, under its canonical name. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: Arc<str>,
    path: Arc<str>,
}

impl Repository {
    /// The registry, in lower case, with its port unless that is the default: `ghcr.io`, `localhost:5000`, `docker.io`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path on the registry, without a slash at either end: `acme/app`, `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.path)
    }
}

/// A reference to an image: a repository with a tag, a digest, both or neither.
///
/// Two references are equal if they name the same thing: how it was written does not count.
#[derive(Clone, Debug)]
pub struct ImageReference {
    repository: Repository,
    tag: Option<Arc<str>>,
    digest: Option<Digest>,
    short_name: bool,
    as_written: Arc<str>,
}

impl ImageReference {
    /// Parses what the kubelet would pull, or refuses.
    ///
    /// The first part is a registry host if it has a `.` or a `:` or is `localhost`; else the image is Docker Hub's.
    /// Hosts are put in lower case and lose `:443`, except where `host:443` may be another server than `host`
    /// (`localhost`, loopback addresses and names without a dot: runtimes reach the bare name without TLS, or take it
    /// for a path). Refused although distribution/reference accepts them:
    ///
    /// - `sha512:` and `sha384:` digests: v1alpha1 knows one algorithm;
    /// - hosts with upper case but no dot or port (`LOCALDOMAIN/app`): in lower case they are a Docker Hub path;
    /// - `Docker.io`, `docker.io:443` and the like: distribution/reference reads them as registries other than
    ///   Docker Hub, without `library/`;
    /// - ports outside 1 to 65535 or with leading zeros, labels or host names longer than DNS has, addresses in
    ///   brackets that are not IPv6 or embed IPv4;
    /// - `foo_bar.com/app`, which distribution/reference reads as a path without a host, and runtimes as a host;
    /// - `sha256:abc` without a slash: containerd takes it for (the start of) an image identifier and runs what the
    ///   node has under it, whatever the registry;
    /// - more than 1024 bytes.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        check_text(text)?;
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
        };
        let (host, remainder) = split_host(name)?;
        let (path, tag) = match remainder.split_once(':') {
            None => (remainder, None),
            Some((path, tag)) => (path, Some(check_tag(tag)?)),
        };
        let repository = Repository {
            path: canonical_path(host.as_deref(), path)?.into(),
            host: host.as_deref().unwrap_or(DOCKER_HUB).into(),
        };
        Ok(Self { repository, tag: tag.map(Arc::from), digest, short_name: host.is_none(), as_written: text.into() })
    }

    /// The reference to a digest in a repository that was parsed before.
    pub(crate) fn at(repository: Repository, digest: Digest) -> Self {
        let as_written = format!("{repository}@{digest}").into();
        Self { repository, tag: None, digest: Some(digest), short_name: false, as_written }
    }

    /// The repository, under its canonical name.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag as written. Beside a digest it says nothing about the image: its author may write any.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest as written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag that the kubelet would resolve: none beside a digest, `latest` if nothing is written.
    pub fn effective_tag(&self) -> Option<&str> {
        match (&self.digest, &self.tag) {
            (Some(_), _) => None,
            (None, Some(tag)) => Some(tag),
            (None, None) => Some("latest"),
        }
    }

    /// Whether the text named no registry host, which leaves the registry to the node's configuration.
    pub fn is_short_name(&self) -> bool {
        self.short_name
    }

    /// The text that was parsed.
    pub fn as_written(&self) -> &str {
        &self.as_written
    }

    /// The canonical text with `digest` in place of whatever digest was written: `host/path[:tag]@digest`.
    pub fn with_digest(&self, digest: &Digest) -> String {
        match &self.tag {
            None => format!("{}@{digest}", self.repository),
            Some(tag) => format!("{}:{tag}@{digest}", self.repository),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl PartialEq for ImageReference {
    fn eq(&self, other: &Self) -> bool {
        (&self.repository, &self.tag, &self.digest) == (&other.repository, &other.tag, &other.digest)
    }
}

impl Eq for ImageReference {}

impl Hash for ImageReference {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.repository, &self.tag, &self.digest).hash(state);
    }
}

/// Refuses what no part of a reference may hold, before any part is looked at or quoted in an error.
fn check_text(text: &str) -> Result<(), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if text.len() > MAXIMUM_LENGTH {
        return Err(ReferenceError::TooLong { length: text.len(), maximum: MAXIMUM_LENGTH });
    }
    if let Some((offset, character)) = text.char_indices().find(|(_, character)| !character.is_ascii_graphic()) {
        return Err(ReferenceError::ForbiddenCharacter { character, offset });
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(ReferenceError::Scheme { scheme: scheme.to_owned() });
    }
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ReferenceError::ImageIdentifier { text: text.to_owned() });
    }
    if let Some((algorithm, _)) = text.split_once(':')
        && !text.contains('/')
        && DIGEST_ALGORITHMS.contains(&algorithm)
    {
        return Err(ReferenceError::ImageIdentifier { text: text.to_owned() });
    }
    Ok(())
}

/// Splits `[host/]path[:tag]` into the canonical host, if one is named, and the rest.
fn split_host(name: &str) -> Result<(Option<String>, &str), ReferenceError> {
    match name.split_once('/') {
        Some((first, remainder)) if names_host(first) => Ok((Some(canonical_host(first)?), remainder)),
        _ => Ok((None, name)),
    }
}

/// Whether the first of several parts is a registry host, and not the start of a path on Docker Hub.
pub(super) fn names_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The one spelling of `host[:port]`.
pub(super) fn canonical_host(text: &str) -> Result<String, ReferenceError> {
    if text == DOCKER_HUB || text == DOCKER_HUB_LEGACY {
        return Ok(DOCKER_HUB.to_owned());
    }
    let (name, port) = split_port(text)?;
    let (name, loopback) = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => canonical_address(address)?,
        None => (canonical_name(name)?, name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())),
    };
    let has_dot_or_bracket = name.contains(['.', '[']);
    let host = match port {
        Some(443) if has_dot_or_bracket && !loopback => name,
        Some(port) => format!("{name}:{port}"),
        None => name,
    };
    // The comparison with Docker Hub comes last: only the exact spelling above is Docker Hub to a runtime.
    let is_path_in_lower_case = host != text && !host.contains(['.', ':']);
    if is_path_in_lower_case || host == DOCKER_HUB || host == DOCKER_HUB_LEGACY {
        return Err(ReferenceError::AmbiguousHost { host: text.to_owned() });
    }
    if is_docker_hub_alias(&host) {
        return Err(ReferenceError::DockerHubAlias { host: text.to_owned() });
    }
    Ok(host)
}

/// Whether a text is `host` or `host:port` and nothing else: no scheme, no path, no wildcard. It may be a host that no reference can name,
/// such as one of a single word.
pub fn is_host(text: &str) -> bool {
    let Ok((name, _)) = split_port(text) else { return false };
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => canonical_address(address).is_ok(),
        None => canonical_name(name).is_ok(),
    }
}

/// Whether a host serves Docker Hub's images under another name: a policy for `docker.io` would not see them.
fn is_docker_hub_alias(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    DOCKER_HUB_ALIASES.contains(&name)
}

/// Splits a host from its port and parses the latter.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), ReferenceError> {
    // In brackets, colons belong to the address.
    let after_address = text.find(']').map_or(0, |bracket| bracket.saturating_add(1));
    let Some(colon) = text.get(after_address..).and_then(|rest| rest.find(':')) else {
        return Ok((text, None));
    };
    let (name, port) = text.split_at(after_address.saturating_add(colon));
    let port = port.trim_start_matches(':');
    match port.parse::<u16>() {
        // Comparing with the number's own spelling refuses signs, leading zeros and doubled colons.
        Ok(number) if number != 0 && text == format!("{name}:{number}") => Ok((name, Some(number))),
        _ => Err(ReferenceError::Port { port: port.to_owned() }),
    }
}

/// A DNS name or IPv4 address in lower case.
fn canonical_name(name: &str) -> Result<String, ReferenceError> {
    if name.len() > MAXIMUM_HOST_LENGTH || !name.split('.').all(is_label) {
        return Err(ReferenceError::Host { host: name.to_owned() });
    }
    Ok(name.to_ascii_lowercase())
}

/// An IPv6 address in brackets, as RFC 5952 spells it, and whether it is the loopback address.
fn canonical_address(address: &str) -> Result<(String, bool), ReferenceError> {
    let refused = || ReferenceError::Host { host: format!("[{address}]") };
    let parsed: Ipv6Addr = address.parse().map_err(|_| refused())?;
    let canonical = parsed.to_string();
    // Embedded IPv4 is outside the grammar of distribution/reference, however it is written.
    if address.contains('.') || canonical.contains('.') {
        return Err(refused());
    }
    Ok((format!("[{canonical}]"), parsed.is_loopback()))
}

fn is_label(label: &str) -> bool {
    label.len() <= MAXIMUM_LABEL_LENGTH
        && label.starts_with(|character: char| character.is_ascii_alphanumeric())
        && label.ends_with(|character: char| character.is_ascii_alphanumeric())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Checks a repository path and adds the namespace that Docker Hub's short names leave out. No host is Docker Hub.
fn canonical_path(host: Option<&str>, path: &str) -> Result<String, ReferenceError> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::PathUpperCase { path: path.to_owned() });
    }
    if let Some(component) = path.split('/').find(|component| !is_path_component(component)) {
        return Err(ReferenceError::PathComponent { component: component.to_owned() });
    }
    let path = if host.is_none_or(|host| host == DOCKER_HUB) && !path.contains('/') {
        format!("{OFFICIAL_NAMESPACE}{path}")
    } else {
        path.to_owned()
    };
    if path.len() > MAXIMUM_PATH_LENGTH {
        return Err(ReferenceError::PathTooLong { length: path.len(), maximum: MAXIMUM_PATH_LENGTH });
    }
    Ok(path)
}

/// Lower-case letters and digits, with separators (`.`, `_`, `__`, any number of `-`) only between them.
pub(super) fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |character: char| matches!(character, 'a'..='z' | '0'..='9');
    component.starts_with(is_alphanumeric)
        && component.ends_with(is_alphanumeric)
        && component
            .split(is_alphanumeric)
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

/// A letter, digit or underscore, then up to 127 of these, dots and dashes.
fn check_tag(tag: &str) -> Result<&str, ReferenceError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let valid = tag.len() <= MAXIMUM_TAG_LENGTH
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    if valid { Ok(tag) } else { Err(ReferenceError::Tag { tag: tag.to_owned() }) }
}

#[cfg(test)]
mod tests;
