//! The images of one object to their verdicts: the one place that orders resolve, revoke, discover, verify, evaluate.
//!
//! Used by the webhook and by the command line alike. It decides nothing: `decision` does, over what is returned here. Every way
//! out of this file is a verdict or a refusal; no error is dropped.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::decision::{Finding, ImageVerdicts, Refused};
use crate::image::{ImageReference, ResolvedImage};
use crate::policy::{
    ErrorReason, FailReason, Policy, Problem, Scope, Selected, Snapshot, Tags, Verdict, evaluate, namespace_unknown,
    refused, undecided, unparsable,
};
use crate::registry::{Discovery, ImageSource, Limits, RegistryError, discover, resolve};
use crate::trust::{PublicKey, TrustMaterial};
use crate::verify::{Gathered, gather};
use crate::workload::ContainerImage;

/// Images of one object that are judged at the same time.
const CONCURRENCY: usize = 8;

/// What an object asks for.
#[derive(Debug)]
pub struct Request {
    /// Its images.
    pub images: Vec<ContainerImage>,
    /// Where it lives.
    pub scope: Scope,
    /// Whether it runs as it stands, so that a pinned tag can no longer be put in by anybody.
    pub runs: bool,
}

/// What judges: where images come from, and within which limits.
#[derive(Debug)]
pub struct Judge<S> {
    source: S,
    limits: Limits,
}

/// What is the same for all images of a request.
struct Context<'a> {
    snapshot: &'a Snapshot,
    scope: &'a Scope,
    runs: bool,
    now: Timestamp,
    deadline: Instant,
}

/// An image's verdicts without its field: references that occur twice are judged once.
#[derive(Clone)]
struct Judged {
    digest: Option<crate::image::Digest>,
    finding: Finding,
}

impl Judged {
    fn refused(refused: Refused) -> Self {
        Self { digest: None, finding: Finding::Refused(refused) }
    }
}

impl<S: ImageSource> Judge<S> {
    /// A judge over this source.
    pub fn new(source: S, limits: Limits) -> Self {
        Self { source, limits }
    }

    /// Judges every image of a request by one snapshot. What is not done at the deadline is refused, and says what was slow.
    pub async fn judge(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> Vec<ImageVerdicts> {
        let context = &Context { snapshot, scope: &request.scope, runs: request.runs, now, deadline };
        let mut distinct: BTreeMap<&str, &ContainerImage> = BTreeMap::new();
        for image in &request.images {
            distinct.entry(image.text()).or_insert(image);
        }
        let mut work = Vec::with_capacity(distinct.len());
        for (text, image) in distinct {
            work.push(async move { (text, self.judge_one(image, context).await) });
        }
        let judged: BTreeMap<&str, Judged> = futures::stream::iter(work).buffer_unordered(CONCURRENCY).collect().await;
        let verdicts = |image: &ContainerImage| {
            let Judged { digest, finding } = judged.get(image.text()).cloned().unwrap_or_else(|| {
                let message = "the image was not judged".to_owned();
                Judged::refused(Refused::Limit(Problem { code: "Internal", message, undecided: true }))
            });
            ImageVerdicts { field: image.field().to_owned(), text: image.text().to_owned(), digest, finding }
        };
        request.images.iter().map(verdicts).collect()
    }

    async fn judge_one(&self, image: &ContainerImage, context: &Context<'_>) -> Judged {
        let reference = match image.reference() {
            Ok(reference) => reference,
            Err(error) => return Judged::refused(Refused::InvalidReference { reason: error.to_string() }),
        };
        let revocations = context.snapshot.revocations();
        // A digest is judged before any network.
        if let Some(revoked) = reference.digest().and_then(|digest| revocations.artifact(digest)) {
            return Judged::refused(Refused::Revoked(revoked));
        }
        let possible = context.snapshot.select(reference.repository(), reference.digest(), context.scope);
        if possible.is_empty() {
            return Judged { digest: reference.digest().cloned(), finding: Finding::Unmatched };
        }
        // The one resolution of this request: only its digest goes on.
        let resolved = match within(context.deadline, "resolving", reference, resolve(&self.source, reference)).await {
            Ok(Ok(resolved)) => resolved,
            Ok(Err(error)) => return unresolved(&possible, context, &problem(&error)),
            Err(late) => return Judged::refused(Refused::Limit(late)),
        };
        let digest = Some(resolved.digest().clone());
        if let Some(revoked) = revocations.artifact(resolved.digest()) {
            return Judged { digest, finding: Finding::Refused(Refused::Revoked(revoked)) };
        }
        let selected = context.snapshot.select(reference.repository(), Some(resolved.digest()), context.scope);
        if selected.is_empty() {
            return Judged { digest, finding: Finding::Unmatched };
        }
        let finding = match self.verdicts(&resolved, &selected, context).await {
            Ok(verdicts) => Finding::Judged(verdicts),
            Err(refused) => Finding::Refused(refused),
        };
        Judged { digest, finding }
    }

    /// The verdicts of the selected policies on a resolved image.
    async fn verdicts(
        &self,
        image: &ResolvedImage,
        selected: &Selected,
        context: &Context<'_>,
    ) -> Result<Vec<Verdict>, Refused> {
        let mut verdicts = without_evidence(selected, context);
        let (by_tag, policies): (Vec<_>, Vec<_>) = selected
            .policies
            .iter()
            .map(|policy| (policy, tag_rule(policy, image.reference(), Some(image), context.runs)))
            .partition(|(_, broken)| broken.is_some());
        verdicts.extend(by_tag.into_iter().filter_map(|(policy, broken)| Some(refused(policy, broken?))));
        let policies: Vec<&Arc<Policy>> = policies.into_iter().map(|(policy, _)| policy).collect();
        if policies.is_empty() {
            return Ok(verdicts);
        }
        let work = discover(&self.source, image, &self.limits);
        let discovery = match within(context.deadline, "looking for signatures of", image.reference(), work).await {
            Ok(Ok(discovery)) => discovery,
            Ok(Err(error)) => {
                let problem = problem(&error);
                // Too many candidates and exceeded budgets deny whatever a policy says; an unreachable registry is its matter.
                if !problem.undecided {
                    return Err(Refused::Limit(problem));
                }
                verdicts.extend(policies.iter().map(|policy| undecided(policy, unreachable(&problem))));
                return Ok(verdicts);
            }
            Err(late) => return Err(Refused::Limit(late)),
        };
        let problems: Vec<Problem> = discovery.problems.iter().map(|found| problem(&found.error)).collect();
        let work = verify(discovery, image.clone(), &policies, context.snapshot);
        let gathered = match within(context.deadline, "verifying signatures of", image.reference(), work).await {
            Ok(Some(gathered)) => gathered,
            Ok(None) => return Err(Refused::Limit(internal("verification ended early"))),
            Err(late) => return Err(Refused::Limit(late)),
        };
        let roots = context.snapshot.roots();
        let revocations = context.snapshot.revocations();
        verdicts.extend(
            policies.iter().map(|policy| evaluate(policy, &gathered, &problems, roots, revocations, context.now)),
        );
        Ok(verdicts)
    }
}

/// Verifies off the async threads: a candidate costs a millisecond of arithmetic. None: the work panicked or was cancelled.
async fn verify(
    discovery: Discovery,
    image: ResolvedImage,
    policies: &[&Arc<Policy>],
    snapshot: &Snapshot,
) -> Option<Gathered> {
    let mut roots: BTreeMap<String, TrustMaterial> = BTreeMap::new();
    let mut keys: BTreeMap<String, PublicKey> = BTreeMap::new();
    for policy in policies {
        for name in policy.trust_roots() {
            if let Some(root) = snapshot.roots().find(name) {
                roots.insert(name.to_owned(), root.clone());
            }
        }
        for key in policy.keys() {
            keys.insert(key.fingerprint().to_string(), key.clone());
        }
    }
    let roots: Vec<TrustMaterial> = roots.into_values().collect();
    let keys: Vec<PublicKey> = keys.into_values().collect();
    tokio::task::spawn_blocking(move || gather(&discovery.candidates, &image, &roots, &keys)).await.ok()
}

/// The verdicts that need no evidence: of policies that do not parse, and of those whose namespaces cannot be told.
fn without_evidence(selected: &Selected, context: &Context<'_>) -> Vec<Verdict> {
    let namespace = match context.scope {
        Scope::Namespace(namespace) => namespace.name.as_str(),
        Scope::Anywhere => "",
    };
    let unknown = selected.undecided.iter().map(|policy| namespace_unknown(policy, namespace));
    selected.invalid.iter().map(|policy| unparsable(policy)).chain(unknown).collect()
}

/// An image whose manifest could not be had: every policy that may govern it says so.
fn unresolved(possible: &Selected, context: &Context<'_>, problem: &Problem) -> Judged {
    let mut verdicts = without_evidence(possible, context);
    verdicts.extend(possible.policies.iter().map(|policy| {
        if problem.undecided {
            undecided(policy, unreachable(problem))
        } else {
            refused(policy, FailReason::Content(problem.clone()))
        }
    }));
    Judged { digest: None, finding: Finding::Judged(verdicts) }
}

/// What a policy has against the way an image is named, if anything.
fn tag_rule(
    policy: &Policy,
    reference: &ImageReference,
    resolved: Option<&ResolvedImage>,
    runs: bool,
) -> Option<FailReason> {
    if reference.digest().is_some() {
        return None;
    }
    let not_pinned = || FailReason::NotPinned { resolved: resolved.map(|image| reference.with_digest(image.digest())) };
    match policy.tags() {
        Tags::Require => Some(not_pinned()),
        Tags::Pin if runs => Some(not_pinned()),
        Tags::Allow if reference.is_short_name() => Some(FailReason::ShortName),
        Tags::Pin | Tags::Allow => None,
    }
}

fn unreachable(problem: &Problem) -> ErrorReason {
    ErrorReason::Unreachable(problem.clone())
}

fn problem(error: &RegistryError) -> Problem {
    Problem { code: error.code(), message: error.to_string(), undecided: error.is_undecided() }
}

fn internal(message: &str) -> Problem {
    Problem { code: "Internal", message: message.to_owned(), undecided: true }
}

async fn within<T>(
    deadline: Instant,
    doing: &str,
    reference: &ImageReference,
    work: impl Future<Output = T>,
) -> Result<T, Problem> {
    tokio::time::timeout_at(deadline, work).await.map_err(|_| Problem {
        code: "Deadline",
        message: format!("out of time while {doing} {reference}"),
        undecided: true,
    })
}
