//! Evidence from the cache is what verification says: for each part of the key, a twin that differs in it alone.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use futures::future::join_all;
use sigstore_crypto::KeyPair;

use super::*;
use crate::evidence::{DiscoveryPath, Origin};
use crate::image::ImageReference;
use crate::trust::{PublicKey, STAGING, TrustMaterial};
use crate::verify::gather;

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

fn image(manifest: &str) -> ResolvedImage {
    let reference = ImageReference::parse("reg.io/app:1").unwrap();
    reference.resolve(manifest.as_bytes().to_vec(), "application/vnd.oci.image.manifest.v1+json".into()).unwrap()
}

fn origin(name: &str) -> Origin {
    let digest = Digest::of(name.as_bytes());
    Origin { path: DiscoveryPath::SignatureTag, manifest: digest.clone(), layer: digest }
}

fn payload(image: &ResolvedImage) -> String {
    serde_json::json!({"critical": {"identity": {"docker-reference": ""},
        "image": {"docker-manifest-digest": image.digest().to_string()}, "type": "cosign container image signature"},
        "optional": null})
    .to_string()
}

/// A signature of an image as cosign keeps it, found at a place of this name.
fn signature(key: &KeyPair, image: &ResolvedImage, place: &str) -> Discovered {
    let payload = payload(image);
    let signature = key.sign(payload.as_bytes()).unwrap();
    let signature = base64::engine::general_purpose::STANDARD.encode(signature.as_bytes());
    candidate(place, SIMPLE_SIGNING, payload.as_bytes(), &[(SIGNATURE, &signature)])
}

fn candidate(place: &str, media_type: &str, bytes: &[u8], annotations: &[(&str, &str)]) -> Discovered {
    let annotations: BTreeMap<_, _> =
        annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Discovered::untrusted(origin(place), media_type.to_owned(), bytes.to_vec(), annotations)
}

/// The same content, found elsewhere.
fn moved(candidate: &Discovered, place: &str) -> Discovered {
    let (media_type, annotations) = (candidate.media_type().to_owned(), candidate.annotations().clone());
    Discovered::untrusted(origin(place), media_type, candidate.bytes().to_vec(), annotations)
}

fn public(key: &KeyPair) -> Anchor {
    let key = PublicKey::parse_pem(&key.public_key_der().unwrap().to_pem()).unwrap();
    Anchor::Key { key, dating: None }
}

/// The outcomes in words, with the places.
fn words(gathered: &Gathered) -> String {
    format!("{gathered:?}")
}

fn verifications(cache: &EvidenceCache) -> u64 {
    cache.figures().misses
}

#[tokio::test]
async fn says_what_verification_says_in_its_order_and_verifies_once() {
    let (ours, theirs) = (KeyPair::generate_ecdsa_p256().unwrap(), KeyPair::generate_ecdsa_p256().unwrap());
    let image = image("{}");
    let candidates = [
        signature(&theirs, &image, "theirs"),
        candidate("no format", "text/plain", b"x", &[]),
        signature(&ours, &image, "ours"),
    ];
    let anchors = [Anchor::Root(TrustMaterial::embedded(STAGING).unwrap()), public(&ours), public(&theirs)];
    let expected = words(&gather(&candidates, &image, &anchors));
    let cache = EvidenceCache::new(1 << 20);
    for _ in 0..2 {
        let found = cache.gather(&candidates, &image, &anchors, ()).await.unwrap();
        assert_eq!(words(&found), expected);
        assert_eq!(verifications(&cache), 9);
    }
    assert_eq!(cache.figures().hits, 9);
    // A cache without room says the same, and verifies each time.
    let none = EvidenceCache::new(0);
    for turn in 1..3 {
        assert_eq!(words(&none.gather(&candidates, &image, &anchors, ()).await.unwrap()), expected);
        assert_eq!(verifications(&none), 9 * turn);
    }
    assert_eq!(words(&cache.gather(&candidates, &image, &[], ()).await.unwrap()), words(&Gathered::default()));
}

/// The place of a hit is that of the present candidate: one registry's names must not reach another's users.
#[tokio::test]
async fn the_place_is_the_present_one() {
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let (keys, image, cache) = ([public(&key)], image("{}"), EvidenceCache::new(1 << 20));
    let bad = |place| candidate(place, SIMPLE_SIGNING, b"not a payload", &[(SIGNATURE, "AAAA")]);
    let good = signature(&key, &image, "first");
    for place in ["private", "public"] {
        let candidates = [moved(&good, place), bad(place)];
        let found = cache.gather(&candidates, &image, &keys, ()).await.unwrap();
        assert_eq!(words(&found), words(&gather(&candidates, &image, &keys)));
        assert_eq!(*found.verified()[0].origin(), origin(place));
        assert_eq!(found.refused()[0].origin, origin(place));
        assert_eq!(verifications(&cache), 2);
    }
}

/// Every argument of verification is in the key: what differs in one alone is verified by itself, and with its own result.
#[tokio::test]
async fn whatever_differs_in_one_part_is_verified_by_itself() {
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let (image, other_image) = (image("{}"), image("{ }"));
    let good = signature(&key, &image, "place");
    let with = |media_type: &str, bytes: &[u8], annotations: &[(&str, &str)]| {
        let own = good.annotations().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<(&str, &str)> = own.chain(annotations.iter().copied()).collect();
        candidate("place", media_type, bytes, &all)
    };
    let flipped: Vec<u8> =
        good.bytes().iter().enumerate().map(|(at, byte)| if at == 70 { byte ^ 1 } else { *byte }).collect();
    let other_signature = signature(&KeyPair::generate_ecdsa_p256().unwrap(), &image, "place");
    let other_key = public(&KeyPair::generate_ecdsa_p256().unwrap());
    let table: Vec<(&str, Discovered, &ResolvedImage, Anchor, bool)> = vec![
        ("itself", good.clone(), &image, public(&key), true),
        ("a byte", with(SIMPLE_SIGNING, &flipped, &[]), &image, public(&key), false),
        ("the signature's annotation", other_signature, &image, public(&key), false),
        ("an annotation more", with(SIMPLE_SIGNING, good.bytes(), &[("note", "1")]), &image, public(&key), true),
        ("its value", with(SIMPLE_SIGNING, good.bytes(), &[("note", "2")]), &image, public(&key), true),
        ("the media type", with("text/plain", good.bytes(), &[]), &image, public(&key), false),
        ("the image", good.clone(), &other_image, public(&key), false),
        ("the key", good.clone(), &image, other_key, false),
    ];
    let cache = EvidenceCache::new(1 << 20);
    for (turn, (what, candidate, image, key, passes)) in table.iter().enumerate() {
        let found = cache.gather(std::slice::from_ref(candidate), image, std::slice::from_ref(key), ()).await.unwrap();
        assert_eq!(
            (found.verified().len(), found.refused().len()),
            (usize::from(*passes), usize::from(!passes)),
            "{what}"
        );
        assert_eq!(verifications(&cache), turn as u64 + 1, "{what}");
    }
    // And all of them are remembered, the refusals too, each for its own.
    for (what, candidate, image, key, passes) in &table {
        let found = cache.gather(std::slice::from_ref(candidate), image, std::slice::from_ref(key), ()).await.unwrap();
        assert_eq!(found.verified().len(), usize::from(*passes), "{what}");
    }
    assert_eq!(verifications(&cache), table.len() as u64);
}

/// Roots differ by content and by name: evidence says under which name it was verified, and policies go by that.
#[tokio::test]
async fn a_root_of_another_content_or_name_is_asked_by_itself() {
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let image = image("{}");
    let candidates = [signature(&key, &image, "place")];
    let json = sigstore_trust_root::SigstoreInstance::Staging.embedded_trusted_root_json();
    let roots = [
        TrustMaterial::embedded("staging").unwrap(),
        TrustMaterial::parse("other name", json).unwrap(),
        TrustMaterial::embedded("public-good").unwrap(),
        TrustMaterial::parse("staging", sigstore_trust_root::SigstoreInstance::PublicGood.embedded_trusted_root_json())
            .unwrap(),
    ];
    let cache = EvidenceCache::new(1 << 20);
    for (turn, root) in roots.iter().enumerate() {
        let found = cache.gather(&candidates, &image, &[Anchor::Root(root.clone())], ()).await.unwrap();
        assert_eq!(found.refused()[0].under.to_string(), root.name());
        assert_eq!(verifications(&cache), turn as u64 + 1);
    }
}

#[test]
fn parts_do_not_run_together() {
    let lists: [&[&str]; 7] = [&[], &[""], &["", ""], &["ab"], &["a", "b"], &["", "ab"], &["ab", ""]];
    let digests: BTreeSet<Digest> = lists
        .iter()
        .map(|list| {
            let mut parts = Parts::default();
            for text in *list {
                parts.add(text);
            }
            parts.digest()
        })
        .collect();
    assert_eq!(digests.len(), lists.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_cause_one_verification() {
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let (keys, image, cache) = ([public(&key)], image("{}"), EvidenceCache::new(1 << 20));
    let candidates = [signature(&key, &image, "place")];
    let asked = (0..50).map(|_| cache.gather(&candidates, &image, &keys, ()));
    for found in join_all(asked).await {
        assert_eq!(found.unwrap().verified().len(), 1);
    }
    let Figures { hits, misses, .. } = cache.figures();
    assert_eq!((hits, misses), (49, 1));
}

/// Work of minutes, for which nobody waits longer than a moment: the threads and what they hold are free again soon after.
#[tokio::test]
async fn nothing_is_begun_for_nobody() {
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let (image, cache) = (image("{}"), EvidenceCache::new(0));
    let candidate = signature(&key, &image, "place");
    let anchors = vec![public(&key); 100_000];
    let held = Arc::new(());
    let work = cache.gather(std::slice::from_ref(&candidate), &image, &anchors, Arc::clone(&held));
    tokio::time::timeout(Duration::from_millis(100), work).await.unwrap_err();
    let begun = verifications(&cache);
    assert!(begun > 0 && begun < 100_000);
    let free = async {
        while Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("nothing is held");
    assert_eq!(verifications(&cache), begun);
    let next = cache.gather(&[candidate], &image, &anchors[..2], ()).await.unwrap();
    assert_eq!(next.verified().len(), 2);
}
