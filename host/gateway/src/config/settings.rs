//! From fields to what the gateway goes by.

use std::time::Duration;

use hyper::header::HeaderName;
use remora_core::{MAX_TTL_MS, check_max_half_open_after, check_retry_attempts, check_ttl};
use remora_host::{Error, Invalid, Mode};
use remora_http::{StatusClassifier, session_header};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::BuildError;
use super::build::field;
use super::file::File;
use super::pool::PoolFields;
use super::time::shown;
use crate::admin::access::{Admin, Token};
use crate::settings::{Limits, Retry, Settings, Timeouts};

/// The longest that anything can be waited for.
const MAX_TIME: Duration = Duration::from_millis(MAX_TTL_MS);

const MAX_CONNECTIONS: usize = 1_000_000;

impl PoolFields<'_> {
    /// What can change while it serves.
    pub(crate) fn settings(&self, timeouts: Timeouts) -> Result<Settings, BuildError> {
        let retry = Retry::default();
        let attempts = self.retry.attempts.unwrap_or(retry.attempts);
        check_retry_attempts(attempts).map_err(Error::Invalid)?;
        self.check_idle_ttls()?;
        let breaker = self.proxy_config().breaker;
        if let Some(max) = self.breaker.max_half_open_after {
            check_max_half_open_after(millis(max), millis(breaker.half_open_after))
                .map_err(Error::Invalid)?;
        }
        Ok(Settings {
            timeouts,
            statuses: self.statuses()?,
            retry: Retry {
                attempts,
                blocked: self.retry.blocked.unwrap_or(retry.blocked),
            },
        })
    }

    /// A `ttl` beside `mode = "disabled"` means nothing, and is not told the plugin, which checks the others.
    fn check_idle_ttls(&self) -> Result<(), BuildError> {
        let sticky = (self.sticky.mode, self.sticky.ttl);
        let overrides = self.sticky.overrides.iter().enumerate();
        let overrides =
            overrides.map(|(i, o)| (format!("sticky.override[{i}].ttl"), (o.mode, o.ttl)));
        for (name, (mode, ttl)) in [("sticky.ttl".to_owned(), sticky)]
            .into_iter()
            .chain(overrides)
        {
            if let (Some(Mode::Disabled), Some(ttl)) = (mode, ttl) {
                check_ttl(&name, millis(ttl)).map_err(Error::Invalid)?;
            }
        }
        Ok(())
    }

    fn statuses(&self) -> Result<StatusClassifier, BuildError> {
        let outcome = &self.outcome;
        let lists = |failure: &Option<_>, blocked: &Option<_>| (failure.clone(), blocked.clone());
        let (failure, blocked) = lists(&outcome.failure_statuses, &outcome.blocked_statuses);
        let unsaid = blocked.is_none();
        let wrong = |invalid: Invalid| match invalid.field.as_str() {
            // The file does not speak of that list: it is the other one that has to change.
            "outcome.blocked_statuses" if unsaid => field(
                "outcome.failure_statuses",
                invalid.value,
                "each status in one list: this one is also in `blocked_statuses`, which is [403, 429] by default",
            ),
            _ => Error::Invalid(invalid).into(),
        };
        let statuses = StatusClassifier::new("outcome", failure, blocked);
        let mut statuses = statuses.map_err(wrong)?;
        for (i, over) in outcome.overrides.iter().enumerate() {
            let at = format!("outcome.override[{i}]");
            let (failure, blocked) = lists(&over.failure_statuses, &over.blocked_statuses);
            statuses = statuses
                .with(&at, &over.pattern, failure, blocked)
                .map_err(Error::Invalid)?;
        }
        Ok(statuses)
    }
}

impl File {
    /// How long it waits, for every pool.
    pub(crate) fn timeouts(&self) -> Result<Timeouts, BuildError> {
        for (name, time) in [
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.head", self.timeouts.head),
            ("timeouts.idle", self.timeouts.idle),
            ("timeouts.client", self.timeouts.client),
        ] {
            if time.is_zero() || time > MAX_TIME {
                return Err(field(
                    name,
                    shown(time),
                    "more than nothing, and up to 366 days",
                ));
            }
        }
        Ok(Timeouts {
            connect: self.timeouts.connect,
            head: self.timeouts.head,
            idle: self.timeouts.idle,
        })
    }

    /// What clients may take.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first value that is not accepted.
    pub fn limits(&self) -> Result<Limits, BuildError> {
        let limits = Limits {
            max_connections: self.limits.max_connections(),
            max_header_bytes: self.limits.max_header_bytes,
            client: self.timeouts.client,
            idle: self.timeouts.idle,
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

    /// What is logged.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when `log.level` is no filter.
    pub fn log_filter(&self) -> Result<EnvFilter, BuildError> {
        let level = self.log.level.as_deref().unwrap_or("info");
        let wrong = || {
            let accepted = "error, warn, info, debug or trace, also for single parts as in `warn,remora::access=info`";
            field("log.level", level, accepted)
        };
        // To the filter a word that is no level is the name of a part, of which all is logged, and of others nothing.
        let bare = level.split(',').map(str::trim);
        let mut bare = bare.filter(|part| !part.is_empty() && !part.contains(['=', '[']));
        if !bare.all(|word| word.parse::<LevelFilter>().is_ok()) {
            return Err(wrong());
        }
        EnvFilter::try_new(level).map_err(|_| wrong())
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

    /// The header that carries a session id instead of the user name.
    pub(crate) fn session_header(&self) -> Result<Option<HeaderName>, BuildError> {
        let Some(name) = &self.client.session_header else {
            return Ok(None);
        };
        let lower = session_header(name).map_err(Error::Invalid)?;
        let header = HeaderName::try_from(lower).map_err(|_| {
            let accepted = "the name of a header";
            field("client.session_header", name, accepted)
        })?;
        Ok(Some(header))
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
