//! How a pool works: the same fields at the top of `remora.toml` and for each tenant.

use std::collections::HashMap;
use std::time::Duration;

use remora_host::session::StickyPolicy;
use remora_host::{BreakerConfig, Error, Mode, Proxy, ProxyConfig, StickyOverride};

use super::build::{BuildError, field};
use super::file::{Breaker, File, Override, ProxyEntry, Rotation, Sticky};
use super::serving::{OutcomeFields, RetryFields};

/// The most exits behind one address.
const MAX_EXITS: u32 = 10_000;

/// The fields of a pool.
#[derive(Clone, Copy)]
pub(crate) struct PoolFields<'a> {
    pub(super) sticky: &'a Sticky,
    pub(super) rotation: &'a Rotation,
    pub(super) breaker: &'a Breaker,
    pub(super) retry: &'a RetryFields,
    pub(super) outcome: &'a OutcomeFields,
    pub(super) proxy: &'a [ProxyEntry],
}

impl File {
    /// The pool at the top of the file.
    pub(crate) fn pool(&self) -> PoolFields<'_> {
        PoolFields {
            sticky: &self.sticky,
            rotation: &self.rotation,
            breaker: &self.breaker,
            retry: &self.retry,
            outcome: &self.outcome,
            proxy: &self.proxy,
        }
    }
}

impl PoolFields<'_> {
    /// The proxies, in the order of the file; none of them twice.
    pub(crate) fn proxies(&self) -> Result<Vec<Proxy>, BuildError> {
        if self.proxy.is_empty() {
            return Err(BuildError::NoProxy);
        }
        let mut proxies = Vec::new();
        let mut places = HashMap::new();
        for (i, entry) in self.proxy.iter().enumerate() {
            for proxy in entry.read(i)? {
                if let Some(first) = places.insert(proxy.id()?, i) {
                    return Err(BuildError::Twice { first, second: i });
                }
                proxies.push(proxy);
            }
        }
        Ok(proxies)
    }

    pub(crate) fn proxy_config(&self) -> ProxyConfig {
        let default = ProxyConfig::default();
        let sticky = &self.sticky;
        let breaker = default.breaker;
        ProxyConfig {
            sticky_policy: match (sticky.mode(), sticky.ttl) {
                (Mode::Disabled, _) => StickyPolicy::Disabled,
                (Mode::Domain, Some(ttl)) => sticking(ttl),
                (Mode::Domain, None) => StickyPolicy::domain_default(),
            },
            sticky_scope: sticky.scope,
            sticky_idle: sticky.idle,
            sticky_max_requests: sticky.max_requests,
            sticky_on_bad: sticky.on_bad,
            sticky_overrides: sticky
                .overrides
                .iter()
                .map(|o| self.overriding(o))
                .collect(),
            max_sessions: sticky.max_sessions.unwrap_or(default.max_sessions),
            breaker: BreakerConfig {
                open_threshold: self
                    .breaker
                    .open_threshold
                    .unwrap_or(breaker.open_threshold),
                half_open_after: self
                    .breaker
                    .half_open_after
                    .unwrap_or(breaker.half_open_after),
                growth: self.breaker.growth.unwrap_or(breaker.growth),
                max_half_open_after: self
                    .breaker
                    .max_half_open_after
                    .unwrap_or(breaker.max_half_open_after),
            },
            avoid_blocked_for: sticky
                .avoid_blocked_for
                .unwrap_or(default.avoid_blocked_for),
            lease_timeout: self.rotation.lease_timeout.unwrap_or(default.lease_timeout),
        }
    }

    fn overriding(&self, over: &Override) -> StickyOverride {
        let ttl = over.ttl.or(self.sticky.ttl);
        StickyOverride {
            pattern: over.pattern.clone(),
            policy: Mode::or_implied(over.mode, over.ttl.is_some()).map(|mode| match mode {
                Mode::Disabled => StickyPolicy::Disabled,
                Mode::Domain => ttl.map_or_else(StickyPolicy::domain_default, sticking),
            }),
            idle: over.idle,
            max_requests: over.max_requests,
            on_bad: over.on_bad,
        }
    }
}

/// A session that is over when it begins is none.
fn sticking(ttl: Duration) -> StickyPolicy {
    match ttl.is_zero() {
        true => StickyPolicy::Disabled,
        false => StickyPolicy::domain(ttl),
    }
}

impl ProxyEntry {
    /// The proxy, or as many as there are exits behind its address. `i`: its place, for errors.
    pub(crate) fn read(&self, i: usize) -> Result<Vec<Proxy>, BuildError> {
        let proxy = Proxy::from_url(&self.url).map_err(|error| match error {
            // Of which entry, the library cannot know.
            Error::Invalid(mut invalid) => {
                invalid.field = format!("proxy[{i}].url");
                Error::Invalid(invalid)
            }
            other => other,
        })?;
        let proxy = Proxy {
            weight: self.weight,
            tags: self.tags.clone(),
            ..proxy
        };
        let Some(exits) = self.exits else {
            return Ok(vec![proxy]);
        };
        let name = format!("proxy[{i}].exits");
        if !(1..=MAX_EXITS).contains(&exits) {
            return Err(field(name, exits, "1 to 10000"));
        }
        if !proxy.has_sessions() {
            let accepted = "left out, unless the user name or password holds `{session}`: without it all of \
                            them would be the same exit";
            return Err(field(name, exits, accepted));
        }
        Ok(proxy.exits(exits))
    }
}
