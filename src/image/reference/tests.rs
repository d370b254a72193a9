//! distribution/reference's own cases, our deliberate differences from them, and what neither may let through.

use std::collections::HashSet;

use super::*;

mod vectors;

use vectors::DISTRIBUTION;

const HEX: &str = "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582";

fn ambiguous(host: &str) -> ReferenceError {
    ReferenceError::AmbiguousHost { host: host.into() }
}

/// Each case of `DISTRIBUTION` that we answer otherwise. A case that is missing here fails the test below.
fn differences() -> Vec<(&'static str, Result<&'static str, ReferenceError>)> {
    let f64 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    let sha512 = "validname@sha512:\
        ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
        ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    assert!(sha512.ends_with(f64));
    vec![
        // One algorithm in v1alpha1.
        (sha512, Err(ReferenceError::DigestAlgorithm { algorithm: "sha512".into() })),
        // In lower case these would be paths on Docker Hub.
        ("LOCALDOMAIN/library/debian", Err(ambiguous("LOCALDOMAIN"))),
        ("LOCALDOMAIN/debian", Err(ambiguous("LOCALDOMAIN"))),
        ("LOCALDOMAIN/fooo", Err(ambiguous("LOCALDOMAIN"))),
        ("LOCALDOMAIN/fooo/bar", Err(ambiguous("LOCALDOMAIN"))),
        ("Docker/docker", Err(ambiguous("Docker"))),
        ("DOCKER/docker", Err(ambiguous("DOCKER"))),
        ("Foo/bar", Err(ambiguous("Foo"))),
        ("FOO/bar", Err(ambiguous("FOO"))),
        ("Uppercase/lowercase:tag", Err(ambiguous("Uppercase"))),
        // One spelling of a host.
        ("Asdf.com/foo/bar", Ok("asdf.com/foo/bar")),
        // A text that containerd looks up among the images of the node before it asks any registry.
        (
            "sha256:dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c",
            Err(ReferenceError::ImageIdentifier {
                text: "sha256:dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c".into(),
            }),
        ),
        (
            "sha256:da304e823d8ca2b9d863a3c897baeb852ba21ea9a9f1414736394ae7fcaf9821",
            Err(ReferenceError::ImageIdentifier {
                text: "sha256:da304e823d8ca2b9d863a3c897baeb852ba21ea9a9f1414736394ae7fcaf9821".into(),
            }),
        ),
    ]
}

#[test]
fn agrees_with_distribution_reference_except_where_listed() {
    let differences = differences();
    let mut used = HashSet::new();
    for (input, expected) in DISTRIBUTION {
        let found = ImageReference::parse(input);
        if let Some((_, ours)) = differences.iter().find(|(case, _)| case == input) {
            used.insert(*input);
            let found = found.as_ref().map(ToString::to_string).map_err(Clone::clone);
            assert_eq!(found, ours.clone().map(str::to_owned), "{input:?}");
        } else if expected.is_empty() {
            assert!(found.is_err(), "{input:?}: {found:?}");
        } else {
            assert_eq!(found.map(|reference| reference.to_string()).as_deref(), Ok(*expected), "{input:?}");
        }
    }
    for (input, _) in differences {
        assert!(used.contains(input), "no such case: {input:?}");
    }
}

#[test]
fn agrees_with_distribution_reference_on_long_names() {
    let digit = |count| "a".repeat(count);
    let deep = "a/".repeat(127);
    // The limit is on the path alone, after `library/` has been added.
    for accepted in [format!("example.com/{}:tag", digit(255)), format!("{deep}a:tag-puts-this-over-max"), digit(247)] {
        assert!(ImageReference::parse(&accepted).is_ok(), "{accepted}");
    }
    for refused in
        [format!("domain/{}:tag", digit(256)), format!("example.com/{}", digit(256)), format!("{deep}a/a"), digit(248)]
    {
        let found = ImageReference::parse(&refused);
        assert!(matches!(found, Err(ReferenceError::PathTooLong { .. })), "{refused}: {found:?}");
    }
}

#[test]
fn takes_references_apart() {
    let digest = format!("sha256:{HEX}");
    // Input, host, path, tag, whether there is a digest, effective tag, short name.
    let cases = [
        ("nginx", "docker.io", "library/nginx", None, false, Some("latest"), true),
        ("nginx:1.27", "docker.io", "library/nginx", Some("1.27"), false, Some("1.27"), true),
        ("acme/app", "docker.io", "acme/app", None, false, Some("latest"), true),
        ("docker.io/nginx", "docker.io", "library/nginx", None, false, Some("latest"), false),
        ("index.docker.io/nginx", "docker.io", "library/nginx", None, false, Some("latest"), false),
        ("docker.io/library", "docker.io", "library/library", None, false, Some("latest"), false),
        // Without a slash, neither a dot nor a port makes a host.
        ("ghcr.io", "docker.io", "library/ghcr.io", None, false, Some("latest"), true),
        ("localhost:5000", "docker.io", "library/localhost", Some("5000"), false, Some("5000"), true),
        ("localhost/app", "localhost", "app", None, false, Some("latest"), false),
        ("ghcr.io/acme/app:1@", "ghcr.io", "acme/app", Some("1"), true, None, false),
        ("ghcr.io/acme/app@", "ghcr.io", "acme/app", None, true, None, false),
        ("nginx@", "docker.io", "library/nginx", None, true, None, true),
        // Another spelling of the same server.
        ("GHCR.io:443/acme/app", "ghcr.io", "acme/app", None, false, Some("latest"), false),
        ("10.0.0.1:443/app", "10.0.0.1", "app", None, false, Some("latest"), false),
        ("[2001:DB8:0::1]:443/app", "[2001:db8::1]", "app", None, false, Some("latest"), false),
        ("127.acme.io:443/app", "127.acme.io", "app", None, false, Some("latest"), false),
        ("REGISTRY:5000/app", "registry:5000", "app", None, false, Some("latest"), false),
        // Possibly another server, or no server at all, without the port.
        ("localhost:443/app", "localhost:443", "app", None, false, Some("latest"), false),
        ("registry:443/app", "registry:443", "app", None, false, Some("latest"), false),
        ("127.0.0.1:443/app", "127.0.0.1:443", "app", None, false, Some("latest"), false),
        ("[::1]:443/app", "[::1]:443", "app", None, false, Some("latest"), false),
        ("ghcr.io:80/app", "ghcr.io:80", "app", None, false, Some("latest"), false),
        ("docker.io:5000/app", "docker.io:5000", "app", None, false, Some("latest"), false),
    ];
    for (input, host, path, tag, with_digest, effective, short) in cases {
        let text = if with_digest { format!("{input}{digest}") } else { input.to_owned() };
        let reference = ImageReference::parse(&text).unwrap();
        assert_eq!(reference.repository().host(), host, "{text}");
        assert_eq!(reference.repository().path(), path, "{text}");
        assert_eq!(reference.tag(), tag, "{text}");
        assert_eq!(reference.digest().map(ToString::to_string), with_digest.then(|| digest.clone()), "{text}");
        assert_eq!(reference.effective_tag(), effective, "{text}");
        assert_eq!(reference.is_short_name(), short, "{text}");
        assert_eq!(reference.as_written(), text);
    }
}

#[test]
fn refuses_with_the_rule_that_is_broken() {
    use ReferenceError as E;
    let hex = HEX.to_owned();
    let cases: Vec<(String, ReferenceError)> = vec![
        (String::new(), E::Empty),
        (" ".into(), E::ForbiddenCharacter { character: ' ', offset: 0 }),
        ("nginx ".into(), E::ForbiddenCharacter { character: ' ', offset: 5 }),
        ("nginx\n".into(), E::ForbiddenCharacter { character: '\n', offset: 5 }),
        ("ghcr.io/acme\0/app".into(), E::ForbiddenCharacter { character: '\0', offset: 12 }),
        ("ghcr.io/acme/app\u{7f}".into(), E::ForbiddenCharacter { character: '\u{7f}', offset: 16 }),
        // A Cyrillic letter, a dot that IDNA folds, a zero-width space, an override of the direction of text.
        ("ghcr.i\u{43e}/acme/app".into(), E::ForbiddenCharacter { character: '\u{43e}', offset: 6 }),
        ("ghcr\u{3002}io/acme/app".into(), E::ForbiddenCharacter { character: '\u{3002}', offset: 4 }),
        ("ghcr.io\u{200b}/acme".into(), E::ForbiddenCharacter { character: '\u{200b}', offset: 7 }),
        ("\u{202e}nginx".into(), E::ForbiddenCharacter { character: '\u{202e}', offset: 0 }),
        ("a".repeat(1025), E::TooLong { length: 1025, maximum: 1024 }),
        ("é".repeat(1 << 20), E::TooLong { length: 2 << 20, maximum: 1024 }),
        (hex.clone(), E::ImageIdentifier { text: hex.clone() }),
        ("sha256:dbcc1".into(), E::ImageIdentifier { text: "sha256:dbcc1".into() }),
        ("sha512:latest".into(), E::ImageIdentifier { text: "sha512:latest".into() }),
        ("https://ghcr.io/acme/app".into(), E::Scheme { scheme: "https".into() }),
        ("docker://nginx".into(), E::Scheme { scheme: "docker".into() }),
        ("oci:ghcr.io/acme".into(), E::Port { port: "ghcr.io".into() }),
        ("user:password@ghcr.io/acme/app".into(), E::DigestWithoutAlgorithm { digest: "ghcr.io/acme/app".into() }),
        ("user@ghcr.io:5000/acme/app".into(), E::DigestAlgorithm { algorithm: "ghcr.io".into() }),
        ("ghcr.io./acme/app".into(), E::Host { host: "ghcr.io.".into() }),
        (".ghcr.io/acme/app".into(), E::Host { host: ".ghcr.io".into() }),
        ("ghcr..io/acme/app".into(), E::Host { host: "ghcr..io".into() }),
        ("../acme/app".into(), E::Host { host: "..".into() }),
        ("./app".into(), E::Host { host: ".".into() }),
        ("-ghcr.io/app".into(), E::Host { host: "-ghcr.io".into() }),
        ("foo_bar.com/app".into(), E::Host { host: "foo_bar.com".into() }),
        ("ghcr%2eio.x/app".into(), E::Host { host: "ghcr%2eio.x".into() }),
        (format!("{}.io/app", "a".repeat(64)), E::Host { host: format!("{}.io", "a".repeat(64)) }),
        (format!("{}io/app", "a.".repeat(126)), E::Host { host: format!("{}io", "a.".repeat(126)) }),
        ("[::1/app".into(), E::Port { port: "1".into() }),
        ("[]/app".into(), E::PathComponent { component: "[]".into() }),
        ("[]:5000/app".into(), E::Host { host: "[]".into() }),
        ("[fd00123123123]:5000/app".into(), E::Host { host: "[fd00123123123]".into() }),
        ("[::ffff:127.0.0.1]/app".into(), E::Host { host: "[::ffff:127.0.0.1]".into() }),
        ("[::ffff:7f00:1]/app".into(), E::Host { host: "[::ffff:7f00:1]".into() }),
        ("[::1]5000/app".into(), E::Host { host: "[::1]5000".into() }),
        ("ghcr.io:/app".into(), E::Port { port: String::new() }),
        ("ghcr.io:0/app".into(), E::Port { port: "0".into() }),
        ("ghcr.io:0443/app".into(), E::Port { port: "0443".into() }),
        ("ghcr.io:+443/app".into(), E::Port { port: "+443".into() }),
        ("ghcr.io::443/app".into(), E::Port { port: "443".into() }),
        ("ghcr.io:65536/app".into(), E::Port { port: "65536".into() }),
        ("Docker.io/nginx".into(), ambiguous("Docker.io")),
        ("docker.io:443/nginx".into(), ambiguous("docker.io:443")),
        ("INDEX.docker.io/nginx".into(), ambiguous("INDEX.docker.io")),
        ("index.docker.io:443/nginx".into(), ambiguous("index.docker.io:443")),
        ("LOCALHOST/app".into(), ambiguous("LOCALHOST")),
        ("ghcr.io/Acme/app".into(), E::PathUpperCase { path: "Acme/app".into() }),
        ("Nginx".into(), E::PathUpperCase { path: "Nginx".into() }),
        ("ghcr.io/acme/../evil/app".into(), E::PathComponent { component: "..".into() }),
        ("ghcr.io/acme/./app".into(), E::PathComponent { component: ".".into() }),
        ("ghcr.io//app".into(), E::PathComponent { component: String::new() }),
        ("ghcr.io/acme/".into(), E::PathComponent { component: String::new() }),
        ("/acme/app".into(), E::PathComponent { component: String::new() }),
        ("ghcr.io/".into(), E::PathComponent { component: String::new() }),
        (":tag".into(), E::PathComponent { component: String::new() }),
        ("ghcr.io/acme/%2e%2e/app".into(), E::PathComponent { component: "%2e%2e".into() }),
        ("ghcr.io/acme/*".into(), E::PathComponent { component: "*".into() }),
        ("ghcr.io/acme/app?x".into(), E::PathComponent { component: "app?x".into() }),
        ("ghcr.io/acme/app:".into(), E::Tag { tag: String::new() }),
        ("ghcr.io/acme/app:-x".into(), E::Tag { tag: "-x".into() }),
        ("ghcr.io/acme/app:1:2".into(), E::Tag { tag: "1:2".into() }),
        ("ghcr.io/acme/app:1/2".into(), E::Tag { tag: "1/2".into() }),
        (format!("ghcr.io/acme/app:{}", "1".repeat(129)), E::Tag { tag: "1".repeat(129) }),
        ("ghcr.io/acme/app@".into(), E::DigestWithoutAlgorithm { digest: String::new() }),
        (format!("ghcr.io/acme/app@sha256:{hex}:tag"), E::DigestLength { length: 68, expected: 64 }),
        (format!("ghcr.io/acme/app@sha256:{hex}@sha256:{hex}"), E::DigestLength { length: 136, expected: 64 }),
        (format!("ghcr.io/acme/app@sha256:{}", hex.to_uppercase()), E::DigestCharacters { hex: hex.to_uppercase() }),
        (format!("@sha256:{hex}"), E::PathComponent { component: String::new() }),
    ];
    for (input, expected) in cases {
        assert_eq!(ImageReference::parse(&input), Err(expected), "{:?}", input.get(..80).unwrap_or(&input));
    }
}

#[test]
fn the_canonical_text_names_the_same_image() {
    let digest = Digest::of(b"");
    let mut count = 0;
    for (input, _) in DISTRIBUTION {
        let Ok(reference) = ImageReference::parse(input) else { continue };
        count += 1;
        let again = ImageReference::parse(&reference.to_string()).unwrap();
        assert_eq!(again, reference, "{input:?}");
        assert_eq!(again.to_string(), reference.to_string(), "{input:?}");
        assert!(!again.is_short_name(), "{input:?}");
        let pinned = ImageReference::parse(&reference.with_digest(&digest)).unwrap();
        assert_eq!(pinned.repository(), reference.repository(), "{input:?}");
        assert_eq!(pinned.tag(), reference.tag(), "{input:?}");
        assert_eq!(pinned.digest(), Some(&digest), "{input:?}");
    }
    assert!(count > 100, "the table shrank to {count}");
}

/// Builds texts from the grammar's own fragments, in an order that a fixed generator picks, and holds the round trip.
#[test]
fn no_accepted_text_changes_its_meaning_when_parsed_again() {
    let fragments = [
        "a",
        "Z",
        "0",
        "localhost",
        "docker.io",
        "index.docker.io",
        "ghcr.io",
        "LOCALHOST",
        "library",
        ".",
        "..",
        "-",
        "--",
        "_",
        "__",
        "/",
        "//",
        ":",
        ":443",
        ":5000",
        "@",
        "[::1]",
        "[2001:db8::1]",
        "127.0.0.1",
        "sha256:",
        HEX,
        "latest",
        "*",
        " ",
    ];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut text = String::new();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (state >> 60) % 7 + 1;
        for _ in 0..length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(state >> 33).unwrap() % fragments.len();
            text.push_str(fragments[index]);
        }
        let Ok(reference) = ImageReference::parse(&text) else { continue };
        accepted += 1;
        let canonical = reference.to_string();
        assert_eq!(ImageReference::parse(&canonical), Ok(reference), "{text:?} -> {canonical:?}");
    }
    assert!(accepted > 5_000, "only {accepted} of the texts parse");
}

#[test]
fn equality_ignores_how_a_reference_was_written() {
    let parse = |text| ImageReference::parse(text).unwrap();
    assert_eq!(parse("nginx"), parse("index.docker.io/library/nginx"));
    assert_eq!(HashSet::from([parse("nginx"), parse("docker.io/nginx")]).len(), 1);
    assert_ne!(parse("nginx"), parse("nginx:latest"));
    assert_ne!(parse("nginx"), parse("acme/nginx"));
}

/// A policy for `docker.io` must see every image of Docker Hub.
#[test]
fn docker_hub_has_one_name() {
    for host in ["registry-1.docker.io", "registry.hub.docker.com", "REGISTRY-1.docker.io", "registry-1.docker.io:443"]
    {
        let reference = ImageReference::parse(&format!("{host}/library/nginx:1"));
        assert!(matches!(reference, Err(ReferenceError::DockerHubAlias { .. })), "{host}: {reference:?}");
        assert!(crate::image::ImagePattern::parse(&format!("{host}/**")).is_err(), "{host}");
    }
    for host in ["docker.io", "index.docker.io"] {
        assert_eq!(ImageReference::parse(&format!("{host}/library/nginx:1")).unwrap().repository().host(), "docker.io");
    }
    assert!(ImageReference::parse("registry-1.docker.io.example.com/library/nginx:1").is_ok());
}
