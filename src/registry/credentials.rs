//! Registry credentials from docker and podman files: which user and password belong to which repository.
//!
//! The format is that of [containers-auth.json](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md),
//! which Docker's `config.json` and Kubernetes' `kubernetes.io/dockerconfigjson` Secrets share. Parsing is pure; whoever
//! calls has read the file that `REGISTRY_AUTH_FILE` or `DOCKER_CONFIG` names. Deliberately absent:
//!
//! - credential helpers (`credsStore`, `credHelpers`): they are programs to run;
//! - `identitytoken` and `registrytoken`: entries that hold nothing else are skipped, as if they were not there.
//!
//! A key names a host or the start of a path on it. Hosts are compared whole, so that a look-alike gets nothing, and
//! paths by whole components. As with the kubelet, `*` in a key stands for text within one label of the host name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::RegistryError;
use super::json::from_json;
use crate::image::Repository;

/// Docker Hub under its own name, that of its old index, and that of its registry.
const DOCKER_HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A user and a password for one registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credential {
    user: String,
    password: String,
}

impl Credential {
    /// The value of a `Basic` authorization header.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential(redacted)")
    }
}

/// Tells credentials apart in keys of caches, without holding them: a hash under a key that this process made and never tells, so
/// that nobody who sees it can try passwords against it. Worth nothing in another process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialKey(Option<[u8; 32]>);

impl CredentialKey {
    /// The key of access without credentials.
    pub const ANONYMOUS: Self = Self(None);
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "CredentialKey(redacted)" } else { "CredentialKey(anonymous)" })
    }
}

impl CredentialKey {
    /// The key of a credential: the same for equal ones, for as long as the process lives.
    fn of(credential: &Credential) -> Result<Self, RegistryError> {
        static SECRET: OnceLock<hmac::Key> = OnceLock::new();
        let secret = if let Some(secret) = SECRET.get() {
            secret
        } else {
            let fresh = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| {
                let reason = "the system gives no random numbers to tell credentials apart by".to_owned();
                RegistryError::ClientUnusable { reason }
            })?;
            SECRET.get_or_init(|| fresh)
        };
        let Credential { user, password } = credential;
        // With the length of the first in front, no two pairs are one text.
        let tag = hmac::sign(secret, format!("{}:{user}{password}", user.len()).as_bytes());
        let hash = tag.as_ref().try_into().map_err(|_| RegistryError::ClientUnusable {
            reason: "the hash that tells credentials apart has another length than its algorithm's".to_owned(),
        })?;
        Ok(Self(Some(hash)))
    }
}

/// The credentials of one caller, by host and path.
#[derive(Clone, Default)]
pub struct CredentialStore {
    entries: BTreeMap<Scope, (Credential, CredentialKey)>,
}

impl fmt::Debug for CredentialStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.entries.keys()).finish()
    }
}

impl CredentialStore {
    /// Parses the bytes of an auth file. A file without `auths` holds no credentials; an entry that cannot be
    /// understood refuses the file, since a lost credential would show as a missing signature.
    ///
    /// ```
    /// use countersign::image::ImageReference;
    /// use countersign::registry::{CredentialKey, CredentialStore};
    ///
    /// let store = CredentialStore::parse(br#"{"auths":{"reg.io/team":{"auth":"dXNlcjpwYXNzd29yZA=="}}}"#)?;
    /// let key = |text| ImageReference::parse(text).map(|reference| store.key(reference.repository()));
    /// assert_ne!(key("reg.io/team/app")?, CredentialKey::ANONYMOUS);
    /// assert_eq!(key("reg.io/teammate/app")?, CredentialKey::ANONYMOUS);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Self, RegistryError> {
        let file: AuthFile = from_json(bytes, "auth file").map_err(|error| match error {
            RegistryError::Malformed { reason, .. } => RegistryError::CredentialsUnreadable { reason },
            other => other,
        })?;
        let mut entries = BTreeMap::new();
        for (key, entry) in file.auths.unwrap_or_default() {
            let scope = Scope::parse(&key)?;
            if let Some(credential) = entry.credential(&scope)? {
                // Two spellings of one key: the first in the order of their bytes, so that the choice is stable.
                let key = CredentialKey::of(&credential)?;
                entries.entry(scope).or_insert((credential, key));
            }
        }
        Ok(Self { entries })
    }

    /// Identifies the credential that a request for this repository would carry.
    pub fn key(&self, repository: &Repository) -> CredentialKey {
        self.entry(repository).map_or(CredentialKey::ANONYMOUS, |(_, key)| key.clone())
    }

    /// The credential for a repository: an exact host before a pattern, then the longest path.
    pub(super) fn select(&self, repository: &Repository) -> Option<&Credential> {
        self.entry(repository).map(|(credential, _)| credential)
    }

    fn entry(&self, repository: &Repository) -> Option<&(Credential, CredentialKey)> {
        self.entries
            .iter()
            .filter(|(scope, _)| scope.covers(repository))
            .max_by_key(|(scope, _)| (!scope.host.contains('*'), scope.path.len()))
            .map(|(_, entry)| entry)
    }
}

#[derive(Deserialize)]
struct AuthFile {
    auths: Option<BTreeMap<String, AuthEntry>>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl AuthEntry {
    fn credential(self, scope: &Scope) -> Result<Option<Credential>, RegistryError> {
        let unreadable = |reason: &str| RegistryError::CredentialsUnreadable {
            reason: format!("the entry for {} {reason}", scope.host),
        };
        let (user, password) = match (self.auth.filter(|text| !text.is_empty()), self.username, self.password) {
            (Some(auth), _, _) => {
                let bytes = STANDARD.decode(auth.trim()).map_err(|_| unreadable("has an auth that is not base64"))?;
                let text = String::from_utf8(bytes).map_err(|_| unreadable("has an auth that is not UTF-8"))?;
                let (user, password) = text.split_once(':').ok_or_else(|| unreadable("has an auth without a colon"))?;
                // Docker pads the password with NUL bytes, and reads it without.
                (user.to_owned(), password.trim_matches('\0').to_owned())
            }
            (None, Some(user), Some(password)) => (user, password),
            (None, ..) => return Ok(None),
        };
        Ok((!password.is_empty()).then_some(Credential { user, password }))
    }
}

/// A key of the file: a host, and a path that may be empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    host: String,
    path: String,
}

impl Scope {
    fn parse(key: &str) -> Result<Self, RegistryError> {
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let host = host.to_ascii_lowercase();
        let is_host = |character: char| character.is_ascii_alphanumeric() || ".-_:[]*".contains(character);
        if host.is_empty() || !host.chars().all(is_host) {
            // The key is not quoted: a URL may hold a password.
            return Err(RegistryError::CredentialsUnreadable { reason: "a key does not name a host".into() });
        }
        let host = if DOCKER_HUB_HOSTS.contains(&host.as_str()) {
            "docker.io".to_owned()
        } else {
            host.strip_suffix(":443").map_or(host.clone(), str::to_owned)
        };
        // Docker wrote the API's version behind the host; it is no part of a repository.
        let path = match path.trim_matches('/') {
            "v1" | "v2" => "",
            path => path,
        };
        Ok(Self { host, path: path.to_owned() })
    }

    fn covers(&self, repository: &Repository) -> bool {
        let path = repository.path();
        let covers_path = self.path.is_empty()
            || path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        covers_path && matches_host(&self.host, repository.host())
    }
}

/// Whether a host is the one that a key names: whole and equal, or label by label where the key has a `*`.
fn matches_host(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host || host.strip_suffix(":443") == Some(pattern);
    }
    let (pattern_name, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    pattern_port == port
        && pattern_name.split('.').count() == name.split('.').count()
        && pattern_name.split('.').zip(name.split('.')).all(|(pattern, label)| matches_label(pattern, label))
}

/// `*` matches any text; with several of them, the pieces between must follow one another.
fn matches_label(pattern: &str, label: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(mut label) = label.strip_prefix(start) else {
        return false;
    };
    while let Some((piece, after)) = rest.split_once('*') {
        let Some((_, following)) = label.split_once(piece) else {
            return false;
        };
        (label, rest) = (following, after);
    }
    label.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageReference;

    fn store(entries: &[(&str, &str)]) -> CredentialStore {
        let auths: BTreeMap<_, _> = entries
            .iter()
            .map(|(key, user)| (*key, serde_json::json!({ "auth": STANDARD.encode(format!("{user}:secret")) })))
            .collect();
        CredentialStore::parse(serde_json::json!({ "auths": auths }).to_string().as_bytes()).unwrap()
    }

    fn user(store: &CredentialStore, image: &str) -> Option<String> {
        let reference = ImageReference::parse(image).unwrap();
        store.select(reference.repository()).map(|credential| credential.user.clone())
    }

    #[test]
    fn cve_2025_27403_gives_each_repository_its_own_credential() {
        let store = store(&[
            ("reg.io", "host"),
            ("reg.io/team", "team"),
            ("reg.io/team/app", "app"),
            ("https://Other.io:443/v2/", "url"),
            ("port.io:5000", "port"),
            ("https://index.docker.io/v1/", "hub"),
            ("*.azurecr.io", "glob"),
            ("mine.azurecr.io", "exact"),
            ("a*b.example.com:5000/x", "infix"),
        ]);
        for (image, expected) in [
            ("reg.io/x", Some("host")),
            ("reg.io/team", Some("team")),
            ("reg.io/team/x", Some("team")),
            ("reg.io/team/app:1", Some("app")),
            ("reg.io/team/app/deep", Some("app")),
            ("reg.io/team/apple", Some("team")),
            ("reg.io/teammate", Some("host")),
            ("REG.io/x", Some("host")),
            ("reg.io:443/x", Some("host")),
            ("other.io/x", Some("url")),
            ("port.io:5000/x", Some("port")),
            ("nginx", Some("hub")),
            ("docker.io/a/b", Some("hub")),
            ("his.azurecr.io/x", Some("glob")),
            ("mine.azurecr.io/x", Some("exact")),
            ("a-b.example.com:5000/x", Some("infix")),
            // Look-alikes and neighbours get nothing.
            ("reg.io:5000/x", None),
            ("sub.reg.io/x", None),
            ("xreg.io/x", None),
            ("reg.io.evil.com/x", None),
            ("reg.iox/x", None),
            ("port.io/x", None),
            ("port.io:50000/x", None),
            ("evil.com/reg.io/team", None),
            ("docker.io.evil.com/x", None),
            ("azurecr.io/x", None),
            ("a.b.azurecr.io/x", None),
            ("x.azurecr.io.evil.com/x", None),
            ("xazurecr.io/x", None),
            ("his.azurecr.io:5000/x", None),
            ("ab.example.com/x", None),
            ("ab.example.com:5000/y", None),
            ("a.b.example.com:5000/x", None),
        ] {
            assert_eq!(user(&store, image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn skips_entries_without_a_password_and_refuses_broken_ones() {
        for (entry, expected) in [
            (r#"{"auth":"dTpw"}"#, Some(Some("u"))),
            (r#"{"username":"u","password":"p"}"#, Some(Some("u"))),
            (r#"{"auth":"dTpwAAA="}"#, Some(Some("u"))),
            ("{}", Some(None)),
            (r#"{"auth":""}"#, Some(None)),
            (r#"{"identitytoken":"t"}"#, Some(None)),
            (r#"{"auth":"dTo=","identitytoken":"t"}"#, Some(None)),
            (r#"{"auth":"INTERNAL-SECRET"}"#, None),
            (r#"{"auth":"dXA="}"#, None),
            (r#"{"auth":7}"#, None),
        ] {
            let parsed = CredentialStore::parse(format!(r#"{{"auths":{{"reg.io":{entry}}}}}"#).as_bytes());
            if let Err(error) = &parsed {
                assert!(!error.to_string().contains("SECRET"), "{error}");
            }
            let found = parsed.ok().map(|store| user(&store, "reg.io/x"));
            assert_eq!(found, expected.map(|user| user.map(str::to_owned)), "{entry}");
        }
        assert!(CredentialStore::parse(br#"{"credsStore":"desktop"}"#).unwrap().entries.is_empty());
        assert!(CredentialStore::parse(br#"{"auths":{"https://u:SECRET@reg.io":{}}}"#).is_err());
        assert!(CredentialStore::parse(b"[]").is_err());
    }

    #[test]
    fn tells_credentials_apart_and_never_prints_them() {
        let (alice, bob) = (store(&[("reg.io", "alice")]), store(&[("reg.io", "bob")]));
        let repository = ImageReference::parse("reg.io/x").unwrap().repository().clone();
        assert_eq!(alice.key(&repository), alice.clone().key(&repository));
        assert_ne!(alice.key(&repository), bob.key(&repository));
        assert_ne!(alice.key(&repository), CredentialKey::ANONYMOUS);
        // Another caller with the same credential has the same key; one whose user and password run together has not.
        assert_eq!(alice.key(&repository), store(&[("reg.io/x", "alice")]).key(&repository));
        let key = |user: &str, password: &str| {
            CredentialKey::of(&Credential { user: user.to_owned(), password: password.to_owned() }).unwrap()
        };
        assert_eq!(key("ab", "c"), key("ab", "c"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        // It is no plain hash of what it stands for.
        let plain = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"2:abc");
        assert_ne!(key("ab", "c").0.unwrap(), plain.as_ref());
        let printed = format!("{alice:?} {:?} {:?}", alice.select(&repository), alice.key(&repository));
        assert!(!printed.contains("secret") && !printed.contains("alice"), "{printed}");
    }
}
