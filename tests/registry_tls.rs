//! HTTPS to a registry with its own certificate authority: trusted if it is configured, refused if it is not.
//!
//! The other tests speak plain HTTP so that they can be hostile in detail; this one holds that TLS is what is spoken
//! otherwise, and that neither the wrong authority nor the wrong name passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "support/registry.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use countersign::image::{Digest, ImageReference};
use countersign::registry::{RegistryError, RegistryOptions, TlsRoots, resolve};
use rustls::pki_types::PrivatePkcs8KeyDer;
use support::{client, manifest, options};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Whoever does not finish a handshake is passed over.
struct TlsListener {
    acceptor: TlsAcceptor,
    listener: TcpListener,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
async fn trusts_the_configured_authorities_only() {
    let defaults = options(&[]);
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(|| async { manifest(&[]) });
    let listener = TlsListener { acceptor: TlsAcceptor::from(Arc::new(config)), listener };
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let (own, other) = (own.cert.pem().into_bytes(), other.cert.pem().into_bytes());
    for (host, tls_roots, extra_ca_pem, trusted) in [
        ("localhost", TlsRoots::None, vec![own.clone()], true),
        ("localhost", TlsRoots::System, vec![other.clone(), own.clone()], true),
        ("localhost", TlsRoots::None, vec![other.clone()], false),
        ("localhost", TlsRoots::System, vec![other], false),
        ("localhost", TlsRoots::None, Vec::new(), false),
        ("127.0.0.1", TlsRoots::None, vec![own], false),
    ] {
        let private = vec![format!("{host}:{port}")];
        let client = client(RegistryOptions { private, tls_roots, extra_ca_pem, ..defaults.clone() });
        let reference = ImageReference::parse(&format!("{host}:{port}/app:1")).unwrap();
        match resolve(&client, &reference).await {
            Ok(image) => assert!(trusted && *image.digest() == Digest::of(&manifest(&[])), "{host} {tls_roots:?}"),
            Err(error) => assert!(!trusted && matches!(error, RegistryError::Unavailable { .. }), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn refuses_bundles_without_a_certificate() {
    for bundle in [&b""[..], b"not PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let options = RegistryOptions { extra_ca_pem: vec![bundle.to_vec()], ..options(&[]) };
        let error = countersign::registry::RegistryClient::new(options).unwrap_err();
        assert_eq!(error.code(), "RegistryClientUnusable");
    }
}
