//! The command line on real input: exit codes, what is said, and what bad input gets. No network.

#![expect(clippy::panic, reason = "helpers of tests fail the test")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sigstore_trust_root::SigstoreInstance;

const IMAGE: &str =
    "ghcr.io/slsa-framework/example-package@sha256:e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5";
const SUBJECT: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v1.10.0";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const LAYOUT: &str = "policies/examples/slsa-provenance/image";
const POLICY: &str = "policies/examples/slsa-provenance/policy.yaml";
const DSSE: &str = "20b16d5835eceaa7b9dbb7e4fdf4db52a8b9159c1416dd73e54cade07e838917";

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn countersign(arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("REGISTRY_AUTH_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A program that refuses its arguments does not read its input.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let ran =
        Ran { code: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{arguments:?}: {}", ran.err);
    ran
}

fn verify(arguments: &[&str]) -> Ran {
    countersign(&[&["verify"], arguments].concat(), "")
}

fn review(stdin: &str, more: &[&str]) -> Ran {
    countersign(&[&["review", "-f", "-", "--policies", POLICY, "--layout", LAYOUT], more].concat(), stdin)
}

/// The arguments of the accepted case.
fn accepted() -> Vec<&'static str> {
    vec![
        IMAGE,
        "--layout",
        LAYOUT,
        "--type",
        "slsaprovenance",
        "--certificate-identity",
        SUBJECT,
        "--certificate-oidc-issuer",
        ISSUER,
    ]
}

fn pod(image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn admission_review(object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "uid-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "n", "operation": "CREATE",
        "object": object}})
}

/// A copy of the real layout with one blob changed.
fn tampered(name: &str, edit: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(LAYOUT), folder.path());
    let blob = if name.contains('.') || name == "oci-layout" {
        folder.path().join(name)
    } else {
        folder.path().join("blobs/sha256").join(name)
    };
    match edit(read(&blob)) {
        Some(bytes) => std::fs::write(&blob, bytes).expect("written"),
        None => std::fs::remove_file(&blob).expect("removed"),
    }
    folder
}

#[expect(clippy::disallowed_methods, reason = "a test reads its data")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in from.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { std::fs::write(&target, read(&path)).expect("written") }
    }
}

#[test]
fn the_real_image_is_allowed_and_each_change_of_the_question_denies() {
    let found = verify(&accepted());
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    for part in ["allowed", SUBJECT, ISSUER, "2024-03-21T10:34:04Z", "rekor.sigstore.dev"] {
        assert!(found.out.contains(part), "{part} is not in {}", found.out);
    }
    assert!(!found.out.contains('\x1b'), "no colour on a pipe");
    let replaced = |from: &str, to: &'static str| {
        accepted().into_iter().map(|argument| if argument == from { to } else { argument }).collect::<Vec<_>>()
    };
    let without_type: Vec<_> =
        accepted().into_iter().filter(|argument| !["--type", "slsaprovenance"].contains(argument)).collect();
    let table = [
        (
            "IdentityMismatch",
            replaced(SUBJECT, "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"),
        ),
        ("IssuerMismatch", replaced(ISSUER, "https://accounts.google.com")),
        ("PredicateTypeMismatch", replaced("slsaprovenance", "slsaprovenance1")),
        ("AttestationOnly", without_type),
        ("LogEntryInvalid", [accepted(), vec!["--trust-root", "staging"]].concat()),
    ];
    for (code, arguments) in table {
        let found = verify(&arguments);
        assert_eq!(found.code, 1, "{code}: {}{}", found.out, found.err);
        assert!(
            found.out.contains(code) && found.out.contains("wanted:") && found.out.contains("found:"),
            "{}",
            found.out
        );
    }
}

/// What the README shows is what is printed, from the policy's line to the end.
#[test]
fn the_readme_shows_what_is_printed() {
    let readme = String::from_utf8(read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md"))).expect("text");
    let sample = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a sample");
    let shown: Vec<&str> =
        sample.split("\n\n").filter_map(|part| part.find("  policy ").map(|at| &part[at..])).collect();
    let other = SUBJECT.replace("v1.10.0", "v2.0.0");
    let denied: Vec<&str> =
        accepted().into_iter().map(|argument| if argument == SUBJECT { other.as_str() } else { argument }).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    for (shown, arguments) in shown.into_iter().zip([accepted(), denied]) {
        let found = verify(&arguments);
        assert!(found.out.ends_with(&format!("\n{shown}\n")), "shown:\n{shown}\nprinted:\n{}", found.out);
    }
}

#[test]
fn questions_that_make_no_sense_are_usage_errors() {
    let identity = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER];
    let with_layout = |image: &'static str, more: &[&'static str]| [&[image, "--layout", LAYOUT], more].concat();
    let table = [
        ("no identity", with_layout(IMAGE, &[])),
        ("no issuer", with_layout(IMAGE, &["--certificate-identity", SUBJECT])),
        ("no subject", with_layout(IMAGE, &["--certificate-oidc-issuer", ISSUER])),
        ("an upper-case path", with_layout("ghcr.io/Acme/app:1", &identity)),
        ("a scheme", with_layout("https://ghcr.io/acme/app:1", &identity)),
        ("a short digest", with_layout("ghcr.io/acme/app@sha256:abc", &identity)),
        ("an empty reference", with_layout("", &identity)),
        ("an unknown type", [with_layout(IMAGE, &identity), vec!["--type", "slsa"]].concat()),
        ("an unknown root", [with_layout(IMAGE, &identity), vec!["--trust-root", "other"]].concat()),
        ("a key that is not there", with_layout(IMAGE, &["--key", "missing.pub"])),
        ("a key that is none", with_layout(IMAGE, &["--key", POLICY])),
        ("a policy beside flags", [with_layout(IMAGE, &identity), vec!["--policy", POLICY]].concat()),
        ("a layout that is not there", [&[IMAGE, "--layout", "missing"][..], &identity].concat()),
        ("a layout that is none", [&[IMAGE, "--layout", "src"][..], &identity].concat()),
        ("an unknown flag", with_layout(IMAGE, &["--insecure"])),
    ];
    for (what, arguments) in table {
        let found = verify(&arguments);
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{what}: {}", found.err);
        assert!(!found.err.is_empty(), "{what}");
    }
}

#[test]
fn a_policy_file_answers_like_flags_and_one_that_selects_nothing_is_no_success() {
    assert_eq!(verify(&[IMAGE, "--layout", LAYOUT, "--policy", POLICY]).code, 0);
    let other = IMAGE.replace("slsa-framework", "other");
    let found = verify(&[&other, "--layout", LAYOUT, "--policy", POLICY]);
    assert_eq!(found.code, 1, "{}", found.out);
    assert!(found.out.contains("Unmatched"), "{}", found.out);
}

#[test]
fn json_carries_its_version_and_the_facts() {
    let found = verify(&[accepted(), vec!["-o", "json"]].concat());
    let trace: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!((&trace["schemaVersion"], &trace["decision"]), (&json!(1), &json!("Allow")));
    let evidence = &trace["images"][0]["verdicts"][0]["authorities"][0]["satisfiedBy"][0];
    assert_eq!(evidence["signer"]["certificate"]["subjects"][0]["uri"], SUBJECT);
    assert_eq!(evidence["claim"]["attestation"]["predicateType"], "https://slsa.dev/provenance/v0.2");
}

#[test]
fn a_tampered_or_broken_layout_is_never_a_success() {
    let attestation = "31cc4fb663c8d34e2e6a0bd5f183d576c2811ee286e0998b4c2965e3b35a0d86";
    let image = "e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5";
    let flip = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes)
    };
    for blob in [DSSE, attestation, image] {
        for (how, folder) in [
            ("changed", tampered(blob, flip)),
            ("truncated", tampered(blob, |bytes| Some(bytes[..bytes.len() / 2].to_vec()))),
            ("emptied", tampered(blob, |_| Some(Vec::new()))),
            ("removed", tampered(blob, |_| None)),
            ("padded", tampered(blob, |bytes| Some([bytes, b" ".to_vec()].concat()))),
        ] {
            let layout = folder.path().display().to_string();
            let arguments: Vec<&str> = accepted()
                .into_iter()
                .map(|argument| if argument == LAYOUT { layout.as_str() } else { argument })
                .collect();
            let found = verify(&arguments);
            assert!([1, 3].contains(&found.code), "{blob} {how}: {} {}{}", found.code, found.out, found.err);
            assert!(!found.out.contains("allowed"), "{blob} {how}: {}", found.out);
        }
    }
    for (file, text) in
        [("index.json", "{"), ("index.json", "[]"), ("index.json", r#"{"manifests":{}}"#), ("oci-layout", "")]
    {
        let folder = tampered(file, |_| Some(text.as_bytes().to_vec()));
        let layout = folder.path().display().to_string();
        let found = verify(&[IMAGE, "--layout", &layout, "--policy", POLICY]);
        assert!([1, 2, 3].contains(&found.code), "{file} {text}: {}", found.code);
        assert!(!found.out.contains("allowed") && !(found.out.clone() + &found.err).is_empty(), "{file} {text}");
    }
}

#[test]
fn a_review_is_answered_as_the_webhook_answers() {
    let found = review(&admission_review(&pod(IMAGE)).to_string(), &["-o", "json"]);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    let answer: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!((&answer["response"]["uid"], &answer["response"]["allowed"]), (&json!("uid-1"), &json!(true)));

    let unmatched = pod("ghcr.io/other/image:1");
    let found = review(&admission_review(&unmatched).to_string(), &["-o", "json"]);
    let answer: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!((found.code, &answer["response"]["allowed"]), (1, &json!(false)));
    assert_eq!(answer["response"]["status"]["code"], 403);
    assert!(answer["response"]["status"]["message"].as_str().expect("a message").contains("Unmatched"));

    let mut dry_run = admission_review(&pod(IMAGE));
    dry_run["request"]["dryRun"] = json!(true);
    let found = review(&dry_run.to_string(), &["-o", "json"]);
    let answer: Value = serde_json::from_str(&found.out).expect("JSON");
    assert!(answer["response"]["warnings"][0].as_str().expect("the trace on allow").contains("Pass"), "{answer}");
}

#[test]
fn bad_reviews_and_objects_are_denied_with_a_reason() {
    let with = |pointer: &str, value: Value| {
        let mut review = admission_review(&pod(IMAGE));
        *review.pointer_mut(pointer).expect("a field") = value;
        review
    };
    let table = [
        ("ObjectKindMismatch", with("/request/kind/kind", json!("PodTemplate"))),
        ("UnknownKind", with("/request/kind/kind", json!("Widget"))),
        ("ObjectKindMismatch", with("/request/kind/version", json!("v2"))),
        ("ObjectKindMismatch", with("/request/kind/version", json!(""))),
        ("UnknownKind", with("/request/kind/group", json!("apps"))),
        ("UnexpectedOperation", with("/request/operation", json!("DELETE"))),
        ("ObjectKindMismatch", with("/request/object", json!(null))),
        ("ObjectKindMismatch", with("/request/object", json!({}))),
        ("NoImages", with("/request/object/spec", json!({"containers": []}))),
        ("NoImages", with("/request/object/spec", json!({}))),
        ("MalformedObject", with("/request/object/spec/containers", json!("x"))),
        ("MissingImage", with("/request/object/spec/containers", json!([{"name": "c"}]))),
        ("InvalidReference", with("/request/object/spec/containers", json!([{"image": "ghcr.io/a/b:1\n"}]))),
    ];
    for (code, review_object) in table {
        for unmatched in ["Allow", "Deny"] {
            let found = review(&review_object.to_string(), &["-o", "json", "--unmatched", unmatched]);
            let answer: Value =
                serde_json::from_str(&found.out).unwrap_or_else(|_| panic!("{code}: {}{}", found.out, found.err));
            assert_eq!((found.code, &answer["response"]["allowed"]), (1, &json!(false)), "{code}: {answer}");
            let message = answer["response"]["status"]["message"].as_str().expect("a message");
            assert!(message.contains(code), "{code}: {message}");
        }
    }
}

#[test]
fn a_review_that_cannot_be_decoded_is_unreadable_input() {
    let with = |pointer: &str, value: Value| {
        let mut review = admission_review(&pod(IMAGE));
        *review.pointer_mut(pointer).expect("a field") = value;
        review
    };
    for undecodable in [
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": null}),
        json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}}),
        with("/request/uid", json!("")),
        with("/request/namespace", json!("")),
        with("/request/namespace", json!(null)),
        with("/request/kind", json!("Pod")),
    ] {
        // Before it and after it, what could be denied: 2 wins over 1.
        let denied = admission_review(&pod("ghcr.io/other/image:1"));
        for text in [undecodable.to_string(), format!("{denied}{undecodable}"), format!("{undecodable}{denied}")] {
            let found = review(&text, &["-o", "json", "--unmatched", "Allow"]);
            assert_eq!((found.code, found.out.as_str()), (2, ""), "{text}: {}", found.err);
            assert!(found.err.contains("standard input") && found.err.contains("Undecodable"), "{}", found.err);
        }
    }
}

/// A policy of a namespace demands, but admits nothing where nothing is delegated to it: whoever wrote it hears so.
#[test]
fn a_policy_of_a_namespace_that_matches_nothing_is_named() {
    let policies = "policies/examples/namespace-policy/policy.yaml";
    let mut object = pod(IMAGE);
    object["metadata"]["namespace"] = json!("team-a");
    let label = |team: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"team": team}}});
    for (team, code) in [("a", 0), ("b", 1)] {
        let stdin = format!("{}\n{object}", label(team));
        let found = countersign(&["review", "-f", "-", "--policies", policies, "--layout", LAYOUT], &stdin);
        assert_eq!(found.code, code, "{}", found.err);
        assert_eq!(found.err.contains("team-a/provenance matches no image"), code == 1, "{}", found.err);
    }
    // Asked about the image alone, the policy of a namespace is one like any other, and an exemption is no match.
    let found = verify(&[IMAGE, "--layout", LAYOUT, "--policy", policies]);
    assert_eq!(found.code, 0, "{}", found.out);
    let found = verify(&["registry.k8s.io/pause:3", "--layout", LAYOUT, "--policy", policies]);
    assert_eq!(found.code, 1, "{}", found.out);
}

/// A kind that is not known is passed over, so that a mistake in it would pass whatever the object holds.
#[test]
fn what_is_not_judged_is_said_and_what_was_meant_to_be_judged_is_refused() {
    let with_kind = |version: &str, kind: &str| {
        let mut object = pod("ghcr.io/other/image:1");
        (object["apiVersion"], object["kind"]) = (json!(version), json!(kind));
        format!("{object}\n{}", pod(IMAGE))
    };
    for (version, kind) in [
        ("v1", "pod"),
        ("v1", "POD"),
        ("v1", "Pods"),
        ("v1", "Pdo"),
        ("v1", "PodTemplat"),
        ("v1", "ReplicationControler"),
        ("v1", "Deployment"),
        ("policy/v1", "Job"),
        ("app/v1", "Deployment"),
        ("app/v1", "Widget"),
        ("apps/v1", "deployment"),
        ("apps.k8s.io/v1", "Deployment"),
        ("admission.k8s.io/v1", "admissionReview"),
    ] {
        let found = review(&with_kind(version, kind), &[]);
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{version} {kind}: {}", found.err);
        assert!(found.err.contains(kind), "{version} {kind}: {}", found.err);
    }
    for (version, kind, said) in [
        ("v1", "ConfigMap", "its kind names no images: ConfigMap p"),
        ("v1", "Node", "its kind names no images: Node p"),
        ("rbac.authorization.k8s.io/v1", "Role", "its kind names no images: Role p"),
        ("batch.volcano.sh/v1alpha1", "Job", "nobody here knows whether its kind names images: Job p"),
        ("serving.knative.dev/v1", "Service", "nobody here knows whether its kind names images: Service p"),
    ] {
        let found = review(&with_kind(version, kind), &[]);
        assert_eq!(found.code, 0, "{version} {kind}: {}", found.err);
        assert!(found.err.contains(said), "{version} {kind}: {}", found.err);
    }
}

#[test]
fn unreadable_input_is_a_usage_error() {
    let whole = admission_review(&pod(IMAGE)).to_string();
    let truncated = &whole[..whole.len() / 2];
    for (what, text) in [
        ("truncated JSON", truncated),
        ("nothing", ""),
        ("no object", "just text"),
        ("an object without apiVersion", "kind: Pod\n"),
        ("a misspelt kind", "apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: d}\n"),
        ("a kind of long ago", "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: d}\n"),
        ("only objects without images", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"),
        ("broken YAML", "a: [\n"),
        ("an object that is no list but has items", r#"{"apiVersion":"v1","kind":"Pod","items":[]}"#),
        ("a list without items", "apiVersion: v1\nkind: PodList\n"),
        ("lists in a list", r#"{"apiVersion":"v1","kind":"List","items":[{"kind":"List","items":[]}]}"#),
        ("merged mappings", "apiVersion: v1\nkind: Pod\nspec:\n  a: 1\n  <<: {a: 2}\n"),
        ("merged mappings in flow", "a: {b: 1, << : {b: 2}}\n"),
        ("a key twice", "apiVersion: v1\nkind: Pod\nkind: ConfigMap\n"),
        ("a key twice in JSON", r#"{"apiVersion":"v1","kind":"Pod","spec":{},"spec":{}}"#),
    ] {
        let found = review(text, &["--unmatched", "Allow"]);
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{what}: {}", found.err);
        assert!(!found.err.is_empty(), "{what}");
    }
}

/// Each of these is the accepted pod to YAML 1.2, and another one to kubectl.
#[test]
fn what_kubectl_would_read_differently_is_refused() {
    let head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {a: &text <<}\n  annotations: &other {image: evil}\n";
    let pod = format!("{head}spec:\n  containers:\n  - name: x\n    image: {IMAGE}\n");
    let second = "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{name: x, image: evil}]}\n";
    let indented = format!("  {}\n", second.trim_end().replace('\n', "\n  "));
    let merge = "it merges mappings by `<<`";
    let breaks = "at which only some readers begin a new line";
    let separator = "begins with `---`";
    for (what, behind, said) in [
        ("a merge", "    <<: *other\n".to_owned(), merge),
        ("a merge in quotes", "    '<<': *other\n".to_owned(), merge),
        ("a tagged, escaped merge", "    !!merge \"\\x3c<\": *other\n".to_owned(), merge),
        ("a merge by the whole tag", "    !<tag:yaml.org,2002:merge> \"\\x3c<\": *other\n".to_owned(), merge),
        ("a merge as a complex key", "    ?   << # hi\n    : *other\n".to_owned(), merge),
        ("a merge in a block", "    ? !!merge |-\n      <<\n    : *other\n".to_owned(), merge),
        ("a merge by an alias", "    *text : *other\n".to_owned(), merge),
        ("a line separator", "  # c\u{2028}  initContainers: [{name: x, image: evil}]\n".to_owned(), breaks),
        ("a paragraph separator", "  # c\u{2029}  initContainers: [{name: x, image: evil}]\n".to_owned(), breaks),
        ("a next line", "  # c\u{85}  initContainers: [{name: x, image: evil}]\n".to_owned(), "U+0085"),
        ("a lone carriage return", "\r---\r# c\n".to_owned(), breaks),
        ("a separator with a comment for kubectl", format!("---#x: |\n{indented}"), separator),
        ("a separator that is a key", format!("---x: |\n{indented}"), separator),
        ("a separator with a wide space", "---\u{a0}# c\n".to_owned(), separator),
        ("a separator with content", "--- {}\n".to_owned(), separator),
        ("a document behind the end of another", format!("...\n# c\n{pod}"), "line 11 ends a document"),
    ] {
        let found = review(&format!("{pod}{behind}"), &[]);
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{what}: {}", found.err);
        assert!(found.err.contains(said), "{what}: {}", found.err);
    }
    // What all read alike is read.
    for (what, behind) in [
        ("nothing more", String::new()),
        ("separators", format!("--- # next\r\n---\t\n---\n{pod}...\n\n # c\n---\n{pod}...\n")),
        ("escapes and dots", "    workingDir: \"\\u2028 << --- ... \\x85\"\n    args: [<<, ..., ---x]\n".to_owned()),
        ("carriage returns", format!("---\n{pod}").replace('\n', "\r\n")),
    ] {
        let found = review(&format!("{pod}{behind}"), &[]);
        assert_eq!(found.code, 0, "{what}: {}{}", found.out, found.err);
    }
    // Policies and revocations are read by the same reader.
    let policy = String::from_utf8(read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(POLICY))).expect("text");
    for (what, behind) in
        [("a merge", "  !!merge \"\\x3c<\": {action: Warn}\n"), ("a break", "  # \u{2028}  exclude: [\"**\"]\n")]
    {
        let text = policy.replacen("spec:\n", &format!("spec:\n{behind}"), 1);
        assert_ne!(text, policy);
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let path = file.path().to_str().expect("a path");
        let found = countersign(&["review", "-f", "-", "--policies", path, "--layout", LAYOUT], &pod);
        let said = if what == "a merge" { merge } else { breaks };
        assert!(found.code == 2 && found.err.contains(said), "{what}: {}{}", found.out, found.err);
        assert_eq!(verify(&[IMAGE, "--layout", LAYOUT, "--policy", path]).code, 2, "{what}");
    }
}

#[test]
fn a_policy_that_does_not_parse_judges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = String::from_utf8(read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(POLICY))).expect("text");
    let pod = pod(IMAGE).to_string();
    for (what, text) in [
        ("an unknown field", good.replace("  images:", "  exclud: []\n  images:")),
        ("another kind", good.replace("kind: ClusterSignaturePolicy", "kind: ClusterSignaturePolicie")),
        ("a document that is no policy", format!("{good}\n---\napiVersion: v1\nkind: Pod\n")),
        ("truncated", good[..good.len() / 2].to_owned()),
        ("the same name twice", format!("{good}\n---\n{good}")),
        ("nothing", String::new()),
    ] {
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, text).expect("written");
        let path = path.display().to_string();
        for policies in [path.as_str(), folder.path().to_str().expect("text")] {
            let found = countersign(&["review", "-f", "-", "--policies", policies, "--layout", LAYOUT], &pod);
            assert_eq!((found.code, found.out.as_str()), (2, ""), "{what}: {}", found.err);
        }
        assert_eq!(verify(&[IMAGE, "--layout", LAYOUT, "--policy", &path]).code, 2, "{what}");
    }
}

#[test]
fn every_object_of_a_list_is_judged_and_names_stay_harmless() {
    let other = pod("ghcr.io/other/image:1");
    for kind in ["List", "PodList"] {
        let list = json!({"apiVersion": "v1", "kind": kind, "items": [pod(IMAGE), other]});
        assert_eq!(review(&list.to_string(), &[]).code, 1, "{kind}");
    }
    let mut forged = other;
    forged["metadata"]["name"] = json!("x\nallowed everything\u{1b}[2J");
    let found = review(&forged.to_string(), &[]);
    assert!(found.code == 1 && !found.out.contains('\u{1b}'), "{}", found.out);
    assert!(found.out.lines().all(|line| !line.starts_with("allowed")), "{}", found.out);
}

#[test]
fn denied_wins_over_undecided() {
    let missing =
        pod("ghcr.io/slsa-framework/absent@sha256:0000000000000000000000000000000000000000000000000000000000000000");
    let unmatched = pod("ghcr.io/other/image:1");
    assert_eq!(review(&missing.to_string(), &[]).code, 3);
    assert_eq!(review(&format!("{missing}\n{unmatched}"), &[]).code, 1);
    assert_eq!(review(&format!("{missing}\n{}", pod(IMAGE)), &[]).code, 3);
}

#[test]
fn errors_name_the_file_that_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name).display().to_string();
        std::fs::write(&path, text).expect("written");
        path
    };
    let (good, no_kind) =
        (written("good.json", &pod(IMAGE).to_string()), written("no-kind.yaml", "metadata: {name: x}\n"));
    let misspelt = written("misspelt.yaml", "apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: d}\n");
    let (twice, key) = (written("twice.json", r#"{"kind":"Pod","kind":"Pod"}"#), written("key.pub", "no key"));
    let reviews = ["review", "--policies", POLICY, "--layout", LAYOUT, "-f", &good];
    let verifies = ["verify", IMAGE, "--layout", LAYOUT];
    for (arguments, named) in [
        ([&reviews[..], &["-f", &no_kind]].concat(), "no-kind.yaml"),
        ([&reviews[..], &["-f", &misspelt]].concat(), "misspelt.yaml"),
        ([&reviews[..], &["-f", &twice]].concat(), "twice.json"),
        ([&reviews[..], &["-f", "-"]].concat(), "standard input"),
        ([&verifies[..], &["--key", &key]].concat(), "key.pub"),
        (vec!["verify", IMAGE, "--key", "missing.pub", "--registry-ca", &key], "missing.pub"),
    ] {
        let found = countersign(&arguments, "{");
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{arguments:?}: {}", found.err);
        assert!(found.err.contains(named) && !found.err.contains("good.json"), "{arguments:?}: {}", found.err);
    }
    let pem = pod(IMAGE).to_string();
    assert_eq!(countersign(&reviews, "").code, 0);
    for arguments in
        [[&reviews[..], &["-f", "-", "-f", "-"]].concat(), [&reviews[..], &["-f", "-", "--policies", "-"]].concat()]
    {
        let found = countersign(&arguments, &pem);
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{arguments:?}: {}", found.err);
        assert!(found.err.contains("twice"), "{}", found.err);
    }
}

/// What stands beside a mistake may be a secret, and standard error ends in logs.
#[test]
fn errors_say_where_and_quote_no_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.yaml").display().to_string();
    let serve = ["serve", "--tls-cert", "missing", "--tls-key", "missing", "--kubeconfig", &path];
    let reviews = ["review", "--policies", POLICY, "--layout", LAYOUT, "-f", &path];
    let policies = ["review", "--policies", &path, "--layout", LAYOUT, "-f", "-"];
    for (what, text, place, kubeconfig_only) in [
        ("a key twice", "a: 1\ntoken: hunter2\na: 2\n", "line 3, column 1", false),
        ("no mapping", "users:\n- user:\n    token: hunter2\n   x: y\n", "line 4, column 4", false),
        ("an open quote", "token: hunter2\nb: \"x\n", "line 2, column 4", false),
        ("a wrong type", "users:\n- user: {token: hunter2}\n  name: [x]\n", "line 3, column 9", true),
    ] {
        std::fs::write(&path, text).expect("written");
        for arguments in [&serve[..], &reviews, &policies] {
            let found = countersign(arguments, &pod(IMAGE).to_string());
            if kubeconfig_only && arguments != serve {
                continue;
            }
            assert_eq!(found.code, 2, "{what}: {}", found.err);
            assert!(found.err.contains(place) && found.err.contains("broken.yaml"), "{what}: {}", found.err);
            assert!(!found.err.contains("hunter2") && found.err.lines().count() == 1, "{what}: {}", found.err);
        }
        let found = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--tls-cert", "missing", "--tls-key", "missing"])
            .env("KUBECONFIG", &path)
            .output()
            .expect("it ends");
        let err = String::from_utf8(found.stderr).expect("text");
        assert_eq!(found.status.code(), Some(2), "{what}: {err}");
        assert!(err.contains(place) && !err.contains("hunter2"), "{what}: {err}");
    }
}

/// File names and keys are written by others: they must not reach a terminal as they are.
#[test]
fn errors_write_out_what_a_terminal_would_obey() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = String::from_utf8(read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(POLICY))).expect("text");
    let field = good.replace("  images:", "  \"x\\e[2J\\nallowed\\u202e\": []\n  images:");
    let name = good.replace("ghcr.io/slsa-framework/", "ghcr.io/slsa\u{202e}-framework/");
    for (file, text, said) in [
        ("policy.yaml", field.as_str(), "x\\u{1b}[2J\\nallowed\\u{202e}"),
        ("policy.yaml", &name, "\\u{202e}"),
        ("policy\u{1b}[2J\nallowed.yaml", "x: 1\n", "policy\\u{1b}[2J\\nallowed.yaml"),
    ] {
        let path = folder.path().join(file).display().to_string();
        std::fs::write(&path, text).expect("written");
        let found =
            countersign(&["review", "-f", "-", "--policies", &path, "--layout", LAYOUT], &pod(IMAGE).to_string());
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{file:?}: {}", found.err);
        assert!(found.err.contains(said), "{file:?}: {}", found.err);
        assert!(found.err.lines().count() == 1 && !found.err.contains(['\u{1b}', '\u{202e}']), "{:?}", found.err);
        std::fs::remove_file(&path).expect("removed");
    }
    let found = review("{\"a\u{1b}[2J\": 1, \"apiVersion\": \"v1\", \"kind\": \"Config\\u001b[2J\"}\n", &[]);
    assert!(!found.err.contains('\u{1b}') && found.code == 2, "{:?}", found.err);
}

/// Whoever stops reading, as `head` does, has read enough: no complaint, and the verdict stays in the exit code.
#[test]
fn a_closed_pipe_is_no_error() {
    for (image, code) in [(IMAGE.to_owned(), 0), (IMAGE.replace("slsa-framework", "other"), 1)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["verify", &image, "--layout", LAYOUT, "--policy", POLICY])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("it ends");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(code), &b""[..]), "{image}");
    }
}

#[test]
fn bounds_that_cannot_hold_are_usage_errors() {
    let serve = ["serve", "--tls-cert", "missing", "--tls-key", "missing", "--kubeconfig", "missing"];
    for (flag, value) in
        [("--memory-budget", "191"), ("--memory-budget", "many"), ("--concurrency", "0"), ("--timeout", "0")]
    {
        let found = countersign(&[&serve[..], &[flag, value]].concat(), "");
        assert_eq!(found.code, 2, "{flag} {value}: {}", found.err);
        assert!(found.err.contains(flag), "{flag} {value}: {}", found.err);
    }
    let found = countersign(&[&serve[..], &["--memory-budget", "192"]].concat(), "");
    assert!(!found.err.contains("--memory-budget"), "{}", found.err);
}

#[test]
fn a_log_filter_that_is_none_is_a_usage_error() {
    let serve = |filter: &str| {
        countersign(
            &["serve", "--tls-cert", "missing", "--tls-key", "missing", "--kubeconfig", "missing", "--log", filter],
            "",
        )
    };
    for bad in ["inof", "", "info,nonsense", "countersign=loud", "info,,debug"] {
        let found = serve(bad);
        assert_eq!(found.code, 2, "{bad}: {}", found.err);
        assert!(found.err.contains("--log"), "{bad}: {}", found.err);
    }
    for good in ["info", "DEBUG", "off", "warn,countersign=debug", "info,countersign::judge=trace"] {
        let found = serve(good);
        assert!(!found.err.contains("--log") && found.err.contains("missing"), "{good}: {}", found.err);
    }
}

/// A full disk or a reader that has gone takes the log, and not the webhook.
#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
    });
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(kubeconfig.to_string().as_bytes()).expect("written");
    for format in ["json", "text"] {
        // It logs that it serves before it reads the certificate, which is not there: what ends it is that, by its own code.
        let status = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent", "--log-format", format])
            .args(["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--namespace", "n", "--kubeconfig"])
            .arg(file.path())
            .stderr(std::fs::File::options().write(true).open("/dev/full").expect("a device"))
            .status()
            .expect("it ends");
        assert_eq!(status.code(), Some(2), "{format}");
    }
}

/// A registry under which nothing would be found, such as a URL, would leave its owner to wonder why it is still not reached.
#[test]
fn registries_of_flags_are_hosts() {
    for (flag, bad, good) in [
        ("--plain-http-registry", "http://registry.example:5000", "registry.example:5000"),
        ("--private-registry", "registry.example/acme", "registry.example"),
        ("--registry-realm", "registry.example=https://auth.example/token", "registry.example=auth.example"),
    ] {
        // The key is missed after the flags were read.
        for (value, said) in [(bad, flag), (good, "missing.pub")] {
            let found = countersign(&["verify", IMAGE, "--key", "missing.pub", flag, value], "");
            assert_eq!(found.code, 2, "{flag} {value}: {}", found.err);
            assert!(found.err.contains(said), "{flag} {value}: {}", found.err);
        }
    }
}

/// With a layout no registry is asked: whoever says how to ask one means something else.
#[test]
fn flags_that_a_layout_leaves_unread_are_usage_errors() {
    for (flag, value) in [
        ("--registry-auth-file", "missing"),
        ("--plain-http-registry", "registry.example"),
        ("--private-registry", "registry.example"),
        ("--registry-ca", "missing"),
        ("--registry-realm", "registry.example=auth.example"),
    ] {
        for found in
            [verify(&[&accepted()[..], &[flag, value]].concat()), review(&pod(IMAGE).to_string(), &[flag, value])]
        {
            assert_eq!((found.code, found.out.as_str()), (2, ""), "{flag}: {}", found.err);
            assert!(found.err.contains(flag) && found.err.contains("--layout"), "{flag}: {}", found.err);
        }
    }
    // The variable is there for all commands, and is no mistake of this one.
    let with_variable = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json")
            .output()
            .expect("it ends");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(with_variable(&[&["verify"], &accepted()[..]].concat()), (Some(0), String::new()));
    let (code, err) = with_variable(&["verify", IMAGE, "--policy", POLICY]);
    assert!(code == Some(2) && err.contains("/nonexistent/auth.json"), "read where registries are asked: {err}");
}

/// What a root names and this version cannot use is left out, and its owner must hear of it before signatures fail.
#[test]
fn parts_of_trust_roots_that_cannot_be_used_are_said() {
    const BROKEN: &str = "not used: tlogs[0] (https://log.example/";
    let embedded = SigstoreInstance::PublicGood.embedded_trusted_root_json();
    let mut root: Value = serde_json::from_str(embedded).expect("JSON");
    let mut log = root["tlogs"][0].clone();
    log["publicKey"]["rawBytes"] = json!("AAAA");
    log["logId"]["keyId"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    log["baseUrl"] = json!("https://log.example/\u{1b}[2J");
    root["tlogs"].as_array_mut().expect("a list").insert(0, log);
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name).display().to_string();
        std::fs::write(&path, text).expect("written");
        path
    };
    let (partial, whole) = (
        format!("own={}", written("partial.json", &root.to_string())),
        format!("own={}", written("whole.json", embedded)),
    );
    let object = pod(IMAGE).to_string();
    for (flag, warned) in [(partial.as_str(), true), (whole.as_str(), false)] {
        let found = [
            verify(&[&accepted()[..], &["--trust-root", flag]].concat()),
            review(&object, &["--trust-root", flag]),
            countersign(
                &[
                    &["serve", "--tls-cert", "x", "--tls-key", "x", "--kubeconfig", "missing"],
                    &["--trust-root", flag][..],
                ]
                .concat(),
                "",
            ),
        ];
        for (found, code) in found.iter().zip([0, 0, 2]) {
            assert_eq!(found.code, code, "{flag}: {}{}", found.out, found.err);
            assert_eq!(found.err.contains(BROKEN) && found.err.contains("trust root own"), warned, "{}", found.err);
            assert!(!found.err.contains('\u{1b}'), "{:?}", found.err);
        }
    }
}

/// A file with a `SignatureRevocation`.
fn revocations(entries: &Value) -> tempfile::NamedTempFile {
    let mut spec = entries.clone();
    spec.as_object_mut().expect("an object").insert("reason".to_owned(), json!("stolen"));
    let object = json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
        "metadata": {"name": "incident-7"}, "spec": spec});
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(object.to_string().as_bytes()).expect("written");
    file
}

#[test]
fn what_a_file_revokes_is_denied() {
    let digest = IMAGE.split_once('@').expect("a digest").1;
    let neighbour = format!("sha256:{}", "0".repeat(64));
    let (pod, tagged) = (pod(IMAGE).to_string(), pod("ghcr.io/slsa-framework/example-package:absent").to_string());
    let table = [
        (json!({"artifacts": [{"digest": digest}]}), 1),
        (json!({"artifacts": [{"digest": neighbour}]}), 0),
        (json!({"identities": [{"issuer": ISSUER, "subject": {"exact": SUBJECT}}]}), 1),
        (json!({"identities": [{"subject": {"exact": SUBJECT}, "signedAfter": "2024-03-21T10:34:05Z"}]}), 0),
        (json!({"identities": [{"subject": {"exact": SUBJECT}, "signedAfter": "2024-03-21T10:34:04Z"}]}), 1),
        (json!({"artifacts": [{"digest": digest}], "suspended": true}), 0),
    ];
    let suspended = "incident-7 is suspended: it does not act";
    for (entries, code) in table {
        let file = revocations(&entries);
        let path = file.path().to_str().expect("a path");
        let found = verify(&[accepted(), vec!["--revocations", path]].concat());
        assert_eq!(found.code, code, "{entries}: {}{}", found.out, found.err);
        if code == 1 {
            for part in ["[Revoked]", "incident-7", "stolen", "next:"] {
                assert!(found.out.contains(part), "{part} is not in {}", found.out);
            }
        }
        let reviewed = review(&pod, &["--revocations", path]);
        assert_eq!(reviewed.code, code, "{entries}");
        for said in [found.err, reviewed.err] {
            assert_eq!(said.contains(suspended), entries.get("suspended").is_some(), "{entries}: {said}");
        }
    }
    // No policy governs the tag, and it cannot be told that it is none of the revoked.
    let file = revocations(&json!({"artifacts": [{"digest": digest}]}));
    let path = file.path().to_str().expect("a path");
    let unmatched = ["--unmatched", "Allow", "--revocations", path];
    assert_eq!(review(&tagged.replace("slsa-framework", "other"), &unmatched).code, 3);
    assert_eq!(review(&tagged.replace("slsa-framework", "other"), &["--unmatched", "Allow"]).code, 0);
    // What would do nothing is a mistake.
    let file = revocations(&json!({"artifacts": [{"digest": "beef"}, {"digest": digest}]}));
    let found = verify(&[accepted(), vec!["--revocations", file.path().to_str().expect("a path")]].concat());
    assert!(found.code == 2 && found.err.contains("spec.artifacts[0]"), "{}", found.err);
    for entries in [
        json!({}),
        json!({"suspended": true}),
        json!({"artifacts": null}),
        json!({"artifacts": [], "identities": [], "keys": [], "certificates": [], "logEntries": [], "services": []}),
    ] {
        let file = revocations(&entries);
        let found = review(&pod, &["--revocations", file.path().to_str().expect("a path")]);
        assert!(
            found.code == 2 && found.err.contains("it strikes out nothing"),
            "{entries}: {}{}",
            found.out,
            found.err
        );
    }
    // A list that is indented too little stands beside the spec.
    let file = revocations(&json!({"artifacts": [{"digest": neighbour}]}));
    let mut object: Value = serde_json::from_slice(&read(file.path())).expect("JSON");
    object["keys"] = json!([{"sha256": neighbour}]);
    std::fs::write(file.path(), object.to_string()).expect("written");
    let found = review(&pod, &["--revocations", file.path().to_str().expect("a path")]);
    assert!(found.code == 2 && found.err.contains("keys: there is no such field"), "{}{}", found.out, found.err);
}

#[test]
fn what_bounds_nothing_and_what_no_api_server_takes_is_not_written() {
    let (key, moment, long) = ("2".repeat(64), "2026-01-01T00:00:00Z", "\u{e9}".repeat(1_025));
    let revoke = |arguments: &[&str]| countersign(&[&["revoke", "--reason", "r"], arguments].concat(), "");
    for (refused, accepted) in [
        (vec!["--key", &key, "--signed-after", moment], vec!["--identity", "a", "--signed-after", moment]),
        (vec!["--ca", &key, "--signed-before", moment], vec!["--identity-glob", "a", "--signed-before", moment]),
        (vec!["--ca", &key, "--issuer", ISSUER], vec!["--identity", "a", "--issuer", ISSUER]),
        (vec!["--identity", "a", "--after", moment], vec!["--ca", &key, "--after", moment]),
        (vec!["--key", &key, "--after", moment], vec!["--timestamp-authority", &key, "--after", moment]),
        (vec![IMAGE, "--layout", LAYOUT, "--after", moment], vec!["--ct-log", &key, "--after", moment]),
        (vec![IMAGE, "--layout", LAYOUT, "--signed-before", moment], vec![IMAGE, "--layout", LAYOUT]),
        (vec!["--key", &key, "--name", "Bad_Name"], vec!["--key", &key, "--name", "good-name.7"]),
        (vec!["--key", &key, "--name", "a..b"], vec!["--key", &key, "--name", "a.b"]),
        (vec!["--key", &key, "--name", "a-"], vec!["--key", &key, "--name", "a--b"]),
        (vec!["--key", &key, "--name", ""], vec!["--key", &key]),
        (vec!["--key", &key, "--name", &key.repeat(4)], vec!["--key", &key, "--name", &key]),
        (vec!["--key", &key, "--reference", &long], vec!["--key", &key, "--reference", &long[2..]]),
    ] {
        let found = revoke(&refused);
        assert!(found.code == 2 && found.out.is_empty(), "{refused:?}: {}{}", found.out, found.err);
        let found = revoke(&accepted);
        assert_eq!(found.code, 0, "{accepted:?}: {}", found.err);
    }
    for (reason, code) in [(&*long, 2), (&long[2..], 0)] {
        assert_eq!(countersign(&["revoke", "--reason", reason, "--key", &key], "").code, code);
    }
    // The identifier as `countersign verify -o json` prints it.
    let entry = format!("{key}/sha256:{}", "5".repeat(64));
    assert_eq!(revoke(&["--log-entry", &entry]).code, 0);
    assert_eq!(revoke(&["--log-entry", &entry[..entry.len() - 1]]).code, 2);
}

#[test]
fn a_revocation_that_is_written_denies_what_it_names() {
    let digest = IMAGE.split_once('@').expect("a digest").1;
    let table: [&[&str]; 3] = [
        &[IMAGE, "--layout", LAYOUT],
        &["--identity", SUBJECT, "--issuer", ISSUER, "--signed-after", "2024-03-01T00:00:00Z"],
        &["--identity-glob", "https://github.com/slsa-framework/*", "--reference", "https://acme.example/17"],
    ];
    for arguments in table {
        let found = countersign(&[&["revoke", "--reason", "no longer: \"sound\""], arguments].concat(), "");
        assert_eq!(found.code, 0, "{arguments:?}: {}", found.err);
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        file.write_all(found.out.as_bytes()).expect("written");
        let denied = verify(&[accepted(), vec!["--revocations", file.path().to_str().expect("a path")]].concat());
        assert!(denied.code == 1 && denied.out.contains("[Revoked]"), "{}\n{}{}", found.out, denied.out, denied.err);
    }
    let services = countersign(
        &[
            "revoke",
            "--reason",
            "r",
            "--name",
            "n",
            "--suspended",
            "--after",
            "2026-01-01T00:00:00Z",
            "--log",
            &"a".repeat(64),
            "--log-entry",
            &format!("{}/17", "1".repeat(64)),
            "--key",
            &"2".repeat(64),
            "--certificate",
            &"3".repeat(64),
        ],
        "",
    );
    let object: Value =
        serde_saphyr::from_str(&services.out).unwrap_or_else(|error| panic!("{error}: {}", services.out));
    assert_eq!(
        object,
        json!({
            "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation", "metadata": {"name": "n"},
            "spec": {"reason": "r", "suspended": true, "services": [{"log": "a".repeat(64), "after": "2026-01-01T00:00:00Z"}],
                "logEntries": [{"log": "1".repeat(64), "index": 17}], "keys": [{"sha256": "2".repeat(64)}],
                "certificates": [{"sha256": "3".repeat(64)}]},
        })
    );
    // A digest is named even if nobody has the image any more; a tag that nobody has names nothing.
    let gone = format!("ghcr.io/slsa-framework/example-package@sha256:{}", "4".repeat(64));
    let found = countersign(&["revoke", &gone, "--layout", LAYOUT, "--reason", "r"], "");
    assert!(
        found.code == 0 && found.out.contains(&"4".repeat(64)) && found.err.contains("is not known"),
        "{}",
        found.err
    );
    let tag = "ghcr.io/slsa-framework/example-package:absent";
    let found = countersign(&["revoke", tag, "--layout", LAYOUT, "--reason", "r"], "");
    assert!(found.code == 3 && found.out.is_empty(), "{}{}", found.out, found.err);
    for bad in [
        vec!["revoke", "--reason", "r"],
        vec!["revoke", digest],
        vec!["revoke", "--identity", "a"],
        vec!["revoke", "--reason", "r", "--identity", "a", "--signed-after", "yesterday"],
        vec!["revoke", "--reason", "r", "--log", "rekor"],
        vec!["revoke", "--reason", "r", "--log-entry", "17"],
        vec!["revoke", "--reason", "", "--identity", "a"],
        vec!["revoke", "--reason", "r", "--key", "/absent.pem"],
    ] {
        let found = countersign(&bad, "");
        assert!(found.code == 2 && found.out.is_empty(), "{bad:?}: {}{}", found.out, found.err);
    }
}

/// An API server that answers one request with what it was sent, and gives the request.
fn api_server(status: &'static str) -> (String, std::thread::JoinHandle<(String, Value)>) {
    use std::io::{BufRead as _, BufReader, Read as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let sent: Value = serde_json::from_slice(&body).expect("JSON");
        let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists",
            "message": "there is one of that name", "code": 409});
        let answer = if status.starts_with("201") { sent.to_string() } else { refused.to_string() };
        let length = answer.len();
        let mut stream = reader.into_inner();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}")
            .expect("sent");
        (head, sent)
    };
    (address, std::thread::spawn(answer))
}

#[test]
fn a_revocation_is_created_where_the_kubeconfig_says() {
    for (status, code) in [("201 Created", 0), ("409 Conflict", 2)] {
        let (address, server) = api_server(status);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
        });
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(kubeconfig.to_string().as_bytes()).expect("written");
        let path = file.path().to_str().expect("a path");
        let arguments = ["revoke", IMAGE, "--layout", LAYOUT, "--reason", "stolen", "--name", "n", "--apply"];
        let found = countersign(&[&arguments[..], &["--kubeconfig", path]].concat(), "");
        assert_eq!(found.code, code, "{status}: {}{}", found.out, found.err);
        let (head, sent) = server.join().expect("a request");
        assert!(head.starts_with("POST /apis/policy.countersign.dev/v1alpha1/signaturerevocations?"), "{head}");
        let digest = IMAGE.split_once('@').expect("a digest").1;
        assert!(sent.to_string().contains(digest) && sent.pointer("/metadata/name") == Some(&json!("n")), "{sent}");
        if code == 0 {
            assert_eq!(found.out, "signaturerevocation.policy.countersign.dev/n created\n");
        } else {
            assert!(found.out.is_empty() && found.err.contains("there is one of that name"), "{}", found.err);
        }
    }
    let found = countersign(&["revoke", "--identity", "a", "--reason", "r", "--kubeconfig", "x"], "");
    assert!(found.code == 2 && found.err.contains("--apply"), "{}", found.err);
}

/// What a credential plugin is called with and what it writes may be a token.
#[test]
fn a_credential_plugin_that_fails_is_not_quoted() {
    for (script, said) in [
        ("echo s3cr3t; echo s3cr3t >&2; exit 7", "exit status: 7"),
        ("echo '{\"kind\": \"ExecCredential\", \"status\": {\"token\": [\"s3cr3t\"]}}'", "does not parse"),
    ] {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "sh",
            "args": ["-c", format!("{script} # s3cr3t")]});
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"exec": exec}}],
        });
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(kubeconfig.to_string().as_bytes()).expect("written");
        let path = file.path().to_str().expect("a path");
        let arguments = ["revoke", "--identity", "a", "--reason", "r", "--name", "n", "--apply", "--kubeconfig", path];
        let found = countersign(&arguments, "");
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{}", found.err);
        let ours = found.err.lines().find(|line| line.starts_with("countersign: ")).expect("a line of ours");
        assert!(ours.contains(said) && !ours.contains("s3cr3t"), "{script}: {}", found.err);
    }
}
