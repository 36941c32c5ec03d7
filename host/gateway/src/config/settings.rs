//! Checked values of the fields around the pools.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::HeaderName;
use remora_config::{Secret, Time, Tunnels, shown};
use remora_core::{MAX_TTL_MS, RETRY_ATTEMPTS};
use remora_http::{StatusClassifier, session_header};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::error::{BuildError, field};
use super::file::File;
use crate::auth::ParamRules;

/// The longest that anything can be waited for.
const MAX_TIME: Duration = Duration::from_millis(MAX_TTL_MS);

const MAX_CONNECTIONS: usize = 1_000_000;

/// What `-sesstime-` counts in.
const MINUTE: Duration = Duration::from_secs(60);

/// Where a server listens, and how it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the admin interface is.
    pub admin: Option<SocketAddr>,
    /// How long requests in flight may take after a signal.
    pub shutdown_after: Duration,
}

/// How long the gateway waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting to an upstream proxy, and for a tunnel its answer to CONNECT.
    pub connect: Duration,
    /// From the request to the head of the response.
    pub head: Duration,
    /// A tunnel or a response's body in which nothing moves.
    pub idle: Duration,
}

/// How often a request is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many more proxies it may try.
    pub attempts: u32,
    /// Whether an answer that says that the target refuses this exit is a reason, too.
    pub blocked: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: RETRY_ATTEMPTS,
            blocked: false,
        }
    }
}

/// Settings that can change while a pool is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long it waits.
    pub timeouts: Timeouts,
    /// The outcomes of statuses.
    pub statuses: StatusClassifier,
    /// How often a request is sent once more.
    pub retry: Retry,
    /// What becomes of tunnels whose session has ended.
    pub drain: Drain,
}

/// What becomes of tunnels whose session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// When they are closed.
    pub tunnels: Tunnels,
    /// How long they may last after it.
    pub grace: Duration,
}

/// Limits of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are served at a time; others wait.
    pub max_connections: usize,
    /// The most bytes of a request's head, at least 8192.
    pub max_header_bytes: usize,
    /// How long a client may take for the head of a request, and between two requests.
    pub client: Duration,
    /// How long a client may leave sent bytes unread (on Linux).
    pub idle: Duration,
}

/// Whom the admin interface answers.
#[derive(Clone, Debug, Default)]
pub struct AdminAccess {
    /// The token that write requests need; `None`: there are none.
    pub token: Option<Secret>,
    /// Whether read requests need it, too.
    pub guarded: bool,
}

impl File {
    /// Where the gateway listens: not where others reach it, unless the file allows that.
    pub(super) fn addresses(&self, errors: &mut Vec<BuildError>) -> Addresses {
        let remote = |address: &SocketAddr| !address.ip().is_loopback() && !self.allow_remote;
        if remote(&self.listen) && self.user.is_empty() && !self.has_tenants() {
            let accepted = "an address of this machine only (127.0.0.1, [::1]) unless clients have to say who they \
                            are: add a [[user]]. If something else keeps strangers out, set `allow_remote = true`";
            errors.push(field("listen", self.listen, accepted));
        }
        if let Some(admin) = self.admin.filter(remote)
            && self.admin_token.is_none()
        {
            let accepted = "an address of this machine only (127.0.0.1, [::1]) unless there is an `admin_token`. If \
                            something else keeps strangers out, set `allow_remote = true`";
            errors.push(field("admin", admin, accepted));
        }
        if let Some(admin) = self.admin
            && admin == self.listen
            && admin.port() != 0
        {
            let accepted = "an address of its own: `listen` has this one";
            errors.push(field("admin", admin, accepted));
        }
        Addresses {
            listen: self.listen,
            admin: self.admin,
            shutdown_after: self.shutdown_after.0,
        }
    }

    /// How long it waits, for every pool.
    pub(super) fn check_timeouts(&self, errors: &mut Vec<BuildError>) -> Timeouts {
        for (name, time) in [
            ("timeouts.connect", self.timeouts.connect.0),
            ("timeouts.head", self.timeouts.head.0),
            ("timeouts.idle", self.timeouts.idle.0),
            ("timeouts.client", self.timeouts.client.0),
        ] {
            if time.is_zero() || time > MAX_TIME {
                let accepted = "more than nothing, and up to 366 days";
                errors.push(field(name, shown(time), accepted));
            }
        }
        Timeouts {
            connect: self.timeouts.connect.0,
            head: self.timeouts.head.0,
            idle: self.timeouts.idle.0,
        }
    }

    /// Limits of clients.
    pub(super) fn check_limits(&self, errors: &mut Vec<BuildError>) -> Limits {
        let limits = Limits {
            max_connections: self.limits.max_connections(),
            max_header_bytes: self.limits.max_header_bytes,
            client: self.timeouts.client.0,
            idle: self.timeouts.idle.0,
        };
        if !(1..=MAX_CONNECTIONS).contains(&limits.max_connections) {
            let value = limits.max_connections;
            errors.push(field("limits.max_connections", value, "1 to 1000000"));
        }
        if !(8_192..=1 << 20).contains(&limits.max_header_bytes) {
            let value = limits.max_header_bytes;
            errors.push(field("limits.max_header_bytes", value, "8192 to 1048576"));
        }
        limits
    }

    /// The log level.
    pub(super) fn log_level(&self, errors: &mut Vec<BuildError>) -> String {
        let level = self.log.level.as_deref().unwrap_or("info");
        // To the filter a word that is no level is the name of a part, of which all is logged, and of others nothing.
        let bare = level.split(',').map(str::trim);
        let mut bare = bare.filter(|part| !part.is_empty() && !part.contains(['=', '[']));
        let is_level = bare.all(|word| word.parse::<LevelFilter>().is_ok());
        if !is_level || EnvFilter::try_new(level).is_err() {
            let accepted = "error, warn, info, debug or trace, also for single parts as in `warn,remora::access=info`";
            errors.push(field("log.level", level, accepted));
        }
        level.to_owned()
    }

    /// Access to the admin interface.
    pub(super) fn admin_access(&self, errors: &mut Vec<BuildError>) -> AdminAccess {
        let is_weak =
            |token: &Secret| token.0.len() < 8 || !token.0.bytes().all(|b| b.is_ascii_graphic());
        if self.admin_token.as_ref().is_some_and(is_weak) {
            let accepted = "at least 8 characters of printable ASCII without spaces";
            errors.push(field("admin_token", "…", accepted));
        }
        let remote = self.admin.is_some_and(|admin| !admin.ip().is_loopback());
        AdminAccess {
            guarded: remote && self.admin_token.is_some(),
            token: self.admin_token.clone(),
        }
    }

    /// The rules for what clients say of their requests.
    pub(super) fn param_rules(&self, errors: &mut Vec<BuildError>) -> ParamRules {
        let mut rules = ParamRules {
            session_header: self.session_header(errors),
            ..ParamRules::default()
        };
        if let Some(Time(max_ttl)) = self.client.max_ttl {
            rules.max_ttl = max_ttl;
            if !(MINUTE..=MAX_TIME).contains(&max_ttl) {
                errors.push(field("client.max_ttl", shown(max_ttl), "1m to 366 days"));
            }
        }
        rules
    }

    /// The header that carries a session id instead of the user name.
    fn session_header(&self, errors: &mut Vec<BuildError>) -> Option<HeaderName> {
        let name = self.client.session_header.as_ref()?;
        match session_header(name) {
            Ok(lower) => HeaderName::try_from(lower).ok(),
            Err(error) => {
                errors.push(error.into());
                None
            }
        }
    }
}
