//! Manifests and indexes that two readers would read differently, and those that they read alike.

use super::*;

const DIGEST: &str = "sha256:e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5";

fn read(text: &str, declared: Option<&str>) -> Result<&'static str, RegistryError> {
    RawManifest::verified(ManifestSelector::Tag("1"), text.as_bytes().to_vec(), declared).map(|raw| raw.media_type())
}

#[test]
fn settles_the_media_type_from_document_and_declaration() {
    let own_manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{}},"layers":[]}}"#);
    let own_index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    let bare_manifest = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let bare_index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let cases: &[(&str, Option<&str>, Option<&str>)] = &[
        (&own_manifest, None, Some(OCI_MANIFEST)),
        (&own_manifest, Some("application/json"), Some(OCI_MANIFEST)),
        (&own_manifest, Some(OCI_MANIFEST), Some(OCI_MANIFEST)),
        (&own_manifest, Some(DOCKER_MANIFEST), None),
        (&own_manifest, Some(OCI_INDEX), None),
        (&own_index, Some(OCI_INDEX), Some(OCI_INDEX)),
        (&own_index, Some(OCI_MANIFEST), None),
        (
            bare_manifest,
            Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"),
            Some(DOCKER_MANIFEST),
        ),
        (bare_manifest, Some(DOCKER_LIST), None),
        (bare_manifest, Some("text/html"), None),
        (bare_manifest, None, None),
        (bare_index, Some(DOCKER_LIST), Some(DOCKER_LIST)),
        (bare_index, Some(OCI_MANIFEST), None),
    ];
    for (text, declared, expected) in cases {
        assert_eq!(read(text, *declared).ok(), *expected, "{text} as {declared:?}");
    }
}

#[test]
fn refuses_documents_that_two_readers_read_differently() {
    let good = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"vendor":1}}"#);
    assert_eq!(read(&good, None), Ok(OCI_INDEX));
    for (extra, why) in [
        (r#""Manifests":[]"#, "another case"),
        (r#""manife\u017fts":[]"#, "the long s"),
        (r#""manifests":[]"#, "twice"),
        (r#""layers":[]"#, "both kinds"),
        (r#""config":{}"#, "both kinds"),
        (r#""MediaType":"x""#, "another case"),
        (r#""fsLayers":[]"#, "schema 1"),
    ] {
        let text = good.replace(r#""vendor":1"#, extra);
        assert!(matches!(read(&text, None), Err(RegistryError::Malformed { .. })), "{why}: {text}");
    }
    for text in ["", "[]", "null", "{", r#"{"schemaVersion":1,"manifests":[]}"#, r#"{"manifests":[]}"#] {
        assert!(read(text, Some(OCI_INDEX)).is_err(), "{text}");
    }
}

#[test]
fn refuses_bytes_with_another_digest() {
    let text = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    let own = Digest::of(&text);
    assert!(RawManifest::verified(ManifestSelector::Digest(&own), text.clone(), Some(OCI_INDEX)).is_ok());
    let other = Digest::of(b"other");
    assert_eq!(
        RawManifest::verified(ManifestSelector::Digest(&other), text, Some(OCI_INDEX)),
        Err(RegistryError::DigestMismatch { expected: other.clone(), found: own })
    );
}

#[test]
fn reads_descriptors_or_refuses_the_index() {
    let good = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{DIGEST}","size":7,
            "annotations":{{"Size":"free text"}},"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#
    );
    let entries = index_entries(good.as_bytes(), 1).unwrap();
    assert_eq!(entries[0].digest.to_string(), DIGEST);
    assert_eq!(entries[0].size, 7);
    assert_eq!(entries[0].platform.as_ref().unwrap().variant.as_deref(), Some("v8"));
    assert_eq!(entries[0].annotations["Size"], "free text");
    assert!(matches!(index_entries(good.as_bytes(), 0), Err(RegistryError::TooMany { cap: 0, .. })));
    for (from, to) in [
        (r#""size":7"#, r#""size":7,"Digest":"sha256:00""#),
        (r#""size":7"#, r#""size":-7"#),
        (r#""size":7"#, r#""size":7,"size":8"#),
        (r#""os":"linux""#, r#""os":"linux","OS":"windows""#),
        ("sha256:e0", "sha512:e0"),
        ("sha256:e0", "sha256:E0"),
        ("sha256:e0", "sha256:../../e0"),
        (r#""manifests":"#, r#""Manifests":"#),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good);
        assert!(matches!(index_entries(text.as_bytes(), 9), Err(RegistryError::Malformed { .. })), "{text}");
    }
}

#[test]
fn a_descriptor_has_so_many_annotations_and_no_more() {
    for (count, accepted) in [(128, true), (129, false)] {
        let annotations: BTreeMap<String, &str> = (0..count).map(|number| (number.to_string(), "")).collect();
        let text = serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 7,
            "annotations": annotations}]})
        .to_string();
        assert_eq!(index_entries(text.as_bytes(), 1).is_ok(), accepted, "{count}");
    }
}

#[test]
fn never_quotes_a_document() {
    let error = read(r#"{"schemaVersion":"INTERNAL-SECRET"}"#, None).unwrap_err();
    assert!(!error.to_string().contains("SECRET"), "{error}");
}

#[test]
fn stops_at_deep_nesting() {
    let text = format!(r#"{{"schemaVersion":2,"x":{}"#, "[".repeat(100_000));
    assert!(matches!(read(&text, Some(OCI_INDEX)), Err(RegistryError::Malformed { .. })));
}
