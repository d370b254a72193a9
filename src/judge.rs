//! The images of one object to their verdicts: the one place that orders resolve, revoke, discover, verify, evaluate.
//!
//! Used by the webhook and by the command line alike. It decides nothing: `decision` does, over what is returned here. Every way
//! out of this file is a verdict or a refusal; no error is dropped.

mod newer;
mod online;
mod sightings;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::decision::{Finding, ImageVerdicts, Refused};
use crate::evidence::Discovered;
use crate::image::{Digest, ImageReference, Repository, ResolvedImage};
use crate::policy::{
    ErrorReason, FailReason, Policy, Problem, Scope, Selected, Snapshot, Tags, Verdict, evaluate, refused,
    through_children, undecided, unparsable, unruled,
};
use crate::registry::{
    CandidateLayer, Held, ImageSource, Limits, MemoryBudget, Metered, RegistryError, RequestBudget, children, discover,
    resolve,
};
use crate::rekor::{RekorClient, RekorOptions};
use crate::revocation::Revocations;
use crate::store::{Store, VerificationEnded};
use crate::trust::TrustRoots;
use crate::verify::{Anchor, AnchorId, Evidence, Gathered, SEARCH_LIMIT, is_searchable};
use crate::workload::ContainerImage;

pub use newer::NewerRoots;
pub use sightings::Sightings;

/// Candidates of one object that are verified at the same time.
const TURNS: usize = 2;
/// Images of one object that are judged at the same time.
const CONCURRENCY: usize = 8;
/// Candidates of one image that are fetched and verified at the same time; each is dropped before the next is fetched.
const CANDIDATES_AT_ONCE: usize = 4;

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

/// Takes note of evidence, whatever came of it: for whoever watches logs.
pub trait Witness: std::fmt::Debug + Send + Sync {
    /// Evidence was verified. Must not wait.
    fn saw(&self, evidence: &Evidence);
}

/// What judges: where images come from, within which limits, and what is known about evidence already.
#[derive(Debug)]
pub struct Judge<S> {
    source: S,
    limits: Limits,
    memory: MemoryBudget,
    store: Store,
    logs: RekorClient,
    witness: Option<Arc<dyn Witness>>,
    newer: Option<Arc<dyn NewerRoots>>,
    sightings: Sightings,
}

/// What is the same for all images of a request.
#[derive(Clone)]
struct Context<'a> {
    snapshot: &'a Snapshot,
    /// The snapshot's, or newer ones where evidence of an image named a service that those do not know.
    roots: &'a TrustRoots,
    revocations: &'a Revocations,
    scope: &'a Scope,
    runs: bool,
    now: Timestamp,
    deadline: Instant,
    budget: Arc<RequestBudget>,
    /// Turns of this request to verify, so that one object with thousands of candidates leaves threads to the others.
    verifying: Arc<Semaphore>,
}

impl Context<'_> {
    /// What governs an image, the cluster's own rules included.
    fn select(&self, repository: &Repository, digest: Option<&Digest>) -> Selected {
        let selected = self.snapshot.select(repository, digest, self.scope);
        Selected { problems: self.snapshot.problems(repository, digest, self.now), ..selected }
    }
}

/// An image's verdicts without its field: references that occur twice are judged once.
#[derive(Clone)]
struct Judged {
    digest: Option<Digest>,
    finding: Finding,
    /// What was selected to judge it, where something was.
    selected: Selected,
}

impl Judged {
    fn new(digest: Option<Digest>, finding: Finding) -> Self {
        Self { digest, finding, selected: Selected::default() }
    }

    fn refused(refused: Refused) -> Self {
        Self::new(None, Finding::Refused(refused))
    }

    /// Puts a problem in the place of the verdicts, if there are any.
    fn stop(&mut self, context: &Context<'_>, problem: &Problem) {
        if let Finding::Judged(verdicts) = &mut self.finding {
            *verdicts = without_evidence(&self.selected, context);
            verdicts.extend(stopped(&self.selected.policies, problem));
        }
    }
}

impl<S: ImageSource> Judge<S> {
    /// A judge over this source, with the default memory and a store of its own for evidence. What the source remembers is the
    /// source's affair.
    pub fn new(source: S, limits: Limits) -> Self {
        let logs = RekorClient::new(RekorOptions::default());
        let (memory, store, sightings) = (MemoryBudget::default(), Store::default(), Sightings::default());
        Self { source, limits, memory, store, logs, witness: None, newer: None, sightings }
    }

    /// With somebody who takes note of all evidence.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// With this much memory for all requests together.
    #[must_use]
    pub fn with_memory(mut self, memory: MemoryBudget) -> Self {
        self.memory = memory;
        self
    }

    /// With the evidence of this store.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// The store, for its figures.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// With another client that asks logs than the default one, where a policy wants them asked.
    #[must_use]
    pub fn with_logs(mut self, logs: RekorClient) -> Self {
        self.logs = logs;
        self
    }

    /// With a source of newer roots than a snapshot's, for evidence that names a service which those do not know.
    #[must_use]
    pub fn with_newer_roots(mut self, newer: Arc<dyn NewerRoots>) -> Self {
        self.newer = Some(newer);
        self
    }

    /// With this memory of where images were seen.
    #[must_use]
    pub fn with_sightings(mut self, sightings: Sightings) -> Self {
        self.sightings = sightings;
        self
    }

    /// Judges every image of a request by one snapshot. What is not done at the deadline is refused, and says what was slow.
    pub async fn judge(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> Vec<ImageVerdicts> {
        self.judge_by(request, snapshot, snapshot.revocations(), now, deadline).await
    }

    /// The same by other revocations than the snapshot's: newer ones.
    pub async fn judge_by(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        revocations: &Revocations,
        now: Timestamp,
        deadline: Instant,
    ) -> Vec<ImageVerdicts> {
        let budget = self.memory.request(deadline);
        let context = &Context {
            snapshot,
            roots: snapshot.roots(),
            revocations,
            scope: &request.scope,
            runs: request.runs,
            now,
            deadline,
            budget,
            verifying: Arc::new(Semaphore::new(TURNS)),
        };
        let mut distinct: BTreeMap<&str, &ContainerImage> = BTreeMap::new();
        for image in &request.images {
            distinct.entry(image.text()).or_insert(image);
        }
        let mut judged: BTreeMap<&str, Judged> = BTreeMap::new();
        let (mut left, mut running) = (distinct.into_iter(), FuturesUnordered::new());
        loop {
            // Here and below work is made when its turn comes: what waits for it would take more memory than what it reads.
            for (text, image) in left.by_ref().take(CONCURRENCY.saturating_sub(running.len())) {
                running.push(async move { (text, self.judge_one(image, context).await) });
            }
            let Some((text, one)) = running.next().await else { break };
            judged.insert(text, one);
        }
        // Which image was being read when the request passed its bound is chance, so that none has a verdict of its own.
        if context.budget.is_exceeded() {
            let too_large = problem(&context.budget.error());
            for judged in judged.values_mut() {
                judged.stop(context, &too_large);
            }
        }
        let verdicts = |image: &ContainerImage| {
            let Judged { digest, mut finding, selected } = judged.get(image.text()).cloned().unwrap_or_else(|| {
                let message = "the image was not judged".to_owned();
                Judged::refused(Refused::NotJudged(Problem { code: "Internal", message, undecided: true }))
            });
            if selected.delegated
                && let Finding::Judged(verdicts) = &mut finding
            {
                *verdicts = std::mem::take(verdicts).into_iter().map(Verdict::delegated).collect();
            }
            let named = image.reference().ok();
            let exemption = named.and_then(|reference| {
                let digest = digest.as_ref().or_else(|| reference.digest());
                snapshot.rules().exemption(reference.repository(), digest, &request.scope)
            });
            let (field, text, exempt) = (image.field().to_owned(), image.text().to_owned(), exemption.map(Arc::clone));
            ImageVerdicts { field, text, digest, finding, exempt }
        };
        request.images.iter().map(verdicts).collect()
    }

    async fn judge_one(&self, image: &ContainerImage, context: &Context<'_>) -> Judged {
        let reference = match image.reference() {
            Ok(reference) => reference,
            Err(error) => return nameless(&error.to_string(), context),
        };
        let revocations = context.revocations;
        // A digest is judged before any network.
        if let Some(digest) = reference.digest()
            && let Some(revoked) = revocations.artifact(digest)
        {
            // Should it be an index, what it holds can be found out there.
            self.sightings.named(digest, reference.repository());
            return Judged::refused(Refused::Revoked(revoked));
        }
        let possible = context.select(reference.repository(), reference.digest());
        // What no policy governs may be struck out all the same: which image it is must be known then, and what it holds.
        if possible.is_empty() && !revocations.names_artifacts() {
            return Judged::new(reference.digest().cloned(), Finding::Unmatched);
        }
        // The one resolution of this request: only its digest goes on.
        let source = Metered::new(&self.source, &context.budget);
        let resolved = match within(context.deadline, "resolving", reference, resolve(&source, reference)).await {
            Ok(resolved) => resolved,
            Err(problem) => {
                self.source.forget(reference.repository());
                if revocations.names_artifacts() {
                    return Judged::new(reference.digest().cloned(), Finding::Refused(perhaps_revoked(problem)));
                }
                return unresolved(possible, context, &problem);
            }
        };
        self.sightings.found(resolved.digest(), resolved.repository());
        let digest = Some(resolved.digest().clone());
        if let Some(revoked) = revocations.artifact(resolved.digest()) {
            return Judged::new(digest, Finding::Refused(Refused::Revoked(revoked)));
        }
        if revocations.names_artifacts()
            && let Some(refused) = self.revoked_below(&resolved, context).await
        {
            return Judged::new(digest, Finding::Refused(refused));
        }
        let selected = context.select(reference.repository(), Some(resolved.digest()));
        if selected.is_empty() {
            return Judged::new(digest, Finding::Unmatched);
        }
        let verdicts = self.verdicts(&resolved, &selected, context).await;
        if !verdicts.iter().all(Verdict::passes) {
            // Whoever reads this may mend it and try again at once.
            self.source.forget(resolved.repository());
        }
        Judged { digest, finding: Finding::Judged(verdicts), selected }
    }

    /// Whether something below an index is struck out. What cannot be fetched might be.
    async fn revoked_below(&self, image: &ResolvedImage, context: &Context<'_>) -> Option<Refused> {
        let source = Metered::new(&self.source, &context.budget);
        let work = children(&source, image);
        match within(context.deadline, "fetching the children of", image.reference(), work).await {
            Ok(found) => {
                found.iter().find_map(|child| context.revocations.artifact(child.image.digest())).map(Refused::Revoked)
            }
            Err(problem) => Some(perhaps_revoked(problem)),
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
        let own = match self.evaluate(image, &policies, context).await {
            Ok(own) => own,
            // Out of time or of bounds: more questions would not help.
            Err(stopped) => return [verdicts, stopped].concat(),
        };
        for (policy, verdict) in policies.iter().zip(own) {
            // Evidence on an index covers what is below it; without it, each child that runs needs its own. What is broken or missing
            // beside an index takes nothing from what its children carry.
            if verdict.passes() {
                verdicts.push(verdict);
            } else {
                lacking.push(Arc::clone(policy));
                left.push(verdict);
            }
        }
        if !lacking.is_empty() {
            verdicts.extend(self.through_children(image, &lacking, left, context).await);
        }
        verdicts
    }

    /// The verdicts of policies on an image by the evidence that is attached to it, one for each policy. Where newer roots may know what
    /// the evidence names, by those.
    ///
    /// # Errors
    /// The verdicts, where a problem stopped the judgement before all evidence was seen.
    async fn evaluate(
        &self,
        image: &ResolvedImage,
        policies: &[Arc<Policy>],
        context: &Context<'_>,
    ) -> Result<Vec<Verdict>, Vec<Verdict>> {
        if policies.is_empty() {
            return Ok(Vec::new());
        }
        let (verdicts, gathered) = self.evaluate_once(image, policies, context).await?;
        match newer::ask(self.newer.as_ref(), &gathered, policies, &verdicts, context).await {
            None => Ok(verdicts),
            Some(roots) => {
                let again = Context { roots: &roots, ..context.clone() };
                self.evaluate_once(image, policies, &again).await.map(|(verdicts, _)| verdicts)
            }
        }
    }

    /// The verdicts by the roots of this context, and what was gathered under them.
    async fn evaluate_once(
        &self,
        image: &ResolvedImage,
        policies: &[Arc<Policy>],
        context: &Context<'_>,
    ) -> Result<(Vec<Verdict>, Gathered), Vec<Verdict>> {
        let source = Metered::new(&self.source, &context.budget);
        let work = discover(&source, image, &self.limits);
        let discovery = match within(context.deadline, "looking for signatures of", image.reference(), work).await {
            Ok(discovery) => discovery,
            Err(problem) => return Err(stopped(policies, &problem)),
        };
        let mut problems: Vec<Problem> = discovery.problems.iter().map(|found| problem(&found.error)).collect();
        let anchors = anchors(policies, context.roots);
        let (mut left, mut running) = (discovery.candidates.into_iter(), FuturesOrdered::new());
        let wanted = policies.iter().any(|policy| policy.wants_online());
        // What is searched for stays until the logs have answered, and so does its part of the memory.
        let (mut gathered, mut searchable, mut held) = (Gathered::default(), Vec::new(), Vec::new());
        loop {
            for candidate in left.by_ref().take(CANDIDATES_AT_ONCE.saturating_sub(running.len())) {
                running.push_back(self.examine(candidate, image, &anchors, wanted, context));
            }
            let Some(examined) = running.next().await else { break };
            match examined {
                Ok(Examined::Verified(further, candidate)) => {
                    gathered.extend(further);
                    // One beyond the limit is enough to pass it.
                    if let Some((candidate, memory)) = candidate.filter(|_| searchable.len() <= SEARCH_LIMIT) {
                        searchable.push(candidate);
                        held.push(memory);
                    }
                }
                Ok(Examined::Missing(problem)) => problems.push(problem),
                Err(problem) => return Err(stopped(policies, &problem)),
            }
        }
        if let Some(witness) = &self.witness {
            for evidence in gathered.verified() {
                witness.saw(evidence);
            }
        }
        let (roots, revocations) = (context.roots, context.revocations);
        let online = online::ask(&self.logs, &gathered, &searchable, image, policies, context).await;
        drop((searchable, held));
        let (online, further) = online.map_or_else(Default::default, |online| (Some(online.gathered), online.problems));
        let all: Vec<Problem> = problems.iter().cloned().chain(further).collect();
        let verdict = |policy: &Arc<Policy>| match online.as_ref().filter(|_| policy.wants_online()) {
            Some(asked) => evaluate(policy, asked, &all, roots, revocations, context.now),
            None => evaluate(policy, &gathered, &problems, roots, revocations, context.now),
        };
        Ok((policies.iter().map(verdict).collect(), gathered))
    }

    /// Fetches and verifies one candidate. An error stops the judgement of the image.
    async fn examine(
        &self,
        candidate: CandidateLayer,
        image: &ResolvedImage,
        anchors: &[Anchor],
        wanted: bool,
        context: &Context<'_>,
    ) -> Result<Examined, Problem> {
        let source = Metered::new(&self.source, &context.budget);
        let work = async { Ok::<_, RegistryError>(candidate.fetch(&source, image.repository()).await) };
        let fetched = within(context.deadline, "fetching signatures of", image.reference(), work).await?;
        let candidate = match fetched {
            Ok(candidate) => candidate,
            Err(found) if found.error.ends_the_search() => return Err(problem(&found.error)),
            Err(found) => return Ok(Examined::Missing(problem(&found.error))),
        };
        let held = Arc::new(source.into_held());
        let searchable = (wanted && is_searchable(&candidate)).then(|| (candidate.clone(), Arc::clone(&held)));
        let work = async {
            let _turn = context.verifying.acquire().await;
            self.store.evidence().gather(std::slice::from_ref(&candidate), image, anchors, held).await
        };
        let gathered = within(context.deadline, "verifying signatures of", image.reference(), work).await?;
        Ok(Examined::Verified(gathered, searchable))
    }

    /// The verdicts of policies that an image's own evidence leaves unsatisfied: where it is an index, by its children.
    async fn through_children(
        &self,
        image: &ResolvedImage,
        policies: &[Arc<Policy>],
        own: Vec<Verdict>,
        context: &Context<'_>,
    ) -> Vec<Verdict> {
        let source = Metered::new(&self.source, &context.budget);
        let work = async {
            match children(&source, image).await {
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
        let mut left = found.iter().filter(|child| !child.is_index() && !child.is_attestation_manifest());
        let mut running = FuturesOrdered::new();
        let mut by_child: Vec<(Digest, Vec<Verdict>)> = Vec::new();
        loop {
            for child in left.by_ref().take(CONCURRENCY.saturating_sub(running.len())) {
                running.push_back(async move {
                    let (Ok(verdicts) | Err(verdicts)) = self.evaluate(&child.image, policies, context).await;
                    (child.image.digest().clone(), verdicts)
                });
            }
            let Some(judged) = running.next().await else { break };
            by_child.push(judged);
        }
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

/// Everything that an image's candidates are verified under.
fn anchors(policies: &[Arc<Policy>], roots: &TrustRoots) -> Vec<Anchor> {
    let anchors = policies.iter().flat_map(|policy| policy.anchors(roots));
    let distinct: BTreeMap<AnchorId, Anchor> = anchors.map(|anchor| (anchor.id(), anchor)).collect();
    distinct.into_values().collect()
}

/// What became of one candidate.
enum Examined {
    /// It was looked at under every root and key; with the candidate and its memory where a policy wants logs asked, and can be searched for.
    Verified(Gathered, Option<(Discovered, Arc<Held>)>),
    /// It could not be had.
    Missing(Problem),
}

/// The verdicts that need no evidence: of policies that do not parse, of those whose namespaces cannot be told, and what stands for the
/// cluster's own rules where they leave the image unjudged.
fn without_evidence(selected: &Selected, context: &Context<'_>) -> Vec<Verdict> {
    let namespace = match context.scope {
        Scope::Namespace(namespace) => namespace.name.as_str(),
        Scope::Anywhere => "",
    };
    let reason = || ErrorReason::NamespaceUnknown { namespace: namespace.to_owned() };
    let unknown = selected.undecided.iter().map(|policy| undecided(policy, reason()));
    let rules = selected.problems.iter().cloned().map(unruled);
    selected.invalid.iter().map(|policy| unparsable(policy)).chain(unknown).chain(rules).collect()
}

/// An image whose reference is none: no policy in scope can be said not to govern it, nor a revocation not to strike it out.
fn nameless(reason: &str, context: &Context<'_>) -> Judged {
    let reason = reason.to_owned();
    if context.revocations.names_artifacts() {
        let problem = Problem { code: "InvalidReference", message: reason, undecided: false };
        return Judged::refused(perhaps_revoked(problem));
    }
    let problems = context.snapshot.problems_of_any(context.now);
    let selected = Selected { problems, ..context.snapshot.select_any(context.scope) };
    if selected.is_empty() {
        return Judged::new(None, Finding::Unmatched);
    }
    let mut verdicts = without_evidence(&selected, context);
    let refuse = |policy: &Arc<Policy>| refused(policy, FailReason::InvalidReference { reason: reason.clone() });
    verdicts.extend(selected.policies.iter().map(refuse));
    Judged { digest: None, finding: Finding::Judged(verdicts), selected }
}

/// An image of which it cannot be told whether it is struck out. Denied whatever policies say, and where none does.
fn perhaps_revoked(mut problem: Problem) -> Refused {
    problem.message.push_str(
        "; artifacts are revoked, so that an image is denied while it cannot be told that it is none of them",
    );
    Refused::NotJudged(problem)
}

/// An image whose manifest could not be had: every policy that may govern it says so.
fn unresolved(possible: Selected, context: &Context<'_>, problem: &Problem) -> Judged {
    let mut judged = Judged { digest: None, finding: Finding::Judged(Vec::new()), selected: possible };
    judged.stop(context, problem);
    judged
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
    let late = || {
        let message = format!("out of time while {doing} {reference}");
        Problem { code: "Deadline", message, undecided: true }
    };
    // A timeout polls its work once even if time is up: of hundreds of images, each would still ask its registry.
    if Instant::now() >= deadline {
        return Err(late());
    }
    match tokio::time::timeout_at(deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(match error.into() {
            Stopped::Registry(error) => problem(&error),
            error @ Stopped::Verification(_) => {
                Problem { code: "Internal", message: error.to_string(), undecided: true }
            }
        }),
        Err(_) => Err(late()),
    }
}
