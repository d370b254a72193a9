//! A TUF repository by the writer of our own tests, as a folder for the mirror that those by python-tuf have.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use countersign_e2e::tuf::TRUSTED_ROOT;
use serde_json::Value;

use crate::tuf_writer::{Repository, Role};

/// A repository in a folder.
pub(crate) struct OwnRepository {
    repository: Repository,
    public: PathBuf,
}

impl OwnRepository {
    /// Makes a repository with a trusted root. `folder` is its own.
    pub(crate) fn create(folder: &Path, trusted_root: &Value) -> Result<Self> {
        let repository = Repository::new(TRUSTED_ROOT, trusted_root.to_string().as_bytes());
        let created = Self { repository, public: folder.join("public") };
        created.write()?;
        Ok(created)
    }

    /// The folder that a mirror serves.
    pub(crate) fn public(&self) -> PathBuf {
        self.public.clone()
    }

    /// New keys for every role, and another trusted root.
    pub(crate) fn rotate(&mut self, trusted_root: &Value) -> Result<()> {
        self.repository.rotate(|repository| {
            repository.root = Role::new(3, 2);
            repository.timestamp = Role::new(1, 1);
            repository.snapshot = Role::new(1, 1);
            repository.targets = Role::new(2, 2);
        });
        self.deliver(TRUSTED_ROOT, trusted_root)
    }

    /// Another content of a target.
    pub(crate) fn deliver(&mut self, target: &str, content: &Value) -> Result<()> {
        self.repository.deliver(target, content.to_string().as_bytes());
        self.write()
    }

    /// The root that clients start from.
    pub(crate) fn first_root(&self) -> Result<String> {
        Ok(String::from_utf8(self.repository.pinned.clone())?)
    }

    /// The files that are published now, the timestamp last.
    pub(crate) fn published(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.repository.files.iter().map(|(name, content)| (self.public.join(name), content.clone())).collect()
    }

    /// What is named by nothing yet first, the timestamp last.
    fn write(&self) -> Result<()> {
        let (last, first): (Vec<_>, Vec<_>) =
            self.repository.files.iter().partition(|(name, _)| name.as_str() == "timestamp.json");
        for (name, content) in first.into_iter().chain(last) {
            let file = self.public.join(name);
            fs::create_dir_all(file.parent().context("a file without a folder")?)?;
            let new = file.with_extension("new");
            fs::write(&new, content)?;
            fs::rename(&new, &file)?;
        }
        Ok(())
    }
}

/// Puts back what was published once, as a mirror that lies would.
pub(crate) fn put_back(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    files.iter().try_for_each(|(file, content)| Ok(fs::write(file, content)?))
}
