//! From fields to what the gateway goes by.

use std::collections::HashMap;

use hyper::header::HeaderName;
use remora_host::Error;

use super::BuildError;
use super::build::field;
use super::file::File;
use crate::admin::{Admin, Token};
use crate::attempt::Retry;
use crate::classify::{Statuses, Verdicts};
use crate::client::Clients;
use crate::gateway::{Settings, Timeouts};
use crate::server::Limits;

/// The most proxies that one request may try beyond the first.
const MAX_ATTEMPTS: u32 = 10;

impl File {
    /// What can change while it serves.
    pub(crate) fn settings(&self) -> Result<Settings, BuildError> {
        let retry = Retry::default();
        let attempts = self.retry.attempts.unwrap_or(retry.attempts);
        if attempts > MAX_ATTEMPTS {
            return Err(field("retry.attempts", attempts, "0 to 10"));
        }
        for (name, time) in [
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.head", self.timeouts.head),
            ("timeouts.idle", self.timeouts.idle),
            ("timeouts.client", self.timeouts.client),
        ] {
            if time.is_zero() {
                return Err(field(name, "0s", "more than nothing"));
            }
        }
        Ok(Settings {
            timeouts: Timeouts {
                connect: self.timeouts.connect,
                head: self.timeouts.head,
                idle: self.timeouts.idle,
            },
            verdicts: self.verdicts()?,
            retry: Retry {
                attempts,
                blocked: self.retry.blocked.unwrap_or(retry.blocked),
            },
            clients: self.clients()?,
        })
    }

    /// What clients may take.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first value that is not accepted.
    pub fn limits(&self) -> Result<Limits, BuildError> {
        let limits = Limits {
            max_connections: self.limits.max_connections,
            max_header_bytes: self.limits.max_header_bytes,
            client: self.timeouts.client,
        };
        if limits.max_connections == 0 {
            return Err(field("limits.max_connections", 0, "at least 1"));
        }
        if !(8_192..=1 << 20).contains(&limits.max_header_bytes) {
            let value = limits.max_header_bytes;
            return Err(field("limits.max_header_bytes", value, "8192 to 1048576"));
        }
        Ok(limits)
    }

    /// Who may change something while it serves.
    pub(crate) fn admin(&self) -> Result<Admin, BuildError> {
        let token = self.admin_token.as_ref().map(|secret| secret.0.as_str());
        if token
            .is_some_and(|token| token.len() < 8 || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            let accepted = "at least 8 characters of printable ASCII without spaces";
            return Err(field("admin_token", "…", accepted));
        }
        let remote = self.admin.is_some_and(|admin| !admin.ip().is_loopback());
        Ok(Admin {
            guarded: remote && token.is_some(),
            token: token.map(Token::new),
        })
    }

    fn verdicts(&self) -> Result<Verdicts, BuildError> {
        let outcome = &self.outcome;
        let or =
            |own: &Option<Vec<u16>>, general: &Vec<u16>| own.as_ref().unwrap_or(general).clone();
        let default = Statuses::default();
        let general = Statuses {
            failure: or(&outcome.failure_statuses, &default.failure),
            blocked: or(&outcome.blocked_statuses, &default.blocked),
        };
        check("outcome", &general)?;
        let mut verdicts = Verdicts::new(general.clone());
        for (i, over) in outcome.overrides.iter().enumerate() {
            let at = format!("outcome.override[{i}]");
            let statuses = Statuses {
                failure: or(&over.failure_statuses, &general.failure),
                blocked: or(&over.blocked_statuses, &general.blocked),
            };
            check(&at, &statuses)?;
            verdicts = verdicts
                .with(&at, &over.pattern, statuses)
                .map_err(|invalid| BuildError::Host(Error::Invalid(invalid)))?;
        }
        Ok(verdicts)
    }

    fn clients(&self) -> Result<Clients, BuildError> {
        let mut users = HashMap::new();
        for (i, user) in self.user.iter().enumerate() {
            let name = format!("user[{i}].name");
            if user.name.is_empty() || user.name.contains(':') {
                return Err(field(name, &user.name, "a name without `:`"));
            }
            if Clients::splits(&user.name) {
                let accepted = "a name without `-session-`, `-sessid-`, `-sesstime-` and `-tag-`: what stands \
                                behind them is not a part of it";
                return Err(field(name, &user.name, accepted));
            }
            if users
                .insert(user.name.clone(), user.password.clone())
                .is_some()
            {
                return Err(field(name, &user.name, "each name once"));
            }
        }
        let header = self.client.session_header.as_ref();
        let header = header.map(|name| HeaderName::try_from(name.as_str()).map_err(|_| name));
        let header = header.transpose().map_err(|name| {
            field(
                "client.session_header",
                name,
                "the name of a header, such as `x-session-id`",
            )
        })?;
        Ok(Clients::new(users, header))
    }
}

fn check(at: &str, statuses: &Statuses) -> Result<(), BuildError> {
    for (name, list) in [
        ("failure_statuses", &statuses.failure),
        ("blocked_statuses", &statuses.blocked),
    ] {
        if let Some(status) = list.iter().find(|status| !(200..=599).contains(*status)) {
            return Err(field(
                format!("{at}.{name}"),
                status,
                "statuses from 200 to 599",
            ));
        }
    }
    if let Some(both) = statuses
        .failure
        .iter()
        .find(|s| statuses.blocked.contains(s))
    {
        let accepted = "each status in one of `failure_statuses` and `blocked_statuses`";
        return Err(field(format!("{at}.blocked_statuses"), both, accepted));
    }
    Ok(())
}
