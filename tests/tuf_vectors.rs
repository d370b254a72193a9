//! Published TUF repositories get the verdict that `tests/tuf_vectors/SOURCES.md` names, at the clock that they were made for.
//!
//! The client is the one that refreshes trust roots; the files are served from memory. What is accepted is refused with one value changed
//! and past its time; what is refused says which rule broke.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::path::{Path, PathBuf};

use countersign::trust::TrustMaterial;
use countersign::trust_store::{Files, Mirror, TufClient, Versions};
use jiff::Timestamp;
use jiff::civil::DateTime;

/// The clock of most synthetic cases, and the one at which the expired ones are.
const EARLY: &str = "2022-09-09T13:37:00Z";
const LATE: &str = "2022-11-20T18:07:27Z";

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tuf_vectors").join(case)
}

#[expect(clippy::disallowed_methods, reason = "a test reads its vectors")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder as a mirror has them.
fn files(folder: &Path) -> Files {
    fn walk(root: &Path, folder: &Path, found: &mut Files) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), read(&path));
            }
        }
    }
    let mut found = Files::new();
    walk(folder, folder, &mut found);
    found
}

/// What came of a refresh and of downloads after it.
struct Outcome {
    /// The code of the error, or "ok".
    code: &'static str,
    versions: Versions,
    kept: Files,
    targets: Vec<Vec<u8>>,
}

async fn outcome(root: &[u8], kept: Files, mirror: Files, targets: &[&str], now: &str) -> Outcome {
    let now: Timestamp = now.parse().unwrap();
    let mut client = match TufClient::open(root, kept, Mirror::files(mirror)) {
        Ok(client) => client,
        Err(error) => {
            let (versions, kept, targets) = (Versions::default(), Files::new(), Vec::new());
            return Outcome { code: error.code(), versions, kept, targets };
        }
    };
    let mut found = Vec::new();
    let result = async {
        client.refresh(now).await?;
        for target in targets {
            found.push(client.target(target, now).await?.bytes);
        }
        Ok::<_, countersign::trust_store::RefreshError>(())
    }
    .await;
    let code = result.map_or_else(|error| error.code(), |()| "ok");
    Outcome { code, versions: client.versions(), kept: client.files(), targets: found }
}

fn versions(root: u64, timestamp: u64, snapshot: u64, targets: u64) -> Versions {
    Versions { root, timestamp, snapshot, targets }
}

/// The same metadata with another year of expiry: signed by nobody.
fn tampered(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (before, after) = text.split_once("\"expires\":").unwrap();
    let changed = after.replacen("\"20", "\"21", 1);
    assert_ne!(changed, after, "an expiry is there");
    format!("{before}\"expires\":{changed}").into_bytes()
}

#[tokio::test]
async fn real_repositories_are_accepted_at_their_time_as_they_are_and_refused_otherwise() {
    let cases = [
        ("prod-2023-09-15", versions(7, 115, 104, 7)),
        ("prod-2024-12-01", versions(10, 245, 156, 10)),
        ("prod-2025-11-01", versions(13, 503, 162, 13)),
        ("staging-2025-03-01", versions(11, 226, 12, 12)),
    ];
    for (case, expected) in cases {
        let folder = folder("real").join(case);
        let root = read(&folder.join("initial_root.json"));
        let mut mirror = files(&folder.join("metadata"));
        for (name, bytes) in files(&folder.join("targets")) {
            mirror.insert(format!("targets/{name}"), bytes);
        }
        let when = String::from_utf8(read(&folder.join("when.txt"))).unwrap();
        let when: DateTime = when.trim().parse().unwrap();
        let when = when.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().to_string();
        let target = ["trusted_root.json"];
        let good = outcome(&root, Files::new(), mirror.clone(), &target, &when).await;
        assert_eq!((good.code, good.versions), ("ok", expected), "{case}");
        let json = String::from_utf8(good.targets[0].clone()).unwrap();
        TrustMaterial::parse(case, &json).unwrap();
        let late = outcome(&root, Files::new(), mirror.clone(), &target, "2026-11-01T00:00:00Z").await;
        assert_eq!(late.code, "TufMetadataExpired", "{case}");
        assert_eq!(late.versions.root, expected.root, "{case}: roots are followed first");
        for (name, bytes) in &mirror {
            // Metadata of roles that the target is not delegated to is never asked for.
            if name.contains("npmjs") {
                continue;
            }
            let changed = if name.starts_with("targets/") {
                let mut changed = bytes.clone();
                changed[0] ^= 1;
                changed
            } else {
                tampered(bytes)
            };
            // The target may be there once more, under its other hash.
            let mut mirror = mirror.clone();
            mirror.retain(|other, _| !(name.starts_with("targets/") && other.starts_with("targets/")));
            mirror.insert(name.clone(), changed);
            let found = outcome(&root, Files::new(), mirror, &target, &when).await;
            // Which rule sees it first depends on what the repository says of the file.
            let rules = if name.starts_with("targets/") {
                ["TufHashMismatch", "TufFileMissing"]
            } else {
                ["TufThresholdNotMet", "TufHashMismatch"]
            };
            assert!(rules.contains(&found.code), "{case} {name}: {}", found.code);
        }
    }
}

/// One case: folder, targets to download, clock, and what must come of it.
type Case = (&'static str, &'static [&'static str], &'static str, &'static str, Versions);

async fn hold(cases: &[Case], root: impl Fn(&str) -> Vec<u8>, kept: &Files) {
    for (case, targets, now, code, expected) in cases {
        let found = outcome(&root(case), kept.clone(), files(&folder(case)), targets, now).await;
        assert_eq!((found.code, found.versions), (*code, *expected), "{case} at {now}");
        assert!(found.code != "ok" || found.targets.len() == targets.len(), "{case}");
    }
}

#[tokio::test]
async fn synthetic_repositories_break_the_rule_that_their_name_says() {
    const ALL: &[&str] = &["test.txt", "test.txt.v2", "test2.txt"];
    let initial = read(&folder("synthetic/initial.root.json"));
    // A step that is refused leaves what was reached before it; so far, all is well.
    let first: &[Case] = &[
        ("synthetic/test-template", ALL, EARLY, "ok", versions(2, 3, 3, 3)),
        ("synthetic/test-template", ALL, LATE, "ok", versions(2, 3, 3, 3)),
        ("synthetic/root-unsigned", &[], EARLY, "TufThresholdNotMet", versions(1, 0, 0, 0)),
        ("synthetic/root-wrong-version", &[], EARLY, "TufRootVersionWrong", versions(1, 0, 0, 0)),
        ("synthetic/snapshot-expired", &[], EARLY, "TufFileMissing", versions(2, 3, 3, 0)),
        ("synthetic/snapshot-expired", &[], LATE, "TufMetadataExpired", versions(2, 3, 0, 0)),
        ("synthetic/snapshot-target-missing", &[], EARLY, "TufHashMismatch", versions(2, 3, 0, 0)),
        ("synthetic/snapshot-version-mismatch", &[], EARLY, "TufVersionMismatch", versions(2, 3, 0, 0)),
        ("synthetic/targets-expired", &[], EARLY, "ok", versions(2, 3, 3, 3)),
        ("synthetic/targets-expired", &[], LATE, "TufMetadataExpired", versions(2, 3, 3, 0)),
        ("synthetic/targets-download-invalid-length", &[], EARLY, "ok", versions(2, 3, 3, 3)),
        ("synthetic/targets-download-invalid-length", &["test.txt"], EARLY, "TufFileTooLarge", versions(2, 3, 3, 3)),
        ("synthetic/timestamp-rollback-version", &[], EARLY, "TufFileMissing", versions(2, 1, 0, 0)),
    ];
    hold(first, |_| initial.clone(), &Files::new()).await;
    // After the template was accepted, an older timestamp and another root of the same version are none any more.
    let template = outcome(&initial, Files::new(), files(&folder("synthetic/test-template")), &[], EARLY).await;
    let then: &[Case] = &[
        ("synthetic/test-template", ALL, LATE, "ok", versions(2, 3, 3, 3)),
        ("synthetic/timestamp-rollback-version", &[], EARLY, "TufRollback", versions(2, 3, 3, 3)),
        ("synthetic/timestamp-rollback-version", &[], LATE, "TufRollback", versions(2, 3, 3, 3)),
        ("synthetic/root-unsigned", &[], EARLY, "TufFileMissing", versions(2, 3, 3, 3)),
    ];
    hold(then, |_| initial.clone(), &template.kept).await;
    // These have roots of their own.
    let pinned = |case: &str| read(&folder(case).join("1.root.json"));
    let own: &[Case] = &[
        ("synthetic/targets-with-subdirs", &["subdir/test.txt"], LATE, "ok", versions(1, 1, 1, 1)),
        ("synthetic/targets-with-subdirs", &["test.txt"], LATE, "TufTargetMissing", versions(1, 1, 1, 1)),
    ];
    hold(own, pinned, &Files::new()).await;
    let stranger: &[Case] =
        &[("synthetic/targets-with-subdirs", &[], LATE, "TufThresholdNotMet", versions(1, 0, 0, 0))];
    hold(stranger, |_| initial.clone(), &Files::new()).await;
}

/// This one has no consistent snapshots: its files are asked for by their plain names, which the vector does not have.
#[tokio::test]
async fn either_hash_of_a_target_will_do() {
    let folder = folder("synthetic/targets-sha256-or-sha512");
    let mut mirror = files(&folder);
    for (name, bytes) in mirror.clone() {
        let plain = match name.strip_prefix("targets/") {
            Some(target) => format!("targets/{}", target.split_once('.').unwrap().1),
            None if name.ends_with(".root.json") => continue,
            None => name.trim_start_matches(|first: char| first.is_ascii_digit() || first == '.').to_owned(),
        };
        mirror.insert(plain, bytes);
    }
    let root = read(&folder.join("1.root.json"));
    for target in ["test.txt", "test2.txt"] {
        let found = outcome(&root, Files::new(), mirror.clone(), &[target], LATE).await;
        assert_eq!((found.code, found.versions), ("ok", versions(2, 2, 2, 1)), "{target}");
        let mut changed = mirror.clone();
        changed.get_mut(&format!("targets/{target}")).unwrap()[0] ^= 1;
        assert_eq!(outcome(&root, Files::new(), changed, &[target], LATE).await.code, "TufHashMismatch", "{target}");
    }
}

#[tokio::test]
async fn unknown_fields_of_a_root_are_signed_too() {
    let folder = folder("synthetic/root-update-with-unknown-fields");
    let (root, mut mirror) = (read(&folder.join("4.root.json")), files(&folder));
    let found = outcome(&root, Files::new(), mirror.clone(), &[], EARLY).await;
    assert_eq!((found.code, found.versions), ("TufFileMissing", versions(5, 0, 0, 0)), "there is no timestamp");
    let five = tampered(&mirror["5.root.json"]);
    mirror.insert("5.root.json".to_owned(), five);
    let found = outcome(&root, Files::new(), mirror, &[], EARLY).await;
    assert_eq!((found.code, found.versions), ("TufThresholdNotMet", versions(4, 0, 0, 0)));
}

#[tokio::test]
async fn repositories_of_another_client() {
    let now = "2025-01-01T00:00:00Z";
    let rotated = folder("tough/rotated-root");
    let found = outcome(&read(&rotated.join("1.root.json")), Files::new(), files(&rotated), &[], now).await;
    assert_eq!((found.code, found.versions), ("ok", versions(2, 1, 1, 1)), "an expired root leads to the next");
    // Names of roles are escaped; none of them leads out of the repository.
    let dubious = folder("tough/dubious-role-names");
    let mut mirror = files(&dubious.join("metadata"));
    for (name, bytes) in files(&dubious.join("targets")) {
        mirror.insert(format!("targets/{name}"), bytes);
    }
    let root = read(&dubious.join("metadata/1.root.json"));
    let targets = ["1.txt", "2.txt"];
    let found = outcome(&root, Files::new(), mirror.clone(), &targets, now).await;
    assert_eq!((found.code, found.versions), ("ok", versions(1, 2, 2, 2)));
    // `foo` is delegated to all three, and none has it.
    let found = outcome(&root, Files::new(), mirror.clone(), &["foo"], now).await;
    assert_eq!(found.code, "TufTargetMissing", "all three roles are read");
    mirror.retain(|name, _| !name.contains("dubious"));
    assert_eq!(outcome(&root, Files::new(), mirror, &["foo"], now).await.code, "TufFileMissing");
    let pinned = [
        ("duplicate-keyid", now, "TufMetadataAmbiguous"),
        ("expired-root-json-signature", now, "TufMetadataExpired"),
        ("expired-root-json-signature", "1970-01-02T00:00:00Z", "TufFileMissing"),
        ("mismatched-root-json-keyids", now, "TufThresholdNotMet"),
        ("no-root-json-signatures", now, "TufThresholdNotMet"),
        ("pem-encoded-ecdsa-sig-keys", "2023-01-01T00:00:00Z", "TufFileMissing"),
        // Keys in hexadecimal are those of Sigstore's first roots, which nobody pins any more.
        ("hex-encoded-ecdsa-sig-keys", "2022-01-01T00:00:00Z", "TufThresholdNotMet"),
    ];
    for (case, now, code) in pinned {
        let folder = folder("tough").join(case);
        let found = outcome(&read(&folder.join("root.json")), Files::new(), Files::new(), &[], now).await;
        assert_eq!(found.code, code, "{case} at {now}");
    }
}
