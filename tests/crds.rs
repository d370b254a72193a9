//! The committed custom resource definitions are what the code generates.

use std::path::Path;
use std::process::Command;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads the committed file")]
fn the_committed_definitions_are_generated() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).arg("crd").output().expect("the binary runs");
    assert!(output.status.success());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/policy.countersign.dev.yaml");
    let committed = std::fs::read_to_string(&path).expect("crds/ is committed");
    assert_eq!(committed, String::from_utf8(output.stdout).expect("text"), "run `make generate`");
}
