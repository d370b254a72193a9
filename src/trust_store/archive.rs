//! Where accepted metadata outlives the process: the floor below which nothing is accepted again.
//!
//! An archive keeps bytes by name and believes nothing; what is read back is verified again from the pinned root. The set of one root is
//! replaced as a whole.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::ArchiveError;

/// Files by name. Names are made here, and of roles and targets: they may hold `/` and `%`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Bytes that an archive file may have when it is read back.
const LIMIT: u64 = 32 << 20;

/// Keeps the files of each root.
pub trait Archive: Send + Sync {
    /// The files that were saved last for this root. None: there never were any.
    fn load(&self, root: &str) -> BoxFuture<'_, Result<Option<Files>, ArchiveError>>;

    /// Replaces the files of this root.
    fn save(&self, root: &str, files: Files) -> BoxFuture<'_, Result<(), ArchiveError>>;
}

/// Keeps files as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryArchive {
    roots: Mutex<BTreeMap<String, Files>>,
}

impl Archive for MemoryArchive {
    fn load(&self, root: &str) -> BoxFuture<'_, Result<Option<Files>, ArchiveError>> {
        let found = self.roots.lock().unwrap_or_else(PoisonError::into_inner).get(root).cloned();
        async { Ok(found) }.boxed()
    }

    fn save(&self, root: &str, files: Files) -> BoxFuture<'_, Result<(), ArchiveError>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned(), files);
        async { Ok(()) }.boxed()
    }
}

/// Keeps the files of each root in one file of a folder, which is replaced at once or not at all.
#[derive(Debug)]
pub struct FolderArchive {
    folder: PathBuf,
}

impl FolderArchive {
    /// An archive in this folder, which is made when something is saved.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, root: &str) -> Result<PathBuf, String> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if root.is_empty() || root.len() > 253 || root.starts_with('.') || !root.bytes().all(usable) {
            return Err(format!("{root:?} is no name of a root"));
        }
        Ok(self.folder.join(format!("{root}.json")))
    }
}

impl Archive for FolderArchive {
    fn load(&self, root: &str) -> BoxFuture<'_, Result<Option<Files>, ArchiveError>> {
        let path = self.path(root);
        blocking("read", move || read(&path?))
    }

    fn save(&self, root: &str, files: Files) -> BoxFuture<'_, Result<(), ArchiveError>> {
        let path = self.path(root);
        blocking("kept", move || write(&path?, &files))
    }
}

fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> BoxFuture<'static, Result<T, ArchiveError>> {
    async move {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        done.map_err(|reason| ArchiveError { doing, reason })
    }
    .boxed()
}

fn read(path: &Path) -> Result<Option<Files>, String> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| error.to_string())?,
    };
    let mut text = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LIMIT {
        return Err(format!("it is larger than {LIMIT} bytes"));
    }
    let encoded: BTreeMap<String, String> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let decode = |(name, text): (String, String)| match STANDARD.decode(text) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => Err(error.to_string()),
    };
    encoded.into_iter().map(decode).collect::<Result<_, _>>().map(Some)
}

fn write(path: &Path, files: &Files) -> Result<(), String> {
    let encoded: BTreeMap<&String, String> = files.iter().map(|(name, bytes)| (name, STANDARD.encode(bytes))).collect();
    let text = serde_json::to_vec(&encoded).map_err(|error| error.to_string())?;
    write_whole(path, &text).map_err(|error| error.to_string())
}

/// Writes a file, and the folder that it is in, in the place of another: at any moment there is the one or the other. A link is replaced,
/// and what it leads to is left alone.
///
/// # Errors
/// What the system says.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    // One that is left of a process that was killed is no use to anybody, and one that leads elsewhere is not followed.
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::File::create_new(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_gives_back_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let archive = FolderArchive::new(&folder.path().join("new"));
        assert_eq!(archive.load("own").await, Ok(None));
        let files: Files = [("targets/../a".to_owned(), vec![0, 255]), ("root.json".to_owned(), b"{}".to_vec())].into();
        archive.save("own", files.clone()).await.unwrap();
        archive.save("other", Files::new()).await.unwrap();
        assert_eq!(archive.load("own").await, Ok(Some(files)));
        assert_eq!(archive.load("other").await, Ok(Some(Files::new())));
        assert_eq!(folder.path().join("new").read_dir().unwrap().count(), 2, "no temporary file is left");
        for name in ["", "../own", "a/b", ".own"] {
            assert!(archive.load(name).await.is_err(), "{name}");
        }
        std::fs::write(folder.path().join("new/own.json"), "{").unwrap();
        assert!(archive.load("own").await.is_err(), "what cannot be read is no fresh start");
    }
}
