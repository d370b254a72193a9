//! An instance, and an image in a layout, for the whole of the program.

use std::process::Command;

use super::virtual_sigstore::oci::Image;
use super::virtual_sigstore::{Identity, Parts, Subject, Version, VirtualSigstore};

const WORKFLOW: &str = "https://github.com/octo/app/.github/workflows/release.yml@refs/tags/v1";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The exit code for an image in a layout, under the instance's root.
fn verify(sigstore: &VirtualSigstore, image: &Image, identity: &str) -> Option<i32> {
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(&folder.path().join("layout"));
    let root = folder.path().join("root.json");
    std::fs::write(&root, sigstore.root().json()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["verify", &format!("registry.example/app@{}", image.digest()), "--layout"])
        .arg(folder.path().join("layout"))
        .arg("--trust-root")
        .arg(format!("own={}", root.display()))
        .args(["--certificate-identity", identity, "--certificate-oidc-issuer", ISSUER])
        .output()
        .unwrap();
    output.status.code()
}

#[test]
fn an_image_is_verified_wherever_its_signature_is() {
    let sigstore = VirtualSigstore::new();
    let workflow = Identity::workflow("octo/app", "release.yml", "refs/tags/v1");
    let sign = |image: &Image, subject: fn(&[u8]) -> Subject| -> Parts {
        sigstore.sign(subject(&image.manifest)).by(&workflow).parts()
    };
    let image = Image::new("one");
    let attached = [
        ("tag .sig", image.clone().tagged(&sign(&image, Subject::simple_signing))),
        ("referrer", image.clone().referred(&sign(&image, Subject::cosign_sign), Version::V03)),
    ];
    for (name, attached) in attached {
        assert_eq!(verify(&sigstore, &attached, WORKFLOW), Some(0), "{name}");
        assert_eq!(verify(&sigstore, &attached, "https://github.com/octo/other"), Some(1), "{name}: another signer");
        assert_eq!(verify(&VirtualSigstore::new(), &attached, WORKFLOW), Some(1), "{name}: another instance");
    }
    let other = Image::new("two");
    let moved = other.clone().tagged(&sign(&image, Subject::simple_signing));
    assert_eq!(verify(&sigstore, &moved, WORKFLOW), Some(1), "another image's signature");
    assert_eq!(verify(&sigstore, &other, WORKFLOW), Some(1), "no signature");
}
