//! The core without WebAssembly, for comparison.

use std::fmt;

use remora_core::{Engine, Request};

use super::{Decider, Decision, Event};
use crate::error::Error;
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
            Event::Acquire {
                target,
                session,
                tags,
                tried,
                ttl_ms,
            } => {
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                let request = Request {
                    target,
                    session: session.as_deref(),
                    tags: &tags,
                    tried,
                    ttl_ms: *ttl_ms,
                };
                if target.is_empty() {
                    answer(engine.acquire_any(now, &request))
                } else {
                    answer(engine.acquire(now, &request))
                }
            }
            Event::Release(lease, outcome) => answer(engine.release(now, lease, *outcome)),
            Event::Unbind(key) => answer(engine.unbind(now, key)),
            Event::PurgeExpired(limit) => answer(engine.purge_expired(now, *limit)),
        }
    }
}
