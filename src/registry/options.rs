//! What a registry client may do, as plain values; the defaults are the strictest.
//!
//! No proxy can be set, and none is taken from the environment: a proxy resolves names where the address check does not
//! reach.

use std::time::Duration;

use super::CredentialStore;

/// Which hosts may be at private, loopback and other special addresses. Link-local ones are never connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// Every host. Whoever names an image can then make us send GET requests into the cluster's network.
    Allowed,
    /// These hosts: `host` for all ports, `host:port` for one.
    AllowedFor(Vec<String>),
    /// None but those that are listed for plain HTTP.
    #[default]
    Refused,
}

/// Which certificate authorities registries are trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsRoots {
    /// The certificates in these PEM bundles, and no others.
    Only(Vec<Vec<u8>>),
    /// The system's (OpenSSL's usual places, `SSL_CERT_FILE`, `SSL_CERT_DIR`), and those in these PEM bundles. A system
    /// without any needs at least one bundle. They are read once, when the client is built.
    System {
        /// PEM bundles beside the system's.
        extra: Vec<Vec<u8>>,
    },
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
    /// Hosts that may be at special addresses.
    pub allow_private: PrivateAddresses,
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Users and passwords, by repository.
    pub credentials: CredentialStore,
    /// Hosts (`host:port`; without a port, 80) that are spoken to without TLS, wherever they are. Never by default,
    /// not even for `localhost`.
    pub plain_http: Vec<String>,
    /// Token services of other sites.
    pub realms: Vec<RealmGrant>,
    /// Time for one operation of [`ImageSource`], tokens, redirects, pages and bodies included.
    pub request_timeout: Duration,
    /// Trusted certificate authorities.
    pub tls_roots: TlsRoots,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            allow_private: PrivateAddresses::default(),
            connect_timeout: Duration::from_secs(3),
            credentials: CredentialStore::default(),
            plain_http: Vec::new(),
            realms: Vec::new(),
            request_timeout: Duration::from_secs(10),
            tls_roots: TlsRoots::System { extra: Vec::new() },
            user_agent: concat!("countersign/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
