//! For this repository's benchmarks and fuzz targets: one instance without what a manager adds, a manager
//! without what an instance adds, a server's answer without a server. Not part of the API.

use std::sync::Arc;

use remora_core::{Config, Grant, Lease, Outcome, ProxySpec, Released, Request, Storage};
use uuid::Uuid;

use crate::clock::Clock;
use crate::error::Error;
use crate::handle::ProxyHandle;
use crate::manager::ProxyManager;
use crate::plugin::Plugin;
use crate::settlement::Settlement;

/// The first proxy of a pool, without asking the plugin: what is left is what everything else costs.
pub fn unleased(manager: &ProxyManager) -> Option<ProxyHandle> {
    manager.unleased()
}

/// What the answer of a Redis server holds.
pub fn redis_reply(answer: &[u8]) -> Vec<(String, remora_core::Cell)> {
    crate::storage::redis::calls::entries(answer)
}

/// One instance of a plugin.
pub struct Instance(crate::instance::Instance);

impl Instance {
    /// Makes one.
    pub fn new(
        plugin: &Plugin,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn Storage + Send + Sync>,
    ) -> Result<Self, Error> {
        let instance = crate::instance::Instance::start(plugin, clock, storage)?;
        Ok(Self(instance))
    }

    /// `control.configure` and `control.add-proxies`.
    pub fn set_up(&mut self, config: &Config, proxies: &[ProxySpec]) -> Result<(), Error> {
        self.0.configure(config)?;
        Ok(self.0.add_proxies(proxies)?)
    }

    /// `control.set-health`: the cheapest call there is, no import and no string.
    pub fn set_health(&mut self, id: Uuid, healthy: bool) -> Result<bool, Error> {
        Ok(self.0.set_health(id, healthy)?)
    }

    /// `egress.acquire`
    pub fn acquire(&mut self, request: &Request<'_>) -> Result<Grant, Error> {
        Ok(self.0.acquire(request)?)
    }

    /// `egress.release`
    pub fn release(&mut self, lease: &Lease, outcome: Outcome) -> Result<Released, Error> {
        let settlement = Settlement {
            outcome,
            target: lease.key.clone(),
            ..Settlement::unused(lease.clone())
        };
        Ok(self.0.settle(&settlement)?)
    }
}
