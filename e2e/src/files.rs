//! A web server for the files of a folder, as a content delivery network has them; and one that changes them on the way, or is down.
//!
//! It only reads, one request a connection, on loopback, plain or over TLS. What it changes is what its test says: no mistake is built
//! in.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificate::Identity;

/// A client that connects and says nothing is left alone after this.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Headers of a request are bounded, so that a client that never ends them ends.
const REQUEST_BYTES: u64 = 64 << 10;

/// What becomes of a file on its way: its path below the server's, its content, if it is there; and what is answered. None: not found.
pub type Edit = dyn Fn(&str, Option<Vec<u8>>) -> Option<Vec<u8>> + Send + Sync;

/// A running server. Its thread ends with it, or with the process.
#[derive(Debug)]
pub struct FileServer {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    prefix: String,
    edit: Box<Edit>,
    tls: Option<Arc<ServerConfig>>,
    stopped: AtomicBool,
    down: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Shared({} as /{})", self.folder.display(), self.prefix)
    }
}

impl FileServer {
    /// Serves a folder as it is below `/prefix`, on a port that the system chooses.
    pub fn start(folder: &Path, prefix: &str) -> Result<Self> {
        Self::start_editing(folder, prefix, Box::new(|_, content| content))
    }

    /// Serves a folder with changes.
    pub fn start_editing(folder: &Path, prefix: &str, edit: Box<Edit>) -> Result<Self> {
        Self::listen(folder, prefix, edit, None)
    }

    /// Serves a folder with changes, over TLS.
    pub fn start_tls(folder: &Path, edit: Box<Edit>, serving: &Identity) -> Result<Self> {
        let certificates =
            CertificateDer::pem_slice_iter(serving.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        Self::listen(folder, "", edit, Some(Arc::new(config)))
    }

    fn listen(folder: &Path, prefix: &str, edit: Box<Edit>, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for files")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            prefix: format!("/{}", prefix.trim_matches('/')),
            edit,
            tls,
            stopped: AtomicBool::new(false),
            down: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        let url = format!("{}://{address}", if shared.tls.is_some() { "https" } else { "http" });
        let server = Self { address, url, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return; // and with it goes the port
                }
                let shared = Arc::clone(&shared);
                // Whoever does not get an answer asks again.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Ok(server)
    }

    /// Where it listens: `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`, without the prefix.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The paths that were asked for so far, below the prefix.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers nobody, or answers again: connections are closed.
    pub fn set_down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// Stops for good: connections are refused from now on.
    pub fn stop(&self) {
        if !self.shared.stopped.swap(true, Ordering::SeqCst) {
            // Whoever connects wakes the thread, so that it sees.
            drop(TcpStream::connect(self.address));
        }
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(REQUEST_LIMIT))?;
        stream.set_write_timeout(Some(REQUEST_LIMIT))?;
        match &self.tls {
            _ if self.down.load(Ordering::SeqCst) => Ok(()),
            None => self.answer(stream),
            Some(config) => {
                let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream);
                self.answer(&mut stream)?;
                stream.conn.send_close_notify();
                Ok(stream.flush()?)
            }
        }
    }

    fn answer(&self, mut stream: impl Read + Write) -> Result<()> {
        let mut lines = BufReader::new(Read::take(&mut stream, REQUEST_BYTES)).lines();
        let request = lines.next().context("no request")??;
        while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().context("no path")?);
        let found = path.strip_prefix(self.prefix.as_str()).filter(|_| method == "GET").and_then(|path| {
            let path = path.trim_start_matches('/');
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
            (self.edit)(path, self.read(path))
        });
        let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
        let body = found.unwrap_or_default();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(&body)?;
        Ok(stream.flush()?)
    }

    /// A file of the folder, and of no other.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = Path::new(path);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| fs::read(self.folder.join(path)).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Authority;
    use crate::http::client;

    fn get(url: &str) -> Result<Vec<u8>> {
        Ok(client().get(url).call()?.body_mut().read_to_vec()?)
    }

    #[test]
    fn serves_the_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir_all(inner.join("tile/0")).unwrap();
        fs::write(folder.path().join("outside"), "outside").unwrap();
        fs::write(inner.join("tile/0/000"), "tile").unwrap();
        let server = FileServer::start(&inner, "api/v2").unwrap();
        let url = |path: &str| format!("{}/{path}", server.url());
        assert_eq!(get(&url("api/v2/tile/0/000")).unwrap(), b"tile");
        for path in ["api/v2/tile/0/001", "api/v2/tile/0", "tile/0/000", "api/v2/..%2foutside", "api/v2//outside"] {
            assert!(get(&url(path)).is_err(), "{path}");
        }
        assert_eq!(server.asked().first().map(String::as_str), Some("tile/0/000"));
        server.stop();
        assert!(get(&url("api/v2/tile/0/000")).is_err());
    }

    #[test]
    fn is_down_and_up_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "content").unwrap();
        let server = FileServer::start(folder.path(), "").unwrap();
        let url = format!("{}/file", server.url());
        server.set_down(true);
        assert!(get(&url).is_err());
        server.set_down(false);
        assert_eq!(get(&url).unwrap(), b"content");
    }

    #[test]
    fn speaks_tls_to_who_knows_its_authority() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "content").unwrap();
        let (authority, other) = (Authority::new("files").unwrap(), Authority::new("files").unwrap());
        let edit = |_: &str, content: Option<Vec<u8>>| content;
        let server = FileServer::start_tls(folder.path(), Box::new(edit), &authority.serving().unwrap()).unwrap();
        assert!(server.url().starts_with("https://127.0.0.1:"));
        let get = |authority: &Authority| -> Result<String> {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes())?)?;
            let config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = server.address.ip().into();
            let connection = rustls::ClientConnection::new(Arc::new(config), name)?;
            let mut stream = StreamOwned::new(connection, TcpStream::connect(server.address)?);
            stream.write_all(b"GET /file HTTP/1.1\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        assert!(get(&authority).unwrap().ends_with("\r\n\r\ncontent"));
        assert!(get(&other).is_err());
    }

    #[test]
    fn changes_what_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("head"), "ab").unwrap();
        let reverse = |path: &str, content: Option<Vec<u8>>| match path {
            "made" => Some(b"made".to_vec()),
            _ => content.map(|content| content.into_iter().rev().collect()),
        };
        let server = FileServer::start_editing(folder.path(), "", Box::new(reverse)).unwrap();
        assert_eq!(get(&format!("{}/head", server.url())).unwrap(), b"ba");
        assert_eq!(get(&format!("{}/made", server.url())).unwrap(), b"made");
        assert!(get(&format!("{}/other", server.url())).is_err());
    }
}
