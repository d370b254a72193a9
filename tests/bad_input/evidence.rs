//! Candidates that are signed and hostile.

use serde_json::{Value, json};

use super::virtual_sigstore::certificate::{Extension, Name};
use super::virtual_sigstore::checkpoint::Signer;
use super::virtual_sigstore::content::{Content, Envelope, IN_TOTO};
use super::virtual_sigstore::fulcio::{AuthorityOptions, CertificateAuthority, Identity, San};
use super::virtual_sigstore::parts::BUNDLE;
use super::virtual_sigstore::{
    Algorithm, Key, Kind, Log, Signing, Subject, TimestampOptions, Version, VirtualSigstore, der, hostile,
};
use super::*;

const PREDICATE: &str = "https://example.com/predicate/v1";

/// Alice's statement about the image with subjects and predicate as they are told, each JSON.
fn statement(subjects: &str, predicate: &str) -> Subject {
    let text = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"{PREDICATE}","subject":[{subjects}],"predicate":{predicate}}}"#
    );
    Subject::Envelope { payload_type: IN_TOTO.to_owned(), payload: text.into_bytes() }
}

#[test]
fn json_that_is_nested_without_end_is_refused() {
    let sigstore = VirtualSigstore::new();
    let root = sigstore.root();
    let own = image().digest();
    let subject = format!(r#"{{"digest":{{"sha256":"{}"}}}}"#, own.trim_start_matches("sha256:"));
    let attested = |predicate: &str| tagged(image(), sigstore.sign(statement(&subject, predicate)).parts().layer());
    // What a field of no interest holds is passed over, however deep it is, and must be JSON all the same.
    for depth in [100, 4_000_000] {
        expect("a statement", &verify(&attested(&nested(depth)), &root, Some(PREDICATE)), 0, "allowed");
    }
    let open = "[".repeat(4_000_000);
    expect("a statement", &verify(&attested(&open), &root, Some(PREDICATE)), 1, "MalformedEvidence");

    let payload = |optional: &str| {
        let text = format!(
            r#"{{"critical":{{"identity":{{}},"image":{{"docker-manifest-digest":"{own}"}},"type":"cosign container image signature"}},"optional":{optional}}}"#
        );
        tagged(image(), sigstore.sign(Subject::Message(text.into_bytes())).parts().layer())
    };
    expect("simple signing", &verify(&payload(&nested(30_000)), &root, None), 0, "allowed");
    expect("simple signing", &verify(&payload(&"[".repeat(30_000)), &root, None), 1, "MalformedEvidence");

    let parts = sigstore.sign(Subject::manifest(&image().manifest)).parts();
    let bundle = parts.bundle(Version::V03);
    let with_field = |depth| bundle.replacen('{', &format!(r#"{{"further":{},"#, nested(depth)), 1);
    expect("a bundle", &verify(&referred(image(), &with_field(400_000)), &root, None), 1, "MalformedEvidence");
    expect("brackets", &verify(&referred(image(), &"[".repeat(1 << 20)), &root, None), 1, "MalformedEvidence");
    let body = parts.with(|parts| parts.entry().body = nested(200_000).into_bytes());
    expect("a log entry", &verify(&bundled(image(), &body), &root, None), 1, "LogEntryInvalid");

    let signed = sigstore.sign(Subject::simple_signing(&image().manifest)).parts();
    let mut layer = signed.layer();
    layer.annotations.insert(BUNDLE.to_owned(), nested(400_000));
    expect("an annotation", &verify(&tagged(image(), layer), &root, None), 1, "MalformedEvidence");
    let legacy = signed.with(|parts| parts.entry().body = nested(200_000).into_bytes()).layer();
    expect("a log entry", &verify(&tagged(image(), legacy), &root, None), 1, "MalformedEvidence");
}

#[test]
fn statements_with_many_subjects_of_many_digests_are_bounded() {
    let sigstore = VirtualSigstore::new();
    let own = image().digest();
    let digests: Vec<String> = (0..120).map(|number| format!(r#""other{number}":"{}""#, "ab".repeat(32))).collect();
    let other = format!(r#"{{"digest":{{{}}}}}"#, digests.join(","));
    let own = format!(r#"{{"digest":{{"sha256":"{}"}}}}"#, own.trim_start_matches("sha256:"));
    for (count, code, says) in [(999, 0, "allowed"), (1_000, 1, "MalformedEvidence")] {
        let subjects = [vec![other.clone(); count], vec![own.clone()]].concat().join(",");
        let layer = sigstore.sign(statement(&subjects, "null")).parts().layer();
        assert!((10 << 20..16 << 20).contains(&layer.content.len()), "{} bytes", layer.content.len());
        expect("subjects", &verify(&tagged(image(), layer), &sigstore.root(), Some(PREDICATE)), code, says);
    }
}

#[test]
fn lists_in_a_bundle_are_bounded() {
    let mut sigstore = VirtualSigstore::new();
    for number in 0..16 {
        let host = format!("rekor{number}.example");
        sigstore.logs_v1.push(virtual_sigstore::RekorV1::new(Algorithm::P256, &host, &host));
    }
    let logs: Vec<Log<'_>> = sigstore.logs_v1.iter().map(Log::V1).collect();
    let padded = |count: usize| {
        let logs = logs.get(..count).unwrap();
        let padding = "x".repeat(30_000);
        // What Rekor's schema leaves room for is signed by the log and read by nobody.
        let edit = |body: &mut Value| body["padding"] = padding.clone().into();
        sigstore.sign(Subject::manifest(&image().manifest)).logged_in(logs).body(edit).parts()
    };
    expect("16 entries", &verify(&bundled(image(), &padded(16)), &sigstore.root(), None), 0, "allowed");
    expect("17 entries", &verify(&bundled(image(), &padded(17)), &sigstore.root(), None), 1, "MalformedEvidence");
    let huge = padded(16).with(|parts| parts.entries.iter_mut().for_each(|entry| entry.body = vec![b' '; 1 << 20]));
    expect("1 MiB entries", &verify(&bundled(image(), &huge), &sigstore.root(), None), 1, "ContentTooLarge");

    let stamped = sigstore.sign(Subject::manifest(&image().manifest)).timestamped().parts();
    let tokens = |count: usize| {
        let authority = &sigstore.timestamp_authorities[0];
        let token = |_| authority.token(stamped.content.signature(), "2024-06-01T12:00:00Z".parse().unwrap()).sign();
        stamped.with(|parts| parts.timestamps = (0..count).map(token).collect())
    };
    expect("16 timestamps", &verify(&bundled(image(), &tokens(16)), &sigstore.root(), None), 0, "allowed");
    expect("17 timestamps", &verify(&bundled(image(), &tokens(17)), &sigstore.root(), None), 1, "MalformedEvidence");
}

#[test]
fn certificates_with_endless_extensions_names_or_promises_are_bounded() {
    let sigstore = VirtualSigstore::new();
    let root = sigstore.root();
    let signing = || sigstore.sign(Subject::manifest(&image().manifest));
    let extended = |count: usize| {
        let edit = move |parts: &mut virtual_sigstore::certificate::CertificateParts| {
            let further = |number| Extension::new(&format!("1.3.6.1.4.1.99999.{number}"), false, der::null());
            parts.extensions.extend((0..count).map(further));
        };
        signing().certificate(edit).parts()
    };
    expect("extensions", &verify(&bundled(image(), &extended(2_000)), &root, None), 0, "allowed");
    expect("64 KiB", &verify(&bundled(image(), &extended(8_000)), &root, None), 1, "MalformedEvidence");
    let names = |count: usize| {
        let alice = || San::Email("alice@example.com".to_owned());
        let names = (1..count).map(|number| San::Email(format!("alice{number}@example.com"))).chain([alice()]);
        signing().by(&Identity::named(names.collect(), "https://accounts.example.com")).parts()
    };
    expect("names", &verify(&bundled(image(), &names(16)), &root, None), 0, "allowed");
    expect("names", &verify(&bundled(image(), &names(1_000)), &root, None), 1, "CertificateInvalid");
    let promises = |count: usize| signing().scts(move |promises| *promises = vec![promises[0].clone(); count]).parts();
    expect("promises", &verify(&bundled(image(), &promises(8)), &root, None), 0, "allowed");
    let many = verify(&bundled(image(), &promises(500)), &root, None);
    expect("promises", &many, 1, "CertificateTransparencyMissing");
    // A promise of 60 KiB of extensions, which its log signed.
    let long = signing().scts(|promises| promises[0].extensions = vec![0; 60_000]).parts();
    expect("a long promise", &verify(&bundled(image(), &long), &root, None), 0, "allowed");
}

#[test]
fn checkpoints_with_endless_signatures_are_bounded() {
    let sigstore = VirtualSigstore::new();
    let sound = sigstore.sign(Subject::manifest(&image().manifest)).parts();
    let log = &sigstore.logs_v1[0];
    let with_lines = |count: usize, id: [u8; 4]| {
        sound.with(|parts| {
            let proof = parts.entry().proof();
            let text = log.checkpoint(proof.tree_size).text();
            let (body, own) = text.split_once("\n\n").unwrap();
            let line = format!("\u{2014} w {}\n", virtual_sigstore::text::base64(&[&id[..], &[7; 8]].concat()));
            proof.checkpoint = Some(format!("{body}\n\n{}{own}", line.repeat(count)));
        })
    };
    let hint = <[u8; 4]>::try_from(&log.key.id()[..4]).unwrap();
    let judged = |parts: &Parts| verify(&bundled(image(), parts), &sigstore.root(), None);
    expect("strangers", &judged(&with_lines(15_000, [9; 4])), 0, "allowed");
    expect("look-alikes", &judged(&with_lines(15_000, hint)), 1, "LogEntryInvalid");
    expect("10^5 strangers", &judged(&with_lines(100_000, [9; 4])), 1, "ContentTooLarge");
    let stranger = Key::generate(Algorithm::P256);
    let signers: Vec<Signer> = (0..100).map(|_| Signer::log("w", &stranger)).collect();
    let unknown = sound.with(|parts| {
        let proof = parts.entry().proof();
        let mut checkpoint = log.checkpoint(proof.tree_size);
        checkpoint.signers = signers;
        proof.checkpoint = Some(checkpoint.text());
    });
    expect("strangers alone", &judged(&unknown), 1, "LogEntryInvalid");
}

/// CVE-2026-32280 and its like: certificates each of which could have issued any other, so that paths are without number.
#[test]
fn chains_of_equal_names_do_not_blow_up() {
    let sigstore = VirtualSigstore::new();
    let stranger = CertificateAuthority::new(AuthorityOptions {
        algorithm: Algorithm::P256,
        path_lengths: vec![None],
        organization: "same.example".to_owned(),
        ..AuthorityOptions::default()
    });
    let issuer = stranger.issuer();
    let valid = (issuer.parts.not_before, issuer.parts.not_after);
    // Up to version 0.2 a bundle carries its chain, without the last.
    let bundle = |signing: Signing<'_>, between: &[Vec<u8>]| {
        let parts = signing.parts().with(|parts| {
            let last = parts.material.chain_mut().pop();
            *parts.material.chain_mut() = between.iter().cloned().chain(last).collect();
        });
        parts.bundle(Version::V02)
    };
    let message = || sigstore.sign(Subject::manifest(&image().manifest));
    let judge = |bundle: &str| verify(&referred(image(), bundle), &sigstore.root(), None);
    let equal = hostile::equal_names(20, &issuer.parts.subject, valid);
    expect("beside a genuine one", &judge(&bundle(message(), &equal[..3])), 0, "allowed");
    // Under an instance they lead nowhere, however many they are.
    expect("beside a genuine one", &judge(&bundle(message(), &equal[..15])), 0, "allowed");

    let trusted = sigstore.authorities[0].issuer().parts.subject.clone();
    // Names of their own, and the name of the authority that the root trusts: then every path ends at it, and is verified.
    for name in [issuer.parts.subject.clone(), trusted] {
        let between = hostile::equal_names(20, &name, valid);
        let signing = || message().issued_by(&stranger).certificate_after_sct(|leaf| leaf.issuer = name.clone());
        for (count, says) in [(1, "CertificateInvalid"), (15, "CertificateInvalid"), (16, "MalformedEvidence")] {
            expect("equal names", &judge(&bundle(signing(), &between[..count])), 1, says);
        }
        // As many candidates as an image may have.
        let many =
            (0..64).fold(image(), |image, number| referred(image, &bundle(signing(), &between[..3 + number % 12])));
        expect("64 candidates", &verify(&many, &sigstore.root(), None), 1, "CertificateInvalid");
    }
    // Names that lead on to one another, each as often as it may be.
    let names: Vec<Name> = (0..5).map(|level| Name::new("same.example", &format!("level {level}"))).collect();
    let levels = names.iter().enumerate().flat_map(|(level, name)| {
        let above = names.get(level + 1).unwrap_or(&names[0]);
        hostile::issued_by_name(3, name, above, valid)
    });
    let levels: Vec<Vec<u8>> = levels.collect();
    let signing = || message().issued_by(&stranger).certificate_after_sct(|leaf| leaf.issuer = names[0].clone());
    expect("levels", &judge(&bundle(signing(), &levels)), 1, "CertificateInvalid");
}

#[test]
fn tokens_with_rings_nests_and_crowds_of_certificates_are_refused() {
    let sigstore = VirtualSigstore::new();
    let mut open = VirtualSigstore::new();
    let options = TimestampOptions { intermediate: true, ..TimestampOptions::default() };
    open.timestamp_authorities = vec![virtual_sigstore::TimestampAuthority::new(options)];
    // A root that names the authorities above the signer lets the token bring it.
    let opened = open.root().with(|root| drop(root.timestamp_authorities[0].chain.drain(..1)));
    let with = |sigstore: &VirtualSigstore, edit: &dyn Fn(&mut virtual_sigstore::cms::TokenParts)| {
        bundled(image(), &sigstore.sign(Subject::manifest(&image().manifest)).rekor_v2().token(edit).parts())
    };
    let crowd =
        hostile::same_names(500, ("2021-01-01T00:00:00Z".parse().unwrap(), "2035-01-01T00:00:00Z".parse().unwrap()));
    for (sigstore, root) in [(&sigstore, sigstore.root()), (&open, opened)] {
        let authorities = sigstore.timestamp_authorities[0].chain();
        let whole = |token: &mut virtual_sigstore::cms::TokenParts| token.certificates.clone_from(&authorities);
        expect("genuine", &verify(&with(sigstore, &whole), &root, None), 0, "allowed");
        for length in [1, 3, 12] {
            let ring = |token: &mut _| hostile::in_a_ring(token, length);
            expect("a ring", &verify(&with(sigstore, &ring), &root, None), 1, "TimestampInvalid");
        }
        for (depth, says) in [(3, "TimestampInvalid"), (10_000, "MalformedEvidence")] {
            let nest = |token: &mut _| hostile::nested_info(token, depth);
            expect("nested content", &verify(&with(sigstore, &nest), &root, None), 1, says);
        }
        let crowded = |token: &mut virtual_sigstore::cms::TokenParts| token.certificates.clone_from(&crowd);
        expect("a crowd", &verify(&with(sigstore, &crowded), &root, None), 1, "MalformedEvidence");
    }
    for (depth, says) in [(5, "TimestampInvalid"), (1_000, "MalformedEvidence")] {
        let parts = sigstore.sign(Subject::manifest(&image().manifest)).rekor_v2().parts();
        let parts = parts.with(|parts| parts.timestamps = vec![hostile::nested_token(depth)]);
        expect("nested tokens", &verify(&bundled(image(), &parts), &sigstore.root(), None), 1, says);
    }
}

#[test]
fn envelopes_with_many_signatures_are_refused() {
    let sigstore = VirtualSigstore::new();
    let sound = sigstore.sign(Subject::cosign_sign(&image().manifest)).kind(Kind::Dsse).parts();
    expect("one", &verify(&bundled(image(), &sound), &sigstore.root(), None), 0, "allowed");
    let many = sound.with(|parts| {
        let Content::Envelope(Envelope { signatures, .. }) = &mut parts.content else { return };
        *signatures = vec![signatures[0].clone(); 5_000];
    });
    expect("many", &verify(&bundled(image(), &many), &sigstore.root(), None), 1, "MalformedEvidence");
    let keyed = json!({"further": "x".repeat(1 << 20)}).to_string();
    expect("too long", &verify(&referred(image(), &keyed), &sigstore.root(), None), 1, "ContentTooLarge");
}
