//! One GET over HTTP: which scheme, which addresses, which redirects, and what an answer's failure means.
//!
//! It knows nothing of repositories or credentials beyond carrying a header that the caller made, and drops that header
//! where a redirect leaves the host. Redirects of every kind of content are followed, not of blobs alone: registry.k8s.io
//! redirects manifests to a regional registry. No proxy is used, and none is taken from the environment: a proxy would
//! resolve names out of reach of the address check.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect, retry};

use super::address::{CheckedResolver, OutOfReach, Reach};
use super::limits::REDIRECTS;
use super::{RegistryError, RegistryOptions, Repository, TlsRoots};

/// The longest wait that is worth a second request within one operation.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is passed on.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Docker Hub's registry, which has another name than its images.
const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";

/// Two HTTP clients that differ in the addresses they connect to, and the rules for choosing.
#[derive(Debug)]
pub(super) struct Transport {
    public: Client,
    private: Client,
    plain_http: BTreeSet<String>,
    private_hosts: Vec<String>,
    deadline: Duration,
}

impl Transport {
    pub(super) fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        Ok(Self {
            public: build(options, Reach::Public)?,
            private: build(options, Reach::Private)?,
            plain_http: options.plain_http.iter().map(|host| with_port(host, 80)).collect(),
            private_hosts: options.private.clone(),
            deadline: options.request_timeout,
        })
    }

    /// Runs one operation, however many requests it takes, within the total time.
    pub(super) async fn within<T>(
        &self,
        host: &str,
        what: &'static str,
        operation: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        match tokio::time::timeout(self.deadline, operation).await {
            Ok(result) => result,
            Err(_) => Err(RegistryError::Timeout { host: host.to_owned(), what }),
        }
    }

    /// The URL of a repository's endpoint: `/v2/<path>/<endpoint>`.
    pub(super) fn url(&self, repository: &Repository, endpoint: &str) -> Result<Url, RegistryError> {
        let host = match repository.host() {
            "docker.io" => DOCKER_HUB_REGISTRY,
            host => host,
        };
        let scheme = if self.plain_http.contains(&with_port(host, 80)) { "http" } else { "https" };
        let unusable = || super::json::malformed("registry host", "it does not stand for itself in a URL");
        let url =
            Url::parse(&format!("{scheme}://{host}/v2/{}/{endpoint}", repository.path())).map_err(|_| unusable())?;
        // A URL reads `0x7f.1` or `127.1` as an address; whoever pulls may read a name.
        let port = url.port_or_known_default().unwrap_or_default();
        let is_same = with_port(host, port) == with_port(&authority(&url), port);
        if is_same { Ok(url) } else { Err(unusable()) }
    }

    /// Whether a URL's scheme is allowed: HTTPS, or HTTP to a listed host; and no user name in it.
    pub(super) fn allows_scheme(&self, url: &Url) -> bool {
        let scheme = url.scheme() == "https" || (url.scheme() == "http" && self.plain_http.contains(&origin(url)));
        scheme && url.username().is_empty() && url.password().is_none()
    }

    /// GETs a URL and follows its redirects. The answer has any status but a redirect.
    pub(super) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        what: &'static str,
    ) -> Result<Response, RegistryError> {
        let mut url = url.clone();
        let mut authorization = authorization;
        for _ in 0..=REDIRECTS {
            let response = self.get_once(&url, accept, authorization, what).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let refused = |reason| RegistryError::RedirectRefused { host: authority(&url), reason };
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| refused("it does not say where to"))?;
            if !self.allows_scheme(&target) {
                return Err(refused("it leads to a URL that is not https, or that carries credentials"));
            }
            if (target.scheme(), origin(&target)) != (url.scheme(), origin(&url)) {
                authorization = None;
            }
            url = target;
        }
        Err(RegistryError::RedirectRefused { host: authority(&url), reason: "there are more than 5 in a row" })
    }

    /// GETs a URL, and once more if the host asks for at most a second's patience. Redirects come back as they are.
    pub(super) async fn get_once(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        what: &'static str,
    ) -> Result<Response, RegistryError> {
        let response = self.send(url, accept, authorization, what).await?;
        match retry_after(&response) {
            Some(wait) if wait <= PATIENCE && is_rate_limit(&response) => {
                drop(response);
                tokio::time::sleep(wait).await;
                self.send(url, accept, authorization, what).await
            }
            _ => Ok(response),
        }
    }

    async fn send(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        what: &'static str,
    ) -> Result<Response, RegistryError> {
        let reach = self.reach(url);
        if let Some(address) = literal_address(url).filter(|address| !reach.allows(*address)) {
            return Err(RegistryError::BlockedAddress { host: authority(url), address });
        }
        let client = match reach {
            Reach::Private => &self.private,
            Reach::Public => &self.public,
        };
        let mut request = client.get(url.clone()).header(ACCEPT, accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        request.send().await.map_err(|error| request_error(url, &error, what))
    }

    fn reach(&self, url: &Url) -> Reach {
        let (origin, name) = (origin(url), url.host_str().unwrap_or_default());
        let is_named =
            self.private_hosts.iter().any(|host| host.eq_ignore_ascii_case(name) || host.eq_ignore_ascii_case(&origin));
        let is_plain = url.scheme() == "http" && self.plain_http.contains(&origin);
        if is_named || is_plain { Reach::Private } else { Reach::Public }
    }
}

/// What an answer other than success means. Not found is the caller's to tell from other failures.
pub(super) fn status_error(response: &Response, repository: &Repository) -> RegistryError {
    let (host, status) = (authority(response.url()), response.status());
    match status {
        _ if is_rate_limit(response) => RegistryError::RateLimited { host, retry_after: retry_after(response) },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            RegistryError::Unauthorized { host, repository: repository.to_string() }
        }
        status if status.is_server_error() => {
            RegistryError::Unavailable { host, reason: format!("status {}", status.as_u16()) }
        }
        status => RegistryError::UnexpectedStatus { host, status: status.as_u16() },
    }
}

/// What a failed request or a broken body means.
pub(super) fn request_error(url: &Url, error: &reqwest::Error, what: &'static str) -> RegistryError {
    let host = authority(url);
    if error.is_timeout() {
        return RegistryError::Timeout { host, what };
    }
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        if let Some(blocked) = source.downcast_ref::<OutOfReach>() {
            return RegistryError::BlockedAddress { host, address: blocked.address };
        }
        cause = source;
    }
    // The outermost message holds the URL, whose query may hold a signature or a scope; the innermost does not.
    let reason = if error.source().is_none() { "the request failed".to_owned() } else { cause.to_string() };
    let reason = reason.chars().filter(|character| !character.is_control()).take(200).collect();
    RegistryError::Unavailable { host, reason }
}

/// Host of a URL, with its port if that is not the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Host and port of a URL, the port always written.
pub(super) fn origin(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// A host in lower case, with a port.
pub(super) fn with_port(host: &str, default: u16) -> String {
    let host = host.to_ascii_lowercase();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !host.ends_with(']'));
    if has_port { host } else { format!("{host}:{default}") }
}

fn build(options: &RegistryOptions, reach: Reach) -> Result<Client, RegistryError> {
    let unusable = |reason: &str| RegistryError::ClientUnusable { reason: reason.to_owned() };
    let mut authorities: Vec<Certificate> = Vec::new();
    for pem in &options.extra_ca_pem {
        let bundle = Certificate::from_pem_bundle(pem).map_err(|_| unusable("a CA bundle is not PEM"))?;
        if bundle.is_empty() {
            return Err(unusable("a CA bundle holds no certificate"));
        }
        authorities.extend(bundle);
    }
    let builder = Client::builder()
        .user_agent(options.user_agent.as_str())
        .connect_timeout(options.connect_timeout)
        .dns_resolver(CheckedResolver { reach })
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy();
    let builder = match options.tls_roots {
        TlsRoots::None => builder.tls_certs_only(authorities),
        TlsRoots::System => builder.tls_certs_merge(authorities),
    };
    builder.build().map_err(|error| {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        RegistryError::ClientUnusable { reason }
    })
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_rate_limit(response: &Response) -> bool {
    let status = response.status();
    status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::SERVICE_UNAVAILABLE && response.headers().contains_key(RETRY_AFTER))
}

/// `Retry-After` in seconds. Its other form, a date, would need a clock that agrees with theirs.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}
