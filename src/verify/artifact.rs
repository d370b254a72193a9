//! Step 3: binding what was signed to the image's manifest.
//!
//! The artifact is the manifest's bytes, by their sha256; a statement may name them by sha512 too, recomputed from the same bytes.

use aws_lc_rs::digest::{SHA512, digest};

use super::{COSIGN_SIGN, Claim, VerifyError};
use crate::evidence::{Statement, simple_signing};
use crate::image::ResolvedImage;

/// A simple signing payload must name exactly the image's digest.
pub(super) fn bind_payload(payload: &[u8], image: &ResolvedImage) -> Result<Claim, VerifyError> {
    let claimed = simple_signing::parse(payload)?.image;
    if claimed != *image.digest() {
        return Err(other(image, format!("its payload names {claimed}")));
    }
    Ok(Claim::Signature)
}

/// A statement must have the image among its subjects.
pub(super) fn bind_statement(payload: &[u8], image: &ResolvedImage) -> Result<Claim, VerifyError> {
    let statement = Statement::parse(payload)?;
    let sha512 = hexadecimal(digest(&SHA512, image.manifest()).as_ref());
    if !statement.names(image.digest().hex(), &sha512) {
        return Err(other(image, "no subject of its statement has the digest".to_owned()));
    }
    Ok(match statement.predicate_type() {
        COSIGN_SIGN => Claim::Signature,
        predicate_type => Claim::Attestation { predicate_type: predicate_type.to_owned() },
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|value| char::from_digit(value.into(), 16))
        .collect()
}

fn other(image: &ResolvedImage, reason: String) -> VerifyError {
    VerifyError::OtherArtifact { image: image.digest().to_string(), reason }
}
