//! Rule 7: when a proxy's circuit breaker opens, probes and closes.
//!
//! A pure state machine. Every opening, every probe and every probe given back starts a new *era*, and
//! a lease carries the era that admitted it: a verdict counts only while its era lasts. So a late
//! success cannot close an open breaker, a late failure cannot restart an open one's timer, and of two
//! probes only the newer is heard.

use alloc::vec::Vec;

use crate::error::Invalid;
use crate::storage::{Cell, StorageError};

/// The settings of all breakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BreakerPolicy {
    /// How many failures in a row open a breaker; at least 1.
    pub open_threshold: u32,
    /// How long an open breaker stays shut to everything, and how long a probe may take, in
    /// milliseconds; at least 1.
    pub half_open_after_ms: u64,
    /// By how much the wait grows with every failed probe; 1 keeps it the same.
    pub growth: u32,
    /// The longest the wait can grow, in milliseconds.
    pub max_half_open_after_ms: u64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            open_threshold: 5,
            half_open_after_ms: 30_000,
            growth: 1,
            max_half_open_after_ms: 600_000,
        }
    }
}

impl BreakerPolicy {
    pub(crate) fn errors(&self) -> Vec<Invalid> {
        let mut errors = Vec::new();
        if self.open_threshold == 0 {
            errors.push(Invalid::new("breaker.open_threshold", 0, "at least 1"));
        }
        if self.half_open_after_ms == 0 {
            errors.push(Invalid::new("breaker.half_open_after", 0, "at least 1 ms"));
        }
        if self.growth == 0 {
            errors.push(Invalid::new("breaker.growth", 0, "at least 1"));
        }
        errors
    }

    /// How long a breaker stays open that has opened `opens` times without closing in between.
    fn wait(&self, opens: u32) -> u64 {
        let growth = u64::from(self.growth).saturating_pow(opens.saturating_sub(1));
        let cap = self.max_half_open_after_ms.max(self.half_open_after_ms);
        self.half_open_after_ms.saturating_mul(growth).min(cap)
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Admits everything; counts failures in a row.
    Closed { failures: u32 },
    /// Admits nothing until then.
    Open { until: u64 },
    /// One probe is out; admits nothing else until it reports, or until then.
    HalfOpen { until: u64 },
    /// The probe came back without a verdict, at that moment; the next one may go at once.
    Returned { at: u64 },
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub(crate) state: State,
    /// Counts the transitions after which earlier verdicts no longer count.
    pub(crate) era: u32,
    /// How often it opened since it was last closed.
    pub(crate) opens: u32,
    /// When it counted the last failure; 0 if it has not.
    pub(crate) failed_at: u64,
}

/// What a breaker answers to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Come in.
    Closed,
    /// One may come in, as the probe.
    ProbeDue,
    /// Nobody until then.
    Refused { until: u64 },
}

/// What a lease shows the breaker on its return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) era: u32,
    pub(crate) probe: bool,
    /// When the request began.
    pub(crate) since: u64,
}

/// What a release did to the breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Change {
    /// It stays in the state it was in.
    #[default]
    None,
    /// The last of `open_threshold` failures in a row: it opened.
    Opened,
    /// The probe failed: it is open again.
    Reopened,
    /// The probe succeeded: it is closed.
    Closed,
    /// The probe said nothing about the proxy: another one may go at once.
    ProbeReturned,
}

impl Change {
    /// The name used in logs, metrics and the WIT interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opened => "opened",
            Self::Reopened => "reopened",
            Self::Closed => "closed",
            Self::ProbeReturned => "probe-returned",
        }
    }
}

impl Breaker {
    /// A breaker that nothing is known of.
    pub(crate) const NEW: Self = Self {
        state: State::Closed { failures: 0 },
        era: 0,
        opens: 0,
        failed_at: 0,
    };

    /// How many failures in a row it has counted; 0 unless it is closed.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures } => failures,
            _ => 0,
        }
    }

    /// Milliseconds since the Unix epoch until which it refuses, `None` when it is closed.
    pub fn refuses_until(&self) -> Option<u64> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } | State::HalfOpen { until } | State::Returned { at: until } => {
                Some(until)
            }
        }
    }

    /// Whether a probe is out.
    pub fn is_half_open(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(crate) fn admission(&self, now: u64) -> Admission {
        match self.refuses_until() {
            None => Admission::Closed,
            Some(until) if until <= now => Admission::ProbeDue,
            Some(until) => Admission::Refused { until },
        }
    }

    /// Whether a session that was bound in `era` is still good: the breaker has not opened since. A
    /// session whose own probe is out keeps its proxy (rules 3 and 4), others stay out.
    pub(crate) fn keeps(&self, era: u32, now: u64) -> bool {
        self.era == era
            && match self.state {
                State::Closed { .. } => true,
                State::HalfOpen { until } => now < until,
                State::Open { .. } | State::Returned { .. } => false,
            }
    }

    /// Whether a session that was bound in `era` may go on by taking the next probe: its own probe came back
    /// without a verdict, and nobody has probed since. A request that was given up ends no session.
    pub(crate) fn awaits(&self, era: u32) -> bool {
        matches!(self.state, State::Returned { .. }) && self.era == era.wrapping_add(1)
    }

    /// The probe goes out. Only for a breaker whose probe is due.
    pub(crate) fn probed(&self, now: u64, policy: &BreakerPolicy) -> Self {
        Self {
            state: State::HalfOpen {
                until: now.saturating_add(policy.half_open_after_ms),
            },
            era: self.era.wrapping_add(1),
            ..*self
        }
    }

    /// The request succeeded. `None`: nothing changes.
    pub(crate) fn succeeded(&self, pass: Pass) -> Option<(Self, Change)> {
        if self.era != pass.era {
            return None;
        }
        let closed = Self {
            state: State::Closed { failures: 0 },
            era: self.era,
            opens: 0,
            failed_at: 0,
        };
        match self.state {
            // A success in between: of a request that began after the last failure. When a proxy dies, what
            // ends well are the tunnels of better days, and they must not hide it.
            State::Closed { failures: 1.. } if pass.since < self.failed_at => None,
            State::Closed { failures: 1.. } => Some((closed, Change::None)),
            State::HalfOpen { .. } if pass.probe => Some((closed, Change::Closed)),
            _ => None,
        }
    }

    /// The proxy failed. `None`: nothing changes.
    pub(crate) fn failed(
        &self,
        now: u64,
        pass: Pass,
        policy: &BreakerPolicy,
    ) -> Option<(Self, Change)> {
        if self.era != pass.era {
            return None;
        }
        let change = match self.state {
            State::Closed { failures } if failures.saturating_add(1) < policy.open_threshold => {
                let state = State::Closed {
                    failures: failures + 1,
                };
                let failed_at = now;
                return Some((
                    Self {
                        state,
                        failed_at,
                        ..*self
                    },
                    Change::None,
                ));
            }
            State::Closed { .. } => Change::Opened,
            State::HalfOpen { .. } if pass.probe => Change::Reopened,
            _ => return None,
        };
        let opens = self.opens.saturating_add(1);
        let opened = Self {
            state: State::Open {
                until: now.saturating_add(policy.wait(opens)),
            },
            era: self.era.wrapping_add(1),
            opens,
            failed_at: now,
        };
        Some((opened, change))
    }

    /// The request said nothing about the proxy. A probe gives its place back. `None`: nothing
    /// changes.
    pub(crate) fn said_nothing(&self, now: u64, pass: Pass) -> Option<(Self, Change)> {
        if self.era != pass.era || !pass.probe || !self.is_half_open() {
            return None;
        }
        let due = Self {
            state: State::Returned { at: now },
            era: self.era.wrapping_add(1),
            ..*self
        };
        Some((due, Change::ProbeReturned))
    }

    /// The breaker as it begins anew, after the proxy was taken out of the pool. Its eras go on: were
    /// they counted from zero again, a lease or a session from before the removal could hold the
    /// number of an era after it.
    pub(crate) fn forgotten(&self) -> Self {
        Self {
            era: match self.state {
                State::Closed { .. } => self.era,
                _ => self.era.wrapping_add(1),
            },
            ..Self::NEW
        }
    }

    pub(crate) fn decode(cell: Option<&Cell>) -> Result<Self, StorageError> {
        let Some(cell) = cell else {
            return Ok(Self::NEW);
        };
        let [kind, value, era, opens, failed_at, _] = cell.words;
        let narrow = |word: u64| u32::try_from(word).map_err(|_| StorageError::Corrupt);
        Ok(Self {
            state: match kind {
                1 => State::Closed {
                    failures: narrow(value)?,
                },
                2 => State::Open { until: value },
                3 => State::HalfOpen { until: value },
                4 => State::Returned { at: value },
                _ => return Err(StorageError::Corrupt),
            },
            era: narrow(era)?,
            opens: narrow(opens)?,
            failed_at,
        })
    }

    pub(crate) fn encode(&self) -> Cell {
        let (kind, value) = match self.state {
            State::Closed { failures } => (1, u64::from(failures)),
            State::Open { until } => (2, until),
            State::HalfOpen { until } => (3, until),
            State::Returned { at } => (4, at),
        };
        Cell {
            words: [
                kind,
                value,
                self.era.into(),
                self.opens.into(),
                self.failed_at,
                0,
            ],
            expires_at: Cell::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        open_threshold: 3,
        half_open_after_ms: 100,
        growth: 2,
        max_half_open_after_ms: 350,
    };

    fn pass(breaker: &Breaker) -> Pass {
        Pass {
            era: breaker.era,
            probe: breaker.is_half_open(),
            since: breaker.failed_at,
        }
    }

    fn fail(breaker: Breaker, now: u64) -> Breaker {
        breaker.failed(now, pass(&breaker), &POLICY).unwrap().0
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::NEW;
        for _ in 0..10 {
            breaker = fail(fail(breaker, 0), 0);
            breaker = breaker.succeeded(pass(&breaker)).unwrap().0;
            assert_eq!(breaker.admission(0), Admission::Closed);
        }
        breaker = fail(fail(fail(breaker, 0), 0), 0);
        assert_eq!(breaker.admission(0), Admission::Refused { until: 100 });
        assert_eq!(breaker.admission(100), Admission::ProbeDue);
    }

    #[test]
    fn the_wait_grows_with_every_failed_probe_up_to_the_cap_and_starts_anew_once_closed() {
        let mut breaker = fail(fail(fail(Breaker::NEW, 0), 0), 0);
        for wait in [100, 200, 350, 350] {
            assert_eq!(breaker.refuses_until(), Some(wait));
            breaker = fail(breaker.probed(0, &POLICY), 0);
        }
        breaker = breaker.probed(0, &POLICY);
        breaker = breaker.succeeded(pass(&breaker)).unwrap().0;
        breaker = fail(fail(fail(breaker, 0), 0), 0);
        assert_eq!(breaker.refuses_until(), Some(100));
    }

    #[test]
    fn a_verdict_of_another_era_changes_nothing() {
        let closed = fail(Breaker::NEW, 0);
        let late = pass(&closed);
        let open = fail(fail(closed, 0), 0);
        assert_eq!(open.succeeded(late), None);
        assert_eq!(open.failed(50, late, &POLICY), None);
        let first = open.probed(100, &POLICY);
        let second = first.probed(200, &POLICY);
        assert_eq!(second.succeeded(pass(&first)), None);
        assert_eq!(second.said_nothing(200, pass(&first)), None);
        assert_eq!(second.succeeded(late), None);
    }

    #[test]
    fn who_follows_a_probe_cannot_move_the_breaker() {
        let half_open = fail(fail(fail(Breaker::NEW, 0), 0), 0).probed(100, &POLICY);
        let follower = Pass {
            era: half_open.era,
            probe: false,
            since: 100,
        };
        assert_eq!(half_open.succeeded(follower), None);
        assert_eq!(half_open.failed(100, follower, &POLICY), None);
        assert_eq!(half_open.said_nothing(100, follower), None);
    }

    #[test]
    fn a_cell_survives_the_round_trip() {
        let open = fail(fail(fail(Breaker::NEW, 5), 5), 5);
        for breaker in [
            Breaker::NEW,
            fail(Breaker::NEW, 0),
            open,
            open.probed(200, &POLICY),
        ] {
            assert_eq!(Breaker::decode(Some(&breaker.encode())), Ok(breaker));
        }
        let mut cell = open.encode();
        cell.words[0] = 9;
        assert_eq!(Breaker::decode(Some(&cell)), Err(StorageError::Corrupt));
    }
}
