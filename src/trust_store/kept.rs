//! Metadata in memory: what the TUF library writes as it verifies, and what is read back as if it came from a mirror.
//!
//! The library's store answers at once, so that what was kept is loaded before it runs and saved afterwards. Nothing here is believed:
//! whoever reads it back verifies it from the pinned root.

use std::sync::{Mutex, PoisonError};

use sigstore_tuf::MetadataStore;

use super::archive::Files;
use super::mirror::Kind;

/// Where the library keeps each file that it verified, by its name without a version.
#[derive(Debug, Default)]
pub(super) struct Kept {
    files: Mutex<Files>,
}

impl Kept {
    pub(super) fn new(files: Files) -> Self {
        Self { files: Mutex::new(files) }
    }

    pub(super) fn files(&self) -> Files {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl MetadataStore for Kept {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        Ok(self.files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        // The library writes a snapshot under both of its names.
        let is_versioned_snapshot = without_version(name) == Some("snapshot.json");
        if !is_versioned_snapshot {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.insert(name.to_owned(), bytes.to_vec());
        }
        Ok(())
    }
}

/// Kept files, under the names that a mirror has them by.
#[derive(Debug)]
pub(super) struct KeptMirror {
    files: Files,
    /// The newest root to show; none: all.
    last_root: Option<u64>,
}

impl KeptMirror {
    pub(super) fn new(files: Files, last_root: Option<u64>) -> Self {
        Self { files, last_root }
    }

    pub(super) fn fetch(&self, kind: Kind, name: &str) -> Option<Vec<u8>> {
        let found = match kind {
            Kind::Metadata => {
                if let Some(version) = name.strip_suffix(".root.json").and_then(|version| version.parse::<u64>().ok()) {
                    let is_shown = self.last_root.is_none_or(|last| version <= last);
                    return self.files.get(&format!("root_history/{name}")).filter(|_| is_shown).cloned();
                }
                // What is found under the wrong name does not verify.
                self.files.get(name).or_else(|| self.files.get(without_version(name)?))
            }
            Kind::Target => self.files.get(&format!("targets/{name}")).or_else(|| {
                let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
                let (_, file) = file.split_once('.')?;
                let separator = if folder.is_empty() { "" } else { "/" };
                self.files.get(&format!("targets/{folder}{separator}{file}"))
            }),
        };
        found.cloned()
    }
}

/// A name without the version in front of it, if there is one.
fn without_version(name: &str) -> Option<&str> {
    let (version, rest) = name.split_once('.')?;
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some(rest)
}
