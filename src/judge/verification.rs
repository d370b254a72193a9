//! Candidates to what they prove, off the async threads: how many at a time, and no longer than somebody waits.
//!
//! What is verified and how is `verify`'s; here are only the threads, and the memory that they keep.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::evidence::Discovered;
use crate::image::ResolvedImage;
use crate::policy::{Policy, Snapshot};
use crate::registry::Held;
use crate::verify::{Anchor, AnchorId, Gathered, gather};

/// Threads that verify at a time, however many processors there are: what is parsed from a candidate takes several times its bytes,
/// and the memory budget counts these alone.
const MOST_THREADS: usize = 8;

/// As many threads as there are processors, and no more than [`MOST_THREADS`].
#[derive(Debug)]
pub(super) struct Threads(Arc<Semaphore>);

impl Default for Threads {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        Self(Arc::new(Semaphore::new(threads)))
    }
}

/// A verification that has no result.
#[derive(Debug, thiserror::Error)]
#[error("verification ended early: {0}")]
pub(super) struct VerificationEnded(String);

impl Threads {
    /// Verifies a candidate under every root and key. The thread keeps what the candidate holds of the memory, even if nobody waits
    /// any more; it then ends before the next root or key, which costs a millisecond.
    pub(super) async fn verify(
        &self,
        candidate: Discovered,
        held: Held,
        image: ResolvedImage,
        material: Arc<Material>,
    ) -> Result<Gathered, VerificationEnded> {
        let ended = |error: &dyn std::error::Error| VerificationEnded(error.to_string());
        let thread = Arc::clone(&self.0).acquire_owned().await.map_err(|error| ended(&error))?;
        // A thread cannot be ended from outside: it looks whether anybody still waits for it.
        let waiting = Waiting::default();
        let abandoned = Arc::clone(&waiting.abandoned);
        let work = move || {
            let is_abandoned = || abandoned.load(Ordering::Relaxed);
            let gathered = gather(&[candidate], &image, &material.0, &is_abandoned);
            drop((held, thread));
            gathered
        };
        let gathered = tokio::task::spawn_blocking(work).await.map_err(|error| ended(&error))?;
        gathered.map_err(|cancelled| ended(&cancelled))
    }
}

/// Somebody who waits for a thread that verifies; dropped when time is up or the caller has gone.
#[derive(Default)]
struct Waiting {
    abandoned: Arc<AtomicBool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

/// Everything that an image's candidates are verified under: the anchors of the policies that select it.
pub(super) struct Material(Vec<Anchor>);

impl Material {
    pub(super) fn new(policies: &[Arc<Policy>], snapshot: &Snapshot) -> Self {
        let anchors = policies.iter().flat_map(|policy| policy.anchors(snapshot.roots()));
        let distinct: BTreeMap<AnchorId, Anchor> = anchors.map(|anchor| (anchor.id(), anchor)).collect();
        Self(distinct.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::registry::{MemoryBudget, Metered, Sources};
    use crate::verify::fixtures::{legacy, tree};

    /// Work of half a minute, for which nobody waits longer than a moment: thread and memory are free again soon after.
    #[tokio::test]
    async fn a_thread_stops_when_nobody_waits_for_it() {
        let (layers, key) = legacy("connaisseur-three-signers-alice");
        let image = tree("multi-cosigned-alice-bob-charlie");
        let anchor = Anchor::Key { key: key.unwrap(), dating: None };
        let material = Arc::new(Material(vec![anchor.clone(); 200_000]));
        let threads = Threads(Arc::new(Semaphore::new(1)));
        let request = MemoryBudget::default().request(Instant::now() + Duration::from_mins(1));
        let held = || Metered::new(&Sources::default(), &request).into_held();
        let verified =
            |material: &Arc<Material>| threads.verify(layers[0].clone(), held(), image.clone(), Arc::clone(material));
        timeout(Duration::from_millis(100), verified(&material)).await.unwrap_err();
        let few = Arc::new(Material(vec![anchor; 2]));
        let next = timeout(Duration::from_secs(10), verified(&few)).await.expect("the thread is free").unwrap();
        assert_eq!(next.verified().len() + next.refused().len(), 2);
    }
}
