//! Key pairs of every kind that signs something in Sigstore, and what they sign.
//!
//! Keys are random. RSA keys are slow to make, so a process has two of each size, of which [`Key::generate`] gives the first and
//! [`Key::other`] the second.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding};
use aws_lc_rs::{digest, encoding};

use super::der;
use super::text::pem;

/// A kind of key pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa2048,
    Rsa4096,
}

/// A hash function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    pub(crate) fn oid(self) -> &'static str {
        match self {
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        }
    }

    /// The name in entries of Rekor v1.
    pub(crate) fn rekor_name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The name in bundles and trust roots.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
        }
    }
}

/// How a key signs. It has to fit the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    Ecdsa(Hash),
    Ed25519,
    RsaPkcs1(Hash),
    RsaPss(Hash),
}

impl Scheme {
    /// The hash that the scheme applies itself, if it does.
    pub(crate) fn hash(self) -> Option<Hash> {
        match self {
            Self::Ecdsa(hash) | Self::RsaPkcs1(hash) | Self::RsaPss(hash) => Some(hash),
            Self::Ed25519 => None,
        }
    }

    /// The `AlgorithmIdentifier` of signatures.
    pub(crate) fn identifier(self) -> Vec<u8> {
        let (oid, parameters) = match self {
            Self::Ecdsa(Hash::Sha256) => ("1.2.840.10045.4.3.2", None),
            Self::Ecdsa(Hash::Sha384) => ("1.2.840.10045.4.3.3", None),
            Self::Ecdsa(Hash::Sha512) => ("1.2.840.10045.4.3.4", None),
            Self::Ed25519 => ("1.3.101.112", None),
            Self::RsaPkcs1(Hash::Sha256) => ("1.2.840.113549.1.1.11", Some(der::null())),
            Self::RsaPkcs1(Hash::Sha384) => ("1.2.840.113549.1.1.12", Some(der::null())),
            Self::RsaPkcs1(Hash::Sha512) => ("1.2.840.113549.1.1.13", Some(der::null())),
            Self::RsaPss(hash) => ("1.2.840.113549.1.1.10", Some(pss_parameters(hash))),
        };
        der::sequence(&[der::oid(oid), parameters.unwrap_or_default()])
    }
}

/// `RSASSA-PSS-params` (RFC 4055), with a salt as long as the hash.
fn pss_parameters(hash: Hash) -> Vec<u8> {
    let algorithm = der::sequence(&[der::oid(hash.oid()), der::null()]);
    let mask = der::sequence(&[der::oid("1.2.840.113549.1.1.8"), algorithm.clone()]);
    let salt = der::integer(hash.of(b"").len() as u64);
    der::sequence(&[der::context(0, &algorithm), der::context(1, &mask), der::context(2, &salt)])
}

/// A key pair. Clones are the same key.
#[derive(Clone)]
pub(crate) struct Key {
    algorithm: Algorithm,
    pair: Arc<Pair>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Key({:?})", self.algorithm)
    }
}

impl Key {
    /// A new key; for RSA the first of the two that the process has.
    pub(crate) fn generate(algorithm: Algorithm) -> Self {
        static RSA: [OnceLock<Key>; 2] = [const { OnceLock::new() }; 2];
        let rsa = |place: &'static OnceLock<Self>, size: KeySize| {
            let new = || Self { algorithm, pair: Arc::new(Pair::Rsa(RsaKeyPair::generate(size).unwrap())) };
            place.get_or_init(new).clone()
        };
        let ecdsa = |signing| Pair::Ecdsa(EcdsaKeyPair::generate(signing).unwrap());
        let pair = match algorithm {
            Algorithm::P256 => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Algorithm::P384 => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Algorithm::P521 => ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Rsa2048 => return rsa(&RSA[0], KeySize::Rsa2048),
            Algorithm::Rsa4096 => return rsa(&RSA[1], KeySize::Rsa4096),
        };
        Self { algorithm, pair: Arc::new(pair) }
    }

    /// Another key of the same kind. For RSA, the other of 2048 bits, whatever the size of this one.
    pub(crate) fn other(&self) -> Self {
        static RSA: OnceLock<Key> = OnceLock::new();
        match self.algorithm {
            Algorithm::Rsa2048 | Algorithm::Rsa4096 => RSA
                .get_or_init(|| Self {
                    algorithm: Algorithm::Rsa2048,
                    pair: Arc::new(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
                })
                .clone(),
            algorithm => Self::generate(algorithm),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as a DER `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: encoding::PublicKeyX509Der<'_> = match &*self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Pair::Ed25519(pair) => pair.public_key().as_der().unwrap(),
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    /// The public key as it stands in the `BIT STRING` of the `SubjectPublicKeyInfo`.
    pub(crate) fn raw(&self) -> Vec<u8> {
        match &*self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The public key as PEM.
    pub(crate) fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`: the log id of RFC 6962 and of Rekor v1, and what a key is called.
    pub(crate) fn id(&self) -> Vec<u8> {
        Hash::Sha256.of(&self.spki())
    }

    /// The scheme with which a key of this kind usually signs.
    pub(crate) fn scheme(&self) -> Scheme {
        match self.algorithm {
            Algorithm::P256 => Scheme::Ecdsa(Hash::Sha256),
            Algorithm::P384 => Scheme::Ecdsa(Hash::Sha384),
            Algorithm::P521 => Scheme::Ecdsa(Hash::Sha512),
            Algorithm::Ed25519 => Scheme::Ed25519,
            Algorithm::Rsa2048 | Algorithm::Rsa4096 => Scheme::RsaPkcs1(Hash::Sha256),
        }
    }

    /// The `keyDetails` of protobuf-specs for the usual scheme.
    pub(crate) fn details(&self) -> &'static str {
        match self.algorithm {
            Algorithm::P256 => "PKIX_ECDSA_P256_SHA_256",
            Algorithm::P384 => "PKIX_ECDSA_P384_SHA_384",
            Algorithm::P521 => "PKIX_ECDSA_P521_SHA_512",
            Algorithm::Ed25519 => "PKIX_ED25519",
            Algorithm::Rsa2048 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            Algorithm::Rsa4096 => "PKIX_RSA_PKCS1V15_4096_SHA256",
        }
    }

    /// Signs with the usual scheme.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_with(self.scheme(), message)
    }

    /// Signs with a scheme, which has to fit the key.
    pub(crate) fn sign_with(&self, scheme: Scheme, message: &[u8]) -> Vec<u8> {
        let rsa = |pair: &RsaKeyPair, padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        match (&*self.pair, scheme) {
            (Pair::Ecdsa(pair), scheme) if scheme == self.scheme() => {
                pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            (Pair::Ecdsa(pair), Scheme::Ecdsa(hash)) => with_hash(pair, self.algorithm, hash, message),
            (Pair::Ed25519(pair), Scheme::Ed25519) => pair.sign(message).as_ref().to_vec(),
            (Pair::Rsa(pair), Scheme::RsaPkcs1(Hash::Sha256)) => rsa(pair, &signature::RSA_PKCS1_SHA256),
            (Pair::Rsa(pair), Scheme::RsaPkcs1(Hash::Sha384)) => rsa(pair, &signature::RSA_PKCS1_SHA384),
            (Pair::Rsa(pair), Scheme::RsaPkcs1(Hash::Sha512)) => rsa(pair, &signature::RSA_PKCS1_SHA512),
            (Pair::Rsa(pair), Scheme::RsaPss(Hash::Sha256)) => rsa(pair, &signature::RSA_PSS_SHA256),
            (Pair::Rsa(pair), Scheme::RsaPss(Hash::Sha384)) => rsa(pair, &signature::RSA_PSS_SHA384),
            (Pair::Rsa(pair), Scheme::RsaPss(Hash::Sha512)) => rsa(pair, &signature::RSA_PSS_SHA512),
            (_, scheme) => panic!("{:?} does not sign with {scheme:?}", self.algorithm),
        }
    }
}

/// ECDSA with another hash than the curve's own: the number that is signed is the leftmost bits of the hash (FIPS 186-5, 6.4).
fn with_hash(pair: &EcdsaKeyPair, algorithm: Algorithm, hash: Hash, message: &[u8]) -> Vec<u8> {
    let (own, length) = match algorithm {
        Algorithm::P256 => (&digest::SHA256, 32),
        Algorithm::P384 => (&digest::SHA384, 48),
        _ => (&digest::SHA512, 64),
    };
    let hashed = hash.of(message);
    let mut number = vec![0; length - hashed.len().min(length)];
    number.extend_from_slice(&hashed[..hashed.len().min(length)]);
    let number = digest::Digest::import_less_safe(&number, own).unwrap();
    pair.sign_digest(&number).unwrap().as_ref().to_vec()
}
