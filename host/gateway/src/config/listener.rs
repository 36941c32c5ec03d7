//! The fields of `remora.toml` that are about serving clients, rather than about the decisions.

use std::path::PathBuf;

use remora_config::{Secret, Time};
use remora_http::CONNECT_TIMEOUT_MS;
use serde::Deserialize;

/// `[timeouts]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TimeoutFields {
    pub(crate) connect: Time,
    pub(crate) head: Time,
    pub(crate) idle: Time,
    pub(crate) client: Time,
}

impl Default for TimeoutFields {
    fn default() -> Self {
        Self {
            connect: Time::from_millis(CONNECT_TIMEOUT_MS),
            head: Time::from_millis(60_000),
            idle: Time::from_millis(600_000),
            client: Time::from_millis(60_000),
        }
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitFields {
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_tenants: u32,
}

impl Default for LimitFields {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_header_bytes: 64 << 10,
            max_tenants: 2_000,
        }
    }
}

impl LimitFields {
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections.unwrap_or(20_000)
    }
}

/// `[client]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientFields {
    pub(crate) session_header: Option<String>,
    pub(crate) max_ttl: Option<Time>,
}

/// `[[user]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Option<Secret>,
    pub(crate) password_hash: Option<Secret>,
}

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFields {
    pub(crate) ca: Option<PathBuf>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFields {
    #[serde(default)]
    pub(crate) format: Format,
    pub(crate) level: Option<String>,
}
