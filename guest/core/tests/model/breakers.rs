//! Rule 7 and the strikes of rule 13, plainly.

use remora_core::{BreakerChange, BreakerPolicy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Closed {
        failures: u32,
    },
    /// Refuses until then, then waits for a probe.
    Open {
        until: u64,
    },
    /// A probe is out; it has time until then.
    Probing {
        until: u64,
    },
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// The ambiguous ends that an exit has counted since it last served a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// Each target once. `TARGETS` has no more sites than a row remembers.
    pub(crate) sites: Vec<String>,
    counted_at: u64,
    witnessed: bool,
}

impl Row {
    pub(crate) fn strike(&mut self, now: u64, site: String, worse: bool, gap_ms: u64) {
        let apart = self.sites.is_empty() || now - self.counted_at >= gap_ms;
        if apart && !self.sites.contains(&site) {
            self.sites.push(site);
            self.counted_at = now;
        }
        if worse {
            self.witness();
        }
    }

    /// A witness of nothing is none.
    pub(crate) fn witness(&mut self) {
        self.witnessed = !self.sites.is_empty();
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    pub(crate) gate: Gate,
    /// How often in a row it has opened.
    openings: u32,
    pub(crate) row: Row,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            gate: Gate::closed(),
            openings: 0,
            row: Row::default(),
        }
    }
}

impl Breaker {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.gate, Gate::Closed { .. })
    }

    pub(crate) fn until(&self) -> Option<u64> {
        match self.gate {
            Gate::Closed { .. } => None,
            Gate::Open { until } | Gate::Probing { until } => Some(until),
        }
    }

    /// Whether its row opens it, if enough others stay closed.
    pub(crate) fn has_enough_strikes(&self, policy: &BreakerPolicy) -> bool {
        let enough = self.row.sites.len() >= policy.open_threshold as usize;
        self.is_closed() && self.row.witnessed && enough
    }

    /// Whether a session that was bound since it last opened or sent out a probe may go on: always
    /// while it is closed, else as long as the probe that bound the session may take.
    pub(crate) fn lets_its_session(&self, now: u64) -> bool {
        match self.gate {
            Gate::Closed { .. } => true,
            Gate::Open { .. } => false,
            Gate::Probing { until } => now < until,
        }
    }

    /// A verdict that is not stale, of a request that is its probe or not.
    pub(crate) fn verdict(
        &mut self,
        now: u64,
        probe: bool,
        verdict: Verdict,
        policy: &BreakerPolicy,
    ) -> BreakerChange {
        match (self.gate, verdict) {
            (Gate::Closed { .. }, Verdict::Serves) => {
                *self = Self::default();
                BreakerChange::None
            }
            (Gate::Closed { failures }, Verdict::Fails) => {
                if failures + 1 < policy.open_threshold {
                    self.gate = Gate::Closed {
                        failures: failures + 1,
                    };
                    BreakerChange::None
                } else {
                    self.open(now, policy);
                    BreakerChange::Opened
                }
            }
            (Gate::Probing { .. }, Verdict::Serves) if probe => {
                *self = Self::default();
                BreakerChange::Closed
            }
            (Gate::Probing { .. }, Verdict::Fails) if probe => {
                self.open(now, policy);
                BreakerChange::Reopened
            }
            (Gate::Probing { .. }, Verdict::Neither) if probe => {
                self.gate = Gate::Open { until: now };
                BreakerChange::ProbeReturned
            }
            _ => BreakerChange::None,
        }
    }

    pub(crate) fn open(&mut self, now: u64, policy: &BreakerPolicy) {
        let mut wait = policy.half_open_after_ms;
        for _ in 0..self.openings {
            wait *= u64::from(policy.growth);
            wait = wait.min(policy.max_half_open_after_ms.max(policy.half_open_after_ms));
        }
        self.openings += 1;
        self.row = Row::default();
        self.gate = Gate::Open { until: now + wait };
    }
}

/// What an attempt says about its exit, apart from strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serves,
    Fails,
    Neither,
}
