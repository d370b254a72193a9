//! Who is judged now, who waits, and who is sent away.
//!
//! A fixed number of reviews are judged at a time. A slot that becomes free goes to the waiting namespace that has the fewest, so
//! that one which floods us waits for itself; among equals, to whoever has waited longest. As many may wait as are judged, of one
//! namespace half of these. Whoever finds no place to wait, or waits too long, is sent away: that is the last resort, because the API
//! server takes it for a failure and denies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The slots of a server.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    changed: Notify,
    total: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Reviews that are judged, by namespace; no entry is zero.
    judged: BTreeMap<Arc<str>, usize>,
    /// Those that wait, longest first.
    waiting: Vec<(u64, Arc<str>)>,
    next_ticket: u64,
}

/// A review that is judged; its slot is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    namespace: Arc<str>,
}

/// A review that waits; its place is free again when this is dropped.
struct Ticket<'a> {
    slots: &'a Arc<Slots>,
    number: u64,
}

impl Slots {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Notify::new(), total })
    }

    /// A slot for a review of this namespace. None: there is none, nor a place to wait, nor one before `until`.
    pub(super) async fn acquire(self: &Arc<Self>, namespace: &str, until: Instant) -> Option<Slot> {
        let namespace: Arc<str> = namespace.into();
        let number = self.lock().queue(&namespace, self.total)?;
        let ticket = Ticket { slots: self, number };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Heard from here on, so that nothing is missed between looking and waiting.
            changed.as_mut().enable();
            if self.lock().take(ticket.number, self.total) {
                return Some(Slot { slots: Arc::clone(self), namespace });
            }
            tokio::time::timeout_at(until, changed).await.ok()?;
        }
    }

    /// A panic while the lock was held would be a bug; counts stay usable all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A place among those that wait. Where a slot is free it is taken at once, so that only a full house counts.
    fn queue(&mut self, namespace: &Arc<str>, total: usize) -> Option<u64> {
        let of_namespace = self.waiting.iter().filter(|(_, waiting)| waiting == namespace).count();
        let is_full = self.free(total) <= self.waiting.len();
        if is_full && (self.waiting.len() >= total || of_namespace >= total.div_ceil(2)) {
            return None;
        }
        self.next_ticket += 1;
        self.waiting.push((self.next_ticket, Arc::clone(namespace)));
        Some(self.next_ticket)
    }

    /// Takes a slot if it is this one's turn.
    fn take(&mut self, ticket: u64, total: usize) -> bool {
        if self.free(total) == 0 {
            return false;
        }
        let judged = |namespace: &Arc<str>| self.judged.get(namespace).copied().unwrap_or_default();
        // The first of the least, and the longest waiting come first.
        let next = self.waiting.iter().min_by_key(|(_, namespace)| judged(namespace));
        let Some((_, namespace)) = next.filter(|(number, _)| *number == ticket) else { return false };
        *self.judged.entry(Arc::clone(namespace)).or_default() += 1;
        self.waiting.retain(|(number, _)| *number != ticket);
        true
    }

    fn free(&self, total: usize) -> usize {
        total.saturating_sub(self.judged.values().sum())
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.slots.lock().waiting.retain(|(number, _)| *number != self.number);
        // Another may be next now, also after one of them took its slot.
        self.slots.changed.notify_waiters();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.slots.lock();
            if let Some(judged) = state.judged.get_mut(&self.namespace) {
                *judged = judged.saturating_sub(1);
            }
            state.judged.retain(|_, judged| *judged > 0);
        }
        self.slots.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_goes_to_the_namespace_that_has_the_fewest() {
        let slots = Slots::new(3);
        let mut flood = Vec::new();
        for _ in 0..3 {
            flood.push(slots.acquire("flood", soon()).await.unwrap());
        }
        // Two of the flood wait first, then one of another namespace, which is next all the same.
        let (mut first, mut second) =
            (Box::pin(slots.acquire("flood", soon())), Box::pin(slots.acquire("flood", soon())));
        let mut other = Box::pin(slots.acquire("other", soon()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        flood.pop();
        let waited = futures::join!(first, second, other);
        assert!(waited.0.is_none() && waited.1.is_none() && waited.2.is_some(), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn among_equals_the_longest_waiting_is_next() {
        let slots = Slots::new(2);
        let held = (slots.acquire("a", soon()).await.unwrap(), slots.acquire("b", soon()).await.unwrap());
        let (mut first, mut second) = (Box::pin(slots.acquire("c", soon())), Box::pin(slots.acquire("d", soon())));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(held.0);
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.await.is_some_and(|slot| &*slot.namespace == "c"));
        assert!(second.await.is_some(), "the first was dropped with its slot");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_places_to_wait_for_others() {
        let slots = Slots::new(4);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(slots.acquire("flood", soon()).await.unwrap());
        }
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(slots.acquire("flood", soon()))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(slots.acquire("flood", soon()).now_or_never().is_some_and(|slot| slot.is_none()), "sent away at once");
        let mut others: Vec<_> = (0..2).map(|_| Box::pin(slots.acquire("other", soon()))).collect();
        assert!(others.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(
            slots.acquire("third", soon()).now_or_never().is_some_and(|slot| slot.is_none()),
            "every place is taken"
        );
        // Whoever stops waiting leaves the place.
        others.pop();
        assert!(slots.acquire("third", soon()).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn all_slots_are_there_again_in_the_end() {
        let slots = Slots::new(2);
        let all = (0..200).map(|number| {
            let slots = Arc::clone(&slots);
            async move {
                let namespace = format!("n{}", number % 150);
                let slot = slots.acquire(&namespace, soon()).await;
                tokio::task::yield_now().await;
                drop(slot);
            }
        });
        futures::future::join_all(all).await;
        let state = slots.lock();
        assert!(state.judged.is_empty() && state.waiting.is_empty() && state.free(2) == 2, "{state:?}");
    }
}
