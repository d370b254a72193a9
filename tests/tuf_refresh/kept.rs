//! What outlives a restart: whoever blocks the mirror brings no key back that was replaced.

use std::path::Path;

use countersign::trust_store::{Files, FolderArchive};

use super::*;

/// A restart: another store over the same archive.
async fn restarted(archive: &Arc<dyn Archive>, served: &Served) -> (Bench, RootStatus) {
    let bench = Bench::new(Arc::clone(archive));
    let pinned = served.edit(|repository| repository.pinned.clone());
    let status = bench.declare(spec(&served.url(), &pinned, &json!({"maxAge": "6h"}))).await;
    (bench, status)
}

async fn an_old_key_stays_refused(archive: Arc<dyn Archive>, forgetful: &dyn Fn() -> Arc<dyn Archive>) {
    let (old, new) = (fresh_root(), fresh_root());
    let served = Served::start(Repository::new(TARGET, old.as_bytes())).await;
    let (bench, status) = restarted(&archive, &served).await;
    assert_eq!((code(&status), bench.trusted()), ("ok", Some(digest(&old))));
    let before = served.edit(|repository| repository.clone());
    served.edit(|repository| {
        repository.rotate(|repository| repository.targets = Role::new(2, 2));
        repository.deliver(TARGET, new.as_bytes());
    });
    assert_eq!(code(&bench.refresh().await), "ok");
    drop(bench);
    // The mirror is blocked: what was accepted last stands, with the age that it had.
    served.behave(Manner::Status(503));
    let (bench, status) = restarted(&archive, &served).await;
    assert_eq!((code(&status), bench.trusted()), ("TufMirrorStatus", Some(digest(&new))));
    assert_eq!(status.versions.map(|versions| versions.root), Some(2));
    assert_eq!((status.refreshed, bench.usable(later(6))), (Some(noon()), Ok(false)));
    assert!(bench.usable(later(7)).is_err(), "a restart makes nothing younger");
    drop(bench);
    // The mirror shows what it had before.
    served.behave(Manner::Honest);
    let newest = served.edit(|repository| std::mem::replace(repository, before.clone()));
    let (bench, status) = restarted(&archive, &served).await;
    assert_eq!((code(&status), bench.trusted()), ("TufRollback", Some(digest(&new))));
    // Whoever remembers nothing takes the old one: it is what was kept that refuses it.
    let (fresh, status) = restarted(&forgetful(), &served).await;
    assert_eq!((code(&status), fresh.trusted()), ("ok", Some(digest(&old))));
    served.edit(|repository| *repository = newest);
    assert_eq!(code(&bench.refresh().await), "ok");
}

#[tokio::test]
async fn an_old_key_stays_refused_by_what_memory_keeps() {
    an_old_key_stays_refused(Arc::new(MemoryArchive::default()), &|| Arc::new(MemoryArchive::default())).await;
}

#[tokio::test]
async fn an_old_key_stays_refused_by_what_a_folder_keeps() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = other.path().to_owned();
    let archive = |path: &Path| -> Arc<dyn Archive> { Arc::new(FolderArchive::new(path)) };
    an_old_key_stays_refused(archive(folder.path()), &|| archive(&path)).await;
}

/// What was verified before a refresh failed counts as seen, whatever becomes of it, and after a restart too.
#[tokio::test]
async fn a_refresh_that_fails_half_way_raises_the_floor() {
    let root = fresh_root();
    let archive: Arc<dyn Archive> = Arc::new(MemoryArchive::default());
    let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    let (bench, _) = restarted(&archive, &served).await;
    let before = served.edit(|repository| repository.clone());
    served.edit(|repository| {
        repository.rotate(|repository| repository.timestamp = Role::new(1, 1));
        repository.publish();
        repository.files.remove("2.targets.json");
    });
    assert_eq!(code(&bench.refresh().await), "TufFileMissing");
    drop(bench);
    served.behave(Manner::Status(503));
    let (bench, status) = restarted(&archive, &served).await;
    assert_eq!(bench.trusted(), Some(digest(&root)), "the last complete one is used");
    assert_eq!(status.versions.map(|versions| (versions.root, versions.targets)), Some((1, 1)));
    served.behave(Manner::Honest);
    served.edit(|repository| *repository = before);
    // The old timestamp's key was replaced: its word counts no more.
    let status = bench.refresh().await;
    assert!(["TufThresholdNotMet", "TufRollback"].contains(&code(&status)), "{}", code(&status));
}

/// Ages are counted from the time that it is, not from one that a clock which ran ahead told once, over restarts too.
#[tokio::test]
async fn a_clock_that_ran_ahead_makes_no_age_last_longer() {
    let served = Served::start(Repository::new(TARGET, fresh_root().as_bytes())).await;
    let pinned = served.edit(|repository| repository.pinned.clone());
    let archive: Arc<dyn Archive> = Arc::new(MemoryArchive::default());
    let started = async |now: Timestamp| {
        let bench = Bench::new(Arc::clone(&archive));
        bench.set_clock(now);
        let status = bench.declare(spec(&served.url(), &pinned, &json!({"maxAge": "6h"}))).await;
        (bench, code(&status))
    };
    let is_usable_until = |bench: &Bench, moment: Timestamp| {
        let past = moment + jiff::SignedDuration::from_nanos(1);
        bench.usable(moment).is_ok() && bench.usable(past).is_err()
    };
    let (bench, said) = started(later(48)).await;
    assert!(said == "ok" && is_usable_until(&bench, later(54)));
    served.behave(Manner::Status(503));
    // It is set right while nothing can be refreshed, and there is a restart, and another.
    bench.set_clock(noon());
    assert_eq!(code(&bench.refresh().await), "TufMirrorStatus");
    assert!(is_usable_until(&bench, later(6)), "accepted now, at the latest");
    drop(bench);
    let files = archive.load("own").await.unwrap().unwrap();
    for hours in [1, 3] {
        let (bench, _) = started(later(hours)).await;
        assert!(is_usable_until(&bench, later(6)), "a restart after {hours} hours");
    }
    let ahead: Files = files
        .into_iter()
        .filter(|(name, _)| name != "latest-time")
        .map(
            |(name, bytes)| {
                if name == "refreshed-at" { (name, later(48).to_string().into_bytes()) } else { (name, bytes) }
            },
        )
        .collect();
    archive.save("own", ahead).await.unwrap();
    for hours in [1, 3] {
        let (bench, _) = started(later(hours)).await;
        assert!(is_usable_until(&bench, later(7)), "set right in a restart, {hours} hours after noon");
    }
    // What had expired by the latest time that was told stays expired; what had not begins an age of now.
    served.behave(Manner::Honest);
    let (bench, said) = started(later(4)).await;
    assert!(said == "ok" && is_usable_until(&bench, later(10)));
    served.edit(|repository| {
        repository.expire(&later(47));
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "TufMetadataExpired");
    served.edit(|repository| {
        repository.expire(&later(49));
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "ok");
}

/// What answered a question about a role or a target counts as seen too, long before the next refresh.
#[tokio::test]
async fn what_a_question_has_seen_is_kept() {
    let root = fresh_root();
    let archive: Arc<dyn Archive> = Arc::new(MemoryArchive::default());
    let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    let (bench, _) = restarted(&archive, &served).await;
    let before = served.edit(|repository| repository.clone());
    served.edit(Repository::publish);
    let asked = bench.store.role_keys("own", "release", Instant::now() + HANG).await;
    assert_eq!(asked.unwrap_err().code(), "TufRoleMissing");
    drop(bench);
    let newest = served.edit(|repository| std::mem::replace(repository, before));
    let (bench, status) = restarted(&archive, &served).await;
    assert_eq!((code(&status), bench.trusted()), ("TufRollback", Some(digest(&root))));
    served.edit(|repository| *repository = newest);
    assert_eq!(code(&bench.refresh().await), "ok");
}

/// An archive that says nothing, or lies.
#[tokio::test]
async fn an_archive_that_cannot_be_believed_leaves_nothing_usable_until_a_refresh() {
    let root = fresh_root();
    let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    let archive: Arc<dyn Archive> = Arc::new(MemoryArchive::default());
    let (bench, _) = restarted(&archive, &served).await;
    drop(bench);
    let good = archive.load("own").await.unwrap().unwrap();
    let spoil = |name: &str| {
        let mut files: Files = good.clone();
        let bytes = files.iter_mut().find(|(file, _)| file.ends_with(name)).unwrap().1;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        files
    };
    for name in ["timestamp.json", "snapshot.json", "targets.json", TARGET] {
        archive.save("own", spoil(name)).await.unwrap();
        served.behave(Manner::Status(503));
        let (bench, _) = restarted(&archive, &served).await;
        assert_eq!(bench.trusted(), None, "{name}");
        let status = bench.store.status("own").unwrap();
        assert!(status.unavailable.unwrap().contains("does not verify"), "{name}");
        served.behave(Manner::Honest);
        assert_eq!(code(&bench.refresh().await), "ok", "{name}");
        assert_eq!(bench.trusted(), Some(digest(&root)), "{name}");
    }
    archive.save("own", good).await.unwrap();
    served.behave(Manner::Status(503));
    assert_eq!(restarted(&archive, &served).await.0.trusted(), Some(digest(&root)));
}

/// What was accepted under one pinned root is nothing under another, and a changed mirror changes nothing.
#[tokio::test]
async fn another_mirror_goes_on_where_another_pinned_root_begins_anew() {
    let (served, bench, old) = accepted().await;
    let pinned = served.edit(|repository| repository.pinned.clone());
    let copy = Served::start(served.edit(|repository| repository.clone())).await;
    copy.behave(Manner::Status(503));
    let status = bench.declare(spec(&copy.url(), &pinned, &json!({"maxAge": "12h"}))).await;
    assert_eq!((code(&status), bench.trusted()), ("TufMirrorStatus", Some(old.clone())));
    let stranger = Repository::new(TARGET, fresh_root().as_bytes());
    let mut changed = bench.store.changed();
    bench.store.declare(spec(&copy.url(), &stranger.pinned, &json!({})));
    let gone = async {
        while bench.trusted().is_some() {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(HANG, gone).await.expect("hangs");
    assert_eq!(bench.store.roots().usable("own", noon()).unwrap_err().code(), "TrustRootUnavailable");
}
