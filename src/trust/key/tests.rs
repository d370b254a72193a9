//! Keys that parse, and those that nobody may be believed to hold.

use super::*;
use crate::image::from_hexadecimal;

#[test]
fn keys_are_one_public_pem_block() {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = key.public_key_pem();
    let parsed = PublicKey::parse_pem(&pem).unwrap();
    assert_eq!(
        parsed.fingerprint().to_string(),
        Digest::of(&rcgen::PublicKeyData::subject_public_key_info(&key)).to_string()
    );
    let private = key.serialize_pem();
    let twice = format!("{pem}{pem}");
    let broken = pem.replace("MF", "AA");
    for bad in ["", "x", private.as_str(), twice.as_str(), broken.as_str()] {
        assert!(matches!(PublicKey::parse_pem(bad), Err(TrustError::InvalidKey { .. })), "{bad}");
    }
}

fn refusal(spki: &[u8]) -> String {
    match PublicKey::from_spki(spki) {
        Err(TrustError::InvalidKey { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

fn ed25519(point: [u8; 32]) -> Vec<u8> {
    [&from_hexadecimal("302a300506032b6570032100").unwrap()[..], &point].concat()
}

/// One signature without a private key verifies under some of these for every message, so that none of them is anybody's.
#[test]
fn refuses_ed25519_points_of_small_order_and_second_encodings() {
    let genuine = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let genuine: [u8; 32] = rcgen::PublicKeyData::der_bytes(&genuine).try_into().unwrap();
    assert!(PublicKey::from_spki(&ed25519(genuine)).is_ok());
    for text in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f5ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let point: [u8; 32] = from_hexadecimal(text).unwrap().try_into().unwrap();
        let mut negative = point;
        negative[31] |= 0x80;
        for point in [point, negative] {
            assert!(refusal(&ed25519(point)).starts_with("its point is"), "{text}");
        }
    }
    // One below the order of the field less one: an ordinary y, whether or not a point has it.
    let mut ordinary = [0xff; 32];
    (ordinary[0], ordinary[31]) = (0xeb, 0x7f);
    assert!(PublicKey::from_spki(&ed25519(ordinary)).is_ok());
}

#[test]
fn refuses_points_that_are_not_on_their_curve() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert!(PublicKey::from_spki(&spki).is_ok());
        *spki.last_mut().unwrap() ^= 1;
        assert!(refusal(&spki).contains("not on the curve"));
    }
}

fn rsa(parameters: &[u8], exponent: &[u8]) -> Vec<u8> {
    let oid = from_hexadecimal("06092a864886f70d010101").unwrap();
    let modulus = [&[0, 0x80][..], &[0x5a; 254], &[0x5b]].concat();
    let key = der(0x30, &[der(2, &modulus), der_short(2, exponent)].concat());
    let algorithm = der_short(0x30, &[&oid[..], parameters].concat());
    der(0x30, &[algorithm, der(3, &[&[0][..], &key].concat())].concat())
}

fn der_short(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
}

#[test]
fn refuses_rsa_keys_under_which_signatures_mean_nothing() {
    for exponent in [&[3][..], &[1, 0, 1]] {
        assert!(PublicKey::from_spki(&rsa(&[5, 0], exponent)).is_ok(), "{exponent:?}");
    }
    for exponent in [&[0][..], &[1], &[2], &[4], &[1, 0, 0]] {
        assert!(refusal(&rsa(&[5, 0], exponent)).contains("exponent is 1 or even"), "{exponent:?}");
    }
}

#[test]
fn says_what_is_wrong_with_the_parameters_of_an_algorithm() {
    for (parameters, said) in [(&[][..], "missing"), (&[4, 1, 7], "must be NULL")] {
        assert!(refusal(&rsa(parameters, &[1, 0, 1])).contains(said), "{parameters:?}");
    }
    let with_null = [&from_hexadecimal("302c300706032b65700500032100").unwrap()[..], &[0x11; 32]].concat();
    assert!(refusal(&with_null).contains("which Ed25519 must not have"));
}

#[test]
fn a_declaration_says_how_a_key_signs_and_must_be_of_that_key() {
    use Hash::{Sha256, Sha384, Sha512};
    let spki =
        |algorithm| rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate_for(algorithm).unwrap());
    let keys = [
        spki(&rcgen::PKCS_ECDSA_P256_SHA256),
        spki(&rcgen::PKCS_ECDSA_P384_SHA384),
        spki(&rcgen::PKCS_ECDSA_P521_SHA512),
        spki(&rcgen::PKCS_ED25519),
        rsa(&[5, 0], &[1, 0, 1]),
    ]
    .map(|spki| PublicKey::from_spki(&spki).unwrap());
    let declarations = [
        ("PKIX_ECDSA_P256_SHA_256", KeyKind::P256, Scheme::Ecdsa(Sha256)),
        ("PKIX_ECDSA_P256_HMAC_SHA_256", KeyKind::P256, Scheme::Ecdsa(Sha256)),
        ("PKIX_ECDSA_P384_SHA_384", KeyKind::P384, Scheme::Ecdsa(Sha384)),
        ("PKIX_ECDSA_P384_SHA_256", KeyKind::P384, Scheme::Ecdsa(Sha256)),
        ("PKIX_ECDSA_P521_SHA_512", KeyKind::P521, Scheme::Ecdsa(Sha512)),
        ("PKIX_ECDSA_P521_SHA_256", KeyKind::P521, Scheme::Ecdsa(Sha256)),
        ("PKIX_ED25519", KeyKind::Ed25519, Scheme::Ed25519),
        ("PKCS1_RSA_PKCS1V5", KeyKind::Rsa, Scheme::Pkcs1(Sha256)),
        ("PKIX_RSA_PKCS1V5", KeyKind::Rsa, Scheme::Pkcs1(Sha256)),
        ("PKIX_RSA_PKCS1V15_2048_SHA256", KeyKind::Rsa, Scheme::Pkcs1(Sha256)),
        ("PKCS1_RSA_PSS", KeyKind::Rsa, Scheme::Pss(Sha256)),
        ("PKIX_RSA_PSS", KeyKind::Rsa, Scheme::Pss(Sha256)),
        ("PKIX_RSA_PSS_2048_SHA256", KeyKind::Rsa, Scheme::Pss(Sha256)),
    ];
    for key in &keys {
        for (details, kind, scheme) in declarations {
            let expected = (kind == key.kind).then_some(scheme);
            assert_eq!(key.declared_scheme(details).ok(), expected, "{details} of {:?}", key.kind);
        }
        assert_eq!(key.declared_scheme("PUBLIC_KEY_DETAILS_UNSPECIFIED").unwrap(), key.default_scheme());
        // Other sizes, schemes that are not verified, and what nobody knows.
        for details in [
            "PKIX_RSA_PKCS1V15_3072_SHA256",
            "PKIX_RSA_PKCS1V15_4096_SHA256",
            "PKIX_RSA_PSS_3072_SHA256",
            "PKIX_RSA_PSS_4096_SHA256",
            "PKIX_ED25519_PH",
            "LMS_SHA256",
            "ML_DSA_65",
            "",
            "pkix_ed25519",
        ] {
            assert!(key.declared_scheme(details).is_err(), "{details:?} of {:?}", key.kind);
        }
    }
}
