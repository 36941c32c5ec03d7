//! The shapes of the answers, as the command line reads them again.

use std::time::SystemTime;

use remora_host::{BreakerState, PoolStats, ProxyInfo, SessionInfo};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::StoreState;

/// `GET /healthz`
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storage: Option<StoreState>,
    /// How many tenants are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenants: Option<usize>,
    /// How many tenants are not as their file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused_tenants: Option<usize>,
    /// How many tenants are still being made for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) awaited_tenants: Option<usize>,
}

/// One entry of `GET /tenants`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TenantRow {
    pub(crate) name: String,
    /// Absent where the plugin does not say in time, or there is no such tenant.
    #[serde(flatten)]
    pub(crate) counts: Option<TenantCounts>,
    /// Requests and tunnels.
    pub(crate) in_flight: usize,
    /// Its file; `null` for the one built in.
    pub(crate) plugin: Option<String>,
    /// How often its plugin has trapped.
    pub(crate) plugin_traps: u64,
    /// Why the tenant is not as its file says, or not there yet.
    pub(crate) error: Option<String>,
}

impl TenantRow {
    /// One that there would be.
    pub(super) fn absent(name: &str, error: &str) -> Self {
        Self {
            name: name.to_owned(),
            counts: None,
            in_flight: 0,
            plugin: None,
            plugin_traps: 0,
            error: Some(error.to_owned()),
        }
    }
}

/// A tenant's pool in numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TenantCounts {
    pub(crate) proxies: usize,
    pub(crate) healthy: usize,
    pub(crate) sessions: usize,
}

/// `POST /proxies`
#[derive(Debug, Serialize)]
pub(super) struct Added {
    pub(super) ids: Vec<Uuid>,
}

/// `GET /stats`. The counts are `null` while the storage that knows them does not answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) total: Option<usize>,
    pub(crate) healthy: Option<usize>,
    pub(crate) open: Option<usize>,
    pub(crate) active_sessions: Option<usize>,
    #[serde(default)]
    pub(crate) storage: StoreState,
}

impl Stats {
    pub(super) fn new(stats: Option<PoolStats>, storage: StoreState) -> Self {
        let stats = stats.as_ref();
        Self {
            storage,
            total: stats.map(|stats| stats.total),
            healthy: stats.map(|stats| stats.healthy),
            open: stats.map(|stats| stats.open),
            active_sessions: stats.map(|stats| stats.active_sessions),
        }
    }
}

/// One entry of `GET /sessions`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) key: String,
    pub(crate) proxy_id: Uuid,
    /// Without credentials; `null` once the proxy has been removed.
    pub(crate) proxy: Option<String>,
    pub(crate) bound_at: String,
    pub(crate) expires_at: String,
}

impl From<SessionInfo> for Session {
    fn from(session: SessionInfo) -> Self {
        Self {
            key: session.key,
            proxy_id: session.proxy_id,
            proxy: session.proxy_url,
            bound_at: rfc3339(session.bound_at),
            expires_at: rfc3339(session.expires_at),
        }
    }
}

/// One entry of `GET /proxies`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proxy {
    pub(crate) id: Uuid,
    /// Without credentials.
    pub(crate) url: String,
    pub(crate) weight: u32,
    pub(crate) tags: Vec<String>,
    /// Whether it is switched on.
    pub(crate) healthy: bool,
    /// Whether the next request may get it.
    pub(crate) available: bool,
    /// `closed`, `open` or `half-open`.
    pub(crate) breaker: String,
    /// Failures in a row, while the breaker is closed.
    pub(crate) failures: u32,
    /// Until when the breaker refuses; `null` while it is closed.
    pub(crate) until: Option<String>,
    /// Counted only under the `least-used` strategy.
    pub(crate) in_flight: u64,
}

impl From<ProxyInfo> for Proxy {
    fn from(proxy: ProxyInfo) -> Self {
        let (breaker, failures, until) = match proxy.breaker {
            BreakerState::Closed { failures } => ("closed", failures, None),
            BreakerState::Open { until } => ("open", 0, Some(until)),
            BreakerState::HalfOpen { until } => ("half-open", 0, Some(until)),
        };
        Self {
            id: proxy.id,
            url: proxy.url,
            weight: proxy.weight,
            tags: proxy.tags,
            healthy: proxy.healthy,
            available: proxy.available,
            breaker: breaker.to_owned(),
            failures,
            until: until.map(rfc3339),
            in_flight: proxy.in_flight,
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
