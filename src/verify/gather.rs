//! Every candidate under every anchor that the selected policies name.
//!
//! Order decides nothing: all candidates are tried, and one that does not verify is recorded beside those that do.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::Serialize;

use super::steps::verify_parsed;
use super::{Anchor, AnchorId, Artifact, Evidence, format_code};
use crate::evidence::candidate::Candidate;
use crate::evidence::{Discovered, Format, FormatError, Origin};
use crate::image::ResolvedImage;

/// The version of what verification reads and says. Raised with every change that could make it say something else about the same
/// bytes, so that what an older version said is not taken for its word.
pub const SCHEMA_VERSION: u32 = 2;

/// What the candidates of one image proved, and what they did not.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    verified: Vec<Evidence>,
    refused: Vec<Refusal>,
}

/// A candidate that is no evidence under an anchor.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Where the candidate was found.
    pub origin: Origin,
    /// The candidate's format, for people.
    pub format: String,
    /// What it was tried under.
    pub under: AnchorId,
    /// The stable code of the refusal.
    pub code: &'static str,
    /// The reason, in the verifier's words.
    pub reason: String,
    /// Whether the reason is that the trust root does not know a service, which a newer one might.
    #[serde(skip)]
    pub names_unknown: bool,
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

    /// Adds what a log's own entry verified.
    pub fn add(&mut self, evidence: Evidence) {
        self.verified.push(evidence);
    }

    pub(super) fn verified_mut(&mut self) -> &mut [Evidence] {
        &mut self.verified
    }

    /// What was not.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// The trust roots that lack a service which some candidate names: newer ones might know it.
    pub fn lacking_roots(&self) -> BTreeSet<&str> {
        let verified = self.verified.iter().filter(|evidence| evidence.names_unknown()).map(Evidence::under);
        let refused = self.refused.iter().filter(|refusal| refusal.names_unknown).map(|refusal| &refusal.under);
        verified.chain(refused).filter_map(AnchorId::root).collect()
    }

    /// Adds what further candidates of the same image gave.
    pub fn extend(&mut self, further: Self) {
        self.verified.extend(further.verified);
        self.refused.extend(further.refused);
    }
}

/// A candidate that is parsed once, when it is first looked at, and verified under one anchor after the other.
#[derive(Debug)]
pub struct Prepared {
    discovered: Discovered,
    candidate: OnceLock<Result<Candidate, FormatError>>,
}

impl Prepared {
    /// This candidate.
    pub fn new(discovered: Discovered) -> Self {
        Self { discovered, candidate: OnceLock::new() }
    }

    /// What was discovered.
    pub fn discovered(&self) -> &Discovered {
        &self.discovered
    }

    /// What it proves under an anchor: one piece of evidence or one refusal.
    pub fn gather(&self, image: &ResolvedImage, anchor: &Anchor) -> Gathered {
        let refused = |code: &'static str, reason: String, names_unknown: bool| Refusal {
            origin: self.discovered.origin().clone(),
            format: self.discovered.format().as_ref().map_or_else(|| "unknown".to_owned(), Format::to_string),
            under: anchor.id(),
            code,
            reason: excerpt(reason),
            names_unknown,
        };
        let mut gathered = Gathered::default();
        match self.candidate.get_or_init(|| Candidate::parse(&self.discovered)) {
            Err(error) => gathered.refused.push(refused(format_code(error), error.to_string(), false)),
            Ok(candidate) => match verify_parsed(candidate, &self.discovered, Artifact::from(image), anchor) {
                Ok(evidence) => gathered.verified.push(evidence),
                Err(error) => gathered.refused.push(refused(error.code(), error.to_string(), error.names_unknown())),
            },
        }
        gathered
    }
}

/// The start of a text of which a stranger may have written any amount. It is kept for a day, once for each anchor.
pub(super) fn excerpt(text: String) -> String {
    /// Bytes that are kept: as many as a message can use.
    const BYTES: usize = 512;
    match text.char_indices().map(|(place, _)| place).find(|place| *place >= BYTES) {
        Some(end) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Every candidate under every anchor, in their order.
#[cfg(test)]
pub(crate) fn gather(candidates: &[Discovered], image: &ResolvedImage, anchors: &[Anchor]) -> Gathered {
    let mut gathered = Gathered::default();
    for discovered in candidates {
        let prepared = Prepared::new(discovered.clone());
        for anchor in anchors {
            gathered.extend(prepared.gather(image, anchor));
        }
    }
    gathered
}
