//! Evidence and a policy to a verdict, with the reasons.
//!
//! Pure and complete: a `Pass` exists only here, only where the requirement holds over evidence that satisfies each authority it
//! counts. What could not be looked at never helps; it turns a `Fail` into an `Error`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::authority::Authority;
use super::miss::{CONFIRMED, Miss, PROOF, REVOKED, WHAT, WHEN};
use super::principal::Principals;
use super::proofs::UNCONFIRMED;
use super::requirement::Count;
use super::{Action, FeedProblem, InvalidPolicy, Policy, PolicyName, PolicySource, describe};
use crate::evidence::Origin;
use crate::image::Digest;
use crate::revocation::Revocations;
use crate::trust::{RoleName, RoleUnavailable, RootProblem, StaleWarning, TrustRoots};
use crate::verify::{Claim, Evidence, Gathered, Refusal};

/// How far ahead of our clock a verified time may be.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The verdict of one policy on one image. Built only in this module.
#[derive(Clone, Debug)]
pub struct Verdict {
    policy: PolicyName,
    action: Action,
    outcome: Outcome,
    authorities: Vec<AuthorityTrace>,
    shortfalls: Vec<Shortfall>,
    stale: Vec<StaleWarning>,
    /// Whether a policy of a namespace counts as a match for the image.
    delegated: bool,
}

/// How a verdict came out.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The evidence satisfies the policy.
    Pass,
    /// It does not.
    Fail(FailReason),
    /// It could not be judged.
    Error(ErrorReason),
}

/// Why evidence does not satisfy a policy.
#[derive(Clone, Debug)]
pub enum FailReason {
    /// The requirement does not hold; the trace says what each authority lacks.
    RequirementNotMet,
    /// The reference is none that a kubelet would pull as it stands, so that no pattern can be said not to name it.
    InvalidReference {
        /// What is wrong with it.
        reason: String,
    },
    /// A tag where the policy wants a digest.
    NotPinned {
        /// The reference with the digest that the tag has now.
        resolved: String,
    },
    /// A short name where the policy allows tags: nodes may expand it to another registry.
    ShortName,
    /// What the registry holds is broken: a digest does not match, a limit is exceeded, a document is malformed.
    Content(Problem),
}

/// Why a policy could not be judged.
#[derive(Clone, Debug)]
pub enum ErrorReason {
    /// The stored policy does not parse.
    PolicyInvalid {
        /// Why not.
        reason: String,
    },
    /// The policy asks for labels of a namespace that is not known.
    NamespaceUnknown {
        /// The namespace.
        namespace: String,
    },
    /// A trust root that the policy names cannot be used: it is not there, has no material, or is too old.
    TrustRoot(RootProblem),
    /// Who may sign for a delegated TUF role that the policy names is not known now.
    TufRoleUnavailable {
        /// The role, and the root whose repository delegates it.
        role: RoleName,
        /// Why not.
        reason: RoleUnavailable,
    },
    /// The cluster's own rules leave the image unjudged, such as a feed that is stale.
    Rules(FeedProblem),
    /// The registry, or something else that was needed, could not be reached in time.
    Unreachable(Problem),
}

/// Something that went wrong on the way to the evidence.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A stable code.
    pub code: &'static str,
    /// What happened, with no secret in it.
    pub message: String,
    /// Whether it leaves the question open (unreachable) rather than answers it (broken).
    pub undecided: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// What one authority of a policy found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityTrace {
    /// The authority's name.
    pub authority: String,
    /// What it asks for, for people.
    pub wanted: String,
    /// The evidence that satisfies it.
    pub satisfied_by: Vec<Evidence>,
    /// What was found and does not, the nearest first; of the image itself, then of what is below it. At most [`NEAR_MISS_LIMIT`].
    pub near_misses: Vec<NearMiss>,
    /// How many more there were.
    pub near_misses_left_out: usize,
}

/// Near misses of an authority that are kept: whoever may push signatures could make answers and logs of any length.
pub const NEAR_MISS_LIMIT: usize = 32;

impl AuthorityTrace {
    fn bound(&mut self) {
        let left_out = self.near_misses.len().saturating_sub(NEAR_MISS_LIMIT);
        self.near_misses.truncate(NEAR_MISS_LIMIT);
        self.near_misses_left_out = self.near_misses_left_out.saturating_add(left_out);
    }
}

/// A candidate that does not satisfy an authority.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NearMiss {
    /// Where it was found; none where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// A stable code.
    pub code: &'static str,
    /// What was found, for people.
    pub found: String,
    /// How near it came; greater is nearer. Only for the order of messages.
    #[serde(skip)]
    pub nearness: u8,
}

/// An `atLeast` that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// The image below an index that lacks it; none: the image itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Items that different signers must satisfy.
    pub wanted: usize,
    /// Items that there are.
    pub of: usize,
    /// Items that are satisfied, by whomever.
    pub satisfied: usize,
    /// Items that different signers satisfy.
    pub distinct: usize,
}

impl Shortfall {
    fn new(count: Count) -> Self {
        let Count { wanted, of, satisfied, distinct } = count;
        Self { image: None, wanted, of, satisfied, distinct }
    }

    /// Whether enough is satisfied, and only that it is by different signers is missing.
    pub fn lacks_signers_only(&self) -> bool {
        self.satisfied >= self.wanted
    }
}

impl Verdict {
    /// The policy's name.
    pub fn policy(&self) -> &PolicyName {
        &self.policy
    }

    /// What the policy does when the verdict is no pass.
    pub fn action(&self) -> Action {
        self.action
    }

    /// How it came out.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What each authority found.
    pub fn authorities(&self) -> &[AuthorityTrace] {
        &self.authorities
    }

    /// The thresholds that do not hold, where the requirement does not.
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shortfalls
    }

    /// Trust roots of the policy that are past their time and were used all the same, as their objects want it.
    pub fn stale(&self) -> &[StaleWarning] {
        &self.stale
    }

    /// Whether the policy makes the image a matched one: it enforces, and is the cluster's, or a namespace's to which a delegation gives
    /// this.
    pub fn is_match(&self) -> bool {
        let may_match = match self.policy.source() {
            PolicySource::Cluster => true,
            PolicySource::Namespace(_) => self.delegated,
            PolicySource::Feed { .. } | PolicySource::Rules => false,
        };
        may_match && self.action == Action::Enforce
    }

    /// The same verdict on an image for which a delegation names the policies of its namespace.
    #[must_use]
    pub fn delegated(mut self) -> Self {
        self.delegated = true;
        self
    }

    /// Whether it is a pass.
    pub fn passes(&self) -> bool {
        matches!(self.outcome, Outcome::Pass)
    }

    fn without_trace(policy: PolicyName, action: Action, outcome: Outcome) -> Self {
        let (authorities, shortfalls, stale) = (Vec::new(), Vec::new(), Vec::new());
        Self { policy, action, outcome, authorities, shortfalls, stale, delegated: false }
    }
}

/// The verdict of a policy that could not be brought to evaluation.
pub fn undecided(policy: &Policy, reason: ErrorReason) -> Verdict {
    Verdict::without_trace(policy.name.clone(), policy.action, Outcome::Error(reason))
}

/// The verdict of a policy on an image whose reference, tag or content is refused before any evidence counts.
pub fn refused(policy: &Policy, reason: FailReason) -> Verdict {
    Verdict::without_trace(policy.name.clone(), policy.action, Outcome::Fail(reason))
}

/// The verdict of a stored policy that does not parse. Enforced, whatever action it may have meant.
pub fn unparsable(policy: &InvalidPolicy) -> Verdict {
    let reason = ErrorReason::PolicyInvalid { reason: policy.error.to_string() };
    Verdict::without_trace(policy.name.clone(), Action::Enforce, Outcome::Error(reason))
}

/// What stands in the place of a verdict where the cluster's own rules leave an image unjudged.
pub fn unruled(problem: FeedProblem) -> Verdict {
    let name = PolicyName::rules(&problem.about());
    Verdict::without_trace(name, Action::Enforce, Outcome::Error(ErrorReason::Rules(problem)))
}

/// Evaluates a policy over what was gathered for one image.
///
/// `problems` are what went wrong while evidence was looked for: evidence that is there still counts, but without a pass an
/// undecided problem makes the verdict an `Error`, because what could not be read might have satisfied it.
pub fn evaluate(
    policy: &Policy,
    gathered: &Gathered,
    problems: &[Problem],
    roots: &TrustRoots,
    revocations: &Revocations,
    now: Timestamp,
) -> Verdict {
    let authorities: Vec<AuthorityTrace> =
        policy.authorities.iter().map(|authority| trace(authority, gathered, roots, revocations, now)).collect();
    let stale = policy.trust_roots().filter_map(|name| roots.usable(name, now).ok()?.1);
    let stale: BTreeMap<String, StaleWarning> = stale.map(|warning| (warning.name.clone(), warning)).collect();
    let principals = Principals::of(authorities.iter().flat_map(|trace| &trace.satisfied_by));
    let satisfied: Vec<_> = authorities.iter().map(|trace| principals.numbers(trace.satisfied_by.iter())).collect();
    let holds = policy.require.holds(&satisfied);
    let short = if holds { Vec::new() } else { policy.require.short(&satisfied) };
    let outcome = if holds {
        Outcome::Pass
    } else if let Some(problem) = policy.trust_roots().find_map(|name| roots.usable(name, now).err()) {
        Outcome::Error(ErrorReason::TrustRoot(problem))
    } else if let Some((role, reason)) = unknown_role(policy, roots, now) {
        Outcome::Error(ErrorReason::TufRoleUnavailable { role, reason })
    } else if let Some(problem) = problems.iter().find(|problem| problem.undecided) {
        Outcome::Error(ErrorReason::Unreachable(problem.clone()))
    } else if let Some(problem) = unasked(&authorities) {
        Outcome::Error(ErrorReason::Unreachable(problem))
    } else if let Some(problem) = problems.first().filter(|_| gathered.verified().is_empty()) {
        Outcome::Fail(FailReason::Content(problem.clone()))
    } else {
        Outcome::Fail(FailReason::RequirementNotMet)
    };
    let shortfalls = short.into_iter().map(Shortfall::new).collect();
    let stale = stale.into_values().collect();
    let (policy, action) = (policy.name.clone(), policy.action);
    Verdict { policy, action, outcome, authorities, shortfalls, stale, delegated: false }
}

/// The first delegated role of a policy of which nobody can say now who signs for it.
fn unknown_role(policy: &Policy, roots: &TrustRoots, now: Timestamp) -> Option<(RoleName, RoleUnavailable)> {
    policy.tuf_roles().find_map(|role| Some((role.clone(), roots.role(role, now).err()?)))
}

/// Which of the verified evidence lacks nothing but the word of its logs, by position: what has to be asked about.
pub fn unconfirmed(
    policy: &Policy,
    gathered: &Gathered,
    roots: &TrustRoots,
    revocations: &Revocations,
    now: Timestamp,
) -> Vec<usize> {
    let lacks_confirmation = |evidence: &Evidence| {
        policy.authorities.iter().any(|authority| {
            matches!(judge(authority, evidence, roots, revocations, now), Err(Miss::Near { code: UNCONFIRMED, .. }))
        })
    };
    let found = gathered.verified().iter().enumerate().filter(|(_, evidence)| lacks_confirmation(evidence));
    found.map(|(position, _)| position).collect()
}

/// Evidence that its log did not confirm leaves an authority open: whatever kept the log from answering is no answer.
fn unasked(authorities: &[AuthorityTrace]) -> Option<Problem> {
    // An authority that is satisfied may still lack signers for a threshold.
    let miss = authorities.iter().find_map(|trace| trace.near_misses.iter().find(|miss| miss.code == UNCONFIRMED))?;
    Some(Problem { code: UNCONFIRMED, message: miss.found.clone(), undecided: true })
}

/// The verdict on an index that has no sufficient evidence of its own, from the verdicts on its runnable children: it passes if
/// each of them does, and if there is one. A child that could not be judged leaves the index open.
pub fn through_children(own: Verdict, children: Vec<(Digest, Verdict)>) -> Verdict {
    if children.is_empty() || children.iter().any(|(_, verdict)| verdict.policy != own.policy) {
        return own;
    }
    let pass = children.iter().all(|(_, verdict)| verdict.passes());
    let Verdict { policy, action, mut outcome, mut authorities, mut shortfalls, stale, delegated } = own;
    if pass {
        outcome = Outcome::Pass;
        shortfalls.clear();
    }
    for (digest, child) in children {
        if let Outcome::Error(_) = child.outcome {
            outcome = child.outcome;
        }
        if !pass {
            let below = |shortfall| Shortfall { image: Some(digest.clone()), ..shortfall };
            shortfalls.extend(child.shortfalls.into_iter().map(below));
        }
        for (trace, found) in authorities.iter_mut().zip(child.authorities) {
            if pass {
                trace.satisfied_by.extend(found.satisfied_by);
            } else if found.satisfied_by.is_empty() {
                trace.near_misses.extend(lacking(&digest, found.near_misses));
                trace.near_misses_left_out = trace.near_misses_left_out.saturating_add(found.near_misses_left_out);
                trace.bound();
            }
        }
    }
    Verdict { policy, action, outcome, authorities, shortfalls, stale, delegated }
}

/// What a child of an index lacks, with its digest.
fn lacking(digest: &Digest, mut near_misses: Vec<NearMiss>) -> Vec<NearMiss> {
    if near_misses.is_empty() {
        near_misses.push(NearMiss { origin: None, code: "NoSignature", found: "nothing".to_owned(), nearness: 0 });
    }
    for miss in &mut near_misses {
        miss.found = format!("for {digest} in the index: {}", miss.found);
    }
    near_misses
}

fn trace(
    authority: &Authority,
    gathered: &Gathered,
    roots: &TrustRoots,
    revocations: &Revocations,
    now: Timestamp,
) -> AuthorityTrace {
    let mut satisfied_by = Vec::new();
    let mut near_misses = Vec::new();
    // What was verified under a root that is too old counts for nothing, however good it is.
    let unusable = authority.signers.trust_root().and_then(|name| roots.usable(name, now).err());
    for evidence in gathered.verified() {
        match judge(authority, evidence, roots, revocations, now) {
            Ok(_) if let Some(problem) = &unusable => {
                let (origin, code, found) = (Some(evidence.origin().clone()), problem.code(), problem.to_string());
                near_misses.push(NearMiss { origin, code, found, nearness: CONFIRMED });
            }
            Ok(heard) => satisfied_by.push(heard.into_owned()),
            Err(Miss::Elsewhere) => {}
            Err(Miss::Near { code, found, nearness }) => {
                near_misses.push(NearMiss { origin: Some(evidence.origin().clone()), code, found, nearness });
            }
        }
    }
    let under = |refusal: &&Refusal| authority.signers.stand_on(&refusal.under);
    for refusal in gathered.refused().iter().filter(under) {
        near_misses.push(NearMiss {
            origin: Some(refusal.origin.clone()),
            code: authority.proofs.code_of_refusal(refusal.code),
            found: format!("{} by {}: {}", refusal.format, refusal.origin.path, refusal.reason),
            nearness: 0,
        });
    }
    near_misses.sort_by(|left, right| right.nearness.cmp(&left.nearness).then_with(|| left.origin.cmp(&right.origin)));
    let (authority, wanted) = (authority.name.clone(), wanted(authority));
    let mut trace = AuthorityTrace { authority, wanted, satisfied_by, near_misses, near_misses_left_out: 0 };
    trace.bound();
    trace
}

/// What of one piece of evidence satisfies an authority, if it does: all of it, or it without what distrusted services said.
fn judge<'a>(
    authority: &Authority,
    evidence: &'a Evidence,
    roots: &TrustRoots,
    revocations: &Revocations,
    now: Timestamp,
) -> Result<Cow<'a, Evidence>, Miss> {
    satisfies(authority, evidence, roots, now)?;
    // Afterwards, and only as a further demand: no revocation makes evidence better than it was.
    let heard = match revocations.judge(evidence) {
        Ok(heard) => heard,
        Err(revoked) => {
            return Err(Miss::near("Revoked", REVOKED, format!("{}, and {revoked}", describe(evidence))));
        }
    };
    if let Cow::Owned(heard) = &heard
        && let Err(miss) = satisfies(authority, heard, roots, now)
    {
        let lacking = if let Miss::Near { found, .. } = &miss { found.as_str() } else { "" };
        let why = revocations.distrusted(evidence).map_or_else(String::new, |revoked| format!(": {revoked}"));
        return Err(Miss::near(
            "ServiceDistrusted",
            REVOKED,
            format!("{lacking}, once distrusted services do not count{why}"),
        ));
    }
    // Last, so that only what would satisfy the authority is asked about.
    if let Err(lacking) = authority.proofs.check_online(&heard) {
        return Err(Miss::near(lacking.code(), CONFIRMED, format!("{}, with {lacking}", describe(evidence))));
    }
    Ok(heard)
}

/// Whether one piece of evidence satisfies an authority: who, what, when, and with which proofs, every one of them.
fn satisfies(authority: &Authority, evidence: &Evidence, roots: &TrustRoots, now: Timestamp) -> Result<(), Miss> {
    let who = authority.signers.admit(evidence, roots, now);
    if let Err(miss) = &who
        && miss.nearness() < WHAT
    {
        return who;
    }
    let wanted = match &authority.predicate_type {
        None => Claim::Signature,
        Some(predicate_type) => Claim::Attestation { predicate_type: predicate_type.clone() },
    };
    if *evidence.claim() != wanted {
        let code = if authority.predicate_type.is_some() { "PredicateTypeMismatch" } else { "AttestationOnly" };
        return Err(Miss::near(code, WHAT, describe(evidence)));
    }
    // The right signer of the right thing, at the wrong time.
    who?;
    let latest = now.saturating_add(CLOCK_SKEW).unwrap_or(now);
    if let Some(time) = evidence.times().iter().find(|time| time.latest > latest) {
        return Err(Miss::near("TimeInFuture", WHEN, format!("a signature that is dated {}", time.at)));
    }
    if let Err(lacking) = authority.proofs.check(evidence, now) {
        return Err(Miss::near(lacking.code(), PROOF, format!("{}, with {lacking}", describe(evidence))));
    }
    Ok(())
}

fn wanted(authority: &Authority) -> String {
    let what = match &authority.predicate_type {
        None => "a signature".to_owned(),
        Some(predicate_type) => format!("an attestation of type {predicate_type}"),
    };
    let online = if authority.proofs.wants_online() { ", confirmed by the logs when they are asked" } else { "" };
    format!("{what} by {}{online}", authority.signers.describe())
}
