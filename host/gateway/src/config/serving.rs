//! The fields of `remora.toml` that are about serving clients, rather than about the decisions.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use remora_http::CONNECT_TIMEOUT_MS;
use serde::Deserialize;

use super::time::time;

/// `[timeouts]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutFields {
    #[serde(deserialize_with = "time")]
    pub(crate) connect: Duration,
    #[serde(deserialize_with = "time")]
    pub(crate) head: Duration,
    #[serde(deserialize_with = "time")]
    pub(crate) idle: Duration,
    #[serde(deserialize_with = "time")]
    pub(crate) client: Duration,
}

impl Default for TimeoutFields {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(CONNECT_TIMEOUT_MS),
            head: Duration::from_secs(60),
            idle: Duration::from_secs(600),
            client: Duration::from_secs(60),
        }
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitFields {
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

/// `[retry]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryFields {
    pub(crate) attempts: Option<u32>,
    pub(crate) blocked: Option<bool>,
}

/// `[outcome]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeFields {
    pub(crate) failure_statuses: Option<Vec<u16>>,
    pub(crate) blocked_statuses: Option<Vec<u16>>,
    #[serde(default, rename = "override")]
    pub(crate) overrides: Vec<OutcomeOverride>,
}

/// `[[outcome.override]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeOverride {
    #[serde(rename = "match")]
    pub(crate) pattern: String,
    pub(crate) failure_statuses: Option<Vec<u16>>,
    pub(crate) blocked_statuses: Option<Vec<u16>>,
}

/// `[client]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFields {
    pub(crate) session_header: Option<String>,
}

/// `[[user]]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub(crate) name: String,
    pub(crate) password: Option<String>,
    pub(crate) password_hash: Option<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFields {
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
pub struct LogFields {
    #[serde(default)]
    pub(crate) format: Format,
    pub(crate) level: Option<String>,
}

/// Where the admin interface's token is; `Debug` does not show it.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
