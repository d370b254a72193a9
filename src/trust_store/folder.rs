//! A repository in a folder: what was carried into a network that has no way out.
//!
//! A file is read only if its name stays inside, and no link on the way leads out.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use super::MirrorError;
use super::mirror::Kind;

/// A folder with a repository.
#[derive(Clone, Debug)]
pub struct FolderMirror {
    metadata: PathBuf,
    targets: PathBuf,
}

impl FolderMirror {
    /// A folder with metadata, and the targets in the folder `targets` in it.
    pub fn new(folder: &Path) -> Self {
        Self::with_targets(folder, &folder.join("targets"))
    }

    /// A folder with metadata, and another with targets.
    pub fn with_targets(metadata: &Path, targets: &Path) -> Self {
        Self { metadata: metadata.to_owned(), targets: targets.to_owned() }
    }

    pub(super) fn fetch(&self, kind: Kind, name: &str, cap: u64) -> Result<Option<Vec<u8>>, MirrorError> {
        let folder = match kind {
            Kind::Metadata => &self.metadata,
            Kind::Target => &self.targets,
        };
        let out = || MirrorError::Path { file: name.to_owned() };
        let unreadable = |error: std::io::Error| MirrorError::Unreadable {
            file: folder.join(name).display().to_string(),
            reason: error.to_string(),
        };
        let relative = Path::new(name);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(out());
        }
        // A folder that is not there is a mistake, a file that is not there is an answer.
        let folder = match folder.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound && kind == Kind::Target => return Ok(None),
            folder => folder.map_err(unreadable)?,
        };
        let path = match folder.join(relative).canonicalize() {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            path => path.map_err(unreadable)?,
        };
        if !path.starts_with(&folder) {
            return Err(out());
        }
        // Asked before it is opened: opening a pipe waits for a writer.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(std::io::Error::other("it is no file")));
        }
        let file = File::open(&path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > cap {
            return Err(MirrorError::TooLarge { file: name.to_owned(), cap });
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_inside_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::create_dir(inside.path().join("targets")).unwrap();
        std::fs::write(inside.path().join("timestamp.json"), "1234").unwrap();
        std::fs::write(inside.path().join("targets/a"), "a").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("targets/folder")).unwrap();
        std::os::unix::fs::symlink(inside.path().join("timestamp.json"), inside.path().join("alias")).unwrap();
        let mirror = FolderMirror::new(inside.path());
        let metadata = |name: &str, cap| mirror.fetch(Kind::Metadata, name, cap);
        assert_eq!(metadata("timestamp.json", 4).unwrap().unwrap(), b"1234");
        assert_eq!(metadata("alias", 4).unwrap().unwrap(), b"1234");
        assert_eq!(mirror.fetch(Kind::Target, "a", 4).unwrap().unwrap(), b"a");
        assert_eq!(metadata("2.root.json", 4), Ok(None));
        assert_eq!(metadata("timestamp.json/x", 4), Ok(None));
        assert!(matches!(metadata("timestamp.json", 3), Err(MirrorError::TooLarge { .. })));
        assert!(matches!(metadata("targets", 3), Err(MirrorError::Unreadable { .. })));
        let absolute = outside.path().join("secret").display().to_string();
        for name in ["../x", "link", absolute.as_str(), "a/../link", "./timestamp.json"] {
            assert!(matches!(metadata(name, 4), Err(MirrorError::Path { .. })), "{name}");
        }
        assert!(matches!(mirror.fetch(Kind::Target, "folder/secret", 4), Err(MirrorError::Path { .. })));
        // Nobody writes to it: who opened it would wait for ever.
        let pipe = inside.path().join("snapshot.json");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (done, end) = std::sync::mpsc::channel();
        let asked = mirror.clone();
        std::thread::spawn(move || done.send(asked.fetch(Kind::Metadata, "snapshot.json", 4)));
        let found = end.recv_timeout(std::time::Duration::from_mins(1)).expect("a pipe is not waited for");
        assert!(matches!(found, Err(MirrorError::Unreadable { .. })), "{found:?}");
        let missing = FolderMirror::new(&inside.path().join("missing"));
        assert!(matches!(missing.fetch(Kind::Metadata, "x", 4), Err(MirrorError::Unreadable { .. })));
    }
}
