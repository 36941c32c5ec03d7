//! Counters, under the gateway's names. They are kept here and told to Envoy with every tick: a call to the host
//! for each would be paid for by every request.

use std::cell::Cell;

use remora_core::{AcquireError, BreakerChange, Outcome, Reason};

use crate::host;
use crate::refusal::Refusal;

/// A counter for each value of a label. `stats_config` of the generated bootstrap makes a label of what stands
/// behind the name.
struct Counters<const N: usize>([(&'static str, Option<u32>, Cell<u64>); N]);

impl<const N: usize> Counters<N> {
    fn new(name: &str, label: &str, values: [&'static str; N]) -> Self {
        Self(values.map(|value| {
            let metric = host::counter(&format!("{name}.{label}={value}"));
            (value, metric, Cell::new(0))
        }))
    }

    fn count(&self, value: &str) {
        for (name, _, count) in &self.0 {
            if *name == value {
                count.set(count.get() + 1);
                return;
            }
        }
    }

    fn flush(&self) {
        for (_, metric, count) in &self.0 {
            if let (Some(metric), by @ 1..) = (metric, count.take()) {
                host::increment(*metric, by);
            }
        }
    }
}

/// What is counted.
pub(crate) struct Metrics {
    acquires: Counters<10>,
    releases: Counters<4>,
    breakers: Counters<4>,
    sessions: Option<u32>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let results = [
            "hit",
            "bound",
            "adopted",
            "rebound",
            "rotated",
            "exhausted",
            "no-proxy",
            "session-lost",
            "invalid",
            "storage",
        ];
        let outcomes = [
            Outcome::Success,
            Outcome::Failure,
            Outcome::Blocked,
            Outcome::Cancelled,
        ];
        let changes = [
            BreakerChange::Opened,
            BreakerChange::Reopened,
            BreakerChange::Closed,
            BreakerChange::ProbeReturned,
        ];
        Self {
            acquires: Counters::new("remora_acquires_total", "result", results),
            releases: Counters::new(
                "remora_releases_total",
                "outcome",
                outcomes.map(Outcome::name),
            ),
            breakers: Counters::new(
                "remora_breaker_transitions_total",
                "change",
                changes.map(BreakerChange::name),
            ),
            sessions: host::gauge("remora_sessions"),
        }
    }

    pub(crate) fn acquired(&self, reason: Reason) {
        self.acquires.count(match reason {
            Reason::Hit => "hit",
            Reason::Bound => "bound",
            Reason::Adopted => "adopted",
            Reason::Rebound(_) => "rebound",
            Reason::Rotated => "rotated",
        });
    }

    pub(crate) fn refused(&self, error: &AcquireError) {
        self.acquires.count(Refusal::from(error).result);
    }

    pub(crate) fn released(&self, outcome: Outcome) {
        self.releases.count(outcome.name());
    }

    pub(crate) fn changed(&self, change: BreakerChange) {
        self.breakers.count(change.name());
    }

    pub(crate) fn sessions(&self, live: u64) {
        if let Some(gauge) = self.sessions {
            host::record(gauge, live);
        }
    }

    pub(crate) fn flush(&self) {
        self.acquires.flush();
        self.releases.flush();
        self.breakers.flush();
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.flush();
    }
}
