//! The TUF client: from a pinned root and a mirror to verified metadata and targets.
//!
//! The workflow is `sigstore-tuf`'s: roots one by one under both thresholds, timestamp, snapshot, targets, delegations; rollback and
//! expiry against what is kept. This file gives it bounds and its errors codes, and says what it found. It knows no trusted roots, no
//! tasks and no clock. Specification: <https://theupdateframework.github.io/specification/latest/#detailed-client-workflow>.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sigstore_tuf::{Role, TargetFile, Targets, Updater};

use super::archive::Files;
use super::kept::Kept;
use super::mirror::{Asked, Mirror, Notes};
use super::unique::repeats_a_name;
use super::{MirrorError, RefreshError, bounds};

/// Versions of accepted metadata.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of the timestamp.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
}

/// A target that was verified, with what stands behind it.
#[derive(Clone, Debug)]
pub struct VerifiedTarget {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When the first piece of metadata that led to it expires.
    pub expires: Timestamp,
    /// The version of the role that lists it.
    pub version: u64,
}

/// The keys of a delegated role, as the metadata that delegates to it has them.
#[derive(Clone, Debug)]
pub struct RoleKeys {
    /// How many of them must sign.
    pub threshold: usize,
    /// The keys: type, scheme, and value, unread.
    pub keys: Vec<RoleKey>,
    /// When the first piece of metadata that led to them expires.
    pub expires: Timestamp,
}

/// A key of a delegated role. The library reads no metadata with a key that has no `public`: one that names an identity (TAP 18) needs an
/// empty one beside it.
#[derive(Clone, Debug)]
pub struct RoleKey {
    /// `keytype`, such as `ecdsa` or `sigstore-oidc`.
    pub kind: String,
    /// `scheme`, such as `ed25519` or `Fulcio`.
    pub scheme: String,
    /// `keyval`.
    pub value: Value,
}

/// A client of one repository.
#[derive(Debug)]
pub struct TufClient {
    updater: Updater,
    kept: Arc<Kept>,
    notes: Arc<Notes>,
}

impl TufClient {
    /// A client that starts from a pinned root, with the files that were kept before, which it verifies from there.
    pub fn open(root: &[u8], kept: Files, mirror: Mirror) -> Result<Self, RefreshError> {
        if root.len() as u64 > bounds::ROOT_BYTES {
            let (file, cap) = ("the pinned root".to_owned(), bounds::ROOT_BYTES);
            return Err(MirrorError::TooLarge { file, cap }.into());
        }
        if repeats_a_name(root) {
            return Err(MirrorError::Ambiguous { file: "the pinned root".to_owned() }.into());
        }
        let (kept, notes) = (Arc::new(Kept::new(kept)), Arc::new(Notes::default()));
        let asked = Asked { mirror, notes: Arc::clone(&notes) };
        let updater = Updater::new(asked, root)?.with_config(bounds::updater()).with_store(Arc::clone(&kept));
        Ok(Self { updater, kept, notes })
    }

    /// Refreshes the top-level metadata.
    pub async fn refresh(&mut self, now: Timestamp) -> Result<(), RefreshError> {
        Ok(self.updater.refresh(now).await?)
    }

    /// Looks a target up, through delegations, and reads it, unless it is kept. Needs a refresh before.
    pub async fn target(&mut self, path: &str, now: Timestamp) -> Result<VerifiedTarget, RefreshError> {
        let target = self.find(path, now).await?;
        let bytes = match self.updater.find_cached_target(&target, path) {
            Some(bytes) => bytes,
            None => self.updater.download_target(&target, path).await?,
        };
        let version = self.roles().find(|role| role.target(path) == Some(&target)).map_or(0, |role| role.version);
        Ok(VerifiedTarget { bytes, expires: self.expires(), version })
    }

    async fn find(&mut self, path: &str, now: Timestamp) -> Result<TargetFile, RefreshError> {
        let missing = || RefreshError::TargetMissing { target: path.to_owned() };
        let target = self.updater.get_target_info(path, now).await?.ok_or_else(missing)?;
        if target.length > bounds::TARGET_BYTES {
            let (target, length) = (path.to_owned(), target.length);
            return Err(RefreshError::TargetTooLarge { target, length, cap: bounds::TARGET_BYTES });
        }
        Ok(target)
    }

    /// The keys of a role that the top-level targets, or a role that was read on the way to some target, delegate to.
    pub fn role_keys(&self, name: &str) -> Result<RoleKeys, RefreshError> {
        let delegations = self.roles().filter_map(|role| role.delegations.as_ref());
        let mut found = delegations.filter_map(|all| Some((all, all.roles.iter().find(|role| role.name == name)?)));
        let (all, role) = found.next().ok_or_else(|| RefreshError::RoleMissing { role: name.to_owned() })?;
        let key = |id: &String| {
            let key = all.keys.get(id)?;
            let value = serde_json::to_value(&key.keyval).ok()?;
            Some(RoleKey { kind: key.keytype.clone(), scheme: key.scheme.clone(), value })
        };
        let keys = role.keyids.iter().filter_map(key).collect();
        Ok(RoleKeys { threshold: role.threshold, keys, expires: self.expires() })
    }

    /// The versions that are trusted now. Zero: none yet.
    pub fn versions(&self) -> Versions {
        let trusted = self.updater.trusted();
        Versions {
            root: trusted.root().version,
            timestamp: trusted.timestamp().map_or(0, |role| role.version),
            snapshot: trusted.snapshot().map_or(0, |role| role.version),
            targets: trusted.targets_role("targets").map_or(0, |role| role.version),
        }
    }

    /// When the first piece of trusted metadata expires.
    pub fn expires(&self) -> Timestamp {
        let trusted = self.updater.trusted();
        let others = [trusted.timestamp().map(|role| role.expires), trusted.snapshot().map(|role| role.expires)];
        let all = others.into_iter().flatten().chain(self.roles().map(Role::expires));
        all.fold(trusted.root().expires, Timestamp::min)
    }

    /// The roles of targets that are trusted now, the top-level one first.
    fn roles(&self) -> impl Iterator<Item = &Targets> {
        let trusted = self.updater.trusted();
        let pinned = trusted.snapshot().into_iter().flat_map(|snapshot| snapshot.meta.keys());
        let names = pinned.filter_map(|file| file.strip_suffix(".json")).filter(|name| *name != "targets");
        std::iter::once("targets").chain(names).filter_map(|name| trusted.targets_role(name))
    }

    /// What was verified and is worth keeping, by names without versions.
    pub fn files(&self) -> Files {
        self.kept.files()
    }

    /// The same, by the names that a mirror has them by: metadata at the top, targets below `targets/`.
    pub fn mirrored(&self) -> Files {
        let trusted = self.updater.trusted();
        let consistent = trusted.root().consistent_snapshot;
        let mut mirrored = Files::new();
        for (name, bytes) in self.files() {
            let name = if let Some(root) = name.strip_prefix("root_history/") {
                root.to_owned()
            } else if let Some(path) = name.strip_prefix("targets/") {
                let hash = self.roles().find_map(|role| role.target(path)).filter(|_| consistent).and_then(|target| {
                    let hashes: &BTreeMap<String, String> = &target.hashes;
                    hashes.get("sha256").or_else(|| hashes.get("sha512")).or_else(|| hashes.values().next())
                });
                match (hash, path.rsplit_once('/')) {
                    (None, _) => format!("targets/{path}"),
                    (Some(hash), None) => format!("targets/{hash}.{path}"),
                    (Some(hash), Some((folder, file))) => format!("targets/{folder}/{hash}.{file}"),
                }
            } else if name == "root.json" || name == "timestamp.json" || !consistent {
                name
            } else {
                format!("{}.{name}", version(&bytes).unwrap_or_default())
            };
            mirrored.insert(name, bytes);
        }
        mirrored
    }

    /// What is worth saying of the refresh beside its result.
    pub fn notes(&self) -> Vec<&'static str> {
        self.notes.list()
    }

    pub(super) fn watch(&self) -> Watched {
        Watched { kept: Arc::clone(&self.kept), notes: Arc::clone(&self.notes) }
    }
}

/// What a client has verified so far, for whoever gives up waiting for it.
#[derive(Debug)]
pub(super) struct Watched {
    kept: Arc<Kept>,
    notes: Arc<Notes>,
}

impl Watched {
    pub(super) fn files(&self) -> Files {
        self.kept.files()
    }

    pub(super) fn notes(&self) -> Vec<&'static str> {
        self.notes.list()
    }
}

/// The version that a file of metadata gives itself.
pub(super) fn version(bytes: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.pointer("/signed/version")?.as_u64()
}
