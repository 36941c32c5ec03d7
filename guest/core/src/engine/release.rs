//! The end of a lease.

use super::{Attempt, Engine, Outcome, Permit, Released};
use crate::in_flight;
use crate::rotation::StrategyKind;
use crate::storage::{Storage, StorageError};

impl<S: Storage> Engine<S> {
    /// Gives the lease of an [acquire](Engine::acquire) back, and judges its attempt, see [`Engine::settle`]. Must be called
    /// once for every lease; one that never comes back costs nothing lasting (see [`Permit::deadline`]). A request that has
    /// been settled already gives its first lease back as [`Outcome::Cancelled`].
    ///
    /// # Errors
    ///
    /// [`StorageError`] when a change could not be stored. What could be stored was stored.
    pub fn release(
        &mut self,
        now: u64,
        permit: &Permit,
        key: &str,
        target: &str,
        outcome: Outcome,
    ) -> Result<Released, StorageError> {
        let attempt = Attempt {
            permit: *permit,
            outcome,
        };
        let settled = self.settle(now, &[attempt], key, target);
        let counted = self.end_in_flight(now, permit);
        let settled = settled?;
        counted.map(|()| settled)
    }

    fn end_in_flight(&self, now: u64, permit: &Permit) -> Result<(), StorageError> {
        match (self.config.strategy, self.pool.find(&permit.proxy)) {
            (StrategyKind::LeastUsed, Some(i)) => {
                let proxy = &self.pool.get(i).key;
                let window = self.config.lease_timeout_ms;
                in_flight::end(&self.storage, proxy, permit.acquired_at, now, window)
            }
            _ => Ok(()),
        }
    }

    /// Whether a release with this outcome looks at the time. A shell whose clock is dear need not ask it otherwise: an
    /// undoubted success only ever resets counts.
    pub fn looks_at_time(&self, permit: &Permit, outcome: Outcome) -> bool {
        outcome != Outcome::Success
            || permit.is_doubted
            || self.config.strategy == StrategyKind::LeastUsed
    }
}
