//! The file around the pools: the fields of `remora.toml`, as `docs/configuration.md` explains them.

use std::net::SocketAddr;
use std::path::PathBuf;

use remora_config::{Breaker, Outcome, ProxyEntry, Retry, Rotation, Secret, Sticky, Time};
use serde::Deserialize;

use super::envoy::EnvoyFields;
use super::listener::{ClientFields, LimitFields, LogFields, TimeoutFields, TlsFields, User};
use super::storage::{OnError, StorageField};
use super::tenant::TenantFields;

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
    pub(crate) storage_timeout: Option<Time>,
    pub(crate) plugin: Option<PathBuf>,
    pub(crate) record: Option<PathBuf>,
    #[serde(default = "shutdown_after")]
    pub(crate) shutdown_after: Time,
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
    pub(crate) retry: Retry,
    #[serde(default)]
    pub(crate) outcome: Outcome,
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

fn shutdown_after() -> Time {
    Time::from_millis(10_000)
}
