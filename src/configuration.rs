//! Admission of our own custom resources: an AdmissionReview to its answer, by the parsers that the index uses.
//!
//! It needs nothing that is watched, so that a policy can be mended whatever state the replica is in. It looks at what is created or changed
//! and never at what is deleted. What another object has to bring, such as a trust root, is only warned about: objects come in any order.
//! A stored object whose `spec` stays as it is may be changed beside that, whatever the parser thinks of it by now. Follows
//! `admission.k8s.io/v1`.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::admission::{AdmissionRequest, GroupVersionKind, read};
use crate::api::{GROUP, VERSION};
use crate::policy::{ClusterRules, Policy};
use crate::revocation::Revocation;
use crate::trust::RootSpec;

/// Warnings that one answer carries.
const WARNING_LIMIT: usize = 16;
/// Bytes of one warning; of more, API servers cut.
const WARNING_BYTES: usize = 512;

/// A kind of ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OwnKind {
    /// `CountersignConfig`.
    Config,
    /// `ClusterSignaturePolicy` or `SignaturePolicy`.
    Policy,
    /// `SignatureRevocation`.
    Revocation,
    /// `SignatureTrustRoot`.
    TrustRoot,
}

impl OwnKind {
    fn from_group_kind(GroupVersionKind { group, version, kind }: &GroupVersionKind) -> Option<Self> {
        match (group.as_str(), version.as_str(), kind.as_str()) {
            (GROUP, VERSION, "CountersignConfig") => Some(Self::Config),
            (GROUP, VERSION, "ClusterSignaturePolicy" | "SignaturePolicy") => Some(Self::Policy),
            (GROUP, VERSION, "SignatureRevocation") => Some(Self::Revocation),
            (GROUP, VERSION, "SignatureTrustRoot") => Some(Self::TrustRoot),
            _ => None,
        }
    }

    /// The code of an object that does not parse.
    fn invalid(self) -> &'static str {
        match self {
            Self::Config => "ConfigInvalid",
            Self::Policy => "PolicyInvalid",
            Self::Revocation => "RevocationInvalid",
            Self::TrustRoot => "TrustRootInvalid",
        }
    }
}

/// What is known beside the object itself.
pub trait References {
    /// Whether there is a trust root of this name. None: nobody knows yet.
    fn has_trust_root(&self, name: &str) -> Option<bool>;
    /// Whether the policies of a namespace count as a match for some image. None: nobody knows yet.
    fn delegates_to(&self, namespace: &str) -> Option<bool>;
}

/// An AdmissionReview with its response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationAnswer {
    api_version: &'static str,
    kind: &'static str,
    response: Body,
    #[serde(skip)]
    about: Option<OwnKind>,
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
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl ConfigurationAnswer {
    /// Whether the request is allowed.
    pub fn allowed(&self) -> bool {
        self.response.allowed
    }

    /// The message of a denial; empty if the request is allowed.
    pub fn message(&self) -> &str {
        self.response.status.as_ref().map_or("", |status| status.message.as_str())
    }

    /// The kind that it was about, if it could be told.
    pub fn about(&self) -> Option<OwnKind> {
        self.about
    }

    fn new(uid: &str, about: Option<OwnKind>, judged: Judged) -> Self {
        let (status, mut warnings) = match judged {
            Judged::Accepted(warnings) => (None, warnings),
            Judged::Refused(code, reason, message) => (Some(Status { code, reason, message }), Vec::new()),
        };
        let more = warnings.len().saturating_sub(WARNING_LIMIT);
        warnings.truncate(WARNING_LIMIT);
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
        let response = Body { uid: uid.to_owned(), allowed: status.is_none(), status, warnings };
        Self { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response, about }
    }
}

/// What is said of an object.
enum Judged {
    /// It is taken, with these warnings.
    Accepted(Vec<String>),
    /// It is not: HTTP code, reason, message.
    Refused(u16, &'static str, String),
}

impl Judged {
    fn undecodable(reason: &str) -> Self {
        Self::Refused(400, "BadRequest", format!("the request could not be decoded: {reason} [Undecodable]"))
    }

    fn invalid(kind: OwnKind, reason: &dyn fmt::Display) -> Self {
        Self::Refused(422, "Invalid", format!("{reason} [{}]", kind.invalid()))
    }
}

/// Answers a review that arrived as bytes.
pub fn answer(body: &[u8], references: &dyn References) -> ConfigurationAnswer {
    let request = match read(body) {
        Ok(request) => request,
        Err((uid, reason)) => return ConfigurationAnswer::new(&uid, None, Judged::undecodable(&reason)),
    };
    let kind = OwnKind::from_group_kind(&request.kind);
    ConfigurationAnswer::new(&request.uid, kind, judge(&request, kind, references))
}

fn judge(request: &AdmissionRequest, kind: Option<OwnKind>, references: &dyn References) -> Judged {
    let Some(kind) = kind else {
        let GroupVersionKind { group, version, kind } = &request.kind;
        let reason =
            format!("{kind} of {group}/{version} is no kind of {GROUP}/{VERSION}; the webhook's rules send too much");
        return Judged::undecodable(&reason);
    };
    match request.operation.as_str() {
        "CREATE" | "UPDATE" => {}
        // Whoever may delete an object may do so, whatever it says.
        "DELETE" => return Judged::Accepted(Vec::new()),
        other => return Judged::undecodable(&format!("{other:?} is no operation that is judged")),
    }
    let judged = parse(request, kind, references);
    if matches!(judged, Judged::Accepted(_)) || request.operation == "CREATE" {
        return judged;
    }
    // Finalizers, labels and status of what is stored already must stay changeable, or nobody could be rid of it.
    let spec = |object: &Value| object.get("spec").cloned().unwrap_or_default();
    let is_ending = request.object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    match judged {
        Judged::Refused(_, _, message) if is_ending || spec(&request.object) == spec(&request.old_object) => {
            Judged::Accepted(vec![warning(&format!("the spec, which stays as it was, is refused by now: {message}"))])
        }
        judged => judged,
    }
}

fn parse(request: &AdmissionRequest, kind: OwnKind, references: &dyn References) -> Judged {
    let object = &request.object;
    // The parser of policies reads two kinds by what they say they are; the API server's word counts.
    if object.get("kind").and_then(Value::as_str) != Some(&request.kind.kind) {
        return Judged::invalid(kind, &format_args!("kind: the request is about a {}", request.kind.kind));
    }
    match kind {
        OwnKind::Config => match ClusterRules::parse(object) {
            Ok(rules) => Judged::Accepted(missing(rules.feeds().iter().map(|feed| feed.trust_root()), references)),
            Err(error) => Judged::invalid(kind, &error),
        },
        OwnKind::Policy => match Policy::parse(object) {
            Ok(policy) => {
                let of_roles = policy.tuf_roles().map(|role| role.trust_root.as_str());
                let mut warnings = missing(policy.trust_roots().chain(of_roles), references);
                if let Some(namespace) = policy.name().namespace()
                    && references.delegates_to(namespace) == Some(false)
                {
                    warnings.push(warning(
                        "no delegation of the CountersignConfig names this namespace: the policy adds to what the cluster demands, \
                         and matches no image [Undelegated]",
                    ));
                }
                Judged::Accepted(warnings)
            }
            Err(error) => Judged::invalid(kind, &error),
        },
        OwnKind::TrustRoot => match RootSpec::parse(object) {
            Ok(_) => Judged::Accepted(Vec::new()),
            Err(error) => Judged::invalid(kind, &error),
        },
        OwnKind::Revocation => match Revocation::parse(object) {
            Ok(revocation) => {
                let invalid = revocation.invalid();
                if revocation.is_empty() {
                    let all: Vec<String> = invalid.iter().take(WARNING_LIMIT).map(ToString::to_string).collect();
                    let reason = if all.is_empty() { "there is none".to_owned() } else { all.join(", ") };
                    return Judged::invalid(kind, &format_args!("no entry is valid: {reason}"));
                }
                let told = |invalid| format!("{invalid}; this does nothing, all else in it acts [RevocationInvalid]");
                Judged::Accepted(invalid.iter().map(told).map(|text| warning(&text)).collect())
            }
            Err(error) => Judged::invalid(kind, &error),
        },
    }
}

/// Warnings about trust roots that are named and known not to be there.
fn missing<'a>(names: impl Iterator<Item = &'a str>, references: &dyn References) -> Vec<String> {
    let missing: BTreeSet<&str> = names.filter(|name| references.has_trust_root(name) == Some(false)).collect();
    let told = |name: &&str| {
        format!(
            "there is no trust root named {name}; until there is, what needs it is not judged and denied [ReferenceNotFound]"
        )
    };
    missing.iter().map(told).map(|text| warning(&text)).collect()
}

/// One line that fits into a header.
fn warning(text: &str) -> String {
    let line: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let end = (0..=line.len().min(WARNING_BYTES)).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
    line.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
