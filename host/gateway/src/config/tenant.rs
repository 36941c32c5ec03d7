//! `[[tenant]]`, or a file of its own in the directory that `tenants` names.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use remora_config::{Breaker, Outcome, ProxyEntry, Retry, Rotation, Sticky, Time, shown};
use remora_host::Limits;
use serde::Deserialize;

use super::error::{BuildError, ConfigError, field};
use super::file::File;
use super::listener::User;
use super::parse;
use super::pool::{Pool, PoolFields};
use super::source::Source;
use super::users::{Passwords, secrets};
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
pub(crate) struct TenantFields {
    pub(crate) name: Option<String>,
    pub(crate) plugin: Option<PathBuf>,
    #[serde(default)]
    pub(crate) sticky: Sticky,
    #[serde(default)]
    pub(crate) rotation: Rotation,
    #[serde(default)]
    pub(crate) breaker: Breaker,
    #[serde(default)]
    pub(crate) retry: Retry,
    #[serde(default)]
    pub(crate) outcome: Outcome,
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
pub(crate) struct TenantLimitFields {
    pub(crate) memory_bytes: Option<usize>,
    pub(crate) call_timeout: Option<Time>,
    pub(crate) processor_percent: Option<u32>,
    pub(crate) storage_bytes: Option<u64>,
    pub(crate) concurrent_requests: Option<usize>,
    pub(crate) requests_per_second: Option<u32>,
}

/// Limits of a tenant's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TenantLimits {
    /// Requests in flight, open tunnels among them.
    pub(crate) concurrent: usize,
    /// Requests that begin in a second; so many at once, too.
    pub(crate) per_second: Option<NonZeroU32>,
}

/// A checked tenant.
pub(crate) struct TenantConfig {
    /// The fields as read.
    fields: TenantFields,
    /// The errors of its file: then it cannot be made, though its users are known.
    errors: Option<String>,
    /// Its pool.
    pub(crate) pool: Pool,
    /// Its users.
    pub(crate) secrets: HashMap<String, Secret>,
    /// Limits of its requests.
    pub(crate) limits: TenantLimits,
    /// Limits of its plugin.
    pub(crate) plugin_limits: Limits,
    /// Bytes that it may keep in the storage.
    pub(crate) storage_bytes: u64,
}

impl fmt::Debug for TenantConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.fmt(f)
    }
}

impl PartialEq for TenantConfig {
    /// Everything else follows from the fields.
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl TenantConfig {
    /// Whether it can be made.
    pub(crate) fn sound(&self) -> Result<(), BuildError> {
        match &self.errors {
            None => Ok(()),
            Some(errors) => Err(BuildError::Tenant(errors.clone())),
        }
    }

    /// The names of its users, in the order of its file.
    pub(crate) fn users(&self) -> impl Iterator<Item = &String> {
        self.fields.user.iter().map(|user| &user.name)
    }

    /// How many `[[proxy]]` entries it has.
    pub(crate) fn proxy_entries(&self) -> usize {
        self.fields.proxy.len()
    }

    /// A plugin of its own.
    pub(crate) fn plugin(&self) -> Option<&Path> {
        self.fields.plugin.as_deref()
    }
}

impl TenantFields {
    pub(super) fn check(&self, errors: &mut Vec<BuildError>) -> TenantConfig {
        TenantConfig {
            pool: PoolFields::from(self).check(errors),
            secrets: self.secrets(errors),
            limits: self.limits(errors),
            plugin_limits: self.plugin_limits(errors),
            storage_bytes: self.storage_bytes(errors),
            fields: self.clone(),
            errors: None,
        }
    }

    /// Limits of its plugin: tight where it is one of its own.
    fn plugin_limits(&self, errors: &mut Vec<BuildError>) -> Limits {
        let default = match self.plugin {
            Some(_) => Limits::untrusted(),
            None => Limits::default(),
        };
        let own = self.limits;
        let limits = Limits {
            memory: own.memory_bytes.unwrap_or(default.memory),
            call_timeout: own.call_timeout.map_or(default.call_timeout, |time| time.0),
            processor_percent: own.processor_percent.or(default.processor_percent),
            ..default
        };
        if !(2 << 20..=1 << 30).contains(&limits.memory) {
            let name = "limits.memory_bytes";
            errors.push(field(name, limits.memory, "2097152 to 1073741824"));
        }
        let call = limits.call_timeout;
        if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&call) {
            errors.push(field("limits.call_timeout", shown(call), "10ms to 60s"));
        }
        if let Some(percent) = limits
            .processor_percent
            .filter(|p| !(1..=1_000).contains(p))
        {
            errors.push(field("limits.processor_percent", percent, "1 to 1000"));
        }
        limits
    }

    /// Bytes that it may keep in the storage.
    fn storage_bytes(&self, errors: &mut Vec<BuildError>) -> u64 {
        let bytes = self.limits.storage_bytes.unwrap_or(STORAGE_BYTES);
        if !(64 << 10..=1 << 40).contains(&bytes) {
            let accepted = "65536 to 1099511627776";
            errors.push(field("limits.storage_bytes", bytes, accepted));
        }
        bytes
    }

    /// Its limits.
    fn limits(&self, errors: &mut Vec<BuildError>) -> TenantLimits {
        let concurrent = self.limits.concurrent_requests;
        let concurrent = concurrent.unwrap_or(CONCURRENT_REQUESTS);
        if !(1..=1_000_000).contains(&concurrent) {
            let name = "limits.concurrent_requests";
            errors.push(field(name, concurrent, "1 to 1000000"));
        }
        let per_second = self.limits.requests_per_second;
        let rate = per_second.and_then(NonZeroU32::new);
        let rate = rate.filter(|rate| rate.get() <= 1_000_000);
        if let (Some(n), None) = (per_second, rate) {
            errors.push(field("limits.requests_per_second", n, "1 to 1000000"));
        }
        TenantLimits {
            concurrent,
            per_second: rate,
        }
    }

    /// Its users; none if one of them has an error.
    fn secrets(&self, errors: &mut Vec<BuildError>) -> HashMap<String, Secret> {
        let before = errors.len();
        if self.user.is_empty() {
            let accepted = "at least one [[user]] with a `name` and a `password_hash`: it is by its users that a \
                            tenant is known";
            errors.push(field("user", "not set", accepted));
        }
        let secrets = secrets(&self.user, Passwords::Hashed, errors);
        match errors.len() == before {
            true => secrets,
            false => HashMap::new(),
        }
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

/// Reads the file of the tenant `name`, and checks all of it.
pub(crate) fn read_tenant(path: &Path, name: &str) -> Result<TenantConfig, ConfigError> {
    let place = path.display().to_string();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => return Err(ConfigError::Read { path: place, error }),
    };
    let source = Source { path: place, text };
    let mut parsed = parse::parse::<TenantFields>(&source);
    let sound = parsed.problems.is_empty();
    let mut errors = Vec::new();
    let tenant = parsed.fields.take().map(|fields| {
        if let Some(other) = fields.name.as_ref().filter(|other| *other != name) {
            let accepted = "left out, or the name of the file without `.toml`";
            errors.push(field("name", other, accepted));
        }
        fields.check(&mut errors)
    });
    let is_named = errors.first().is_none_or(|error| error.place() != "name");
    let problems = parsed.problems(&source, errors);
    let invalid = |problems| ConfigError::Invalid {
        path: source.path,
        problems,
    };
    match tenant {
        Some(tenant) if problems.is_empty() => Ok(tenant),
        Some(tenant) if sound && is_named => Ok(TenantConfig {
            errors: Some(invalid(problems).to_string()),
            ..tenant
        }),
        _ => Err(invalid(problems)),
    }
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

    /// The tenants of the file itself, by name. Errors inside of one go to `problems`, with its place and name.
    pub(super) fn check_own_tenants(
        &self,
        errors: &mut Vec<BuildError>,
        problems: &mut dyn FnMut(usize, &str, Vec<BuildError>),
    ) -> Vec<(String, Arc<TenantConfig>)> {
        let mut tenants: Vec<(String, Arc<TenantConfig>)> = Vec::new();
        for (i, fields) in self.tenant.iter().enumerate() {
            let at = format!("tenant[{i}].name");
            let Some(name) = &fields.name else {
                errors.push(field(at, "not set", "the name of the tenant"));
                continue;
            };
            if let Err(error) = check_name(name) {
                errors.push(error.at(at));
            } else if tenants.iter().any(|(other, _)| other == name) {
                errors.push(field(at, name, "each name once"));
            }
            let mut own = Vec::new();
            tenants.push((name.clone(), Arc::new(fields.check(&mut own))));
            problems(i, name, own);
        }
        tenants
    }

    /// Fields that tenants exclude, and fields that they need.
    pub(super) fn check_tenants(&self, errors: &mut Vec<BuildError>) {
        let most = self.limits.max_tenants;
        if !(1..=10_000).contains(&most) {
            errors.push(field("limits.max_tenants", most, "1 to 10000"));
        }
        if !self.has_tenants() {
            return;
        }
        if let Some(directory) = self.tenants.as_ref().filter(|_| !self.tenant.is_empty()) {
            let accepted = "left out where there is a [[tenant]]: tenants stand in one place";
            errors.push(field("tenants", directory.display(), accepted));
        }
        if self.has_own_pool() && self.user.is_empty() {
            let accepted = "at least one [[user]], or no [[proxy]]: beside tenants, the pool at the top is for the \
                            users at the top";
            errors.push(field("user", "not set", accepted));
        }
        if let Some(user) = self.user.first().filter(|_| !self.has_own_pool()) {
            let accepted =
                "left out where there is no [[proxy]]: a tenant's users stand in its own table";
            errors.push(field("user[0].name", &user.name, accepted));
        }
        if let Some(record) = self.record.as_ref().filter(|_| !self.has_own_pool()) {
            let accepted = "left out where there is no [[proxy]]: tenants are not recorded";
            errors.push(field("record", record.display(), accepted));
        }
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
