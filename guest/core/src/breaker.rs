//! Rule 7: when a proxy's circuit breaker opens, probes and closes.
//!
//! A pure state machine. Every opening, every probe and every probe given back starts a new *era*, and
//! a lease carries the era that admitted it: a verdict counts only while its era lasts. So a late
//! success cannot close an open breaker, a late failure cannot restart an open one's timer, and of two
//! probes only the newer is heard.

use alloc::vec::Vec;

use crate::error::Invalid;
use crate::storage::{Cell, StorageError};
use crate::strikes::{SiteHash, Strikes};

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
    /// Admits everything; counts consecutive failures, and strikes apart from them (rule 13).
    Closed { failures: u32, strikes: Strikes },
    /// Admits nothing until then.
    Open { until: u64 },
    /// One probe is out; admits nothing else until it reports, or until then.
    HalfOpen { until: u64 },
    /// The probe came back without a verdict, at that moment; the next one may go at once.
    Returned { at: u64 },
}

impl State {
    pub(crate) const CLOSED: Self = Self::closed(0, Strikes::NONE);

    const fn closed(failures: u32, strikes: Strikes) -> Self {
        Self::Closed { failures, strikes }
    }
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub(crate) state: State,
    /// Counts the transitions after which earlier verdicts no longer count.
    pub(crate) era: u32,
    /// How often it opened since it was last closed.
    pub(crate) opens: u32,
}

/// What a breaker answers to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Come in.
    Closed,
    /// One may come in, as the probe, since that moment.
    ProbeDue { since: u64 },
    /// Nobody until then.
    Refused { until: u64 },
}

/// What a lease shows the breaker on its return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionToken {
    pub(crate) era: u32,
    pub(crate) probe: bool,
}

/// An ambiguous end that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) site: SiteHash,
    /// Whether another exit answered the same request.
    pub(crate) worse: bool,
    pub(crate) gap_ms: u64,
}

/// What a strike does to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Struck {
    /// It goes on like this.
    Becomes(Breaker, Change),
    /// It opens, unless too few other proxies would stay closed: then it goes on as `counted`.
    Opens { opened: Breaker, counted: Breaker },
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

/// The first word of a cell: the kind of state, whether the strikes are witnessed, and how many there are.
const KIND: u64 = 0b111;
const WITNESSED: u64 = 0b1000;
const STRIKES_AT: u32 = 32;

impl Breaker {
    /// A breaker that nothing is known of.
    pub(crate) const NEW: Self = Self {
        state: State::CLOSED,
        era: 0,
        opens: 0,
    };

    /// How many failures in a row it has counted; 0 unless it is closed.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures, .. } => failures,
            _ => 0,
        }
    }

    /// How many strikes in a row it has counted (rule 13); 0 unless it is closed.
    pub fn strikes(&self) -> u32 {
        match self.state {
            State::Closed { strikes, .. } => strikes.count,
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
            Some(until) if until <= now => Admission::ProbeDue { since: until },
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
    pub(crate) fn is_resumable(&self, era: u32) -> bool {
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

    /// The request succeeded: that outweighs every failure and strike that was counted before. `None`: nothing changes.
    pub(crate) fn succeeded(&self, token: AdmissionToken) -> Option<(Self, Change)> {
        if self.era != token.era {
            return None;
        }
        let change = match self.state {
            State::CLOSED => return None,
            State::Closed { .. } => Change::None,
            State::HalfOpen { .. } if token.probe => Change::Closed,
            _ => return None,
        };
        let closed = Self {
            state: State::CLOSED,
            era: self.era,
            opens: 0,
        };
        Some((closed, change))
    }

    /// The proxy failed. `None`: nothing changes.
    pub(crate) fn failed(
        &self,
        now: u64,
        token: AdmissionToken,
        policy: &BreakerPolicy,
    ) -> Option<(Self, Change)> {
        if self.era != token.era {
            return None;
        }
        match self.state {
            State::Closed { failures, strikes }
                if failures.saturating_add(1) < policy.open_threshold =>
            {
                let state = State::closed(failures + 1, strikes);
                Some((Self { state, ..*self }, Change::None))
            }
            State::Closed { .. } => Some((self.opened(now, policy), Change::Opened)),
            State::HalfOpen { .. } if token.probe => {
                Some((self.opened(now, policy), Change::Reopened))
            }
            _ => None,
        }
    }

    /// Rule 13: an attempt through the proxy ended ambiguous, and it was worse than another one of its request, or there was
    /// none to compare it with. `None`: nothing changes.
    pub(crate) fn struck(
        &self,
        now: u64,
        token: AdmissionToken,
        strike: Strike,
        policy: &BreakerPolicy,
    ) -> Option<Struck> {
        if self.era != token.era {
            return None;
        }
        match self.state {
            State::Closed { failures, strikes } => {
                let Strike {
                    site,
                    worse,
                    gap_ms,
                } = strike;
                let row = strikes.after(now, site, worse, gap_ms);
                self.with_strikes(now, failures, strikes, row, policy)
            }
            State::HalfOpen { .. } if token.probe => {
                Some(Struck::Becomes(self.opened(now, policy), Change::Reopened))
            }
            _ => None,
        }
    }

    /// Rule 13: another exit has answered for a target that this one did not answer for. `None`: nothing changes.
    pub(crate) fn seen_by_witness(&self, now: u64, policy: &BreakerPolicy) -> Option<Struck> {
        let State::Closed { failures, strikes } = self.state else {
            return None;
        };
        self.with_strikes(now, failures, strikes, strikes.seen_by_witness(), policy)
    }

    fn with_strikes(
        &self,
        now: u64,
        failures: u32,
        before: Strikes,
        row: Strikes,
        policy: &BreakerPolicy,
    ) -> Option<Struck> {
        let counted = Self {
            state: State::closed(failures, row),
            ..*self
        };
        if row.is_enough(policy.open_threshold) {
            let opened = self.opened(now, policy);
            return Some(Struck::Opens { opened, counted });
        }
        (row != before).then_some(Struck::Becomes(counted, Change::None))
    }

    fn opened(&self, now: u64, policy: &BreakerPolicy) -> Self {
        let opens = self.opens.saturating_add(1);
        Self {
            state: State::Open {
                until: now.saturating_add(policy.wait(opens)),
            },
            era: self.era.wrapping_add(1),
            opens,
        }
    }

    /// The request said nothing about the proxy. A probe gives its place back. `None`: nothing
    /// changes.
    pub(crate) fn inconclusive(&self, now: u64, token: AdmissionToken) -> Option<(Self, Change)> {
        if self.era != token.era || !token.probe || !self.is_half_open() {
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
        let [kind, value, era, opens, counted_at, targets] = cell.words;
        let narrow = |word: u64| u32::try_from(word).map_err(|_| StorageError::Corrupt);
        let strikes = Strikes {
            count: (kind >> STRIKES_AT) as u32,
            witnessed: kind & WITNESSED != 0,
            counted_at,
            targets,
        };
        Ok(Self {
            state: match kind & KIND {
                1 => State::closed(narrow(value)?, strikes),
                2 => State::Open { until: value },
                3 => State::HalfOpen { until: value },
                4 => State::Returned { at: value },
                _ => return Err(StorageError::Corrupt),
            },
            era: narrow(era)?,
            opens: narrow(opens)?,
        })
    }

    pub(crate) fn encode(&self) -> Cell {
        let mut strikes = Strikes::NONE;
        let (kind, value) = match self.state {
            State::Closed {
                failures,
                strikes: row,
            } => {
                strikes = row;
                (1, u64::from(failures))
            }
            State::Open { until } => (2, until),
            State::HalfOpen { until } => (3, until),
            State::Returned { at } => (4, at),
        };
        Cell {
            words: [
                u64::from(strikes.count) << STRIKES_AT | u64::from(strikes.witnessed) << 3 | kind,
                value,
                self.era.into(),
                self.opens.into(),
                strikes.counted_at,
                strikes.targets,
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

    fn token(breaker: &Breaker) -> AdmissionToken {
        AdmissionToken {
            era: breaker.era,
            probe: breaker.is_half_open(),
        }
    }

    fn strike(breaker: &Breaker, now: u64, host: &str, worse: bool) -> Option<Struck> {
        let strike = Strike {
            site: SiteHash::of(host),
            worse,
            gap_ms: 0,
        };
        breaker.struck(now, token(breaker), strike, &POLICY)
    }

    fn counted(struck: Option<Struck>) -> Breaker {
        match struck.unwrap() {
            Struck::Becomes(breaker, _)
            | Struck::Opens {
                counted: breaker, ..
            } => breaker,
        }
    }

    fn fail(breaker: Breaker, now: u64) -> Breaker {
        breaker.failed(now, token(&breaker), &POLICY).unwrap().0
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::NEW;
        for _ in 0..10 {
            breaker = fail(fail(breaker, 0), 0);
            breaker = breaker.succeeded(token(&breaker)).unwrap().0;
            assert_eq!(breaker.admission(0), Admission::Closed);
        }
        breaker = fail(fail(fail(breaker, 0), 0), 0);
        assert_eq!(breaker.admission(0), Admission::Refused { until: 100 });
        assert_eq!(breaker.admission(100), Admission::ProbeDue { since: 100 });
        assert_eq!(breaker.admission(150), Admission::ProbeDue { since: 100 });
    }

    #[test]
    fn the_wait_grows_with_every_failed_probe_up_to_the_cap_and_starts_anew_once_closed() {
        let mut breaker = fail(fail(fail(Breaker::NEW, 0), 0), 0);
        for wait in [100, 200, 350, 350] {
            assert_eq!(breaker.refuses_until(), Some(wait));
            breaker = fail(breaker.probed(0, &POLICY), 0);
        }
        breaker = breaker.probed(0, &POLICY);
        breaker = breaker.succeeded(token(&breaker)).unwrap().0;
        breaker = fail(fail(fail(breaker, 0), 0), 0);
        assert_eq!(breaker.refuses_until(), Some(100));
    }

    #[test]
    fn a_verdict_of_another_era_changes_nothing() {
        let closed = fail(Breaker::NEW, 0);
        let late = token(&closed);
        let open = fail(fail(closed, 0), 0);
        assert_eq!(open.succeeded(late), None);
        assert_eq!(open.failed(50, late, &POLICY), None);
        let first = open.probed(100, &POLICY);
        let second = first.probed(200, &POLICY);
        assert_eq!(second.succeeded(token(&first)), None);
        assert_eq!(second.inconclusive(200, token(&first)), None);
        assert_eq!(second.succeeded(late), None);
    }

    #[test]
    fn who_follows_a_probe_cannot_move_the_breaker() {
        let half_open = fail(fail(fail(Breaker::NEW, 0), 0), 0).probed(100, &POLICY);
        let follower = AdmissionToken {
            era: half_open.era,
            probe: false,
        };
        assert_eq!(half_open.succeeded(follower), None);
        assert_eq!(half_open.failed(100, follower, &POLICY), None);
        assert_eq!(half_open.inconclusive(100, follower), None);
    }

    #[test]
    fn strikes_open_a_breaker_only_with_a_witness() {
        let mut breaker = Breaker::NEW;
        for host in ["a.test", "b.test", "c.test", "d.test"] {
            breaker = counted(strike(&breaker, 0, host, false));
            assert!(breaker.is_closed());
        }
        assert_eq!((breaker.strikes(), breaker.failures()), (4, 0));
        let opens = breaker.seen_by_witness(0, &POLICY);
        assert!(matches!(opens, Some(Struck::Opens { opened, .. }) if !opened.is_closed()));
        let again = strike(&breaker, 0, "a.test", true);
        assert!(matches!(again, Some(Struck::Opens { .. })));
    }

    #[test]
    fn success_ends_strikes_and_failures_together() {
        let breaker = counted(strike(&fail(Breaker::NEW, 0), 0, "a.test", true));
        assert_eq!((breaker.strikes(), breaker.failures()), (1, 1));
        let (breaker, change) = breaker.succeeded(token(&breaker)).unwrap();
        assert_eq!((breaker, change), (Breaker::NEW, Change::None));
    }

    #[test]
    fn strike_on_a_probe_reopens_and_on_its_followers_says_nothing() {
        let half_open = fail(fail(fail(Breaker::NEW, 0), 0), 0).probed(100, &POLICY);
        let struck = strike(&half_open, 150, "a.test", false);
        assert!(matches!(struck, Some(Struck::Becomes(_, Change::Reopened))));
        let follower = AdmissionToken {
            probe: false,
            ..token(&half_open)
        };
        let quiet = Strike {
            site: SiteHash::of("a.test"),
            worse: true,
            gap_ms: 0,
        };
        assert_eq!(half_open.struck(150, follower, quiet, &POLICY), None);
    }

    #[test]
    fn a_cell_survives_the_round_trip() {
        let open = fail(fail(fail(Breaker::NEW, 5), 5), 5);
        for breaker in [
            Breaker::NEW,
            fail(Breaker::NEW, 0),
            open,
            open.probed(200, &POLICY),
            counted(strike(&fail(Breaker::NEW, 0), 7, "a.example", true)),
        ] {
            assert_eq!(Breaker::decode(Some(&breaker.encode())), Ok(breaker));
        }
        let mut cell = open.encode();
        cell.words[0] = 7;
        assert_eq!(Breaker::decode(Some(&cell)), Err(StorageError::Corrupt));
    }
}
