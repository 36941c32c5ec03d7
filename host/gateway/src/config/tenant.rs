//! `[[tenant]]`, or a file of its own in the directory that `tenants` names.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remora_host::Limits;
use serde::Deserialize;

use super::build::{BuildError, field};
use super::file::{Breaker, File, ProxyEntry, Rotation, Sticky};
use super::pool::PoolFields;
use super::serving::{OutcomeFields, RetryFields, User};
use super::time::{shown, some_time};
use super::users::{Passwords, secrets};
use super::{ConfigError, parse};
use crate::admission::TenantLimits;
use crate::password::Secret;

/// The largest file of a tenant.
const MAX_FILE: u64 = 1 << 20;

/// The longest name of a tenant.
const MAX_NAME: usize = 40;

/// What a tenant may keep in the storage unless its file says otherwise: about 100,000 sessions.
const STORAGE_BYTES: u64 = 16 << 20;

/// How many requests a tenant may have in flight unless its file says otherwise.
const CONCURRENT_REQUESTS: usize = 1_000;

/// The fields of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantFields {
    pub(crate) name: Option<String>,
    pub(crate) plugin: Option<PathBuf>,
    #[serde(default)]
    pub(crate) sticky: Sticky,
    #[serde(default)]
    pub(crate) rotation: Rotation,
    #[serde(default)]
    pub(crate) breaker: Breaker,
    #[serde(default)]
    pub(crate) retry: RetryFields,
    #[serde(default)]
    pub(crate) outcome: OutcomeFields,
    #[serde(default)]
    pub(crate) limits: TenantLimitFields,
    #[serde(default)]
    pub(crate) user: Vec<User>,
    #[serde(default)]
    pub(crate) proxy: Vec<ProxyEntry>,
}

/// `[tenant.limits]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimitFields {
    pub(crate) memory_bytes: Option<usize>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) call_timeout: Option<Duration>,
    pub(crate) processor_percent: Option<u32>,
    pub(crate) storage_bytes: Option<u64>,
    pub(crate) concurrent_requests: Option<usize>,
    pub(crate) requests_per_second: Option<u32>,
}

impl TenantFields {
    /// Its pool.
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

    /// What its plugin may use: little, where it is one of its own.
    pub(crate) fn plugin_limits(&self) -> Result<Limits, BuildError> {
        let default = match self.plugin {
            Some(_) => Limits::untrusted(),
            None => Limits::default(),
        };
        let own = self.limits;
        let limits = Limits {
            memory: own.memory_bytes.unwrap_or(default.memory),
            call_timeout: own.call_timeout.unwrap_or(default.call_timeout),
            processor_percent: own.processor_percent.or(default.processor_percent),
            ..default
        };
        if !(2 << 20..=1 << 30).contains(&limits.memory) {
            let name = "limits.memory_bytes";
            return Err(field(name, limits.memory, "2097152 to 1073741824"));
        }
        let call = limits.call_timeout;
        if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&call) {
            return Err(field("limits.call_timeout", shown(call), "10ms to 60s"));
        }
        if let Some(percent) = limits
            .processor_percent
            .filter(|p| !(1..=1_000).contains(p))
        {
            return Err(field("limits.processor_percent", percent, "1 to 1000"));
        }
        Ok(limits)
    }

    /// What it may keep in the storage.
    pub(crate) fn storage_bytes(&self) -> Result<u64, BuildError> {
        let bytes = self.limits.storage_bytes.unwrap_or(STORAGE_BYTES);
        if !(64 << 10..=1 << 40).contains(&bytes) {
            let accepted = "65536 to 1099511627776";
            return Err(field("limits.storage_bytes", bytes, accepted));
        }
        Ok(bytes)
    }

    /// Its limits.
    pub(crate) fn limits(&self) -> Result<TenantLimits, BuildError> {
        let concurrent = self.limits.concurrent_requests;
        let concurrent = concurrent.unwrap_or(CONCURRENT_REQUESTS);
        if !(1..=1_000_000).contains(&concurrent) {
            let name = "limits.concurrent_requests";
            return Err(field(name, concurrent, "1 to 1000000"));
        }
        let per_second = match self.limits.requests_per_second {
            None => None,
            Some(n) => {
                let rate = NonZeroU32::new(n).filter(|n| n.get() <= 1_000_000);
                let name = "limits.requests_per_second";
                Some(rate.ok_or_else(|| field(name, n, "1 to 1000000"))?)
            }
        };
        Ok(TenantLimits {
            concurrent,
            per_second,
        })
    }

    /// Its users.
    pub(crate) fn secrets(&self) -> Result<HashMap<String, Secret>, BuildError> {
        if self.user.is_empty() {
            let accepted = "at least one [[user]] with a `name` and a `password_hash`: it is by its users that a \
                            tenant is known";
            return Err(field("user", "not set", accepted));
        }
        secrets(&self.user, Passwords::Hashed)
    }
}

/// Whether a tenant can be called so: names stand in paths, in keys and in file names.
pub(crate) fn check_name(name: &str) -> Result<(), BuildError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && name.as_bytes()[0].is_ascii_alphanumeric()
    {
        return Ok(());
    }
    let accepted = "1 to 40 letters, digits, `-` and `_`, the first one a letter or a digit";
    // What is no name may be anything.
    let shown = if name.bytes().all(|b| b.is_ascii_graphic()) && name.len() <= 2 * MAX_NAME {
        name
    } else {
        "…"
    };
    Err(field("name", shown, accepted))
}

/// Reads a file that has an end. What is none may never give a byte, or never cease to.
fn read_text(path: &Path) -> io::Result<String> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if found.len() > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads the file of the tenant `name`.
pub(crate) fn read_tenant(path: &Path, name: &str) -> Result<TenantFields, ConfigError> {
    let place = path.display().to_string();
    let text = read_text(path).map_err(|error| ConfigError::Read {
        path: place.clone(),
        error,
    })?;
    let fields: TenantFields = parse::parse(&place, &text)?;
    if let Some(other) = fields.name.as_ref().filter(|other| *other != name) {
        let accepted = "left out, or the name of the file without `.toml`";
        return Err(ConfigError::Build {
            path: place,
            error: field("name", other, accepted),
        });
    }
    Ok(fields)
}

impl File {
    /// Whether there may be more than one pool.
    pub(crate) fn has_tenants(&self) -> bool {
        self.tenants.is_some() || !self.tenant.is_empty()
    }

    /// Whether there is a pool that belongs to no tenant.
    pub(crate) fn has_own_pool(&self) -> bool {
        !self.has_tenants() || !self.proxy.is_empty()
    }

    /// The tenants of the file itself, by name.
    pub(crate) fn own_tenants(&self) -> Result<Vec<(String, TenantFields)>, BuildError> {
        let mut tenants: Vec<(String, TenantFields)> = Vec::new();
        for (i, fields) in self.tenant.iter().enumerate() {
            let at = format!("tenant[{i}].name");
            let Some(name) = &fields.name else {
                return Err(field(at, "not set", "the name of the tenant"));
            };
            check_name(name).map_err(|error| error.at(at.clone()))?;
            if tenants.iter().any(|(other, _)| other == name) {
                return Err(field(at, name, "each name once"));
            }
            tenants.push((name.clone(), fields.clone()));
        }
        Ok(tenants)
    }

    /// What tenants make impossible, and what they need.
    pub(crate) fn check_tenants(&self) -> Result<(), BuildError> {
        if !(1..=10_000).contains(&self.limits.max_tenants) {
            let accepted = "1 to 10000";
            return Err(field(
                "limits.max_tenants",
                self.limits.max_tenants,
                accepted,
            ));
        }
        if !self.has_tenants() {
            return Ok(());
        }
        if let Some(directory) = self.tenants.as_ref().filter(|_| !self.tenant.is_empty()) {
            let accepted = "left out where there is a [[tenant]]: tenants stand in one place";
            return Err(field("tenants", directory.display(), accepted));
        }
        if self.has_own_pool() && self.user.is_empty() {
            let accepted = "at least one [[user]], or no [[proxy]]: beside tenants, the pool at the top is for the \
                            users at the top";
            return Err(field("user", "not set", accepted));
        }
        if let Some(user) = self.user.first().filter(|_| !self.has_own_pool()) {
            let accepted =
                "left out where there is no [[proxy]]: a tenant's users stand in its own table";
            return Err(field("user[0].name", &user.name, accepted));
        }
        if let Some(record) = self.record.as_ref().filter(|_| !self.has_own_pool()) {
            let accepted = "left out where there is no [[proxy]]: tenants are not recorded";
            return Err(field("record", record.display(), accepted));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_tenant_is_read_from_a_regular_file_of_up_to_a_mebibyte() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let fifo = Command::new("mkfifo").arg(at("fifo")).status();
        assert!(fifo.unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", at("zeros")).unwrap();
        std::fs::write(at("large"), " ".repeat((1 << 20) + 1)).unwrap();
        std::fs::write(at("good"), " ".repeat(1 << 20)).unwrap();
        for (name, reason) in [
            ("fifo", "it is not a regular file"),
            ("zeros", "it is not a regular file"),
            ("large", "it is larger than 1 MiB"),
        ] {
            let error = read_tenant(&at(name), name).unwrap_err().to_string();
            assert!(error.ends_with(reason), "{error}");
        }
        read_tenant(&at("good"), "good").unwrap();
    }
}
