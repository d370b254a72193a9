//! How much of a repository is read, and for how long.

use std::time::Duration;

/// Bytes of one root.
pub const ROOT_BYTES: u64 = 512 << 10;
/// Bytes of `timestamp.json`.
pub const TIMESTAMP_BYTES: u64 = 16 << 10;
/// Bytes of a snapshot.
pub const SNAPSHOT_BYTES: u64 = 2 << 20;
/// Bytes of the metadata of a targets role.
pub const TARGETS_BYTES: u64 = 5 << 20;
/// Bytes of a target: a trusted root, or what a feed holds.
pub const TARGET_BYTES: u64 = 4 << 20;
/// New roots that one refresh follows.
pub const ROOTS: u32 = 256;
/// Roles that are looked through for one target.
pub const ROLES: u32 = 32;
/// Time for a connection, TLS included.
pub const CONNECT: Duration = Duration::from_secs(5);
/// Time in which some bytes must come.
pub const READ: Duration = Duration::from_secs(10);
/// Time for one file.
pub const FILE: Duration = Duration::from_secs(30);
/// Time for a whole refresh.
pub const REFRESH: Duration = Duration::from_mins(1);

/// The bounds in the form that the TUF library takes.
pub(super) fn updater() -> sigstore_tuf::UpdaterConfig {
    let mut config = sigstore_tuf::UpdaterConfig::default();
    config.root_max_length = ROOT_BYTES;
    config.timestamp_max_length = TIMESTAMP_BYTES;
    config.snapshot_max_length = SNAPSHOT_BYTES;
    config.targets_max_length = TARGETS_BYTES;
    config.target_max_length = TARGET_BYTES;
    config.max_root_rotations = ROOTS;
    config.max_delegations = ROLES;
    config
}
