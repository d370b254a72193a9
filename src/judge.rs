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
use crate::image::{Digest, ImageReference, ResolvedImage};
use crate::policy::{
    ErrorReason, FailReason, Outcome, Policy, Problem, Scope, Selected, Snapshot, Tags, Verdict, evaluate, refused,
    through_children, undecided, unparsable,
};
use crate::registry::{Discovery, ImageSource, Limits, RegistryError, children, discover, resolve};
use crate::store::{EvidenceCache, Store, VerificationEnded};
use crate::trust::{PublicKey, TrustMaterial};
use crate::verify::Gathered;
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

/// What judges: where images come from, within which limits, and what is known about evidence already.
#[derive(Debug)]
pub struct Judge<S> {
    source: S,
    limits: Limits,
    store: Store,
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
    digest: Option<Digest>,
    finding: Finding,
}

impl Judged {
    fn refused(refused: Refused) -> Self {
        Self { digest: None, finding: Finding::Refused(refused) }
    }
}

impl<S: ImageSource> Judge<S> {
    /// A judge over this source, with a store of its own for evidence. What the source remembers is the source's affair.
    pub fn new(source: S, limits: Limits) -> Self {
        Self { source, limits, store: Store::default() }
    }

    /// The same judge with the evidence of this store.
    #[must_use]
    pub fn with_store(self, store: Store) -> Self {
        Self { store, ..self }
    }

    /// The store, for its figures.
    pub fn store(&self) -> &Store {
        &self.store
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
                Judged::refused(Refused::NotJudged(Problem { code: "Internal", message, undecided: true }))
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
            Ok(resolved) => resolved,
            Err(problem) => {
                self.source.forget(reference.repository());
                return unresolved(&possible, context, &problem);
            }
        };
        let digest = Some(resolved.digest().clone());
        if let Some(revoked) = revocations.artifact(resolved.digest()) {
            return Judged { digest, finding: Finding::Refused(Refused::Revoked(revoked)) };
        }
        if revocations.names_artifacts()
            && let Some(refused) = self.revoked_below(&resolved, context).await
        {
            return Judged { digest, finding: Finding::Refused(refused) };
        }
        let selected = context.snapshot.select(reference.repository(), Some(resolved.digest()), context.scope);
        if selected.is_empty() {
            return Judged { digest, finding: Finding::Unmatched };
        }
        let verdicts = self.verdicts(&resolved, &selected, context).await;
        if !verdicts.iter().all(Verdict::passes) {
            // Whoever reads this may mend it and try again at once.
            self.source.forget(resolved.repository());
        }
        Judged { digest, finding: Finding::Judged(verdicts) }
    }

    /// Whether something below an index is struck out. What cannot be fetched might be.
    async fn revoked_below(&self, image: &ResolvedImage, context: &Context<'_>) -> Option<Refused> {
        let work = children(&self.source, image);
        match within(context.deadline, "fetching the children of", image.reference(), work).await {
            Ok(found) => {
                let revocations = context.snapshot.revocations();
                found.iter().find_map(|child| revocations.artifact(child.image.digest())).map(Refused::Revoked)
            }
            Err(problem) => Some(Refused::NotJudged(problem)),
        }
    }

    /// The verdicts of the selected policies on a resolved image.
    async fn verdicts(&self, image: &ResolvedImage, selected: &Selected, context: &Context<'_>) -> Vec<Verdict> {
        let mut verdicts = without_evidence(selected, context);
        let mut policies = Vec::new();
        for policy in &selected.policies {
            match tag_rule(policy, image, context.runs) {
                Some(broken) => verdicts.push(refused(policy, broken)),
                None => policies.push(Arc::clone(policy)),
            }
        }
        let (mut lacking, mut left) = (Vec::new(), Vec::new());
        for (policy, verdict) in policies.iter().zip(self.evaluate(image, &policies, context).await) {
            // Evidence on an index covers what is below it; without it, each child that runs needs its own.
            if matches!(verdict.outcome(), Outcome::Fail(FailReason::RequirementNotMet)) {
                lacking.push(Arc::clone(policy));
                left.push(verdict);
            } else {
                verdicts.push(verdict);
            }
        }
        if !lacking.is_empty() {
            verdicts.extend(self.through_children(image, &lacking, left, context).await);
        }
        verdicts
    }

    /// The verdicts of policies on an image by the evidence that is attached to it, one for each policy.
    async fn evaluate(&self, image: &ResolvedImage, policies: &[Arc<Policy>], context: &Context<'_>) -> Vec<Verdict> {
        if policies.is_empty() {
            return Vec::new();
        }
        let work = discover(&self.source, image, &self.limits);
        let discovery = match within(context.deadline, "looking for signatures of", image.reference(), work).await {
            Ok(discovery) => discovery,
            Err(problem) => return stopped(policies, &problem),
        };
        let problems: Vec<Problem> = discovery.problems.iter().map(|found| problem(&found.error)).collect();
        let work = verify(self.store.evidence(), &discovery, image, policies, context.snapshot);
        let gathered = match within(context.deadline, "verifying signatures of", image.reference(), work).await {
            Ok(gathered) => gathered,
            Err(problem) => return stopped(policies, &problem),
        };
        let (roots, revocations) = (context.snapshot.roots(), context.snapshot.revocations());
        let verdict = |policy: &Arc<Policy>| evaluate(policy, &gathered, &problems, roots, revocations, context.now);
        policies.iter().map(verdict).collect()
    }

    /// The verdicts of policies that an image's own evidence leaves unsatisfied: where it is an index, by its children.
    async fn through_children(
        &self,
        image: &ResolvedImage,
        policies: &[Arc<Policy>],
        own: Vec<Verdict>,
        context: &Context<'_>,
    ) -> Vec<Verdict> {
        let work = async {
            match children(&self.source, image).await {
                Ok(found) => Ok(Some(found)),
                // What is missing, broken or too much cannot help: the verdict on the index stands, with its reasons.
                Err(error) if matches!(error, RegistryError::NotFound { .. }) || !error.is_undecided() => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found = match within(context.deadline, "fetching the children of", image.reference(), work).await {
            Ok(Some(found)) => found,
            Ok(None) => return own,
            Err(problem) => return stopped(policies, &problem),
        };
        let runnable = found.iter().filter(|child| !child.is_index() && !child.is_attestation_manifest());
        let mut work = Vec::new();
        for child in runnable {
            work.push(
                async move { (child.image.digest().clone(), self.evaluate(&child.image, policies, context).await) },
            );
        }
        let by_child: Vec<(Digest, Vec<Verdict>)> = futures::stream::iter(work).buffered(CONCURRENCY).collect().await;
        let through = |(position, own): (usize, Verdict)| {
            // `evaluate` answers for every policy; were an answer missing, the children would not speak at all.
            let of_child = |(digest, verdicts): &(Digest, Vec<Verdict>)| {
                verdicts.get(position).map(|verdict| (digest.clone(), verdict.clone()))
            };
            match by_child.iter().map(of_child).collect() {
                Some(children) => through_children(own, children),
                None => own,
            }
        };
        own.into_iter().enumerate().map(through).collect()
    }
}

/// Verifies under every root and key that the policies name, or remembers having done so.
async fn verify(
    evidence: &EvidenceCache,
    discovery: &Discovery,
    image: &ResolvedImage,
    policies: &[Arc<Policy>],
    snapshot: &Snapshot,
) -> Result<Gathered, Stopped> {
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
    Ok(evidence.gather(&discovery.candidates, image, &roots, &keys).await?)
}

/// The verdicts that need no evidence: of policies that do not parse, and of those whose namespaces cannot be told.
fn without_evidence(selected: &Selected, context: &Context<'_>) -> Vec<Verdict> {
    let namespace = match context.scope {
        Scope::Namespace(namespace) => namespace.name.as_str(),
        Scope::Anywhere => "",
    };
    let reason = || ErrorReason::NamespaceUnknown { namespace: namespace.to_owned() };
    let unknown = selected.undecided.iter().map(|policy| undecided(policy, reason()));
    selected.invalid.iter().map(|policy| unparsable(policy)).chain(unknown).collect()
}

/// An image whose manifest could not be had: every policy that may govern it says so.
fn unresolved(possible: &Selected, context: &Context<'_>, problem: &Problem) -> Judged {
    let mut verdicts = without_evidence(possible, context);
    verdicts.extend(stopped(&possible.policies, problem));
    Judged { digest: None, finding: Finding::Judged(verdicts) }
}

/// The verdicts of policies whose judgement a problem stopped: an error where it leaves the question open, else a fail.
fn stopped(policies: &[Arc<Policy>], problem: &Problem) -> Vec<Verdict> {
    let verdict = |policy: &Arc<Policy>| {
        if problem.undecided {
            undecided(policy, ErrorReason::Unreachable(problem.clone()))
        } else {
            refused(policy, FailReason::Content(problem.clone()))
        }
    };
    policies.iter().map(verdict).collect()
}

/// What a policy has against the way an image is named, if anything.
fn tag_rule(policy: &Policy, image: &ResolvedImage, runs: bool) -> Option<FailReason> {
    let reference = image.reference();
    if reference.digest().is_some() {
        return None;
    }
    let not_pinned = || FailReason::NotPinned { resolved: reference.with_digest(image.digest()) };
    match policy.tags() {
        Tags::Require => Some(not_pinned()),
        Tags::Pin if runs => Some(not_pinned()),
        Tags::Allow if reference.is_short_name() => Some(FailReason::ShortName),
        Tags::Pin | Tags::Allow => None,
    }
}

/// What can end a piece of work before it has a result.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// The registry, or what it holds.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The thread that verified.
    #[error(transparent)]
    Verification(#[from] VerificationEnded),
}

fn problem(error: &RegistryError) -> Problem {
    Problem { code: error.code(), message: error.to_string(), undecided: error.is_undecided() }
}

/// Does some work until the deadline, and says what was slow if it passes.
async fn within<T, E: Into<Stopped>>(
    deadline: Instant,
    doing: &str,
    reference: &ImageReference,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout_at(deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(match error.into() {
            Stopped::Registry(error) => problem(&error),
            error @ Stopped::Verification(_) => {
                Problem { code: "Internal", message: error.to_string(), undecided: true }
            }
        }),
        Err(_) => {
            let message = format!("out of time while {doing} {reference}");
            Err(Problem { code: "Deadline", message, undecided: true })
        }
    }
}
