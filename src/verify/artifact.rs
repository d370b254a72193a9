//! Step 3: binding what was signed to the artifact.
//!
//! The artifact is the manifest's bytes, by their sha256; a statement may name them by sha512 too, recomputed from the same bytes.
//! Where only a digest is at hand, as for files on a command line, it binds by that digest and by nothing else.

use super::{COSIGN_SIGN, Claim, VerifyError};
use crate::evidence::{Statement, simple_signing};
use crate::image::{Digest, Hash, ResolvedImage, hexadecimal};
use crate::trust::Message;

/// What evidence must be about.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    sha256: &'a Digest,
    bytes: Option<&'a [u8]>,
}

impl<'a> From<&'a ResolvedImage> for Artifact<'a> {
    /// An image is its manifest, whose digest was computed from these bytes.
    fn from(image: &'a ResolvedImage) -> Self {
        Self { sha256: image.digest(), bytes: Some(image.manifest()) }
    }
}

impl<'a> From<&'a Digest> for Artifact<'a> {
    /// An artifact of which only the digest is known.
    fn from(sha256: &'a Digest) -> Self {
        Self { sha256, bytes: None }
    }
}

impl<'a> Artifact<'a> {
    /// The digest.
    pub(super) fn sha256(&self) -> &'a Digest {
        self.sha256
    }

    /// What a signature over the artifact itself is over.
    pub(super) fn message(&self) -> Message<'a> {
        self.bytes.map_or(Message::Sha256(self.sha256), Message::Bytes)
    }

    /// Another digest of the artifact; none where only its sha256 is at hand.
    pub(super) fn digest(&self, hash: Hash) -> Option<Vec<u8>> {
        match (hash, self.bytes) {
            (Hash::Sha256, _) => Some(self.sha256.bytes()),
            (_, bytes) => bytes.map(|bytes| hash.of(bytes)),
        }
    }
}

/// The digest that stands beside a signature of the artifact must be the artifact's. It proves nothing; another would mislead.
pub(super) fn check_digest(hash: Hash, found: &[u8], artifact: Artifact<'_>) -> Result<(), VerifyError> {
    match artifact.digest(hash) {
        Some(wanted) if wanted == found => Ok(()),
        Some(_) => Err(other(artifact, format!("its message digest is {}", hexadecimal(found)))),
        None => {
            let reason =
                "a message digest of another algorithm than sha256, where only that of the artifact is at hand";
            Err(VerifyError::Unsupported { reason: reason.to_owned() })
        }
    }
}

/// A simple signing payload must name exactly the artifact's digest.
pub(super) fn bind_payload(payload: &[u8], artifact: Artifact<'_>) -> Result<Claim, VerifyError> {
    let claimed = simple_signing::parse(payload)?.image;
    if claimed != *artifact.sha256 {
        return Err(other(artifact, format!("its payload names {claimed}")));
    }
    Ok(Claim::Signature)
}

/// A statement must have the artifact among its subjects.
pub(super) fn bind_statement(payload: &[u8], artifact: Artifact<'_>) -> Result<Claim, VerifyError> {
    let statement = Statement::parse(payload)?;
    let sha512 = artifact.digest(Hash::Sha512).map(|digest| hexadecimal(&digest));
    if !statement.names(artifact.sha256.hex(), sha512.as_deref()) {
        return Err(other(artifact, "no subject of its statement has the digest".to_owned()));
    }
    Ok(match statement.predicate_type() {
        COSIGN_SIGN => Claim::Signature,
        predicate_type => Claim::Attestation { predicate_type: predicate_type.to_owned() },
    })
}

fn other(artifact: Artifact<'_>, reason: String) -> VerifyError {
    VerifyError::OtherArtifact { image: artifact.sha256.to_string(), reason }
}
