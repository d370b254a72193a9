//! TUF repositories made by python-tuf, and a mirror on loopback that can be told to misbehave.
//!
//! python-tuf shares no code with what countersign reads them by. What a repository holds is said in steps
//! (`tools/tuf-repository/repository.py`); the mirror adds what no honest repository does: old files, changed files, silence.
//!
//! Specification: <https://theupdateframework.github.io/specification/>

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::certificate::Authority;
use crate::files::FileServer;
use crate::process::run;
use crate::tools::{Tools, repository_root};

/// The target with the Sigstore trusted root.
pub const TRUSTED_ROOT: &str = "trusted_root.json";

/// More than any file of a repository may have.
const BLOAT_BYTES: usize = 8 << 20;

/// A TUF repository that python-tuf writes, and its mirror.
#[derive(Debug)]
pub struct TufRepository {
    python: PathBuf,
    folder: PathBuf,
    mirror: Mirror,
}

/// A repository on the web, over TLS, by whoever wrote its files.
#[derive(Debug)]
pub struct Mirror {
    folder: PathBuf,
    server: FileServer,
    authority: Authority,
    serving: Arc<Mutex<Serving>>,
}

/// What the mirror serves.
#[derive(Clone, Debug)]
pub enum Serving {
    /// The repository as it is.
    Newest,
    /// The repository as it was when [`Mirror::keep`] returned this folder.
    Kept(PathBuf),
    /// The repository as it is, but for one change in every file whose name ends so. Metadata stays well-formed: it expires later.
    Tampered(&'static str),
    /// The repository as it is, with a lot of blanks after every file whose name ends so.
    Bloated(&'static str),
}

impl Mirror {
    /// Serves a folder: metadata at its top, targets below `targets`.
    pub fn start(folder: &Path) -> Result<Self> {
        let (authority, serving) = (Authority::new("tuf-mirror")?, Arc::new(Mutex::new(Serving::Newest)));
        let manner = Arc::clone(&serving);
        let edit = move |path: &str, content: Option<Vec<u8>>| {
            let serving = manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match serving {
                // The server has seen to it that the path stays inside.
                Serving::Kept(folder) => fs::read(folder.join(path)).ok(),
                Serving::Tampered(end) if path.ends_with(end) => content.as_deref().map(tampered),
                Serving::Bloated(end) if path.ends_with(end) => {
                    content.map(|content| [content, vec![b' '; BLOAT_BYTES]].concat())
                }
                Serving::Newest | Serving::Tampered(_) | Serving::Bloated(_) => content,
            }
        };
        let server = FileServer::start_tls(folder, Box::new(edit), &authority.serving()?)?;
        Ok(Self { folder: folder.to_owned(), server, authority, serving })
    }

    /// Remembers the repository as it is.
    pub fn keep(&self) -> Result<Serving> {
        let kept = tempfile::tempdir_in(self.folder.parent().context("no folder beside it")?)?.keep();
        copy(&self.folder, &kept)?;
        Ok(Serving::Kept(kept))
    }

    /// What is served from now on.
    pub fn serve(&self, serving: Serving) {
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = serving;
    }

    /// Whether it answers nobody.
    pub fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }

    /// The root that clients start from.
    pub fn first_root(&self) -> Result<String> {
        let file = self.folder.join("1.root.json");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// The `spec` of a trust root that comes from here.
    pub fn spec(&self) -> Result<Value> {
        Ok(json!({
            "tuf": {"mirror": self.server.url(), "root": {"inline": self.first_root()?}},
            "ca": self.authority.certificate(),
        }))
    }
}

impl TufRepository {
    /// Makes a repository with a trusted root and serves it. `folder` is its own.
    pub fn create(tools: &Tools, folder: &Path, trusted_root: &Value) -> Result<Self> {
        let mirror = Mirror::start(&folder.join("public"))?;
        let repository = Self { python: tools.path("python-with-tuf"), folder: folder.to_owned(), mirror };
        repository.change(&["create", &repository.holding(TRUSTED_ROOT, trusted_root)?])?;
        Ok(repository)
    }

    /// Takes steps, each as `repository.py` describes it, and publishes what comes of them.
    pub fn change(&self, steps: &[&str]) -> Result<()> {
        let script = repository_root().join("e2e/tools/tuf-repository/repository.py");
        run(Command::new(&self.python).arg(script).arg(&self.folder).args(steps), &[])?.success().map(drop)
    }

    /// The step that gives a target this content.
    pub fn holding(&self, target: &str, content: &Value) -> Result<String> {
        let file = self.folder.join("target.new");
        fs::create_dir_all(&self.folder)?;
        fs::write(&file, content.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(format!("target={target}={}", file.display()))
    }

    /// Gives the repository another trusted root, in one step with others.
    pub fn replace_trusted_root(&self, trusted_root: &Value, further: &[&str]) -> Result<()> {
        let target = self.holding(TRUSTED_ROOT, trusted_root)?;
        self.change(&[further, &[&target]].concat())
    }

    /// The mirror.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }
}

/// One digit of a date changed: the length stays, JSON stays well-formed, metadata expires later.
fn tampered(content: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(content).replacen("\":\"20", "\":\"30", 1).into_bytes()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
