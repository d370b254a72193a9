//! Where accepted TUF metadata outlives the pod: a `ConfigMap` of our namespace for each root.
//!
//! What is read back is verified again by whoever asked for it. Every replica writes what it accepted before it judges by it, so that no
//! restart forgets it, whoever holds the Lease; what is there and newer is never replaced by what is older.

use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::Value;

use super::ledger::{SIZE_LIMIT, metadata, write};
use crate::trust_store::{ACCEPTED, Archive, ArchiveError, Files, LATEST, REFRESHED};

/// Names of the files in the order of their bytes, which a `ConfigMap` cannot have for keys as they are.
const NAMES: &str = "names.json";
/// Attempts to write, where another writes at the same time.
const ATTEMPTS: usize = 3;

/// Keeps files of roots in `ConfigMap`s named `countersign-trust-` and the root's name.
#[derive(Clone)]
pub struct ConfigMapArchive {
    maps: Api<ConfigMap>,
}

impl fmt::Debug for ConfigMapArchive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConfigMapArchive")
    }
}

impl ConfigMapArchive {
    /// In this namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { maps: Api::namespaced(client, namespace) }
    }

    async fn load_now(&self, root: &str) -> Result<Option<Files>, ArchiveError> {
        let failed = |reason: String| ArchiveError { doing: "read", reason };
        let map = self.maps.get_opt(&map_name(root)).await.map_err(|error| failed(error.to_string()))?;
        map.map(|map| files(&map).map_err(failed)).transpose()
    }

    async fn save_now(&self, root: &str, files: &Files) -> Result<(), ArchiveError> {
        let failed = |reason: String| ArchiveError { doing: "kept", reason };
        let name = map_name(root);
        for _ in 0..ATTEMPTS {
            let known = self.maps.get_opt(&name).await.map_err(|error| failed(error.to_string()))?;
            // What cannot be read protects nothing and is replaced.
            let kept = known.as_ref().and_then(|map| self::files(map).ok());
            let files = kept.as_ref().map_or_else(|| files.clone(), |kept| newest(files, kept));
            if kept.is_some_and(|kept| kept == files) {
                return Ok(());
            }
            let size: usize = files.iter().map(|(name, bytes)| name.len() + bytes.len()).sum();
            if size > SIZE_LIMIT {
                return Err(failed(format!("it has {size} bytes, {SIZE_LIMIT} are kept at most")));
            }
            let map = map(&name, known.and_then(|map| map.metadata.resource_version), &files).map_err(failed)?;
            match write(&self.maps, &map).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Err(failed("somebody else writes it all the time".to_owned()))
    }
}

impl Archive for ConfigMapArchive {
    fn load(&self, root: &str) -> BoxFuture<'_, Result<Option<Files>, ArchiveError>> {
        let root = root.to_owned();
        async move { self.load_now(&root).await }.boxed()
    }

    fn save(&self, root: &str, files: Files) -> BoxFuture<'_, Result<(), ArchiveError>> {
        let root = root.to_owned();
        async move { self.save_now(&root, &files).await }.boxed()
    }
}

/// The newest of what two replicas know of a repository: the floor and the accepted set each by itself, because whoever has seen more may
/// have accepted less. Of another repository, such as after the pinned root was replaced by one that shares no history with it, nothing
/// that was kept stays.
fn newest(offered: &Files, kept: &Files) -> Files {
    let (offered_floor, kept_floor) = (floor(offered), floor(kept));
    if !is_related(&offered_floor, &kept_floor) {
        return offered.clone();
    }
    let (offered_set, kept_set) = (accepted(offered), accepted(kept));
    let mut newest = if is_older(&offered_floor, &kept_floor) { kept_floor } else { offered_floor };
    let (files, set) = match (offered_set, kept_set) {
        (Some(set), Some(before)) if is_older(&set, &before) => (kept, Some(before)),
        (None, Some(before)) => (kept, Some(before)),
        (set, _) => (offered, set),
    };
    let times = files.get(REFRESHED).map(|time| (REFRESHED.to_owned(), time.clone()));
    let latest = [files, offered, kept].into_iter().find_map(|files| files.get(LATEST));
    let set = set.filter(|set| *set != newest).into_iter().flatten();
    let set: Files = set.map(|(name, bytes)| (format!("{ACCEPTED}{name}"), bytes)).collect();
    newest.extend(set);
    newest.extend(times);
    newest.extend(latest.map(|time| (LATEST.to_owned(), time.clone())));
    newest
}

/// What was verified, whatever became of it.
fn floor(files: &Files) -> Files {
    let is_floor = |name: &str| name != REFRESHED && name != LATEST && !name.starts_with(ACCEPTED);
    files.iter().filter(|(name, _)| is_floor(name)).map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
}

/// What was accepted; none: nothing ever.
fn accepted(files: &Files) -> Option<Files> {
    files.get(REFRESHED)?;
    let apart = files.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(ACCEPTED)?.to_owned(), bytes.clone())));
    let apart: Files = apart.collect();
    Some(if apart.is_empty() { floor(files) } else { apart })
}

/// Whether two states are of one repository: the same root, or one that the other passed through.
fn is_related(one: &Files, other: &Files) -> bool {
    root(one) == root(other) || passed(one, root(other)) || passed(other, root(one))
}

/// Whether files are of an earlier state of the same repository than those that are kept.
fn is_older(files: &Files, kept: &Files) -> bool {
    if root(files) == root(kept) {
        let behind = |name: &str| version(files.get(name)) < version(kept.get(name));
        return ["timestamp.json", "snapshot.json", "targets.json"].into_iter().any(behind);
    }
    passed(kept, root(files)) && !passed(files, root(kept))
}

fn root(files: &Files) -> Option<&Vec<u8>> {
    files.get("root.json")
}

fn passed(files: &Files, root: Option<&Vec<u8>>) -> bool {
    let mut history = files.iter().filter(|(name, _)| name.starts_with("root_history/"));
    root.is_some_and(|root| history.any(|(_, bytes)| bytes == root))
}

fn version(bytes: Option<&Vec<u8>>) -> Option<u64> {
    let value: Value = serde_json::from_slice(bytes?).ok()?;
    value.pointer("/signed/version")?.as_u64()
}

fn map_name(root: &str) -> String {
    format!("countersign-trust-{root}")
}

fn map(name: &str, version: Option<String>, files: &Files) -> Result<ConfigMap, String> {
    let names: Vec<&String> = files.keys().collect();
    let names = serde_json::to_string(&names).map_err(|error| error.to_string())?;
    let bytes = files.values().enumerate().map(|(number, bytes)| (number.to_string(), ByteString(bytes.clone())));
    Ok(ConfigMap {
        metadata: metadata(name, version),
        data: Some([(NAMES.to_owned(), names)].into()),
        binary_data: Some(bytes.collect()),
        ..ConfigMap::default()
    })
}

fn files(map: &ConfigMap) -> Result<Files, String> {
    let names = map.data.as_ref().and_then(|data| data.get(NAMES)).ok_or("it has no entry names.json")?;
    let names: Vec<String> = serde_json::from_str(names).map_err(|error| error.to_string())?;
    let bytes = |(number, name): (usize, String)| {
        let found = map.binary_data.as_ref().and_then(|data| data.get(&number.to_string()));
        let ByteString(bytes) = found.ok_or_else(|| format!("{name:?} is missing"))?;
        Ok((name, bytes.clone()))
    };
    names.into_iter().enumerate().map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake::FakeCluster;
    use super::*;

    fn archive(cluster: &FakeCluster) -> ConfigMapArchive {
        ConfigMapArchive::new(cluster.client(), "ours")
    }

    /// Metadata of these versions, whose root passed through all before it.
    fn state(root: u64, timestamp: u64) -> Files {
        let file = |version: u64| json!({"signed": {"version": version}}).to_string().into_bytes();
        let mut files: Files =
            (1..=root).map(|version| (format!("root_history/{version}.root.json"), file(version))).collect();
        for (name, version) in [("root.json", root), ("timestamp.json", timestamp), ("targets/a%b", 0)] {
            files.insert(name.to_owned(), file(version));
        }
        files
    }

    #[tokio::test]
    async fn files_come_back_as_they_were() {
        let cluster = FakeCluster::default();
        let archive = archive(&cluster);
        assert_eq!(archive.load("own").await, Ok(None));
        archive.save("own", state(1, 5)).await.unwrap();
        assert_eq!(archive.load("own").await, Ok(Some(state(1, 5))));
        assert_eq!(archive.load("other").await, Ok(None));
        let large = Files::from([("a".to_owned(), vec![0; SIZE_LIMIT])]);
        assert!(archive.save("own", large).await.is_err());
        assert_eq!(archive.load("own").await, Ok(Some(state(1, 5))));
        cluster.fail(503);
        assert!(archive.load("own").await.is_err(), "what cannot be read is no fresh start");
    }

    #[tokio::test]
    async fn what_is_newer_is_never_replaced_by_what_is_older() {
        let cluster = FakeCluster::default();
        let archive = archive(&cluster);
        let keeps = async |files: Files| {
            archive.save("own", files.clone()).await.unwrap();
            archive.load("own").await.unwrap().unwrap() == files
        };
        assert!(keeps(state(2, 5)).await && keeps(state(2, 6)).await);
        assert!(!keeps(state(2, 5)).await, "an older timestamp");
        assert!(!keeps(state(1, 9)).await, "an older root");
        assert!(keeps(state(3, 1)).await, "a newer root may begin anew");
        let mut other = state(1, 1);
        other.insert("root.json".to_owned(), b"{}".to_vec());
        assert!(keeps(other).await, "another repository");
    }
    /// What a replica saw of these versions, of which it accepted others at some time.
    fn seen(floor: (u64, u64), accepted: (u64, u64), time: &str) -> Files {
        let mut files = state(floor.0, floor.1);
        if floor != accepted {
            let apart = state(accepted.0, accepted.1);
            files.extend(apart.into_iter().map(|(name, bytes)| (format!("accepted/{name}"), bytes)));
        }
        files.insert("refreshed-at".to_owned(), time.as_bytes().to_vec());
        files
    }

    #[tokio::test]
    async fn whoever_saw_more_and_accepted_less_takes_nothing_away() {
        let cluster = FakeCluster::default();
        let archive = archive(&cluster);
        let becomes = async |kept: Files, offered: Files| {
            archive.save("own", kept).await.unwrap();
            archive.save("own", offered).await.unwrap();
            archive.load("own").await.unwrap().unwrap()
        };
        // Ever newer ones, so that the first save of each replaces what was there.
        let merged = becomes(seen((1, 10), (1, 10), "a"), seen((1, 11), (1, 9), "b")).await;
        assert_eq!(merged, seen((1, 11), (1, 10), "a"), "the higher floor, over what was accepted last");
        let merged = becomes(seen((1, 20), (1, 20), "a"), seen((2, 1), (1, 19), "b")).await;
        assert_eq!(merged, seen((2, 1), (1, 20), "a"), "a newer root, too");
        let merged = becomes(seen((2, 30), (2, 30), "a"), seen((2, 31), (2, 31), "b")).await;
        assert_eq!(merged, seen((2, 31), (2, 31), "b"), "whoever accepted more takes its place");
        let merged = becomes(seen((2, 45), (2, 40), "a"), seen((2, 42), (2, 42), "b")).await;
        assert_eq!(merged, seen((2, 45), (2, 42), "b"), "the other way round");
        let merged = becomes(seen((2, 50), (2, 50), "a"), state(2, 51)).await;
        assert_eq!(merged, seen((2, 51), (2, 50), "a"), "a floor alone");
        let mut other = state(1, 1);
        other.insert("root.json".to_owned(), b"{}".to_vec());
        assert_eq!(becomes(seen((2, 60), (2, 60), "a"), other.clone()).await, other, "another repository");
    }
}
