//! Release: what an outcome does to the breaker and to the session (rules 5 and 7).

use super::{Engine, Lease, Outcome, Permit, Released};
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
    /// nothing lasting (see [`Permit::deadline`]).
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
        self.settle(now, &lease.permit, &lease.key, outcome)
    }

    /// Whether a release with this outcome looks at the time. A shell whose clock is dear need not ask it
    /// otherwise: a success only ever resets a count.
    pub fn looks_at_time(&self, outcome: Outcome) -> bool {
        outcome != Outcome::Success || self.config.strategy == StrategyKind::LeastUsed
    }

    /// [`Engine::release`] with the key apart. Only a failed or a blocked request needs its key; for the
    /// others it may be empty.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn settle(
        &mut self,
        now: u64,
        permit: &Permit,
        key: &str,
        outcome: Outcome,
    ) -> Result<Released, StorageError> {
        let Some(i) = self.pool.find(&permit.proxy) else {
            // Rule 8: the proxy is gone, and nothing that is said about it matters any more.
            return Ok(Released::default());
        };
        let proxy = &self.pool.get(i).key;
        let keyed = key::is_well_formed(key);
        // One that fails keeps none of the others from what it can do.
        let remembered = match outcome {
            // Before the session ends, so that the next acquire cannot miss it.
            Outcome::Blocked if keyed => self.remember_block(now, proxy, key),
            _ => Ok(()),
        };
        let ended = match outcome {
            Outcome::Failure if keyed => self.end_session(now, key, permit, Mark::Failed),
            Outcome::Blocked if keyed => self.end_session(now, key, permit, Mark::Blocked),
            _ => Ok(false),
        };
        let reported = self.report(now, proxy, permit, outcome);
        let counted = match self.config.strategy {
            StrategyKind::LeastUsed => {
                let window = self.config.lease_timeout_ms;
                in_flight::end(&self.storage, proxy, permit.acquired_at, now, window)
            }
            _ => Ok(()),
        };
        remembered?;
        counted?;
        Ok(Released {
            ended_session: ended?,
            breaker: reported?,
        })
    }

    fn report(
        &self,
        now: u64,
        proxy: &str,
        permit: &Permit,
        outcome: Outcome,
    ) -> Result<Change, StorageError> {
        let pass = permit.pass();
        let policy = &self.config.breaker;
        match outcome {
            Outcome::Success => gate::report(&self.storage, proxy, |b| b.succeeded(pass)),
            Outcome::Failure => table::with_room(&self.storage, now, || {
                gate::report(&self.storage, proxy, |b| b.failed(now, pass, policy))
            }),
            // Only a probe has something to give back.
            Outcome::Blocked | Outcome::Cancelled if permit.probe => {
                gate::report(&self.storage, proxy, |b| b.said_nothing(now, pass))
            }
            Outcome::Blocked | Outcome::Cancelled => Ok(Change::None),
        }
    }

    fn end_session(
        &self,
        now: u64,
        key: &str,
        permit: &Permit,
        mark: Mark,
    ) -> Result<bool, StorageError> {
        if permit.generation == 0 {
            return Ok(false);
        }
        table::end(&self.storage, key, permit.generation, now, mark)
    }

    pub(super) fn remember_block(
        &self,
        now: u64,
        proxy: &str,
        session: &str,
    ) -> Result<(), StorageError> {
        let until = now.saturating_add(self.config.avoid_blocked_for_ms);
        if until == now {
            return Ok(());
        }
        let written = table::with_room(&self.storage, now, || {
            avoid::block(&self.storage, proxy, session, until)
        })?;
        let max = self.config.max_sessions;
        table::make_room(&self.storage, Table::Blocks, &written, now, max)
    }
}
