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

/// Which proxies a pick leaves aside while another one is admitted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Avoid<'a> {
    /// The proxy of the session that ended.
    pub(crate) previous: Option<ProxyId>,
    /// The proxies that the request has tried already.
    pub(crate) tried: &'a [ProxyId],
    /// The proxies that a plugin would rather not have.
    pub(crate) aside: &'a [ProxyId],
    /// The session key whose target may have blocked some.
    pub(crate) blocked_for: Option<&'a str>,
}

/// What a strategy sees of the world.
pub(crate) struct Field<'a, S> {
    pub(crate) storage: &'a S,
    pub(crate) pool: &'a Pool,
    pub(crate) draw: &'a Draw,
    pub(crate) wanted: &'a Wanted,
    pub(crate) avoid: Avoid<'a>,
    pub(crate) now: u64,
    pub(crate) window_ms: u64,
    /// Whether a proxy whose breaker wants a probe may be taken.
    pub(crate) probes: bool,
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
            Admission::Refused { until } => {
                self.earliest = Some(self.earliest.map_or(until, |e| e.min(until)));
                return Ok(false);
            }
            Admission::ProbeDue if !self.probes => return Ok(false),
            Admission::Closed | Admission::ProbeDue => {}
        }
        if let Some(session) = self.avoid.blocked_for
            && avoid::is_blocked(self.storage, proxy, session, self.now)?
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
