//! Calls that never wait, and their record.

use remora_core::{Config, Grant, Lease, Permit, ProxySpec, Released, Request};
use uuid::Uuid;

use crate::error::Error;
use crate::instance::Instance;
use crate::instances::{Instances, Wanted};
use crate::settlement::Settlement;
use crate::trace::{Decision, Event, Recorder};

/// Instances whose storage is in this process.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) instances: Instances,
    pub(crate) recorder: Option<Recorder>,
}

impl Local {
    /// Runs a call, and records it.
    fn recorded<T: Clone + Into<Decision>>(
        &self,
        event: impl FnOnce() -> Event,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &self.recorder {
            None => call(),
            Some(recorder) => recorder.record(event(), call),
        }
    }

    pub(super) fn acquire(&self, request: &Request<'_>) -> Result<Grant, Error> {
        self.recorded(
            || Event::acquire(request),
            || self.instances.with(|i| i.acquire(request)),
        )
    }

    pub(super) fn settle(&self, settlement: &Settlement) -> Result<Released, Error> {
        self.recorded(
            || Event::Settle(Box::new(settlement.clone())),
            || {
                let settle = |i: &mut Instance| i.settle(settlement);
                self.instances.with_overdraft(settle)
            },
        )
    }

    pub(super) fn fallbacks(
        &self,
        lease: &Permit,
        request: &Request<'_>,
        limit: u32,
    ) -> Result<Vec<Permit>, Error> {
        self.recorded(
            || Event::fallbacks(lease, request, limit),
            || self.instances.with(|i| i.fallbacks(lease, request, limit)),
        )
    }

    pub(super) fn holds(&self, lease: &Lease) -> Result<bool, Error> {
        self.instances.with(|i| i.holds(lease))
    }

    pub(super) fn add_proxies(&self, specs: &[ProxySpec]) -> Result<(), Error> {
        let add = |i: &mut Instance| i.add_proxies(specs);
        self.recorded(
            || Event::AddProxies(specs.to_vec()),
            || self.instances.tell(add, |wanted| wanted.set(specs)),
        )
    }

    pub(super) fn remove_proxy(&self, id: Uuid) -> Result<bool, Error> {
        let remove = |i: &mut Instance| i.remove_proxy(id);
        self.recorded(
            || Event::RemoveProxy(id),
            || self.instances.tell(remove, |wanted| wanted.remove(id)),
        )
    }

    pub(super) fn set_health(&self, id: Uuid, healthy: bool) -> Result<bool, Error> {
        let set = |i: &mut Instance| i.set_health(id, healthy);
        let note = |wanted: &mut Wanted| wanted.set_health(id, healthy);
        self.recorded(
            || Event::SetHealth(id, healthy),
            || self.instances.tell(set, note),
        )
    }

    pub(super) fn configure(&self, config: &Config) -> Result<(), Error> {
        let configure = |i: &mut Instance| i.configure(config);
        let note = |wanted: &mut Wanted| wanted.config = config.clone();
        self.recorded(
            || Event::Configure(Box::new(config.clone())),
            || self.instances.tell(configure, note),
        )
    }

    pub(super) fn unbind(&self, key: &str) -> Result<bool, Error> {
        self.recorded(
            || Event::Unbind(key.to_owned()),
            || self.instances.with(|i| i.unbind(key)),
        )
    }

    pub(super) fn purge_expired(&self, limit: u32) -> Result<u32, Error> {
        self.recorded(
            || Event::PurgeExpired(limit),
            || self.instances.with(|i| i.purge_expired(limit)),
        )
    }
}
