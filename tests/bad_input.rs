//! Input that is far larger, deeper or more numerous than any genuine one: judged or refused with its code, in bounded time and memory.
//!
//! Every case runs the program itself on an image layout, a review or a policy, in a process whose data the kernel bounds, and beside a
//! genuine twin. What is hostile in the evidence is signed soundly wherever that is possible, so that it is read as far as it can be. Lies
//! of a registry on the network are `tests/registry_hostile.rs`; rules of verification are `tests/verification.rs`. Figures of time are
//! guards against hanging, not measurements.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

#[path = "bad_input/documents.rs"]
mod documents;
#[path = "bad_input/evidence.rs"]
mod evidence;
#[path = "bad_input/listings.rs"]
mod listings;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use virtual_sigstore::oci::{Image, digest};
use virtual_sigstore::{Layer, Parts, TrustedRoot, Version, VirtualSigstore};

/// Far above what any case takes without optimization on a busy machine.
const HANG: Duration = Duration::from_mins(2);
/// Data that one process may have, in KiB: several times the 64 MiB that one image may have attached.
const DATA_KIB: u32 = 384 << 10;

/// How the program ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    said: String,
}

/// Runs the program, with so many KiB of data.
fn run_within(kib: u32, arguments: &[&str], stdin: &[u8]) -> Ran {
    let started = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -d {kib} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_countersign")])
        .args(arguments)
        .env_remove("REGISTRY_AUTH_FILE")
        // A trace of a failed allocation allocates, and may wait for itself.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has seen enough does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(took < HANG, "{took:?}: {said:.2000}");
    Ran { code: output.status.code(), said }
}

fn run(arguments: &[&str], stdin: &[u8]) -> Ran {
    run_within(DATA_KIB, arguments, stdin)
}

#[track_caller]
fn expect(name: &str, ran: &Ran, code: i32, says: &str) {
    let said: String = ran.said.chars().take(2000).collect();
    assert!(
        ran.code == Some(code) && ran.said.contains(says),
        "{name}: {:?}, not {code} with {says}: {said}",
        ran.code
    );
    // What was sent does not come back in full.
    assert!(ran.said.len() < 64 << 10, "{name}: {} bytes are said: {said}", ran.said.len());
}

/// Asks for Alice's signature of an image in a layout, under this trust root.
fn verify_within(kib: u32, image: &str, folder: &Path, root: &TrustedRoot, kind: Option<&str>) -> Ran {
    let trusted = folder.join("trusted_root.json");
    std::fs::write(&trusted, root.json()).unwrap();
    let (image, folder) = (format!("registry.example/app@{image}"), folder.display().to_string());
    let trusted = format!("virtual={}", trusted.display());
    let mut arguments = vec!["verify", &image, "--layout", &folder, "--trust-root", &trusted];
    arguments.extend(["--certificate-identity", "alice@example.com"]);
    arguments.extend(["--certificate-oidc-issuer", "https://accounts.example.com", "--timeout", "100"]);
    arguments.extend(kind.into_iter().flat_map(|kind| ["--type", kind]));
    run_within(kib, &arguments, b"")
}

/// As [`verify_within`], of an image that is written first.
fn verify(image: &Image, root: &TrustedRoot, kind: Option<&str>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(folder.path());
    verify_within(DATA_KIB, &image.digest(), folder.path(), root, kind)
}

/// The image that everything is about.
fn image() -> Image {
    Image::new("app")
}

/// The image with this layer under its tag `.sig`, or `.att`.
fn tagged(mut image: Image, layer: Layer) -> Image {
    image.blobs.insert(digest(&layer.content), layer.content.clone());
    if layer.media_type.contains("simplesigning") { &mut image.signatures } else { &mut image.attestations }
        .push(layer);
    image
}

/// The image with these bytes as a bundle that refers to it.
fn referred(mut image: Image, bundle: &str) -> Image {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let descriptor =
        |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
    let kind = Version::V03.media_type();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor(kind, bundle.as_bytes())],
        "subject": descriptor(MANIFEST, &image.manifest),
    });
    for blob in [b"{}", bundle.as_bytes()] {
        image.blobs.insert(digest(blob), blob.to_vec());
    }
    image.referrers.push(manifest.to_string().into_bytes());
    image
}

/// The image with these parts as a bundle that refers to it.
fn bundled(image: Image, parts: &Parts) -> Image {
    referred(image, &parts.bundle(Version::V03))
}

/// JSON arrays in one another.
fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn a_genuine_signature_is_judged_within_the_bounds_and_they_do_bind() {
    let sigstore = VirtualSigstore::new();
    let image = image();
    let parts = sigstore.sign(virtual_sigstore::Subject::manifest(&image.manifest)).parts();
    let folder = tempfile::tempdir().unwrap();
    let signed = bundled(image.clone(), &parts);
    signed.write_layout(folder.path());
    let ran = |kib| verify_within(kib, &image.digest(), folder.path(), &sigstore.root(), None);
    expect("genuine", &ran(DATA_KIB), 0, "allowed");
    // A process that needs more than it may have ends, and not with an exit code of ours.
    let starved = ran(2 << 10);
    assert!(!matches!(starved.code, Some(0..=3)), "{starved:?}");
}
