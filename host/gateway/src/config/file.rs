//! The fields of `remora.toml`, as `docs/configuration.md` explains them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use remora_host::{Mode, OnBad, Scope, Strategy};
use serde::Deserialize;

use super::envoy::EnvoyFields;
use super::serving::{
    ClientFields, LimitFields, LogFields, OutcomeFields, RetryFields, Secret, TimeoutFields,
    TlsFields, User,
};
use super::storage::{OnError, StorageField};
use super::tenant::TenantFields;
use super::time::{some_time, time};

/// A configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default = "listen")]
    pub(crate) listen: SocketAddr,
    #[serde(default)]
    pub(crate) allow_remote: bool,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) admin_token: Option<Secret>,
    #[serde(default)]
    pub(crate) storage: StorageField,
    #[serde(default)]
    pub(crate) on_storage_error: OnError,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) storage_timeout: Option<Duration>,
    pub(crate) plugin: Option<PathBuf>,
    pub(crate) record: Option<PathBuf>,
    #[serde(default = "shutdown_after", deserialize_with = "time")]
    pub(crate) shutdown_after: Duration,
    #[serde(default)]
    pub(crate) sticky: Sticky,
    #[serde(default)]
    pub(crate) rotation: Rotation,
    #[serde(default)]
    pub(crate) breaker: Breaker,
    #[serde(default)]
    pub(crate) timeouts: TimeoutFields,
    #[serde(default)]
    pub(crate) limits: LimitFields,
    #[serde(default)]
    pub(crate) retry: RetryFields,
    #[serde(default)]
    pub(crate) outcome: OutcomeFields,
    #[serde(default)]
    pub(crate) client: ClientFields,
    #[serde(default)]
    pub(crate) user: Vec<User>,
    #[serde(default)]
    pub(crate) tls: TlsFields,
    #[serde(default)]
    pub(crate) log: LogFields,
    #[serde(default)]
    pub(crate) envoy: EnvoyFields,
    #[serde(default)]
    pub(crate) proxy: Vec<ProxyEntry>,
    #[serde(default)]
    pub(crate) tenant: Vec<TenantFields>,
    pub(crate) tenants: Option<PathBuf>,
    pub(crate) code_cache: Option<PathBuf>,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn shutdown_after() -> Duration {
    Duration::from_secs(10)
}

/// `[sticky]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    pub(crate) mode: Option<Mode>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) ttl: Option<Duration>,
    #[serde(default)]
    pub(crate) scope: Scope,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) idle: Option<Duration>,
    pub(crate) max_requests: Option<u32>,
    #[serde(default)]
    pub(crate) on_bad: OnBad,
    pub(crate) max_sessions: Option<u64>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) avoid_blocked_for: Option<Duration>,
    #[serde(default, rename = "override")]
    pub(crate) overrides: Vec<Override>,
}

impl Sticky {
    /// Whether requests stick.
    pub(crate) fn mode(&self) -> Mode {
        Mode::or_implied(self.mode, self.ttl.is_some()).unwrap_or_default()
    }
}

/// `[[sticky.override]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    #[serde(rename = "match")]
    pub(crate) pattern: String,
    pub(crate) mode: Option<Mode>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) ttl: Option<Duration>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) idle: Option<Duration>,
    pub(crate) max_requests: Option<u32>,
    pub(crate) on_bad: Option<OnBad>,
}

/// `[rotation]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    #[serde(default)]
    pub(crate) strategy: Strategy,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) lease_timeout: Option<Duration>,
}

/// `[breaker]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub(crate) open_threshold: Option<u32>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) half_open_after: Option<Duration>,
    pub(crate) growth: Option<u32>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) max_half_open_after: Option<Duration>,
}

/// `[[proxy]]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyEntry {
    pub(crate) url: String,
    #[serde(default = "one")]
    pub(crate) weight: u32,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    pub(crate) exits: Option<u32>,
}

impl fmt::Debug for ProxyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("ProxyEntry")
            .field("weight", &self.weight)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

fn one() -> u32 {
    1
}
