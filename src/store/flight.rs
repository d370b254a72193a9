//! One piece of work in flight per key: whoever asks for what is being fetched already waits for it.
//!
//! Nothing is remembered here. A result goes to those who waited while it was made, and to nobody later; what is kept for later, and
//! for how long, is the shelves' affair. The work runs in the future of whoever came first. If that future is dropped, at its
//! deadline say, the next in line does the work anew, so that nobody fails by another's deadline.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Slot<V> = Arc<tokio::sync::Mutex<Option<V>>>;

/// The flights of one kind of work.
pub(super) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Flight<V>>>,
}

struct Flight<V> {
    slot: Slot<V>,
    riders: usize,
}

/// A result, and how its asker came by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Landed<V> {
    pub(super) value: V,
    /// By doing the work; else by waiting for another who did.
    pub(super) led: bool,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Flights({} under way)", self.lock().len())
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    /// Waits for the work on this key that is under way, or does it. A result that `is_for_all` refuses stays with whoever led, and
    /// the next in line leads.
    pub(super) async fn run(
        &self,
        key: K,
        is_for_all: impl Fn(&V) -> bool,
        work: impl Future<Output = V>,
    ) -> Landed<V> {
        let seat = Seat::take(self, key);
        // The lock is fair: whoever waits longest leads next.
        let mut result = seat.slot.lock().await;
        if let Some(result) = &*result {
            return Landed { value: result.clone(), led: false };
        }
        let made = work.await;
        if is_for_all(&made) {
            *result = Some(made.clone());
            seat.close();
        }
        Landed { value: made, led: true }
    }
}

/// A place in a flight; the last to leave an unfinished one takes it out of the list.
struct Seat<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    slot: Slot<V>,
}

impl<'a, K: Clone + Eq + Hash, V> Seat<'a, K, V> {
    fn take(flights: &'a Flights<K, V>, key: K) -> Self {
        let mut under_way = flights.lock();
        let flight = under_way.entry(key.clone()).or_insert_with(|| Flight { slot: Slot::default(), riders: 0 });
        flight.riders += 1;
        let slot = Arc::clone(&flight.slot);
        drop(under_way);
        Self { flights, key, slot }
    }
}

impl<K: Eq + Hash, V> Seat<'_, K, V> {
    /// Lets nobody join any more: a result is for those who waited for it.
    fn close(&self) {
        let mut under_way = self.flights.lock();
        if under_way.get(&self.key).is_some_and(|flight| Arc::ptr_eq(&flight.slot, &self.slot)) {
            under_way.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        let Some(flight) = under_way.get_mut(&self.key).filter(|flight| Arc::ptr_eq(&flight.slot, &self.slot)) else {
            return;
        };
        flight.riders -= 1;
        if flight.riders == 0 {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;

    type Outcome = Result<usize, &'static str>;

    /// Work that takes a second and says which turn it was.
    async fn count(turns: &AtomicUsize, result: impl Fn(usize) -> Outcome) -> Outcome {
        let turn = turns.fetch_add(1, Ordering::SeqCst) + 1;
        sleep(Duration::from_secs(1)).await;
        result(turn)
    }

    fn led(value: Outcome) -> Landed<Outcome> {
        Landed { value, led: true }
    }

    fn waited(value: Outcome) -> Landed<Outcome> {
        Landed { value, led: false }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_one_result_even_an_error_and_later_ones_do_not() {
        let (flights, turns) = (Flights::default(), AtomicUsize::new(0));
        for (expected, result) in [(1, Ok(7)), (2, Err("no"))] {
            let ask = || flights.run("key", |_| true, count(&turns, move |_| result));
            let landed = join_all((0..50).map(|_| ask())).await;
            assert_eq!(turns.load(Ordering::SeqCst), expected);
            assert_eq!(landed.iter().filter(|landed| landed.led).count(), 1);
            assert!(landed.iter().all(|landed| landed.value == result), "{landed:?}");
        }
        assert_eq!(flights.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn other_keys_do_not_wait() {
        let (flights, turns) = (Flights::default(), AtomicUsize::new(0));
        join_all(["a", "b"].map(|key| flights.run(key, |_| true, count(&turns, Ok)))).await;
        assert_eq!(turns.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_dropped_fails_nobody_but_itself() {
        let (flights, turns) = (Flights::default(), AtomicUsize::new(0));
        let ask = || flights.run("key", |_| true, count(&turns, Ok));
        let (leader, second, third) = tokio::join!(biased; timeout(Duration::from_millis(500), ask()), ask(), ask());
        assert!(leader.is_err());
        assert_eq!((second, third), (led(Ok(2)), waited(Ok(2))));
        // One who waits may leave too, and nothing stays behind.
        let (first, waiter) = tokio::join!(biased; ask(), timeout(Duration::from_millis(500), ask()));
        assert_eq!((first, waiter.is_err()), (led(Ok(3)), true));
        assert!(timeout(Duration::from_millis(500), ask()).await.is_err());
        assert_eq!(flights.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_for_all_stays_with_its_leader() {
        let (flights, turns) = (Flights::default(), AtomicUsize::new(0));
        let fails_first = |turn| if turn == 1 { Err("late") } else { Ok(turn) };
        let ask = || flights.run("key", Outcome::is_ok, count(&turns, fails_first));
        let landed = join_all((0..3).map(|_| ask())).await;
        assert_eq!(landed, [led(Err("late")), led(Ok(2)), waited(Ok(2))]);
        assert_eq!(flights.lock().len(), 0);
    }
}
