//! What candidates proved, and what they did not, for as long as there is room.
//!
//! Verification is a pure function, and the key of an entry is the hash of all its arguments: the candidate's media type, bytes and
//! annotations, the image's digest, the root or key, and the verifier's version. Where the candidate was found, who asked, for which
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
use crate::trust::{PublicKey, TrustMaterial};
use crate::verify::{Gathered, SCHEMA_VERSION, gather};

/// A pure function's values do not age; this only lets go of what nobody asks for.
const LIFETIME: Duration = Duration::from_hours(24);
/// What an outcome weighs beside the candidate's own length: names, times and proofs that were taken from it.
const OUTCOME_BYTES: usize = 2 << 10;
/// Candidates of one image that are looked at at a time.
const CONCURRENCY: usize = 4;

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

/// Whose word is asked for.
#[derive(Clone)]
enum Under {
    Root(TrustMaterial),
    Key(PublicKey),
}

impl EvidenceCache {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes: u64) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            inner: Arc::new(Inner {
                outcomes: Shelf::new(bytes, LIFETIME),
                under_way: Flights::default(),
                threads: Arc::new(Semaphore::new(processors)),
            }),
        }
    }

    /// What [`gather`] says, in its order. Only what nobody knows yet is verified, on threads of its own, and once for all who ask.
    pub async fn gather(
        &self,
        candidates: &[Discovered],
        image: &ResolvedImage,
        roots: &[TrustMaterial],
        keys: &[PublicKey],
    ) -> Result<Gathered, VerificationEnded> {
        let roots = roots.iter().cloned().map(Under::Root);
        let unders: Vec<Under> = roots.chain(keys.iter().cloned().map(Under::Key)).collect();
        let mut work = Vec::with_capacity(candidates.len() * unders.len());
        for candidate in candidates {
            let content = content_digest(candidate, image);
            for under in &unders {
                work.push(self.outcome(candidate, image, under, under.key(&content)));
            }
        }
        let outcomes: Vec<_> = futures::stream::iter(work).buffered(CONCURRENCY).collect().await;
        let places = candidates.iter().flat_map(|candidate| unders.iter().map(|_| candidate.origin()));
        let mut gathered = Gathered::default();
        for (origin, outcome) in places.zip(outcomes) {
            gathered.extend_as_found_at(origin, &*outcome?);
        }
        Ok(gathered)
    }

    /// The outcome of one candidate under one root or key.
    async fn outcome(
        &self,
        candidate: &Discovered,
        image: &ResolvedImage,
        under: &Under,
        key: Digest,
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
            let (candidate, image, under) = (candidate.clone(), image.clone(), under.clone());
            let verify = move || {
                let outcome = Arc::new(under.gather(&candidate, &image));
                drop(thread);
                let bytes = OUTCOME_BYTES + candidate.bytes().len() + candidate.media_type().len();
                // From the thread: what was begun is of use even if nobody waits any more.
                inner.outcomes.put(key, Arc::clone(&outcome), bytes, Instant::now(), LIFETIME);
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

impl Under {
    fn gather(&self, candidate: &Discovered, image: &ResolvedImage) -> Gathered {
        let candidates = std::slice::from_ref(candidate);
        match self {
            Self::Root(root) => gather(candidates, image, std::slice::from_ref(root), &[]),
            Self::Key(key) => gather(candidates, image, &[], std::slice::from_ref(key)),
        }
    }

    /// The whole key. Evidence says under which name of a root it was verified, so the name is part of it too.
    fn key(&self, content: &Digest) -> Digest {
        let mut parts = Parts::default();
        parts.add(content.hex());
        match self {
            Self::Root(root) => parts.add("root").add(root.name()).add(root.digest().hex()),
            Self::Key(key) => parts.add("key").add(&key.fingerprint().to_string()).add(&key.algorithm()),
        };
        parts.digest()
    }
}

/// The part of the key that is the same under every root and key.
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
