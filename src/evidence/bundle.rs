//! Sigstore bundles v0.1 to v0.3, from JSON bytes to the library's type.
//!
//! Shape and bounds only; no signature, proof or time is looked at. Specification:
//! <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto>.

use sigstore_types::Bundle;
use sigstore_types::bundle::VerificationMaterialContent;

use super::FormatError;

/// Log entries, timestamps or certificates that one bundle may carry; genuine ones carry one to three of each.
const LIST_LIMIT: usize = 16;

/// Parses a bundle.
///
/// # Errors
/// Bytes that are no bundle of a known version, and lists longer than any genuine bundle has.
pub(crate) fn parse(bytes: &[u8]) -> Result<Bundle, FormatError> {
    let malformed = |reason: String| FormatError::Malformed { format: "Sigstore bundle", reason };
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
    let bundle = Bundle::from_json(text).map_err(|error| malformed(error.to_string()))?;
    bound(&bundle)?;
    Ok(bundle)
}

/// Refuses lists that would make verification slow.
pub(super) fn bound(bundle: &Bundle) -> Result<(), FormatError> {
    let material = &bundle.verification_material;
    let certificates = match &material.content {
        VerificationMaterialContent::X509CertificateChain { certificates } => certificates.len(),
        _ => 1,
    };
    for (what, found) in [
        ("log entries", material.tlog_entries.len()),
        ("timestamps", material.timestamp_verification_data.rfc3161_timestamps.len()),
        ("certificates", certificates),
    ] {
        if found > LIST_LIMIT {
            return Err(FormatError::TooMany { what, found, limit: LIST_LIMIT });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_bundle() {
        for bytes in [&b""[..], b"{}", b"[]", b"null", b"{\"mediaType\":\"x\"}", b"\xff\xfe", &b"[".repeat(4096)] {
            assert!(matches!(parse(bytes), Err(FormatError::Malformed { .. })), "{bytes:?}");
        }
    }
}
