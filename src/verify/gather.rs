//! Every candidate under every anchor that the selected policies name.
//!
//! Order decides nothing: all candidates are tried, and one that does not verify is recorded beside those that do.

use serde::Serialize;

use super::steps::verify_parsed;
use super::{Anchor, AnchorId, Artifact, Evidence, VerifyError};
use crate::evidence::candidate::Candidate;
use crate::evidence::{Discovered, Format, Origin};
use crate::image::ResolvedImage;

/// What the candidates of one image proved, and what they did not.
#[derive(Debug, Default)]
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
    /// What it was tried under; none where it does not parse, which it does under no anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under: Option<AnchorId>,
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

    /// What was verified.
    pub fn verified(&self) -> &[Evidence] {
        &self.verified
    }

    /// What was not.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Adds what further candidates of the same image gave.
    pub fn extend(&mut self, further: Self) {
        self.verified.extend(further.verified);
        self.refused.extend(further.refused);
    }
}

/// Verification was told to stop before everything was tried. What had been verified by then is dropped: it is no result.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("verification was stopped before every candidate was tried")]
pub struct Cancelled;

/// Verifies every candidate under every anchor. Each is parsed once. `is_cancelled` is asked before each of these, so that nothing runs
/// on for nobody; one of them costs milliseconds.
///
/// # Errors
/// [`Cancelled`] if it said so once.
pub fn gather(
    candidates: &[Discovered],
    image: &ResolvedImage,
    anchors: &[Anchor],
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Gathered, Cancelled> {
    let mut gathered = Gathered::default();
    for discovered in candidates {
        let refusal = |under: Option<AnchorId>, error: &VerifyError| Refusal {
            origin: discovered.origin().clone(),
            format: discovered.format().as_ref().map_or_else(|| "unknown".to_owned(), Format::to_string),
            under,
            code: error.code(),
            reason: error.to_string(),
        };
        let candidate = match Candidate::parse(discovered) {
            Ok(candidate) => candidate,
            Err(error) => {
                gathered.refused.push(refusal(None, &error.into()));
                continue;
            }
        };
        for anchor in anchors {
            if is_cancelled() {
                return Err(Cancelled);
            }
            match verify_parsed(&candidate, discovered, Artifact::from(image), anchor) {
                Ok(evidence) => gathered.verified.push(evidence),
                Err(error) => gathered.refused.push(refusal(Some(anchor.id()), &error)),
            }
        }
    }
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::trust::PUBLIC_GOOD;
    use crate::verify::fixtures::{DSSE, candidate, root, slsa};

    /// One good candidate, twice, under a root: what was verified before the stop is no result either.
    #[test]
    fn a_stop_between_any_two_steps_leaves_no_result() {
        let (image, envelope, annotations) = slsa();
        let good = candidate(DSSE, envelope, annotations);
        let (candidates, anchors) = ([good.clone(), good], [Anchor::Root(root(PUBLIC_GOOD))]);
        for (steps, expected) in [(0_u8, None), (1, None), (2, Some(2))] {
            let left = Cell::new(steps);
            let is_cancelled = || left.replace(left.get().saturating_sub(1)) == 0;
            let gathered = gather(&candidates, &image, &anchors, &is_cancelled);
            assert_eq!(gathered.map(|gathered| gathered.verified().len()).ok(), expected, "{steps}");
        }
    }
}
