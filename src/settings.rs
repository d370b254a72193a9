//! Flags that several subcommands share, parsed straight into domain types.
//!
//! No side effects: nothing is read, opened or contacted here. The doc comment of a flag is its reference text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::image::is_host;
use crate::policy::Unmatched;
use crate::trust::GITHUB;

/// `--trust-root NAME` or `--trust-root NAME=FILE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustRootFlag {
    /// The name by which policies mention the root.
    pub name: String,
    /// The `trusted_root.json`; none: the embedded root of that name.
    pub file: Option<PathBuf>,
}

impl std::str::FromStr for TrustRootFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) => (name, Some(PathBuf::from(file))),
            None => (text, None),
        };
        let usable = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
        if name.is_empty() || !name.chars().all(usable) || file.as_ref().is_some_and(|file| file.as_os_str().is_empty())
        {
            return Err("write NAME or NAME=FILE; a name has letters, digits, '-', '.' and '_'".to_owned());
        }
        if name == GITHUB && file.is_some() {
            // A policy that names it asks for no log, and must not lose the logs of another instance by its name.
            return Err(format!(
                "{GITHUB} is GitHub's instance; name yours otherwise, and say what it proves by `evidence`"
            ));
        }
        Ok(Self { name: name.to_owned(), file })
    }
}

/// `--unmatched`, as users write it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum UnmatchedFlag {
    /// Images that no enforcing policy governs are allowed.
    Allow,
    /// They are allowed with a warning.
    Warn,
    /// They are denied.
    Deny,
}

impl From<UnmatchedFlag> for Unmatched {
    fn from(flag: UnmatchedFlag) -> Self {
        match flag {
            UnmatchedFlag::Allow => Self::Allow,
            UnmatchedFlag::Warn => Self::Warn,
            UnmatchedFlag::Deny => Self::Deny,
        }
    }
}

/// How registries are reached.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryFlags {
    /// Credentials as podman and docker keep them (containers-auth.json, config.json).
    /// Absent: the file that `REGISTRY_AUTH_FILE` names.
    #[arg(long, value_name = "FILE")]
    pub registry_auth_file: Option<PathBuf>,
    /// A registry that is spoken to over plain HTTP, and may have a private address. May be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    pub plain_http_registry: Vec<String>,
    /// A registry that may have a private or loopback address. May be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    pub private_registry: Vec<String>,
    /// Certificate authorities to trust for registries beside the usual ones, PEM. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Vec<PathBuf>,
    /// A token service of another site that a registry may send us to, with our credentials for it. May be repeated.
    #[arg(long, value_name = "REGISTRY=REALM")]
    pub registry_realm: Vec<RealmFlag>,
}

/// `--registry-realm REGISTRY=REALM`: hosts, with ports where they are not 443.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealmFlag {
    /// The registry's host.
    pub registry: String,
    /// The token service's host.
    pub realm: String,
}

impl std::str::FromStr for RealmFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((registry, realm)) if is_host(registry) && is_host(realm) => {
                Ok(Self { registry: registry.to_owned(), realm: realm.to_owned() })
            }
            _ => Err("write REGISTRY=REALM, two hosts, each with its port or without, and without scheme and path"
                .to_owned()),
        }
    }
}

/// Parses a host, with its port or without: a URL or a path would match no registry, and say nothing.
///
/// # Errors
/// Text that is anything else.
pub fn host(text: &str) -> Result<String, String> {
    if is_host(text) {
        return Ok(text.to_owned());
    }
    Err("write HOST or HOST:PORT, without scheme and path".to_owned())
}

/// Parses seconds into a duration.
///
/// # Errors
/// Text that is not a whole number from 1 to 3,600.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3_600) => Ok(Duration::from_secs(seconds)),
        _ => Err("a whole number of seconds from 1 to 3600".to_owned()),
    }
}

/// Parses seconds for which an answer is remembered.
///
/// # Errors
/// Text that is not a whole number from 0 to 300.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0..=300) => Ok(Duration::from_secs(seconds)),
        _ => Err("a whole number of seconds from 0 to 300".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_root_is_a_name_or_a_name_with_a_file() {
        let parse = |text: &str| text.parse::<TrustRootFlag>();
        assert_eq!(parse("staging").unwrap(), TrustRootFlag { name: "staging".into(), file: None });
        assert_eq!(parse("own=a=b.json").unwrap(), TrustRootFlag { name: "own".into(), file: Some("a=b.json".into()) });
        for bad in ["", "=x", "own=", "a b", "a/b", "github=a.json"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        for bad in ["0", "-1", "3601", "1.5", "x", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!((lifetime("0"), lifetime("300")), (Ok(Duration::ZERO), Ok(Duration::from_mins(5))));
        for bad in ["-1", "301", "1.5", "x", ""] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_hosts_and_nothing_more() {
        for good in ["ghcr.io", "localhost:5000", "auth", "Registry.Example.com:8443", "127.0.0.1:80", "[::1]:5000"] {
            assert_eq!(host(good).as_deref(), Ok(good));
            let flag = format!("{good}={good}").parse::<RealmFlag>();
            assert_eq!(flag, Ok(RealmFlag { registry: good.to_owned(), realm: good.to_owned() }));
        }
        let bad = [
            "",
            "https://ghcr.io",
            "ghcr.io/acme",
            "ghcr.io/",
            "*.ghcr.io",
            "ghcr.io:",
            "ghcr.io:0",
            "ghcr.io:70000",
            "user@ghcr.io",
            "ghcr.io.",
            "a b",
            "::1",
            "a_b",
            "x=y",
        ];
        for bad in bad {
            assert!(host(bad).is_err(), "{bad:?}");
            for flag in [format!("{bad}=ghcr.io"), format!("ghcr.io={bad}")] {
                assert!(flag.parse::<RealmFlag>().is_err(), "{flag:?}");
            }
        }
    }
}
