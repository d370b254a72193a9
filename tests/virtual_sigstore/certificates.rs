//! Certificates and the logs that promise to log them: what the oracle accepts, and each flip of it.

use jiff::SignedDuration;

use super::virtual_sigstore::certificate::{
    CODE_SIGNING, CertificateParts, EXTENDED_KEY_USAGE, Extension, SERVER_AUTHENTICATION,
};
use super::virtual_sigstore::ct::CtLog;
use super::virtual_sigstore::{
    Algorithm, AuthorityOptions, CertificateAuthority, Identity, Key, San, Signing, Subject, TrustedRoot, Version,
    VirtualSigstore, Window,
};
use super::{MANIFEST, accepted, at, judge, noon, refused};

const ISSUER: &str = "https://accounts.example.com";

fn message(sigstore: &VirtualSigstore) -> Signing<'_> {
    sigstore.sign(Subject::manifest(MANIFEST))
}

#[test]
fn names_and_claims_are_read_back() {
    let sigstore = VirtualSigstore::new();
    let root = sigstore_trust_root::TrustedRoot::from_json(&sigstore.root().json()).unwrap();
    let verifier = sigstore_verify::Verifier::new(&root).unwrap();
    let read = |identity: &Identity| {
        let bundle = message(&sigstore).by(identity).parts().bundle(Version::V03);
        let bundle = sigstore_types::Bundle::from_json(&bundle).unwrap();
        let result = verifier.verify(MANIFEST, &bundle, &sigstore_verify::VerificationPolicy::any_identity()).unwrap();
        let name = result.identity().map(|name| name.as_str().to_owned());
        (name, result.issuer().map(str::to_owned), result.certificate().unwrap().ci_claims.clone())
    };

    let workflow = Identity::workflow("octo/app", "release.yml", "refs/tags/v1");
    let (name, issuer, claims) = read(&workflow);
    let uri = "https://github.com/octo/app/.github/workflows/release.yml@refs/tags/v1";
    assert_eq!(name.as_deref(), Some(uri));
    assert_eq!(issuer.as_deref(), Some("https://token.actions.githubusercontent.com"));
    assert_eq!(claims.build_signer_uri.as_deref(), Some(uri));
    assert_eq!(claims.source_repository_ref.as_deref(), Some("refs/tags/v1"));
    assert_eq!(claims.token_subject.as_deref(), Some("repo:octo/app:ref:refs/tags/v1"));

    let email = San::Email("alice@example.com".to_owned());
    let dns = San::Dns("build.example.com".to_owned());
    let other = San::OtherName("alice!example.com".to_owned());
    for (names, expected) in [
        (vec![email.clone()], Some("alice@example.com")),
        (vec![dns.clone(), email.clone()], Some("alice@example.com")),
        (vec![other, email], Some("alice@example.com")),
        (vec![dns], None),
        (vec![], None),
    ] {
        let (name, issuer, _) = read(&Identity::named(names.clone(), ISSUER));
        assert_eq!(name.as_deref(), expected, "{names:?}");
        assert_eq!(issuer.as_deref(), Some(ISSUER), "{names:?}");
    }
    // The older extension alone, and the newer one alone.
    let identity = Identity::email("alice@example.com", ISSUER);
    assert_eq!(read(&identity.clone().without_claim(8)).1.as_deref(), Some(ISSUER));
    assert_eq!(read(&identity.clone().without_claim(1)).1.as_deref(), Some(ISSUER));
    assert_eq!(read(&identity.without_claim(1).without_claim(8)).1, None);
}

#[test]
fn a_certificate_that_should_not_have_been_issued_is_refused() {
    let sigstore = VirtualSigstore::doubled();
    let other = VirtualSigstore::new();
    let stranger = &other.authorities[0];
    accepted(&sigstore, "sound", &message(&sigstore).parts(), Version::V03);
    let second = message(&sigstore).issued_by(&sigstore.authorities[1]);
    accepted(&sigstore, "the second authority", &second.parts(), Version::V03);

    let late = noon() + SignedDuration::from_mins(10) + SignedDuration::from_secs(1);
    let cases: [(&str, &str, Signing<'_>); 6] = [
        (
            "for servers",
            "chain",
            message(&sigstore).certificate(|certificate| {
                certificate.set(Extension::extended_key_usage(false, &[SERVER_AUTHENTICATION]));
            }),
        ),
        ("for nothing", "chain", message(&sigstore).certificate(|certificate| certificate.remove(EXTENDED_KEY_USAGE))),
        (
            "an authority's",
            "chain",
            message(&sigstore).certificate(|certificate| {
                certificate.set(Extension::basic_constraints(true, None));
            }),
        ),
        ("signed after its end", "CertExpired", message(&sigstore).integrated_at(late)),
        (
            "signed before its start",
            "CertNotValidYet",
            message(&sigstore).integrated_at(noon() - SignedDuration::from_secs(1)),
        ),
        ("a stranger's", "chain", message(&sigstore).issued_by(stranger)),
    ];
    for (name, why, signing) in cases {
        refused(&sigstore, name, &signing.parts(), why);
    }
    // At the very end it is valid, and so it is with another usage beside the right one.
    let end = noon() + SignedDuration::from_mins(10);
    accepted(&sigstore, "at its end", &message(&sigstore).integrated_at(end).parts(), Version::V03);
    let both = message(&sigstore).certificate(|certificate| {
        certificate.set(Extension::extended_key_usage(false, &[SERVER_AUTHENTICATION, CODE_SIGNING]));
    });
    accepted(&sigstore, "for both", &both.parts(), Version::V03);
}

#[test]
fn a_promise_of_certificate_transparency_has_to_fit() {
    let sigstore = VirtualSigstore::doubled();
    let unknown = CtLog::new(Algorithm::P256, "https://ctfe.example/unknown", "ct.example");
    for log in &sigstore.ct_logs {
        accepted(&sigstore, &log.base_url, &message(&sigstore).ct_log(log).parts(), Version::V03);
    }
    let extended = message(&sigstore).scts(|scts| scts[0].extensions = vec![0, 0, 5, 0, 0, 13, 222, 20]);
    accepted(&sigstore, "with an index", &extended.parts(), Version::V03);

    let stranger = Key::generate(Algorithm::P256);
    let cases: [(&str, &str, Signing<'_>); 7] = [
        ("none", "missing SCT", message(&sigstore).without_sct()),
        ("an empty list", "missing SCT", message(&sigstore).scts(Vec::clear)),
        ("two", "multiple SCTs", message(&sigstore).scts(|scts| scts.push(scts[0].clone()))),
        ("an unknown log's", "SCT", message(&sigstore).ct_log(&unknown)),
        ("for another certificate", "SCT", message(&sigstore).scts(|scts| scts[0].over_another_certificate())),
        ("of another issuer", "SCT", message(&sigstore).scts(|scts| scts[0].issuer_key_hash = stranger.id())),
        ("before a change", "SCT", message(&sigstore).certificate_after_sct(|certificate| certificate.serial[1] ^= 1)),
    ];
    for (name, why, signing) in cases {
        refused(&sigstore, name, &signing.parts(), why);
    }
}

#[test]
fn a_log_with_an_rsa_key_promises_too() {
    let mut sigstore = VirtualSigstore::new();
    sigstore.ct_logs = vec![CtLog::new(Algorithm::Rsa2048, "https://ctfe.example/rsa", "ct.example")];
    accepted(&sigstore, "RSA", &message(&sigstore).parts(), Version::V03);
}

type SetWindow = fn(&mut TrustedRoot, Window);

#[test]
fn windows_of_the_trust_root_hold() {
    let sigstore = VirtualSigstore::new();
    let bundle = message(&sigstore).timestamped().parts().bundle(Version::V03);
    let around = Window::between(at("2024-06-01T11:00:00Z"), at("2024-06-01T13:00:00Z"));
    let before = Window::until(at("2024-06-01T11:59:59Z"));
    let after = Window::from(at("2024-06-01T12:00:01Z"));
    let windows: [(&str, SetWindow); 4] = [
        ("certificate authority", |root, window| root.certificate_authorities[0].valid_for = window),
        ("certificate transparency", |root, window| root.ct_logs[0].valid_for = window),
        ("log", |root, window| root.logs[0].valid_for = window),
        ("timestamp authority", |root, window| root.timestamp_authorities[0].valid_for = window),
    ];
    for (name, set) in windows {
        let judge = |window| judge(&sigstore.root().with(|root| set(root, window)).json(), &bundle, None);
        judge(around).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(judge(before).is_err(), "{name}: after its end");
        assert!(judge(after).is_err(), "{name}: before its start");
    }
    for (name, root) in [
        ("no certificate authority", sigstore.root().without_certificate_authorities()),
        ("no certificate transparency", sigstore.root().without_ct_logs()),
        ("no log", sigstore.root().without_logs()),
        ("no timestamp authority", sigstore.root().without_timestamp_authorities()),
    ] {
        assert!(judge(&root.json(), &bundle, None).is_err(), "{name}");
    }
}

/// A trust root may hold the root certificate alone; then a bundle up to 0.2 brings the intermediates.
#[test]
fn intermediates_in_a_bundle_are_verified() {
    let judge = |options: AuthorityOptions, edit: fn(usize, &mut CertificateParts)| {
        let mut sigstore = VirtualSigstore::new();
        sigstore.authorities = vec![CertificateAuthority::with(options, edit)];
        let root = sigstore.root().with(|root| drop(root.certificate_authorities[0].chain.drain(..1)));
        judge(&root.json(), &message(&sigstore).parts().bundle(Version::V01), None)
    };
    let options = AuthorityOptions::default;
    judge(options(), |_, _| ()).unwrap();
    judge(AuthorityOptions { algorithm: Algorithm::P256, ..options() }, |_, _| ()).unwrap();

    let expired = judge(options(), |number, parts| {
        if number == 1 {
            parts.not_after = "2024-06-01T11:59:59Z".parse().unwrap();
        }
    });
    assert!(expired.unwrap_err().contains("chain"));
    let no_authority = judge(options(), |number, parts| {
        if number == 1 {
            parts.set(Extension::basic_constraints(false, None));
        }
    });
    assert!(no_authority.unwrap_err().contains("chain"));
    let too_long = |lengths: [Option<u8>; 3]| {
        let mut sigstore = VirtualSigstore::new();
        let options = AuthorityOptions { path_lengths: lengths.to_vec(), ..options() };
        sigstore.authorities = vec![CertificateAuthority::new(options)];
        let root = sigstore.root().with(|root| drop(root.certificate_authorities[0].chain.drain(..2)));
        super::judge(&root.json(), &message(&sigstore).parts().bundle(Version::V01), None)
    };
    too_long([None, Some(1), Some(0)]).unwrap();
    assert!(too_long([None, Some(0), Some(0)]).unwrap_err().contains("chain"));
}
