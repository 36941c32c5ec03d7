//! From fields to a gateway.

use std::fs::File as Record;
use std::io::LineWriter;

use remora_host::session::StickyPolicy;
use remora_host::{
    BreakerConfig, Error, Plugin, Proxy, ProxyConfig, ProxyManager, ProxyType, StickyOverride,
};
use thiserror::Error;

use super::file::{File, Mode, Override, ProxyEntry};
use super::{Addresses, Timeouts};
use crate::gateway::Gateway;

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
    /// The record cannot be written.
    #[error("`record`: cannot write {path}: {error}")]
    Record {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A setting, a proxy or the plugin.
    #[error("{0}")]
    Host(#[from] Error),
}

fn field(field: impl Into<String>, value: impl ToString, accepted: &'static str) -> BuildError {
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
        for (name, address) in [("listen", Some(self.listen)), ("admin", self.admin)] {
            let Some(address) = address.filter(|a| !a.ip().is_loopback() && !self.allow_remote)
            else {
                continue;
            };
            let accepted = "an address of this machine only (127.0.0.1, [::1]); there is no client \
                            authentication yet. If something else keeps strangers out, set `allow_remote = true`";
            return Err(field(name, address, accepted));
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
        if self.storage != "memory" {
            // What follows the scheme of a URL may be a password.
            let shown = match self.storage.split_once("://") {
                Some((scheme, _)) => format!("{scheme}://…"),
                None => self.storage.clone(),
            };
            return Err(field("storage", shown, "memory"));
        }
        if self.proxy.is_empty() {
            return Err(BuildError::NoProxy);
        }
        let proxies = self.proxies()?;
        let mut builder = ProxyManager::builder()
            .config(self.proxy_config())
            .strategy(self.rotation.strategy);
        if let Some(path) = &self.plugin {
            let plugin = Plugin::from_file(path).map_err(Error::from)?;
            builder = builder.plugin(plugin);
        }
        if let Some(path) = &self.record {
            let record = Record::create(path).map_err(|error| BuildError::Record {
                path: path.display().to_string(),
                error,
            })?;
            builder = builder.record(LineWriter::new(record));
        }
        let manager = builder.build()?;
        manager.add_proxies(proxies).await?;
        let timeouts = Timeouts {
            connect: self.timeouts.connect,
            head: self.timeouts.head,
        };
        Ok(Gateway::new(manager, timeouts))
    }

    fn proxies(&self) -> Result<Vec<Proxy>, BuildError> {
        let mut proxies = Vec::with_capacity(self.proxy.len());
        let mut ids = Vec::with_capacity(self.proxy.len());
        for (i, entry) in self.proxy.iter().enumerate() {
            let proxy = entry.read(i)?;
            let id = proxy.id()?;
            if let Some(first) = ids.iter().position(|known| *known == id) {
                return Err(BuildError::Twice { first, second: i });
            }
            ids.push(id);
            proxies.push(proxy);
        }
        Ok(proxies)
    }

    pub(super) fn proxy_config(&self) -> ProxyConfig {
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
    fn read(&self, i: usize) -> Result<Proxy, BuildError> {
        let proxy = Proxy::from_url(&self.url).map_err(|error| match error {
            // Of which entry, the library cannot know.
            Error::Invalid(mut invalid) => {
                invalid.field = format!("proxy[{i}].url");
                Error::Invalid(invalid)
            }
            other => other,
        })?;
        if proxy.proxy_type != ProxyType::Http {
            let scheme = format!("{}://…", proxy.proxy_type.scheme());
            let accepted = "an http:// proxy (https:// and socks5:// come with a later version)";
            return Err(field(format!("proxy[{i}].url"), scheme, accepted));
        }
        Ok(Proxy {
            weight: self.weight,
            tags: self.tags.clone(),
            ..proxy
        })
    }
}
