//! The trace of a decision as JSON and as text, for the command line, for logs and for audit annotations.
//!
//! Codes and field names are stable within a `schemaVersion`; messages are for people and may change.

use serde::Serialize;

use super::{Answer, Decision, Effect, Finding, ImageVerdicts, Refused, wording};
use crate::policy::{Action, AuthorityTrace, Outcome, Shortfall, Verdict};
use crate::trust::StaleWarning;

/// The version of every JSON that countersign writes of its own.
pub const SCHEMA_VERSION: u32 = 1;

/// A decision as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    schema_version: u32,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    images: Vec<ImageTrace>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageTrace {
    field: String,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    verdicts: Vec<VerdictTrace>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerdictTrace {
    policy: String,
    action: Action,
    verdict: &'static str,
    code: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    authorities: Vec<AuthorityTrace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shortfalls: Vec<Shortfall>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stale_trust_roots: Vec<StaleWarning>,
}

impl Decision {
    /// The decision as JSON.
    pub fn trace(&self) -> Trace {
        let decision = match self.outcome() {
            Answer::Allow => "Allow",
            Answer::Deny | Answer::Undecided => "Deny",
        };
        Trace {
            schema_version: SCHEMA_VERSION,
            decision,
            code: self.object.as_ref().map(|problem| problem.code),
            message: self.object.as_ref().map(|problem| problem.message.clone()),
            images: self.images.iter().map(|image| self.image_trace(image)).collect(),
        }
    }

    /// The decision for a terminal: every image with its story, under a heading for the object if there is one.
    pub fn text(&self) -> String {
        let mut paragraphs: Vec<String> = self.images.iter().map(|image| wording::story(self, image)).collect();
        if let Some(problem) = &self.object {
            paragraphs.push(format!("denied  {} [{}]", problem.message, problem.code));
        }
        if paragraphs.is_empty() {
            paragraphs.push("allowed nothing to judge: no image changes".to_owned());
        }
        paragraphs.join("\n")
    }

    fn image_trace(&self, image: &ImageVerdicts) -> ImageTrace {
        let (code, message, verdicts) = match &image.finding {
            Finding::Unmatched => {
                let (code, message) = unmatched(image);
                (Some(code), message, Vec::new())
            }
            Finding::Refused(Refused::Revoked(revoked)) => (Some("Revoked"), Some(revoked.to_string()), Vec::new()),
            Finding::Refused(Refused::NotJudged(problem)) => {
                (Some(problem.code), Some(problem.message.clone()), Vec::new())
            }
            Finding::Judged(verdicts) => {
                let (code, message) = (!image.is_matched()).then(|| unmatched(image)).unzip();
                (code, message.flatten(), verdicts.iter().map(verdict_trace).collect())
            }
        };
        ImageTrace {
            field: image.field.clone(),
            image: image.text.clone(),
            digest: image.digest.as_ref().map(ToString::to_string),
            decision: if self.effect(image) == Effect::Allow { "Allow" } else { "Deny" },
            code,
            message,
            verdicts,
        }
    }
}

/// What is said of an image that nothing matches.
fn unmatched(image: &ImageVerdicts) -> (&'static str, Option<String>) {
    match &image.exempt {
        Some(reason) => ("Exempt", Some(reason.to_string())),
        None => ("Unmatched", None),
    }
}

fn verdict_trace(verdict: &Verdict) -> VerdictTrace {
    let (name, message) = match verdict.outcome() {
        Outcome::Pass => ("Pass", None),
        Outcome::Fail(_) => ("Fail", Some(wording::headline(verdict))),
        Outcome::Error(_) => ("Error", Some(wording::headline(verdict))),
    };
    VerdictTrace {
        policy: verdict.policy().to_string(),
        kind: verdict.policy().kind(),
        namespace: verdict.policy().namespace().map(ToString::to_string),
        feed: verdict.policy().feed().map(str::to_owned),
        action: verdict.action(),
        verdict: name,
        code: wording::code(verdict),
        message,
        authorities: verdict.authorities().to_vec(),
        shortfalls: verdict.shortfalls().to_vec(),
        stale_trust_roots: verdict.stale().to_vec(),
    }
}
