//! The fields of `remora.toml`, as `docs/configuration.md` explains them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use remora_host::{OnBad, Scope, Strategy};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// A configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default = "listen")]
    pub(crate) listen: SocketAddr,
    #[serde(default)]
    pub(crate) allow_remote: bool,
    pub(crate) admin: Option<SocketAddr>,
    #[serde(default = "memory")]
    pub(crate) storage: String,
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
    pub(crate) proxy: Vec<ProxyEntry>,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn memory() -> String {
    "memory".into()
}

fn shutdown_after() -> Duration {
    Duration::from_secs(10)
}

/// Whether requests stick.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    #[default]
    Disabled,
    Domain,
}

/// `[sticky]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    #[serde(default)]
    pub(crate) mode: Mode,
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

/// `[[sticky.override]]`
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    #[serde(default)]
    pub(crate) strategy: Strategy,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) lease_timeout: Option<Duration>,
}

/// `[breaker]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub(crate) open_threshold: Option<u32>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) half_open_after: Option<Duration>,
    pub(crate) growth: Option<u32>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) max_half_open_after: Option<Duration>,
}

/// `[timeouts]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutFields {
    #[serde(deserialize_with = "time")]
    pub(crate) connect: Duration,
    #[serde(deserialize_with = "time")]
    pub(crate) head: Duration,
}

impl Default for TimeoutFields {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(60),
        }
    }
}

/// `[[proxy]]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyEntry {
    pub(crate) url: String,
    #[serde(default = "one")]
    pub(crate) weight: u32,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
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

/// Reads a length of time.
struct Time;

impl Visitor<'_> for Time {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time with its unit, such as \"30s\" or \"10m\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|_| {
            E::custom(format_args!(
                "{text:?} is not a length of time; write it with its unit, such as \"30s\" or \"10m\""
            ))
        })
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Time)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}
