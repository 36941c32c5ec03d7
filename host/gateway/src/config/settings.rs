//! From fields to what the gateway goes by.

use std::collections::HashMap;
use std::time::Duration;

use hyper::header::{self, HeaderName};
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

/// The longest that anything can be waited for.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const MAX_CONNECTIONS: usize = 1_000_000;

/// Headers that are needed for something else.
const TAKEN: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
];

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
            if time.is_zero() || time > MAX_TIME {
                let value = humantime::format_duration(time);
                return Err(field(name, value, "more than nothing, and up to 366 days"));
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
        if !(1..=MAX_CONNECTIONS).contains(&limits.max_connections) {
            let value = limits.max_connections;
            return Err(field("limits.max_connections", value, "1 to 1000000"));
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
            let plain = |b: u8| b.is_ascii_graphic() && !b":/".contains(&b);
            if !(1..=64).contains(&user.name.len()) || !user.name.bytes().all(plain) {
                let accepted = "1 to 64 bytes of printable ASCII without spaces, `:` and `/`";
                return Err(field(name, &user.name, accepted));
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
        let header = match &self.client.session_header {
            None => None,
            Some(name) => {
                let header = HeaderName::try_from(name.as_str()).ok();
                let header = header.filter(|header| !TAKEN.contains(header));
                let accepted =
                    "the name of a header that means nothing else, such as `x-session-id`";
                Some(header.ok_or_else(|| field("client.session_header", name, accepted))?)
            }
        };
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
