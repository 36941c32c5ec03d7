//! Rule 11: which proxy a new session gets.
//!
//! A strategy is one small file with one function: it walks the pool in the order it prefers and
//! takes the first proxy that [`Field::admits`]. To add one, write its file, name it in
//! [`StrategyKind`] and give it an arm in [`pick`].

mod least_used;
mod random;
mod round_robin;
mod weighted;

use crate::avoid;
use crate::breaker::Admission;
use crate::draw::Draw;
use crate::gate::{self, Seen};
use crate::in_flight;
use crate::pool::{Pool, ProxyId, Wanted};
use crate::storage::{Storage, StorageError};

/// How new sessions are spread over the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum StrategyKind {
    /// Each proxy in turn.
    #[default]
    RoundRobin,
    /// Any proxy, each as likely.
    Random,
    /// Each proxy as often as its weight says, evenly spread.
    Weighted,
    /// The proxy with the fewest requests in flight.
    LeastUsed,
}

/// Runs a strategy. `None`: no proxy is admitted.
pub(crate) fn pick<S: Storage>(
    strategy: StrategyKind,
    field: &mut Field<'_, S>,
) -> Result<Option<usize>, StorageError> {
    match strategy {
        StrategyKind::RoundRobin => round_robin::pick(field),
        StrategyKind::Random => random::pick(field),
        StrategyKind::Weighted => weighted::pick(field),
        StrategyKind::LeastUsed => least_used::pick(field),
    }
}

/// Which proxies a pick excludes while another one is admitted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Exclusions<'a> {
    /// The proxy of the session that ended.
    pub(crate) previous: Option<ProxyId>,
    /// The proxies that the request has tried already.
    pub(crate) tried: &'a [ProxyId],
    /// The proxies that a plugin would rather not have.
    pub(crate) aside: &'a [ProxyId],
    /// The place of the target, which may have blocked some.
    pub(crate) blocked_at: Option<&'a str>,
}

impl Exclusions<'_> {
    /// Drops the weakest reason that is left. A proxy that the request has tried already comes last: the others might still
    /// serve it.
    pub(crate) fn relax(&mut self, came_to_its_end: bool) {
        if !self.aside.is_empty() {
            self.aside = &[];
        } else if came_to_its_end && self.previous.take().is_some() {
            // It has done nothing wrong.
        } else if self.previous.is_some() || self.blocked_at.is_some() {
            (self.previous, self.blocked_at) = (None, None);
        } else {
            self.tried = &[];
        }
    }
}

/// Which breakers that want a probe get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probes {
    /// None.
    Never,
    /// Every one that is due.
    Due,
    /// Only one that has been due for so long, in milliseconds.
    Overdue(u64),
}

impl Probes {
    /// From when on a breaker that is open until then gets a probe of this request.
    pub(crate) fn from(self, until: u64) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::Due => Some(until),
            Self::Overdue(by) => Some(until.saturating_add(by)),
        }
    }
}

/// What a strategy sees of the world.
pub(crate) struct Field<'a, S> {
    pub(crate) storage: &'a S,
    pub(crate) pool: &'a Pool,
    pub(crate) draw: &'a Draw,
    pub(crate) wanted: &'a Wanted,
    pub(crate) avoid: Exclusions<'a>,
    pub(crate) now: u64,
    pub(crate) window_ms: u64,
    pub(crate) probes: Probes,
    /// The breaker of the proxy admitted last.
    pub(crate) admitted: Option<Seen>,
    /// The first moment at which one of the proxies refused by their breaker admits a probe.
    pub(crate) earliest: Option<u64>,
    /// Whether a proxy was left aside that might have been admitted.
    pub(crate) left_aside: bool,
}

impl<S: Storage> Field<'_, S> {
    /// How many proxies there are.
    pub(crate) fn len(&self) -> usize {
        self.pool.len()
    }

    /// Whether the proxy is switched on, carries the tags asked for and is not to be left aside.
    /// Costs no storage call.
    pub(crate) fn is_candidate(&mut self, i: usize) -> bool {
        if !self.pool.serves(i, self.wanted) {
            return false;
        }
        let id = self.pool.get(i).id;
        let avoid = &self.avoid;
        if avoid.previous == Some(id) || avoid.tried.contains(&id) || avoid.aside.contains(&id) {
            self.left_aside = true;
            return false;
        }
        true
    }

    /// Whether the next session may have this proxy.
    pub(crate) fn admits(&mut self, i: usize) -> Result<bool, StorageError> {
        if !self.is_candidate(i) {
            return Ok(false);
        }
        let proxy = &self.pool.get(i).key;
        let seen = gate::look(self.storage, proxy)?;
        match seen.breaker.admission(self.now) {
            Admission::Closed => {}
            Admission::Refused { until } | Admission::ProbeDue { since: until } => {
                let Some(from) = self.probes.from(until) else {
                    return Ok(false);
                };
                if self.now < from {
                    self.earliest = Some(self.earliest.map_or(from, |e| e.min(from)));
                    return Ok(false);
                }
            }
        }
        if let Some(place) = self.avoid.blocked_at
            && avoid::is_blocked(self.storage, proxy, place, self.now)?
        {
            self.left_aside = true;
            return Ok(false);
        }
        self.admitted = Some(seen);
        Ok(true)
    }

    /// The first admitted proxy from `start` on, in the order of the pool.
    pub(crate) fn first_admitted_from(
        &mut self,
        start: usize,
    ) -> Result<Option<usize>, StorageError> {
        let n = self.len();
        for i in (start..n).chain(0..start) {
            if self.admits(i)? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    /// How many requests a proxy carries.
    pub(crate) fn in_flight(&self, i: usize) -> Result<u64, StorageError> {
        in_flight::count(
            self.storage,
            &self.pool.get(i).key,
            self.now,
            self.window_ms,
        )
    }

    /// A place in the pool that looks random.
    pub(crate) fn random_place(&self, salt: u64) -> usize {
        self.random_below((self.len() as u64).max(1), salt) as usize
    }

    /// A number below `n` that looks random.
    pub(crate) fn random_below(&self, n: u64, salt: u64) -> u64 {
        // The high half of the product: as even as the number is, without a division's bias.
        ((u128::from(self.draw.scramble(salt)) * u128::from(n)) >> 64) as u64
    }
}
