//! Timestamps: what a token may be, and everything that makes it none.

use countersign::verify::TimeSource;
use jiff::SignedDuration;

use super::virtual_sigstore::certificate::{CODE_SIGNING, TIME_STAMPING};
use super::virtual_sigstore::cms::{DATA, SignatureAlgorithm, SignedAttributes, SignerId, TokenParts};
use super::virtual_sigstore::{
    Algorithm, Hash, Parts, Subject, TimestampAuthority, TimestampOptions, Version, VirtualSigstore, Window, der,
};
use super::{MANIFEST, accepted, as_bundle, at, judge, judge_under, noon, refused, times};

const TIMESTAMP: &str = "TimestampInvalid";

/// A signature in Rekor v2, of which the time is that of its timestamp alone.
fn timestamped(sigstore: &VirtualSigstore, edit: impl Fn(&mut TokenParts)) -> Parts {
    sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().token(edit).parts()
}

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
fn tokens_of_every_genuine_form_are_verified() {
    let sigstore = VirtualSigstore::doubled();
    let edits: [Edit; 14] = [
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
        ("another digest of the content", |token| token.digest = Hash::Sha512),
        ("another digest of the signature", |token| token.imprint_hash = Hash::Sha512),
    ];
    for (name, edit) in edits {
        let evidence = accepted(name, judge(&sigstore, &timestamped(&sigstore, edit)));
        assert_eq!(times(&evidence, TimeSource::TimestampAuthority), [noon()], "{name}");
    }
    let parts = timestamped(&sigstore, |token| {
        (token.time, token.fraction_digits) = ("2024-06-01T12:00:00.123456Z".parse().unwrap(), 6);
        token.accuracy = Some((1, 500, 300));
    });
    let evidence = accepted("a time with fractions", judge(&sigstore, &parts));
    let [time] = evidence.times() else { panic!("{evidence:?}") };
    assert_eq!(
        (time.earliest, time.at, time.latest),
        (at("2024-06-01T11:59:58.623156Z"), at("2024-06-01T12:00:00.123456Z"), at("2024-06-01T12:00:01.623756Z"))
    );
    let two: Vec<_> = sigstore.timestamp_authorities.iter().collect();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().timestamped_by(&two).parts();
    let evidence = accepted("two authorities", judge(&sigstore, &parts));
    let operators: Vec<String> = evidence.times().iter().map(|time| time.operator.to_string()).collect();
    assert_eq!(operators.len(), 2);
    assert_ne!(operators[0], operators[1]);
}

#[test]
fn authorities_sign_with_every_usual_key() {
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Rsa2048, Algorithm::Rsa4096] {
        let sigstore = with_authority(TimestampOptions { algorithm, ..TimestampOptions::default() });
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let names: &[SignatureAlgorithm] = match algorithm {
                Algorithm::Rsa2048 | Algorithm::Rsa4096 => {
                    &[SignatureAlgorithm::Specific, SignatureAlgorithm::RsaEncryption]
                }
                _ => &[SignatureAlgorithm::Specific],
            };
            for name in names {
                let edit = |token: &mut TokenParts| {
                    token.hash_with(hash);
                    token.signature_algorithm = *name;
                };
                accepted(&format!("{algorithm:?} {hash:?}"), judge(&sigstore, &timestamped(&sigstore, edit)));
                let stranger = sigstore.timestamp_authorities[0].signer.key.other();
                let forged = timestamped(&sigstore, |token| {
                    edit(token);
                    token.signer.key = stranger.clone();
                });
                refused(&format!("{algorithm:?} {hash:?}"), judge(&sigstore, &forged), TIMESTAMP, "not signed");
            }
        }
    }
}

#[test]
fn tokens_with_something_wrong_are_refused() {
    let sigstore = VirtualSigstore::new();
    let other = TimestampAuthority::new(TimestampOptions::default());
    let stranger = &other.signer;
    let refuse = |name: &str, why: &str, edit: &dyn Fn(&mut TokenParts)| {
        refused(name, judge(&sigstore, &timestamped(&sigstore, edit)), TIMESTAMP, why);
    };
    refuse("rejected", "did not grant", &|token| token.status = 2);
    refuse("of another signature", "another signature", &|token| token.timestamped = b"another".to_vec());
    refuse("another imprint", "another signature", &|token| token.imprint = Some(vec![7; 32]));
    refuse("another content", "no timestamp", &|token| token.content_type = DATA.to_owned());
    refuse("attributes about another type", "another type", &|token| {
        token.attribute_content_type = Some(DATA.to_owned());
    });
    refuse("no attributes", "no signed attributes", &|token| token.signed_attributes = SignedAttributes::Absent);
    refuse("another digest", "other content", &|token| token.message_digest = Some(vec![7; 32]));
    refuse("a stranger's", "nobody", &|token| token.signer = stranger.clone());
    refuse("signed by a stranger", "not signed", &|token| token.signer.key = stranger.key.clone());
    refuse("another certificate", "another certificate", &|token| {
        token.signing_certificate = Some(b"another".to_vec());
    });
    refuse("no TSTInfo", "malformed", &|token| token.info = Some(b"nothing".to_vec()));
    refuse("another version", "version", &|token| token.version = 2);
    refuse("two signers", "2 signers", &|token| token.further_signers = vec![token.clone().signer_info()]);
    let critical =
        der::context(1, &der::sequence(&[der::oid("1.3.6.1.4.1.99999.1"), der::boolean(true), der::octets(b"")]));
    refuse("a critical extension", "critical", &|token| token.further_info.clone_from(&critical));
}

#[test]
fn a_token_that_does_not_count_is_no_hindrance_to_one_that_does() {
    let sigstore = VirtualSigstore::new();
    let other = TimestampAuthority::new(TimestampOptions::default());
    let sound = timestamped(&sigstore, |_| ());
    let both = sound.with(|parts| parts.timestamps.push(other.token(parts.content.signature(), noon()).sign()));
    let reversed = both.with(|parts| parts.timestamps.reverse());
    for parts in [&both, &reversed] {
        let evidence = accepted("one of two", judge(&sigstore, parts));
        assert_eq!(times(&evidence, TimeSource::TimestampAuthority), [noon()]);
    }
    refused("none", judge(&sigstore, &both.with(|parts| drop(parts.timestamps.remove(0)))), TIMESTAMP, "nobody");
    let twice = sound.with(|parts| parts.timestamps.push(parts.timestamps[0].clone()));
    refused("twice", judge(&sigstore, &twice), "MalformedEvidence", "twice");
}

/// The certificate is valid for ten minutes; a verified time at its edges is within, one beyond is not.
#[test]
fn the_certificate_is_valid_at_every_verified_time() {
    let sigstore = VirtualSigstore::doubled();
    for (time, inside) in [
        ("2024-06-01T11:59:59Z", false),
        ("2024-06-01T12:00:00Z", true),
        ("2024-06-01T12:10:00Z", true),
        ("2024-06-01T12:10:01Z", false),
    ] {
        let result = judge(&sigstore, &timestamped(&sigstore, |token| token.time = at(time)));
        if inside {
            accepted(time, result);
        } else {
            refused(time, result, "CertificateInvalid", "used at");
        }
    }
    // A good time does not help a bad one: each must hold.
    let two: Vec<_> = sigstore.timestamp_authorities.iter().collect();
    let parts = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2().timestamped_by(&two[..1]).parts();
    let late = |minutes: i64| {
        parts.with(|parts| {
            let token = two[1].token(parts.content.signature(), noon() + SignedDuration::from_mins(minutes));
            parts.timestamps.push(token.sign());
        })
    };
    assert_eq!(accepted("both", judge(&sigstore, &late(5))).times().len(), 2);
    refused("one late", judge(&sigstore, &late(11)), "CertificateInvalid", "used at");
}

#[test]
fn an_authority_is_believed_within_its_window_and_its_certificates() {
    let sigstore = VirtualSigstore::new();
    let parts = timestamped(&sigstore, |_| ());
    let second = SignedDuration::from_secs(1);
    for (name, window, inside) in [
        ("from then", Window::from(noon()), true),
        ("from after", Window::from(noon() + second), false),
        ("until then", Window::until(noon()), true),
        ("until before", Window::until(noon() - second), false),
    ] {
        let root = sigstore.root().with(|root| root.timestamp_authorities[0].valid_for = window);
        let result = judge_under(&root, &parts, &as_bundle(&parts, Version::V03));
        if inside {
            accepted(name, result);
        } else {
            refused(name, result, TIMESTAMP, "does not believe");
        }
    }
    let options = TimestampOptions::default;
    for (name, options) in [
        ("expired", TimestampOptions { not_after: noon() - second, ..options() }),
        ("not yet", TimestampOptions { not_before: noon() + second, ..options() }),
        ("expired above", TimestampOptions { intermediate: true, not_after: noon() - second, ..options() }),
    ] {
        let sigstore = with_authority(options);
        refused(name, judge(&sigstore, &timestamped(&sigstore, |_| ())), TIMESTAMP, "not valid at");
    }
}

#[test]
fn a_signer_is_for_timestamps_and_nothing_else() {
    let options = TimestampOptions::default;
    accepted("sound", {
        let sigstore = with_authority(TimestampOptions { intermediate: true, ..options() });
        judge(&sigstore, &timestamped(&sigstore, |_| ()))
    });
    for (name, options) in [
        ("for code", TimestampOptions { usages: vec![CODE_SIGNING], ..options() }),
        ("for nothing", TimestampOptions { usages: vec![], ..options() }),
        ("for both", TimestampOptions { usages: vec![CODE_SIGNING, TIME_STAMPING], ..options() }),
        ("not critical", TimestampOptions { critical_usage: false, ..options() }),
    ] {
        let sigstore = with_authority(options);
        // Where the root names it, the root says so and goes on without it.
        let root = super::material(&sigstore.root());
        assert!(root.unusable()[0].contains("timestampAuthorities[0]"), "{name}: {:?}", root.unusable());
        refused(name, judge(&sigstore, &timestamped(&sigstore, |_| ())), TIMESTAMP, "no timestamp authority");
        // Where the token brings it, it is refused there.
        let root = sigstore.root().with(|root| drop(root.timestamp_authorities[0].chain.remove(0)));
        let parts = timestamped(&sigstore, |_| ());
        refused(name, judge_under(&root, &parts, &as_bundle(&parts, Version::V03)), TIMESTAMP, "limited to");
    }
}

#[test]
fn a_root_may_name_the_authority_and_the_token_bring_its_signer() {
    let sigstore = with_authority(TimestampOptions { intermediate: true, ..TimestampOptions::default() });
    let chain = sigstore.timestamp_authorities[0].chain();
    let parts = timestamped(&sigstore, |token| token.certificates.clone_from(&chain));
    for kept in [1, 2] {
        // The intermediate and the root, or the root alone: what the token brings beside its signer's leads nowhere.
        let root = sigstore.root().with(|root| {
            root.timestamp_authorities[0].chain.drain(..kept);
        });
        let result = judge_under(&root, &parts, &as_bundle(&parts, Version::V03));
        if kept == 1 {
            accepted("embedded", result);
        } else {
            refused("an issuer embedded", result, TIMESTAMP, "certificate");
        }
        let bare = timestamped(&sigstore, |token| token.certificates.clear());
        refused("not embedded", judge_under(&root, &bare, &as_bundle(&bare, Version::V03)), TIMESTAMP, "nobody");
        let stranger = with_authority(TimestampOptions { intermediate: true, ..TimestampOptions::default() });
        let signed = sigstore.sign(Subject::manifest(MANIFEST)).rekor_v2();
        let forged = signed.timestamped_by(&[&stranger.timestamp_authorities[0]]).parts();
        refused(
            "a stranger's",
            judge_under(&root, &forged, &as_bundle(&forged, Version::V03)),
            TIMESTAMP,
            "certificate",
        );
    }
}
