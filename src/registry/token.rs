//! Authorization of requests: tokens from the service that a registry names, and a cache of them.
//!
//! [Token authentication](https://distribution.github.io/distribution/spec/auth/token/). A registry chooses the URL of
//! its token service, and credentials go there, so the choice is bound to the registry's own site. The scope is always
//! to pull one repository. Refused credentials are an error and never turn into anonymous access. `POST` (the OAuth 2 way)
//! requests are not made.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{Credential, CredentialKey};
use super::json::{from_json, malformed};
use super::limits::TOKEN_BYTES;
use super::transport::{Transport, authority, origin, status_error, with_port};
use super::{RealmGrant, RegistryError, Repository, body};

/// How long a token lives if its service does not say, by the specification.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_hours(1);
/// A token is given up before its service would.
const MARGIN: Duration = Duration::from_secs(5);
/// Entries in the cache, each of at most a token's cap.
const CACHE_ENTRIES: usize = 1_024;
/// Longer tokens are not kept: with the entries they bound the cache's memory.
const CACHED_BYTES: usize = 16 << 10;

/// Whose token for what: no token is ever used for another repository or another caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) repository: Repository,
    pub(super) credential: CredentialKey,
}

/// The authorization headers in use. Values are marked sensitive, so that nothing prints them.
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    entries: Mutex<HashMap<TokenKey, Entry>>,
}

#[derive(Debug)]
struct Entry {
    header: HeaderValue,
    expires: Instant,
}

impl TokenCache {
    pub(super) fn get(&self, key: &TokenKey) -> Option<HeaderValue> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|entry| entry.expires > Instant::now()).map(|entry| entry.header.clone())
    }

    pub(super) fn insert(&self, key: TokenKey, authorization: &Authorization) {
        let Authorization { header, life } = authorization;
        if header.len() > CACHED_BYTES || life.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CACHE_ENTRIES {
            entries.retain(|_, entry| entry.expires > now);
        }
        if entries.len() >= CACHE_ENTRIES {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.expires).map(|(key, _)| key.clone());
            oldest.and_then(|key| entries.remove(&key));
        }
        entries.insert(key, Entry { header: header.clone(), expires: now + *life });
    }

    pub(super) fn remove(&self, key: &TokenKey) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// A value for the `Authorization` header and how long to keep it.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    life: Duration,
}

/// Answers a challenge of the registry at `registry`: the credential itself, or a token for it.
pub(super) async fn authorize(
    transport: &Transport,
    grants: &[RealmGrant],
    registry: &Url,
    repository: &Repository,
    challenge: Challenge,
    credential: Option<&Credential>,
) -> Result<Authorization, RegistryError> {
    let basic = credential.map(|credential| sensitive(&credential.basic())).transpose()?;
    match challenge {
        Challenge::Basic => match basic {
            Some(header) => Ok(Authorization { header, life: DEFAULT_LIFE }),
            None => Err(RegistryError::Unauthorized { host: authority(registry), repository: repository.to_string() }),
        },
        Challenge::Bearer { realm, service } => {
            let mut url = check_realm(transport, grants, registry, &realm)?;
            url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", repository.path()));
            if let Some(service) = service {
                url.query_pairs_mut().append_pair("service", &service);
            }
            fetch_token(transport, &url, repository, basic.as_ref()).await
        }
    }
}

async fn fetch_token(
    transport: &Transport,
    url: &Url,
    repository: &Repository,
    basic: Option<&HeaderValue>,
) -> Result<Authorization, RegistryError> {
    // Redirects are not followed: the realm was checked, and where it leads was not.
    let response = transport.get_once(url, "application/json", basic, "token").await?;
    if response.status() != StatusCode::OK {
        return Err(status_error(&response, repository));
    }
    let bytes = body::read(response, TOKEN_BYTES, "token").await?;
    let answer: TokenAnswer = from_json(&bytes, "token")?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("token", "it is empty or holds characters that a header may not"));
    }
    let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(LONGEST_LIFE).saturating_sub(MARGIN);
    Ok(Authorization { header: sensitive(&format!("Bearer {token}"))?, life })
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Accepts a token service whose scheme is allowed and whose host is granted to the registry or of the same site.
fn check_realm(
    transport: &Transport,
    grants: &[RealmGrant],
    registry: &Url,
    realm: &str,
) -> Result<Url, RegistryError> {
    let parsed = Url::parse(realm).ok();
    let named = parsed
        .as_ref()
        .map_or_else(|| "(not a URL)".to_owned(), |url| format!("{}://{}", url.scheme(), authority(url)));
    let default_port = |url: &Url| if url.scheme() == "http" { 80 } else { 443 };
    let is_granted = |url: &Url| {
        grants.iter().any(|grant| {
            with_port(&grant.registry, default_port(registry)) == origin(registry)
                && with_port(&grant.realm, default_port(url)) == origin(url)
        })
    };
    parsed
        .filter(|url| transport.allows_scheme(url))
        .filter(|url| is_same_site(registry, url) || is_docker_hub(registry, url) || is_granted(url))
        .ok_or_else(|| RegistryError::RealmRefused { host: authority(registry), realm: named })
}

/// Whether a token service is plainly of the registry's own site: the same host; or, both with TLS and by name, on
/// another port, or one above or below the other (`registry.gitlab.com` and `gitlab.com`).
///
/// Neighbours (`registry.example.com` and `auth.example.com`) are not: without the list of public suffixes,
/// `mine.azurecr.io` and `evil.azurecr.io` would be too. They need a [`RealmGrant`].
fn is_same_site(registry: &Url, realm: &Url) -> bool {
    if (registry.scheme(), origin(registry)) == (realm.scheme(), origin(realm)) {
        return true;
    }
    if registry.scheme() != "https" || realm.scheme() != "https" {
        return false;
    }
    let (Some(registry), Some(realm)) = (registry.domain(), realm.domain()) else {
        return false;
    };
    let is_below = |lower: &str, upper: &str| {
        upper.contains('.') && lower.strip_suffix(upper).is_some_and(|rest| rest.ends_with('.'))
    };
    registry == realm || is_below(registry, realm) || is_below(realm, registry)
}

fn is_docker_hub(registry: &Url, realm: &Url) -> bool {
    registry.scheme() == "https"
        && realm.scheme() == "https"
        && origin(registry) == "registry-1.docker.io:443"
        && origin(realm) == "auth.docker.io:443"
}

fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| malformed("token", "it is empty or holds characters that a header may not"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests;
