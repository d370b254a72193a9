//! Asks logs about the evidence of one image, for the policies that want it.
//!
//! Only what would satisfy such a policy is asked about, and signatures without an entry are searched for only where none satisfies it.
//! What logs say counts for these policies alone: the verdict of a policy does not depend on which others select the image. Every failure is
//! a problem that leaves the verdict open; nothing here can make evidence count.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::Context;
use crate::evidence::Discovered;
use crate::image::ResolvedImage;
use crate::policy::{Policy, Problem, evaluate, unconfirmed};
use crate::rekor::{RekorClient, RekorError};
use crate::verify::{Anchor, AnchorId, Gathered, OnlineError, searches};

/// Questions of one image that are asked at a time.
const QUESTIONS_AT_ONCE: usize = 4;

/// What logs said about an image's evidence.
pub(super) struct Online {
    /// The evidence, with what was confirmed and what was found.
    pub(super) gathered: Gathered,
    /// What kept logs from confirming.
    pub(super) problems: Vec<Problem>,
}

/// Asks logs what some policies want to know of them. None: none of the policies does, and nobody is asked.
pub(super) async fn ask(
    logs: &RekorClient,
    gathered: &Gathered,
    searchable: &[Discovered],
    image: &ResolvedImage,
    policies: &[Arc<Policy>],
    context: &Context<'_>,
) -> Option<Online> {
    let wanting: Vec<&Policy> = policies.iter().map(AsRef::as_ref).filter(|policy| policy.wants_online()).collect();
    if wanting.is_empty() {
        return None;
    }
    let mut online = Online { gathered: gathered.clone(), problems: Vec::new() };
    let roots = context.roots;
    let anchors: BTreeMap<AnchorId, Anchor> =
        wanting.iter().flat_map(|policy| policy.online_anchors(roots)).map(|anchor| (anchor.id(), anchor)).collect();
    let anchors: Vec<Anchor> = anchors.into_values().collect();
    online.confirm(logs, &wanting, &anchors, image, context).await;
    let satisfied =
        |policy: &&&Policy| evaluate(policy, &online.gathered, &[], roots, context.revocations, context.now).passes();
    if !wanting.iter().all(|policy| satisfied(&policy)) {
        online.search(logs, searchable, &anchors, image, context).await;
    }
    Some(online)
}

impl Online {
    async fn confirm(
        &mut self,
        logs: &RekorClient,
        wanting: &[&Policy],
        anchors: &[Anchor],
        image: &ResolvedImage,
        context: &Context<'_>,
    ) {
        let (roots, revocations) = (context.roots, context.revocations);
        let lacking = |policy: &&Policy| unconfirmed(policy, &self.gathered, roots, revocations, context.now);
        let positions: Vec<usize> = wanting.iter().flat_map(lacking).collect();
        let questions = match self.gathered.questions(&positions, anchors) {
            Ok(questions) => questions,
            Err(error) => return self.problems.push(too_many(&error)),
        };
        let mut work = Vec::with_capacity(questions.len());
        for question in questions {
            work.push(async move { within(context.deadline, image, logs.confirm(&question)).await });
        }
        let mut work = futures::stream::iter(work).buffered(QUESTIONS_AT_ONCE);
        let mut confirmations = Vec::new();
        while let Some(result) = work.next().await {
            match result {
                Ok(confirmation) => confirmations.push(confirmation),
                Err(problem) => self.problems.push(problem),
            }
        }
        self.gathered.confirm(&confirmations);
    }

    async fn search(
        &mut self,
        logs: &RekorClient,
        searchable: &[Discovered],
        anchors: &[Anchor],
        image: &ResolvedImage,
        context: &Context<'_>,
    ) {
        let searches = match searches(searchable, image, anchors) {
            Ok(searches) => searches,
            Err(error) => return self.problems.push(too_many(&error)),
        };
        let mut work = Vec::with_capacity(searches.len());
        for search in searches {
            work.push(async move { within(context.deadline, image, logs.search(&Arc::new(search))).await });
        }
        let mut work = futures::stream::iter(work).buffered(QUESTIONS_AT_ONCE);
        while let Some(result) = work.next().await {
            match result {
                Ok(evidence) => self.gathered.add(evidence),
                Err(problem) => self.problems.push(problem),
            }
        }
    }
}

fn too_many(error: &OnlineError) -> Problem {
    Problem { code: error.code(), message: error.to_string(), undecided: true }
}

/// Asks until the deadline.
async fn within<T>(
    deadline: Instant,
    image: &ResolvedImage,
    work: impl Future<Output = Result<T, RekorError>>,
) -> Result<T, Problem> {
    let late = |_| {
        let message = format!("out of time while asking logs about {}", image.reference());
        Problem { code: "Deadline", message, undecided: true }
    };
    tokio::time::timeout_at(deadline, work).await.map_err(late)?.map_err(Problem::from)
}
