//! The words for people: what was wanted, what was found, what to do next.
//!
//! Every sentence that a user reads about a verdict is made here, from typed reasons; no secret can be among them, because no
//! reason carries one.

use std::fmt::Write as _;

use super::{Decision, Effect, Finding, ImageVerdicts, Refused};
use crate::policy::{
    Action, AuthorityTrace, ErrorReason, FailReason, FeedProblem, NearMiss, Outcome, Problem, Shortfall, Unmatched,
    Verdict,
};
use crate::trust::{RootProblem, StaleWarning};
use crate::verify::{Claim, Evidence, TimeSource};

/// Candidates that a message lists for one authority.
const FOUND_LIMIT: usize = 4;
/// Images that the message of a denial lists.
const IMAGE_LIMIT: usize = 10;
/// What to do about a registry that does not answer.
const TRY_AGAIN: &str = "try again when the registry answers";
/// What to do about a reference that is none.
const REFERENCE: &str = "write host/path@sha256:<64 lower-case hexadecimal digits>";
/// Characters that a message takes of one text that somebody else wrote.
const TEXT_LIMIT: usize = 1_024;

/// The stable code of a verdict.
pub(super) fn code(verdict: &Verdict) -> &'static str {
    match verdict.outcome() {
        Outcome::Pass => "Pass",
        Outcome::Fail(FailReason::RequirementNotMet) => {
            let unmet = || verdict.authorities().iter().filter(|trace| trace.satisfied_by.is_empty());
            let nearest = unmet().filter_map(|trace| trace.near_misses.first()).max_by_key(|miss| miss.nearness);
            if verdict.shortfalls().iter().any(Shortfall::lacks_signers_only) {
                "SignersNotDistinct"
            } else {
                nearest.map_or("NoSignature", |miss| miss.code)
            }
        }
        Outcome::Fail(FailReason::InvalidReference { .. }) => "InvalidReference",
        Outcome::Fail(FailReason::NotPinned { .. }) => "NotPinned",
        Outcome::Fail(FailReason::ShortName) => "ShortName",
        Outcome::Fail(FailReason::Content(problem)) | Outcome::Error(ErrorReason::Unreachable(problem)) => problem.code,
        Outcome::Error(ErrorReason::PolicyInvalid { .. }) => "PolicyInvalid",
        Outcome::Error(ErrorReason::NamespaceUnknown { .. }) => "NamespaceUnknown",
        Outcome::Error(ErrorReason::TrustRoot(problem)) => problem.code(),
        Outcome::Error(ErrorReason::TufRoleUnavailable { .. }) => "TufRoleUnavailable",
        Outcome::Error(ErrorReason::Rules(problem)) => problem.code(),
    }
}

/// The message of a denial: one paragraph an image that denies.
pub(super) fn denial(decision: &Decision) -> String {
    let mut text = String::new();
    if let Some(problem) = &decision.object {
        let _ = write!(text, "{} [{}]", plain(&problem.message), problem.code);
    }
    let denying: Vec<_> = decision.images.iter().filter(|image| decision.effect(image) != Effect::Allow).collect();
    if !denying.is_empty() {
        let _ = write!(text, "{} of {} images refused", denying.len(), decision.images.len());
        for image in denying.iter().take(IMAGE_LIMIT) {
            text.push('\n');
            text.push_str(&paragraph(decision, image));
        }
        if let Some(more) = denying.len().checked_sub(IMAGE_LIMIT).filter(|more| *more > 0) {
            let _ = write!(text, "\nand {more} more");
        }
    }
    text
}

/// What denies one image, indented under its field and reference.
fn paragraph(decision: &Decision, image: &ImageVerdicts) -> String {
    let mut text = format!("{}: {}", image.field, image_text(image));
    match &image.finding {
        Finding::Unmatched => {
            text.push_str("\n  no policy governs this image [Unmatched]");
            text.push_str(
                "\n  next:   write a ClusterSignaturePolicy whose images name it, or ask whoever governs this cluster",
            );
        }
        Finding::Refused(refused) => text.push_str(&refused_text(refused)),
        Finding::Judged(verdicts) => {
            for verdict in verdicts {
                if verdict.action() == Action::Enforce && !verdict.passes() {
                    text.push_str(&verdict_text(verdict));
                }
            }
            text.push_str(&unmatched_line(decision, image, verdicts));
        }
    }
    text
}

/// What is said of an image that no policy governs.
fn unmatched(image: &ImageVerdicts) -> String {
    match &image.exempt {
        Some(reason) => format!("\n  no policy governs this image, which is exempt: {} [Exempt]", plain(reason)),
        None => "\n  no policy governs this image [Unmatched]".to_owned(),
    }
}

/// What is said of an image that policies govern of which none counts as a match, where such images are denied.
fn unmatched_line(decision: &Decision, image: &ImageVerdicts, verdicts: &[Verdict]) -> String {
    if decision.unmatched != Unmatched::Deny || image.is_matched() {
        return String::new();
    }
    if let Some(reason) = &image.exempt {
        return format!("\n  no enforcing policy governs this image, which is exempt: {} [Exempt]", plain(reason));
    }
    let is_undelegated =
        |verdict: &&Verdict| verdict.action() == Action::Enforce && verdict.policy().namespace().is_some();
    match verdicts.iter().find(is_undelegated) {
        Some(verdict) => format!(
            "\n  no enforcing policy of the cluster governs this image, and {} adds to those without counting as a match [Unmatched]\n    \
             next:   have the cluster govern the image, or delegate it to the namespace in the CountersignConfig",
            plain(verdict.policy().as_str())
        ),
        None => "\n  no enforcing policy governs this image [Unmatched]".to_owned(),
    }
}

/// The whole story of an image for a terminal, passes included.
pub(super) fn story(decision: &Decision, image: &ImageVerdicts) -> String {
    let allowed = decision.effect(image) == Effect::Allow;
    let mut text = format!("{} {}", if allowed { "allowed" } else { "denied " }, image_text(image));
    match &image.finding {
        Finding::Unmatched => text.push_str(&unmatched(image)),
        Finding::Refused(refused) => text.push_str(&refused_text(refused)),
        Finding::Judged(verdicts) => {
            for verdict in verdicts {
                if verdict.passes() {
                    let _ = write!(text, "\n  policy {}: satisfied", plain(verdict.policy().as_str()));
                    for StaleWarning { name, since } in verdict.stale() {
                        let _ = write!(
                            text,
                            "\n    warning: the trust root {name} is stale since {since} [TrustRootStale]"
                        );
                    }
                    for trace in verdict.authorities() {
                        for evidence in &trace.satisfied_by {
                            text.push_str(&satisfied(image, trace, evidence));
                        }
                    }
                } else {
                    text.push_str(&verdict_text(verdict));
                }
            }
            text.push_str(&unmatched_line(decision, image, verdicts));
        }
    }
    text
}

fn image_text(image: &ImageVerdicts) -> String {
    match &image.digest {
        Some(digest) if !image.text.contains(digest.hex()) => format!("{} (now {digest})", plain(&image.text)),
        _ => plain(&image.text),
    }
}

fn satisfied(image: &ImageVerdicts, trace: &AuthorityTrace, evidence: &Evidence) -> String {
    let what = match evidence.claim() {
        Claim::Signature => "signature".to_owned(),
        Claim::Attestation { predicate_type } => format!("attestation {}", plain(predicate_type)),
    };
    let mut text =
        format!("\n    {}: {what}\n      signer: {}", plain(&trace.authority), plain(&evidence.signer().to_string()));
    for time in evidence.times() {
        let by = match time.source {
            TimeSource::Log => "log time",
            TimeSource::TimestampAuthority => "timestamp",
        };
        let _ = write!(text, "\n      {by}: {}", time.at);
    }
    for log in evidence.logs() {
        let how = if log.inclusion_proof { "inclusion proved" } else { "inclusion promised" };
        let how = if log.online { format!("{how}, confirmed by the log") } else { how.to_owned() };
        let _ = write!(text, "\n      log entry: {} in {} ({how})", log.index, log.log);
    }
    let _ = write!(text, "\n      found by: {}", evidence.origin().path);
    if image.digest.as_ref() != Some(evidence.image()) {
        let _ = write!(text, "\n      about: {} in the index", evidence.image());
    }
    text
}

fn refused_text(refused: &Refused) -> String {
    match refused {
        Refused::Revoked(revoked) => {
            format!("\n  {} [Revoked]\n  next:   {}", plain(&revoked.to_string()), lifted(&revoked.by))
        }
        Refused::NotJudged(problem) => {
            format!("\n  {} [{}]\n  next:   {}", plain(&problem.message), problem.code, unknown(problem))
        }
    }
}

/// What is left to do about an image that nobody could look at.
fn unknown(problem: &Problem) -> &'static str {
    match problem.code {
        "InvalidReference" => REFERENCE,
        "Internal" | "Deadline" => "try again",
        code => match reach(code) {
            TRY_AGAIN if !problem.undecided => "push the image again, within the limits",
            next => next,
        },
    }
}

/// What is left to do about an image that is struck out.
fn lifted(by: &str) -> String {
    format!(
        "use another image, built and signed anew; if this one is sound, have SignatureRevocation {} corrected by whoever governs this cluster",
        plain(by)
    )
}

fn verdict_text(verdict: &Verdict) -> String {
    let action = match verdict.action() {
        Action::Enforce => "",
        Action::Warn => " (warns only)",
        Action::Audit => " (audits only)",
    };
    let mut text =
        format!("\n  policy {}: {} [{}]{action}", plain(verdict.policy().as_str()), headline(verdict), code(verdict));
    if matches!(verdict.outcome(), Outcome::Fail(FailReason::RequirementNotMet)) {
        for trace in verdict.authorities().iter().filter(|trace| trace.satisfied_by.is_empty()) {
            text.push_str(&unmet(trace));
        }
        for shortfall in verdict.shortfalls().iter().take(FOUND_LIMIT) {
            text.push_str(&short(shortfall));
        }
    }
    let _ = write!(text, "\n    next:   {}", next(verdict));
    text
}

fn unmet(trace: &AuthorityTrace) -> String {
    let mut text = format!("\n    authority {}\n    wanted: {}", plain(&trace.authority), plain(&trace.wanted));
    if trace.near_misses.is_empty() {
        text.push_str("\n    found:  nothing");
    }
    for NearMiss { found, .. } in trace.near_misses.iter().take(FOUND_LIMIT) {
        let _ = write!(text, "\n    found:  {}", plain(found));
    }
    let more = trace.near_misses.len().saturating_sub(FOUND_LIMIT).saturating_add(trace.near_misses_left_out);
    if more > 0 {
        let _ = write!(text, "\n            and {more} more");
    }
    text
}

fn short(shortfall: &Shortfall) -> String {
    let Shortfall { image, wanted, of, satisfied, distinct } = shortfall;
    let image = image.as_ref().map_or_else(String::new, |digest| format!(" for {digest} in the index"));
    format!(
        "\n    wanted: {wanted} of {of} by different signers{image}\n    found:  {satisfied} satisfied, {distinct} by different signers"
    )
}

pub(super) fn headline(verdict: &Verdict) -> String {
    plain(&match verdict.outcome() {
        Outcome::Pass => "satisfied".to_owned(),
        Outcome::Fail(FailReason::RequirementNotMet) => "not satisfied".to_owned(),
        Outcome::Fail(FailReason::InvalidReference { reason }) => {
            format!("the reference is not one that a kubelet pulls as it stands: {reason}")
        }
        Outcome::Fail(FailReason::NotPinned { .. }) => "a digest is wanted, a tag was found".to_owned(),
        Outcome::Fail(FailReason::ShortName) => {
            "a registry host is wanted, a short name was found, which nodes may expand to another registry".to_owned()
        }
        Outcome::Fail(FailReason::Content(problem)) => format!("the registry's content is refused: {problem}"),
        Outcome::Error(ErrorReason::PolicyInvalid { reason }) => {
            format!("could not be judged: the stored policy does not parse: {reason}")
        }
        Outcome::Error(ErrorReason::NamespaceUnknown { namespace }) => {
            format!("could not be judged: the labels of the namespace {namespace} are not known")
        }
        Outcome::Error(ErrorReason::TrustRoot(problem)) => format!("could not be judged: {problem}"),
        Outcome::Error(ErrorReason::TufRoleUnavailable { role, reason }) => {
            format!("could not be judged: {role}: {reason}")
        }
        Outcome::Error(ErrorReason::Rules(problem)) => format!("could not be judged: {problem}"),
        Outcome::Error(ErrorReason::Unreachable(problem)) => format!("could not be judged: {problem}"),
    })
}

fn next(verdict: &Verdict) -> String {
    match verdict.outcome() {
        Outcome::Pass => String::new(),
        Outcome::Fail(FailReason::RequirementNotMet) => match code(verdict) {
            "NoSignature" => {
                "sign or attest the image as wanted, push the signature beside it, and try again".to_owned()
            }
            "IdentityMismatch" | "IssuerMismatch" => {
                "have the wanted identity sign this digest; if the found signer is right, add it to the policy"
                    .to_owned()
            }
            "AttestationOnly" => {
                "sign the image itself, or ask for the attestation with `attestation.predicateType` in the policy"
                    .to_owned()
            }
            "PredicateTypeMismatch" => "attest the wanted type, or name the found one in the policy".to_owned(),
            "ClaimMismatch" => {
                "sign from where the policy wants it; if the found value is right, correct the claims of the policy"
                    .to_owned()
            }
            "SignedOutsideWindow" | "SignatureTooOld" => {
                "sign this digest anew, within the time that the policy gives".to_owned()
            }
            "LogMissing" | "InclusionProofMissing" => {
                "sign again with a transparency log of the trust root; if fewer proofs are enough, say so in `evidence`"
                    .to_owned()
            }
            "TimestampMissing" => {
                "sign again with a timestamp authority or a log that dates the signature, of the policy's trust root"
                    .to_owned()
            }
            "Revoked" => {
                "have a signer who is not revoked sign this digest, if it is sound; or have the SignatureRevocation corrected".to_owned()
            }
            "ServiceDistrusted" => {
                "sign this digest anew with services that are trusted, if it is sound; what a distrusted one said counts only where another dates the signature before the distrust"
                    .to_owned()
            }
            "SignersNotDistinct" => "have somebody else sign it too: the same signer counts once".to_owned(),
            _ => "sign this digest anew, and push the signature beside the image".to_owned(),
        },
        Outcome::Fail(FailReason::InvalidReference { .. }) => {
            REFERENCE.to_owned()
        }
        Outcome::Fail(FailReason::NotPinned { resolved }) => format!("write {resolved}"),
        Outcome::Fail(FailReason::ShortName) => "write the registry's host in front".to_owned(),
        Outcome::Fail(FailReason::Content(_)) => {
            "push the image and its signatures again, within the limits".to_owned()
        }
        Outcome::Error(ErrorReason::PolicyInvalid { .. }) => {
            "correct the policy; until then nothing that it selects is admitted".to_owned()
        }
        Outcome::Error(ErrorReason::NamespaceUnknown { .. }) => {
            "try again; on a workstation add the Namespace to the input".to_owned()
        }
        Outcome::Error(ErrorReason::TrustRoot(problem)) => root(problem).to_owned(),
        Outcome::Error(ErrorReason::TufRoleUnavailable { .. }) => {
            "see the status of the SignatureTrustRoot: its repository must delegate the role to Fulcio identities (TAP 18), \
             in metadata that is verified and has not expired"
                .to_owned()
        }
        Outcome::Error(ErrorReason::Rules(FeedProblem::ConfigInvalid { .. })) => {
            "correct the CountersignConfig; until then no image is admitted".to_owned()
        }
        Outcome::Error(ErrorReason::Rules(_)) => {
            "see the status of the CountersignConfig: the feed's repository must be reached, or the feed taken out".to_owned()
        }
        Outcome::Error(ErrorReason::Unreachable(problem)) => reach(problem.code).to_owned(),
    }
}

/// What makes a trust root usable.
fn root(problem: &RootProblem) -> &'static str {
    match problem {
        RootProblem::Unknown { .. } => {
            "correct the name in the policy, or start countersign with --trust-root NAME=FILE, or declare a SignatureTrustRoot"
        }
        RootProblem::Unavailable { .. } => "see the status of the SignatureTrustRoot, and mend what it says",
        RootProblem::Stale { .. } => {
            "see why the SignatureTrustRoot is not refreshed: its status says which rule broke, or that the mirror does not answer"
        }
    }
}

/// One line for a trust root that is past its time and was used all the same.
pub(super) fn stale_warning(image: &ImageVerdicts, warning: &StaleWarning) -> String {
    let StaleWarning { name, since } = warning;
    truncate(&format!(
        "{}: the trust root {name} was not refreshed in time and is stale since {since} [TrustRootStale]",
        image.field
    ))
}

/// What opens the way to a registry or a log, by the code of what stood in it.
fn reach(code: &str) -> &'static str {
    match code {
        "ImageNotFound" | "ContentNotFound" => "push what is missing, or correct the reference",
        "RegistryUnauthorized" => "give countersign credentials that may read the repository (--registry-auth-file)",
        "RegistryAddressBlocked" => "if the registry is yours, allow its address: --private-registry HOST",
        "RegistryRealmRefused" => {
            "if the token service is the registry's own, allow it: --registry-realm REGISTRY=REALM"
        }
        "RegistryRedirectRefused" => "ask whoever runs the registry where it sends its clients",
        "MemoryExhausted" => {
            "try again; if that happens often, give countersign more memory (--memory-budget) or replicas"
        }
        "LogAddressInvalid" => "correct the log's address in the trust root",
        "LogClientUnusable" => "give countersign certificate authorities that logs can be trusted by",
        "LogEntryNotFound" | "LogNotSearchable" => {
            "sign this digest anew with a log, and push the signature with its log entry beside the image"
        }
        "LogEntriesTooMany" => "remove signatures that are not needed, and try again",
        "LogUnavailable" | "LogUnexpectedStatus" | "LogNotConfirmed" => {
            "try again when the log answers; the policy wants it asked (`evidence.online`)"
        }
        "LogAnswerMalformed" | "LogAnswerTooLarge" => {
            "check that the address in the trust root is that of a log, and try again"
        }
        "LogEntryDiffers" | "LogInclusionUnproved" | "LogRolledBack" | "LogForked" => {
            "do not use the image before whoever runs the log has explained this; the log contradicts the signature"
        }
        _ => TRY_AGAIN,
    }
}

/// One line for a warning: the API server cuts longer ones.
pub(super) fn warning(image: &ImageVerdicts, verdict: &Verdict) -> String {
    let mut text = format!(
        "{}: policy {} [{}]: {}",
        image.field,
        plain(verdict.policy().as_str()),
        code(verdict),
        headline(verdict)
    );
    if let Some(miss) = verdict.authorities().iter().find_map(|trace| trace.near_misses.first()) {
        let _ = write!(text, "; found {}", miss.found);
    }
    truncate(&text)
}

/// One line for an image that nothing governs.
pub(super) fn unmatched_warning(image: &ImageVerdicts) -> String {
    let (exempt, code) = match &image.exempt {
        Some(reason) => (format!(", which is exempt: {}", plain(reason)), "Exempt"),
        None => (String::new(), "Unmatched"),
    };
    truncate(&format!("{}: no policy governs {}{exempt} [{code}]", image.field, image.text))
}

/// A text that somebody else wrote, fit for a terminal and a log: no control or direction-changing characters, and not endless.
pub fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .take(TEXT_LIMIT)
        .map(|character| if is_obeyed(character) { '\u{fffd}' } else { character })
        .collect();
    if text.chars().nth(TEXT_LIMIT).is_some() {
        plain.push_str(" ...");
    }
    plain
}

/// One line for standard error, with paths and keys in it that somebody else chose: what a terminal would obey is written out, so that
/// the file or key can still be found by its name. Not endless.
pub fn escaped(text: &str) -> String {
    const LIMIT: usize = 8 * TEXT_LIMIT;
    let mut escaped = String::new();
    for character in text.chars().take(LIMIT) {
        if is_obeyed(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    if text.chars().nth(LIMIT).is_some() {
        escaped.push_str(" ...");
    }
    escaped
}

/// Whether a terminal would do something for a character instead of showing it.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Cuts a text to what one warning holds.
fn truncate(text: &str) -> String {
    const LIMIT: usize = 250;
    let text = plain(text);
    if text.len() <= LIMIT {
        return text;
    }
    let end = (0..LIMIT.saturating_sub(4)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} ...", text.get(..end).unwrap_or_default())
}
