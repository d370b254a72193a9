//! Every candidate under every root and key that the selected policies name.
//!
//! Order decides nothing: all candidates are tried, and one that does not verify is recorded beside those that do.

use serde::Serialize;

use super::{Evidence, VerifyError, verify_with_key, verify_with_root};
use crate::evidence::{Discovered, Format, Origin};
use crate::image::ResolvedImage;
use crate::trust::{PublicKey, TrustMaterial};

/// The version of what verification reads and says. Raised with every change that could make it say something else about the same
/// bytes, so that what an older version said is not taken for its word.
pub const SCHEMA_VERSION: u32 = 1;

/// What the candidates of one image proved, and what they did not.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    verified: Vec<Evidence>,
    refused: Vec<Refusal>,
}

/// A candidate that is no evidence under a root or key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Where the candidate was found.
    pub origin: Origin,
    /// The candidate's format, for people.
    pub format: String,
    /// The trust root's name, or the key's fingerprint.
    pub under: String,
    /// The stable code of the refusal.
    pub code: &'static str,
    /// The reason, in the verifier's words.
    pub reason: String,
}

impl Gathered {
    #[cfg(test)]
    pub(super) fn of(verified: Vec<Evidence>) -> Self {
        Self { verified, refused: Vec::new() }
    }

    /// Adds what a candidate proved earlier, for one of the same content that was found at `origin`. The place of the earlier one is
    /// dropped: it may be in a registry that the present caller cannot read.
    pub fn extend_as_found_at(&mut self, origin: &Origin, earlier: &Self) {
        let Self { verified, refused } = earlier;
        self.verified.extend(verified.iter().map(|one| Evidence { origin: origin.clone(), ..one.clone() }));
        self.refused.extend(refused.iter().map(|one| Refusal { origin: origin.clone(), ..one.clone() }));
    }

    /// What was verified.
    pub fn verified(&self) -> &[Evidence] {
        &self.verified
    }

    /// What was not.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }
}

/// Verifies every candidate under every root and every key.
pub fn gather(
    candidates: &[Discovered],
    image: &ResolvedImage,
    roots: &[TrustMaterial],
    keys: &[PublicKey],
) -> Gathered {
    let mut gathered = Gathered::default();
    for candidate in candidates {
        let mut record = |under: String, result: Result<Evidence, VerifyError>| match result {
            Ok(evidence) => gathered.verified.push(evidence),
            Err(error) => gathered.refused.push(Refusal {
                origin: candidate.origin().clone(),
                format: candidate.format().as_ref().map_or_else(|| "unknown".to_owned(), Format::to_string),
                under,
                code: error.code(),
                reason: error.to_string(),
            }),
        };
        for root in roots {
            record(root.name().to_owned(), verify_with_root(candidate, image, root));
        }
        for key in keys {
            record(key.fingerprint().to_string(), verify_with_key(candidate, image, key));
        }
    }
    gathered
}
