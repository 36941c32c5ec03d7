//! The core without WebAssembly, for comparison.

use std::fmt;

use remora_core::{Attempt, Engine, Released, StorageError};

use super::{Decider, Decision, Event};
use crate::error::Error;
use crate::settlement::Settlement;
use crate::storage::MemoryProxyStore;

/// The core compiled for this machine, as a [`Decider`]: what a plugin's decisions are compared with.
pub struct Native {
    engine: Engine<MemoryProxyStore>,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

impl Native {
    /// An instance on an empty store with this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            engine: Engine::new(MemoryProxyStore::with_seed(seed)),
        }
    }
}

impl Decider for Native {
    fn decide(&mut self, now: u64, event: &Event) -> Decision {
        fn answer<T: Clone + Into<Decision>, E: Into<Error>>(answer: Result<T, E>) -> Decision {
            Decision::of(&answer.map_err(Into::into))
        }
        let engine = &mut self.engine;
        match event {
            Event::Configure(config) => {
                answer(engine.configure((**config).clone()).map_err(Error::Invalid))
            }
            Event::AddProxies(specs) => answer(engine.add_proxies(specs).map_err(Error::Invalid)),
            Event::RemoveProxy(id) => answer(engine.remove_proxy(id)),
            Event::SetHealth(id, healthy) => Decision::Found(engine.set_health(id, *healthy)),
            Event::Acquire { target, .. } => event
                .with_request(|request| match target.is_empty() {
                    true => answer(engine.acquire_any(now, request)),
                    false => answer(engine.acquire(now, request)),
                })
                .unwrap_or(Decision::Done),
            Event::Fallbacks { lease, of, limit } => of
                .with_request(|request| {
                    let key = engine.session_key(request).unwrap_or_default();
                    answer(engine.fallbacks(now, request, &key, lease, *limit as usize))
                })
                .unwrap_or(Decision::Done),
            Event::Settle(settlement) => answer(settle(engine, now, settlement)),
            Event::Unbind(key) => answer(engine.unbind(now, key)),
            Event::PurgeExpired(limit) => answer(engine.purge_expired(now, *limit)),
        }
    }
}

fn settle(
    engine: &mut Engine<MemoryProxyStore>,
    now: u64,
    settlement: &Settlement,
) -> Result<Released, StorageError> {
    let Settlement {
        lease,
        target,
        outcome,
        others,
        ..
    } = settlement;
    let (permit, key) = (&lease.permit, &*lease.key);
    if settlement.is_release() {
        return engine.release(now, permit, key, target, *outcome);
    }
    let mut attempts = vec![Attempt {
        permit: *permit,
        outcome: *outcome,
    }];
    attempts.extend(others);
    engine.settle(now, &attempts, key, target)
}
