//! From fields to a gateway.

use std::collections::HashMap;
use std::fs::File as Record;
use std::io::LineWriter;

use remora_host::session::StickyPolicy;
use remora_host::{BreakerConfig, Error, Plugin, Proxy, ProxyConfig, ProxyManager, StickyOverride};
use thiserror::Error;

use super::Addresses;
use super::file::{File, Mode, Override, ProxyEntry};
use crate::gateway::Gateway;
use crate::upstream::Trust;

/// The most exits behind one address.
const MAX_EXITS: u32 = 10_000;

/// Which value is not accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A field of the gateway itself.
    #[error("`{field}` is `{value}`; accepted: {accepted}")]
    Field {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// There is no proxy.
    #[error("there is no [[proxy]]; at least one is needed")]
    NoProxy,
    /// One that two entries describe.
    #[error("`proxy[{second}].url` is the same proxy as `proxy[{first}].url`")]
    Twice {
        /// Its first place, counted from 0.
        first: usize,
        /// Its second.
        second: usize,
    },
    /// A file that is named cannot be used.
    #[error("`{field}`: cannot use {path}: {error}")]
    Path {
        /// The field.
        field: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The storage cannot be used.
    #[error("`storage`: {reason}")]
    Storage {
        /// Why not.
        reason: String,
    },
    /// A setting, a proxy or the plugin.
    #[error("{0}")]
    Host(#[from] Error),
}

pub(crate) fn field(
    field: impl Into<String>,
    value: impl ToString,
    accepted: &'static str,
) -> BuildError {
    BuildError::Field {
        field: field.into(),
        value: value.to_string(),
        accepted,
    }
}

impl File {
    /// Where to listen.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when it is an address that others reach, and the file does not allow that.
    pub fn addresses(&self) -> Result<Addresses, BuildError> {
        let remote =
            |address: &std::net::SocketAddr| !address.ip().is_loopback() && !self.allow_remote;
        if remote(&self.listen) && self.user.is_empty() {
            let accepted = "an address of this machine only (127.0.0.1, [::1]) unless clients have to say who they \
                            are: add a [[user]]. If something else keeps strangers out, set `allow_remote = true`";
            return Err(field("listen", self.listen, accepted));
        }
        if let Some(admin) = self.admin.filter(remote)
            && self.admin_token.is_none()
        {
            let accepted = "an address of this machine only (127.0.0.1, [::1]) unless there is an `admin_token`. If \
                            something else keeps strangers out, set `allow_remote = true`";
            return Err(field("admin", admin, accepted));
        }
        Ok(Addresses {
            listen: self.listen,
            admin: self.admin,
            shutdown_after: self.shutdown_after,
        })
    }

    /// Makes the gateway: the plugin is loaded and told everything, nothing is listening yet.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first value that is not accepted.
    pub async fn build(&self) -> Result<Gateway, BuildError> {
        let proxies = self.proxies()?;
        let settings = self.settings()?;
        let trust = self.trust()?;
        let mut builder = ProxyManager::builder()
            .config(self.proxy_config())
            .strategy(self.rotation.strategy);
        if let Some(path) = &self.plugin {
            let plugin = Plugin::from_file(path).map_err(Error::from)?;
            builder = builder.plugin(plugin);
        }
        let (mut builder, store) = self.store(builder)?;
        if let Some(path) = &self.record {
            let record = Record::create(path).map_err(|error| BuildError::Path {
                field: "record",
                path: path.display().to_string(),
                error,
            })?;
            builder = builder.record(LineWriter::new(record));
        }
        let manager = builder.build()?;
        manager.add_proxies(proxies).await?;
        Ok(Gateway::new(manager, settings, trust).with_store(store))
    }

    fn trust(&self) -> Result<Trust, BuildError> {
        let Some(path) = &self.tls.ca else {
            return Ok(Trust::default());
        };
        Trust::with_file(path).map_err(|error| BuildError::Path {
            field: "tls.ca",
            path: path.display().to_string(),
            error,
        })
    }

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
            sticky_policy: match (sticky.mode, sticky.ttl) {
                (Mode::Disabled, _) => StickyPolicy::Disabled,
                (Mode::Domain, Some(ttl)) => StickyPolicy::domain(ttl),
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
            policy: match (over.mode, over.ttl) {
                (None, None) => None,
                (Some(Mode::Disabled), _) => Some(StickyPolicy::Disabled),
                (Some(Mode::Domain), _) | (None, Some(_)) => {
                    Some(ttl.map_or_else(StickyPolicy::domain_default, StickyPolicy::domain))
                }
            },
            idle: over.idle,
            max_requests: over.max_requests,
            on_bad: over.on_bad,
        }
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
