//! One running instance of a plugin, and the calls into it.

use std::sync::Arc;

use remora_core::{
    Attempt, Config, Grant, Lease, Permit, ProxySpec, Released, Request, Span, Storage, bounded,
};
use uuid::Uuid;
use wasmtime::Store;

use crate::bindings::{Plugin as Exports, control, egress, sessions, types};
use crate::clock::Clock;
use crate::contract;
use crate::convert::config::to_wit;
use crate::epoch;
use crate::error::{CallError, PluginError};
use crate::imports::{Allowance, HostState};
use crate::plugin::Plugin;
use crate::settlement::Settlement;

type Answer<T> = Result<T, CallError>;

/// One instance: single-threaded, and replaced when it traps.
pub(crate) struct Instance {
    store: Store<HostState>,
    exports: Exports,
}

impl Instance {
    /// Starts a plugin on a storage in this process.
    pub(crate) fn start(
        plugin: &Plugin,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn Storage + Send + Sync>,
    ) -> Result<Self, PluginError> {
        let (code, limits) = (plugin.code(), plugin.limits());
        let state = HostState {
            clock,
            storage,
            limits: limits.of_store(),
            allowance: Allowance::new(&limits),
        };
        let mut store = Store::new(code.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits.transfer);
        epoch::limit(&mut store, epoch::yield_thread);
        let exports = code.pre.instantiate(&mut store).map_err(start_error)?;
        Ok(Self { store, exports })
    }

    /// A call begins: its time starts to run.
    fn enter(&mut self) -> (&Exports, &mut Store<HostState>) {
        epoch::enter(&mut self.store);
        (&self.exports, &mut self.store)
    }

    /// `request.target` empty: a request without a target.
    pub(crate) fn acquire(&mut self, request: &Request<'_>) -> Answer<Grant> {
        let tried = tried_of(request);
        let (target, options) = asks(request, &tried);
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_egress();
        let grant = interface.call_acquire(&mut *store, target, options.clone())??;
        let key = match target {
            None => String::new(),
            Some(target) if grant.key_is_target => target.to_owned(),
            Some(target) => contract::key(interface.call_session_key(store, target, options)??)?,
        };
        Ok(granted(grant, key))
    }

    pub(crate) fn settle(&mut self, settlement: &Settlement) -> Answer<Released> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_egress();
        let lease = egress::Lease::from(settlement.lease.permit);
        if settlement.is_release() {
            let (outcome, about) = (settlement.outcome.into(), about_release(settlement));
            let released = interface.call_release(store, lease, outcome, about)??;
            return contract::released(released);
        }
        let attempts = attempts_of(settlement);
        let released = interface.call_settle(store, &attempts, about(settlement))??;
        contract::released(released)
    }

    pub(crate) fn fallbacks(
        &mut self,
        lease: &Permit,
        request: &Request<'_>,
        limit: u32,
    ) -> Answer<Vec<Permit>> {
        let tried = tried_of(request);
        let (target, options) = asks(request, &tried);
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_egress();
        let (lease, target) = ((*lease).into(), target.unwrap_or_default());
        let leases = interface.call_fallbacks(store, lease, target, options, limit)??;
        contract::fallbacks(leases, limit)
    }

    pub(crate) fn holds(&mut self, lease: &Lease) -> Answer<bool> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_egress();
        Ok(interface.call_holds(store, lease.permit.into(), &lease.key)??)
    }

    pub(crate) fn configure(&mut self, config: &Config) -> Answer<()> {
        let overrides: Vec<_> = config.overrides.iter().map(Into::into).collect();
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_control();
        Ok(interface.call_configure(store, to_wit(config, &overrides))??)
    }

    pub(crate) fn add_proxies(&mut self, specs: &[ProxySpec]) -> Answer<()> {
        let tags = tags_of(specs);
        let proxies = proxies_of(specs, &tags);
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_control();
        Ok(interface.call_add_proxies(store, &proxies)??)
    }

    pub(crate) fn remove_proxy(&mut self, id: Uuid) -> Answer<bool> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_control();
        Ok(interface.call_remove_proxy(store, id.into())??)
    }

    pub(crate) fn set_health(&mut self, id: Uuid, healthy: bool) -> Answer<bool> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_control();
        Ok(interface.call_set_health(store, id.into(), healthy)?)
    }

    pub(crate) fn stats(&mut self) -> Answer<control::PoolStats> {
        let (exports, store) = self.enter();
        Ok(exports.remora_egress_control().call_stats(store)??)
    }

    pub(crate) fn proxies(&mut self, offset: u32, limit: u32) -> Answer<Vec<control::ProxyStatus>> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_control();
        contract::page(interface.call_proxies(store, offset, limit)??, limit)
    }

    pub(crate) fn bind(&mut self, key: &str, proxy: Uuid, ttl_ms: u64) -> Answer<()> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_sessions();
        Ok(interface.call_bind(store, key, proxy.into(), ttl_ms)??)
    }

    pub(crate) fn lookup(&mut self, key: &str) -> Answer<Option<Uuid>> {
        let (exports, store) = self.enter();
        let proxy = exports.remora_egress_sessions().call_lookup(store, key)??;
        Ok(proxy.map(Uuid::from))
    }

    pub(crate) fn unbind(&mut self, key: &str) -> Answer<bool> {
        let (exports, store) = self.enter();
        Ok(exports.remora_egress_sessions().call_unbind(store, key)??)
    }

    pub(crate) fn purge_expired(&mut self, limit: u32) -> Answer<u32> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_sessions();
        Ok(interface.call_purge_expired(store, limit)??)
    }

    pub(crate) fn active_count(
        &mut self,
        cursor: Option<u64>,
        limit: u32,
    ) -> Answer<sessions::CountPage> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_sessions();
        Ok(interface.call_active_count(store, cursor, limit)??)
    }

    pub(crate) fn list(
        &mut self,
        cursor: Option<u64>,
        limit: u32,
    ) -> Answer<sessions::SessionPage> {
        let (exports, store) = self.enter();
        let interface = exports.remora_egress_sessions();
        let page = interface.call_list(store, cursor, limit)??;
        contract::sessions(page, limit)
    }
}

pub(crate) fn start_error(error: wasmtime::Error) -> PluginError {
    PluginError::Start(bounded(&error.root_cause().to_string()))
}

pub(crate) fn tried_of(request: &Request<'_>) -> Vec<types::ProxyId> {
    request.tried.iter().map(|id| (*id).into()).collect()
}

/// A request in the words of `egress.acquire`; the options are left out where they say nothing. `tried` are those
/// of the request, converted: a WIT list is a slice, and somebody has to own it.
pub(crate) fn asks<'a>(
    request: &Request<'a>,
    tried: &'a [types::ProxyId],
) -> (Option<&'a str>, Option<egress::Options<'a>>) {
    let target = Some(request.target).filter(|target| !target.is_empty());
    let options = egress::Options {
        session: request.session,
        tags: request.tags,
        tried,
        ttl: request.ttl_ms,
        repeatable: request.is_repeatable,
    };
    let plain = request.session.is_none()
        && request.tags.is_empty()
        && tried.is_empty()
        && request.ttl_ms.is_none()
        && request.is_repeatable;
    (target, (!plain).then_some(options))
}

pub(crate) fn granted(grant: egress::Grant, key: String) -> Grant {
    Grant {
        lease: Lease {
            key,
            permit: grant.lease.into(),
        },
        reason: grant.reason.into(),
        session: grant.session.map(|session| Span {
            bound_at: session.bound_at,
            expires_at: session.expires_at,
        }),
    }
}

pub(crate) fn about(settlement: &Settlement) -> egress::About<'_> {
    egress::About {
        key: &settlement.lease.key,
        target: &settlement.target,
    }
}

/// Left out where it is not needed: most releases carry no string into the plugin.
pub(crate) fn about_release(settlement: &Settlement) -> Option<egress::About<'_>> {
    settlement.needs_about().then(|| about(settlement))
}

pub(crate) fn attempts_of(settlement: &Settlement) -> Vec<egress::Attempt> {
    let first = Attempt {
        permit: settlement.lease.permit,
        outcome: settlement.outcome,
    };
    let attempts = [first].into_iter().chain(settlement.others.iter().copied());
    attempts.map(egress::Attempt::from).collect()
}

pub(crate) fn tags_of(specs: &[ProxySpec]) -> Vec<Vec<&str>> {
    let tags = specs.iter().map(|spec| &spec.tags);
    tags.map(|tags| tags.iter().map(String::as_str).collect())
        .collect()
}

pub(crate) fn proxies_of<'a>(
    specs: &[ProxySpec],
    tags: &'a [Vec<&'a str>],
) -> Vec<types::ProxyParam<'a>> {
    let proxies = specs
        .iter()
        .zip(tags)
        .map(|(spec, tags)| types::ProxyParam {
            id: spec.id.into(),
            weight: spec.weight,
            tags,
        });
    proxies.collect()
}
