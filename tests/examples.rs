//! Every folder of `policies/examples/` is a test: its manifests get the verdicts that their file names promise.
//!
//! `allow.yaml`: every object is allowed. `deny.yaml`: every object is denied; `deny.codes`, if there, names a code for each.
//! Judged by the real binary on an image layout, which is the case's own `image/` or the one that its file `layout` names.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test reads its cases")]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn layout(case: &Path) -> PathBuf {
    let own = case.join("image");
    if own.is_dir() { own } else { case.join(read(&case.join("layout")).trim()) }
}

/// The objects of a report, and the exit code.
fn review(case: &Path, manifests: &Path) -> (Vec<Value>, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["review", "-o", "json", "-f"])
        .arg(manifests)
        .arg("--policies")
        .arg(case.join("policy.yaml"))
        .arg("--layout")
        .arg(layout(case))
        .output()
        .expect("the binary runs");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{}: {error}: {}", manifests.display(), String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(report["schemaVersion"], 1);
    (report["objects"].as_array().expect("objects").clone(), output.status.code().expect("it ended"))
}

/// Every code in an object's trace: of the object, its images, and their verdicts.
fn codes(object: &Value) -> Vec<&str> {
    let mut codes: Vec<&str> = object["code"].as_str().into_iter().collect();
    for image in object["images"].as_array().into_iter().flatten() {
        codes.extend(image["code"].as_str());
        codes.extend(image["verdicts"].as_array().into_iter().flatten().filter_map(|verdict| verdict["code"].as_str()));
    }
    codes
}

#[test]
fn every_example_gets_its_verdicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples");
    let mut cases: Vec<PathBuf> = folder
        .read_dir()
        .expect("the examples")
        .map(|entry| entry.expect("a case").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 8, "the examples were found");
    for case in cases {
        let name = case.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(case.join("README.md").is_file(), "{name}: README.md is missing");
        let (allow, deny) = (case.join("allow.yaml"), case.join("deny.yaml"));
        assert!(allow.is_file() || deny.is_file(), "{name}: neither allow.yaml nor deny.yaml");
        if allow.is_file() {
            let (objects, exit) = review(&case, &allow);
            assert!(!objects.is_empty(), "{name}: allow.yaml holds nothing");
            for object in objects {
                assert_eq!(object["decision"], "Allow", "{name}: {object:#}");
                assert_eq!(object["response"]["response"]["allowed"], true, "{name}: {object:#}");
            }
            assert_eq!(exit, 0, "{name}: allow.yaml");
        }
        if deny.is_file() {
            let (objects, exit) = review(&case, &deny);
            assert!(!objects.is_empty(), "{name}: deny.yaml holds nothing");
            let expected = case.join("deny.codes");
            let expected: Vec<String> =
                if expected.is_file() { read(&expected).lines().map(str::to_owned).collect() } else { Vec::new() };
            assert!(expected.is_empty() || expected.len() == objects.len(), "{name}: one code an object in deny.codes");
            for (position, object) in objects.iter().enumerate() {
                assert_eq!(object["decision"], "Deny", "{name}: {object:#}");
                assert_eq!(object["response"]["response"]["allowed"], false, "{name}: {object:#}");
                if let Some(code) = expected.get(position) {
                    assert!(codes(object).contains(&code.as_str()), "{name}: {code} is not in {object:#}");
                }
            }
            assert_eq!(exit, 1, "{name}: deny.yaml");
        }
    }
}
