//! What patterns select, what they refuse, and how long they take against hostile names.

use std::time::{Duration, Instant};

use super::super::ImageReference;
use super::*;

const HEX: &str = "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582";

fn matches(pattern: &str, reference: &str) -> bool {
    let reference = ImageReference::parse(reference).unwrap();
    ImagePattern::parse(pattern).unwrap().matches(reference.repository(), reference.digest())
}

#[test]
fn portieris_no_wildcard_selects_by_host_and_path_together() {
    // Pattern, references that it selects, references that it does not.
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "ghcr.io/acme/**",
            &["ghcr.io/acme/a", "ghcr.io/acme/a/b", "GHCR.IO/acme/a", "ghcr.io:443/acme/a:1"],
            &[
                "ghcr.io/acme",
                "ghcr.io/acmeevil/a",
                "ghcr.io/evil/acme/a",
                "ghcr.io.evil.example/acme/a",
                "evil-ghcr.io/acme/a",
                "xghcr.io/acme/a",
                "ghcr.io:5000/acme/a",
                "ghcr.io:80/acme/a",
                "evil.example/ghcr.io/acme/a",
                "acme/a",
            ],
        ),
        ("ghcr.io/acme/*", &["ghcr.io/acme/a"], &["ghcr.io/acme", "ghcr.io/acme/a/b", "ghcr.io/acmeevil/a"]),
        ("ghcr.io/acme/app", &["ghcr.io/acme/app:1"], &["ghcr.io/acme/app/x", "ghcr.io/acme/appx", "ghcr.io/acme/ap"]),
        ("ghcr.io/acme/app-*", &["ghcr.io/acme/app-a"], &["ghcr.io/acme/app", "ghcr.io/acme/app-a/b"]),
        ("ghcr.io/acme/*app*", &["ghcr.io/acme/app", "ghcr.io/acme/my-app-2"], &["ghcr.io/acme/ap"]),
        ("ghcr.io/acme-*/app", &["ghcr.io/acme-a/app"], &["ghcr.io/acme-a/b/app", "ghcr.io/acme/app"]),
        // One or more parts, in the middle too.
        (
            "ghcr.io/**/app",
            &["ghcr.io/a/app", "ghcr.io/a/b/app", "ghcr.io/app/app"],
            &["ghcr.io/app", "ghcr.io/a/app/b"],
        ),
        ("ghcr.io/**/**", &["ghcr.io/a/b", "ghcr.io/a/b/c"], &["ghcr.io/a"]),
        (
            "ghcr.io/a/**/b/**/c",
            &["ghcr.io/a/x/b/y/c", "ghcr.io/a/b/b/b/c", "ghcr.io/a/x/b/y/b/z/c"],
            &["ghcr.io/a/b/c", "ghcr.io/a/x/b/c"],
        ),
        // Docker Hub.
        (
            "nginx",
            &["nginx", "docker.io/nginx", "library/nginx", "index.docker.io/library/nginx"],
            &["acme/nginx", "ghcr.io/nginx"],
        ),
        ("docker.io/nginx", &["nginx:1"], &["docker.io/acme/nginx"]),
        ("index.docker.io/acme/*", &["acme/app"], &["nginx", "acmeevil/app"]),
        ("acme/*", &["acme/app", "docker.io/acme/app"], &["ghcr.io/acme/app", "acme/app/x", "library/acme"]),
        ("acme/**", &["acme/app", "acme/app/x"], &["acme", "acmeevil/app"]),
        ("docker.io/*", &["nginx", "library/redis"], &["acme/app"]),
        ("docker.io/**", &["nginx", "acme/app", "acme/app/x"], &["ghcr.io/acme/app", "docker.io:5000/acme/app"]),
        ("docker.io/library/ngin*", &["nginx"], &["acme/nginx"]),
        // A wildcard in the host stays within its label.
        (
            "*.acme.io/app",
            &["eu.acme.io/app", "EU.ACME.io:443/app"],
            &[
                "acme.io/app",
                "a.eu.acme.io/app",
                "eu.acme.io.evil.example/app",
                "evil.example/acme.io/app",
                "evil.example/eu.acme.io/app",
                "eu.acme.io:5000/app",
                "eu.acme.io/app/x",
            ],
        ),
        ("registry-*.acme.io/**", &["registry-eu.acme.io/a/b"], &["registry-eu.x.acme.io/a", "registry.acme.io/a"]),
        ("*.*.acme.io/app", &["a.b.acme.io/app"], &["b.acme.io/app", "a.b.c.acme.io/app"]),
        (
            "10.0.*.*:5000/app",
            &["10.0.1.2:5000/app"],
            &["10.0.1.2/app", "10.0.1:5000/app", "10.0.1.2.evil.example:5000/app"],
        ),
        ("*:5000/app", &["registry:5000/app"], &["registry.acme.io:5000/app", "registry:5001/app", "[::1]:5000/app"]),
        ("*.IO/acme/app", &["ghcr.io/acme/app"], &["docker.io/acme/app/x", "ghcr.io:5000/acme/app"]),
        // Any host, any port.
        (
            "*/acme/app",
            &["ghcr.io/acme/app", "localhost:5000/acme/app", "[::1]:5000/acme/app", "acme/app"],
            &["ghcr.io/x/acme/app"],
        ),
        ("*/nginx", &["ghcr.io/nginx"], &["nginx", "ghcr.io/acme/nginx"]),
        ("*/**", &["nginx", "ghcr.io/a/b/c", "localhost/a", "[2001:db8::1]/a"], &[]),
        ("**", &["nginx", "ghcr.io/a/b/c", "localhost/a", "[2001:db8::1]/a"], &[]),
        // Exact hosts.
        ("localhost/app", &["localhost/app"], &["localhost:5000/app", "library/app"]),
        ("localhost:5000/app", &["localhost:5000/app"], &["localhost/app"]),
        ("GHCR.io:443/acme/app", &["ghcr.io/acme/app"], &["ghcr.io:5000/acme/app"]),
        ("[2001:DB8:0::1]:5000/*", &["[2001:db8::1]:5000/app"], &["[2001:db8::1]/app", "[2001:db8::2]:5000/app"]),
    ];
    for (pattern, selected, others) in cases {
        for reference in *selected {
            assert!(matches(pattern, reference), "{pattern} must select {reference}");
        }
        for reference in *others {
            assert!(!matches(pattern, reference), "{pattern} must not select {reference}");
        }
        assert_eq!(ImagePattern::parse(pattern).unwrap().to_string(), *pattern);
    }
}

#[test]
fn a_pattern_with_a_digest_selects_nothing_else() {
    let pattern = format!("ghcr.io/acme/*@sha256:{HEX}");
    assert!(matches(&pattern, &format!("ghcr.io/acme/app@sha256:{HEX}")));
    assert!(matches(&pattern, &format!("ghcr.io/acme/app:any@sha256:{HEX}")));
    assert!(!matches(&pattern, &format!("ghcr.io/evil/app@sha256:{HEX}")));
    assert!(!matches(&pattern, &format!("ghcr.io/acme/app@{}", Digest::of(b""))));
    assert!(!matches(&pattern, "ghcr.io/acme/app:1"));
    assert!(matches(&format!("**@sha256:{HEX}"), &format!("nginx@sha256:{HEX}")));
}

#[test]
fn refuses_with_the_rule_that_is_broken() {
    use PatternError as E;
    let hex = HEX.to_owned();
    let ambiguous = |part: &str, suggestion: &str| E::Ambiguous { part: part.into(), suggestion: suggestion.into() };
    let no_repository =
        |host: &str, suggestion: &str| E::NoRepository { host: host.into(), suggestion: suggestion.into() };
    let tag = |tag: &str| E::Tag { tag: tag.into() };
    let cases: Vec<(String, PatternError)> = vec![
        (String::new(), E::Empty),
        (format!("ghcr.io/{}", "a".repeat(505)), E::TooLong { length: 513, maximum: 512 }),
        ("ghcr.io/acme/app ".into(), E::ForbiddenCharacter { character: ' ', offset: 16 }),
        ("ghcr.io/acme\n".into(), E::ForbiddenCharacter { character: '\n', offset: 12 }),
        ("ghcr.io/acme/\0".into(), E::ForbiddenCharacter { character: '\0', offset: 13 }),
        ("ghcr.i\u{43e}/acme".into(), E::ForbiddenCharacter { character: '\u{43e}', offset: 6 }),
        ("ghcr.io/acme/{a,b}".into(), E::ForbiddenCharacter { character: '{', offset: 13 }),
        ("ghcr.io/acme/a?".into(), E::ForbiddenCharacter { character: '?', offset: 14 }),
        ("!ghcr.io/acme/a".into(), E::ForbiddenCharacter { character: '!', offset: 0 }),
        ("*".into(), ambiguous("*", "docker.io/library/*")),
        ("nginx*".into(), ambiguous("nginx*", "docker.io/library/nginx*")),
        ("acme*/app".into(), ambiguous("acme*", "docker.io/acme*/app")),
        ("**/app".into(), E::DoubleWildcardHost { suggestion: "*/**/app".into() }),
        ("**.io/app".into(), E::DoubleWildcardHost { suggestion: "*/**/app".into() }),
        ("ghcr.io".into(), no_repository("ghcr.io", "ghcr.io/**")),
        ("*.io".into(), no_repository("*.io", "*.io/**")),
        ("localhost".into(), no_repository("localhost", "localhost/**")),
        ("localhost:5000".into(), no_repository("localhost:5000", "localhost:5000/**")),
        ("ghcr.io:443".into(), no_repository("ghcr.io:443", "ghcr.io:443/**")),
        ("[::1]:5000".into(), no_repository("[::1]:5000", "[::1]:5000/**")),
        ("ghcr.io/acme/**app".into(), E::DoubleWildcard { part: "**app".into() }),
        ("ghcr.io/acme/***".into(), E::DoubleWildcard { part: "***".into() }),
        ("ghcr.io/acme/app:1.2".into(), tag("1.2")),
        ("ghcr.io/acme/app:*".into(), tag("*")),
        ("nginx:1.27".into(), tag("1.27")),
        (format!("ghcr.io/acme/app:dev-1@sha256:{hex}"), tag("dev-1")),
        (format!("nginx:1@sha256:{hex}"), tag("1")),
        ("ghcr.io/Acme/*".into(), E::PathUpperCase { path: "Acme/*".into() }),
        ("Nginx".into(), E::PathUpperCase { path: "Nginx".into() }),
        ("ghcr.io/".into(), E::PathPart { part: String::new() }),
        ("ghcr.io//app".into(), E::PathPart { part: String::new() }),
        ("ghcr.io/acme/".into(), E::PathPart { part: String::new() }),
        ("/app".into(), E::PathPart { part: String::new() }),
        ("ghcr.io/acme/../app".into(), E::PathPart { part: "..".into() }),
        ("ghcr.io/acme/-*".into(), E::PathPart { part: "-*".into() }),
        ("ghcr.io/[a]".into(), E::PathPart { part: "[a]".into() }),
        ("*.acme.io:443/app".into(), E::Host(ReferenceError::AmbiguousHost { host: "*.acme.io:443".into() })),
        ("Docker.io/nginx".into(), E::Host(ReferenceError::AmbiguousHost { host: "Docker.io".into() })),
        ("ACME/app".into(), E::Host(ReferenceError::AmbiguousHost { host: "ACME".into() })),
        ("ghcr.io./acme".into(), E::Host(ReferenceError::Host { host: "ghcr.io.".into() })),
        ("registry:*/app".into(), E::Host(ReferenceError::Port { port: "*".into() })),
        ("*.acme.io./app".into(), E::HostPattern { host: "*.acme.io.".into() }),
        ("*..io/app".into(), E::HostPattern { host: "*..io".into() }),
        ("-*.io/app".into(), E::HostPattern { host: "-*.io".into() }),
        ("a_*.io/app".into(), E::HostPattern { host: "a_*.io".into() }),
        ("[*::1]/app".into(), E::HostPattern { host: "[*::1]".into() }),
        ("https://ghcr.io/acme".into(), E::Host(ReferenceError::Scheme { scheme: "https".into() })),
        ("ghcr.io/app@sha256:abc".into(), E::Digest(ReferenceError::DigestLength { length: 3, expected: 64 })),
        ("ghcr.io/app@*".into(), E::Digest(ReferenceError::DigestWithoutAlgorithm { digest: "*".into() })),
        (
            format!("ghcr.io/app@sha512:{hex}{hex}"),
            E::Digest(ReferenceError::DigestAlgorithm { algorithm: "sha512".into() }),
        ),
        (format!("@sha256:{hex}"), E::PathPart { part: String::new() }),
    ];
    for (input, expected) in cases {
        assert_eq!(ImagePattern::parse(&input), Err(expected), "{input:?}");
    }
}

#[test]
fn every_literal_reference_is_selected_by_its_own_repository() {
    for text in ["nginx", "acme/app", "ghcr.io/acme/app:1", "localhost:5000/a", "GHCR.io:443/a/b__c", "[::1]:443/a"] {
        let reference = ImageReference::parse(text).unwrap();
        let pattern = ImagePattern::parse(&reference.repository().to_string()).unwrap();
        assert!(pattern.matches(reference.repository(), None), "{text}");
    }
}

/// The answer of the definition, by trying everything: exponential, and so only for short texts.
fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            by_definition(rest, text) || text.split_first().is_some_and(|(_, text)| by_definition(pattern, text))
        }
        (Some((expected, rest)), Some((found, text))) => expected == found && by_definition(rest, text),
        _ => false,
    }
}

#[test]
fn the_matcher_agrees_with_the_definition() {
    let words = |alphabet: &[u8], length: u32| -> Vec<Vec<u8>> {
        (0..=length)
            .flat_map(|length| (0..alphabet.len().pow(length)).map(move |number| (length, number)))
            .map(|(length, mut number)| {
                (0..length)
                    .map(|_| {
                        let letter = alphabet[number % alphabet.len()];
                        number /= alphabet.len();
                        letter
                    })
                    .collect()
            })
            .collect()
    };
    let texts = words(b"ab", 6);
    for pattern in words(b"ab*", 5) {
        for text in &texts {
            let (glob, word) = (std::str::from_utf8(&pattern).unwrap(), std::str::from_utf8(text).unwrap());
            assert_eq!(glob_match(glob, word), by_definition(&pattern, text), "{glob} {word}");
        }
    }
}

#[test]
fn hostile_patterns_take_bounded_time() {
    let deep = format!("ghcr.io/{}a", "a/".repeat(127));
    let wide = format!("ghcr.io/{}", "a".repeat(255));
    let cases = [
        (format!("ghcr.io/{}b", "**/".repeat(125)), deep.clone()),
        (format!("ghcr.io/{}b", "**/a/".repeat(60)), deep.clone()),
        (format!("ghcr.io/{}b", "**/*a*/".repeat(50)), deep),
        (format!("ghcr.io/{}b", "*a".repeat(240)), wide.clone()),
        (format!("ghcr.io/{}b", "a*".repeat(240)), wide),
    ];
    // A thousandth of what exponential backtracking would take; the guard is only against hanging.
    let started = Instant::now();
    for (pattern, reference) in cases {
        for _ in 0..100 {
            assert!(!matches(&pattern, &reference), "{pattern}");
        }
    }
    assert!(started.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_pattern_contains_what_it_selects_all_of() {
    let digest = format!("ghcr.io/acme/app@sha256:{HEX}");
    let other = format!("ghcr.io/acme/app@sha256:{}", HEX.replace('e', "f"));
    // Outer, inner, whether all of the inner lies within the outer.
    let table: &[(&str, &str, bool)] = &[
        ("**", "ghcr.io/acme/**", true),
        ("**", "**", true),
        ("**", "*/**", true),
        ("*/**", "**", true),
        ("ghcr.io/**", "**", false),
        ("ghcr.io/**", "*/acme/app", false),
        ("ghcr.io/**", "quay.io/acme/app", false),
        ("ghcr.io/acme/**", "ghcr.io/acme/**", true),
        ("ghcr.io/acme/**", "ghcr.io/acme/team/**", true),
        ("ghcr.io/acme/**", "ghcr.io/acme/*", true),
        ("ghcr.io/acme/**", "ghcr.io/acme/app", true),
        ("ghcr.io/acme/**", "ghcr.io/acme", false),
        ("ghcr.io/acme/**", "ghcr.io/acmeevil/**", false),
        ("ghcr.io/acme/**", "ghcr.io/acme*/app", false),
        ("ghcr.io/acme/**", "ghcr.io/*/app", false),
        ("ghcr.io/acme/**", "ghcr.io/**", false),
        ("ghcr.io/acme/*", "ghcr.io/acme/**", false),
        ("ghcr.io/acme/*", "ghcr.io/acme/app", true),
        ("ghcr.io/acme/*", "ghcr.io/acme/a/b", false),
        ("ghcr.io/acme/app", "ghcr.io/acme/*", false),
        ("ghcr.io/acme/app-*", "ghcr.io/acme/app-*", true),
        ("ghcr.io/acme/app-*", "ghcr.io/acme/app-x*", true),
        ("ghcr.io/acme/app-*", "ghcr.io/acme/app*", false),
        ("ghcr.io/acme/*-app-*", "ghcr.io/acme/x-app-*", true),
        ("ghcr.io/acme/*-app-*", "ghcr.io/acme/*-app", false),
        ("ghcr.io/**/app", "ghcr.io/acme/**/app", true),
        ("ghcr.io/**/app", "ghcr.io/acme/*/app", true),
        ("ghcr.io/**/app", "ghcr.io/acme/**", false),
        ("ghcr.io/**/**", "ghcr.io/a/**", true),
        ("ghcr.io/**/**", "ghcr.io/**", false),
        // It does, but wildcards meet wildcards.
        ("ghcr.io/*/**", "ghcr.io/**/*", false),
        ("*.acme.io/**", "registry.acme.io/app", true),
        ("*.acme.io/**", "*.acme.io/app", true),
        ("*.acme.io/**", "r*.acme.io/app", true),
        ("r*.acme.io/**", "*.acme.io/app", false),
        ("*.acme.io/**", "a.b.acme.io/app", false),
        ("*.acme.io/**", "*.acme.io:5000/app", false),
        ("*.acme.io/**", "[::1]:5000/app", false),
        ("registry.acme.io/**", "*.acme.io/**", false),
        ("docker.io/*", "nginx", true),
        ("docker.io/*", "acme/nginx", false),
        ("docker.io/**", "acme/*", true),
        ("ghcr.io/acme/app", &digest, true),
        ("ghcr.io/**", &digest, true),
        (&digest, &digest, true),
        (&digest, &other, false),
        (&digest, "ghcr.io/acme/app", false),
    ];
    let references: Vec<ImageReference> = [
        "ghcr.io/acme/app",
        "ghcr.io/acme/a/b",
        "ghcr.io/acme/app-x",
        "ghcr.io/acme/x-app-y",
        "ghcr.io/a/app",
        "ghcr.io/app",
        "registry.acme.io/app",
        "registry.acme.io:5000/app",
        "a.b.acme.io/app",
        "[::1]:5000/app",
        "nginx",
        "acme/nginx",
        &digest,
    ]
    .map(|text| ImageReference::parse(text).unwrap())
    .into();
    for (outer, inner, expected) in table {
        let (outer, inner) = (ImagePattern::parse(outer).unwrap(), ImagePattern::parse(inner).unwrap());
        assert_eq!(outer.contains(&inner), *expected, "{outer} contains {inner}");
        for reference in &references {
            let selects = |pattern: &ImagePattern| pattern.matches(reference.repository(), reference.digest());
            assert!(!expected || !selects(&inner) || selects(&outer), "{outer} contains {inner} but for {reference}");
        }
    }
}
