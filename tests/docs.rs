//! Every policy that the documentation shows is one that parses.

#![expect(clippy::panic, reason = "helpers of tests fail the test")]

use std::path::{Path, PathBuf};

use countersign::policy::{ClusterRules, Policy};
use countersign::revocation::Revocation;
use countersign::trust::RootSpec;
use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test reads the pages")]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the documentation shows objects of, and one of our parsers reads.
const KINDS: [&str; 3] = ["kind: ClusterSignaturePolicy", "kind: SignaturePolicy", "kind: CountersignConfig"];

/// The fenced YAML blocks of a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn every_policy_in_the_documentation_parses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = root.join("docs").read_dir().expect("docs/").map(|entry| entry.expect("an entry").path());
    let mut pages: Vec<PathBuf> = pages.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.push(root.join("README.md"));
    let mut parsed = 0;
    for path in pages {
        let page = read(&path);
        for block in blocks(&page).filter(|block| KINDS.iter().any(|kind| block.contains(kind))) {
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(block).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for document in documents {
                let read = if ClusterRules::is_config(&document) {
                    ClusterRules::parse(&document).map(drop)
                } else {
                    Policy::parse(&document).map(drop)
                };
                read.unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 3, "only {parsed} policies were found");
}

#[test]
fn every_trust_root_in_the_documentation_parses() {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/trust-roots.md"));
    let mut parsed = 0;
    for block in blocks(&page).filter(|block| block.contains("kind: SignatureTrustRoot")) {
        let object: Value = serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        RootSpec::parse(&object).unwrap_or_else(|error| panic!("{error}\n{block}"));
        parsed += 1;
    }
    assert!(parsed >= 3, "only {parsed} trust roots were found");
}

#[test]
fn every_revocation_in_the_documentation_parses_and_every_entry_of_it_acts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/revocation.md");
    let page = read(&path);
    let mut parsed = 0;
    for block in blocks(&page) {
        let document: Value = serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        let revocation = Revocation::parse(&document).unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert!(revocation.invalid().is_empty() && !revocation.is_empty(), "{:?}\n{block}", revocation.invalid());
        parsed += 1;
    }
    assert!(parsed >= 3, "only {parsed} revocations were found");
}

/// A code that a user may meet is explained.
#[test]
fn every_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = read(&root.join("docs/codes.md"));
    let sources = [
        "src/decision.rs",
        "src/decision/wording.rs",
        "src/decision/trace.rs",
        "src/decision/respond.rs",
        "src/policy/authority.rs",
        "src/policy/evaluate.rs",
        "src/policy/feed.rs",
        "src/feeds/status.rs",
        "src/policy/identity.rs",
        "src/policy/proofs.rs",
        "src/policy/window.rs",
        "src/trust/roots.rs",
        "src/trust_store/error.rs",
        "src/verify/mod.rs",
        "src/workload.rs",
        "src/judge.rs",
        "src/judge/online.rs",
        "src/rekor/error.rs",
        "src/verify/online.rs",
        "src/monitor/finding.rs",
        "src/admission.rs",
        "src/registry/error.rs",
    ];
    let mut missing = Vec::new();
    let mut found = 0;
    for source in sources {
        // A code is a quoted word in CamelCase that an arm gives, a field is set to, or a call takes first.
        let text = read(&root.join(source));
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for quoted in text.split('"').skip(1).step_by(2) {
            let camel = quoted.len() > 6
                && quoted.starts_with(|first: char| first.is_ascii_uppercase())
                && quoted.chars().all(|character| character.is_ascii_alphanumeric())
                && quoted.chars().skip(1).any(|character| character.is_ascii_lowercase())
                && quoted.chars().filter(char::is_ascii_uppercase).count() >= 2;
            if camel
                && ![
                    "AdmissionReview",
                    "BadRequest",
                    "PodTemplate",
                    "CronJob",
                    "DaemonSet",
                    "ReplicaSet",
                    "ReplicationController",
                    "StatefulSet",
                    "CountersignConfig",
                    "ClusterSignaturePolicy",
                    "SignaturePolicy",
                    "SignatureRevocation",
                ]
                .contains(&quoted)
            {
                found += 1;
                if !page.contains(&format!("`{quoted}`")) {
                    missing.push(format!("{quoted} ({source})"));
                }
            }
        }
    }
    assert!(found >= 40, "only {found} codes were found");
    assert_eq!(missing, Vec::<String>::new());
}
