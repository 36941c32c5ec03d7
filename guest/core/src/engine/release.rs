//! Release: what an outcome does to the breaker and to the session (rules 5 and 7).

use super::{Engine, Lease, Outcome, Released};
use crate::avoid;
use crate::breaker::Change;
use crate::gate;
use crate::in_flight;
use crate::key;
use crate::rotation::StrategyKind;
use crate::session::Mark;
use crate::storage::{Storage, StorageError, Table};
use crate::table;

impl<S: Storage> Engine<S> {
    /// Takes a lease back. Must be called once for every lease; one that never comes back costs
    /// nothing lasting (see [`Lease::deadline`]).
    ///
    /// # Errors
    ///
    /// [`StorageError`] when a change could not be stored. What was stored before stays.
    pub fn release(
        &mut self,
        now: u64,
        lease: &Lease,
        outcome: Outcome,
    ) -> Result<Released, StorageError> {
        let Some(i) = self.pool.find(&lease.proxy) else {
            // Rule 8: the proxy is gone, and nothing that is said about it matters any more.
            return Ok(Released::default());
        };
        let proxy = &self.pool.get(i).key;
        let keyed = key::is_well_formed(&lease.key);
        if keyed && outcome == Outcome::Blocked {
            // Before the session ends, so that the next acquire cannot miss it.
            self.remember_block(now, proxy, &lease.key)?;
        }
        let ended_session = match outcome {
            Outcome::Failure => self.end_session(now, keyed, lease, Mark::Failed)?,
            Outcome::Blocked => self.end_session(now, keyed, lease, Mark::Blocked)?,
            Outcome::Success | Outcome::Cancelled => false,
        };
        let breaker = self.report(now, proxy, lease, outcome)?;
        if self.config.strategy == StrategyKind::LeastUsed {
            let window = self.config.lease_timeout_ms;
            in_flight::end(&self.storage, proxy, lease.acquired_at, now, window)?;
        }
        Ok(Released {
            ended_session,
            breaker,
        })
    }

    fn report(
        &self,
        now: u64,
        proxy: &str,
        lease: &Lease,
        outcome: Outcome,
    ) -> Result<Change, StorageError> {
        let pass = lease.pass();
        let policy = &self.config.breaker;
        match outcome {
            Outcome::Success => gate::report(&self.storage, proxy, |b| b.succeeded(pass)),
            Outcome::Failure => gate::report(&self.storage, proxy, |b| b.failed(now, pass, policy)),
            // Only a probe has something to give back.
            Outcome::Blocked | Outcome::Cancelled if lease.probe => {
                gate::report(&self.storage, proxy, |b| b.said_nothing(now, pass))
            }
            Outcome::Blocked | Outcome::Cancelled => Ok(Change::None),
        }
    }

    fn end_session(
        &self,
        now: u64,
        keyed: bool,
        lease: &Lease,
        mark: Mark,
    ) -> Result<bool, StorageError> {
        if !keyed || lease.generation == 0 {
            return Ok(false);
        }
        table::end(&self.storage, &lease.key, lease.generation, now, mark)
    }

    fn remember_block(&self, now: u64, proxy: &str, session: &str) -> Result<(), StorageError> {
        let until = now.saturating_add(self.config.avoid_blocked_for_ms);
        if until == now {
            return Ok(());
        }
        let written = avoid::block(&self.storage, proxy, session, until)?;
        let max = self.config.max_sessions;
        table::make_room(&self.storage, Table::Blocks, &written, now, max)
    }
}
