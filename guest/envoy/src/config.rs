//! The plugin configuration: JSON, with the field names of `remora.toml`, read and checked ([`Filter`] is its schema).

use std::net::SocketAddr;

use remora_config::filter::{Filter, Proxy};
use remora_config::{Time, attempts};
use remora_core::{Config, Invalid, ProxyId, ProxySpec};
use remora_http::{CONNECT_TIMEOUT_MS, StatusClassifier, session_header};

/// A configuration that was read and checked, but for the checks of the core.
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
    let filter: Filter = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner().to_string();
        match path.as_str() {
            "." => inner,
            _ => format!("`{path}`: {inner}"),
        }
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    check(filter).map_err(|invalid| invalid.to_string())
}

fn check(filter: Filter) -> Result<Checked, Invalid> {
    let addresses = addresses(&filter.proxy)?;
    let attempts = attempts(filter.retry.attempts)?;
    let core = filter.tables().core();
    if let Some(error) = filter.breaker.error(&core.breaker) {
        return Err(error);
    }
    let header = filter.client.session_header.as_deref();
    let (statuses, errors) = filter.outcome.statuses();
    if let Some(first) = errors.into_iter().next() {
        return Err(first);
    }
    Ok(Checked {
        core,
        statuses,
        attempts,
        connect_ms: filter.timeouts.connect.map_or(CONNECT_TIMEOUT_MS, Time::ms),
        session_header: header.map(session_header).transpose()?,
        pool: filter.proxy.iter().map(ProxySpec::from).collect(),
        addresses,
    })
}

/// Where each proxy is: no id and no address twice.
fn addresses(proxies: &[Proxy]) -> Result<Vec<(ProxyId, SocketAddr)>, Invalid> {
    if proxies.is_empty() {
        return Err(Invalid::new("proxy", "[]", "at least one proxy"));
    }
    let mut addresses = Vec::with_capacity(proxies.len());
    for (i, proxy) in proxies.iter().enumerate() {
        let address = address(proxy, i)?;
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
    Ok(addresses)
}

/// Where Envoy reaches a proxy.
fn address(proxy: &Proxy, i: usize) -> Result<SocketAddr, Invalid> {
    let field = format!("proxy[{i}].url");
    let url = &proxy.url.0;
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
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
            return Err(Invalid::new(field, url, accepted));
        }
    }
    match proxy.address {
        Some(address) => Ok(address),
        None => rest.trim_end_matches('/').parse().map_err(|_| {
            let accepted = "an `ip:port` behind the scheme, or an `address` beside the URL";
            Invalid::new(field, url, accepted)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_core::{Mode, StrategyKind};

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
    fn a_table_without_a_mode_means_that_requests_stick() {
        let mode = |sticky: &str| {
            let read = with(&format!(r#""sticky":{{{sticky}}},"#)).unwrap();
            read.core.sticky.mode
        };
        assert_eq!(with("").unwrap().core.sticky.mode, Mode::Disabled);
        assert_eq!(mode(""), Mode::Domain);
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
