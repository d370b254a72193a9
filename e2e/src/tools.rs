//! Where the programs are: `COUNTERSIGN_E2E_TOOLS` names the folder with the tools, `COUNTERSIGN_BIN` the binary under test.
//!
//! Nothing is built or searched here; `make e2e` sets both.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const PROGRAMS: [&str; 11] = [
    "cosign",
    "etcd",
    "fulcio",
    "kube-apiserver",
    "kubectl",
    "python-with-tuf",
    "registry",
    "rekor-server",
    "sigstore-python",
    "tesseract",
    "timestamp-server",
];

/// The folder with the tools, known to be complete.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Reads `COUNTERSIGN_E2E_TOOLS`.
    pub fn from_environment() -> Result<Self> {
        let folder = env::var_os("COUNTERSIGN_E2E_TOOLS")
            .context("COUNTERSIGN_E2E_TOOLS is not set: run `make e2e`, or set it to what e2e/tools/build.sh prints")?;
        let tools = Self { folder: PathBuf::from(folder) };
        for program in PROGRAMS {
            let path = tools.path(program);
            ensure!(path.is_file(), "COUNTERSIGN_E2E_TOOLS: {} is missing; run e2e/tools/build.sh", path.display());
        }
        Ok(tools)
    }

    /// The path of a tool.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// The binary under test, by `COUNTERSIGN_BIN`.
pub fn countersign_binary() -> Result<PathBuf> {
    let path = env::var_os("COUNTERSIGN_BIN")
        .map(PathBuf::from)
        .context("COUNTERSIGN_BIN is not set: run `make e2e`, or set it to a built countersign")?;
    ensure!(path.is_file(), "COUNTERSIGN_BIN: {} is not a file", path.display());
    path.canonicalize().with_context(|| format!("COUNTERSIGN_BIN: {}", path.display()))
}

/// The root of the repository.
pub fn repository_root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
