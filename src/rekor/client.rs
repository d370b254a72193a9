//! One question over HTTP: a bounded answer, or why there is none.
//!
//! One pool of connections for all logs. A client is built when the first question is asked, so that whoever asks none needs neither
//! network nor certificate authorities.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url, redirect, retry};

use super::RekorError;
use crate::registry::TlsRoots;

/// Time between the two attempts of a question.
const PAUSE: Duration = Duration::from_millis(100);

/// How logs are reached. The default trusts the system's certificate authorities.
#[derive(Clone, Debug)]
pub struct RekorOptions {
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time for one question, both attempts and the body included.
    pub question_timeout: Duration,
    /// PEM bundles of certificate authorities that logs are trusted by.
    pub extra_ca_pem: Vec<Vec<u8>>,
    /// Certificate authorities beside `extra_ca_pem`.
    pub tls_roots: TlsRoots,
}

impl Default for RekorOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            question_timeout: Duration::from_secs(5),
            extra_ca_pem: Vec::new(),
            tls_roots: TlsRoots::System,
        }
    }
}

/// Asks logs.
#[derive(Debug)]
pub struct RekorClient {
    options: RekorOptions,
    http: OnceLock<Result<Client, RekorError>>,
}

/// What is asked, and how long the answer may be.
pub(super) struct Asked<'a> {
    /// The log's address in the trust root.
    pub(super) address: &'a str,
    /// The path below it, with its query.
    pub(super) path: &'a str,
    /// JSON to post; none: a GET.
    pub(super) body: Option<String>,
    /// Bytes that the answer may have.
    pub(super) cap: usize,
    /// What it is, for messages.
    pub(super) what: &'static str,
}

impl RekorClient {
    /// A client with these options.
    pub fn new(options: RekorOptions) -> Self {
        Self { options, http: OnceLock::new() }
    }

    /// Asks once, and once more where the log was not to be had. A 404 is [`NotFound`](RekorError::NotFound).
    pub(super) async fn ask(&self, asked: &Asked<'_>) -> Result<Vec<u8>, RekorError> {
        let http = self.http.get_or_init(|| build(&self.options)).as_ref().map_err(Clone::clone)?;
        let url = url(asked.address, asked.path)?;
        let host = host(asked.address);
        let attempts = async {
            match attempt(http, &url, &host, asked).await {
                Err(error) if is_passing(&error) => {
                    tokio::time::sleep(PAUSE).await;
                    attempt(http, &url, &host, asked).await
                }
                result => result,
            }
        };
        let late = |_| RekorError::Unavailable { host: host.clone(), reason: "no answer in time".to_owned() };
        tokio::time::timeout(self.options.question_timeout, attempts).await.map_err(late)?
    }
}

/// Whether another attempt may find the log again.
fn is_passing(error: &RekorError) -> bool {
    matches!(error, RekorError::Unavailable { .. } | RekorError::UnexpectedStatus { status: 429 | 502 | 503 | 504, .. })
}

async fn attempt(http: &Client, url: &Url, host: &str, asked: &Asked<'_>) -> Result<Vec<u8>, RekorError> {
    let request = match &asked.body {
        Some(body) => {
            http.request(Method::POST, url.clone()).header(CONTENT_TYPE, "application/json").body(body.clone())
        }
        None => http.request(Method::GET, url.clone()),
    };
    let unavailable = |error: reqwest::Error| RekorError::Unavailable { host: host.to_owned(), reason: cause(&error) };
    let response = request.send().await.map_err(unavailable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(RekorError::NotFound { host: host.to_owned(), what: asked.what }),
        status => return Err(RekorError::UnexpectedStatus { host: host.to_owned(), status: status.as_u16() }),
    }
    read(response, host, asked).await
}

async fn read(mut response: Response, host: &str, asked: &Asked<'_>) -> Result<Vec<u8>, RekorError> {
    let too_large = || RekorError::TooLarge { host: host.to_owned(), cap: asked.cap, what: asked.what };
    let announced = response.content_length().unwrap_or_default();
    if usize::try_from(announced).map_or(true, |announced| announced > asked.cap) {
        return Err(too_large());
    }
    let unavailable = |error: reqwest::Error| RekorError::Unavailable { host: host.to_owned(), reason: cause(&error) };
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if bytes.len() + chunk.len() > asked.cap {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A path below an address: whatever is not plainly a web address is refused.
fn url(address: &str, path: &str) -> Result<Url, RekorError> {
    let refused = |reason| RekorError::Address { host: host(address), reason };
    let base = Url::parse(address).map_err(|_| refused("it is no URL"))?;
    if !matches!(base.scheme(), "https" | "http") {
        return Err(refused("it is neither https nor http"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(refused("it carries credentials"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(refused("it has a query or a fragment"));
    }
    Url::parse(&format!("{}/{path}", address.trim_end_matches('/'))).map_err(|_| refused("no path can follow it"))
}

/// The host of an address, for messages.
pub(super) fn host(address: &str) -> String {
    let url = Url::parse(address).ok();
    let name = url.as_ref().and_then(Url::host_str).unwrap_or("(no host)");
    match url.as_ref().and_then(Url::port) {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

/// The innermost cause: the outermost message holds the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let reason = if error.source().is_none() { "the request failed".to_owned() } else { cause.to_string() };
    reason.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn build(options: &RekorOptions) -> Result<Client, RekorError> {
    let unusable = |reason: String| RekorError::ClientUnusable { reason };
    let mut authorities: Vec<Certificate> = Vec::new();
    for pem in &options.extra_ca_pem {
        let bundle = Certificate::from_pem_bundle(pem).map_err(|_| unusable("a CA bundle is not PEM".to_owned()))?;
        authorities.extend(bundle);
    }
    let builder = Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy();
    let builder = match options.tls_roots {
        TlsRoots::None => builder.tls_certs_only(authorities),
        TlsRoots::System => builder.tls_certs_merge(authorities),
    };
    builder.build().map_err(|error| unusable(error.source().map_or_else(|| error.to_string(), ToString::to_string)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_follows_the_address_of_the_trust_root_and_no_other() {
        for address in ["https://rekor.example", "https://rekor.example/", "http://10.0.0.1:3000/rekor"] {
            let url = url(address, "api/v1/log/entries?logIndex=1").unwrap();
            assert!(url.as_str().starts_with(address.trim_end_matches('/')), "{url}");
            assert_eq!(url.query(), Some("logIndex=1"));
        }
        for bad in ["", "rekor.example", "file:///etc", "ftp://a", "https://u:p@a", "https://a?b", "https://a#b"] {
            assert!(matches!(url(bad, "x"), Err(RekorError::Address { .. })), "{bad}");
        }
    }
}
