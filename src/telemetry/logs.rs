//! The metrics of transparency logs: how their trees stand, and how far their entries are read.
//!
//! Which log it is, Events and the log say: it is no label, since trust roots may name any number.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::monitor::Readings;

/// How a tree of a log stands.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
enum TreeState {
    Consistent,
    Forked,
    RolledBack,
    Unknown,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TreeLabels {
    state: TreeState,
}

/// What the monitor of logs counts.
#[derive(Debug, Default)]
pub(super) struct LogMetrics {
    trees: Family<TreeLabels, Gauge<u64, AtomicU64>>,
    heads_dropped: Counter,
    entries_read: Counter,
    entries_behind: Gauge<u64, AtomicU64>,
    entries_unannounced: Counter,
}

impl LogMetrics {
    /// Registers all of them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("log_trees", "Trees of transparency logs, by how they stand", metrics.trees.clone());
        registry.register(
            "log_heads_dropped",
            "Heads in evidence that could not be compared with what is known",
            metrics.heads_dropped.clone(),
        );
        registry.register("log_entries_read", "Entries of logs that were read", metrics.entries_read.clone());
        registry.register(
            "log_entries_behind",
            "Entries of logs that are still to be read",
            metrics.entries_behind.clone(),
        );
        registry.register(
            "log_entries_unannounced",
            "Entries under identities that policies trust, of no image that was seen here",
            metrics.entries_unannounced.clone(),
        );
        metrics
    }

    /// Takes over figures.
    pub(super) fn take(&self, readings: &Readings) {
        for (state, trees) in [
            (TreeState::Consistent, readings.consistent),
            (TreeState::Forked, readings.forked),
            (TreeState::RolledBack, readings.rolled_back),
            (TreeState::Unknown, readings.unknown),
        ] {
            self.trees.get_or_create(&TreeLabels { state }).set(trees);
        }
        // The monitor's counters only grow, so a later reading may replace an earlier one.
        let latest = |counter: &Counter, value| counter.inner().fetch_max(value, Ordering::Relaxed);
        latest(&self.heads_dropped, readings.heads_dropped);
        latest(&self.entries_read, readings.entries_read);
        latest(&self.entries_unannounced, readings.entries_unannounced);
        self.entries_behind.set(readings.entries_behind);
    }
}
