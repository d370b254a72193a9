//! Public keys, and the signature schemes that are verified under them.
//!
//! One home for every signature that is not on a certificate of a chain: signers' keys, and those of logs and timestamp authorities.
//! Algorithms are those of the Sigstore algorithm registry
//! (<https://github.com/sigstore/architecture-docs/blob/main/algorithm-registry.md>) and the older pairs that cosign wrote; no Ed25519ph,
//! no curves beside the NIST ones.

mod details;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Digest as Hashed, SHA256};
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use serde::Serialize;
use x509_cert::der::asn1::{AnyRef, UintRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::TrustError;
use crate::image::{Digest, Hash};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const CURVE_P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Bits of an RSA modulus: below they are weak, above they are slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What kind of key it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyKind {
    P256,
    P384,
    P521,
    Rsa,
    Ed25519,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    /// ECDSA over the curve of the key.
    Ecdsa(Hash),
    /// RSA with PKCS #1 v1.5 padding.
    Pkcs1(Hash),
    /// RSA with PSS padding.
    Pss(Hash),
    /// Ed25519 over the message itself.
    Ed25519,
}

impl Scheme {
    fn hash(self) -> Option<Hash> {
        match self {
            Self::Ecdsa(hash) | Self::Pkcs1(hash) | Self::Pss(hash) => Some(hash),
            Self::Ed25519 => None,
        }
    }
}

/// What a signature is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message<'a> {
    /// The bytes.
    Bytes(&'a [u8]),
    /// An artifact of which only the digest is at hand: schemes that sign its SHA-256 verify, no others do.
    Sha256(&'a Digest),
}

/// A signature that does not verify.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignatureError {
    /// No scheme of this key verifies it.
    #[error("it is not the key's signature over this")]
    Mismatch,
    /// The scheme needs the artifact's bytes.
    #[error("only the artifact's sha256 is at hand, and the key signs another digest of it")]
    NeedsBytes,
}

/// A public key of a signer, a log or an authority.
#[derive(Clone)]
pub struct PublicKey {
    fingerprint: KeyFingerprint,
    kind: KeyKind,
    /// The `SubjectPublicKeyInfo` in DER.
    spki: Arc<[u8]>,
    /// What stands in its bit string: a point, an RSA key, 32 bytes.
    bits: Arc<[u8]>,
    /// The backend's form of it for the scheme that is usual for its kind, made once.
    parsed: ParsedPublicKey,
}

/// SHA-256 of a key's `SubjectPublicKeyInfo`: what a key is called in messages, revocations and thresholds.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct KeyFingerprint(Digest);

impl KeyFingerprint {
    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({:?} {})", self.kind, self.fingerprint)
    }
}

/// What is looked at in an `RSAPublicKey` of PKCS #1, a sequence of modulus and exponent.
struct RsaKey {
    /// Bits of the modulus.
    bits: usize,
    /// Whether the exponent is odd and above 1. With 1, every message signs itself.
    sound_exponent: bool,
}

/// Reads an `RSAPublicKey`; none where it is no such key.
fn rsa_key(der: &[u8]) -> Option<RsaKey> {
    let mut outer = SliceReader::new(der).ok()?;
    let sequence = AnyRef::decode(&mut outer).ok().filter(|any| any.tag() == Tag::Sequence && outer.is_finished())?;
    let mut reader = SliceReader::new(sequence.value()).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    let exponent = UintRef::decode(&mut reader).ok().filter(|_| reader.is_finished())?;
    let bytes = modulus.as_bytes();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    let odd = exponent.as_bytes().last().is_some_and(|last| last & 1 == 1);
    Some(RsaKey { bits: (bytes.len() * 8).checked_sub(unused)?, sound_exponent: odd && exponent.as_bytes() != [1] })
}

/// The `y` of the points of Ed25519 whose order divides 8, little-endian: under such a key, one signature holds for many messages.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    with_ends(0, 1, 0),
    with_ends(0xff, 0xec, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn with_ends(between: u8, first: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Checks the 32 bytes of an Ed25519 key, which the backend takes as they are.
///
/// # Errors
/// Another length, a `y` that is not below 2^255 - 19 (a second encoding would be a second fingerprint of one key), and points of
/// small order.
fn check_ed25519(bits: &[u8]) -> Result<(), TrustError> {
    let mut y: [u8; 32] = bits.try_into().map_err(|_| invalid("an Ed25519 key has 32 bytes"))?;
    // The last bit is the sign of x.
    y[31] &= 0x7f;
    let [first, between @ .., last] = y;
    if first >= 0xed && last == 0x7f && between.iter().all(|byte| *byte == 0xff) {
        return Err(invalid("its point is not encoded as RFC 8032 has it"));
    }
    if SMALL_ORDER.contains(&y) {
        return Err(invalid("its point is of small order: anybody can make signatures that verify under it"));
    }
    Ok(())
}

impl PublicKey {
    /// Parses one PEM block with a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// Text that is not exactly one such block, and algorithms that are not verified.
    pub fn parse_pem(pem: &str) -> Result<Self, TrustError> {
        if pem.matches("-----BEGIN ").count() != 1 {
            return Err(invalid("exactly one PEM block is read"));
        }
        if !pem.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(invalid("a PEM block of the type PUBLIC KEY is read, no other"));
        }
        let der = sigstore_types::DerPublicKey::from_pem(pem.trim()).map_err(|error| invalid(error.to_string()))?;
        Self::from_spki(der.as_bytes())
    }

    /// Reads a `SubjectPublicKeyInfo` in DER.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, TrustError> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| invalid(error.to_string()))?;
        let bits = info.subject_public_key.as_bytes().ok_or_else(|| invalid("its bit string has unused bits"))?;
        let algorithm = &info.algorithm;
        let kind = match algorithm.oid {
            EC_PUBLIC_KEY => match algorithm.parameters_oid() {
                Ok(CURVE_P256) => KeyKind::P256,
                Ok(CURVE_P384) => KeyKind::P384,
                Ok(CURVE_P521) => KeyKind::P521,
                _ => return Err(invalid("its curve is none of P-256, P-384 and P-521")),
            },
            // RFC 3279: the parameters are NULL. A second encoding would be a second fingerprint of one key.
            RSA_ENCRYPTION if algorithm.parameters.is_some_and(AnyRef::is_null) => KeyKind::Rsa,
            ED25519 if algorithm.parameters.is_none() => KeyKind::Ed25519,
            RSA_ENCRYPTION if algorithm.parameters.is_none() => {
                return Err(invalid("the parameters of its algorithm are missing: for RSA they must be NULL"));
            }
            RSA_ENCRYPTION => return Err(invalid("the parameters of its algorithm must be NULL for RSA")),
            ED25519 => return Err(invalid("its algorithm has parameters, which Ed25519 must not have")),
            other => return Err(invalid(format!("keys with the algorithm {other} are not verified"))),
        };
        Self::new(kind, der, bits)
    }

    /// Reads a key as a trusted root lists it: a `SubjectPublicKeyInfo`, or a bare RSA key of PKCS #1.
    pub(crate) fn from_trusted_root(der: &[u8]) -> Result<Self, TrustError> {
        match Self::from_spki(der) {
            Err(_) if rsa_key(der).is_some() => Self::new(KeyKind::Rsa, der, der),
            read => read,
        }
    }

    fn new(kind: KeyKind, spki: &[u8], bits: &[u8]) -> Result<Self, TrustError> {
        let valid = match kind {
            // Sigstore writes points uncompressed; a second encoding would be a second fingerprint of one key.
            KeyKind::P256 => bits.len() == 65 && bits.first() == Some(&4),
            KeyKind::P384 => bits.len() == 97 && bits.first() == Some(&4),
            KeyKind::P521 => bits.len() == 133 && bits.first() == Some(&4),
            KeyKind::Ed25519 => {
                check_ed25519(bits)?;
                true
            }
            KeyKind::Rsa => {
                let RsaKey { bits: size, sound_exponent } =
                    rsa_key(bits).ok_or_else(|| invalid("it is no RSA key of PKCS #1"))?;
                if !RSA_BITS.contains(&size) {
                    return Err(invalid(format!("its RSA modulus has {size} bits, 2048 to 8192 are verified")));
                }
                if !sound_exponent {
                    return Err(invalid("its RSA exponent is 1 or even, and no signature under it means anything"));
                }
                true
            }
        };
        if !valid {
            return Err(invalid("it is no key of its algorithm, or no uncompressed point"));
        }
        // Whatever else the backend would find at the first signature, such as a point that is not on its curve, is found now.
        let parsed = algorithm(kind, default_scheme(kind))
            .and_then(|usual| ParsedPublicKey::new(usual, bits).ok())
            .ok_or_else(|| {
                invalid(format!(
                    "it is no {kind:?} key: its point is not on the curve, or its numbers are out of range"
                ))
            })?;
        let fingerprint = KeyFingerprint(Digest::of(spki));
        Ok(Self { fingerprint, kind, spki: spki.into(), bits: bits.into(), parsed })
    }

    /// The key's fingerprint.
    pub fn fingerprint(&self) -> &KeyFingerprint {
        &self.fingerprint
    }

    /// The `SubjectPublicKeyInfo` in DER.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The scheme that goes with a hash, as certificates, timestamps and logs name them.
    pub(crate) fn scheme(&self, hash: Hash) -> Scheme {
        scheme(self.kind, hash)
    }

    /// The scheme that a key of this kind has where nothing names one.
    pub(crate) fn default_scheme(&self) -> Scheme {
        default_scheme(self.kind)
    }

    /// The schemes in which a signer may have signed, the usual one first. Each binds the whole message, so that trying several
    /// widens nothing but the padding and the hash.
    fn signer_schemes(&self, declared: Option<Hash>) -> Vec<Scheme> {
        let hashes: &[Hash] = match (declared, self.kind) {
            (Some(Hash::Sha256), _) | (None, KeyKind::P256) => &[Hash::Sha256],
            (Some(Hash::Sha384), _) => &[Hash::Sha384],
            (Some(Hash::Sha512), _) => &[Hash::Sha512],
            (None, KeyKind::P384) => &[Hash::Sha384, Hash::Sha256],
            (None, KeyKind::P521) => &[Hash::Sha512, Hash::Sha256],
            (None, KeyKind::Rsa) => &[Hash::Sha256, Hash::Sha384, Hash::Sha512],
            (None, KeyKind::Ed25519) => &[],
        };
        match self.kind {
            KeyKind::Ed25519 => vec![Scheme::Ed25519],
            KeyKind::Rsa => {
                let padded = hashes.iter().map(|hash| Scheme::Pkcs1(*hash));
                padded.chain(hashes.iter().map(|hash| Scheme::Pss(*hash))).collect()
            }
            _ => hashes.iter().map(|hash| Scheme::Ecdsa(*hash)).collect(),
        }
    }

    /// Verifies a signer's signature, made with the hash that was declared beside it, or with one that is usual for the key.
    pub(crate) fn verify_signer(
        &self,
        message: Message<'_>,
        declared: Option<Hash>,
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let mut refusal = SignatureError::Mismatch;
        for scheme in self.signer_schemes(declared) {
            match self.verify(scheme, message, signature) {
                Ok(()) => return Ok(()),
                Err(error @ SignatureError::NeedsBytes) => refusal = error,
                Err(SignatureError::Mismatch) => {}
            }
        }
        Err(refusal)
    }

    /// Verifies a signature in one scheme.
    pub(crate) fn verify(&self, scheme: Scheme, message: Message<'_>, signature: &[u8]) -> Result<(), SignatureError> {
        let parsed = Some(&self.parsed).filter(|_| scheme == self.default_scheme());
        let algorithm = algorithm(self.kind, scheme).ok_or(SignatureError::Mismatch)?;
        let unparsed = UnparsedPublicKey::new(algorithm, &*self.bits);
        let verified = match message {
            Message::Bytes(bytes) => match parsed {
                Some(key) => key.verify_sig(bytes, signature),
                None => unparsed.verify(bytes, signature),
            },
            Message::Sha256(digest) => {
                if scheme.hash() != Some(Hash::Sha256) {
                    return Err(SignatureError::NeedsBytes);
                }
                Hashed::import_less_safe(&digest.bytes(), &SHA256)
                    .and_then(|digest| unparsed.verify_digest(&digest, signature))
            }
        };
        verified.map_err(|_| SignatureError::Mismatch)
    }
}

/// The scheme of a kind of key that goes with a hash.
fn scheme(kind: KeyKind, hash: Hash) -> Scheme {
    match kind {
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => Scheme::Ecdsa(hash),
        KeyKind::Rsa => Scheme::Pkcs1(hash),
        KeyKind::Ed25519 => Scheme::Ed25519,
    }
}

/// The scheme of a kind of key where nothing names one.
fn default_scheme(kind: KeyKind) -> Scheme {
    match kind {
        KeyKind::P256 | KeyKind::Rsa => scheme(kind, Hash::Sha256),
        KeyKind::P384 => scheme(kind, Hash::Sha384),
        KeyKind::P521 => scheme(kind, Hash::Sha512),
        KeyKind::Ed25519 => Scheme::Ed25519,
    }
}

/// The backend's algorithm; none where the scheme is another kind of key's.
fn algorithm(kind: KeyKind, scheme: Scheme) -> Option<&'static dyn VerificationAlgorithm> {
    use Hash::{Sha256, Sha384, Sha512};
    Some(match (kind, scheme) {
        (KeyKind::P256, Scheme::Ecdsa(Sha256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, Scheme::Ecdsa(Sha384)) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, Scheme::Ecdsa(Sha512)) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, Scheme::Ecdsa(Sha256)) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, Scheme::Ecdsa(Sha384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, Scheme::Ecdsa(Sha512)) => &signature::ECDSA_P384_SHA512_ASN1,
        (KeyKind::P521, Scheme::Ecdsa(Sha256)) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyKind::P521, Scheme::Ecdsa(Sha384)) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyKind::P521, Scheme::Ecdsa(Sha512)) => &signature::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa, Scheme::Pkcs1(Sha256)) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, Scheme::Pkcs1(Sha384)) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, Scheme::Pkcs1(Sha512)) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::Rsa, Scheme::Pss(Sha256)) => &signature::RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa, Scheme::Pss(Sha384)) => &signature::RSA_PSS_2048_8192_SHA384,
        (KeyKind::Rsa, Scheme::Pss(Sha512)) => &signature::RSA_PSS_2048_8192_SHA512,
        (KeyKind::Ed25519, Scheme::Ed25519) => &signature::ED25519,
        _ => return None,
    })
}

fn invalid(reason: impl Into<String>) -> TrustError {
    TrustError::InvalidKey { reason: reason.into() }
}

#[cfg(test)]
mod tests;
