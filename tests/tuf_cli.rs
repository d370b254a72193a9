//! `countersign trust` on real repositories and on those of our own writer, in folders. No network.

#![expect(clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]

#[path = "support/tuf_repository.rs"]
mod tuf_repository;
#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tuf_repository::{Repository, Role, Served};
use virtual_sigstore::VirtualSigstore;

const TARGET: &str = "trusted_root.json";

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn trust(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).arg("trust").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{arguments:?}: {}", ran.err);
    ran
}

/// A repository in a folder, with its pinned root beside it.
struct OnDisk {
    folder: TempDir,
}

impl OnDisk {
    fn new(repository: &Repository) -> Self {
        let on_disk = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(on_disk.folder.path().join("pinned.json"), &repository.pinned).unwrap();
        on_disk.write(repository);
        on_disk
    }

    fn write(&self, repository: &Repository) {
        let mirror = self.folder.path().join("mirror");
        let _ = std::fs::remove_dir_all(&mirror);
        for (name, bytes) in &repository.files {
            let path = mirror.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn pinned(&self) -> String {
        self.folder.path().join("pinned.json").display().to_string()
    }

    fn mirror(&self) -> String {
        format!("file://{}", self.folder.path().join("mirror").display())
    }

    fn trust(&self, subcommand: &str, more: &[&str]) -> Ran {
        let (pinned, mirror) = (self.pinned(), self.mirror());
        trust(&[&[subcommand, "--tuf-root", &pinned, "--mirror", &mirror], more].concat())
    }
}

fn fresh_root() -> String {
    VirtualSigstore::new().root().json()
}

#[test]
fn shows_what_is_in_embedded_roots_and_in_files() {
    let ran = trust(&["show"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for name in ["public-good  sha256:", "staging  sha256:", "github  sha256:", "https://rekor.sigstore.dev"] {
        assert!(ran.out.contains(name), "{name}: {}", ran.out);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.json");
    std::fs::write(&file, fresh_root()).unwrap();
    let ran = trust(&["show", &format!("own={}", file.display()), "-o", "json"]);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&shown["schemaVersion"], &shown["roots"][0]["name"]), (&Value::from(1), &Value::from("own")));
    assert_eq!(shown["roots"][0]["logs"].as_array().unwrap().len(), 2);
    assert_eq!(shown["roots"][0]["logs"][0]["keyId"].as_str().unwrap().len(), 64);
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(trust(&["show", &format!("own={}", file.display())]).code, 2);
    assert_eq!(trust(&["show", "other"]).code, 2);
}

#[test]
fn verifies_a_real_repository_at_its_time() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tuf_vectors/real/prod-2025-11-01");
    let folder = tempfile::tempdir().unwrap();
    // As a mirror has it: targets below the metadata.
    let copy = |from: PathBuf, to: PathBuf| {
        std::fs::create_dir_all(&to).unwrap();
        for entry in from.read_dir().unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    };
    copy(vectors.join("metadata"), folder.path().to_owned());
    copy(vectors.join("targets"), folder.path().join("targets"));
    let (root, mirror) =
        (vectors.join("initial_root.json").display().to_string(), format!("file://{}", folder.path().display()));
    let verify = |at: &str| trust(&["verify-tuf", "--tuf-root", &root, "--mirror", &mirror, "--at", at, "-o", "json"]);
    let ran = verify("2025-11-01T00:00:00Z");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(found["versions"]["root"], 13);
    assert_eq!(found["expires"], "2025-11-07T19:22:13Z");
    let late = verify("2025-12-01T00:00:00Z");
    assert_eq!((late.code, late.out.as_str()), (1, ""));
    assert!(late.err.contains("[TufMetadataExpired]"), "{}", late.err);
    // By its name an embedded root has its own pinned root.
    let by_name = trust(&["verify-tuf", "public-good", "--mirror", &mirror, "--at", "2025-11-01T00:00:00Z"]);
    assert_eq!(by_name.code, 0, "{}", by_name.err);
    let other = trust(&["verify-tuf", "staging", "--mirror", &mirror, "--at", "2025-11-01T00:00:00Z"]);
    assert_eq!(other.code, 1, "{}", other.err);
}

#[test]
fn exit_codes_tell_a_broken_rule_from_a_mirror_that_is_not_there() {
    let root = fresh_root();
    let mut repository = Repository::new(TARGET, root.as_bytes());
    let on_disk = OnDisk::new(&repository);
    let ran = on_disk.trust("export", &[]);
    assert_eq!((ran.code, ran.out), (0, root), "{}", ran.err);
    assert_eq!(on_disk.trust("verify-tuf", &["--target", "other.json"]).code, 1);
    repository.targets = Role::new(2, 2);
    repository.publish();
    on_disk.write(&repository);
    for subcommand in ["export", "verify-tuf"] {
        let ran = on_disk.trust(subcommand, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{subcommand}");
        assert!(ran.err.contains("[TufThresholdNotMet]"), "{subcommand}: {}", ran.err);
    }
    let pinned = on_disk.pinned();
    let gone = trust(&["verify-tuf", "--tuf-root", &pinned, "--mirror", "file:///nowhere/at/all"]);
    assert_eq!(gone.code, 3, "{}", gone.err);
    for nobody in ["http://127.0.0.1:1", "oci://127.0.0.1:1/tuf:latest"] {
        let gone =
            trust(&["verify-tuf", "--tuf-root", &pinned, "--mirror", nobody, "--plain-http-registry", "127.0.0.1:1"]);
        assert_eq!(gone.code, 3, "{nobody}: {}", gone.err);
        assert!(gone.err.contains("[TufMirrorUnreachable]"), "{nobody}: {}", gone.err);
    }
    let secret = trust(&["verify-tuf", "--tuf-root", &pinned, "--mirror", "https://user:s3cr3t@host/"]);
    assert!(secret.code == 2 && secret.err.contains("@host/") && !secret.err.contains("s3cr3t"), "{}", secret.err);
    for usage in [
        vec!["verify-tuf"],
        vec!["verify-tuf", "other"],
        vec!["verify-tuf", "--tuf-root", &pinned],
        vec!["verify-tuf", "--tuf-root", &pinned, "--mirror", "ftp://x"],
        vec!["verify-tuf", "--tuf-root", "/nowhere", "--mirror", "file:///nowhere"],
        vec!["update", "public-good"],
    ] {
        assert_eq!(trust(&usage).code, 2, "{usage:?}");
    }
    assert_eq!(trust(&["export", "public-good"]).code, 0, "no network is needed");
}

#[test]
fn a_folder_is_updated_and_never_taken_back() {
    let (old, new) = (fresh_root(), fresh_root());
    let mut repository = Repository::new(TARGET, old.as_bytes());
    let on_disk = OnDisk::new(&repository);
    let into = on_disk.folder.path().join("air/gap");
    let folder = into.display().to_string();
    let update = || on_disk.trust("update", &["--into", &folder]);
    let exported = || {
        let (pinned, mirror) = (on_disk.pinned(), format!("file://{folder}"));
        trust(&["export", "--tuf-root", &pinned, "--mirror", &mirror])
    };
    let ran = update();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(exported().out, old, "the folder is a mirror");
    let before = repository.clone();
    repository.rotate(|repository| repository.root = Role::new(3, 2));
    repository.deliver(TARGET, new.as_bytes());
    on_disk.write(&repository);
    assert_eq!(update().code, 0);
    assert_eq!(exported().out, new);
    on_disk.write(&before);
    let ran = update();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("[TufRollback]"), "{}", ran.err);
    assert_eq!(exported().out, new, "it is what it was");
    // A folder that was tampered with is no floor, and is not overwritten.
    on_disk.write(&repository);
    std::fs::write(into.join("timestamp.json"), "{}").unwrap();
    let ran = update();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("does not verify"), "{}", ran.err);
    assert_eq!(exported().code, 1);
}

#[test]
fn roots_of_a_folder_are_a_floor_by_themselves() {
    let root = fresh_root();
    let mut repository = Repository::new(TARGET, root.as_bytes());
    let on_disk = OnDisk::new(&repository);
    let into = on_disk.folder.path().join("into");
    let folder = into.display().to_string();
    let update = || on_disk.trust("update", &["--into", &folder, "-o", "json"]);
    let before = repository.clone();
    repository.rotate(|_| ());
    repository.rotate(|_| ());
    repository.publish();
    on_disk.write(&repository);
    assert_eq!(update().code, 0);
    let version = |ran: &Ran| serde_json::from_str::<Value>(&ran.out).unwrap()["versions"]["root"].as_u64();
    let newest = version(&update()).unwrap();
    assert!(into.join(format!("{newest}.root.json")).exists(), "{newest}");
    // A mirror from before the rotations, of which the newest keys still verify all that is below the root.
    std::fs::remove_file(into.join("timestamp.json")).unwrap();
    on_disk.write(&before);
    let ran = update();
    assert_eq!((ran.code, version(&ran)), (0, Some(newest)), "{}", ran.err);
    // What does not follow from the pinned root cannot be verified, and is not passed over.
    std::fs::remove_file(into.join("timestamp.json")).unwrap();
    std::fs::rename(into.join(format!("{newest}.root.json")), into.join(format!("{}.root.json", newest + 4))).unwrap();
    let ran = update();
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("[TufRollback]"), "{}", ran.err);
    assert!(!into.join("timestamp.json").exists(), "nothing is written");
    // One that is no root is no floor that can be taken for met.
    std::fs::write(into.join(format!("{newest}.root.json")), "{}").unwrap();
    assert_eq!(update().code, 2);
}

#[test]
fn an_update_writes_into_its_folder_and_nowhere_else() {
    let root = fresh_root();
    let on_disk = OnDisk::new(&Repository::new(TARGET, root.as_bytes()));
    let (into, other) = (on_disk.folder.path().join("into"), on_disk.folder.path().join("other"));
    std::fs::create_dir_all(&into).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    let precious = other.join("precious");
    std::fs::write(&precious, "mine").unwrap();
    let folder = into.display().to_string();
    let update = || on_disk.trust("update", &["--into", &folder]);
    std::os::unix::fs::symlink(&precious, into.join("pinned_root.json")).unwrap();
    std::os::unix::fs::symlink(&other, into.join("targets")).unwrap();
    let ran = update();
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("leads out"), "{}", ran.err);
    assert_eq!(other.read_dir().unwrap().count(), 1, "nothing beside what was there");
    std::fs::remove_file(into.join("targets")).unwrap();
    let ran = update();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(precious.metadata().unwrap().len(), 4, "it is as it was");
    assert!(into.join("pinned_root.json").symlink_metadata().unwrap().is_file(), "the link is replaced");
    let hidden = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    assert!(!into.read_dir().unwrap().map(Result::unwrap).any(|entry| hidden(&entry)), "no temporary file is left");
}

#[test]
fn an_object_names_its_repository() {
    let root = fresh_root();
    let repository = Repository::new(TARGET, root.as_bytes());
    let on_disk = OnDisk::new(&repository);
    let object = |further: &str| {
        let pinned = String::from_utf8(repository.pinned.clone()).unwrap();
        let text = format!(
            "apiVersion: policy.countersign.dev/v1alpha1\nkind: SignatureTrustRoot\nmetadata: {{name: own}}\nspec:\n  {further}\n  \
             tuf:\n    mirror: {}\n    root:\n      inline: '{pinned}'\n",
            on_disk.mirror()
        );
        let path = on_disk.folder.path().join("object.yaml");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = object("maxAge: 7d");
    let ran = trust(&["verify-tuf", "-f", &good]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("own  sha256:"), "{}", ran.out);
    assert_eq!(trust(&["export", "-f", &good]).out, root);
    let bad = object("maxAgee: 7d");
    assert_eq!(trust(&["verify-tuf", "-f", &bad]).code, 2);
}

/// Who has no other way out goes through the proxy that the environment names.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the proxy ends with the test's runtime")]
async fn a_proxy_of_the_environment_is_used() {
    let root = fresh_root();
    let (served, ca) = Served::start_tls(Repository::new(TARGET, root.as_bytes())).await;
    let on_disk = OnDisk::new(&served.edit(|repository| repository.clone()));
    let ca_file = on_disk.folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca).unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_address = format!("http://{}", proxy.local_addr().unwrap());
    let (asked, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let port = served.port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = proxy.accept().await.unwrap();
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(&mut client);
                let mut first = String::new();
                lines.read_line(&mut first).await.unwrap();
                let mut line = String::from("x");
                while !line.trim().is_empty() {
                    line.clear();
                    lines.read_line(&mut line).await.unwrap();
                }
                asked.send(first).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    let run = move |mirror: String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["trust", "verify-tuf", "--tuf-root", &on_disk.pinned(), "--mirror", &mirror]);
        command.arg("--mirror-ca").arg(&ca_file).env("HTTPS_PROXY", &proxy_address).env_remove("NO_PROXY");
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // Nobody but the proxy can reach it by this port.
    let (code, error) = tokio::task::spawn_blocking(move || run("https://localhost:1".to_owned())).await.unwrap();
    assert_eq!(code, 0, "{error}");
    assert!(seen.recv().await.unwrap().starts_with("CONNECT localhost:1 "));
}
