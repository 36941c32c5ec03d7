//! A pool: the same tables at the top of `remora.toml` and for each tenant.

use std::collections::HashMap;
use std::time::Duration;

use remora_config::{Outcome, ProxyEntry, Retry as RetryFields, Tables, attempts, shown};
use remora_core::{Config, Invalid, MAX_TTL_MS};
use remora_host::{Error, Proxy};
use remora_http::StatusClassifier;

use super::error::{BuildError, field};
use super::file::File;
use super::settings::{Drain, Retry, Settings, Timeouts};
use super::tenant::TenantFields;

/// The most exits behind one address.
const MAX_EXITS: u32 = 10_000;

/// The default of `sticky.tunnel_grace`.
const TUNNEL_GRACE: Duration = Duration::from_secs(60);

/// A pool that can be made.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The configuration of its plugin.
    pub(crate) config: Config,
    /// None of them twice.
    pub(crate) proxies: Vec<Proxy>,
    /// The outcomes of statuses.
    pub(crate) statuses: StatusClassifier,
    /// How often a request is sent once more.
    pub(crate) retry: Retry,
    /// What becomes of tunnels whose session has ended.
    pub(crate) drain: Drain,
}

impl Pool {
    /// Settings that can change while it is served.
    pub(crate) fn settings(&self, timeouts: Timeouts) -> Settings {
        Settings {
            timeouts,
            statuses: self.statuses.clone(),
            retry: self.retry,
            drain: self.drain,
        }
    }
}

/// The tables of a pool.
#[derive(Clone, Copy)]
pub(super) struct PoolFields<'a> {
    tables: Tables<'a>,
    retry: &'a RetryFields,
    outcome: &'a Outcome,
    proxy: &'a [ProxyEntry],
    /// Whether a plugin of its own decides, which then also checks the configuration.
    has_own_plugin: bool,
}

/// The tables of a file, whichever type it has.
macro_rules! fields_of {
    ($file:expr) => {
        PoolFields {
            tables: Tables {
                sticky: &$file.sticky,
                rotation: &$file.rotation,
                breaker: &$file.breaker,
            },
            retry: &$file.retry,
            outcome: &$file.outcome,
            proxy: &$file.proxy,
            has_own_plugin: $file.plugin.is_some(),
        }
    };
}

impl<'a> From<&'a File> for PoolFields<'a> {
    fn from(file: &'a File) -> Self {
        fields_of!(file)
    }
}

impl<'a> From<&'a TenantFields> for PoolFields<'a> {
    fn from(tenant: &'a TenantFields) -> Self {
        fields_of!(tenant)
    }
}

impl<'a> PoolFields<'a> {
    pub(super) fn tables(&self) -> Tables<'a> {
        self.tables
    }

    fn drain(&self, errors: &mut Vec<BuildError>) -> Drain {
        let sticky = self.tables.sticky;
        let grace = sticky.tunnel_grace.map_or(TUNNEL_GRACE, |grace| grace.0);
        if grace > Duration::from_millis(MAX_TTL_MS) {
            errors.push(field("sticky.tunnel_grace", shown(grace), "up to 366 days"));
        }
        Drain {
            tunnels: sticky.tunnels,
            grace,
        }
    }

    pub(super) fn check(&self, errors: &mut Vec<BuildError>) -> Pool {
        let config = self.tables.core();
        let invalid = match self.has_own_plugin {
            false => self.tables.errors(),
            true => self
                .tables
                .breaker
                .error(&config.breaker)
                .into_iter()
                .collect(),
        };
        errors.extend(invalid.into_iter().map(BuildError::from));
        let attempts = attempts(self.retry.attempts).unwrap_or_else(|error| {
            errors.push(error.into());
            0
        });
        Pool {
            config,
            proxies: self.proxies(errors),
            statuses: self.statuses(errors),
            retry: Retry {
                attempts,
                blocked: self.retry.blocked.unwrap_or(Retry::default().blocked),
            },
            drain: self.drain(errors),
        }
    }

    fn statuses(&self, errors: &mut Vec<BuildError>) -> StatusClassifier {
        let unsaid = self.outcome.blocked_statuses.is_none();
        let (statuses, invalid) = self.outcome.statuses();
        errors.extend(invalid.into_iter().map(|invalid| match invalid.field.as_str() {
            // The file does not speak of that list: it is the other one that has to change.
            "outcome.blocked_statuses" if unsaid => field(
                "outcome.failure_statuses",
                invalid.value,
                "each status in one list: this one is also in `blocked_statuses`, which is [403, 429] by default",
            ),
            _ => invalid.into(),
        }));
        statuses
    }

    /// The proxies, in the order of the file.
    fn proxies(&self, errors: &mut Vec<BuildError>) -> Vec<Proxy> {
        if self.proxy.is_empty() {
            errors.push(BuildError::NoProxy);
        }
        let mut proxies = Vec::new();
        let mut places = HashMap::new();
        for (i, entry) in self.proxy.iter().enumerate() {
            if !self.has_own_plugin {
                errors.extend(entry.errors(i).into_iter().map(BuildError::from));
            }
            for proxy in self::proxies(entry, i, errors) {
                match proxy.id().map(|id| places.insert(id, i)) {
                    Err(error) => errors.push(error.into()),
                    Ok(None) => proxies.push(proxy),
                    Ok(Some(first)) => {
                        errors.push(BuildError::Twice { first, second: i });
                        break;
                    }
                }
            }
        }
        proxies
    }
}

/// The proxy of an entry, or as many as there are exits behind its address; none where something is wrong with it. `i`:
/// its place, for errors.
pub(crate) fn proxies(entry: &ProxyEntry, i: usize, errors: &mut Vec<BuildError>) -> Vec<Proxy> {
    let name = format!("proxy[{i}].exits");
    let exits = entry.exits.filter(|exits| {
        let is_good = (1..=MAX_EXITS).contains(exits);
        if !is_good {
            errors.push(field(&name, exits, "1 to 10000"));
        }
        is_good
    });
    let proxy = match Proxy::from_url(&entry.url.0) {
        Ok(proxy) => Proxy {
            weight: entry.weight,
            tags: entry.tags.clone(),
            ..proxy
        },
        // Of which entry, the library cannot know.
        Err(Error::Invalid(invalid)) => {
            let field = format!("proxy[{i}].url");
            errors.push(Invalid { field, ..invalid }.into());
            return Vec::new();
        }
        Err(other) => {
            errors.push(other.into());
            return Vec::new();
        }
    };
    if let Some(unknown) = proxy.unknown_placeholder() {
        let accepted =
            "a user name with no other placeholders than `{session}`, `{ttl_minutes}` and `{tags}`";
        errors.push(field(format!("proxy[{i}].url"), unknown, accepted));
        return Vec::new();
    }
    match exits {
        None => vec![proxy],
        Some(exits) if !proxy.has_sessions() => {
            let accepted = "left out, unless the user name or password holds `{session}`: without it all of \
                            them would be the same exit";
            errors.push(field(name, exits, accepted));
            Vec::new()
        }
        Some(exits) => proxy.exits(exits),
    }
}
