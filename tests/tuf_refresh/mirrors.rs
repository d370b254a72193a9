//! Where repositories lie: folders and artifacts, for networks that have no way out.

use super::registry::{Content, FakeRegistry, Seen, client, manifest, options};
use super::*;

const LAYER: &str = "application/octet-stream";
const TITLE: &str = "org.opencontainers.image.title";

fn write(folder: &std::path::Path, repository: &Repository) {
    for (name, bytes) in &repository.files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_folder_is_a_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let root = fresh_root();
    let mut repository = Repository::new(TARGET, root.as_bytes());
    write(folder.path(), &repository);
    let bench = Bench::new(Arc::new(MemoryArchive::default()));
    let mirror = format!("file://{}", folder.path().display());
    let status = bench.declare(spec(&mirror, &repository.pinned, &json!({}))).await;
    assert_eq!((code(&status), bench.trusted()), ("ok", Some(digest(&root))));
    // What is carried in later is taken; a folder that is gone takes nothing away.
    let new = fresh_root();
    repository.deliver(TARGET, new.as_bytes());
    write(folder.path(), &repository);
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.trusted(), Some(digest(&new)));
    folder.close().unwrap();
    assert_eq!(code(&bench.refresh().await), "TufMirrorUnreadable");
    assert_eq!(bench.trusted(), Some(digest(&new)));
}

fn artifact(repository: &Repository, tag: &str) -> Content {
    let annotations: Vec<(&str, &str)> = repository.files.keys().map(|name| (TITLE, name.as_str())).collect();
    let layers: Vec<_> = repository
        .files
        .values()
        .zip(&annotations)
        .map(|(bytes, annotation)| (LAYER, bytes.as_slice(), std::slice::from_ref(annotation)))
        .collect();
    let content = Content::default().with_tag(tag, &manifest(&layers));
    repository.files.values().fold(content, |content, bytes| content.with(bytes))
}

#[tokio::test]
async fn an_artifact_of_a_registry_is_a_mirror() {
    let root = fresh_root();
    let repository = Repository::new(TARGET, root.as_bytes());
    let content = Arc::new(Mutex::new(artifact(&repository, "latest")));
    let served = Arc::clone(&content);
    let registry = FakeRegistry::start(move |seen: &Seen| served.lock().unwrap().answer(seen)).await;
    let registry_client = Arc::new(client(options(&[registry.host()])));
    let bench = Bench::with(Arc::new(MemoryArchive::default()), |options| options.registry = Some(registry_client));
    let mirror = format!("oci://{}/tuf:latest", registry.host());
    let status = bench.declare(spec(&mirror, &repository.pinned, &json!({}))).await;
    assert_eq!((code(&status), bench.trusted()), ("ok", Some(digest(&root))));
    let mut newer = repository.clone();
    let new = fresh_root();
    newer.deliver(TARGET, new.as_bytes());
    *content.lock().unwrap() = artifact(&newer, "latest");
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.trusted(), Some(digest(&new)));
    // The tag goes back, and away.
    *content.lock().unwrap() = artifact(&repository, "latest");
    assert_eq!(code(&bench.refresh().await), "TufRollback");
    *content.lock().unwrap() = Content::default().with_tag("latest", &manifest(&[(LAYER, b"x", &[])])).with(b"x");
    assert_eq!(code(&bench.refresh().await), "TufArtifactUnusable");
    *content.lock().unwrap() = Content::default();
    assert_eq!(code(&bench.refresh().await), "TufArtifactUnusable");
    assert_eq!(bench.trusted(), Some(digest(&new)));
}

#[tokio::test]
async fn plain_http_is_for_tests() {
    let root = fresh_root();
    let served = Served::start(Repository::new(TARGET, root.as_bytes())).await;
    let bench = Bench::with(Arc::new(MemoryArchive::default()), |options| options.plain_loopback = false);
    let pinned = served.edit(|repository| repository.pinned.clone());
    let status = bench.declare(spec(&served.url(), &pinned, &json!({}))).await;
    assert_eq!((code(&status), bench.trusted()), ("TufMirrorRefused", None));
    assert_eq!(served.asked("timestamp.json"), 0);
}

#[tokio::test]
async fn an_own_authority_takes_the_place_of_the_usual_ones() {
    let root = fresh_root();
    let (served, own) = Served::start_tls(Repository::new(TARGET, root.as_bytes())).await;
    let (_other, stranger) = Served::start_tls(Repository::new(TARGET, root.as_bytes())).await;
    let pinned = served.edit(|repository| repository.pinned.clone());
    for (host, ca, expected) in [
        ("localhost", Some(&own), "ok"),
        ("localhost", Some(&stranger), "TufMirrorUnreachable"),
        ("localhost", None, "TufMirrorUnreachable"),
        // The certificate is for the name.
        ("127.0.0.1", Some(&own), "TufMirrorUnreachable"),
    ] {
        let bench = Bench::new(Arc::new(MemoryArchive::default()));
        let further = ca.map_or_else(|| json!({}), |ca| json!({"ca": ca}));
        let mirror = format!("https://{host}:{}", served.port());
        let status = bench.declare(spec(&mirror, &pinned, &further)).await;
        assert_eq!((code(&status), bench.trusted().is_some()), (expected, expected == "ok"), "{host} {ca:?}");
    }
}

/// A redirect leads to a mirror that nobody named.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (served, bench, old) = accepted().await;
    served.edit(|repository| repository.deliver(TARGET, fresh_root().as_bytes()));
    served.behave(Manner::Refuses("timestamp.json".to_owned(), 302));
    assert_eq!(code(&bench.refresh().await), "TufMirrorStatus");
    assert_eq!(bench.trusted(), Some(old));
}
