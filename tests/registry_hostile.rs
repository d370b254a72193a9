//! A registry that lies, stalls, floods and redirects: what the client refuses, each beside what it accepts.
//!
//! Everything runs over loopback within this process. Figures of time are guards against hanging, not measurements.
//! The advisories that these repeat: CVE-2022-47633 (a tag with two answers), CVE-2023-46737 and CVE-2023-33958
//! (endless signatures), CVE-2023-47630 (another image's bytes), CVE-2025-27403 (credentials for look-alikes).

#![expect(clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]

#[path = "support/registry.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::image::{Digest, ImageReference};
use countersign::registry::{
    CredentialStore, ImageSource, RealmGrant, RegistryError, RegistryOptions, children, resolve,
};
use futures::stream;
use support::{Content, FakeRegistry, OCI_INDEX, OCI_MANIFEST, Seen, client, index, manifest, options, respond};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Far above what any of these takes; a test that reaches it hangs.
const HANG: Duration = Duration::from_mins(1);

fn image_manifest() -> Vec<u8> {
    manifest(&[("application/vnd.oci.image.layer.v1.tar+gzip", b"layer", &[])])
}

fn credentials(host: &str, user: &str) -> CredentialStore {
    let auth = STANDARD.encode(format!("{user}:password-of-{user}"));
    let file = serde_json::json!({ "auths": { host: { "auth": auth } } });
    CredentialStore::parse(file.to_string().as_bytes()).unwrap()
}

fn assert_silent(error: &RegistryError) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains("SECRET") && !text.contains("password-of"), "{text}");
}

/// Starts a registry, resolves `app:1` in it and tells what came of it.
async fn resolved(
    answer: impl Fn(&Seen) -> Response<Body> + Clone + Send + Sync + 'static,
) -> Result<Digest, RegistryError> {
    let registry = FakeRegistry::start(answer).await;
    let client = client(options(&[registry.host()]));
    let outcome = tokio::time::timeout(HANG, resolve(&client, &registry.reference("app:1"))).await.expect("hangs");
    outcome.map(|image| image.digest().clone()).inspect_err(assert_silent)
}

#[tokio::test]
async fn cve_2023_42813_bounds_manifests_with_and_without_a_length() {
    let good = image_manifest();
    let expected = Digest::of(&good);
    assert_eq!(resolved(move |_| respond(200, &[], good.clone())).await, Ok(expected));

    let too_large = Err(RegistryError::TooLarge { what: "manifest", cap: 4 << 20 });
    let started = Instant::now();
    assert_eq!(resolved(|_| respond(200, &[], vec![b' '; 100 << 20])).await, too_large);
    let endless = |_: &Seen| {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096])));
        respond(200, &[], Body::from_stream(chunks))
    };
    assert_eq!(resolved(endless).await, too_large);
    assert!(started.elapsed() < HANG);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the servers end with the test's runtime")]
async fn gives_up_on_registries_that_stall() {
    for (headers, expected) in [
        ("", "RegistryTimeout"),
        ("content-length: 1000\r\n\r\n", "RegistryTimeout"),
        ("content-length: 99999999\r\n\r\n", "ContentTooLarge"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}").as_bytes()).await;
                    // One byte at a time keeps every timeout between reads from ending this.
                    while headers.is_empty() || stream.write_all(b" ").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                });
            }
        });
        let options = options(std::slice::from_ref(&host));
        let client = client(RegistryOptions { request_timeout: Duration::from_millis(400), ..options });
        let reference = ImageReference::parse(&format!("{host}/app:1")).unwrap();
        let outcome = tokio::time::timeout(HANG, resolve(&client, &reference)).await.expect("hangs");
        assert_eq!(outcome.unwrap_err().code(), expected, "{headers}");
    }
}

#[tokio::test]
async fn cve_2023_47630_compares_every_digest() {
    let (good, other) = (image_manifest(), manifest(&[]));
    let digest = Digest::of(&good);
    let (good_copy, other_copy) = (good.clone(), other.clone());
    let registry = FakeRegistry::start(move |seen: &Seen| match seen.path.as_str() {
        path if path.starts_with("/v2/app/") => respond(200, &[], good_copy.clone()),
        _ => respond(200, &[], other_copy.clone()),
    })
    .await;
    let client = client(options(&[registry.host()]));
    let (app, evil) = (registry.reference(&format!("app@{digest}")), registry.reference(&format!("evil@{digest}")));
    assert_eq!(*resolve(&client, &app).await.unwrap().digest(), digest);
    let mismatch = RegistryError::DigestMismatch { expected: digest.clone(), found: Digest::of(&other) };
    assert_eq!(resolve(&client, &evil).await.unwrap_err(), mismatch);
    assert_eq!(client.blob(app.repository(), &digest, 9999).await, Ok(Some(good.clone())));
    assert_eq!(client.blob(evil.repository(), &digest, 9999).await, Err(mismatch));
    assert_eq!(client.blob(app.repository(), &digest, 3).await, Err(RegistryError::TooLarge { what: "blob", cap: 3 }));
    assert_eq!(registry.seen().iter().filter(|seen| seen.path.contains("/manifests/")).count(), 2);

    for (header, accepted) in [(digest.clone(), true), (Digest::of(b"else"), false)] {
        let (bytes, header) = (good.clone(), header.to_string());
        let outcome = resolved(move |_| respond(200, &[("docker-content-digest", &header)], bytes.clone())).await;
        assert_eq!(outcome.is_ok(), accepted, "{outcome:?}");
    }
    for (header, accepted) in [(OCI_MANIFEST, true), ("application/json", true), (OCI_INDEX, false)] {
        let bytes = good.clone();
        let outcome = resolved(move |_| respond(200, &[("content-type", header)], bytes.clone())).await;
        assert_eq!(outcome.is_ok(), accepted, "{outcome:?}");
    }
}

#[tokio::test]
async fn asks_once_what_a_tag_means() {
    let answers = [image_manifest(), manifest(&[])];
    let first = Digest::of(&answers[0]);
    let count = Arc::new(AtomicUsize::new(0));
    let registry =
        FakeRegistry::start(move |_| respond(200, &[], answers[count.fetch_add(1, Ordering::SeqCst).min(1)].clone()))
            .await;
    let client = client(options(&[registry.host()]));
    let image = resolve(&client, &registry.reference("app:1")).await.unwrap();
    assert_eq!(*image.digest(), first);
    assert_eq!(children(&client, &image).await.unwrap().len(), 0);
    assert_eq!(registry.seen().len(), 1);
}

/// A registry whose challenge names `realm`, or itself, with a token service that answers `token`.
async fn with_token(realm: Option<String>, token: &'static str) -> FakeRegistry {
    let good = image_manifest();
    let own = Arc::new(std::sync::OnceLock::new());
    let own_copy = Arc::clone(&own);
    let registry = FakeRegistry::start(move |seen: &Seen| {
        if seen.path == "/token" {
            return respond(200, &[], token);
        }
        if seen.authorization.as_deref() == Some("Bearer good") {
            return respond(200, &[], good.clone());
        }
        let realm: &String = own_copy.get().expect("set before the first request");
        respond(
            401,
            &[("www-authenticate", &format!(r#"Bearer realm="{realm}",service="s",scope="x""#))],
            "INTERNAL-SECRET",
        )
    })
    .await;
    own.set(realm.unwrap_or_else(|| format!("http://{}/token", registry.host()))).unwrap();
    registry
}

#[tokio::test]
async fn refuses_tokens_that_are_no_tokens() {
    let long: &'static str = Box::leak(format!(r#"{{"token":"{}"}}"#, "a".repeat(70_000)).into_boxed_str());
    for (token, accepted) in [
        (r#"{"token":"good"}"#, true),
        (r#"{"access_token":"good","expires_in":300,"token":""}"#, true),
        (r#"{"token":"go\nod"}"#, false),
        (r#"{"token":"good\r\nX-Evil: 1"}"#, false),
        (r#"{"token":"g\u0000d"}"#, false),
        (r#"{"token":"gööd"}"#, false),
        (r#"{"token":"good "}"#, false),
        (r#"{"token":""}"#, false),
        (r"{}", false),
        ("INTERNAL-SECRET", false),
        (r#"{"token":"bad"}"#, false),
        (long, false),
    ] {
        let registry = with_token(None, token).await;
        let client = client(options(&[registry.host()]));
        let outcome = resolve(&client, &registry.reference("team/app:1")).await;
        assert_eq!(outcome.is_ok(), accepted, "{token:.40} {outcome:?}");
        let asked = registry.seen().into_iter().find(|seen| seen.path == "/token").unwrap();
        assert_eq!(asked.query, "scope=repository%3Ateam%2Fapp%3Apull&service=s");
        assert_eq!(asked.authorization, None);
        if let Err(error) = outcome {
            assert_silent(&error);
        }
    }
}

#[tokio::test]
async fn follows_no_redirect_of_a_token_service() {
    let elsewhere = FakeRegistry::start(|_| respond(200, &[], r#"{"token":"good"}"#)).await;
    let location = format!("http://{}/token", elsewhere.host());
    let registry = FakeRegistry::start(move |seen: &Seen| match seen.path.as_str() {
        "/token" => respond(307, &[("location", &location)], ""),
        _ => respond(401, &[("www-authenticate", &format!("Bearer realm=\"http://{}/token\"", seen.host))], ""),
    })
    .await;
    let hosts = [registry.host(), elsewhere.host()];
    let login = credentials(&registry.host(), "alice");
    let client = client(RegistryOptions { credentials: login, ..options(&hosts) });
    let error = resolve(&client, &registry.reference("app:1")).await.unwrap_err();
    assert_eq!(error.code(), "RegistryUnexpectedStatus");
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn answers_no_challenge_of_another_host() {
    let challenge = [("www-authenticate", "Basic realm=x")];
    let storage = FakeRegistry::start(move |_| respond(401, &challenge, "")).await;
    let location = format!("http://{}/", storage.host());
    let registry = FakeRegistry::start(move |_| respond(307, &[("location", &location)], "")).await;
    let login = credentials(&registry.host(), "alice");
    let hosts = [registry.host(), storage.host()];
    let client = client(RegistryOptions { credentials: login, ..options(&hosts) });
    let error = resolve(&client, &registry.reference("app:1")).await.unwrap_err();
    let repository = format!("{}/app", registry.host());
    assert_eq!(error, RegistryError::Unauthorized { host: storage.host(), repository });
    let seen = [registry.seen(), storage.seen()].concat();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[tokio::test]
async fn cve_2025_27403_asks_for_tokens_nowhere_else() {
    let elsewhere = FakeRegistry::start(|_| respond(200, &[], r#"{"token":"good","x":"INTERNAL-SECRET"}"#)).await;
    let realm = format!("http://{}/token", elsewhere.host());
    for realm in [realm.clone(), "http://169.254.169.254/latest/SECRET".into(), "https://169.254.169.254/SECRET".into()]
    {
        let registry = with_token(Some(realm), "").await;
        let hosts = [registry.host(), elsewhere.host()];
        let client = client(RegistryOptions { credentials: credentials(&registry.host(), "alice"), ..options(&hosts) });
        let error = resolve(&client, &registry.reference("app:1")).await.unwrap_err();
        assert!(matches!(error, RegistryError::RealmRefused { .. }), "{error:?}");
        assert_silent(&error);
        assert_eq!(registry.seen().len(), 1);
    }
    assert_eq!(elsewhere.seen().len(), 0);

    let registry = with_token(Some(realm), "").await;
    let grant = RealmGrant { registry: registry.host(), realm: elsewhere.host() };
    let hosts = [registry.host(), elsewhere.host()];
    let client = client(RegistryOptions { realms: vec![grant], ..options(&hosts) });
    assert!(resolve(&client, &registry.reference("app:1")).await.is_ok());
    assert_eq!(elsewhere.seen().len(), 1);
}

#[tokio::test]
async fn connects_to_no_private_address_unless_told() {
    let registry = FakeRegistry::start(|_| respond(200, &[], image_manifest())).await;
    let port = registry.address.port();
    for image in [format!("127.0.0.1:{port}/app:1"), format!("localhost:{port}/app:1"), format!("[::1]:{port}/app:1")] {
        let client = client(options(&[]));
        let error = resolve(&client, &ImageReference::parse(&image).unwrap()).await.unwrap_err();
        assert!(matches!(error, RegistryError::BlockedAddress { .. }), "{image}: {error:?}");
    }
    // Told, the connection is made, and fails for want of TLS.
    let client = client(RegistryOptions { private: vec!["localhost".into()], ..options(&[]) });
    let localhost = ImageReference::parse(&format!("localhost:{port}/app:1")).unwrap();
    let error = resolve(&client, &localhost).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error:?}");
    assert_eq!(registry.seen().len(), 0);
}

#[tokio::test]
async fn drops_credentials_where_a_redirect_leaves_the_host() {
    let blob = b"blob".to_vec();
    let digest = Digest::of(&blob);
    let storage = FakeRegistry::start(move |_| respond(200, &[], blob.clone())).await;
    let target = format!("http://{}/storage?signature=SECRET", storage.host());
    let location = target.clone();
    let registry = FakeRegistry::start(move |seen: &Seen| match seen.authorization {
        None => respond(401, &[("www-authenticate", "Basic realm=x")], ""),
        Some(_) => respond(307, &[("location", &location)], ""),
    })
    .await;
    let login = credentials(&registry.host(), "alice");
    let repository = registry.reference("app").repository().clone();

    let both = RegistryOptions { credentials: login.clone(), ..options(&[registry.host(), storage.host()]) };
    assert_eq!(client(both).blob(&repository, &digest, 9).await, Ok(Some(b"blob".to_vec())));
    assert!(registry.seen().last().unwrap().authorization.is_some());
    assert_eq!(storage.seen().len(), 1);
    assert_eq!(storage.seen()[0].authorization, None);

    let one = RegistryOptions { credentials: login, ..options(&[registry.host()]) };
    let error = client(one).blob(&repository, &digest, 9).await.unwrap_err();
    assert!(matches!(error, RegistryError::RedirectRefused { .. }), "{error:?}");
    assert_silent(&error);
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test]
async fn follows_few_redirects_and_none_inwards() {
    let blob = b"blob".to_vec();
    let digest = Digest::of(&blob);
    for (target, accepted) in [
        ("/hop/5", true),
        ("/hop/6", false),
        ("/loop", false),
        ("https://127.0.0.1:1/", false),
        ("https://169.254.169.254/", false),
        ("http://169.254.169.254/", false),
        ("https://user:password@registry.example/", false),
        ("file:///etc/passwd", false),
        ("", false),
    ] {
        let blob = blob.clone();
        let registry = FakeRegistry::start(move |seen: &Seen| {
            let hops = seen.path.strip_prefix("/hop/").and_then(|text| text.parse::<u32>().ok());
            match hops {
                Some(1) => respond(200, &[], blob.clone()),
                Some(hops) => respond(302, &[("location", &format!("/hop/{}", hops - 1))], ""),
                None if seen.path == "/loop" => respond(302, &[("location", "/loop")], ""),
                None => respond(302, &[("location", target)], ""),
            }
        })
        .await;
        let client = client(options(&[registry.host()]));
        let outcome = client.blob(registry.reference("app").repository(), &digest, 9).await;
        assert_eq!(outcome.is_ok(), accepted, "{target}: {outcome:?}");
        assert!(registry.seen().len() <= 6);
    }
}

#[tokio::test]
async fn never_mixes_the_credentials_of_two_callers() {
    let registry = with_token(None, r#"{"token":"good"}"#).await;
    let base = client(options(&[registry.host()]));
    let reference = registry.reference("app:1");
    for user in ["alice", "bob", "alice", "bob"] {
        let caller = base.with_credentials(credentials(&registry.host(), user));
        assert!(resolve(&caller, &reference).await.is_ok());
    }
    let other_port = base.with_credentials(credentials("127.0.0.1:1", "carol"));
    assert!(resolve(&other_port, &reference).await.is_ok());
    let asked: Vec<_> = registry.seen().into_iter().filter(|seen| seen.path == "/token").collect();
    let basic = |user: &str| Some(format!("Basic {}", STANDARD.encode(format!("{user}:password-of-{user}"))));
    let sent: Vec<_> = asked.into_iter().map(|seen| seen.authorization).collect();
    assert_eq!(sent, [basic("alice"), basic("bob"), None], "one token for each caller, the third anonymous");
    let elsewhere = registry.seen().into_iter().filter(|seen| seen.path != "/token");
    assert!(elsewhere.filter_map(|seen| seen.authorization).all(|text| text == "Bearer good"));
}

#[tokio::test]
async fn tells_statuses_apart_without_reading_their_bodies() {
    for (status, headers, code) in [
        (404, &[][..], "ImageNotFound"),
        (401, &[], "RegistryUnauthorized"),
        (403, &[], "RegistryUnauthorized"),
        (429, &[("retry-after", "30")], "RegistryRateLimited"),
        (429, &[], "RegistryRateLimited"),
        (429, &[("retry-after", "0")], "RegistryRateLimited"),
        (503, &[("retry-after", "99999999999")], "RegistryRateLimited"),
        (503, &[], "RegistryUnavailable"),
        (500, &[], "RegistryUnavailable"),
        (418, &[], "RegistryUnexpectedStatus"),
        (204, &[], "RegistryUnexpectedStatus"),
        (302, &[("location", "gopher://x")], "RegistryRedirectRefused"),
    ] {
        let error = resolved(move |_| respond(status, headers, "INTERNAL-SECRET")).await.unwrap_err();
        assert_eq!((error.code(), error.is_undecided()), (code, true), "{status} {headers:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let reference = ImageReference::parse(&format!("{closed}/app:1")).unwrap();
    let error = resolve(&client(options(&[closed])), &reference).await.unwrap_err();
    assert_eq!(error.code(), "RegistryUnavailable");
}

#[tokio::test]
async fn retries_once_after_a_short_wait() {
    let count = Arc::new(AtomicUsize::new(0));
    let answered = resolved(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => respond(429, &[("retry-after", "0")], ""),
        _ => respond(200, &[], image_manifest()),
    });
    assert_eq!(answered.await, Ok(Digest::of(&image_manifest())));
}

#[tokio::test]
async fn cve_2023_46737_bounds_referrers_listings() {
    let image = Digest::of(b"image");
    let page = |count: usize| {
        let empty = String::from_utf8(index(&[])).unwrap();
        let one = String::from_utf8(index(&[(b"one", None)])).unwrap();
        let (start, end) = empty.split_once("[]").unwrap();
        let entry = one.strip_prefix(start).and_then(|text| text.strip_suffix(end)).unwrap().trim_matches(['[', ']']);
        format!("{start}[{}]{end}", vec![entry; count].join(",")).into_bytes()
    };
    let too_large = RegistryError::TooLarge { what: "referrers", cap: 1 << 20 };
    for (count, expected) in [(1_000, None), (1_001, Some("ContentTooMany")), (1_000_000, Some(too_large.code()))] {
        let content = Content::default().with_referrers(page(count));
        let registry = FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await;
        let client = client(options(&[registry.host()]));
        let outcome = client.referrers(registry.reference("app").repository(), &image).await;
        match expected {
            None => assert_eq!(outcome.unwrap().unwrap().len(), count),
            Some(code) => assert_eq!(outcome.unwrap_err().code(), code),
        }
    }
}

#[tokio::test]
async fn follows_pages_of_referrers_within_bounds() {
    let image = Digest::of(b"image");
    let path = format!("/v2/app/referrers/{image}");
    for (link, expected) in [
        (None, Ok(1)),
        (Some(format!(r#"<{path}?page=2>; rel="next""#)), Ok(2)),
        (Some(format!("<{path}?page=1>; rel=next")), Err("ContentTooMany")),
        (Some("</v2/other/referrers/x?page=2>; rel=next".to_owned()), Err("RegistryRedirectRefused")),
        (Some(format!("<https://169.254.169.254{path}?page=2>; rel=next")), Err("RegistryRedirectRefused")),
        (Some(format!("<//127.0.0.1:1{path}?page=2>; rel=next")), Err("RegistryRedirectRefused")),
    ] {
        let for_server = link.clone();
        let registry = FakeRegistry::start(move |seen: &Seen| {
            let one = index(&[(b"one", None)]);
            match &for_server {
                Some(link) if seen.query != "page=2" => respond(200, &[("link", link)], one),
                _ => respond(200, &[("content-type", OCI_INDEX)], one),
            }
        })
        .await;
        let client = client(options(&[registry.host()]));
        let outcome = client.referrers(registry.reference("app").repository(), &image).await;
        let outcome = outcome.map(|entries| entries.unwrap().len());
        assert_eq!(outcome.as_ref().copied().map_err(RegistryError::code), expected, "{link:?}");
        assert!(registry.seen().len() <= 10);
    }
    for (status, expected) in [(404, Ok(None)), (405, Ok(None)), (400, Err("RegistryUnexpectedStatus"))] {
        let registry = FakeRegistry::start(move |_| respond(status, &[], "")).await;
        let client = client(options(&[registry.host()]));
        let outcome = client.referrers(registry.reference("app").repository(), &image).await;
        assert_eq!(outcome.map_err(|error| error.code()), expected, "{status}");
    }
}

#[tokio::test]
async fn reads_descendants_of_an_index_all_or_none() {
    let child = image_manifest();
    let inner = index(&[(&child, None)]);
    let inner_entry = |bytes: &[u8]| {
        let text = String::from_utf8(index(&[(bytes, None)])).unwrap();
        // The last type is the entry's.
        let (start, end) = text.rsplit_once(OCI_MANIFEST).unwrap();
        format!("{start}{OCI_INDEX}{end}").into_bytes()
    };
    let outer = inner_entry(&inner);
    let third = inner_entry(&outer);
    let many: Vec<Vec<u8>> = (0..65).map(|number| manifest(&[("a/b", &[number], &[])])).collect();
    let half = |from: u8| {
        let images: Vec<Vec<u8>> = (from..from + 33).map(|number| manifest(&[("a/b", &[number], &[])])).collect();
        (index(&images.iter().map(|bytes| (&bytes[..], None)).collect::<Vec<_>>()), images)
    };
    let ((left, left_images), (right, right_images)) = (half(100), half(200));
    let halves = String::from_utf8(index(&[(&left, None), (&right, None)])).unwrap();
    let halves = halves.replace(OCI_MANIFEST, OCI_INDEX).into_bytes();
    let wide = index(&many.iter().map(|bytes| (&bytes[..], None)).collect::<Vec<_>>());
    let missing = index(&[(&child, None), (b"missing", None)]);
    let mistyped = index(&[(&inner, None)]);
    let all: [&Vec<u8>; 10] = [&left, &right, &halves, &child, &inner, &outer, &third, &wide, &missing, &mistyped];
    let content = all
        .iter()
        .copied()
        .chain(&left_images)
        .chain(&right_images)
        .fold(Content::default(), |content, bytes| content.with(bytes));
    let registry = FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await;
    let client = client(options(&[registry.host()]));
    for (bytes, expected) in [
        (&child, Ok(0)),
        (&inner, Ok(1)),
        (&outer, Ok(2)),
        (&third, Err("ContentTooMany")),
        (&wide, Err("ContentTooMany")),
        (&left, Ok(33)),
        (&halves, Err("ContentTooMany")),
        (&missing, Err("ContentNotFound")),
        (&mistyped, Err("MalformedContent")),
    ] {
        let reference = registry.reference(&format!("app@{}", Digest::of(bytes)));
        let image = resolve(&client, &reference).await.unwrap();
        let outcome = children(&client, &image).await.map(|found| found.len());
        assert_eq!(outcome.map_err(|error| error.code()), expected);
    }
}
