//! The plugin configuration: JSON, with the field names of `remora.toml`. Never an address with a password in
//! it, and no field that would do nothing.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use remora_core::{
    BreakerPolicy, Config, Invalid, Mode, OnBad, Override, ProxyId, ProxySpec, RETRY_ATTEMPTS,
    Scope, Sticky, StrategyKind, check_max_half_open_after, check_retry_attempts,
};
use remora_http::{CONNECT_TIMEOUT_MS, StatusClassifier, session_header};
use serde::Deserialize;
use serde::de::Deserializer;

/// What the filter is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// As in `remora.toml`.
    #[serde(default)]
    pub sticky: StickyFields,
    /// As in `remora.toml`.
    #[serde(default)]
    pub rotation: RotationFields,
    /// As in `remora.toml`.
    #[serde(default)]
    pub breaker: BreakerFields,
    /// As in `remora.toml`.
    #[serde(default)]
    pub outcome: OutcomeFields,
    /// As in `remora.toml`.
    #[serde(default)]
    pub retry: RetryFields,
    /// As in `remora.toml`.
    #[serde(default)]
    pub timeouts: TimeoutFields,
    /// As in `remora.toml`.
    #[serde(default)]
    pub client: ClientFields,
    /// The pool.
    pub proxy: Vec<ProxyFields>,
}

/// `sticky`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct StickyFields {
    pub mode: Option<Mode>,
    pub ttl: Option<Time>,
    pub scope: Scope,
    pub idle: Option<Time>,
    pub max_requests: Option<u32>,
    pub on_bad: OnBad,
    pub max_sessions: Option<u64>,
    pub avoid_blocked_for: Option<Time>,
    #[serde(rename = "override")]
    pub overrides: Vec<StickyOverride>,
}

/// `sticky.override[]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct StickyOverride {
    #[serde(rename = "match")]
    pub pattern: String,
    pub mode: Option<Mode>,
    pub ttl: Option<Time>,
    pub idle: Option<Time>,
    pub max_requests: Option<u32>,
    pub on_bad: Option<OnBad>,
}

/// `rotation`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct RotationFields {
    pub strategy: StrategyKind,
    pub lease_timeout: Option<Time>,
}

/// `breaker`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct BreakerFields {
    pub open_threshold: Option<u32>,
    pub half_open_after: Option<Time>,
    pub growth: Option<u32>,
    pub max_half_open_after: Option<Time>,
}

/// `outcome`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct OutcomeFields {
    pub failure_statuses: Option<Vec<u16>>,
    pub blocked_statuses: Option<Vec<u16>>,
    #[serde(rename = "override")]
    pub overrides: Vec<OutcomeOverride>,
}

/// `outcome.override[]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct OutcomeOverride {
    #[serde(rename = "match")]
    pub pattern: String,
    pub failure_statuses: Option<Vec<u16>>,
    pub blocked_statuses: Option<Vec<u16>>,
}

/// `retry`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct RetryFields {
    pub attempts: u32,
}

impl Default for RetryFields {
    fn default() -> Self {
        Self {
            attempts: RETRY_ATTEMPTS,
        }
    }
}

/// `timeouts`: the one that Envoy does not enforce itself.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct TimeoutFields {
    pub connect: Option<Time>,
}

/// `client`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct ClientFields {
    pub session_header: Option<String>,
}

/// `proxy[]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyFields {
    /// `http://host:port` or `https://host:port`, without user and password: those are the cluster's.
    pub url: String,
    /// Where Envoy reaches it: the endpoint's `ip:port`. May be left out where the URL says it.
    pub address: Option<SocketAddr>,
    /// Its identity, the same in every process that knows it.
    pub id: ProxyId,
    /// As in `remora.toml`.
    #[serde(default = "one")]
    pub weight: u32,
}

impl fmt::Debug for ProxyFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, though it must not.
        f.debug_struct("ProxyFields")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn one() -> u32 {
    1
}

/// A length of time, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(Duration);

impl Time {
    fn ms(self) -> u64 {
        self.0.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            serde::de::Error::custom(format_args!(
                "{text:?} is not a length of time; write it with its unit, such as \"30s\" or \"10m\""
            ))
        })
    }
}

/// A configuration that was read and checked, but for what the core checks.
#[derive(Clone, Debug)]
pub struct Checked {
    /// For the core.
    pub core: Config,
    /// For the core.
    pub pool: Vec<ProxySpec>,
    /// Where each proxy of the pool is.
    pub addresses: Vec<(ProxyId, SocketAddr)>,
    /// The outcomes of statuses.
    pub statuses: StatusClassifier,
    /// On how many more proxies a request may be tried.
    pub attempts: u32,
    /// How long a proxy may take to open a tunnel, in milliseconds.
    pub connect_ms: u64,
    /// The header that carries the client's session id.
    pub session_header: Option<String>,
}

/// Reads a plugin configuration.
///
/// # Errors
///
/// One line that names the field.
pub fn read(json: &[u8]) -> Result<Checked, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let config: PluginConfig =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.inner().to_string();
            match path.as_str() {
                "." => inner,
                _ => format!("`{path}`: {inner}"),
            }
        })?;
    deserializer.end().map_err(|error| error.to_string())?;
    config.check().map_err(|invalid| invalid.to_string())
}

impl PluginConfig {
    fn check(self) -> Result<Checked, Invalid> {
        if self.proxy.is_empty() {
            return Err(Invalid::new("proxy", "[]", "at least one proxy"));
        }
        let mut addresses = Vec::with_capacity(self.proxy.len());
        for (i, proxy) in self.proxy.iter().enumerate() {
            let address = proxy.address(i)?;
            for (first, (id, known)) in addresses.iter().enumerate() {
                if *id == proxy.id {
                    let accepted = format!("an id of its own; `proxy[{first}]` has the same");
                    return Err(Invalid::new(format!("proxy[{i}].id"), id, accepted));
                }
                if *known == address {
                    let accepted = format!("an address of its own; `proxy[{first}]` has the same");
                    return Err(Invalid::new(format!("proxy[{i}].address"), known, accepted));
                }
            }
            addresses.push((proxy.id, address));
        }
        check_retry_attempts(self.retry.attempts)?;
        let core = self.core();
        if let Some(max) = self.breaker.max_half_open_after {
            check_max_half_open_after(max.ms(), core.breaker.half_open_after_ms)?;
        }
        let header = self.client.session_header.as_deref();
        Ok(Checked {
            core,
            statuses: self.outcome.statuses()?,
            attempts: self.retry.attempts,
            connect_ms: self.timeouts.connect.map_or(CONNECT_TIMEOUT_MS, Time::ms),
            session_header: header.map(session_header).transpose()?,
            pool: self.proxy.into_iter().map(ProxyFields::spec).collect(),
            addresses,
        })
    }

    fn core(&self) -> Config {
        let default = Config::default();
        let (sticky, breaker) = (&self.sticky, &self.breaker);
        let ms = |time: Option<Time>, default: u64| time.map_or(default, Time::ms);
        Config {
            sticky: Sticky {
                mode: Mode::or_implied(sticky.mode, sticky.ttl.is_some()).unwrap_or_default(),
                ttl_ms: ms(sticky.ttl, default.sticky.ttl_ms),
                idle_ms: sticky.idle.map(Time::ms),
                max_requests: sticky.max_requests,
                on_bad: sticky.on_bad,
            },
            scope: sticky.scope,
            overrides: sticky.overrides.iter().map(Override::from).collect(),
            strategy: self.rotation.strategy,
            breaker: BreakerPolicy {
                open_threshold: breaker
                    .open_threshold
                    .unwrap_or(default.breaker.open_threshold),
                half_open_after_ms: ms(breaker.half_open_after, default.breaker.half_open_after_ms),
                growth: breaker.growth.unwrap_or(default.breaker.growth),
                max_half_open_after_ms: ms(
                    breaker.max_half_open_after,
                    default.breaker.max_half_open_after_ms,
                ),
            },
            avoid_blocked_for_ms: ms(sticky.avoid_blocked_for, default.avoid_blocked_for_ms),
            max_sessions: sticky.max_sessions.unwrap_or(default.max_sessions),
            lease_timeout_ms: ms(self.rotation.lease_timeout, default.lease_timeout_ms),
        }
    }
}

impl From<&StickyOverride> for Override {
    fn from(over: &StickyOverride) -> Self {
        Self {
            pattern: over.pattern.clone(),
            mode: over.mode,
            ttl_ms: over.ttl.map(Time::ms),
            idle_ms: over.idle.map(Time::ms),
            max_requests: over.max_requests,
            on_bad: over.on_bad,
        }
    }
}

impl ProxyFields {
    fn spec(self) -> ProxySpec {
        ProxySpec {
            id: self.id,
            weight: self.weight,
            // No request to Envoy asks for any.
            tags: Vec::new(),
        }
    }

    /// Where Envoy reaches it.
    fn address(&self, i: usize) -> Result<SocketAddr, Invalid> {
        let field = format!("proxy[{i}].url");
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        if rest.contains('@') {
            let accepted =
                "a URL without user and password: Envoy's cluster holds them, the filter must not";
            return Err(Invalid::new(field, format!("{scheme}://…@…"), accepted));
        }
        match scheme {
            "http" | "https" => {}
            "socks5" | "socks5h" => {
                let accepted = "an http:// or https:// proxy; Envoy cannot dial SOCKS5 upstreams, \
                                `remora serve` can";
                return Err(Invalid::new(field, format!("{scheme}://{rest}"), accepted));
            }
            _ => {
                let accepted = "a URL that begins with http:// or https://";
                return Err(Invalid::new(field, &self.url, accepted));
            }
        }
        match self.address {
            Some(address) => Ok(address),
            None => rest.trim_end_matches('/').parse().map_err(|_| {
                let accepted = "an `ip:port` behind the scheme, or an `address` beside the URL";
                Invalid::new(field, &self.url, accepted)
            }),
        }
    }
}

impl OutcomeFields {
    fn statuses(&self) -> Result<StatusClassifier, Invalid> {
        let lists = |failure: &Option<_>, blocked: &Option<_>| (failure.clone(), blocked.clone());
        let (failure, blocked) = lists(&self.failure_statuses, &self.blocked_statuses);
        let mut statuses = StatusClassifier::new("outcome", failure, blocked)?;
        for (i, over) in self.overrides.iter().enumerate() {
            let at = format!("outcome.override[{i}]");
            let (failure, blocked) = lists(&over.failure_statuses, &over.blocked_statuses);
            statuses = statuses.with(&at, &over.pattern, failure, blocked)?;
        }
        Ok(statuses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000001";

    fn with(fields: &str) -> Result<Checked, String> {
        let proxy = format!(r#"{{"url":"http://192.0.2.1:3128","id":"{ID}"}}"#);
        read(format!(r#"{{{fields}"proxy":[{proxy}]}}"#).as_bytes())
    }

    #[test]
    fn times_and_names_are_those_of_the_toml() {
        let read = with(
            r#""sticky":{"mode":"domain","ttl":"10m","override":[{"match":"*.a.example","mode":"disabled"}]},
               "timeouts":{"connect":"3s"},
               "rotation":{"strategy":"weighted"},"breaker":{"half_open_after":"2s"},"#,
        )
        .unwrap();
        assert_eq!(read.core.sticky.ttl_ms, 600_000);
        assert_eq!(read.core.breaker.half_open_after_ms, 2_000);
        assert_eq!(read.core.strategy, StrategyKind::Weighted);
        assert_eq!((read.attempts, read.connect_ms), (2, 3_000));
        assert_eq!(read.addresses[0].1.to_string(), "192.0.2.1:3128");
    }

    #[test]
    fn a_ttl_alone_means_that_requests_stick() {
        let mode = |sticky: &str| {
            let read = with(&format!(r#""sticky":{{{sticky}}},"#)).unwrap();
            read.core.sticky.mode
        };
        assert_eq!(mode(""), Mode::Disabled);
        assert_eq!(mode(r#""ttl":"1m""#), Mode::Domain);
        assert_eq!(mode(r#""ttl":"1m","mode":"disabled""#), Mode::Disabled);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_that_names_the_field() {
        for (fields, says) in [
            (r#""sticky":{"tll":"5m"},"#, "unknown field `tll`"),
            (r#""sticky":{"ttl":300},"#, "`sticky.ttl`: invalid type"),
            (
                r#""sticky":{"ttl":"5 lightyears"},"#,
                "`sticky.ttl`: \"5 lightyears\"",
            ),
            (r#""retry":{"attempts":11},"#, "`retry.attempts` is `11`"),
            (
                r#""outcome":{"failure_statuses":[99]},"#,
                "`outcome.failure_statuses` is `99`",
            ),
            (
                r#""outcome":{"failure_statuses":[403]},"#,
                "`outcome.blocked_statuses` is `403`",
            ),
            (
                r#""outcome":{"override":[{"match":"*.*"}]},"#,
                "`outcome.override[0].match` is `*.*`",
            ),
            (
                r#""client":{"session_header":"a b"},"#,
                "`client.session_header` is `a b`",
            ),
        ] {
            let error = with(fields).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn a_pool_that_envoy_cannot_reach_or_that_holds_a_secret_is_refused() {
        for (url, says) in [
            ("socks5://192.0.2.1:1080", "cannot dial SOCKS5"),
            (
                "http://user:s3cret@192.0.2.1:3128",
                "without user and password",
            ),
            ("http://proxy.example:3128", "`address` beside the URL"),
            ("ftp://192.0.2.1:1", "begins with http:// or https://"),
        ] {
            let json = format!(r#"{{"proxy":[{{"url":"{url}","id":"{ID}"}}]}}"#);
            let error = read(json.as_bytes()).unwrap_err();
            assert!(
                error.contains(says) && error.contains("`proxy[0].url`"),
                "{error}"
            );
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn two_proxies_at_one_address_are_refused() {
        let one = r#"{"url":"http://192.0.2.1:1","id":"00000000-0000-0000-0000-000000000001"}"#;
        let two = r#"{"url":"http://192.0.2.1:1","id":"00000000-0000-0000-0000-000000000002"}"#;
        let error = read(format!(r#"{{"proxy":[{one},{two}]}}"#).as_bytes()).unwrap_err();
        assert!(error.contains("`proxy[1].address`"), "{error}");
    }
}
