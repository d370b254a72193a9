//! Evidence that names a service which a trust root does not know: the root may be older than the evidence.
//!
//! Whoever has the roots is asked once for newer ones, in part of the time that is left, and the image is judged again by them. A root
//! that knows no more than before changes nothing; neither does one that cannot be had.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::Context;
use crate::policy::{Policy, Verdict};
use crate::trust::TrustRoots;
use crate::verify::Gathered;

/// Where newer trust roots come from.
pub trait NewerRoots: Send + Sync + fmt::Debug {
    /// These roots, with newer ones of these names in them, if there are any by this time. It is for the implementation to bound how often
    /// anybody is asked: evidence is a stranger's.
    fn newer<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        than: &'a TrustRoots,
        deadline: Instant,
    ) -> BoxFuture<'a, Option<TrustRoots>>;
}

/// Newer roots, where a policy that is not satisfied lacks one that would know what some candidate names.
pub(super) async fn ask(
    source: Option<&Arc<dyn NewerRoots>>,
    gathered: &Gathered,
    policies: &[Arc<Policy>],
    verdicts: &[Verdict],
    context: &Context<'_>,
) -> Option<TrustRoots> {
    let source = source?;
    let lacking = gathered.lacking_roots();
    let unsatisfied = policies.iter().zip(verdicts).filter(|(_, verdict)| !verdict.passes());
    let wanted = unsatisfied.flat_map(|(policy, _)| policy.trust_roots()).filter(|name| lacking.contains(name));
    let names: BTreeSet<String> = wanted.map(str::to_owned).collect();
    if names.is_empty() {
        return None;
    }
    // Half of the time is left for what follows; what was judged stands if it is in vain.
    let now = Instant::now();
    let deadline = now + context.deadline.saturating_duration_since(now) / 2;
    source.newer(&names, context.roots, deadline).await
}
