//! Timestamps: what the oracle accepts, each flip of it, and what the oracle does not know.

use jiff::Timestamp;

use super::virtual_sigstore::certificate::{CODE_SIGNING, Certified, TIME_STAMPING};
use super::virtual_sigstore::cms::{DATA, SIGNED_DATA, SignatureAlgorithm, SignedAttributes, SignerId, TokenParts};
use super::virtual_sigstore::{
    Algorithm, Hash, Parts, Subject, TimestampAuthority, TimestampOptions, Version, VirtualSigstore,
};
use super::virtual_sigstore::{der, hostile};
use super::{MANIFEST, accepted, at, noon, refused};

/// A signature in Rekor v2, of which the time is that of its timestamp alone.
fn timestamped(sigstore: &VirtualSigstore, edit: impl Fn(&mut TokenParts)) -> Parts {
    sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().token(edit).parts()
}

/// An instance with one timestamp authority.
fn with_authority(options: TimestampOptions) -> VirtualSigstore {
    let mut sigstore = VirtualSigstore::new();
    sigstore.timestamp_authorities = vec![TimestampAuthority::new(options)];
    sigstore
}

/// An attribute that means nothing.
fn attribute() -> Vec<u8> {
    der::sequence(&[der::oid("1.3.6.1.4.1.99999.1"), der::set(&[der::utf8("nothing")])])
}

type Edit = (&'static str, fn(&mut TokenParts));

#[test]
fn tokens_that_say_more_are_verified() {
    let sigstore = VirtualSigstore::doubled();
    let edits: [Edit; 12] = [
        ("as it is", |_| ()),
        ("no certificates", |token| token.certificates.clear()),
        ("named by its key", |token| token.signer_id = SignerId::SubjectKey),
        ("not in a response", |token| token.response = false),
        ("granted with modifications", |token| token.status = 1),
        ("no accuracy", |token| token.accuracy = None),
        ("a nonce and an order", |token| (token.nonce, token.ordering) = (Some(0xfeed_beef_0123_4567), true)),
        ("no time in the attributes", |token| token.signing_time = None),
        ("no certificate in the attributes", |token| token.signing_certificate = None),
        ("an attribute that nobody signed", |token| token.unsigned_attributes = vec![attribute()]),
        ("attributes in another order", |token| token.signed_attributes = SignedAttributes::Reversed),
        ("an attribute more", |token| token.further_attributes = vec![attribute()]),
    ];
    for (name, edit) in edits {
        assert_eq!(accepted(&sigstore, name, &timestamped(&sigstore, edit), Version::V03), [noon()], "{name}");
    }
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let parts = timestamped(&sigstore, |token| token.imprint_hash = hash);
        assert_eq!(accepted(&sigstore, "imprint", &parts, Version::V03), [noon()], "{hash:?}");
    }
    let two = sigstore.timestamp_authorities.iter().collect::<Vec<_>>();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().timestamped_by(&two).parts();
    assert_eq!(accepted(&sigstore, "two authorities", &parts, Version::V03), [noon(), noon()]);
    // RFC 3161 has fractions, and implicit tags in the accuracy; the reader of the oracle has not.
    let unknown: [Edit; 2] = [
        ("fractions", |token| {
            token.time = "2024-06-01T12:00:00.123456Z".parse().unwrap();
            token.fraction_digits = 6;
        }),
        ("all of the accuracy", |token| token.accuracy = Some((1, 500, 300))),
    ];
    for (name, edit) in unknown {
        refused(&sigstore, name, &timestamped(&sigstore, edit), "failed to decode TSTInfo");
    }
}

#[test]
fn tokens_with_something_wrong_are_refused() {
    let sigstore = VirtualSigstore::new();
    let other = TimestampAuthority::new(TimestampOptions::default());
    let stranger: &Certified = &other.signer;
    let refuse = |name: &str, why: &str, edit: &dyn Fn(&mut TokenParts)| {
        refused(&sigstore, name, &timestamped(&sigstore, edit), why);
    };
    refuse("rejected", "not granted", &|token| token.status = 2);
    refuse("of another signature", "ash", &|token| token.timestamped = b"another".to_vec());
    refuse("another imprint", "ash", &|token| token.imprint = Some(vec![7; 32]));
    refuse("another content", "TSTInfo", &|token| token.content_type = DATA.to_owned());
    refuse("no attributes", "attributes", &|token| token.signed_attributes = SignedAttributes::Absent);
    refuse("another digest", "ash", &|token| token.message_digest = Some(vec![7; 32]));
    refuse("a stranger's", "does not match any trusted", &|token| token.signer = stranger.clone());
    refuse("signed by a stranger", "signature invalid", &|token| token.signer.key = stranger.key.clone());
    refuse("another hash", "does not support hash", &|token| token.digest = Hash::Sha512);
    refuse("before the certificate", "CertNotValidYet", &|token| token.time = at("2024-06-01T11:59:59Z"));
    refuse("after the certificate", "CertExpired", &|token| token.time = at("2024-06-01T12:10:01Z"));
    refuse("no TSTInfo", "TSTInfo", &|token| token.info = Some(b"nothing".to_vec()));

    let mut twice = timestamped(&sigstore, |_| ());
    twice.timestamps.push(other.token(twice.content.signature(), noon()).sign());
    refused(&sigstore, "one of two a stranger's", &twice, "does not match any trusted");
}

#[test]
fn the_signer_has_to_be_certified_for_timestamps() {
    let options = TimestampOptions::default;
    let ended: Timestamp = at("2024-06-01T11:00:00Z");
    for (name, options) in [
        ("as it is", options()),
        ("through an intermediate", TimestampOptions { intermediate: true, ..options() }),
        ("P-384", TimestampOptions { algorithm: Algorithm::P384, ..options() }),
        ("a usage that is not critical", TimestampOptions { critical_usage: false, ..options() }),
        ("two usages", TimestampOptions { usages: vec![CODE_SIGNING, TIME_STAMPING], ..options() }),
    ] {
        let sigstore = with_authority(options);
        accepted(&sigstore, name, &timestamped(&sigstore, |_| ()), Version::V03);
    }
    for (name, options) in [
        ("for code", TimestampOptions { usages: vec![CODE_SIGNING], ..options() }),
        ("for nothing", TimestampOptions { usages: vec![], ..options() }),
        ("expired", TimestampOptions { not_after: ended, ..options() }),
    ] {
        let sigstore = with_authority(options);
        refused(&sigstore, name, &timestamped(&sigstore, |_| ()), "ertificate");
    }
}

/// The oracle knows no RSA signers and no P-521; that it gets as far as the key shows that the rest is in order.
#[test]
fn signers_that_the_oracle_does_not_know_get_as_far_as_their_key() {
    for algorithm in [Algorithm::Rsa2048, Algorithm::P521] {
        let sigstore = with_authority(TimestampOptions { algorithm, ..TimestampOptions::default() });
        let hashes = if algorithm == Algorithm::P521 { vec![Hash::Sha512] } else { vec![Hash::Sha256, Hash::Sha384] };
        for hash in hashes {
            for name in [SignatureAlgorithm::Specific, SignatureAlgorithm::RsaEncryption] {
                let parts = timestamped(&sigstore, |token| {
                    token.hash_with(hash);
                    token.signature_algorithm = name;
                });
                refused(
                    &sigstore,
                    "not known",
                    &parts,
                    if algorithm == Algorithm::P521 { "EC curve" } else { "EC key" },
                );
            }
        }
    }
}

#[test]
fn endless_tokens_come_to_an_end() {
    let sigstore = VirtualSigstore::new();
    let sound = timestamped(&sigstore, |_| ());
    refused(&sigstore, "a ring", &timestamped(&sigstore, |token| hostile::in_a_ring(token, 3)), "trusted");
    let nested = timestamped(&sigstore, |token| hostile::nested_info(token, 5_000));
    refused(&sigstore, "nested content", &nested, "TSTInfo");
    for depth in [1, 2, 100] {
        let parts = sound.with(|parts| parts.timestamps = vec![hostile::nested_token(depth)]);
        refused(&sigstore, "nested tokens", &parts, "TSTInfo");
    }
    for prefix in hostile::prefixes(&sound.timestamps[0], 97) {
        refused(&sigstore, "a prefix", &sound.with(|parts| parts.timestamps = vec![prefix.to_vec()]), "incomplete");
    }
    let wrong = sound.with(|parts| parts.timestamps = vec![der::oid(SIGNED_DATA)]);
    refused(&sigstore, "no token", &wrong, "decode");
}
