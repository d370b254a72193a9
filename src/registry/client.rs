//! The client of OCI registries: manifests, blobs and referrers over HTTPS.
//!
//! [Distribution specification 1.1](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md), the pull
//! half: it never pushes, lists no tags, and asks for nothing that a caller did not name. It keeps authorization
//! headers for a while and nothing else. Every operation ends within
//! [`request_timeout`](RegistryOptions::request_timeout), whatever the registry does.

use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderName, LINK, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};

use super::challenge::Challenge;
use super::json::malformed;
use super::limits::{LISTING_BYTES, LISTING_ENTRIES, LISTING_PAGES, REFERRERS_BYTES};
use super::manifest::{self, OCI_INDEX, index_entries, known_media_type};
use super::token::{TokenCache, TokenKey, authorize};
use super::transport::{Transport, authority, origin, status_error};
use super::{
    CredentialKey, CredentialStore, Credentialed, Descriptor, ImageSource, ManifestSelector, RawManifest, RealmGrant,
    RegistryError, RegistryOptions, body, link,
};
use crate::image::{Digest, Repository};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A client for any number of registries. Cloning shares connections and tokens.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    shared: Arc<Shared>,
    credentials: Arc<CredentialStore>,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    realms: Vec<RealmGrant>,
    tokens: TokenCache,
}

impl RegistryClient {
    /// Builds the client. The process must have a default TLS crypto provider by then.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let transport = Transport::new(&options)?;
        let RegistryOptions { credentials, realms, .. } = options;
        let shared = Shared { transport, realms, tokens: TokenCache::default() };
        Ok(Self { shared: Arc::new(shared), credentials: Arc::new(credentials) })
    }

    /// The same client for another caller: connections are shared, credentials and tokens are not.
    #[must_use]
    pub fn with_credentials(&self, credentials: CredentialStore) -> Self {
        Self { shared: Arc::clone(&self.shared), credentials: Arc::new(credentials) }
    }

    /// GETs an endpoint of a repository, answering one challenge on the way. The answer may have any status.
    async fn get(
        &self,
        repository: &Repository,
        url: &Url,
        accept: &'static str,
        what: &'static str,
    ) -> Result<Response, RegistryError> {
        let Shared { transport, realms, tokens } = &*self.shared;
        let key = TokenKey { repository: repository.clone(), credential: self.credentials.key(repository) };
        let cached = tokens.get(&key);
        let response = transport.get(url, accept, cached.as_ref(), what).await?;
        // Only the registry's own word counts; a host behind a redirect gets no credentials.
        if response.status() != StatusCode::UNAUTHORIZED || origin(response.url()) != origin(url) {
            return Ok(response);
        }
        tokens.remove(&key);
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = Challenge::select(headers) else {
            return Ok(response);
        };
        drop(response);
        let credential = self.credentials.select(repository);
        let authorization = authorize(transport, realms, url, repository, challenge, credential).await?;
        let response = transport.get(url, accept, Some(&authorization.header), what).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            tokens.insert(key, &authorization);
        }
        Ok(response)
    }

    async fn fetch_manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let endpoint = match selector {
            ManifestSelector::Digest(digest) => format!("manifests/{digest}"),
            ManifestSelector::Tag(tag) if is_tag(tag) => format!("manifests/{tag}"),
            ManifestSelector::Tag(_) => return Err(malformed("tag", "it is not in the grammar")),
        };
        let url = self.shared.transport.url(repository, &endpoint)?;
        let response = self.get(repository, &url, manifest::ACCEPT, "manifest").await?;
        if !is_found(&response, repository)? {
            return Ok(None);
        }
        let text =
            |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (content_type, announced) = (text(CONTENT_TYPE), text(DOCKER_CONTENT_DIGEST));
        let bytes = body::read(response, cap, "manifest").await?;
        let manifest = RawManifest::verified(selector, bytes, content_type.as_deref())?;
        // A registry that contradicts itself about what a tag names is not believed in either.
        match announced.and_then(|text| Digest::parse(&text).ok()) {
            Some(expected) if expected != *manifest.digest() => {
                Err(RegistryError::DigestMismatch { expected, found: manifest.digest().clone() })
            }
            _ => Ok(Some(manifest)),
        }
    }

    async fn fetch_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        cap: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let url = self.shared.transport.url(repository, &format!("blobs/{digest}"))?;
        let response = self.get(repository, &url, "application/octet-stream, */*", "blob").await?;
        if !is_found(&response, repository)? {
            return Ok(None);
        }
        let bytes = body::read(response, cap, "blob").await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(Some(bytes))
        } else {
            Err(RegistryError::DigestMismatch { expected: digest.clone(), found })
        }
    }

    async fn fetch_referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let mut url = self.shared.transport.url(repository, &format!("referrers/{digest}"))?;
        let mut entries = Vec::new();
        let mut bytes_left = REFERRERS_BYTES;
        for page in 0..LISTING_PAGES {
            let response = self.get(repository, &url, OCI_INDEX, "referrers").await?;
            let is_absent = matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
            if page == 0 && is_absent {
                return Ok(None);
            }
            if response.status() != StatusCode::OK {
                return Err(status_error(&response, repository));
            }
            let next = next_page(&url, &response)?;
            let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let is_other = content_type.and_then(known_media_type).is_some_and(|known| known != OCI_INDEX);
            if is_other {
                return Err(malformed("referrers", "the listing is served as another kind of manifest"));
            }
            let bytes = body::read(response, LISTING_BYTES.min(bytes_left), "referrers").await?;
            bytes_left = bytes_left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            entries.extend(index_entries(&bytes, LISTING_ENTRIES.saturating_sub(entries.len()))?);
            match next {
                Some(next) => url = next,
                None => return Ok(Some(entries)),
            }
        }
        Err(RegistryError::TooMany { what: "pages of referrers", cap: LISTING_PAGES })
    }
}

impl ImageSource for RegistryClient {
    async fn manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let operation = self.fetch_manifest(repository, selector, cap);
        self.shared.transport.within(repository.host(), "manifest", operation).await
    }

    async fn blob(&self, repository: &Repository, digest: &Digest, cap: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let operation = self.fetch_blob(repository, digest, cap);
        self.shared.transport.within(repository.host(), "blob", operation).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let operation = self.fetch_referrers(repository, digest);
        self.shared.transport.within(repository.host(), "referrers", operation).await
    }
}

impl Credentialed for RegistryClient {
    fn credential(&self, repository: &Repository) -> CredentialKey {
        self.credentials.key(repository)
    }
}

/// The URL of the next page: another query of the page that answered, and nothing else.
fn next_page(asked: &Url, response: &Response) -> Result<Option<Url>, RegistryError> {
    let mut headers = response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = headers.find_map(link::next) else {
        return Ok(None);
    };
    let answered = response.url();
    let refused = |reason| RegistryError::RedirectRefused { host: authority(answered), reason };
    let next = answered.join(target).map_err(|_| refused("the next page is not a URL"))?;
    let place = |url: &Url| (url.scheme().to_owned(), origin(url), url.path().to_owned());
    if place(&next) != place(answered) || !next.username().is_empty() || next.password().is_some() {
        return Err(refused("the next page is elsewhere"));
    }
    // A listing behind a redirect is asked for again by its own name: credentials belong to the registry alone.
    let mut url = asked.clone();
    url.set_query(next.query());
    Ok(Some(url))
}

fn is_found(response: &Response, repository: &Repository) -> Result<bool, RegistryError> {
    match response.status() {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(status_error(response, repository)),
    }
}

/// The grammar of tags; it keeps a selector that nobody parsed from naming another endpoint.
fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}
