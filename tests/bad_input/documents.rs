//! Reviews, policies and trust roots that are nested, endless or expand without bound.

use serde_json::json;

use super::*;

fn review(text: &str) -> Ran {
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/examples/slsa-provenance/policy.yaml");
    run(&["review", "-f", "-", "--policies", policies, "--unmatched", "Allow"], text.as_bytes())
}

fn pod(containers: &str, further: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p","namespace":"default","annotations":{further}}},"spec":{{"containers":{containers}}}}}"#
    )
}

fn admission(object: &str) -> String {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
        "namespace": "default", "object": "OBJECT",
    }});
    review.to_string().replace("\"OBJECT\"", object)
}

#[test]
fn reviews_that_are_nested_or_endless_are_denied() {
    const ONE: &str = r#"[{"name":"c","image":"registry.example/app:1"}]"#;
    let containers = |count: usize| format!("[{}]", vec![ONE.trim_matches(['[', ']']); count].join(","));
    expect("genuine", &review(&pod(ONE, "{}")), 0, "");
    expect("genuine", &review(&admission(&pod(ONE, "{}"))), 0, "");
    expect("512 images", &review(&admission(&pod(&containers(512), "{}"))), 0, "");
    expect("513 images", &review(&admission(&pod(&containers(513), "{}"))), 1, "TooManyImages");
    expect("100,000 images", &review(&admission(&pod(&containers(100_000), "{}"))), 1, "TooManyImages");
    for depth in [200, 2_000_000] {
        // Not even JSON to its reader, as anything else that is not.
        expect("nested", &review(&admission(&pod(ONE, &nested(depth)))), 2, "recursion");
        expect("nested", &review(&pod(ONE, &nested(depth))), 2, "recursion");
    }
    expect("16 MiB", &review(&pod(ONE, &format!("\"{}\"", "x".repeat(16 << 20)))), 2, "larger than");
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: policy.countersign.dev/v1alpha1\nkind: ClusterSignaturePolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    )
}

fn with_policy(text: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, text).unwrap();
    let image = format!("registry.example/app@{}", image().digest());
    image_with(&image, &["--policy", &file.display().to_string()])
}

fn image_with(reference: &str, arguments: &[&str]) -> Ran {
    let layout = tempfile::tempdir().unwrap();
    image().write_layout(layout.path());
    let layout = layout.path().display().to_string();
    run(&[&["verify", reference, "--layout", &layout], arguments].concat(), b"")
}

#[test]
fn policies_that_are_nested_or_expand_are_refused() {
    let spec =
        |images: &str| format!("{{images: {images}, authorities: [{{name: a, keys: [{{name: k, pem: PEM}}]}}]}}");
    let key = serde_json::to_string(&virtual_sigstore::Key::generate(virtual_sigstore::Algorithm::P256).pem());
    let sound = policy(&spec("['registry.example/**']")).replace("PEM", &key.unwrap());
    expect("genuine", &with_policy(&sound), 1, "NoSignature");
    let replaced = |images: &str| sound.replace("['registry.example/**']", images);
    for depth in [1_000, 1_000_000] {
        expect("nested", &with_policy(&replaced(&nested(depth))), 2, "policy.yaml");
        let blocks: Vec<String> = (0..depth.min(2_000)).map(|level| " ".repeat(level) + "a:\n").collect();
        expect("blocks", &with_policy(&blocks.concat()), 2, "policy.yaml");
    }
    let many = json!(vec!["registry.example/**"; 100_000]).to_string();
    expect("patterns", &with_policy(&replaced(&many)), 2, "100000");
    let long = json!([format!("registry.example/{}", "a*".repeat(1 << 20))]).to_string();
    expect("a long pattern", &with_policy(&replaced(&long)), 2, "policy.yaml");
    // A thousand million strings in one page.
    let laughs: Vec<String> = (1..10)
        .map(|level| format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 10].join(",")))
        .collect();
    expect("aliases", &with_policy(&format!("l0: &l0 ha\n{}", laughs.concat())), 2, "policy.yaml");
}

#[test]
fn trust_roots_that_are_nested_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.json");
    let image = format!("registry.example/app@{}", image().digest());
    let root = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let root = format!("own={}", file.display());
        image_with(&image, &["--trust-root", &root, "--certificate-identity", "a", "--certificate-oidc-issuer", "b"])
    };
    let sound = VirtualSigstore::new().root().json();
    expect("genuine", &root(&sound), 1, "NoSignature");
    for text in [nested(1_000_000), sound.replacen('{', &format!(r#"{{"further":{},"#, nested(1_000_000)), 1)] {
        expect("nested", &root(&text), 2, "own");
    }
}
