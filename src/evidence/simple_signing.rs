//! The simple signing payload that cosign signs: which image a signature is about.
//!
//! Follows <https://github.com/containers/image/blob/main/docs/containers-signature.5.md> as cosign uses it. The `docker-reference`
//! is what the signer wrote; it is reported and never trusted.

use serde::Deserialize;

use super::FormatError;
use crate::image::Digest;

/// The one `critical.type` of a container image signature.
const TYPE: &str = "cosign container image signature";

/// What a payload claims.
#[derive(Debug)]
pub(crate) struct SimpleSigning {
    /// The image that the payload is about.
    pub(crate) image: Digest,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Parses a payload.
///
/// # Errors
/// Bytes that are no payload, another type, a digest that is not sha256.
pub(crate) fn parse(bytes: &[u8]) -> Result<SimpleSigning, FormatError> {
    let malformed = |reason: String| FormatError::Malformed { format: "simple signing payload", reason };
    let payload: Payload = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if payload.critical.kind != TYPE {
        return Err(FormatError::UnexpectedValue {
            field: "critical.type",
            found: payload.critical.kind,
            expected: TYPE,
        });
    }
    let image = Digest::parse(&payload.critical.image.digest).map_err(|error| malformed(error.to_string()))?;
    Ok(SimpleSigning { image })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(kind: &str, digest: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
        )
    }

    #[test]
    fn reads_the_digest_and_refuses_other_types() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(parse(payload(TYPE, &digest).as_bytes()).unwrap().image.to_string(), digest);
        assert!(matches!(
            parse(payload("atomic container signature", &digest).as_bytes()),
            Err(FormatError::UnexpectedValue { field: "critical.type", .. })
        ));
        for bad in ["", "sha256:", "sha512:ab", &digest.to_uppercase(), "../../etc/passwd"] {
            assert!(matches!(parse(payload(TYPE, bad).as_bytes()), Err(FormatError::Malformed { .. })), "{bad}");
        }
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let twice =
            payload(TYPE, &digest).replace("\"image\":", "\"image\":{\"docker-manifest-digest\":\"x\"},\"image\":");
        assert!(parse(twice.as_bytes()).is_err());
    }
}
