//! The configuration of the Envoy filter: JSON, with the field names of `remora.toml`. No credential, and no field that would do
//! nothing there.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use remora_core::{ProxyId, ProxySpec};
use serde::{Deserialize, Serialize};

use crate::breaker::Breaker;
use crate::defaults::is_default;
use crate::duration::Time;
use crate::outcome::Outcome;
use crate::pool::Tables;
use crate::proxy::{is_one, one};
use crate::rotation::Rotation;
use crate::secret::Secret;
use crate::sticky::Sticky;

/// The filter's configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// As in `remora.toml`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sticky: Sticky,
    /// As in `remora.toml`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rotation: Rotation,
    /// As in `remora.toml`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub breaker: Breaker,
    /// As in `remora.toml`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outcome: Outcome,
    /// `retry`
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// `timeouts`
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// `client`
    #[serde(default, skip_serializing_if = "is_default")]
    pub client: Client,
    /// The pool.
    pub proxy: Vec<Proxy>,
}

/// `retry`: `blocked` is the gateway's alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// As in `remora.toml`.
    #[serde(skip_serializing_if = "is_default")]
    pub attempts: Option<u32>,
}

/// `timeouts`: the one that Envoy does not enforce itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// As in `remora.toml`.
    #[serde(skip_serializing_if = "is_default")]
    pub connect: Option<Time>,
}

/// `client`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// As in `remora.toml`.
    #[serde(skip_serializing_if = "is_default")]
    pub session_header: Option<String>,
}

/// `proxy[]`: where an endpoint of Envoy's cluster is. `tags` and `exits` are the gateway's alone.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `http://host:port` or `https://host:port`, without user and password: those are the cluster's. (A secret, since one
    /// that has them all the same must not be shown.)
    pub url: Secret,
    /// The endpoint's `ip:port`. May be left out where the URL says it.
    #[serde(skip_serializing_if = "is_default")]
    pub address: Option<SocketAddr>,
    /// Its identity, the same in every process that knows it.
    pub id: ProxyId,
    /// As in `remora.toml`.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
}

impl Filter {
    /// The tables that the core's configuration is made of.
    pub fn tables(&self) -> Tables<'_> {
        Tables {
            sticky: &self.sticky,
            rotation: &self.rotation,
            breaker: &self.breaker,
        }
    }
}

impl From<&Proxy> for ProxySpec {
    fn from(proxy: &Proxy) -> Self {
        Self {
            id: proxy.id,
            weight: proxy.weight,
            // No request to Envoy asks for any.
            tags: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const FULL: &str = r#"{
        "sticky": {"mode": "domain", "ttl": "10m", "scope": "session", "idle": "5m", "max_requests": 100, "on_bad": "strict",
            "max_sessions": 1000, "avoid_blocked_for": "1m",
            "override": [{"match": "*.example.com", "ttl": "1m 30s"}, {"match": "a.example", "mode": "disabled"}]},
        "rotation": {"strategy": "weighted", "lease_timeout": "1h"},
        "breaker": {"open_threshold": 3, "half_open_after": "500ms", "growth": 2, "max_half_open_after": "1m"},
        "outcome": {"failure_statuses": [502], "blocked_statuses": [403],
            "override": [{"match": "shop.example", "blocked_statuses": []}]},
        "retry": {"attempts": 1},
        "timeouts": {"connect": "2s"},
        "client": {"session_header": "x-session-id"},
        "proxy": [
            {"url": "http://192.0.2.1:1", "address": "192.0.2.1:1", "id": "00000000-0000-0000-0000-000000000001", "weight": 2},
            {"url": "https://192.0.2.2:2", "id": "00000000-0000-0000-0000-000000000002"}]
    }"#;

    #[test]
    fn written_fields_are_those_that_were_read() {
        for text in [FULL, r#"{"proxy": []}"#] {
            let read: Filter = serde_json::from_str(text).unwrap();
            let written = serde_json::to_value(&read).unwrap();
            let given: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(written, given);
        }
    }

    #[test]
    fn fields_of_the_gateway_alone_are_unknown() {
        for (from, to, field) in [
            (r#""weight": 2"#, r#""tags": []"#, "tags"),
            (r#""weight": 2"#, r#""exits": 3"#, "exits"),
            (r#""attempts": 1"#, r#""blocked": true"#, "blocked"),
            (r#""connect": "2s""#, r#""head": "2s""#, "head"),
        ] {
            let error = serde_json::from_str::<Filter>(&FULL.replace(from, to)).unwrap_err();
            let expected = alloc::format!("unknown field `{field}`");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
}
