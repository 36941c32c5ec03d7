//! Counters, under the gateway's names. They are kept here and told to Envoy with every tick: a call to the host
//! for each would be paid for by every request.

use std::cell::Cell;

use remora_core::{AcquireError, BreakerChange, Outcome, Reason, names};

use crate::host;

/// A counter for each value of a label. `stats_config` of the generated bootstrap makes a label of what stands
/// behind the name.
struct Counters<const N: usize>([(&'static str, Option<u32>, Cell<u64>); N]);

impl<const N: usize> Counters<N> {
    fn new(name: &str, label: &str, values: [&'static str; N]) -> Self {
        Self(values.map(|value| {
            let metric = host::counter(&format!("{name}_total.{label}={value}"));
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
    releases: Counters<7>,
    breakers: Counters<4>,
    sessions: Option<u32>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            acquires: Counters::new(names::ACQUIRES, "result", names::RESULTS),
            releases: Counters::new(names::RELEASES, "outcome", Outcome::ALL.map(Outcome::name)),
            breakers: Counters::new(
                names::BREAKER_TRANSITIONS,
                "change",
                BreakerChange::ALL.map(BreakerChange::name),
            ),
            sessions: host::gauge(names::SESSIONS),
        }
    }

    pub(crate) fn acquired(&self, reason: Reason) {
        self.acquires.count(reason.name());
    }

    pub(crate) fn refused(&self, error: &AcquireError) {
        self.acquires.count(error.name());
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
