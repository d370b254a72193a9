//! The serving certificate, and whose certificates clients must have: read from files, looked at again now and then, and replaced
//! while serving.
//!
//! A pair that does not load never replaces one that does. Whether the certificate is valid now is said by readiness and decides
//! nothing else: a replica with an expired one answers nobody that checks, and should be known for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

/// Bytes of a certificate chain or a key.
const FILE_BYTES: u64 = 1 << 20;

/// A certificate chain with its key, ready to serve.
pub(super) struct Certificate {
    config: Arc<ServerConfig>,
    not_before: Timestamp,
    not_after: Timestamp,
    /// What it was made from.
    files: Files,
}

/// A certificate or key that cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be read, or is larger than one mebibyte.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// A file without the PEM block that it should have.
    #[error("{}: not the expected PEM: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not go together, or are of a kind that is not served.
    #[error("the certificate and the key cannot serve: {0}")]
    Unusable(String),
}

/// Where a certificate comes from, all PEM.
#[derive(Debug)]
pub(super) struct Paths {
    /// The chain, the leaf first.
    pub(super) chain: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// The authorities of which a client must have a certificate. None: clients are not asked for one.
    pub(super) client_authorities: Option<PathBuf>,
}

/// What was at those places.
#[derive(Eq, PartialEq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl Files {
    async fn read(paths: &Paths) -> Result<Self, CertificateError> {
        let client_authorities = match &paths.client_authorities {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        Ok(Self { chain: read(&paths.chain).await?, key: read(&paths.key).await?, client_authorities })
    }
}

impl Certificate {
    /// Reads and checks a chain and its key, and whom clients must be certified by.
    pub(super) async fn load(paths: &Paths) -> Result<Self, CertificateError> {
        Self::parse(paths, Files::read(paths).await?)
    }

    fn parse(paths: &Paths, files: Files) -> Result<Self, CertificateError> {
        let (chain_path, key_path) = (&paths.chain, &paths.key);
        let pem = |path: &Path, reason: String| CertificateError::Pem { path: path.to_owned(), reason };
        let unusable = |error: &dyn std::fmt::Display| CertificateError::Unusable(error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.chain)
            .collect::<Result<_, _>>()
            .map_err(|error| pem(chain_path, error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| pem(key_path, error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| pem(chain_path, "it holds no certificate".to_owned()))?;
        let leaf = x509_cert::Certificate::from_der(leaf).map_err(|error| pem(chain_path, error.to_string()))?;
        let validity = leaf.tbs_certificate.validity;
        let (not_before, not_after) = (timestamp(validity.not_before), timestamp(validity.not_after));
        let builder = match (&paths.client_authorities, &files.client_authorities) {
            (Some(path), Some(bytes)) => ServerConfig::builder().with_client_cert_verifier(verifier(path, bytes)?),
            (None, None) => ServerConfig::builder().with_no_client_auth(),
            // Files are read from these very paths.
            (Some(_), None) | (None, Some(_)) => return Err(unusable(&"the authorities of clients were not read")),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), not_before, not_after, files })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether it may be believed now, or why not.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        if now < self.not_before {
            return Err(format!("the serving certificate is not valid before {}", self.not_before));
        }
        if now > self.not_after {
            return Err(format!("the serving certificate expired at {}", self.not_after));
        }
        Ok(())
    }
}

/// Replaces the certificate whenever the files are others than those it was made from, for ever.
pub(super) async fn follow(
    current: &ArcSwap<Certificate>,
    paths: &Paths,
    poll: std::time::Duration,
) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(poll).await;
        let loaded = match Files::read(paths).await {
            Ok(files) if files == current.load().files => continue,
            Ok(files) => Certificate::parse(paths, files),
            Err(error) => Err(error),
        };
        match loaded {
            Ok(certificate) => {
                tracing::info!(until = %certificate.not_after, "certificate loaded again");
                current.store(Arc::new(certificate));
            }
            Err(error) => tracing::warn!(%error, "the changed certificate does not load; keeping the old one"),
        }
    }
}

/// What asks every client for a certificate by one of these authorities, for clients, and valid now.
fn verifier(path: &Path, bytes: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let pem = |reason: String| CertificateError::Pem { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|error| pem(error.to_string()))?;
        roots.add(certificate).map_err(|error| pem(error.to_string()))?;
    }
    // Without any, this fails: nobody could come in.
    WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|error| pem(error.to_string()))
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |reason: String| CertificateError::File { path: path.to_owned(), reason };
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).await.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(failed(format!("it is larger than {FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A time of X.509, whose range is within ours.
fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_believed_from_its_first_second_to_its_last() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = parameters.self_signed(&key).unwrap().pem().into_bytes();
        let files = Files { chain, key: key.serialize_pem().into_bytes(), client_authorities: None };
        let paths = Paths { chain: "tls.crt".into(), key: "tls.key".into(), client_authorities: None };
        let certificate = Certificate::parse(&paths, files).unwrap();
        for (now, expected) in [
            ("2025-12-31T23:59:59Z", Err("not valid before 2026-01-01T00:00:00Z")),
            ("2026-01-01T00:00:00Z", Ok(())),
            ("2026-03-01T00:00:00Z", Ok(())),
            ("2026-03-01T00:00:01Z", Err("expired at 2026-03-01T00:00:00Z")),
        ] {
            match (certificate.check(now.parse().unwrap()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(part)) => assert!(found.contains(part), "{now}: {found}"),
                (found, _) => panic!("{now}: {found:?}"),
            }
        }
    }
}
