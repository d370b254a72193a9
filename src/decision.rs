//! From the verdicts on an object's images to one decision, and to what the API server and people are told.
//!
//! The only place that words messages (`wording`) and the only place that says allow. A decision allows exactly if nothing
//! denies: there is no other way to build one.

mod respond;
mod trace;
mod wording;

use std::sync::Arc;

use crate::image::Digest;
use crate::policy::{Action, Outcome, Problem, Unmatched, Verdict};
use crate::revocation::Revoked;

pub use respond::{ReviewAnswer, deny_undecodable};
pub use trace::{SCHEMA_VERSION, Trace};
pub use wording::{escaped, plain};

/// Everything that was found about one image of an object.
#[derive(Clone, Debug)]
pub struct ImageVerdicts {
    /// The field that names the image, such as `spec.containers[0].image`.
    pub field: String,
    /// The reference as written.
    pub text: String,
    /// The digest that was judged.
    pub digest: Option<Digest>,
    /// What was found.
    pub finding: Finding,
    /// Why it is allowed where nothing matches it, if it is exempt.
    pub exempt: Option<Arc<str>>,
}

impl ImageVerdicts {
    /// Whether a policy that enforces governs it, and may count as a match; those that warn or audit never do.
    fn is_matched(&self) -> bool {
        matches!(&self.finding, Finding::Judged(verdicts) if verdicts.iter().any(Verdict::is_match))
    }
}

/// What was found about an image.
#[derive(Clone, Debug)]
pub enum Finding {
    /// No policy governs it.
    Unmatched,
    /// Policies govern it; these are their verdicts, at least one.
    Judged(Vec<Verdict>),
    /// It is denied whatever the policies say.
    Refused(Refused),
}

/// Denied whatever a policy says.
#[derive(Clone, Debug)]
pub enum Refused {
    /// A revocation strikes it out.
    Revoked(Revoked),
    /// It could not be told whether a revocation strikes it out, or it was not judged at all.
    NotJudged(Problem),
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Nothing denies.
    Allow,
    /// Something denies, and at least one denial is an answer.
    Deny,
    /// Something denies, and each denial is an open question.
    Undecided,
}

/// The decision on one object.
#[derive(Clone, Debug)]
pub struct Decision {
    images: Vec<ImageVerdicts>,
    unmatched: Unmatched,
    /// A denial of the object as a whole, before any image was looked at.
    object: Option<Problem>,
}

/// What an image contributes to the decision.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Effect {
    Allow,
    Undecided,
    Deny,
}

impl Decision {
    /// Decides over the images of an object; an empty list is the caller's mistake and denies.
    pub fn new(images: Vec<ImageVerdicts>, unmatched: Unmatched) -> Self {
        let object = images.is_empty().then(|| Problem {
            code: "NoImages",
            message: "no image was judged".to_owned(),
            undecided: false,
        });
        Self { images, unmatched, object }
    }

    /// Nothing about the object's images changes with this request, so that nothing is judged.
    pub fn unchanged() -> Self {
        Self { images: Vec::new(), unmatched: Unmatched::Allow, object: None }
    }

    /// A denial of the object as a whole.
    pub fn refuse(problem: Problem) -> Self {
        Self { images: Vec::new(), unmatched: Unmatched::Deny, object: Some(problem) }
    }

    /// Whether the request is allowed.
    pub fn allows(&self) -> bool {
        self.outcome() == Answer::Allow
    }

    /// Allow, deny, or deny because it could not be judged.
    pub fn outcome(&self) -> Answer {
        let object = self.object.iter().map(problem_effect);
        match object.chain(self.images.iter().map(|image| self.effect(image))).max() {
            None | Some(Effect::Allow) => Answer::Allow,
            Some(Effect::Undecided) => Answer::Undecided,
            Some(Effect::Deny) => Answer::Deny,
        }
    }

    /// What happens to this image where nothing matches it.
    fn unmatched_rule(&self, image: &ImageVerdicts) -> Unmatched {
        if image.exempt.is_some() { Unmatched::Allow } else { self.unmatched }
    }

    fn effect(&self, image: &ImageVerdicts) -> Effect {
        let unmatched = if self.unmatched_rule(image) == Unmatched::Deny { Effect::Deny } else { Effect::Allow };
        match &image.finding {
            Finding::Unmatched => unmatched,
            Finding::Refused(Refused::NotJudged(problem)) => problem_effect(problem),
            Finding::Refused(Refused::Revoked(_)) => Effect::Deny,
            Finding::Judged(verdicts) => {
                let judged = verdicts.iter().map(verdict_effect).max().unwrap_or(Effect::Deny);
                if image.is_matched() { judged } else { judged.max(unmatched) }
            }
        }
    }
}

fn problem_effect(problem: &Problem) -> Effect {
    if problem.undecided { Effect::Undecided } else { Effect::Deny }
}

fn verdict_effect(verdict: &Verdict) -> Effect {
    match (verdict.action(), verdict.outcome()) {
        (_, Outcome::Pass) | (Action::Warn | Action::Audit, _) => Effect::Allow,
        (Action::Enforce, Outcome::Fail(_)) => Effect::Deny,
        (Action::Enforce, Outcome::Error(_)) => Effect::Undecided,
    }
}

#[cfg(test)]
mod tests;
