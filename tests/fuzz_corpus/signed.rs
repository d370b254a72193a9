//! Doors to what signatures are made of: every candidate goes through `verify`, under an instance whose keys the tests have.
//!
//! Two kinds of doors. Where the input is what an attacker could send, whatever is accepted must say nothing that the genuine one did
//! not. Where the input is signed by whoever signs such things, it is read further, and what is accepted must say what was signed.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign::evidence::{Discovered, DiscoveryPath, Origin};
use countersign::image::{Digest, ImageReference, ResolvedImage};
use countersign::trust::{PUBLIC_GOOD, PublicKey, TrustMaterial};
use countersign::verify::{Anchor, Evidence, LogProof, VerifyError, verify};
use serde_json::{Value, json};

use super::virtual_sigstore::certificate::Extension;
use super::virtual_sigstore::content::{Content, IN_TOTO};
use super::virtual_sigstore::ct::SCT_LIST;
use super::virtual_sigstore::key::{Hash, Scheme};
use super::virtual_sigstore::text::{base64, hex, sha256};
use super::virtual_sigstore::{
    Key, Kind, Layer, Parts, Signing, Subject, TimestampAuthority, TimestampOptions, Version, VirtualSigstore, der,
};
use super::{Target, read};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn image(manifest: &[u8]) -> ResolvedImage {
    let text = format!("registry.example/image@{}", Digest::of(manifest));
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    ImageReference::parse(&text).unwrap().resolve(manifest.to_vec(), media_type).unwrap()
}

fn discovered(media_type: &str, content: Vec<u8>, annotations: BTreeMap<String, String>) -> Discovered {
    let origin =
        Origin { path: DiscoveryPath::ReferrersApi, manifest: Digest::of(b"manifest"), layer: Digest::of(&content) };
    Discovered::untrusted(origin, media_type.to_owned(), content, annotations)
}

fn bundle(bytes: &[u8]) -> Discovered {
    discovered(Version::V03.media_type(), bytes.to_vec(), BTreeMap::new())
}

/// A layer as one document, so that its content and its annotations are changed alike.
fn layer_document(layer: &Layer) -> Vec<u8> {
    let document = json!({
        "mediaType": layer.media_type, "content": base64(&layer.content), "annotations": layer.annotations,
    });
    document.to_string().into_bytes()
}

fn layer(document: &[u8]) -> Option<Discovered> {
    use base64::Engine as _;
    let document: Value = serde_json::from_slice(document).ok()?;
    let content = base64::engine::general_purpose::STANDARD.decode(document["content"].as_str()?).ok()?;
    let annotations = document["annotations"].as_object()?.iter();
    let annotations = annotations.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Some(discovered(document["mediaType"].as_str()?, content, annotations.collect()))
}

/// What the evidence says and the genuine one does not: proofs may be missing, nothing may be another.
fn more_than(found: &Evidence, genuine: &Evidence) -> Option<String> {
    if found.claim() != genuine.claim() || signer(found) != signer(genuine) {
        return Some(format!("{:?} by {}", found.claim(), found.signer()));
    }
    if let Some(time) = found.times().iter().find(|time| !genuine.times().contains(time)) {
        return Some(format!("{time:?}"));
    }
    let known = |log: &&LogProof| {
        genuine.logs().iter().any(|known| {
            (&known.key_id, known.index) == (&log.key_id, log.index)
                && known.inclusion_proof >= log.inclusion_proof
                && known.dated >= log.dated
        })
    };
    if let Some(log) = found.logs().iter().find(|log| !known(log)) {
        return Some(format!("{log:?}"));
    }
    (found.certificate_transparency() && !genuine.certificate_transparency()).then(|| "a promise".to_owned())
}

/// What came of a candidate, as text: another text is another way through the code.
fn outcome(result: &Result<Evidence, VerifyError>) -> String {
    match result {
        Ok(evidence) => {
            let promised = evidence.no_certificate_transparency().unwrap_or("promised");
            let count = |count: usize| "+".repeat(count);
            format!("accepted {} {} {promised}", count(evidence.times().len()), count(evidence.logs().len()))
        }
        Err(error) => error.to_string(),
    }
}

/// A target of candidates in one form, none of which may say more than the genuine ones from which all are made.
fn forgeries(
    name: &'static str,
    json: bool,
    genuine: Vec<(Vec<u8>, ResolvedImage, Anchor)>,
    form: impl Fn(&[u8]) -> Option<Discovered> + 'static,
) -> Target {
    let seeds = genuine.iter().map(|(seed, ..)| seed.clone()).collect();
    let known: Vec<(ResolvedImage, Anchor, Evidence)> = genuine
        .into_iter()
        .map(|(seed, image, anchor)| {
            let evidence = verify(&form(&seed).unwrap(), &image, &anchor);
            let evidence = evidence.unwrap_or_else(|error| panic!("{name}: a genuine seed is refused: {error}"));
            (image, anchor, evidence)
        })
        .collect();
    let run = move |input: &[u8]| {
        let Some(candidate) = form(input) else { return "no form".to_owned() };
        let mut last = String::new();
        // Each forgery is tried where each of the genuine ones holds.
        let mut tried = Vec::new();
        for (image, anchor, _) in &known {
            let place = (image.digest(), anchor.digest());
            if tried.contains(&place) {
                continue;
            }
            tried.push(place);
            let result = verify(&candidate, image, anchor);
            if let Ok(found) = &result {
                let here = known
                    .iter()
                    .filter(|(other, _, genuine)| other.digest() == image.digest() && genuine.under() == found.under());
                let more: Vec<Option<String>> = here.map(|(_, _, genuine)| more_than(found, genuine)).collect();
                assert!(more.iter().any(Option::is_none), "accepted is what nobody signed: {more:?}");
            }
            last = outcome(&result);
        }
        last
    };
    Target { name, json, seeds, run: Box::new(run) }
}

fn signer(evidence: &Evidence) -> Value {
    serde_json::to_value(evidence.signer()).unwrap()
}

fn bundles(sigstore: &VirtualSigstore, root: &Anchor) -> Target {
    let message = || sigstore.sign(Subject::manifest(MANIFEST));
    let statement = || sigstore.sign(Subject::cosign_sign(MANIFEST));
    let of = |parts: Parts, version| (parts.bundle(version).into_bytes(), image(MANIFEST), root.clone());
    let mut genuine = vec![
        of(message().parts(), Version::V03),
        of(message().timestamped().parts(), Version::V02),
        of(message().rekor_v2().parts(), Version::V03),
        of(statement().parts(), Version::V03),
        of(statement().kind(Kind::Intoto002).parts(), Version::V01),
        of(statement().rekor_v2().parts(), Version::V03),
    ];
    let public_good = Anchor::Root(TrustMaterial::embedded(PUBLIC_GOOD).unwrap());
    for case in ["sigstore-rust--cosign-v3-blob", "sigstore-rust--conda"] {
        let data = |file: &str| read(&format!("tests/data/bundles/{case}/{file}"));
        genuine.push((data("bundle.sigstore.json"), image(&data("artifact")), public_good.clone()));
    }
    forgeries("bundle", true, genuine, |input| Some(bundle(input)))
}

fn layers(sigstore: &VirtualSigstore, root: &Anchor) -> Target {
    let payload = || sigstore.sign(Subject::simple_signing(MANIFEST));
    let statement = || sigstore.sign(Subject::cosign_sign(MANIFEST));
    let key = Key::generate(super::virtual_sigstore::Algorithm::P256);
    let keyed = payload().key(&key).without_certificate().without_log().parts();
    let key = Anchor::Key { key: PublicKey::parse_pem(&key.pem()).unwrap(), dating: None };
    let of = |parts: Parts, anchor: &Anchor| (layer_document(&parts.layer()), image(MANIFEST), anchor.clone());
    let genuine = vec![
        of(payload().parts(), root),
        of(payload().timestamped().parts(), root),
        of(statement().parts(), root),
        of(keyed, &key),
    ];
    forgeries("layer", true, genuine, layer)
}

/// One part of a genuine bundle, replaced by the input.
fn parts_of(sigstore: &VirtualSigstore, root: &Anchor) -> Vec<Target> {
    let whole = sigstore.sign(Subject::manifest(MANIFEST)).timestamped().parts();
    let genuine = |seed: &[u8]| vec![(seed.to_vec(), image(MANIFEST), root.clone())];
    let target = |name, seed: Vec<u8>, put: fn(&mut Parts, &[u8])| {
        let whole = whole.clone();
        forgeries(name, false, genuine(&seed), move |input| {
            Some(bundle(whole.with(|parts| put(parts, input)).bundle(Version::V03).as_bytes()))
        })
    };
    let leaf = whole.material.certificate().unwrap().to_vec();
    let checkpoint = whole.entries[0].proof.as_ref().unwrap().checkpoint.clone().unwrap();
    vec![
        target("certificate", leaf, |parts, input| *parts.material.certificate_mut() = input.to_vec()),
        target("timestamp", whole.timestamps[0].clone(), |parts, input| parts.timestamps = vec![input.to_vec()]),
        target("checkpoint", checkpoint.into_bytes(), |parts, input| {
            parts.entry().proof().checkpoint = Some(String::from_utf8_lossy(input).into_owned());
        }),
        target("log-entry", whole.entries[0].body.clone(), |parts, input| parts.entry().body = input.to_vec()),
    ]
}

/// A target whose input is signed before it is judged.
fn signed(
    name: &'static str,
    json: bool,
    seeds: Vec<Vec<u8>>,
    root: &Anchor,
    sign: impl Fn(&[u8]) -> Discovered + 'static,
    holds: impl Fn(&[u8], &Evidence) + 'static,
) -> Target {
    let anchor = root.clone();
    let image = image(MANIFEST);
    for seed in &seeds {
        let judged = verify(&sign(seed), &image, &anchor).unwrap_or_else(|error| panic!("{name}: {error}"));
        holds(seed, &judged);
    }
    let run = move |input: &[u8]| {
        let result = verify(&sign(input), &image, &anchor);
        if let Ok(evidence) = &result {
            holds(input, evidence);
        }
        outcome(&result)
    };
    Target { name, json, seeds, run: Box::new(run) }
}

/// A signature that nobody logs, so that the instance does not grow.
fn unlogged(sigstore: &VirtualSigstore, subject: Subject) -> Signing<'_> {
    sigstore.sign(subject).without_log().timestamped()
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

fn contents(sigstore: &Arc<VirtualSigstore>, root: &Anchor) -> Vec<Target> {
    let own = hex(&sha256(MANIFEST));
    let statement = Subject::cosign_sign(MANIFEST);
    let Subject::Envelope { payload, .. } = statement else { panic!("an envelope") };
    let instance = Arc::clone(sigstore);
    let digest = own.clone();
    let statements = signed(
        "statement",
        true,
        vec![payload],
        root,
        move |input| {
            let subject = Subject::Envelope { payload_type: IN_TOTO.to_owned(), payload: input.to_vec() };
            bundle(unlogged(&instance, subject).parts().bundle(Version::V03).as_bytes())
        },
        move |input, _| {
            let statement: Value = serde_json::from_slice(input).unwrap();
            let names = |subject: &Value| {
                subject["digest"]["sha256"] == *digest || subject["digest"]["sha512"] == hex(&Hash::Sha512.of(MANIFEST))
            };
            assert!(statement["subject"].as_array().unwrap().iter().any(names), "{statement}");
        },
    );
    let Subject::Message(payload) = Subject::simple_signing(MANIFEST) else { panic!("a message") };
    let instance = Arc::clone(sigstore);
    let payloads = signed(
        "simple-signing",
        true,
        vec![payload],
        root,
        move |input| {
            let layer = unlogged(&instance, Subject::Message(input.to_vec())).parts().layer();
            discovered(&layer.media_type, layer.content, layer.annotations)
        },
        move |input, _| {
            let payload: Value = serde_json::from_slice(input).unwrap();
            assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], format!("sha256:{own}"));
            assert_eq!(payload["critical"]["type"], "cosign container image signature");
        },
    );
    vec![statements, payloads]
}

fn certificates(sigstore: &Arc<VirtualSigstore>, root: &Anchor) -> Vec<Target> {
    let parts = unlogged(sigstore, Subject::manifest(MANIFEST)).parts();
    let key = parts.material.key().clone();
    let leaf = parts.material.certificate().unwrap().to_vec();
    // Content of the certificate's first element, which is what the issuer signs.
    let start = 4;
    let length = usize::from(leaf[start + 2]) << 8 | usize::from(leaf[start + 3]);
    let inner = leaf[start..start + 4 + length].to_vec();
    let genuine = verify(&bundle(parts.bundle(Version::V03).as_bytes()), &image(MANIFEST), root).unwrap();
    let (instance, whole) = (Arc::clone(sigstore), parts.clone());
    let issued = signed(
        "signed-certificate",
        false,
        vec![inner],
        root,
        move |input| {
            let issuer = &instance.authorities[0].issuer().key;
            let signature = der::bits(&issuer.sign(input));
            let certificate = der::sequence(&[input.to_vec(), issuer.scheme().identifier(), signature]);
            let parts = whole.with(|parts| *parts.material.certificate_mut() = certificate);
            bundle(parts.bundle(Version::V03).as_bytes())
        },
        move |_, found| {
            // The log of certificates promised one and no other.
            if found.certificate_transparency() {
                assert_eq!(more_than(found, &genuine), None);
            }
        },
    );
    let signing = || unlogged(sigstore, Subject::manifest(MANIFEST)).key(&key);
    let promise = std::cell::RefCell::new(Vec::new());
    let listed = signing().scts(|list| *promise.borrow_mut() = list[0].sign()).parts();
    drop(listed);
    let promise = promise.into_inner();
    let prefixed = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let list = prefixed(&prefixed(&promise));
    let instance = Arc::clone(sigstore);
    let promises = signed(
        "sct-list",
        false,
        vec![list],
        root,
        move |input| {
            let extension = Extension::new(SCT_LIST, false, der::octets(input));
            let subject = Subject::manifest(MANIFEST);
            let signing = unlogged(&instance, subject).without_sct().key(&key);
            let parts = signing.certificate(|parts| parts.set(extension.clone())).parts();
            bundle(parts.bundle(Version::V03).as_bytes())
        },
        // Serial numbers are drawn anew, so that no promise is about this certificate.
        |_, found| assert!(!found.certificate_transparency()),
    );
    vec![issued, promises]
}

fn services(sigstore: &Arc<VirtualSigstore>, root: &Anchor) -> Vec<Target> {
    let parts = unlogged(sigstore, Subject::manifest(MANIFEST)).parts();
    let imprint = sha256(parts.content.signature());
    let token = |info: Option<Vec<u8>>| {
        let Content::Message(message) = &parts.content else { panic!("a message") };
        let mut token =
            sigstore.timestamp_authorities[0].token(&message.signature, "2024-06-01T12:00:00Z".parse().unwrap());
        token.info = info;
        token
    };
    let seed = token(None).tst_info();
    let (whole, prepared) = (parts.clone(), token(None));
    let stamps = signed(
        "signed-timestamp",
        false,
        vec![seed],
        root,
        move |input| {
            let mut token = prepared.clone();
            token.info = Some(input.to_vec());
            bundle(whole.with(|parts| parts.timestamps = vec![token.sign()]).bundle(Version::V03).as_bytes())
        },
        move |input, found| {
            assert!(contains(input, &imprint), "a timestamp of something else counts: {:?}", found.times());
        },
    );
    let logged = sigstore.sign(Subject::manifest(MANIFEST)).parts();
    let body: Value = serde_json::from_slice(&logged.entries[0].body).unwrap();
    let instance = Arc::clone(sigstore);
    let whole = logged.clone();
    let entries = signed(
        "signed-log-entry",
        true,
        vec![logged.entries[0].body.clone()],
        root,
        move |input| {
            let parts = whole.with(|parts| {
                let entry = parts.entry();
                entry.body = input.to_vec();
                entry.proof = None;
                instance.logs_v1[0].promise_again(entry);
            });
            bundle(parts.bundle(Version::V01).as_bytes())
        },
        move |input, _| {
            let found: Value = serde_json::from_slice(input).unwrap();
            for field in ["/kind", "/apiVersion", "/spec/signature/content"] {
                assert_eq!(found.pointer(field), body.pointer(field), "{found}");
            }
            let hash = |body: &Value| body.pointer("/spec/data/hash/value").unwrap().as_str().unwrap().to_lowercase();
            assert_eq!(hash(&found), hash(&body));
        },
    );
    let log = &sigstore.logs_v1[0];
    let proof = logged.entries[0].proof.clone().unwrap();
    let note = log.checkpoint(proof.tree_size);
    let (key, origin, tree) = (log.key.clone(), note.signers[0].name.clone(), base64(&note.root));
    let checkpoints = signed(
        "signed-checkpoint",
        false,
        vec![note.body().into_bytes()],
        root,
        move |input| {
            let text = String::from_utf8_lossy(input);
            let bytes = [&key.id()[..4], &key.sign_with(Scheme::Ecdsa(Hash::Sha256), text.as_bytes())].concat();
            let parts = logged.with(|parts| {
                let note = format!("{text}\n\u{2014} {origin} {}\n", base64(&bytes));
                parts.entry().proof().checkpoint = Some(note);
            });
            bundle(parts.bundle(Version::V03).as_bytes())
        },
        move |input, _| assert!(contains(input, tree.as_bytes()), "another tree's head counts"),
    );
    vec![stamps, entries, checkpoints]
}

/// All of them.
pub(crate) fn targets() -> Vec<Target> {
    let mut sigstore = VirtualSigstore::new();
    // An authority that the root names by its issuer, so that the certificates in tokens are read too.
    let options =
        TimestampOptions { intermediate: true, uri: "https://open.example".to_owned(), ..TimestampOptions::default() };
    sigstore.timestamp_authorities.push(TimestampAuthority::new(options));
    let trusted = sigstore.root().with(|root| drop(root.timestamp_authorities[1].chain.drain(..1)));
    let root = Anchor::Root(TrustMaterial::parse("virtual", &trusted.json()).unwrap());
    let sigstore = Arc::new(sigstore);
    let mut targets = vec![bundles(&sigstore, &root), layers(&sigstore, &root)];
    targets.extend(parts_of(&sigstore, &root));
    targets.extend(contents(&sigstore, &root));
    targets.extend(certificates(&sigstore, &root));
    targets.extend(services(&sigstore, &root));
    targets
}
