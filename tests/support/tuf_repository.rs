//! A TUF repository that is written by `tuf_writer`, and served over HTTP on this machine by [`Served`], which misbehaves on demand.

#![allow(dead_code, unused_imports, reason = "each test crate uses another part")]
#![expect(clippy::unwrap_used, reason = "a repository that cannot be set up fails its test")]

#[path = "tuf_writer.rs"]
mod tuf_writer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use tuf_writer::{Delegation, FAR, Key, Repository, Role, hex, sign};

/// How a server answers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Manner {
    /// With the files.
    #[default]
    Honest,
    /// With this status, whatever is asked.
    Status(u16),
    /// Never.
    Silent,
    /// With a body for this file that has no end.
    Endless(String),
    /// With this status for files whose names contain the text.
    Refuses(String, u16),
}

/// A server of a repository, which stops when it is dropped.
pub(crate) struct Served {
    address: SocketAddr,
    pub(crate) repository: Arc<Mutex<Repository>>,
    pub(crate) manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    pub(crate) async fn start(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(repository, address, listener)
    }

    /// Over HTTPS, for `localhost`; with the certificate, PEM.
    pub(crate) async fn start_tls(repository: Repository) -> (Self, String) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TlsListener { acceptor: TlsAcceptor::from(Arc::new(config)), listener };
        (Self::serve(repository, address, listener), own.cert.pem())
    }

    #[expect(clippy::disallowed_methods, reason = "the server's task is aborted when it is dropped")]
    fn serve(repository: Repository, address: SocketAddr, listener: impl Listener<Addr = SocketAddr>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let repository = Arc::new(Mutex::new(repository));
        let (manner, seen) = (Arc::new(Mutex::new(Manner::default())), Arc::new(Mutex::new(Vec::new())));
        let (files, how, log) = (Arc::clone(&repository), Arc::clone(&manner), Arc::clone(&seen));
        let handler = move |request: Request<Body>| {
            let path = request.uri().path().trim_start_matches('/').to_owned();
            log.lock().unwrap().push(path.clone());
            let how = how.lock().unwrap().clone();
            let file = files.lock().unwrap().files.get(&path).cloned();
            answer(how, path, file)
        };
        let router = Router::new().fallback(handler);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, repository, manner, seen, server }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn edit<T>(&self, edit: impl FnOnce(&mut Repository) -> T) -> T {
        edit(&mut self.repository.lock().unwrap())
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// How often a file was asked for.
    pub(crate) fn asked(&self, file: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == file).count()
    }
}

/// Whoever does not finish a handshake is passed over.
struct TlsListener {
    acceptor: TlsAcceptor,
    listener: TcpListener,
}

impl Listener for TlsListener {
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

async fn answer(how: Manner, path: String, file: Option<Vec<u8>>) -> Response<Body> {
    let respond = |status: u16, body: Body| Response::builder().status(status).body(body).unwrap();
    match how {
        Manner::Status(status) => respond(status, Body::empty()),
        Manner::Refuses(text, status) if path.contains(&text) => respond(status, Body::empty()),
        Manner::Silent => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            respond(500, Body::empty())
        }
        Manner::Endless(file) if file == path => {
            let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096]));
            respond(200, Body::from_stream(futures::stream::repeat_with(chunk)))
        }
        Manner::Honest | Manner::Endless(_) | Manner::Refuses(..) => match file {
            Some(bytes) => respond(200, Body::from(bytes)),
            None => respond(404, Body::empty()),
        },
    }
}
