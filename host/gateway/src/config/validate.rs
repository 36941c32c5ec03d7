//! The one way from a file to a configuration: [`Draft::validate`] checks all of it, for every command.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{BuildError, ConfigError, Problem};
use super::file::File;
use super::listener::Format;
use super::parse::{self, Parsed};
use super::pool::{Pool, PoolFields};
use super::settings::{Addresses, AdminAccess, Limits, Timeouts};
use super::source::Source;
use super::storage::Storage;
use super::tenant::TenantConfig;
use super::users::{Passwords, secrets};
use crate::auth::ParamRules;
use crate::password::Secret;

/// The program that the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// `remora serve`
    Gateway,
    /// An Envoy with remora's filter: other addresses, and no field that would do nothing there.
    Envoy,
}

/// A file that was read, with everything that is wrong with its fields so far.
pub struct Draft {
    source: Source,
    parsed: Parsed<File>,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names of unknown fields may be anything.
        f.debug_struct("Draft")
            .field("source", &self.source)
            .field("fields", &self.parsed.fields)
            .finish_non_exhaustive()
    }
}

/// A checked configuration: pools, tenants, servers and Envoys are made from it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The fields as read.
    pub(crate) file: File,
    /// Where it listens.
    pub addresses: Addresses,
    /// Limits of clients.
    pub limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) admin: AdminAccess,
    pub(crate) params: ParamRules,
    /// The users of the pool at the top.
    pub(crate) secrets: HashMap<String, Secret>,
    pub(crate) storage: Storage,
    /// The pool at the top, where there is one.
    pub(crate) pool: Option<Pool>,
    /// The tenants of the file itself.
    pub(crate) tenants: Vec<(String, Arc<TenantConfig>)>,
    log_level: String,
}

impl Config {
    /// The log level, in the syntax of the log's filter.
    pub(crate) fn log_level(&self) -> &str {
        &self.log_level
    }

    /// How the log is written.
    pub(crate) fn log_format(&self) -> Format {
        self.file.log.format
    }

    /// Certificates that `https://` proxies are checked against, instead of the system's.
    pub(crate) fn tls_ca(&self) -> Option<&PathBuf> {
        self.file.tls.ca.as_ref()
    }
}

impl Draft {
    /// A file of this text; `name` stands for it in errors.
    pub(super) fn new(name: &str, text: String) -> Self {
        let path = name.to_owned();
        let source = Source { path, text };
        let parsed = parse::parse(&source);
        Self { source, parsed }
    }

    /// The file, as far as it could be read: `None` where it is not TOML.
    pub(crate) fn file_mut(&mut self) -> Option<&mut File> {
        self.parsed.fields.as_mut()
    }

    /// The file, if nothing is wrong with its fields. Their values are not checked.
    ///
    /// # Errors
    ///
    /// Every unknown field, and every value of a wrong kind.
    pub fn into_file(self) -> Result<File, ConfigError> {
        let problems = self.parsed.problems(&self.source, Vec::new());
        match self.parsed.fields {
            Some(file) if problems.is_empty() => Ok(file),
            _ => Err(self.source.invalid(problems)),
        }
    }

    /// Checks all of it. Nothing that the file names is touched.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, at once.
    pub fn validate(self, shell: Shell) -> Result<Config, ConfigError> {
        self.check(shell, |_, _| ())
    }

    /// [`Draft::validate`], and whether there are places for the files that will be made.
    ///
    /// # Errors
    ///
    /// The same, and paths that cannot be used.
    pub fn validate_with_paths(self, shell: Shell) -> Result<Config, ConfigError> {
        self.check(shell, Config::check_paths)
    }

    fn check(
        self,
        shell: Shell,
        check_paths: impl FnOnce(&Config, &mut Vec<BuildError>),
    ) -> Result<Config, ConfigError> {
        let mut errors = Vec::new();
        let mut of_tenants = Vec::new();
        let config = self.parsed.fields.as_ref().map(|file| {
            let config = config(file, shell, &mut errors, &mut of_tenants);
            check_paths(&config, &mut errors);
            config
        });
        let mut problems = self.parsed.problems(&self.source, errors);
        for (i, name, error) in of_tenants {
            let place = format!("tenant[{i}].{}", error.place());
            if !self.parsed.has_reported(&place) {
                let reason = format!("tenant `{name}`: {error}");
                problems.push(Problem::of(&self.source, &place, reason));
            }
        }
        problems.sort_by_key(Problem::order);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(self.source.invalid(problems)),
        }
    }
}

impl Source {
    fn invalid(self, problems: Vec<Problem>) -> ConfigError {
        let path = self.path;
        ConfigError::Invalid { path, problems }
    }
}

/// A configuration of all that is good in a file, and everything that is not. `of_tenants`: by the place and the name of
/// the tenant.
fn config(
    file: &File,
    shell: Shell,
    errors: &mut Vec<BuildError>,
    of_tenants: &mut Vec<(usize, String, BuildError)>,
) -> Config {
    let addresses = match shell {
        Shell::Gateway => file.addresses(errors),
        Shell::Envoy => {
            file.check_for_envoy(errors);
            file.envoy_addresses(errors)
        }
    };
    file.check_tenants(errors);
    let mut inside = |i: usize, name: &str, own: Vec<BuildError>| {
        of_tenants.extend(own.into_iter().map(|error| (i, name.to_owned(), error)));
    };
    let has_pool = file.has_own_pool();
    Config {
        file: file.clone(),
        addresses,
        limits: file.check_limits(errors),
        timeouts: file.check_timeouts(errors),
        admin: file.admin_access(errors),
        params: file.param_rules(errors),
        secrets: secrets(&file.user, Passwords::Any, errors),
        storage: file.check_storage(errors),
        pool: has_pool.then(|| PoolFields::from(file).check(errors)),
        tenants: file.check_own_tenants(errors, &mut inside),
        log_level: file.log_level(errors),
    }
}

/// Reads the file at `path`. The draft has its errors.
///
/// # Errors
///
/// When it cannot be read.
pub fn load(path: &Path) -> Result<Draft, ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Draft::new(&name, text)),
        Err(error) => Err(ConfigError::Read { path: name, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::draft;

    fn wrong(text: &str) -> Vec<String> {
        let error = draft("t", text).validate(Shell::Gateway).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        error.lines()
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = "\
listen = \"nowhere\"
[sticky]
ttl = \"400d\"
tll = \"5m\"
mode = \"domian\"
admin = \"127.0.0.1:9090\"
[retry]
attempts = 99
[outcome]
blocked_statuses = [403, \"x\"]
[[proxy]]
url = \"http://u-{sesion}:s3cret@192.0.2.1:1\"
[[proxy]]
weight = 0
[[proxy]]
url = 918273
[[proxy]]
urk = \"http://u:s3cret@192.0.2.2:1\"
weight = 70000
[log]
level = \"loud\"
";
        let lines = [
            "t:1: `listen` is no such address; accepted: an address and its port in quotes, such as \"127.0.0.1:8080\"",
            "t: `sticky.ttl` is `400d`; accepted: up to 366 days (line 3)",
            "t:4: unknown field `tll` in [sticky]; did you mean `ttl`?",
            "t:5: `mode` in [sticky] is `domian`; accepted: `disabled` or `domain`; did you mean `domain`?",
            "t:6: `admin` stands in [sticky]; move it above the first table",
            "t: `retry.attempts` is `99`; accepted: 0 to 10 (line 8)",
            "t:10: `blocked_statuses` in [outcome] is a text; accepted: a whole number from 0 to 65535, without quotes",
            "t: `proxy[0].url` is `{sesion}`; accepted: a user name with no other placeholders than `{session}`, \
             `{ttl_minutes}` and `{tags}` (line 12)",
            "t:13: missing field `url`",
            "t: `proxy[1].weight` is `0`; accepted: 1 to 65535 (line 14)",
            "t:16: `url` in [[proxy]] is a whole number; accepted: a text in quotes",
            "t:18: unknown field `urk` in [[proxy]]; did you mean `url`?",
            "t: `proxy[3].weight` is `70000`; accepted: 1 to 65535 (line 19)",
            "t: `log.level` is `loud`; accepted: error, warn, info, debug or trace, also for single parts as in \
             `warn,remora::access=info` (line 21)",
        ];
        assert_eq!(wrong(text), lines);
    }

    #[test]
    fn mistakes_of_a_tenant_have_its_name_and_their_lines() {
        let text = "\
[[tenant]]
name = \"a\"
[tenant.limits]
storage_bytes = 1
[[tenant.proxy]]
url = \"http://192.0.2.1:1\"
[[tenant]]
name = \"a\"
[[tenant.user]]
name = \"u\"
password = \"s3cret\"
";
        let lines = wrong(text);
        assert_eq!(
            lines[..2],
            [
                "t: tenant `a`: `user` is `not set`; accepted: at least one [[user]] with a `name` and a \
                 `password_hash`: it is by its users that a tenant is known (line 1)",
                "t: tenant `a`: `limits.storage_bytes` is `1`; accepted: 65536 to 1099511627776 (line 4)",
            ]
        );
        assert!(
            lines.contains(
                &"t: `tenant[1].name` is `a`; accepted: each name once (line 8)".to_owned()
            )
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("there is no [[proxy]]"))
        );
        assert!(lines.last().unwrap().ends_with("(line 11)"), "{lines:?}");
    }

    #[test]
    fn syntax_error_stands_alone() {
        let lines = wrong("[sticky]\nttl = \"400d\"\nmode = s3cret\ntll = 1\n");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("t:3: "), "{lines:?}");
    }

    #[test]
    fn many_mistakes_end_at_a_hundred() {
        let text: String = (0..150).map(|i| format!("x{i} = 1\n")).collect();
        assert_eq!(wrong(&text).len(), 100);
    }

    #[test]
    fn envoy_refuses_what_it_cannot_do_beside_the_rest() {
        let text = "record = \"r\"\n[breaker]\ngrowth = 0\n[retry]\nblocked = true\n[[proxy]]\nurl = \"http://192.0.2.1:1\"\n";
        let error = draft("t", text).validate(Shell::Envoy).unwrap_err();
        let lines = error.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("t: `record` is `r`; accepted: left out"));
        assert_eq!(
            lines[1],
            "t: `breaker.growth` is `0`; accepted: at least 1 (line 3)"
        );
        assert!(lines[2].starts_with("t: `retry.blocked` is `true`; accepted: false"));
    }
}
