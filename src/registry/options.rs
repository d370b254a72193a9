//! What a registry client may do, as plain values; the defaults are the strictest.
//!
//! No proxy can be set, and none is taken from the environment: a proxy resolves names where the address check does not
//! reach.

use std::time::Duration;

use super::CredentialStore;

/// Which certificate authorities are trusted beside those of [`extra_ca_pem`](RegistryOptions::extra_ca_pem).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRoots {
    /// No others.
    None,
    /// The system's: OpenSSL's usual places, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name. They are read once, when
    /// the client is built. A system that has none makes the client fail to build, unless others are given.
    System,
}

/// Lets a registry send clients, with their credentials, to a token service of another site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmGrant {
    /// Host of the registry, with its port if that is not 443.
    pub registry: String,
    /// Host of the token service, likewise. It must speak HTTPS or be listed for plain HTTP.
    pub realm: String,
}

/// What a [`RegistryClient`] may do. The default speaks HTTPS to public addresses, without credentials.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Users and passwords, by repository.
    pub credentials: CredentialStore,
    /// PEM bundles of certificate authorities that registries are trusted by.
    pub extra_ca_pem: Vec<Vec<u8>>,
    /// Hosts (`host:port`; without a port, 80) that are spoken to without TLS, wherever they are. Never by default,
    /// not even for `localhost`.
    pub plain_http: Vec<String>,
    /// Hosts (`host` for all ports, `host:port` for one) that may be at private, loopback and other special addresses.
    /// Hosts of `plain_http` need not be repeated. Link-local addresses are never connected to.
    pub private: Vec<String>,
    /// Token services of other sites.
    pub realms: Vec<RealmGrant>,
    /// Time for one operation of [`ImageSource`], tokens, redirects, pages and bodies included.
    pub request_timeout: Duration,
    /// Certificate authorities beside `extra_ca_pem`.
    pub tls_roots: TlsRoots,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            credentials: CredentialStore::default(),
            extra_ca_pem: Vec::new(),
            plain_http: Vec::new(),
            private: Vec::new(),
            realms: Vec::new(),
            request_timeout: Duration::from_secs(10),
            tls_roots: TlsRoots::System,
            user_agent: concat!("countersign/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
