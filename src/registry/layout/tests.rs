//! Layouts as cosign and others write them, and layouts that are broken or lie.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::registry::manifest::OCI_MANIFEST;

/// Writes a layout with these blobs and index entries.
fn layout(blobs: &[&[u8]], entries: &Value) -> TempDir {
    let folder = TempDir::new().unwrap();
    let blob_folder = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blob_folder).unwrap();
    for blob in blobs {
        fs::write(blob_folder.join(Digest::of(blob).hex()), blob).unwrap();
    }
    fs::write(folder.path().join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(folder.path().join("index.json"), json!({ "schemaVersion": 2, "manifests": entries }).to_string())
        .unwrap();
    folder
}

fn manifest(name: &str) -> Vec<u8> {
    json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": { "name": name } })
        .to_string()
        .into_bytes()
}

fn entry(blob: &[u8], annotations: &Value) -> Value {
    let digest = Digest::of(blob).to_string();
    json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": blob.len(), "annotations": annotations })
}

async fn tagged(layout: &OciLayout, image: &str) -> Option<Digest> {
    let reference = ImageReference::parse(image).unwrap();
    let selector = ManifestSelector::Tag(reference.effective_tag().unwrap());
    let found = layout.manifest(reference.repository(), selector, MANIFEST_BYTES).await.unwrap();
    found.map(|manifest| manifest.digest().clone())
}

#[tokio::test]
async fn answers_the_tags_that_it_names() {
    let (one, two) = (manifest("one"), manifest("two"));
    let entries = json!([
        entry(&one, &json!({ "org.opencontainers.image.ref.name": "v1" })),
        entry(&two, &json!({ "io.containerd.image.name": "reg.io/team/app:v2" })),
    ]);
    let folder = layout(&[&one, &two], &entries);
    let layout = OciLayout::open(folder.path()).unwrap();
    let (one, two) = (Some(Digest::of(&one)), Some(Digest::of(&two)));
    for (image, expected) in [
        ("reg.io/team/app:v1", &one),
        ("any.io/x:v1", &one),
        ("reg.io/team/app:v2", &two),
        ("reg.io/team/other:v2", &None),
        ("any.io/team/app:v2", &None),
        ("reg.io/team/app", &None),
    ] {
        assert_eq!(tagged(&layout, image).await, *expected, "{image}");
    }
    assert_eq!(layout.images().count(), 2);
}

#[tokio::test]
async fn refuses_a_tag_with_two_meanings() {
    let (one, two) = (manifest("one"), manifest("two"));
    let annotations = json!({ "org.opencontainers.image.ref.name": "v1" });
    let folder = layout(&[&one, &two], &json!([entry(&one, &annotations), entry(&two, &annotations)]));
    let layout = OciLayout::open(folder.path()).unwrap();
    let reference = ImageReference::parse("reg.io/app:v1").unwrap();
    let answer = layout.manifest(reference.repository(), ManifestSelector::Tag("v1"), MANIFEST_BYTES).await;
    assert!(matches!(answer, Err(RegistryError::Malformed { .. })), "{answer:?}");
}

#[tokio::test]
async fn answers_signature_tags_of_the_only_image_that_cosign_saved() {
    let (image, other, signatures) = (manifest("image"), manifest("other"), manifest("signatures"));
    let saved = |blob: &[u8], kind: &str| entry(blob, &json!({ "kind": format!("dev.cosignproject.cosign/{kind}") }));
    let tag = |blob: &[u8], suffix: &str| format!("reg.io/app:sha256-{}{suffix}", Digest::of(blob).hex());

    let folder = layout(&[&image, &signatures], &json!([saved(&image, "image"), saved(&signatures, "sigs")]));
    let one = OciLayout::open(folder.path()).unwrap();
    assert_eq!(tagged(&one, &tag(&image, ".sig")).await, Some(Digest::of(&signatures)));
    assert_eq!(tagged(&one, &tag(&image, ".att")).await, None);
    assert_eq!(tagged(&one, &tag(&other, ".sig")).await, None);

    let entries = json!([saved(&image, "image"), saved(&other, "image"), saved(&signatures, "sigs")]);
    let folder = layout(&[&image, &other, &signatures], &entries);
    let two = OciLayout::open(folder.path()).unwrap();
    assert_eq!(tagged(&two, &tag(&image, ".sig")).await, None);
}

#[tokio::test]
async fn finds_referrers_by_their_subject() {
    let image = manifest("image");
    let subject = json!({ "mediaType": OCI_MANIFEST, "digest": Digest::of(&image).to_string(), "size": image.len() });
    let referrer = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "artifactType": "a/b", "subject": subject });
    let referrer = referrer.to_string().into_bytes();
    let missing = manifest("missing");
    let entries = json!([entry(&image, &json!({})), entry(&referrer, &json!({})), entry(&missing, &json!({}))]);
    let folder = layout(&[&image, &referrer], &entries);
    let layout = OciLayout::open(folder.path()).unwrap();
    let reference = ImageReference::parse("reg.io/app").unwrap();
    let found = layout.referrers(reference.repository(), &Digest::of(&image)).await.unwrap().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].digest, Digest::of(&referrer));
    assert_eq!(found[0].artifact_type.as_deref(), Some("a/b"));
    assert!(layout.referrers(reference.repository(), &Digest::of(b"x")).await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn verifies_and_bounds_blobs_and_stays_inside() {
    let folder = layout(&[b"good"], &json!([]));
    let repository = ImageReference::parse("reg.io/app").unwrap().repository().clone();
    let layout = OciLayout::open(folder.path()).unwrap();
    let good = Digest::of(b"good");
    assert_eq!(layout.blob(&repository, &good, 4).await, Ok(Some(b"good".to_vec())));
    assert_eq!(layout.blob(&repository, &good, 3).await, Err(RegistryError::TooLarge { what: "blob", cap: 3 }));
    assert_eq!(layout.blob(&repository, &Digest::of(b"absent"), 4).await, Ok(None));

    let blob = |digest: &Digest| folder.path().join("blobs/sha256").join(digest.hex());
    let forged = Digest::of(b"forged");
    fs::write(blob(&forged), b"other").unwrap();
    let answer = layout.blob(&repository, &forged, 9).await;
    assert_eq!(answer, Err(RegistryError::DigestMismatch { expected: forged, found: Digest::of(b"other") }));

    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), b"outside").unwrap();
    let linked = Digest::of(b"outside");
    std::os::unix::fs::symlink(outside.path(), blob(&linked)).unwrap();
    assert!(matches!(layout.blob(&repository, &linked, 9).await, Err(RegistryError::LayoutUnreadable { .. })));

    let folder_as_blob = Digest::of(b"folder");
    fs::create_dir(blob(&folder_as_blob)).unwrap();
    assert!(matches!(layout.blob(&repository, &folder_as_blob, 9).await, Err(RegistryError::LayoutUnreadable { .. })));
}

#[test]
fn refuses_folders_that_are_no_layout() {
    for missing in ["oci-layout", "index.json"] {
        let folder = layout(&[], &json!([]));
        assert!(OciLayout::open(folder.path()).is_ok());
        fs::remove_file(folder.path().join(missing)).unwrap();
        assert!(matches!(OciLayout::open(folder.path()), Err(RegistryError::LayoutUnreadable { .. })), "{missing}");
    }
    assert!(matches!(OciLayout::open(Path::new("/nonexistent")), Err(RegistryError::LayoutUnreadable { .. })));
    let folder = layout(&[], &json!([]));
    fs::write(folder.path().join("index.json"), vec![b' '; 2 << 20]).unwrap();
    assert!(matches!(OciLayout::open(folder.path()), Err(RegistryError::TooLarge { .. })));
}
