//! What a trusted root declares of a log's key: which algorithm it is of, and how it signs.
//!
//! Names are those of `PublicKeyDetails`
//! (<https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_common.proto>), those that it calls outdated among them. The
//! encoding of the key, which some of them name too, is told from its bytes.

use super::{KeyKind, PublicKey, Scheme, invalid, rsa_key};
use crate::image::Hash::{Sha256, Sha384, Sha512};
use crate::trust::TrustError;

/// The name under which nothing is declared.
const UNSPECIFIED: &str = "PUBLIC_KEY_DETAILS_UNSPECIFIED";

impl PublicKey {
    /// The scheme in which this key signs by what is declared of it; where nothing is, the one that is usual for its kind.
    ///
    /// # Errors
    /// A declaration of another kind or size of key than this is, and one that is not known, whose signatures nobody here could tell.
    pub(crate) fn declared_scheme(&self, details: &str) -> Result<Scheme, TrustError> {
        if details == UNSPECIFIED {
            return Ok(self.default_scheme());
        }
        let (kind, size, scheme) = match details {
            "PKIX_ECDSA_P256_SHA_256" | "PKIX_ECDSA_P256_HMAC_SHA_256" => (KeyKind::P256, None, Scheme::Ecdsa(Sha256)),
            "PKIX_ECDSA_P384_SHA_384" => (KeyKind::P384, None, Scheme::Ecdsa(Sha384)),
            "PKIX_ECDSA_P384_SHA_256" => (KeyKind::P384, None, Scheme::Ecdsa(Sha256)),
            "PKIX_ECDSA_P521_SHA_512" => (KeyKind::P521, None, Scheme::Ecdsa(Sha512)),
            "PKIX_ECDSA_P521_SHA_256" => (KeyKind::P521, None, Scheme::Ecdsa(Sha256)),
            "PKIX_ED25519" => (KeyKind::Ed25519, None, Scheme::Ed25519),
            "PKCS1_RSA_PKCS1V5" | "PKIX_RSA_PKCS1V5" => (KeyKind::Rsa, None, Scheme::Pkcs1(Sha256)),
            "PKIX_RSA_PKCS1V15_2048_SHA256" => (KeyKind::Rsa, Some(2048), Scheme::Pkcs1(Sha256)),
            "PKIX_RSA_PKCS1V15_3072_SHA256" => (KeyKind::Rsa, Some(3072), Scheme::Pkcs1(Sha256)),
            "PKIX_RSA_PKCS1V15_4096_SHA256" => (KeyKind::Rsa, Some(4096), Scheme::Pkcs1(Sha256)),
            "PKCS1_RSA_PSS" | "PKIX_RSA_PSS" => (KeyKind::Rsa, None, Scheme::Pss(Sha256)),
            "PKIX_RSA_PSS_2048_SHA256" => (KeyKind::Rsa, Some(2048), Scheme::Pss(Sha256)),
            "PKIX_RSA_PSS_3072_SHA256" => (KeyKind::Rsa, Some(3072), Scheme::Pss(Sha256)),
            "PKIX_RSA_PSS_4096_SHA256" => (KeyKind::Rsa, Some(4096), Scheme::Pss(Sha256)),
            other => return Err(invalid(format!("it is declared as {other:?}, which is not verified"))),
        };
        if kind != self.kind {
            return Err(invalid(format!("it is declared as {details}, and is a key of {:?}", self.kind)));
        }
        let bits = size.and_then(|_| rsa_key(&self.bits)).map(|key| key.bits);
        if size != bits {
            return Err(invalid(format!(
                "it is declared as {details}, and its modulus has {} bits",
                bits.unwrap_or(0)
            )));
        }
        Ok(scheme)
    }
}
