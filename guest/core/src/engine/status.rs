//! What the pool looks like now.

use alloc::string::String;
use alloc::vec::Vec;

use super::Engine;
use crate::breaker::{Admission, Breaker};
use crate::gate;
use crate::in_flight;
use crate::pool::{ProxyId, Wanted};
use crate::storage::{Storage, StorageError};

/// The pool in numbers. `total` = `healthy` + `open` + those switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Proxies in the pool.
    pub total: u32,
    /// Proxies that the next acquire may get.
    pub healthy: u32,
    /// Proxies whose breaker refuses the next acquire.
    pub open: u32,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Its id.
    pub id: ProxyId,
    /// Its weight.
    pub weight: u32,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Whether it is switched on.
    pub healthy: bool,
    /// Whether the next acquire may get it.
    pub available: bool,
    /// Its breaker.
    pub breaker: Breaker,
    /// Its requests in flight; counted only under the `least-used` strategy.
    pub in_flight: u64,
}

impl<S: Storage> Engine<S> {
    /// The pool in numbers.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn stats(&mut self, now: u64) -> Result<Stats, StorageError> {
        let mut stats = Stats::default();
        for (i, proxy) in self.pool.iter().enumerate() {
            stats.total += 1;
            if self.pool.serves(i, &Wanted::Any) {
                match gate::look(&self.storage, &proxy.key)?
                    .breaker
                    .admission(now)
                {
                    Admission::Refused { .. } => stats.open += 1,
                    Admission::Closed | Admission::ProbeDue { .. } => stats.healthy += 1,
                }
            }
        }
        Ok(stats)
    }

    /// Up to `limit` proxies from place `offset` on, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn proxies(
        &mut self,
        now: u64,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ProxyStatus>, StorageError> {
        let proxies = self.pool.iter().enumerate();
        proxies
            .skip(offset as usize)
            .take(limit as usize)
            .map(|(i, proxy)| {
                let breaker = gate::look(&self.storage, &proxy.key)?.breaker;
                let refused = matches!(breaker.admission(now), Admission::Refused { .. });
                let window = self.config.lease_timeout_ms;
                Ok(ProxyStatus {
                    id: proxy.id,
                    weight: proxy.weight,
                    tags: self.pool.tags(i),
                    healthy: proxy.healthy,
                    available: proxy.healthy && !refused,
                    breaker,
                    in_flight: in_flight::count(&self.storage, &proxy.key, now, window)?,
                })
            })
            .collect()
    }
}
