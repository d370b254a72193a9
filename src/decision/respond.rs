//! The `AdmissionResponse`: allowed or not, the message, warnings and audit annotations.
//!
//! Follows `admission.k8s.io/v1`. An allow is written only from a [`Decision`] that allows; everything that went wrong before
//! there was one is a denial of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Decision, Effect, Finding, wording};
use crate::policy::{Action, Unmatched, Verdict};

/// Warnings that one answer carries.
const WARNING_LIMIT: usize = 16;
/// Bytes of the trace in an audit annotation.
const ANNOTATION_LIMIT: usize = 16 << 10;

/// An AdmissionReview with its response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewAnswer {
    api_version: &'static str,
    kind: &'static str,
    response: Body,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl ReviewAnswer {
    fn new(response: Body) -> Self {
        Self { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response }
    }

    /// Whether the request is allowed.
    pub fn allowed(&self) -> bool {
        self.response.allowed
    }

    /// The message of a denial; empty if the request is allowed.
    pub fn message(&self) -> &str {
        self.response.status.as_ref().map_or("", |status| status.message.as_str())
    }
}

/// The answer to a review that could not be decoded. `uid` is that of the request if it could be read, else empty.
pub fn deny_undecodable(uid: &str, reason: &str) -> ReviewAnswer {
    let status = Status {
        code: 400,
        reason: "BadRequest",
        message: format!("the request could not be decoded: {reason} [Undecodable]"),
    };
    ReviewAnswer::new(Body {
        uid: uid.to_owned(),
        allowed: false,
        status: Some(status),
        warnings: Vec::new(),
        audit_annotations: BTreeMap::new(),
    })
}

impl Decision {
    /// The answer to the request with this uid. A dry run gets the short trace as warnings, on allow too.
    pub fn respond(&self, uid: &str, dry_run: bool) -> ReviewAnswer {
        let allowed = self.allows();
        let status = (!allowed).then(|| Status { code: 403, reason: "Forbidden", message: wording::denial(self) });
        ReviewAnswer::new(Body {
            uid: uid.to_owned(),
            allowed,
            status,
            warnings: self.warnings(dry_run),
            audit_annotations: self.audit_annotations(),
        })
    }

    fn warnings(&self, dry_run: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        for image in &self.images {
            match &image.finding {
                Finding::Judged(verdicts) => {
                    let told = |action: Action, passes: bool| match action {
                        Action::Warn => !passes || dry_run,
                        Action::Enforce | Action::Audit => dry_run,
                    };
                    let told = verdicts.iter().filter(|verdict| told(verdict.action(), verdict.passes()));
                    warnings.extend(told.map(|verdict| wording::warning(image, verdict)));
                    let stale = verdicts.iter().flat_map(Verdict::stale);
                    let stale: BTreeMap<&str, _> = stale.map(|warning| (warning.name.as_str(), warning)).collect();
                    warnings.extend(stale.values().map(|warning| wording::stale_warning(image, warning)));
                    if !image.is_matched() && self.unmatched_rule(image) == Unmatched::Warn {
                        warnings.push(wording::unmatched_warning(image));
                    }
                }
                Finding::Unmatched if self.unmatched_rule(image) == Unmatched::Warn || dry_run => {
                    warnings.push(wording::unmatched_warning(image));
                }
                Finding::Unmatched | Finding::Refused(_) => {}
            }
        }
        let more = warnings.len().saturating_sub(WARNING_LIMIT);
        warnings.truncate(WARNING_LIMIT);
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
        warnings
    }

    /// The decision and, where something would fail or does, the trace.
    fn audit_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        annotations.insert("decision".to_owned(), if self.allows() { "allow" } else { "deny" }.to_owned());
        let fails = |image| {
            self.effect(image) != Effect::Allow
                || matches!(&image.finding, Finding::Judged(verdicts) if verdicts.iter().any(|verdict| !verdict.passes()))
        };
        if self.images.iter().any(fails)
            && let Ok(trace) = serde_json::to_string(&self.trace())
        {
            let trace =
                if trace.len() <= ANNOTATION_LIMIT { trace } else { format!("{} bytes, not kept", trace.len()) };
            annotations.insert("trace".to_owned(), trace);
        }
        annotations
    }
}
