//! A bounded place for values with an end: what it holds weighs no more than was allowed, and nothing is given out past its time.
//!
//! `moka` decides what stays when space runs out: what is asked for often, so that a thousand images that come by once do not push
//! out those of every day. It tidies up in batches, which could overshoot by dozens of large entries; so each `put` makes it tidy up at
//! once. Expiry is judged here, by the clock of the runtime, to the moment.

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

/// What an entry weighs beside its value: key, bookkeeping, allocations. It also bounds the number of small ones.
const ENTRY_BYTES: usize = 512;

/// Values by key.
pub(super) struct Shelf<K, V> {
    entries: Cache<K, Entry<V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A value that has not expired.
#[derive(Clone)]
pub(super) struct Entry<V> {
    pub(super) value: V,
    /// When the question was asked that it answers.
    pub(super) asked: Instant,
    expires: Instant,
    weight: u32,
}

/// The figures of a shelf.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) bytes: u64,
}

impl<K, V> fmt::Debug for Shelf<K, V> {
    /// Without the contents, which may be private.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shelf")
    }
}

impl<K, V> Shelf<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A shelf of at most `bytes`, whose entries live no longer than `longest`.
    pub(super) fn new(bytes: u64, longest: Duration) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, entry: &Entry<V>| entry.weight)
            .time_to_live(longest)
            .build();
        Self { entries, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The entry, if it is there and has not expired. Counts nothing: whether it is of use is for the caller to see.
    pub(super) fn get(&self, key: &K) -> Option<Entry<V>> {
        self.entries.get(key).filter(|entry| Instant::now() < entry.expires)
    }

    /// Keeps a value of so many bytes, until `lifetime` after the question was asked. No lifetime: keeps nothing.
    pub(super) fn put(&self, key: K, value: V, bytes: usize, asked: Instant, lifetime: Duration) {
        if lifetime.is_zero() {
            return;
        }
        let weight = u32::try_from(bytes.saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX);
        self.entries.insert(key, Entry { value, asked, expires: asked + lifetime, weight });
        self.entries.run_pending_tasks();
    }

    /// Counts an answer that cost nothing.
    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that had to be got.
    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> Figures {
        self.entries.run_pending_tasks();
        Figures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.entries.weighted_size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn gives_nothing_out_past_its_time() {
        let shelf = Shelf::new(1 << 20, MINUTE);
        let second = Duration::from_secs(1);
        shelf.put("kept", 1, 1, Instant::now(), second);
        shelf.put("asked a second ago", 2, 1, Instant::now().checked_sub(second).unwrap(), second);
        shelf.put("never", 3, 1, Instant::now(), Duration::ZERO);
        assert_eq!(shelf.get(&"kept").map(|entry| entry.value), Some(1));
        assert!(shelf.get(&"asked a second ago").is_none());
        assert!(shelf.get(&"never").is_none());
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(shelf.get(&"kept").is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(shelf.get(&"kept").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn never_weighs_more_than_it_may() {
        let bytes = 1 << 20;
        let shelf = Shelf::new(bytes, MINUTE);
        let mut fullest = 0;
        for number in 0..1_000_usize {
            // From nothing to 256 KiB; the largest by itself is a quarter of the shelf.
            let size = (number * 7_919) % (256 << 10);
            shelf.put(number, (), size, Instant::now(), MINUTE);
            let held = shelf.figures().bytes;
            assert!(held <= bytes, "{number}: {held}");
            fullest = fullest.max(held);
        }
        assert!(fullest > bytes / 2, "it holds something: {fullest}");
        shelf.put(1_000, (), 2 << 20, Instant::now(), MINUTE);
        assert!(shelf.get(&1_000).is_none(), "larger than the shelf");
        // Small entries are bounded in number by what each weighs at least.
        let shelf = Shelf::new(bytes, MINUTE);
        for number in 0..10_000 {
            shelf.put(number, (), 0, Instant::now(), MINUTE);
        }
        assert!(shelf.entries.entry_count() <= 2_048, "{}", shelf.entries.entry_count());
    }
}
