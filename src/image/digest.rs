//! Content digests: `sha256:` and 64 lower-case hexadecimal digits, nothing else.
//!
//! sha512 is a registered algorithm of the [image specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests),
//! and v1alpha1 refuses it all the same: one algorithm means that a manifest has one name in policies, revocations and
//! caches. Upper-case digits are refused because the specification has one spelling for a digest.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, Serializer};

use super::{ReferenceError, from_hexadecimal, hexadecimal};

/// The algorithm of v1alpha1, as it is written before the colon.
const ALGORITHM: &str = "sha256";

/// Hexadecimal digits of a SHA-256 digest.
const HEX_LENGTH: usize = 64;

/// The SHA-256 digest of some bytes. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// Exactly [`HEX_LENGTH`] digits of `0-9a-f`.
    hex: Arc<str>,
}

impl Digest {
    /// Reads `sha256:` followed by exactly 64 digits of `0-9a-f`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(ReferenceError::DigestWithoutAlgorithm { digest: text.to_owned() });
        };
        if algorithm != ALGORITHM {
            return Err(ReferenceError::DigestAlgorithm { algorithm: algorithm.to_owned() });
        }
        if hex.len() != HEX_LENGTH {
            return Err(ReferenceError::DigestLength { length: hex.len(), expected: HEX_LENGTH });
        }
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::DigestCharacters { hex: hex.to_owned() });
        }
        Ok(Self { hex: hex.into() })
    }

    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { hex: hexadecimal(digest(&SHA256, bytes).as_ref()).into() }
    }

    /// The digest whose 32 bytes these are; none where they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() * 2 == HEX_LENGTH).then(|| Self { hex: hexadecimal(bytes).into() })
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        from_hexadecimal(&self.hex).unwrap_or_default()
    }

    /// The 64 digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ALGORITHM}:{}", self.hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of no bytes, from FIPS 180's own examples.
    const OF_NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn computes_and_prints_the_digest_of_bytes() {
        assert_eq!(Digest::of(b"").to_string(), OF_NOTHING);
        assert_eq!(Digest::of(b"abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::parse(OF_NOTHING), Ok(Digest::of(b"")));
        assert_eq!(serde_json::json!(Digest::of(b"")), serde_json::json!(OF_NOTHING));
        assert!(Digest::of(b"") > Digest::of(b"abc"));
        assert_eq!(Digest::from_bytes(&Digest::of(b"abc").bytes()), Some(Digest::of(b"abc")));
        assert_eq!(Digest::from_bytes(&[0; 31]), None);
    }

    #[test]
    fn refuses_every_other_spelling() {
        let hex = "f".repeat(64);
        let cases = [
            ("", ReferenceError::DigestWithoutAlgorithm { digest: String::new() }),
            (hex.as_str(), ReferenceError::DigestWithoutAlgorithm { digest: hex.clone() }),
            (&format!(":{hex}"), ReferenceError::DigestAlgorithm { algorithm: String::new() }),
            (&format!("sha512:{hex}{hex}"), ReferenceError::DigestAlgorithm { algorithm: "sha512".into() }),
            (&format!("SHA256:{hex}"), ReferenceError::DigestAlgorithm { algorithm: "SHA256".into() }),
            (&format!(" sha256:{hex}"), ReferenceError::DigestAlgorithm { algorithm: " sha256".into() }),
            ("sha256:", ReferenceError::DigestLength { length: 0, expected: 64 }),
            (&format!("sha256:{hex}f"), ReferenceError::DigestLength { length: 65, expected: 64 }),
            (&format!("sha256:{hex}\n"), ReferenceError::DigestLength { length: 65, expected: 64 }),
            (&format!("sha256:{}", hex.to_uppercase()), ReferenceError::DigestCharacters { hex: hex.to_uppercase() }),
            (
                // 64 bytes that are not 64 digits.
                &format!("sha256:{}", "é".repeat(32)),
                ReferenceError::DigestCharacters { hex: "é".repeat(32) },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Digest::parse(text), Err(expected), "{text:?}");
        }
    }
}
