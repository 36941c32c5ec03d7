//! What is counted. Decisions are counted by the names of the core, as in the Envoy filter.

mod text;

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use remora_host::{BreakerChange, Error, Outcome, Reason, names};

pub(crate) use text::{Pool, text};

/// The counters of one pool.
#[derive(Debug)]
pub(crate) struct Metrics {
    acquires: Counters,
    releases: Counters,
    breakers: Counters,
    limited: Counters,
    retries: AtomicU64,
}

/// The connections of clients, whoever they are.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) connections: Gauge,
    pub(crate) tunnels: Gauge,
}

/// A counter for each value of a label.
#[derive(Debug)]
struct Counters(Vec<(&'static str, AtomicU64)>);

impl Counters {
    fn of(values: impl IntoIterator<Item = &'static str>) -> Self {
        Self(
            values
                .into_iter()
                .map(|value| (value, AtomicU64::new(0)))
                .collect(),
        )
    }

    /// One more of `value`; one that is none of the label's is not counted (`BreakerChange::None`).
    fn count(&self, value: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(name, _)| *name == value) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            // A plugin inside Envoy cannot fail without the filter failing.
            acquires: Counters::of(names::RESULTS.into_iter().chain(["plugin"])),
            releases: Counters::of(Outcome::ALL.map(Outcome::name)),
            breakers: Counters::of(BreakerChange::ALL.map(BreakerChange::name)),
            limited: Counters::of(["concurrent-requests", "requests-per-second"]),
            retries: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    pub(crate) fn granted(&self, reason: Reason) {
        self.acquires.count(reason.name());
    }

    pub(crate) fn refused(&self, error: &Error) {
        self.acquires.count(error.name());
    }

    pub(crate) fn released(&self, outcome: Outcome) {
        self.releases.count(outcome.name());
    }

    pub(crate) fn breaker(&self, change: BreakerChange) {
        self.breakers.count(change.name());
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A request went beyond a limit of its tenant.
    pub(crate) fn limited(&self, limit: &str) {
        self.limited.count(limit);
    }
}
