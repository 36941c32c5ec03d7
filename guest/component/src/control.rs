//! The export `control`.

use remora_core as core;

use crate::bindings::exports::remora::egress::control::{
    self as wit, BreakerState, Guest, Invalid, PoolStats, Proxy, ProxyId, ProxyStatus, StorageError,
};
use crate::{Addition, ENGINE, Shell, with_engine};

impl<A: Addition> Guest for Shell<A> {
    fn configure(config: wit::Config) -> Result<(), Invalid> {
        ENGINE.with_borrow_mut(|engine| Ok(engine.configure(config.into())?))
    }

    fn add_proxies(proxies: Vec<Proxy>) -> Result<(), Invalid> {
        let specs: Vec<_> = proxies.into_iter().map(core::ProxySpec::from).collect();
        ENGINE.with_borrow_mut(|engine| Ok(engine.add_proxies(&specs)?))
    }

    fn remove_proxy(id: ProxyId) -> Result<bool, StorageError> {
        ENGINE.with_borrow_mut(|engine| Ok(engine.remove_proxy(&id.into())?))
    }

    fn set_health(id: ProxyId, healthy: bool) -> bool {
        ENGINE.with_borrow_mut(|engine| engine.set_health(&id.into(), healthy))
    }

    fn stats() -> Result<PoolStats, StorageError> {
        let stats = with_engine(|engine, now| engine.stats(now))?;
        Ok(PoolStats {
            total: stats.total,
            healthy: stats.healthy,
            open: stats.open,
        })
    }

    fn proxies(offset: u32, limit: u32) -> Result<Vec<ProxyStatus>, StorageError> {
        let proxies = with_engine(|engine, now| engine.proxies(now, offset, limit))?;
        Ok(proxies.into_iter().map(ProxyStatus::from).collect())
    }
}

impl From<core::ProxyStatus> for ProxyStatus {
    fn from(status: core::ProxyStatus) -> Self {
        let breaker = match status.breaker.refuses_until() {
            None => BreakerState::Closed(status.breaker.failures()),
            Some(until) if status.breaker.is_half_open() => BreakerState::HalfOpen(until),
            Some(until) => BreakerState::Open(until),
        };
        Self {
            proxy: Proxy {
                id: status.id.into(),
                weight: status.weight,
                tags: status.tags,
            },
            healthy: status.healthy,
            available: status.available,
            breaker,
            in_flight: status.in_flight,
        }
    }
}

core::config_from_wit!(wit);
