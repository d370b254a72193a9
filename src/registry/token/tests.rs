//! Challenges, realms and tokens: which are answered, which are refused, and what is remembered.

use super::*;
use crate::image::ImageReference;
use crate::registry::{RegistryOptions, TlsRoots};

fn transport() -> Transport {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = RegistryOptions {
        plain_http: vec!["plain.local:5000".into(), "auth.local:5001".into()],
        tls_roots: TlsRoots::None,
        ..RegistryOptions::default()
    };
    Transport::new(&options).unwrap()
}

/// Registry, the realm that it names, and whether that is accepted.
const REALMS: &[(&str, &str, bool)] = &[
    ("https://ghcr.io/v2/", "https://ghcr.io/token", true),
    ("https://ghcr.io/v2/", "https://GHCR.io:443/token?a=b", true),
    ("https://reg.io:5000/v2/", "https://reg.io/token", true),
    ("https://registry.gitlab.com/v2/", "https://gitlab.com/jwt/auth", true),
    ("https://example.com/v2/", "https://auth.example.com/", true),
    ("https://registry-1.docker.io/v2/", "https://auth.docker.io/token", true),
    ("https://registry.example.com/v2/", "https://auth.example.com/token", true),
    ("http://plain.local:5000/v2/", "http://plain.local:5000/token", true),
    // Each with one thing changed.
    ("https://ghcr.io/v2/", "http://ghcr.io/token", false),
    ("https://ghcr.io/v2/", "https://ghcr.io.evil.com/token", false),
    ("https://ghcr.io/v2/", "https://evilghcr.io/token", false),
    ("https://ghcr.io/v2/", "https://user:password@ghcr.io/token", false),
    ("https://ghcr.io/v2/", "https://evil.com\\@ghcr.io/token", false),
    ("https://registry.gitlab.com/v2/", "https://com/", false),
    ("https://mine.azurecr.io/v2/", "https://evil.azurecr.io/", false),
    ("https://registry-2.docker.io/v2/", "https://auth.docker.io/token", false),
    ("https://registry.example.com/v2/", "https://auth.example.com:8443/token", false),
    ("https://other.example.com/v2/", "https://auth.example.com/token", false),
    ("https://ghcr.io/v2/", "https://169.254.169.254/latest/meta-data", false),
    ("https://10.0.0.1/v2/", "https://10.0.0.1:6443/", false),
    ("http://plain.local:5000/v2/", "http://plain.local:5001/token", false),
    ("http://plain.local:5000/v2/", "http://auth.local:5001/token", false),
    ("http://plain.local:5000/v2/", "https://sub.plain.local/token", false),
    ("https://ghcr.io/v2/", "file:///etc/passwd", false),
    ("https://ghcr.io/v2/", "/token", false),
    ("https://ghcr.io/v2/", "", false),
];

#[tokio::test]
async fn accepts_token_services_of_the_same_site_only() {
    let transport = transport();
    let grants = [RealmGrant { registry: "registry.example.com".into(), realm: "auth.example.com".into() }];
    for (registry, realm, accepted) in REALMS {
        let registry_url = Url::parse(registry).unwrap();
        let checked = check_realm(&transport, &grants, &registry_url, realm);
        assert_eq!(checked.is_ok(), *accepted, "{registry} names {realm}");
        if let Err(error) = checked {
            assert!(!error.to_string().contains("meta-data") && !error.to_string().contains("password"), "{error}");
        }
    }
}

#[test]
fn keeps_tokens_apart_and_within_bounds() {
    let key = |image: &str| TokenKey {
        repository: ImageReference::parse(image).unwrap().repository().clone(),
        credential: CredentialKey::ANONYMOUS,
    };
    let authorization = |text: &str, life| Authorization { header: sensitive(text).unwrap(), life };
    let cache = TokenCache::default();
    cache.insert(key("reg.io/a"), &authorization("Bearer a", LONGEST_LIFE));
    assert_eq!(cache.get(&key("reg.io/a")).unwrap(), "Bearer a");
    assert_eq!(cache.get(&key("reg.io/b")), None);
    assert_eq!(cache.get(&key("other.io/a")), None);
    cache.insert(key("reg.io/b"), &authorization("Bearer b", Duration::ZERO));
    assert_eq!(cache.get(&key("reg.io/b")), None);
    for number in 0..2 * CACHE_ENTRIES {
        cache.insert(key(&format!("reg.io/x{number}")), &authorization("Bearer x", DEFAULT_LIFE));
    }
    assert_eq!(cache.entries.lock().unwrap().len(), CACHE_ENTRIES);
    cache.remove(&key("reg.io/a"));
    assert!(!format!("{cache:?}").contains("Bearer"), "{cache:?}");
}
