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

impl From<wit::Config> for core::Config {
    fn from(config: wit::Config) -> Self {
        Self {
            sticky: config.sticky.into(),
            scope: match config.scope {
                wit::Scope::Host => core::Scope::Host,
                wit::Scope::Site => core::Scope::Site,
                wit::Scope::Session => core::Scope::Session,
            },
            overrides: config.overrides.into_iter().map(Into::into).collect(),
            strategy: match config.strategy {
                wit::Strategy::RoundRobin => core::StrategyKind::RoundRobin,
                wit::Strategy::Random => core::StrategyKind::Random,
                wit::Strategy::Weighted => core::StrategyKind::Weighted,
                wit::Strategy::LeastUsed => core::StrategyKind::LeastUsed,
            },
            breaker: core::BreakerPolicy {
                open_threshold: config.breaker.open_threshold,
                half_open_after_ms: config.breaker.half_open_after,
                growth: config.breaker.growth,
                max_half_open_after_ms: config.breaker.max_half_open_after,
            },
            avoid_blocked_for_ms: config.avoid_blocked_for,
            max_sessions: config.max_sessions,
            lease_timeout_ms: config.lease_timeout,
        }
    }
}

impl From<wit::Sticky> for core::Sticky {
    fn from(sticky: wit::Sticky) -> Self {
        Self {
            mode: sticky.mode.into(),
            ttl_ms: sticky.ttl,
            idle_ms: sticky.idle,
            max_requests: sticky.max_requests,
            on_bad: sticky.on_bad.into(),
        }
    }
}

impl From<wit::StickyOverride> for core::Override {
    fn from(over: wit::StickyOverride) -> Self {
        Self {
            pattern: over.pattern,
            mode: over.mode.map(Into::into),
            ttl_ms: over.ttl,
            idle_ms: over.idle,
            max_requests: over.max_requests,
            on_bad: over.on_bad.map(Into::into),
        }
    }
}

impl From<wit::Mode> for core::Mode {
    fn from(mode: wit::Mode) -> Self {
        match mode {
            wit::Mode::Disabled => Self::Disabled,
            wit::Mode::Domain => Self::Domain,
        }
    }
}

impl From<wit::OnBad> for core::OnBad {
    fn from(on_bad: wit::OnBad) -> Self {
        match on_bad {
            wit::OnBad::Rebind => Self::Rebind,
            wit::OnBad::Strict => Self::Strict,
        }
    }
}
