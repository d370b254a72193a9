//! Layouts whose lists, manifests and layers are too many, too large or too deep.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::virtual_sigstore::parts::SIMPLE_SIGNING;
use super::virtual_sigstore::{Subject, VirtualSigstore};
use super::*;

/// A layout with Alice's signature, in which a function may change what it likes.
fn layout(change: impl FnOnce(&Path, &Image)) -> (tempfile::TempDir, Image, VirtualSigstore) {
    let sigstore = VirtualSigstore::new();
    let signed = image().tagged(&sigstore.sign(Subject::simple_signing(&image().manifest)).parts());
    let folder = tempfile::tempdir().unwrap();
    signed.write_layout(folder.path());
    change(folder.path(), &signed);
    (folder, signed, sigstore)
}

fn judge(change: impl FnOnce(&Path, &Image)) -> Ran {
    let (folder, image, sigstore) = layout(change);
    verify_within(DATA_KIB, &image.digest(), folder.path(), &sigstore.root(), None)
}

#[expect(clippy::disallowed_methods, reason = "tests read their data")]
fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn listings_without_end_are_refused() {
    expect("genuine", &judge(|_, _| ()), 0, "allowed");
    let padded = |count: usize| {
        judge(move |folder, _| {
            let mut index = read(&folder.join("index.json"));
            let entry = index["manifests"][0].clone();
            index["manifests"].as_array_mut().unwrap().extend(vec![entry; count]);
            std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        })
    };
    expect("100 entries", &padded(100), 0, "allowed");
    // A layout that cannot be opened is input that cannot be used.
    expect("1,001 entries", &padded(1_001), 2, "1000");
    expect("a million entries", &padded(1_000_000), 2, "1048576");
    for depth in [1_000, 500_000] {
        let nest = judge(move |folder, _| std::fs::write(folder.join("index.json"), nested(depth)).unwrap());
        expect("nested", &nest, 2, "index");
    }
}

#[test]
fn manifests_with_ten_thousand_signatures_are_refused() {
    let sigstore = VirtualSigstore::new();
    let sound = sigstore.sign(Subject::simple_signing(&image().manifest)).parts().layer();
    // The bad ones stand first, and each is another candidate by its annotation.
    let crowd = |count: usize| {
        let mut crowded = image();
        for number in 0..count {
            let annotations = BTreeMap::from([("number".to_owned(), number.to_string())]);
            crowded = tagged(crowded, Layer { annotations, ..sound.clone() });
        }
        tagged(crowded, sound.clone())
    };
    expect("64", &verify(&crowd(63), &sigstore.root(), None), 0, "allowed");
    expect("10,000", &verify(&crowd(10_000), &sigstore.root(), None), 1, "ContentTooMany");
}

#[test]
fn layers_of_any_size_are_read_no_further_than_they_may_be() {
    let blob = |folder: &Path, image: &Image| {
        let layer = &image.signatures[0];
        folder.join("blobs/sha256").join(digest(&layer.content).trim_start_matches("sha256:"))
    };
    // What the manifest says is small, and what is there is not.
    let grown = |bytes: u64| {
        judge(move |folder, image| {
            let file = std::fs::OpenOptions::new().write(true).open(blob(folder, image)).unwrap();
            file.set_len(bytes).unwrap();
        })
    };
    expect("100 MB", &grown(100 << 20), 1, "ContentTooLarge");
    expect("a terabyte", &grown(1 << 40), 1, "ContentTooLarge");
    // What the manifest says is large, and is not even asked for.
    let sigstore = VirtualSigstore::new();
    let layer =
        Layer { media_type: SIMPLE_SIGNING.to_owned(), content: vec![b' '; 100 << 20], annotations: BTreeMap::new() };
    expect("said", &verify(&tagged(image(), layer), &sigstore.root(), None), 1, "ContentTooLarge");
}

#[test]
fn manifests_that_are_nested_or_wide_are_refused() {
    let sigstore = VirtualSigstore::new();
    let manifest = |further: &str| {
        let mut odd = image();
        let text = String::from_utf8(odd.manifest.clone()).unwrap();
        odd.manifest = text.replacen('{', &format!(r#"{{"further":{further},"#), 1).into_bytes();
        let parts = sigstore.sign(Subject::manifest(&odd.manifest)).parts();
        bundled(odd, &parts)
    };
    expect("genuine", &verify(&manifest(&nested(100)), &sigstore.root(), None), 0, "allowed");
    let folder = tempfile::tempdir().unwrap();
    image().write_layout(folder.path());
    let deep = format!(r#"{{"further":{}}}"#, nested(1 << 20));
    let name = digest(deep.as_bytes());
    std::fs::write(folder.path().join("blobs/sha256").join(name.trim_start_matches("sha256:")), deep).unwrap();
    let judged = verify_within(DATA_KIB, &name, folder.path(), &sigstore.root(), None);
    expect("nested", &judged, 1, "MalformedContent");
    let wide = json!(vec![0; 1_500_000]).to_string();
    expect("wide", &verify(&manifest(&wide), &sigstore.root(), None), 0, "allowed");
    let keys: Vec<String> = (0..250_000).map(|number| format!(r#""k{number}":0"#)).collect();
    expect("keys", &verify(&manifest(&format!("0,{}", keys.join(","))), &sigstore.root(), None), 0, "allowed");
    expect(
        "too large",
        &verify(&manifest(&json!("x".repeat(4 << 20)).to_string()), &sigstore.root(), None),
        1,
        "ContentTooLarge",
    );
}
