//! Certificates: chains, windows, purposes, transparency, and authorities of one's own.

use std::collections::BTreeMap;

use countersign::trust::CertificateRoots;
use countersign::verify::{Anchor, Evidence, Signer, VerifyError, verify};
use jiff::SignedDuration;
use serde_json::json;

use super::virtual_sigstore::certificate::{
    CODE_SIGNING, EXTENDED_KEY_USAGE, Extension, SERVER_AUTHENTICATION, TIME_STAMPING,
};
use super::virtual_sigstore::ct::CtLog;
use super::virtual_sigstore::text::base64;
use super::virtual_sigstore::{
    Algorithm, AuthorityOptions, CertificateAuthority, Key, Parts, Signing, Subject, Version, VirtualSigstore, Window,
};
use super::{MANIFEST, accepted, as_bundle, as_layer, discovered, image, judge, judge_under, material, noon, refused};

const CERTIFICATE: &str = "CertificateInvalid";

fn message(sigstore: &VirtualSigstore) -> Signing<'_> {
    sigstore.sign(Subject::manifest(MANIFEST))
}

fn second() -> SignedDuration {
    SignedDuration::from_secs(1)
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_certificate_is_for_signing_code_and_no_authority() {
    let sigstore = VirtualSigstore::new();
    accepted("sound", judge(&sigstore, &message(&sigstore).parts()));
    let cases: [(&str, &str, Signing<'_>); 5] = [
        (
            "for servers",
            "signing code",
            message(&sigstore).certificate(|certificate| {
                certificate.set(Extension::extended_key_usage(false, &[SERVER_AUTHENTICATION]));
            }),
        ),
        (
            "for timestamps",
            "signing code",
            message(&sigstore).certificate(|certificate| {
                certificate.set(Extension::extended_key_usage(false, &[TIME_STAMPING]));
            }),
        ),
        (
            "for nothing",
            "signing code",
            message(&sigstore).certificate(|certificate| certificate.remove(EXTENDED_KEY_USAGE)),
        ),
        (
            "an authority's",
            "at 2024",
            message(&sigstore).certificate(|certificate| {
                certificate.set(Extension::basic_constraints(true, None));
            }),
        ),
        (
            "twice",
            "twice",
            message(&sigstore).certificate(|certificate| {
                certificate.extensions.push(Extension::extended_key_usage(false, &[CODE_SIGNING]));
            }),
        ),
    ];
    for (name, why, signing) in cases {
        refused(name, judge(&sigstore, &signing.parts()), CERTIFICATE, why);
    }
    let both = message(&sigstore).certificate(|certificate| {
        certificate.set(Extension::extended_key_usage(false, &[SERVER_AUTHENTICATION, CODE_SIGNING]));
    });
    accepted("for both", judge(&sigstore, &both.parts()));
}

#[test]
fn a_chain_ends_at_an_authority_of_the_root_within_its_window() {
    let sigstore = VirtualSigstore::doubled();
    let parts = message(&sigstore).parts();
    let stranger = VirtualSigstore::new();
    refused(
        "a stranger's",
        judge(&sigstore, &message(&sigstore).issued_by(&stranger.authorities[0]).parts()),
        CERTIFICATE,
        "",
    );
    accepted("the second's", judge(&sigstore, &message(&sigstore).issued_by(&sigstore.authorities[1]).parts()));
    for (name, window, inside) in [
        ("from then", Window::from(noon()), true),
        ("from after", Window::from(noon() + second()), false),
        ("until then", Window::until(noon()), true),
        ("until before", Window::until(noon() - second()), false),
    ] {
        let root = sigstore.root().with(|root| root.certificate_authorities[0].valid_for = window);
        let result = judge_under(&root, &parts, &as_bundle(&parts, Version::V03));
        if inside {
            accepted(name, result);
        } else {
            refused(name, result, CERTIFICATE, "");
        }
    }
    // The same authority under two windows: one that holds is enough, in either order.
    for order in [[0, 1], [1, 0]] {
        let root = sigstore.root().with(|root| {
            let mut twin = root.certificate_authorities[0].clone();
            root.certificate_authorities[0].valid_for = Window::until(noon() - second());
            twin.valid_for = Window::from(noon());
            let both = [root.certificate_authorities[0].clone(), twin];
            root.certificate_authorities = order.map(|place| both[place].clone()).to_vec();
        });
        accepted("two windows", judge_under(&root, &parts, &as_bundle(&parts, Version::V03)));
    }
}

/// CVE-2026-24122: whoever issues is valid when it issues, and so is what stands above.
#[test]
fn cve_2026_24122_every_element_of_the_chain_is_valid_at_the_verified_time() {
    for (number, (not_before, not_after, inside)) in [
        (noon(), noon() + second(), true),
        (noon() - second(), noon(), true),
        (noon() + second(), noon() + second() * 2, false),
        (noon() - second() * 2, noon() - second(), false),
    ]
    .into_iter()
    .enumerate()
    {
        for element in [0, 1] {
            let mut sigstore = VirtualSigstore::new();
            sigstore.authorities =
                vec![CertificateAuthority::with(AuthorityOptions::default(), |place, certificate| {
                    if place == element {
                        (certificate.not_before, certificate.not_after) = (not_before, not_after);
                    }
                })];
            let name = format!("case {number}, element {element}");
            let result = judge(&sigstore, &message(&sigstore).parts());
            if inside {
                accepted(&name, result);
            } else {
                refused(&name, result, CERTIFICATE, "");
            }
        }
    }
}

/// An instance names all that may issue: what a candidate brings leads no further, however sound the path would be.
#[test]
fn certificates_that_a_candidate_brings_lead_to_no_root_of_an_instance() {
    let mut sigstore = VirtualSigstore::new();
    sigstore.authorities = vec![CertificateAuthority::new(AuthorityOptions {
        path_lengths: vec![None, None],
        ..AuthorityOptions::default()
    })];
    let parts = sigstore.sign(Subject::simple_signing(MANIFEST)).parts();
    accepted("named", judge_under(&sigstore.root(), &parts, &as_layer(&parts)));
    let bare = parts.with(|parts| parts.material.chain_mut().clear());
    accepted("named, not brought", judge_under(&sigstore.root(), &bare, &as_layer(&bare)));
    let root = sigstore.root().with(|root| drop(root.certificate_authorities[0].chain.remove(0)));
    refused("brought alone", judge_under(&root, &parts, &as_layer(&parts)), CERTIFICATE, "");
    // An issuer that is limited to servers.
    let mut sigstore = VirtualSigstore::new();
    sigstore.authorities = vec![CertificateAuthority::with(AuthorityOptions::default(), |place, certificate| {
        if place == 1 {
            certificate.set(Extension::extended_key_usage(false, &[SERVER_AUTHENTICATION]));
        }
    })];
    refused("for servers", judge(&sigstore, &message(&sigstore).parts()), CERTIFICATE, "");
}

fn transparency(result: Result<Evidence, VerifyError>) -> Result<(), String> {
    let evidence = accepted("transparency is a fact, not a step", result);
    match evidence.no_certificate_transparency() {
        None => {
            assert!(evidence.certificate_transparency());
            Ok(())
        }
        Some(reason) => {
            assert!(!evidence.certificate_transparency());
            Err(reason.to_owned())
        }
    }
}

#[test]
fn certificate_transparency_is_proved_by_a_known_log_over_this_certificate() {
    let sigstore = VirtualSigstore::doubled();
    let unknown = CtLog::new(Algorithm::P256, "https://ctfe.example/unknown", "ct.example");
    for log in &sigstore.ct_logs {
        assert_eq!(transparency(judge(&sigstore, &message(&sigstore).ct_log(log).parts())), Ok(()));
    }
    let stranger = Key::generate(Algorithm::P256);
    let sound: [(&str, Signing<'_>); 3] = [
        ("extended", message(&sigstore).scts(|scts| scts[0].extensions = vec![0, 0, 5, 0, 0, 13, 222, 20])),
        ("two", message(&sigstore).scts(|scts| scts.push(scts[0].clone()))),
        (
            "one of two unknown",
            message(&sigstore).scts(|scts| {
                let mut other = scts[0].clone();
                other.log_id = vec![7; 32];
                scts.insert(0, other);
            }),
        ),
    ];
    for (name, signing) in sound {
        assert_eq!(transparency(judge(&sigstore, &signing.parts())), Ok(()), "{name}");
    }
    let cases: [(&str, &str, Signing<'_>); 7] = [
        ("none", "carries no", message(&sigstore).without_sct()),
        ("an empty list", "carries no", message(&sigstore).scts(Vec::clear)),
        ("an unknown log's", "does not know", message(&sigstore).ct_log(&unknown)),
        ("for another certificate", "not signed", message(&sigstore).scts(|scts| scts[0].over_another_certificate())),
        ("of another issuer", "not signed", message(&sigstore).scts(|scts| scts[0].issuer_key_hash = stranger.id())),
        (
            "before a change",
            "not signed",
            message(&sigstore).certificate_after_sct(|certificate| certificate.serial[1] ^= 1),
        ),
        ("many", "at most", message(&sigstore).scts(|scts| *scts = vec![scts[0].clone(); 9])),
    ];
    for (name, why, signing) in cases {
        let found = transparency(judge(&sigstore, &signing.parts())).expect_err(name);
        assert!(found.contains(why), "{name}: {found}");
    }
    let root = sigstore.root().without_ct_logs();
    let parts = message(&sigstore).parts();
    let found = transparency(judge_under(&root, &parts, &as_bundle(&parts, Version::V03))).unwrap_err();
    assert!(found.contains("names no log"), "{found}");
}

#[test]
fn a_log_of_certificates_is_believed_within_its_window() {
    let sigstore = VirtualSigstore::new();
    let parts = message(&sigstore).parts();
    for (name, window, inside) in [
        ("from then", Window::from(noon()), true),
        ("from after", Window::from(noon() + second()), false),
        ("until then", Window::until(noon()), true),
        ("until before", Window::until(noon() - second()), false),
    ] {
        let root = sigstore.root().with(|root| root.ct_logs[0].valid_for = window);
        let found = transparency(judge_under(&root, &parts, &as_bundle(&parts, Version::V03)));
        assert_eq!(found.is_ok(), inside, "{name}: {found:?}");
    }
}

#[test]
fn an_rsa_log_of_certificates_promises_too() {
    let mut sigstore = VirtualSigstore::new();
    sigstore.ct_logs = vec![CtLog::new(Algorithm::Rsa2048, "https://ctfe.example/rsa", "ct.example")];
    assert_eq!(transparency(judge(&sigstore, &message(&sigstore).parts())), Ok(()));
}

/// An own authority, and the parts that its signer made, dated by the instance.
fn own(options: AuthorityOptions) -> (VirtualSigstore, CertificateAuthority) {
    (VirtualSigstore::new(), CertificateAuthority::new(options))
}

fn under(
    sigstore: &VirtualSigstore,
    authority: &CertificateAuthority,
    chain: bool,
    parts: &Parts,
) -> Result<Evidence, VerifyError> {
    let certificates = authority.chain();
    let (root, between) = certificates.split_last().unwrap();
    let between: String = if chain { between.iter().map(|der| pem(der)).collect() } else { String::new() };
    let roots = CertificateRoots::parse_pem(&pem(root), &between).unwrap();
    let anchor = Anchor::Certificates { roots, dating: material(&sigstore.root()) };
    verify(&as_bundle(parts, Version::V03), &image(MANIFEST), &anchor)
}

#[test]
fn an_own_authority_is_trusted_for_itself_at_a_time_that_others_verify() {
    let (sigstore, authority) = own(AuthorityOptions::default());
    let parts = message(&sigstore).issued_by(&authority).without_sct().parts();
    let evidence = accepted("own", under(&sigstore, &authority, true, &parts));
    assert!(matches!(evidence.signer(), Signer::Certificate { subjects, .. } if subjects.len() == 1));
    assert!(!evidence.certificate_transparency() && evidence.times().len() == 1);
    // The instance knows nothing of it, and it nothing of the instance's signers.
    refused("instance", judge(&sigstore, &parts), CERTIFICATE, "");
    refused("own", under(&sigstore, &authority, true, &message(&sigstore).parts()), CERTIFICATE, "");
    // Without the intermediate there is no path in a bundle that brings none.
    refused("no path", under(&sigstore, &authority, false, &parts), CERTIFICATE, "");
    // A layer may bring it.
    let layer = sigstore.sign(Subject::simple_signing(MANIFEST)).issued_by(&authority).without_sct().parts();
    let root = CertificateRoots::parse_pem(&pem(authority.chain().last().unwrap()), "").unwrap();
    let anchor = Anchor::Certificates { roots: root, dating: material(&sigstore.root()) };
    accepted("brought", verify(&as_layer(&layer), &image(MANIFEST), &anchor));
    // So may a bundle of version 0.3, for an own authority alone.
    let mut chained = parts.value(Version::V03);
    let material = chained["verificationMaterial"].as_object_mut().unwrap();
    let leaf = material.remove("certificate").unwrap();
    let above = json!({"rawBytes": base64(&authority.chain()[0])});
    material.insert("x509CertificateChain".to_owned(), json!({"certificates": [leaf, above]}));
    let chained = discovered(Version::V03.media_type(), chained.to_string().into_bytes(), BTreeMap::new());
    accepted("a chain in 0.3", verify(&chained, &image(MANIFEST), &anchor));
    let instance = Anchor::Root(super::material(&sigstore.root()));
    refused("a chain in 0.3", verify(&chained, &image(MANIFEST), &instance), "MalformedEvidence", "no chain");
    // Without a time no certificate is valid.
    let undated = message(&sigstore).issued_by(&authority).without_sct().without_log().parts();
    refused("undated", under(&sigstore, &authority, true, &undated), "LogMissing", "no log entry");
    // By a timestamp alone.
    let stamped = message(&sigstore).issued_by(&authority).without_sct().without_log().timestamped().parts();
    accepted("stamped", under(&sigstore, &authority, true, &stamped));
    // For another purpose, by a key, for another image.
    let servers = message(&sigstore).issued_by(&authority).certificate(|certificate| {
        certificate.set(Extension::extended_key_usage(false, &[SERVER_AUTHENTICATION]));
    });
    refused("for servers", under(&sigstore, &authority, true, &servers.parts()), CERTIFICATE, "signing code");
    let key = message(&sigstore).without_certificate().parts();
    refused("a key", under(&sigstore, &authority, true, &key), "NoCertificate", "");
    let other = sigstore.sign(Subject::manifest(b"another")).issued_by(&authority).parts();
    assert!(under(&sigstore, &authority, true, &other).is_err());
}

#[test]
fn an_own_authority_is_held_to_its_length_and_its_validity() {
    let options = AuthorityOptions::default;
    for (name, options, inside) in [
        ("long enough", AuthorityOptions { path_lengths: vec![Some(1), Some(0)], ..options() }, true),
        ("without limits", AuthorityOptions { path_lengths: vec![None, None], ..options() }, true),
        ("without an intermediate", AuthorityOptions { path_lengths: vec![Some(0)], ..options() }, true),
        ("too long", AuthorityOptions { path_lengths: vec![Some(0), Some(0)], ..options() }, false),
        ("too long below", AuthorityOptions { path_lengths: vec![Some(2), Some(0), Some(0)], ..options() }, false),
        ("expired", AuthorityOptions { not_after: noon() - second(), ..options() }, false),
        ("at its end", AuthorityOptions { not_after: noon(), ..options() }, true),
        // No well-defined end (RFC 5280, section 4.1.2.5), and later than any time that can be written here.
        ("without an end", AuthorityOptions { not_after: jiff::Timestamp::MAX, ..options() }, true),
        ("not yet", AuthorityOptions { not_before: noon() + second(), ..options() }, false),
    ] {
        let (sigstore, authority) = own(options);
        let parts = message(&sigstore).issued_by(&authority).without_sct().parts();
        let result = under(&sigstore, &authority, true, &parts);
        if inside {
            accepted(name, result);
        } else {
            refused(name, result, CERTIFICATE, "");
        }
    }
}
