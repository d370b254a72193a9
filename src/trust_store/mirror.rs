//! Where the files of a TUF repository are read: a web server, a folder, an artifact of a registry, or what was kept.
//!
//! Bytes only, bounded in number and time; whether they are right, the client says. A file that is not there is no error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sigstore_tuf::Repository;
use sigstore_tuf::transport::FetchFuture;

use super::archive::Files;
use super::folder::FolderMirror;
use super::http::{HttpMirror, HttpOptions};
use super::kept::KeptMirror;
use super::unique::repeats_a_name;
use super::{MirrorError, artifact};
use crate::registry::RegistryClient;
use crate::trust::MirrorAddress;

/// What kind of file is asked for: the two live below different addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Metadata,
    Target,
}

/// A place that holds a TUF repository.
#[derive(Clone, Debug)]
pub struct Mirror {
    place: Arc<Place>,
}

#[derive(Debug)]
enum Place {
    Http(HttpMirror),
    Folder(FolderMirror),
    Kept(KeptMirror),
    Files(BTreeMap<String, Vec<u8>>),
}

impl From<HttpMirror> for Mirror {
    fn from(mirror: HttpMirror) -> Self {
        Self { place: Arc::new(Place::Http(mirror)) }
    }
}

impl From<FolderMirror> for Mirror {
    fn from(mirror: FolderMirror) -> Self {
        Self { place: Arc::new(Place::Folder(mirror)) }
    }
}

impl Mirror {
    /// What was accepted before, with roots up to this version.
    pub(super) fn kept(files: Files, last_root: Option<u64>) -> Self {
        Self { place: Arc::new(Place::Kept(KeptMirror::new(files, last_root))) }
    }

    /// The mirror at an address. What of a registry is pulled now, as a whole; nothing else is asked yet.
    ///
    /// # Errors
    /// An address that is refused, or an artifact that cannot be had.
    pub async fn open(
        address: &MirrorAddress,
        options: &HttpOptions,
        registry: Option<&RegistryClient>,
    ) -> Result<Self, MirrorError> {
        match (address, registry) {
            (MirrorAddress::Web(address), _) => Ok(HttpMirror::new(address, options)?.into()),
            (MirrorAddress::Folder(path), _) => Ok(FolderMirror::new(path).into()),
            (MirrorAddress::Artifact(reference), Some(registry)) => artifact::fetch(registry, reference).await,
            (MirrorAddress::Artifact(reference), None) => {
                let (reference, reason) = (reference.to_string(), "no registry client is at hand".to_owned());
                Err(MirrorError::Artifact { reference, reason })
            }
        }
    }

    /// Files in memory, by their paths in the repository: metadata at the top, targets below `targets/`.
    pub fn files(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { place: Arc::new(Place::Files(files)) }
    }

    async fn fetch(&self, kind: Kind, path: &str, cap: u64, notes: &Notes) -> Result<Option<Vec<u8>>, MirrorError> {
        match &*self.place {
            Place::Http(mirror) => mirror.fetch(kind, path, cap, notes).await,
            Place::Folder(mirror) => {
                let (mirror, path) = (mirror.clone(), path.to_owned());
                let read = tokio::task::spawn_blocking(move || mirror.fetch(kind, &path, cap));
                read.await.unwrap_or_else(|error| {
                    Err(MirrorError::Unreadable { file: "the folder".to_owned(), reason: error.to_string() })
                })
            }
            Place::Kept(mirror) => Ok(mirror.fetch(kind, path)),
            Place::Files(files) => {
                let path = match kind {
                    Kind::Metadata => path.to_owned(),
                    Kind::Target => format!("targets/{path}"),
                };
                match files.get(&path) {
                    Some(bytes) if bytes.len() as u64 > cap => Err(MirrorError::TooLarge { file: path, cap }),
                    found => Ok(found.cloned()),
                }
            }
        }
    }
}

/// What is worth saying of a refresh beside its result.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The mirror answered 403 where the next root would be: that counts as its absence, and may be a proxy that hides a rotation.
    forbidden_root: AtomicBool,
}

impl Notes {
    pub(super) fn forbidden(&self, file: &str) {
        if file.ends_with(".root.json") {
            self.forbidden_root.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn list(&self) -> Vec<&'static str> {
        let forbidden = "the mirror answered 403 for the next root, which is taken for its absence";
        if self.forbidden_root.load(Ordering::Relaxed) { vec![forbidden] } else { Vec::new() }
    }
}

/// A mirror as the TUF library asks it.
pub(super) struct Asked {
    pub(super) mirror: Mirror,
    pub(super) notes: Arc<Notes>,
}

impl Asked {
    fn fetch<'a>(&'a self, kind: Kind, path: &'a str, cap: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            let fetched = self.mirror.fetch(kind, path, cap, &self.notes).await.and_then(|found| match found {
                Some(bytes) if kind == Kind::Metadata && repeats_a_name(&bytes) => {
                    Err(MirrorError::Ambiguous { file: path.to_owned() })
                }
                found => Ok(found),
            });
            fetched.map_err(|error| sigstore_tuf::Error::transport_with_source(error.to_string(), error))
        })
    }
}

impl Repository for Asked {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        self.fetch(Kind::Metadata, name, max_length)
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        self.fetch(Kind::Target, path, max_length)
    }
}
