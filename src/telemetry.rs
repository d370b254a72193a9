//! Logs and metrics: set-up, metric families and their labels, which are closed enums.
//!
//! A counter is bumped once a request, from its decision, never between the steps. No label and no log line carries a secret.

mod logs;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::decision::{Answer, Decision};
use crate::monitor::Readings;
use crate::store::{Kind, Reading};
use logs::LogMetrics;

/// How logs are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Which logs are written, as text that was found to be a filter.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl std::str::FromStr for LogFilter {
    type Err = String;

    /// A level, or levels by target: `info,countersign=debug`. A word that is no level would be taken for a target by the library, and
    /// a misspelt level would write nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        for directive in text.split(',').filter(|directive| !directive.contains('=')) {
            let level = directive.parse::<LevelFilter>().ok().filter(|_| !directive.is_empty());
            level.ok_or_else(|| format!("{directive:?} is no level"))?;
        }
        EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

/// Starts logging to standard error. Called once, by `serve`.
pub fn start_logging(format: LogFormat, LogFilter(filter): &LogFilter) {
    let filter = EnvFilter::new(filter);
    // A line that cannot be written would be reported by `eprintln!`, which panics where standard error is what cannot be written.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
}

/// How a review ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum ReviewResult {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// Denied because it could not be judged.
    Undecided,
    /// Not an AdmissionReview that can be read.
    Undecodable,
    /// Sent away: too many at once.
    Shed,
    /// Sent away: nothing to judge by yet, or any more.
    NotReady,
    /// Broken off by a bug.
    Panicked,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReviewLabels {
    result: ReviewResult,
}

/// A part of the store.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum CachePart {
    /// Layers, by digest.
    Blob,
    /// What candidates proved or did not.
    Evidence,
    /// Referrers, and the tags that hold signatures.
    Listing,
    /// Manifests, by digest.
    Manifest,
    /// What tags name.
    Resolution,
}

impl From<Kind> for CachePart {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Blob => Self::Blob,
            Kind::Evidence => Self::Evidence,
            Kind::Listing => Self::Listing,
            Kind::Manifest => Self::Manifest,
            Kind::Resolution => Self::Resolution,
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CacheLabels {
    part: CachePart,
}

/// How a configuration review ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum ConfigurationResult {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// Sent away: too many at once.
    Shed,
    /// Broken off by a bug.
    Panicked,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ConfigurationLabels {
    result: ConfigurationResult,
}

/// How the refresh of a trust root ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
enum RefreshResult {
    Succeeded,
    Refused,
    Failed,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RefreshLabels {
    result: RefreshResult,
}

/// The only labels that are no closed list: administrators name roots, and there are few.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RootLabels {
    root: String,
}

/// Refreshes of trust roots since the process started.
#[derive(Clone, Copy, Debug)]
pub struct RefreshFigures {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those in which the repository broke a rule.
    pub refused: u64,
    /// Those that found no mirror, or no answer in time.
    pub failed: u64,
}

/// Figures of one trust root that comes through TUF.
#[derive(Clone, Debug)]
pub struct RootFigures {
    /// Its name.
    pub root: String,
    /// Whether policies can be judged by it.
    pub usable: bool,
    /// Seconds since it was refreshed.
    pub age_seconds: Option<i64>,
    /// Seconds until its metadata expires; negative: since it did.
    pub expires_in_seconds: Option<i64>,
}

/// All metric families.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reviews: Family<ReviewLabels, Counter>,
    seconds: Histogram,
    policies: Gauge<u64, AtomicU64>,
    invalid_policies: Gauge<u64, AtomicU64>,
    cache_hits: Family<CacheLabels, Counter>,
    cache_misses: Family<CacheLabels, Counter>,
    cache_bytes: Family<CacheLabels, Gauge<u64, AtomicU64>>,
    configuration_reviews: Family<ConfigurationLabels, Counter>,
    leads: Gauge,
    refreshes: Family<RefreshLabels, Counter>,
    root_usable: Family<RootLabels, Gauge>,
    root_age: Family<RootLabels, Gauge>,
    root_expires: Family<RootLabels, Gauge>,
    logs: LogMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let reviews = Family::default();
        let seconds = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let policies = Gauge::default();
        let invalid_policies = Gauge::default();
        registry.register("admission_reviews", "Admission reviews, by how they ended", reviews.clone());
        registry.register("admission_review_duration_seconds", "Time that a judged review took", seconds.clone());
        registry.register("policies", "Policies in force", policies.clone());
        registry.register("invalid_policies", "Stored policies that do not parse", invalid_policies.clone());
        let (cache_hits, cache_misses, cache_bytes) = (Family::default(), Family::default(), Family::default());
        registry.register(
            "cache_hits",
            "Questions answered from memory, or by the work of another",
            cache_hits.clone(),
        );
        registry.register("cache_misses", "Questions passed on to a registry, or verified", cache_misses.clone());
        registry.register("cache_bytes", "Bytes held in memory", cache_bytes.clone());
        let (configuration_reviews, leads, refreshes) = (Family::default(), Gauge::default(), Family::default());
        registry.register(
            "configuration_reviews",
            "Admission reviews of our own kinds, by how they ended",
            configuration_reviews.clone(),
        );
        registry.register("leads", "1 on the replica that writes status and Events", leads.clone());
        registry.register(
            "trust_root_refreshes",
            "Refreshes of trust roots through TUF, by how they ended",
            refreshes.clone(),
        );
        let (root_usable, root_age, root_expires) = (Family::default(), Family::default(), Family::default());
        registry.register("trust_root_usable", "1 if policies can be judged by the trust root", root_usable.clone());
        registry.register("trust_root_age_seconds", "Time since the trust root was refreshed", root_age.clone());
        registry.register(
            "trust_root_expires_in_seconds",
            "Time until metadata of the trust root expires; negative: since it did",
            root_expires.clone(),
        );
        let logs = LogMetrics::register(&mut registry);
        Self {
            registry,
            reviews,
            seconds,
            policies,
            invalid_policies,
            cache_hits,
            cache_misses,
            cache_bytes,
            configuration_reviews,
            leads,
            refreshes,
            root_usable,
            root_age,
            root_expires,
            logs,
        }
    }
}

impl Metrics {
    /// Counts a review that was judged, or was not decodable.
    pub fn judged(&self, decision: Option<&Decision>, took: Duration) {
        let result = match decision.map(Decision::outcome) {
            None => ReviewResult::Undecodable,
            Some(Answer::Allow) => ReviewResult::Allow,
            Some(Answer::Deny) => ReviewResult::Deny,
            Some(Answer::Undecided) => ReviewResult::Undecided,
        };
        self.count(result);
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts a review that was sent away.
    pub fn count(&self, result: ReviewResult) {
        self.reviews.get_or_create(&ReviewLabels { result }).inc();
    }

    /// Counts a review of one of our own kinds.
    pub fn configured(&self, result: ConfigurationResult) {
        self.configuration_reviews.get_or_create(&ConfigurationLabels { result }).inc();
    }

    /// Takes over whether this replica writes for all.
    pub fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// Takes over how refreshes ended. Those of a root that is declared no more are not taken back.
    pub fn refreshed(&self, RefreshFigures { succeeded, refused, failed }: RefreshFigures) {
        for (result, count) in
            [(RefreshResult::Succeeded, succeeded), (RefreshResult::Refused, refused), (RefreshResult::Failed, failed)]
        {
            self.refreshes.get_or_create(&RefreshLabels { result }).inner().fetch_max(count, Ordering::Relaxed);
        }
    }

    /// Takes over the figures of all trust roots; those that are not among them are forgotten.
    pub fn trust_roots(&self, figures: impl IntoIterator<Item = RootFigures>) {
        for family in [&self.root_usable, &self.root_age, &self.root_expires] {
            family.clear();
        }
        for RootFigures { root, usable, age_seconds, expires_in_seconds } in figures {
            let labels = RootLabels { root };
            self.root_usable.get_or_create(&labels).set(i64::from(usable));
            for (family, seconds) in [(&self.root_age, age_seconds), (&self.root_expires, expires_in_seconds)] {
                if let Some(seconds) = seconds {
                    family.get_or_create(&labels).set(seconds);
                }
            }
        }
    }

    /// Takes over the figures of the store, which counts by itself.
    pub fn remembered(&self, readings: &[Reading]) {
        for Reading { kind, hits, misses, bytes } in readings {
            let labels = CacheLabels { part: CachePart::from(*kind) };
            // The store's counters only grow, so a later reading may replace an earlier one.
            self.cache_hits.get_or_create(&labels).inner().fetch_max(*hits, Ordering::Relaxed);
            self.cache_misses.get_or_create(&labels).inner().fetch_max(*misses, Ordering::Relaxed);
            self.cache_bytes.get_or_create(&labels).set(*bytes);
        }
    }

    /// Takes over the figures of the monitor, which counts by itself.
    pub fn monitored(&self, readings: &Readings) {
        self.logs.take(readings);
    }

    /// The exposition in `OpenMetrics` text, with the policies as they are now.
    pub fn render(&self, policies: (usize, usize)) -> String {
        self.policies.set(policies.0 as u64);
        self.invalid_policies.set(policies.1 as u64);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn every_part_of_the_store_has_its_figures() {
        let metrics = Metrics::default();
        metrics.remembered(&Store::default().readings());
        let later = Reading { kind: Kind::Evidence, hits: 7, misses: 2, bytes: 4_096 };
        metrics.remembered(&[later]);
        metrics.remembered(&[later]);
        let text = metrics.render((0, 0));
        for line in [
            r#"countersign_cache_hits_total{part="Evidence"} 7"#,
            r#"countersign_cache_misses_total{part="Evidence"} 2"#,
            r#"countersign_cache_bytes{part="Evidence"} 4096"#,
            r#"countersign_cache_hits_total{part="Blob"} 0"#,
            r#"countersign_cache_bytes{part="Listing"} 0"#,
            r#"countersign_cache_misses_total{part="Manifest"} 0"#,
            r#"countersign_cache_misses_total{part="Resolution"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_root_that_is_gone_has_no_figures() {
        let metrics = Metrics::default();
        let figures = |root: &str, age_seconds| RootFigures {
            root: root.to_owned(),
            usable: true,
            age_seconds,
            expires_in_seconds: Some(-3),
        };
        metrics.trust_roots([figures("a", None), figures("b", Some(5))]);
        let text = metrics.render((0, 0));
        for line in [
            r#"countersign_trust_root_usable{root="a"} 1"#,
            r#"countersign_trust_root_age_seconds{root="b"} 5"#,
            r#"countersign_trust_root_expires_in_seconds{root="b"} -3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains(r#"age_seconds{root="a"}"#), "{text}");
        metrics.trust_roots([figures("b", None)]);
        let text = metrics.render((0, 0));
        assert!(!text.contains(r#"root="a""#) && !text.contains(r#"age_seconds{root="b"}"#), "{text}");
    }

    #[test]
    fn the_figures_of_logs_are_those_of_the_monitor() {
        let metrics = Metrics::default();
        let readings = Readings { consistent: 3, forked: 1, entries_read: 7, entries_behind: 5, ..Readings::default() };
        metrics.monitored(&readings);
        metrics.monitored(&readings);
        let text = metrics.render((0, 0));
        for line in [
            r#"countersign_log_trees{state="Consistent"} 3"#,
            r#"countersign_log_trees{state="Forked"} 1"#,
            r#"countersign_log_trees{state="Unknown"} 0"#,
            "countersign_log_entries_read_total 7",
            "countersign_log_entries_behind 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
