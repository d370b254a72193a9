//! The hash algorithms in which signers, logs and authorities speak, and bytes as hexadecimal text.
//!
//! What an image is called by is [`super::Digest`], which knows sha256 alone.

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use serde::Serialize;

/// A hash algorithm of the SHA-2 family.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The algorithm of this name, as in-toto and Rekor write it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The hash of some bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The bytes that hexadecimal digits of either case spell; none where they are no such text.
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let value = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_strict_and_round() {
        assert_eq!(from_hexadecimal("00ff"), Some(vec![0, 255]));
        assert_eq!(hexadecimal(&[0, 255]), "00ff");
        for bad in ["0", "0g", "+1", "ä", "0x00"] {
            assert_eq!(from_hexadecimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn hashes_are_those_of_their_names() {
        for (name, length) in [("sha256", 32), ("sha384", 48), ("sha512", 64)] {
            assert_eq!(Hash::named(name).unwrap().of(b"").len(), length);
        }
        assert_eq!(Hash::named("SHA256"), None);
    }
}
