//! How many bytes of registries one request may read, and how many all requests together may hold.
//!
//! Two bounds. A *request* may read so many bytes over all its images, children, listings, signatures: past that everything
//! it asks for is refused, whatever came first. All requests *together* hold at most what `--memory-budget` says; one that finds no
//! room waits, until its deadline. Bytes are counted as they come from an [`ImageSource`], whatever stands behind it, cache or
//! network: by the cap before, by their length once they are here. What is parsed from them is bounded by
//! their length and by counts of its own, and not counted here.
//!
//! # Why nobody waits for ever
//!
//! A request waits for room while it holds some, which is how deadlocks begin. So the memory is in two parts: a commons, and a
//! *reserve* that is as large as the most that one request can hold. A request that finds no room in the commons waits for either.
//! Only one has the reserve at a time, and it never waits for another request again: what it keeps is at most what it
//! may read in all, what it is about to read at most [`TRANSIT_BYTES`], and the reserve is the sum. Therefore it comes to its end, at its deadline at
//! the latest, gives everything back, and the next has its turn. Within one request, [`TRANSIT_BYTES`] are held only while a source
//! is read, and a read waits for nothing here; behind them, threads that verify ask for no memory. That is the order in which things
//! are taken: a slot of the server, transit, memory, a thread.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limits::{MANIFEST_BYTES, REFERRERS_BYTES};
use super::{Descriptor, ImageSource, ManifestSelector, RawManifest, RegistryError};
use crate::image::{Digest, Repository};

/// Bytes that one request may read, all its images together: eight attestations of the largest size, or some thousands of usual
/// ones.
pub const REQUEST_BYTES: u64 = 128 << 20;
/// Bytes that one request may be about to read at a time.
const TRANSIT_BYTES: u64 = 32 << 20;
/// Bytes that all requests may hold, where nothing else is said.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// The least that all requests may hold by default: the reserve, and as much again as one request reads at a time.
pub const LEAST_MEMORY_BYTES: u64 = REQUEST_BYTES + 2 * TRANSIT_BYTES;
/// Bytes of a permit: semaphores count in 32 bits where several are taken at once.
const PERMIT_BYTES: u64 = 1 << 10;

/// The memory of all requests of a process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    commons: Arc<Semaphore>,
    /// Permits of the commons.
    all: usize,
    reserve: Arc<Semaphore>,
    request_bytes: u64,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(MEMORY_BYTES, REQUEST_BYTES)
    }
}

impl MemoryBudget {
    /// A budget of so many bytes for all requests, and of so many for one. The former is at least the latter and twice what a
    /// request reads at a time.
    pub fn new(bytes: u64, request_bytes: u64) -> Self {
        let reserve = request_bytes.saturating_add(TRANSIT_BYTES);
        let commons = bytes.saturating_sub(reserve).max(TRANSIT_BYTES) / PERMIT_BYTES;
        let commons = usize::try_from(commons).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            commons: Arc::new(Semaphore::new(commons)),
            all: commons,
            reserve: Arc::new(Semaphore::new(1)),
            request_bytes,
        }
    }

    /// Bytes of the commons that are in use, in whole KiB. What is in the reserve is not counted.
    pub fn used_bytes(&self) -> u64 {
        u64::try_from(self.all.saturating_sub(self.commons.available_permits())).unwrap_or(u64::MAX) * PERMIT_BYTES
    }

    /// The share of one request, which waits for memory until `deadline`.
    pub fn request(&self, deadline: Instant) -> Arc<RequestBudget> {
        Arc::new(RequestBudget {
            commons: Arc::clone(&self.commons),
            reserve: Arc::clone(&self.reserve),
            own_reserve: OnceCell::new(),
            transit: Arc::new(Semaphore::new(usize::try_from(TRANSIT_BYTES / PERMIT_BYTES).unwrap_or(usize::MAX))),
            read: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            cap: self.request_bytes,
            deadline,
        })
    }
}

/// The share of one request.
#[derive(Debug)]
pub struct RequestBudget {
    commons: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    own_reserve: OnceCell<OwnedSemaphorePermit>,
    transit: Arc<Semaphore>,
    read: AtomicU64,
    exceeded: AtomicBool,
    cap: u64,
    deadline: Instant,
}

/// Room for something that is about to be read.
#[derive(Debug)]
struct Transit {
    /// None: it is in the reserve.
    common: Option<OwnedSemaphorePermit>,
    _transit: OwnedSemaphorePermit,
}

/// Memory that is in use; given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    _common: Vec<OwnedSemaphorePermit>,
    /// Keeps the reserve for as long as something may be in it.
    _request: Arc<RequestBudget>,
}

impl RequestBudget {
    /// Whether the request asked for more than one may read.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// The error of a request that is past its bound.
    pub fn error(&self) -> RegistryError {
        RegistryError::RequestTooLarge { cap: self.cap }
    }

    /// Room for at most `cap` bytes. See the module's header for why this ends.
    async fn transit(&self, what: &'static str, cap: u64) -> Result<Transit, RegistryError> {
        if self.is_exceeded() {
            return Err(self.error());
        }
        let permits = permits(cap.min(TRANSIT_BYTES));
        let room = async {
            let transit = Arc::clone(&self.transit).acquire_many_owned(permits).await?;
            let common = tokio::select! {
                biased;
                common = Arc::clone(&self.commons).acquire_many_owned(permits) => Some(common?),
                reserve = self.own_reserve.get_or_try_init(|| Arc::clone(&self.reserve).acquire_owned()) => {
                    reserve?;
                    None
                }
            };
            Ok::<_, AcquireError>(Transit { common, _transit: transit })
        };
        match tokio::time::timeout_at(self.deadline, room).await {
            Ok(Ok(transit)) => Ok(transit),
            Ok(Err(AcquireError { .. })) | Err(_) => Err(RegistryError::MemoryExhausted { what }),
        }
    }

    /// Counts what was read.
    fn spend(&self, bytes: u64) -> Result<(), RegistryError> {
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.cap {
            self.exceeded.store(true, Ordering::Relaxed);
            return Err(self.error());
        }
        Ok(())
    }
}

impl Transit {
    /// Gives back what the bytes did not need.
    fn settle(self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let mut common = self.common?;
        let taken = common.num_permits();
        let needed = usize::try_from(permits(bytes)).unwrap_or(usize::MAX);
        drop(common.split(taken.saturating_sub(needed)));
        Some(common)
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// A source whose bytes are counted against a request for as long as this, or what [`Metered::into_held`] gives, is there.
#[derive(Debug)]
pub struct Metered<'a, S> {
    source: &'a S,
    request: Arc<RequestBudget>,
    held: Mutex<Vec<OwnedSemaphorePermit>>,
}

impl<'a, S> Metered<'a, S> {
    /// This source, for this request.
    pub fn new(source: &'a S, request: &Arc<RequestBudget>) -> Self {
        Self { source, request: Arc::clone(request), held: Mutex::default() }
    }

    /// What holds the memory of everything that was read, without the source.
    pub fn into_held(self) -> Held {
        let common = self.held.into_inner().unwrap_or_else(PoisonError::into_inner);
        Held { _common: common, _request: self.request }
    }

    async fn read<T>(
        &self,
        what: &'static str,
        cap: u64,
        size: impl FnOnce(&T) -> u64,
        read: impl Future<Output = Result<Option<T>, RegistryError>>,
    ) -> Result<Option<T>, RegistryError> {
        let transit = self.request.transit(what, cap).await?;
        let Some(found) = read.await? else { return Ok(None) };
        let bytes = size(&found);
        self.request.spend(bytes)?;
        if let Some(common) = transit.settle(bytes) {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push(common);
        }
        Ok(Some(found))
    }
}

impl<S: ImageSource> ImageSource for Metered<'_, S> {
    async fn manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let read = self.source.manifest(repository, selector, cap);
        self.read("a manifest", cap.min(MANIFEST_BYTES), |manifest| length(manifest.bytes()), read).await
    }

    async fn blob(&self, repository: &Repository, digest: &Digest, cap: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        self.read("a signature", cap, |bytes| length(bytes), self.source.blob(repository, digest, cap)).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let size = |entries: &Vec<Descriptor>| entries.iter().map(weight).sum::<u64>().min(REFERRERS_BYTES);
        self.read("a listing of referrers", REFERRERS_BYTES, size, self.source.referrers(repository, digest)).await
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// About what a descriptor took in its listing.
fn weight(entry: &Descriptor) -> u64 {
    let texts = entry.annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let texts = texts + entry.media_type.len() + entry.artifact_type.as_ref().map_or(0, String::len);
    u64::try_from(texts).unwrap_or(u64::MAX).saturating_add(128)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A budget whose commons are 32 MiB.
    fn small() -> MemoryBudget {
        MemoryBudget::new(LEAST_MEMORY_BYTES, REQUEST_BYTES)
    }

    fn held(request: &Arc<RequestBudget>, transit: Transit, bytes: u64) -> Held {
        Held { _common: transit.settle(bytes).into_iter().collect(), _request: Arc::clone(request) }
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    /// Three requests that each keep what they have and ask for more than is left: without the reserve, each would wait for the
    /// other two. Paused time advances only when all wait, so that a deadlock shows as an error and not as a slow test.
    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_while_they_hold_all_come_to_their_end() {
        let budget = small();
        let one = async |_: u8| {
            let request = budget.request(in_a_minute());
            let first = held(&request, request.transit("a", 10 * MIB).await.unwrap(), 10 * MIB);
            tokio::task::yield_now().await;
            let more = futures::future::join_all((0..8).map(|_| async {
                let room = request.transit("b", 16 * MIB).await?;
                tokio::task::yield_now().await;
                Ok::<_, RegistryError>(held(&request, room, 12 * MIB))
            }))
            .await;
            drop(first);
            more.into_iter().all(|more| more.is_ok())
        };
        assert_eq!(futures::join!(one(1), one(2), one(3)), (true, true, true));
        assert_eq!((budget.commons.available_permits(), budget.reserve.available_permits()), (32 << 10, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_finds_no_room_until_its_deadline_says_so() {
        let budget = small();
        let (first, second, third) =
            (budget.request(in_a_minute()), budget.request(in_a_minute()), budget.request(in_a_minute()));
        let commons = held(&first, first.transit("a", 32 * MIB).await.unwrap(), 32 * MIB);
        let reserve = held(&second, second.transit("b", MIB).await.unwrap(), MIB);
        let error = third.transit("a manifest", MIB).await.unwrap_err();
        assert_eq!(error, RegistryError::MemoryExhausted { what: "a manifest" });
        assert!(error.is_undecided() && error.ends_the_search());
        for freed in [commons, reserve] {
            drop(freed);
            drop((budget.request(in_a_minute()).transit("c", MIB).await).unwrap());
        }
    }

    /// The reserve is somebody's until the last of their bytes is gone, even if the request itself has ended.
    #[tokio::test(start_paused = true)]
    async fn a_thread_that_still_verifies_keeps_its_memory() {
        let budget = small();
        let (first, second) = (budget.request(in_a_minute()), budget.request(in_a_minute()));
        let commons = held(&first, first.transit("a", 32 * MIB).await.unwrap(), 32 * MIB);
        let verified = held(&second, second.transit("b", MIB).await.unwrap(), MIB);
        drop(second);
        assert!(budget.request(in_a_minute()).transit("c", MIB).await.is_err());
        drop(verified);
        assert!(budget.request(in_a_minute()).transit("c", MIB).await.is_ok());
        drop(commons);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_needed_is_given_back() {
        let budget = small();
        let request = budget.request(in_a_minute());
        let transit = request.transit("a", 16 * MIB).await.unwrap();
        assert_eq!(budget.commons.available_permits(), 16 << 10);
        let kept = held(&request, transit, 1_025);
        assert_eq!(budget.commons.available_permits(), (32 << 10) - 2);
        drop(kept);
        assert_eq!(budget.commons.available_permits(), 32 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn past_its_bound_a_request_reads_nothing_any_more() {
        let budget = MemoryBudget::new(MEMORY_BYTES, 10);
        let request = budget.request(in_a_minute());
        assert_eq!((request.spend(10), request.is_exceeded()), (Ok(()), false));
        let error = RegistryError::RequestTooLarge { cap: 10 };
        assert_eq!((request.spend(1), request.is_exceeded()), (Err(error.clone()), true));
        assert_eq!(request.transit("a", 1).await.unwrap_err(), error);
        assert!(!error.is_undecided() && error.ends_the_search());
    }
}
