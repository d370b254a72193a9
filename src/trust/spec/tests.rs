//! What a `SignatureTrustRoot` may say: every accept with its refused twin.

use serde_json::json;

use super::*;

fn object(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureTrustRoot",
        "metadata": {"name": name}, "spec": spec,
    })
}

fn parse(name: &str, spec: &Value) -> Result<RootSpec, RootSpecError> {
    RootSpec::parse(&object(name, spec))
}

fn pinned() -> String {
    include_str!("../tuf/public-good.json").to_owned()
}

fn tuf() -> Value {
    json!({"tuf": {"mirror": "https://tuf.example", "root": {"inline": pinned()}}})
}

/// A spec with one field put in, at a pointer to its object.
fn with(mut spec: Value, pointer: &str, field: &str, value: Value) -> Value {
    spec.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(field.to_owned(), value);
    spec
}

fn pem(label: &str, base64: &Value) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64.as_str().unwrap())
}

fn reason(name: &str, spec: &Value) -> String {
    parse(name, spec).unwrap_err().to_string()
}

#[test]
fn embedded_instances_have_their_names_and_the_names_their_instances() {
    for (name, field) in [(PUBLIC_GOOD, "publicGood"), (STAGING, "staging"), (GITHUB, "github")] {
        let spec = parse(name, &json!({field: {}})).unwrap();
        let RootSource::Tuf(TufSpec { mirror, root, target, embedded }) = spec.source() else { panic!("{name}") };
        assert!(matches!(mirror, MirrorAddress::Web(address) if address.starts_with("https://tuf-repo")), "{name}");
        assert!(matches!(root, PinnedRoot::Bytes(bytes) if bytes.len() > 1_000), "{name}");
        assert_eq!((target.as_str(), embedded.as_ref().map(TrustMaterial::name)), (TARGET, Some(name)));
        assert_eq!(RootSpec::embedded(name).unwrap().pinned(), spec.pinned());
        assert!(matches!(parse("own", &json!({field: {}})), Err(RootSpecError::Reserved { .. })), "{name}");
        assert!(matches!(parse(name, &tuf()), Err(RootSpecError::Reserved { .. })), "{name}");
    }
    assert!(matches!(parse(STAGING, &json!({"publicGood": {}})), Err(RootSpecError::Reserved { .. })));
    assert!(RootSpec::embedded("own").is_err());
}

#[test]
fn exactly_one_source_is_given() {
    let both = with(tuf(), "", "trustedRoot", json!("{}"));
    for spec in [json!({}), json!({"maxAge": "1h"}), both, json!({"publicGood": {}, "staging": {}})] {
        assert!(matches!(parse("own", &spec), Err(RootSpecError::NotOneOf { .. })), "{spec}");
    }
    let neither = json!({"tuf": {"mirror": "https://tuf.example", "root": {}}});
    let reference = json!({"name": "roots", "key": "root.json"});
    let two = with(tuf(), "/tuf/root", "configMapRef", reference.clone());
    for spec in [neither, two] {
        assert!(matches!(parse("own", &spec), Err(RootSpecError::NotOneOf { .. })), "{spec}");
    }
    let referred = json!({"tuf": {"mirror": "https://tuf.example", "root": {"configMapRef": reference}}});
    let spec = parse("own", &referred).unwrap();
    assert_eq!(spec.root_reference(), Some(("roots", "root.json")));
    assert_eq!(spec.with_root(b"{}").root_reference(), None);
}

/// A misspelt field must not be a lost restriction, nor an object of another kind a trust root.
#[test]
fn what_is_not_understood_is_refused() {
    for (pointer, field) in [("", "maxage"), ("/tuf", "mirrors"), ("/tuf/root", "inlined")] {
        let spec = with(tuf(), pointer, field, json!("1h"));
        assert!(matches!(parse("own", &spec), Err(RootSpecError::Shape { .. })), "{pointer}/{field}");
    }
    for (field, value) in [("kind", json!("SignatureRevocation")), ("apiVersion", json!("v1"))] {
        let object = with(object("own", &tuf()), "", field, value);
        assert!(matches!(RootSpec::parse(&object), Err(RootSpecError::OtherKind { .. })), "{field}");
    }
    for bad in [
        json!(null),
        json!([]),
        json!({}),
        json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureTrustRoot"}),
    ] {
        assert!(RootSpec::parse(&bad).is_err(), "{bad}");
    }
    for name in ["", "Own", "a/b", "../own", ".own", "-own", &"a".repeat(254)] {
        assert!(parse(name, &tuf()).is_err(), "{name:?}");
    }
    // What the API server adds is no mistake.
    let stored = with(object("own", &tuf()), "", "status", json!({"observedGeneration": 1}));
    assert!(RootSpec::parse(&with(stored, "/metadata", "uid", json!("1"))).is_ok());
}

/// `maxAge: null`, left over from a template whose value was empty, would be a root without any budget of its own.
#[test]
fn null_and_lists_are_no_way_to_leave_a_field_out() {
    for (pointer, field, path) in [
        ("", "maxAge", "spec.maxAge"),
        ("", "onStale", "spec.onStale"),
        ("", "publicGood", "spec.publicGood"),
        ("/tuf", "target", "spec.tuf.target"),
        ("/tuf/root", "configMapRef", "spec.tuf.root.configMapRef"),
    ] {
        let said = reason("own", &with(tuf(), pointer, field, json!(null)));
        assert!(said.contains(&format!("at {path}: null")), "{path}: {said}");
    }
    let list = json!({"tuf": ["https://tuf.example", {"inline": pinned()}]});
    assert!(reason("own", &list).contains("at spec.tuf"), "a list for an object");
    assert!(matches!(parse(PUBLIC_GOOD, &json!({"publicGood": []})), Err(RootSpecError::Shape { .. })));
    assert!(parse("own", &tuf()).is_ok() && parse(PUBLIC_GOOD, &json!({"publicGood": {}})).is_ok());
    // What others write beside the spec is theirs.
    let stored = with(object("own", &tuf()), "/metadata", "creationTimestamp", json!(null));
    assert!(RootSpec::parse(&with(stored, "", "status", json!(null))).is_ok());
}

#[test]
fn ages_have_bounds_and_defaults() {
    let read = |max_age: Option<&str>, interval: Option<&str>| {
        let spec = max_age.map_or_else(tuf, |text| with(tuf(), "", "maxAge", json!(text)));
        parse("own", &interval.map_or(spec.clone(), |text| with(spec, "", "refreshInterval", json!(text))))
    };
    let plain = read(None, None).unwrap();
    assert_eq!((plain.max_age(), plain.on_stale(), plain.refresh_interval()), (None, OnStale::Error, REFRESH_INTERVAL));
    let aged = read(Some("1h30m"), None).unwrap();
    assert_eq!(aged.max_age(), Some(SignedDuration::from_mins(90)));
    // Without an interval there are four attempts in the time that it counts.
    assert_eq!(aged.refresh_interval(), Duration::from_secs(90 * 60 / 4));
    assert_eq!(read(Some("1d"), Some("1m")).unwrap().refresh_interval(), Duration::from_mins(1));
    assert!(read(Some("1h"), Some("1h")).is_ok() && read(Some("1h"), Some("61m")).is_err());
    for bad in ["", "1", "h", "59s", "-1h", "1.5h", "1m1h", "1h 1m", "1w", "99999999d", "\u{661}h"] {
        assert!(read(Some(bad), None).is_err(), "{bad:?}");
    }
    assert!(read(None, Some("25h")).is_err() && read(None, Some("59s")).is_err());
    let warned = parse("own", &with(tuf(), "", "onStale", json!("Warn"))).unwrap();
    assert_eq!(warned.on_stale(), OnStale::Warn);
    assert!(parse("own", &with(tuf(), "", "onStale", json!("warn"))).is_err());
}

#[test]
fn a_mirror_is_one_of_three_kinds() {
    let web = |text: &str| Ok(MirrorAddress::Web(text.to_owned()));
    for good in ["https://tuf.example", "https://10.0.0.1:8443/a/b", "http://127.0.0.1:8080", "http://[::1]:1/x"] {
        assert_eq!(MirrorAddress::parse(good), web(good), "{good}");
    }
    assert_eq!(MirrorAddress::parse("file:///srv/tuf"), Ok(MirrorAddress::Folder("/srv/tuf".into())));
    let artifact = "registry.example/tuf:latest";
    let reference = ImageReference::parse(artifact).unwrap();
    assert_eq!(MirrorAddress::parse(&format!("oci://{artifact}")), Ok(MirrorAddress::Artifact(reference)));
    for bad in [
        "",
        "tuf.example",
        "https://",
        "https:///x",
        "http://tuf.example",
        "http://localhost.example",
        "ftp://x",
        "https://u:p@x",
        "https://x/?a",
        "https://x/#a",
        "https://x /",
        "file://srv",
        "file:///a/../b",
        "file://host/../x",
        "oci://",
        "oci://UPPER",
    ] {
        assert!(MirrorAddress::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_pinned_root_and_the_target_are_what_they_claim() {
    for inline in ["", "{", "[]", r#"{"signed":{"_type":"targets"}}"#] {
        let spec = with(tuf(), "/tuf/root", "inline", json!(inline));
        assert!(parse("own", &spec).is_err(), "{inline}");
    }
    // It stands by itself: unchanged, and signed by as many of its keys as it wants.
    let root: Value = serde_json::from_str(&pinned()).unwrap();
    let inline = |root: &Value| with(tuf(), "/tuf/root", "inline", json!(root.to_string()));
    assert!(parse("own", &inline(&root)).is_ok());
    let threshold = root["signed"]["roles"]["root"]["threshold"].as_u64().unwrap();
    let signatures = root["signatures"].as_array().unwrap();
    let few = with(root.clone(), "", "signatures", json!(signatures[..usize::try_from(threshold).unwrap() - 1]));
    assert!(reason("own", &inline(&few)).starts_with("spec.tuf.root.inline: "), "{few}");
    let changed = with(root, "/signed", "version", json!(999));
    assert!(reason("own", &inline(&changed)).starts_with("spec.tuf.root.inline: "), "{changed}");
    let large = format!(r#"{{"signed":{{"_type":"root","x":"{}"}}}}"#, "a".repeat(JSON_LIMIT));
    assert!(reason("own", &with(tuf(), "/tuf/root", "inline", json!(large))).contains("bytes"));
    assert!(parse("own", &with(tuf(), "/tuf", "target", json!("a/own_root.json"))).is_ok());
    for target in ["", "/x", "a//b", "../x", "a/./b", "a\nb", &"a".repeat(513)] {
        assert!(parse("own", &with(tuf(), "/tuf", "target", json!(target))).is_err(), "{target:?}");
    }
}

#[test]
fn the_authorities_of_a_mirror_are_certificates() {
    let root: Value = serde_json::from_str(TrustMaterial::embedded_json(PUBLIC_GOOD).unwrap()).unwrap();
    let good = pem("CERTIFICATE", &root["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"]);
    let with_ca = |ca: &str| parse("own", &with(tuf(), "", "ca", json!(ca)));
    assert!(with_ca(&good).is_ok());
    for bad in ["", "x", &good.replacen("MII", "NII", 1), &pem("PUBLIC KEY", &json!("AAAA"))] {
        assert!(with_ca(bad).is_err(), "{bad}");
    }
}

#[test]
fn keys_in_the_object_do_not_age() {
    let json = TrustMaterial::embedded_json(PUBLIC_GOOD).unwrap();
    let spec = json!({"trustedRoot": json});
    let RootSource::Fixed(material) = parse("own", &spec).unwrap().source().clone() else { panic!("no fixed root") };
    assert_eq!(material.digest(), TrustMaterial::embedded(PUBLIC_GOOD).unwrap().digest());
    for (field, value) in
        [("maxAge", json!("1d")), ("onStale", json!("Warn")), ("refreshInterval", json!("1h")), ("ca", json!("x"))]
    {
        let reason = reason("own", &with(spec.clone(), "", field, value));
        assert!(reason.contains("through TUF"), "{field}: {reason}");
    }
    assert!(matches!(parse("own", &json!({"trustedRoot": "{}"})), Err(RootSpecError::Material { .. })));
    // Operators are of services that are there.
    let operators = |service: &str| json!([{"service": service, "operator": "own"}]);
    let known = with(spec.clone(), "", "operators", operators("https://rekor.sigstore.dev"));
    let RootSource::Fixed(overridden) = parse("own", &known).unwrap().source().clone() else { panic!("no fixed root") };
    assert_ne!(overridden.digest(), material.digest());
    assert!(parse("own", &with(spec, "", "operators", operators("https://rekor.example"))).is_err());
}

#[test]
fn services_can_be_listed_one_by_one() {
    use base64::Engine as _;
    let root: Value = serde_json::from_str(TrustMaterial::embedded_json(PUBLIC_GOOD).unwrap()).unwrap();
    let chain = root["certificateAuthorities"][1]["certChain"]["certificates"].as_array().unwrap();
    let chain: String = chain.iter().map(|certificate| pem("CERTIFICATE", &certificate["rawBytes"])).collect();
    let log = &root["tlogs"][0];
    let inline = json!({
        "certificateAuthorities": [{"uri": "https://fulcio.example", "chain": chain}],
        "logs": [{"uri": "https://rekor.example", "operator": "own", "key": pem("PUBLIC KEY", &log["publicKey"]["rawBytes"]),
            "validFor": {"start": "2021-01-01T00:00:00Z"}}],
    });
    let material = |inline: Value| match parse("own", &json!({"inline": inline})) {
        Ok(spec) => match spec.source().clone() {
            RootSource::Fixed(material) => Ok(material),
            RootSource::Tuf(_) => panic!("no fixed root"),
        },
        Err(error) => Err(error.to_string()),
    };
    let found = material(inline.clone()).unwrap();
    // The key id is the hash of the key where nobody says otherwise.
    let id = base64::engine::general_purpose::STANDARD.decode(log["logId"]["keyId"].as_str().unwrap()).unwrap();
    assert!(found.log(&id).is_some_and(|log| log.operator.is_stated()));
    assert!(!found.has_certificate_transparency());
    let other = material(with(inline.clone(), "/logs/0", "keyId", json!("ab".repeat(32)))).unwrap();
    assert!(other.log(&[0xab; 32]).is_some() && other.log(&id).is_none());
    for (pointer, field, value) in [
        ("/logs/0", "keyId", json!("AB".repeat(32))),
        ("/logs/0", "keyId", json!("ab")),
        ("/logs/0", "key", json!("no key")),
        ("/logs/0", "uri", json!("")),
        ("/logs/0", "validFor", json!({"start": "2022-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"})),
        ("/logs/0", "validFor", json!({"start": "yesterday"})),
        ("/certificateAuthorities/0", "chain", json!("no certificate")),
        ("", "certificateAuthorities", json!([])),
        ("", "logs", json!(vec![inline["logs"][0].clone(); 2])),
        ("", "logs", json!(vec![inline["logs"][0].clone(); 33])),
    ] {
        assert!(material(with(inline.clone(), pointer, field, value.clone())).is_err(), "{pointer}/{field} {value}");
    }
}

/// What was accepted goes on under the same pinned root only.
#[test]
fn a_change_is_told_from_a_new_beginning() {
    let one = parse("own", &tuf()).unwrap();
    let age = parse("own", &with(tuf(), "", "maxAge", json!("7d"))).unwrap();
    let mirror = parse("own", &with(tuf(), "/tuf", "mirror", json!("https://other.example"))).unwrap();
    let root = include_str!("../tuf/staging.json");
    let pinned = parse("own", &with(tuf(), "/tuf/root", "inline", json!(root))).unwrap();
    let target = parse("own", &with(tuf(), "/tuf", "target", json!("other.json"))).unwrap();
    assert!(one.is_same(&parse("own", &tuf()).unwrap()));
    for (other, same_roots) in [(&age, true), (&mirror, true), (&pinned, false), (&target, false)] {
        assert!(!one.is_same(other));
        assert_eq!(one.has_same_roots(other), same_roots);
    }
    assert!(!one.has_same_roots(&parse("other", &tuf()).unwrap()));
}
