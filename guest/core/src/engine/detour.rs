//! A request whose proxy was not there, and that a host served through another one on its own (rules 3, 5, 6
//! and 7).
//!
//! Some hosts try the next proxy by themselves when one refuses the connection. They ask for the
//! [fallbacks](Engine::fallbacks) beforehand and tell afterwards what the [detour](Engine::detour) was.

use alloc::vec::Vec;

use super::{Engine, Outcome, Permit, Request};
use crate::breaker::{Breaker, Change, Pass};
use crate::draw::Draw;
use crate::error::KeyError;
use crate::gate;
use crate::key;
use crate::policy::OnBad;
use crate::pool::ProxyId;
use crate::rotation::{self, Avoid, Field, StrategyKind};
use crate::storage::{Storage, StorageError};
use crate::table;

/// What a request went past, and where it ended.
#[derive(Clone, Copy, Debug)]
pub struct Detour<'a> {
    /// The proxies that were tried in vain after the lease's own.
    pub passed: &'a [ProxyId],
    /// The proxy that was tried last.
    pub served: ProxyId,
}

/// What the end of a detour did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detoured {
    /// Whether the lease's session has ended or moved. `false` for a lease of an older generation.
    pub ended_session: bool,
    /// The breakers that it changed, in the order of the way.
    pub breakers: Vec<(ProxyId, Change)>,
}

impl Detoured {
    fn changed(&mut self, proxy: ProxyId, change: Change) {
        if change != Change::None {
            self.breakers.push((proxy, change));
        }
    }
}

impl<S: Storage> Engine<S> {
    /// Up to `limit` proxies that may serve a request if the one of its lease does not accept the
    /// connection, in the order in which they are to be tried. All of one session's requests get the same
    /// ones while the pool stays as it is. Only proxies whose breaker is closed: nobody takes a probe that
    /// may not be sent. None at all where the policy is `strict`.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn fallbacks(
        &self,
        now: u64,
        request: &Request<'_>,
        permit: &Permit,
        limit: usize,
    ) -> Result<Vec<ProxyId>, StorageError> {
        let mut fallbacks = Vec::new();
        if limit == 0 || permit.probe || self.is_strict(request, permit).unwrap_or(true) {
            return Ok(fallbacks);
        }
        // Of the session's own, so that its requests agree on where to go.
        let number = match permit.generation {
            0 => now,
            generation => generation,
        };
        let draw = Draw::sketch(Draw::sketch(number).scramble(1));
        let wanted = self.pool.wanted(request.tags);
        let strategy = match self.config.strategy {
            // It compares the whole pool; this is for every request, and rarely used.
            StrategyKind::LeastUsed => StrategyKind::RoundRobin,
            other => other,
        };
        let mut tried = alloc::vec![permit.proxy];
        while fallbacks.len() < limit {
            let mut field = Field {
                storage: &self.storage,
                pool: &self.pool,
                draw: &draw,
                wanted: &wanted,
                avoid: Avoid {
                    previous: None,
                    tried: &tried,
                    aside: &[],
                    blocked_for: (!self.key.is_empty()).then_some(&*self.key),
                },
                now,
                window_ms: self.config.lease_timeout_ms,
                probes: false,
                admitted: None,
                earliest: None,
                left_aside: false,
            };
            let Some(next) = rotation::pick(strategy, &mut field)? else {
                break;
            };
            let next = self.pool.get(next).id;
            fallbacks.push(next);
            tried.push(next);
        }
        Ok(fallbacks)
    }

    fn is_strict(&self, request: &Request<'_>, permit: &Permit) -> Result<bool, KeyError> {
        if permit.generation == 0 {
            return Ok(false);
        }
        let mut host = alloc::string::String::new();
        key::push_host(&mut host, request.target)?;
        Ok(self.policies.of(&host).on_bad == OnBad::Strict)
    }

    /// Takes back the lease of a request that was tried through other proxies, too. The lease's proxy and
    /// those passed have failed; the last one gets the outcome. If that is a success and the session is
    /// still the lease's, the session moves to the proxy that served.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when a change could not be stored. What was stored before stays.
    pub fn detour(
        &mut self,
        now: u64,
        permit: &Permit,
        key: &str,
        detour: Detour<'_>,
        outcome: Outcome,
    ) -> Result<Detoured, StorageError> {
        let released = self.settle(now, permit, key, Outcome::Failure)?;
        let mut detoured = Detoured {
            ended_session: released.ended_session,
            ..Detoured::default()
        };
        detoured.changed(permit.proxy, released.breaker);
        let policy = &self.config.breaker;
        let failed = |breaker: &Breaker, pass| breaker.failed(now, pass, policy);
        for passed in detour.passed {
            detoured.changed(*passed, self.tell(permit, passed, failed)?);
        }
        let served = detour.served;
        match outcome {
            Outcome::Success => {
                let change = self.tell(permit, &served, |b, pass| b.succeeded(pass))?;
                detoured.changed(served, change);
                if let Some(era) = self.closed(&served)?.filter(|_| released.ended_session) {
                    let ticket = Draw::take(&self.storage, now)?;
                    table::move_ended(&self.storage, key, permit.generation, |session| {
                        session.moved(served, ticket, era, now)
                    })?;
                }
            }
            Outcome::Failure => {
                let change = self.tell(permit, &served, failed)?;
                detoured.changed(served, change);
            }
            Outcome::Blocked => {
                if let Some(i) = self.pool.find(&served)
                    && key::is_well_formed(key)
                {
                    self.remember_block(now, &self.pool.get(i).key, key)?;
                }
            }
            Outcome::Cancelled => {}
        }
        Ok(detoured)
    }

    /// Tells a proxy's breaker what a request without a lease of its own met: heard while it is closed, and
    /// not at all by a proxy that is gone.
    fn tell(
        &self,
        permit: &Permit,
        proxy: &ProxyId,
        verdict: impl Fn(&Breaker, Pass) -> Option<(Breaker, Change)>,
    ) -> Result<Change, StorageError> {
        let Some(i) = self.pool.find(proxy) else {
            return Ok(Change::None);
        };
        gate::report(&self.storage, &self.pool.get(i).key, |breaker| {
            let pass = Pass {
                era: breaker.era,
                probe: false,
                since: permit.acquired_at,
            };
            verdict(breaker, pass)
        })
    }

    /// The era of a proxy's breaker if it is closed; `None` for a proxy that is gone.
    fn closed(&self, proxy: &ProxyId) -> Result<Option<u32>, StorageError> {
        let Some(i) = self.pool.find(proxy) else {
            return Ok(None);
        };
        let breaker = gate::look(&self.storage, &self.pool.get(i).key)?.breaker;
        Ok(breaker.is_closed().then_some(breaker.era))
    }
}
