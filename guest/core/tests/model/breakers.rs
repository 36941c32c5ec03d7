//! Rule 7, plainly.

use remora_core::{BreakerChange, BreakerPolicy, Outcome};

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

#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaker {
    pub(crate) gate: Gate,
    /// How often in a row it has opened.
    openings: u32,
    /// When it last counted a failure.
    failed_at: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            gate: Gate::closed(),
            openings: 0,
            failed_at: 0,
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

    /// For how long it refuses everybody; `None`: it admits somebody now.
    pub(crate) fn refuses(&self, now: u64) -> Option<u64> {
        self.until()
            .filter(|until| now < *until)
            .map(|until| until - now)
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

    /// A verdict that is not stale.
    pub(crate) fn verdict(
        &mut self,
        now: u64,
        (probe, since): (bool, u64),
        outcome: Outcome,
        policy: &BreakerPolicy,
    ) -> BreakerChange {
        match (self.gate, outcome) {
            // Only a request that began after the last failure says that the proxy has recovered.
            (Gate::Closed { .. }, Outcome::Success) if since >= self.failed_at => {
                self.gate = Gate::closed();
                BreakerChange::None
            }
            (Gate::Closed { failures }, Outcome::Failure) => {
                self.failed_at = now;
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
            (Gate::Probing { .. }, Outcome::Success) if probe => {
                *self = Self::default();
                BreakerChange::Closed
            }
            (Gate::Probing { .. }, Outcome::Failure) if probe => {
                self.open(now, policy);
                BreakerChange::Reopened
            }
            (Gate::Probing { .. }, Outcome::Blocked | Outcome::Cancelled) if probe => {
                self.gate = Gate::Open { until: now };
                BreakerChange::ProbeReturned
            }
            _ => BreakerChange::None,
        }
    }

    fn open(&mut self, now: u64, policy: &BreakerPolicy) {
        let mut wait = policy.half_open_after_ms;
        for _ in 0..self.openings {
            wait *= u64::from(policy.growth);
            wait = wait.min(policy.max_half_open_after_ms.max(policy.half_open_after_ms));
        }
        self.openings += 1;
        self.gate = Gate::Open { until: now + wait };
    }
}
