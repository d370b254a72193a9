//! Finding everything attached to an image: all four places, hostile extras, and a layout that cosign saved.

#![expect(clippy::unwrap_used, reason = "a fake that cannot be set up fails its test")]

#[path = "support/registry.rs"]
mod support;

use std::path::Path;

use countersign::evidence::{Discovered, DiscoveryPath};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::registry::{
    Discovery, DiscoveryProblem, ImageSource, Limits, OciLayout, RegistryError, Sources, children, discover, resolve,
};
use support::{Content, FakeRegistry, Seen, client, index, manifest, options, respond};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn image() -> Vec<u8> {
    manifest(&[("application/vnd.oci.image.layer.v1.tar+gzip", b"layer", &[])])
}

fn tag(suffix: &str) -> String {
    format!("sha256-{}{suffix}", Digest::of(&image()).hex())
}

/// What was found, with the content of every candidate.
struct Fetched {
    candidates: Vec<Discovered>,
    problems: Vec<DiscoveryProblem>,
}

async fn fetched(source: &impl ImageSource, image: &ResolvedImage, limits: &Limits) -> Result<Fetched, RegistryError> {
    let Discovery { candidates: layers, mut problems } = discover(source, image, limits).await?;
    let mut candidates = Vec::new();
    for layer in layers {
        match layer.fetch(source, image.repository()).await {
            Ok(candidate) => candidates.push(candidate),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(Fetched { candidates, problems })
}

async fn found(content: Content, limits: &Limits) -> Result<Fetched, RegistryError> {
    let content = content.with_tag("1", &image());
    let registry = FakeRegistry::start(move |seen: &Seen| content.answer(seen)).await;
    let client = client(options(&[registry.host()]));
    let resolved = resolve(&client, &registry.reference("app:1")).await.unwrap();
    fetched(&client, &resolved, limits).await
}

fn summary(discovery: &Fetched) -> Vec<(String, DiscoveryPath)> {
    let one = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all: Vec<_> = discovery.candidates.iter().map(|found| (one(found.bytes()), found.origin().path)).collect();
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all
}

/// A registry with something in each of the four places, and with things that are no signatures.
fn everywhere() -> Content {
    let signatures = manifest(&[(SIMPLE_SIGNING, b"1 sig", &[("a", "1")]), ("text/plain", b"0 other", &[])]);
    let attestations = manifest(&[(DSSE, b"2 att", &[])]);
    let bundle = manifest(&[(BUNDLE, b"3 api", &[])]);
    let untyped = manifest(&[(BUNDLE, b"4 empty type", &[])]);
    let fallback = manifest(&[(BUNDLE, b"5 fallback", &[])]);
    let sbom = manifest(&[(DSSE, b"0 skipped", &[])]);
    let listing = index(&[
        (&bundle, Some(BUNDLE)),
        (&untyped, Some("application/vnd.oci.empty.v1+json")),
        (&sbom, Some("application/spdx+json")),
    ]);
    [&b"1 sig"[..], b"2 att", b"3 api", b"4 empty type", b"5 fallback", b"0 other", b"0 skipped"]
        .iter()
        .fold(Content::default(), |content, blob| content.with(blob))
        .with(&bundle)
        .with(&untyped)
        .with(&fallback)
        .with(&sbom)
        .with_tag(&tag(".sig"), &signatures)
        .with_tag(&tag(".att"), &attestations)
        .with_tag(&tag(""), &index(&[(&fallback, None), (&bundle, Some(BUNDLE))]))
        .with_referrers(listing)
}

#[tokio::test]
async fn looks_in_all_four_places() {
    let discovery = found(everywhere(), &Limits::default()).await.unwrap();
    assert!(discovery.problems.is_empty(), "{:?}", discovery.problems);
    let expected = [
        ("1 sig", DiscoveryPath::SignatureTag),
        ("2 att", DiscoveryPath::AttestationTag),
        ("3 api", DiscoveryPath::ReferrersApi),
        ("4 empty type", DiscoveryPath::ReferrersApi),
        ("5 fallback", DiscoveryPath::ReferrersTag),
    ];
    assert_eq!(summary(&discovery), expected.map(|(text, path)| (text.to_owned(), path)));
    let signature = discovery.candidates.iter().find(|found| found.bytes() == b"1 sig").unwrap();
    assert_eq!((signature.media_type(), signature.annotations()["a"].as_str()), (SIMPLE_SIGNING, "1"));
}

/// Handlers of a server await this, so it must be `Send` for every source.
#[tokio::test]
async fn can_be_awaited_on_any_thread() {
    fn on_any_thread<T: Send>(future: T) -> T {
        future
    }
    let sources = Sources::default();
    let reference = ImageReference::parse("reg.io/app:1").unwrap();
    let resolved = reference.resolve(image(), support::OCI_MANIFEST.to_owned()).unwrap();
    let discovery = on_any_thread(discover(&sources, &resolved, &Limits::default())).await.unwrap();
    assert!(discovery.candidates.is_empty() && discovery.problems.is_empty());
    assert!(on_any_thread(children(&sources, &resolved)).await.unwrap().is_empty());
    let nothing = on_any_thread(resolve(&sources, &reference)).await.unwrap_err();
    assert_eq!(nothing, RegistryError::ImageNotFound { reference: "reg.io/app:1".to_owned() });
}

#[tokio::test]
async fn records_a_failing_place_and_keeps_the_others() {
    for part in [tag(".sig"), tag(".att"), "referrers".to_owned(), Digest::of(b"3 api").to_string()] {
        let content = everywhere().with_tag("1", &image());
        let failing = part.clone();
        let registry = FakeRegistry::start(move |seen: &Seen| {
            if seen.path.contains(&failing) { respond(500, &[], "") } else { content.answer(seen) }
        })
        .await;
        let client = client(options(&[registry.host()]));
        let image = resolve(&client, &registry.reference("app:1")).await.unwrap();
        let discovery = fetched(&client, &image, &Limits::default()).await.unwrap();
        assert_eq!(discovery.problems.len(), 1, "{part}");
        assert_eq!(discovery.problems[0].error.code(), "RegistryUnavailable", "{part}");
        assert!(discovery.candidates.len() >= 3, "{part}");
    }
}

#[tokio::test]
async fn lets_no_mislabelled_copy_hide_a_layer() {
    let signatures =
        manifest(&[(BUNDLE, b"same", &[]), (DSSE, b"same", &[]), (DSSE, b"same", &[]), (DSSE, b"same", &[("a", "1")])]);
    let content = Content::default().with(b"same").with_tag(&tag(".sig"), &signatures);
    assert_eq!(found(content, &Limits::default()).await.unwrap().candidates.len(), 3);
}

#[tokio::test]
async fn refuses_more_candidates_than_the_cap() {
    for (count, accepted) in [(64, true), (65, false), (10_000, false)] {
        let blobs: Vec<Vec<u8>> = (0..count).map(|number: u32| number.to_string().into_bytes()).collect();
        let layers: Vec<_> = blobs.iter().map(|blob| (SIMPLE_SIGNING, &blob[..], &[][..])).collect();
        let content = blobs.iter().fold(Content::default(), |content, blob| content.with(blob));
        let outcome = found(content.with_tag(&tag(".sig"), &manifest(&layers)), &Limits::default()).await;
        match outcome {
            Ok(discovery) => assert!(accepted && discovery.candidates.len() == 64),
            Err(error) => {
                assert!(!accepted);
                assert_eq!(error, RegistryError::TooMany { what: "candidate signatures", cap: 64 });
            }
        }
    }
    for (count, accepted) in [(64, true), (65, false)] {
        let manifests: Vec<Vec<u8>> = (0..count).map(|number: u8| manifest(&[("a/b", &[number], &[])])).collect();
        let listing = index(&manifests.iter().map(|bytes| (&bytes[..], None)).collect::<Vec<_>>());
        let content = manifests.iter().fold(Content::default(), |content, bytes| content.with(bytes));
        let outcome = found(content.with_referrers(listing), &Limits::default()).await;
        assert_eq!(outcome.is_ok(), accepted, "{count} referrers: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn bounds_each_layer_and_all_of_them() {
    let content = || {
        let signatures = manifest(&[(SIMPLE_SIGNING, &[b'a'; 100], &[]), (DSSE, &[b'b'; 100], &[])]);
        Content::default().with(&[b'a'; 100]).with(&[b'b'; 100]).with_tag(&tag(".sig"), &signatures)
    };
    assert_eq!(found(content(), &Limits::default()).await.unwrap().candidates.len(), 2);

    let small = Limits { simple_signing_bytes: 99, ..Limits::default() };
    let discovery = found(content(), &small).await.unwrap();
    assert_eq!(discovery.candidates.len(), 1);
    assert_eq!(discovery.problems[0].error, RegistryError::TooLarge { what: "simple signing payload", cap: 99 });

    let budget = Limits { total_bytes: 700, ..Limits::default() };
    assert_eq!(found(content(), &budget).await.err().unwrap().code(), "ContentTooLarge");
}

/// The manifest's word is the cap, and somebody else's smaller word takes nothing away.
#[tokio::test]
async fn a_layer_is_as_long_as_a_manifest_says_or_is_refused() {
    let honest = manifest(&[(DSSE, b"attestation", &[])]);
    let short = String::from_utf8(honest.clone()).unwrap().replace(r#""size":11"#, r#""size":1"#).into_bytes();
    assert_ne!(honest, short);
    let content = Content::default().with(b"attestation");
    let lied = found(content.clone().with_tag(&tag(".sig"), &short), &Limits::default()).await.unwrap();
    assert_eq!(lied.candidates.len(), 0);
    assert_eq!(lied.problems[0].error, RegistryError::TooLarge { what: "blob", cap: 1 });
    let both = content.with_tag(&tag(".sig"), &short).with_tag(&tag(".att"), &honest);
    let both = found(both, &Limits::default()).await.unwrap();
    assert_eq!((both.candidates.len(), both.problems.len()), (1, 0));
}

#[tokio::test]
async fn records_what_is_malformed() {
    for bytes in [b"INTERNAL-SECRET".to_vec(), index(&[]), b"{}".to_vec()] {
        let discovery = found(everywhere().with_tag(&tag(".sig"), &bytes), &Limits::default()).await.unwrap();
        assert_eq!(discovery.candidates.len(), 4);
        assert_eq!(discovery.problems[0].error.code(), "MalformedContent");
        assert!(!format!("{:?}", discovery.problems).contains("SECRET"));
    }
}

/// An image with SLSA provenance, as `cosign save` wrote it; see `data/SOURCES.md`.
async fn saved_image(sources: &Sources) -> ResolvedImage {
    let digest = "sha256:e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5";
    let reference = format!("ghcr.io/slsa-framework/example-package@{digest}");
    resolve(sources, &ImageReference::parse(&reference).unwrap()).await.unwrap()
}

#[tokio::test]
async fn reads_a_layout_that_cosign_saved() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples/slsa-provenance/image");
    let layout = OciLayout::open(&folder).unwrap();
    assert_eq!(layout.images().count(), 1);
    let sources = Sources { layouts: vec![layout], registry: None };
    let image = saved_image(&sources).await;
    assert_eq!(children(&sources, &image).await.unwrap().len(), 2);
    let discovery = fetched(&sources, &image, &Limits::default()).await.unwrap();
    assert!(discovery.problems.is_empty(), "{:?}", discovery.problems);
    assert_eq!(discovery.candidates.len(), 1);
    assert_eq!(discovery.candidates[0].media_type(), DSSE);
    assert_eq!(discovery.candidates[0].origin().path, DiscoveryPath::AttestationTag);
    let nothing = sources.blob(image.repository(), &Digest::of(b"absent"), 9).await;
    assert_eq!(nothing, Ok(None));
}
