//! What candidates proved, and what they did not, for as long as there is room.
//!
//! Verification is a pure function, and the key of an entry is the hash of all its arguments: the candidate's media type, bytes and
//! annotations, the image's digest, the anchor, and the verifier's version. Where the candidate was found, who asked, for which
//! policy and when are no arguments, so entries are shared by all callers: whoever asks had the bytes already. The place is put in
//! anew each time. Policies never come here.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::flight::{Flights, Landed};
use super::shelf::{Figures, Shelf};
use crate::evidence::Discovered;
use crate::image::{Digest, ResolvedImage};
use crate::verify::{Anchor, Gathered, Prepared, SCHEMA_VERSION};

/// A pure function's values do not age; this only lets go of what nobody asks for.
const LIFETIME: Duration = Duration::from_hours(24);
/// What an outcome weighs beside the candidate's own length: names, times and proofs that were taken from it.
const OUTCOME_BYTES: usize = 2 << 10;
/// Outcomes of one call that are looked for at a time.
const CONCURRENCY: usize = 2;
/// Threads that verify at a time, however many processors there are: what is parsed from a candidate takes several times its bytes,
/// and the memory budget counts these alone.
const MOST_THREADS: usize = 8;

/// A thread that verified did not come to its end.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("verification ended early: {reason}")]
pub struct VerificationEnded {
    reason: String,
}

/// Outcomes of verification by their arguments. Cloning shares them.
#[derive(Clone, Debug)]
pub struct EvidenceCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    outcomes: Shelf<Digest, Arc<Gathered>>,
    under_way: Flights<Digest, Result<Arc<Gathered>, VerificationEnded>>,
    /// One for each processor: verification is arithmetic, and more threads would not be faster.
    threads: Arc<Semaphore>,
}

impl EvidenceCache {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes: u64) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        Self {
            inner: Arc::new(Inner {
                outcomes: Shelf::new(bytes, LIFETIME),
                under_way: Flights::default(),
                threads: Arc::new(Semaphore::new(processors)),
            }),
        }
    }

    /// What every candidate proves under every anchor, in their order. Only what nobody knows yet is verified, on threads of their own,
    /// and once for all who ask. A thread keeps `held` until it ends, even if nobody waits any more; then nothing further is begun.
    pub async fn gather(
        &self,
        candidates: &[Discovered],
        image: &ResolvedImage,
        anchors: &[Anchor],
        held: impl Send + Sync + 'static,
    ) -> Result<Gathered, VerificationEnded> {
        let held: Arc<dyn Send + Sync> = Arc::new(held);
        let mut work = Vec::with_capacity(candidates.len() * anchors.len());
        for candidate in candidates {
            let content = content_digest(candidate, image);
            let prepared = Arc::new(Prepared::new(candidate.clone()));
            for anchor in anchors {
                work.push(self.outcome(Arc::clone(&prepared), image, anchor, key(&content, anchor), Arc::clone(&held)));
            }
        }
        let outcomes: Vec<_> = futures::stream::iter(work).buffered(CONCURRENCY).collect().await;
        let places = candidates.iter().flat_map(|candidate| anchors.iter().map(|_| candidate.origin()));
        let mut gathered = Gathered::default();
        for (origin, outcome) in places.zip(outcomes) {
            gathered.extend_as_found_at(origin, &*outcome?);
        }
        Ok(gathered)
    }

    /// The outcome of one candidate under one anchor.
    async fn outcome(
        &self,
        prepared: Arc<Prepared>,
        image: &ResolvedImage,
        anchor: &Anchor,
        key: Digest,
        held: Arc<dyn Send + Sync>,
    ) -> Result<Arc<Gathered>, VerificationEnded> {
        let Inner { outcomes, under_way, threads } = &*self.inner;
        let known = || {
            let entry = outcomes.get(&key)?;
            outcomes.hit();
            Some(entry.value)
        };
        if let Some(outcome) = known() {
            return Ok(outcome);
        }
        let work = async {
            if let Some(outcome) = known() {
                return Ok(outcome);
            }
            outcomes.miss();
            let thread = Arc::clone(threads).acquire_owned().await.map_err(|error| ended(&error))?;
            let (inner, key) = (Arc::clone(&self.inner), key.clone());
            let (image, anchor) = (image.clone(), anchor.clone());
            let verify = move || {
                let outcome = Arc::new(prepared.gather(&image, &anchor));
                let candidate = prepared.discovered();
                let annotations = candidate.annotations().iter().map(|(name, value)| name.len() + value.len());
                let bytes =
                    OUTCOME_BYTES + candidate.bytes().len() + candidate.media_type().len() + annotations.sum::<usize>();
                // From the thread: what was begun is of use even if nobody waits any more.
                inner.outcomes.put(key, Arc::clone(&outcome), bytes, Instant::now(), LIFETIME);
                drop((held, thread));
                outcome
            };
            tokio::task::spawn_blocking(verify).await.map_err(|error| ended(&error))
        };
        let Landed { value, led } = under_way.run(key.clone(), Result::is_ok, work).await;
        if !led {
            outcomes.hit();
        }
        value
    }

    pub(super) fn figures(&self) -> Figures {
        self.inner.outcomes.figures()
    }
}

fn ended(error: &dyn std::error::Error) -> VerificationEnded {
    VerificationEnded { reason: error.to_string() }
}

/// The whole key. Evidence says under which name of a root it was verified, so that the name is part of the anchor's digest.
fn key(content: &Digest, anchor: &Anchor) -> Digest {
    let mut parts = Parts::default();
    parts.add(content.hex()).add(anchor.digest().hex());
    parts.digest()
}

/// The part of the key that is the same under every anchor.
fn content_digest(candidate: &Discovered, image: &ResolvedImage) -> Digest {
    let mut parts = Parts::default();
    parts.add(&SCHEMA_VERSION.to_string()).add(image.digest().hex());
    parts.add(candidate.media_type()).add(Digest::of(candidate.bytes()).hex());
    for (name, value) in candidate.annotations() {
        parts.add(name).add(value);
    }
    parts.digest()
}

/// Texts, each behind its length, so that no two lists of them are the same bytes.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn add(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(&(text.len() as u64).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

#[cfg(test)]
mod tests;
