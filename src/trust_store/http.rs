//! A repository on a web server, over HTTPS.
//!
//! Whoever declares a trust root names its mirror, so that it may have a private address; addresses of the link never are contacted.
//! No redirect is followed: a mirror that sends its clients elsewhere is one that nobody named. A proxy is used where the environment
//! names one, as is usual for what leaves a cluster. Bodies are read chunk by chunk up to their cap.

use std::error::Error;
use std::net::IpAddr;

use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect, retry};

use super::mirror::{Kind, Notes};
use super::{MirrorError, bounds};
use crate::registry::{CheckedResolver, OutOfReach, Reach};

/// How web servers are reached.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Certificate authorities as PEM, in place of those that are usual on the web.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether plain HTTP to this machine is allowed.
    pub plain_loopback: bool,
}

/// A web server with a repository.
#[derive(Debug)]
pub struct HttpMirror {
    client: Client,
    metadata: Url,
    targets: Url,
}

impl HttpMirror {
    /// A mirror whose targets lie in the folder `targets` below it.
    pub fn new(address: &str, options: &HttpOptions) -> Result<Self, MirrorError> {
        Self::with_targets(address, &format!("{}/targets", address.trim_end_matches('/')), options)
    }

    /// A mirror whose targets lie elsewhere.
    pub fn with_targets(address: &str, targets: &str, options: &HttpOptions) -> Result<Self, MirrorError> {
        let (metadata, targets) = (base(address, options)?, base(targets, options)?);
        Ok(Self { client: client(options)?, metadata, targets })
    }

    pub(super) async fn fetch(
        &self,
        kind: Kind,
        path: &str,
        cap: u64,
        notes: &Notes,
    ) -> Result<Option<Vec<u8>>, MirrorError> {
        let base = match kind {
            Kind::Metadata => &self.metadata,
            Kind::Target => &self.targets,
        };
        let url = below(base, path, kind)?;
        let host = host(base);
        let failed = |error: reqwest::Error| failure(&host, path, &error);
        let response = self.client.get(url).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => read(response, &host, path, cap).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => {
                // Object stores answer so for what is not there.
                notes.forbidden(path);
                Ok(None)
            }
            status => Err(MirrorError::Status { host, file: path.to_owned(), status: status.as_u16() }),
        }
    }
}

async fn read(mut response: Response, host: &str, file: &str, cap: u64) -> Result<Vec<u8>, MirrorError> {
    let too_large = || MirrorError::TooLarge { file: file.to_owned(), cap };
    if response.content_length().unwrap_or_default() > cap {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(host, file, &error))? {
        if (bytes.len() + chunk.len()) as u64 > cap {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Parses the address of a folder on a web server.
fn base(address: &str, options: &HttpOptions) -> Result<Url, MirrorError> {
    let refused = |reason| MirrorError::Address { address: address.to_owned(), reason };
    let url = Url::parse(&format!("{}/", address.trim_end_matches('/'))).map_err(|_| refused("it is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it carries credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment"));
    }
    let name = url.host_str().unwrap_or_default();
    let literal: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let is_loopback = literal.map_or(name == "localhost", |address| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if is_loopback && options.plain_loopback => {}
        _ => return Err(refused("it is not https")),
    }
    if let Some(address) = literal.filter(|address| !Reach::Private.allows(*address)) {
        return Err(MirrorError::AddressBlocked { host: host(&url), address });
    }
    Ok(url)
}

/// A file below an address, and nothing else: what its name would mean in a URL is escaped.
fn below(base: &Url, path: &str, kind: Kind) -> Result<Url, MirrorError> {
    let refused = || MirrorError::Path { file: path.to_owned() };
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(refused());
    }
    // Names of roles come escaped.
    let path = if kind == Kind::Metadata { path.to_owned() } else { escaped(path) };
    let url = Url::parse(&format!("{base}{path}")).map_err(|_| refused())?;
    if url.as_str().starts_with(base.as_str()) { Ok(url) } else { Err(refused()) }
}

fn escaped(path: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn client(options: &HttpOptions) -> Result<Client, MirrorError> {
    let unusable = |reason: &str| MirrorError::ClientUnusable { reason: reason.to_owned() };
    let builder = Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(bounds::CONNECT)
        .read_timeout(bounds::READ)
        .timeout(bounds::FILE)
        .dns_resolver(CheckedResolver { reach: Reach::Private })
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false);
    let builder = match &options.ca_pem {
        None => builder,
        Some(pem) => {
            let bundle = Certificate::from_pem_bundle(pem).map_err(|_| unusable("`ca` is not PEM"))?;
            if bundle.is_empty() {
                return Err(unusable("`ca` holds no certificate"));
            }
            builder.tls_certs_only(bundle)
        }
    };
    builder.build().map_err(|error| unusable(&innermost(&error)))
}

fn failure(host: &str, file: &str, error: &reqwest::Error) -> MirrorError {
    if error.is_timeout() {
        return MirrorError::Timeout { host: host.to_owned(), file: file.to_owned() };
    }
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        if let Some(blocked) = source.downcast_ref::<OutOfReach>() {
            return MirrorError::AddressBlocked { host: host.to_owned(), address: blocked.address };
        }
        cause = source;
    }
    MirrorError::Unreachable { host: host.to_owned(), reason: innermost(error) }
}

/// The innermost cause: the outermost message holds the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let reason = if error.source().is_none() { "the request failed".to_owned() } else { cause.to_string() };
    reason.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_https_or_this_machine_if_that_is_allowed() {
        let (strict, loopback) =
            (HttpOptions::default(), HttpOptions { plain_loopback: true, ..HttpOptions::default() });
        for good in ["https://tuf.example", "https://tuf.example/", "https://10.0.0.1:8443/a/b"] {
            assert!(base(good, &strict).unwrap().as_str().ends_with('/'), "{good}");
        }
        for loop_address in ["http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:1"] {
            assert!(base(loop_address, &loopback).is_ok(), "{loop_address}");
            assert!(matches!(base(loop_address, &strict), Err(MirrorError::Address { .. })), "{loop_address}");
        }
        for bad in
            ["", "tuf.example", "http://tuf.example", "http://10.0.0.1", "ftp://a", "https://u:p@a", "https://a/?x"]
        {
            assert!(matches!(base(bad, &loopback), Err(MirrorError::Address { .. })), "{bad}");
        }
        for link in ["https://169.254.169.254", "https://[fe80::1]/x"] {
            assert!(matches!(base(link, &loopback), Err(MirrorError::AddressBlocked { .. })), "{link}");
        }
    }

    #[test]
    fn a_name_stays_below_its_address() {
        let base = Url::parse("https://tuf.example/repository/").unwrap();
        let target = |path: &str| below(&base, path, Kind::Target).map(|url| url.to_string());
        assert_eq!(target("a/b.json").unwrap(), "https://tuf.example/repository/a/b.json");
        assert_eq!(target("a?b#c %2e").unwrap(), "https://tuf.example/repository/a%3Fb%23c%20%252e");
        assert_eq!(target("//other.example/x").unwrap(), "https://tuf.example/repository///other.example/x");
        for bad in ["../x", "a/../../x", ".", "a/./b"] {
            assert!(matches!(target(bad), Err(MirrorError::Path { .. })), "{bad}");
        }
        assert!(matches!(below(&base, "%2e%2e/x", Kind::Metadata), Err(MirrorError::Path { .. })));
    }
}
