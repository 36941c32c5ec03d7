//! What a file means, for people.

use std::fmt::Debug;
use std::time::Duration;

use remora_host::session::StickyPolicy;
use remora_host::{Mode, OnBad, Scope};

use super::Addresses;
use super::file::File;
use super::storage::OnError;
use crate::settings::Retry;

impl File {
    /// What the gateway will do, by subject. `tenants`: how many there are.
    pub fn explain(&self, addresses: &Addresses, tenants: usize) -> Vec<(String, String)> {
        let mut rows = vec![
            ("clients connect to".into(), addresses.listen.to_string()),
            (
                "admin interface".into(),
                addresses.admin.map_or("none".into(), |a| a.to_string()),
            ),
        ];
        if self.has_tenants() {
            rows.push(("tenants".into(), self.whose(tenants)));
        }
        if self.has_own_pool() {
            rows.extend(self.explain_pool());
            rows.push(("who is heard".into(), self.heard()));
        }
        rows.push(("state lives in".into(), self.state()));
        rows.push((
            "patience".into(),
            format!(
                "{} to connect, {} for a response, {} while nothing moves, {} at shutdown",
                time(self.timeouts.connect),
                time(self.timeouts.head),
                time(self.timeouts.idle),
                time(addresses.shutdown_after)
            ),
        ));
        rows
    }

    fn explain_pool(&self) -> Vec<(String, String)> {
        let config = self.pool().proxy_config();
        let breaker = config.breaker;
        let mut rows = Vec::new();
        if let Some(plugin) = &self.plugin {
            let who = format!(
                "`plugin`: {}; what follows is what it is told",
                plugin.display()
            );
            rows.push(("who decides".into(), who));
        }
        rows.push((
            "a target".into(),
            policy(config.sticky_policy, config.sticky_scope),
        ));
        if config.sticky_policy != StickyPolicy::Disabled {
            let early = ends(config.sticky_idle, config.sticky_max_requests);
            rows.extend(early.map(|early| ("its session ends early".into(), early)));
            rows.push(("its proxy goes bad".into(), on_bad(config.sticky_on_bad)));
        }
        for over in config.sticky_overrides {
            let parts = [
                over.policy.map(|p| policy(p, config.sticky_scope)),
                ends(over.idle, over.max_requests),
                over.on_bad.map(on_bad),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            rows.push((over.pattern, parts.join("; ")));
        }
        rows.extend([
            ("new sessions".into(), word(self.rotation.strategy)),
            (
                "a proxy is left alone".into(),
                format!(
                    "after {} failures in a row, for {}",
                    breaker.open_threshold,
                    time(breaker.half_open_after)
                ),
            ),
            ("a request that fails".into(), self.again()),
        ]);
        rows
    }

    /// What is accepted and may surprise.
    pub fn caveats(&self) -> Vec<&'static str> {
        let sticky = &self.sticky;
        let zero = |mode, ttl: Option<Duration>| {
            mode == Some(Mode::Domain) && ttl.is_some_and(|ttl| ttl.is_zero())
        };
        let mut overrides = sticky.overrides.iter();
        let caveats = [
            (
                sticky.scope == Scope::Session,
                "with `sticky.scope = \"session\"` a request whose client names no session does not stick",
            ),
            (
                zero(sticky.mode, sticky.ttl) || overrides.any(|over| zero(over.mode, over.ttl)),
                "`mode = \"domain\"` with a `ttl` of zero is the same as \"disabled\"",
            ),
            (
                self.storage.is_memory() && self.on_storage_error == OnError::Degrade,
                "`on_storage_error` means nothing with `storage = \"memory\"`, which always answers",
            ),
            (
                self.admin_token.is_some() && self.admin.is_none(),
                "`admin_token` means nothing without `admin`: there is nowhere to show it",
            ),
        ];
        let caveats = caveats.into_iter().filter(|(holds, _)| *holds);
        caveats.map(|(_, caveat)| caveat).collect()
    }

    /// The fields that differ from `old` and hold only from the next start on.
    pub(crate) fn needs_restart(&self, old: &Self) -> Vec<&'static str> {
        let differ = [
            ("listen", self.listen != old.listen),
            ("admin", self.admin != old.admin),
            (
                "admin_token",
                self.admin_token.as_ref().map(|secret| &secret.0)
                    != old.admin_token.as_ref().map(|secret| &secret.0),
            ),
            ("storage", self.storage != old.storage),
            (
                "on_storage_error",
                self.on_storage_error != old.on_storage_error,
            ),
            (
                "storage_timeout",
                self.storage_timeout != old.storage_timeout,
            ),
            ("tenants", self.tenants != old.tenants),
            ("code_cache", self.code_cache != old.code_cache),
            ("plugin", self.plugin != old.plugin),
            ("record", self.record != old.record),
            ("tls.ca", self.tls.ca != old.tls.ca),
            (
                "rotation.strategy",
                self.rotation.strategy != old.rotation.strategy,
            ),
            ("limits", self.limits != old.limits),
            (
                "timeouts.client",
                self.timeouts.client != old.timeouts.client,
            ),
            ("shutdown_after", self.shutdown_after != old.shutdown_after),
            (
                "log",
                (&self.log.format, &self.log.level) != (&old.log.format, &old.log.level),
            ),
        ];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(field, _)| field).collect()
    }

    /// Takes over the addresses that `old` is bound to, and how they may be used.
    pub(crate) fn stay_at(&mut self, old: &Self) {
        self.listen = old.listen;
        self.admin = old.admin;
        self.admin_token.clone_from(&old.admin_token);
    }

    fn whose(&self, tenants: usize) -> String {
        let place = match &self.tenants {
            Some(directory) => format!("in {}, which is watched", directory.display()),
            None => "in this file".into(),
        };
        format!("{tenants} {place}; room for {}", self.limits.max_tenants)
    }

    fn heard(&self) -> String {
        match self.user.len() {
            0 => "everybody who can connect".into(),
            1 => "one user, by name and password".into(),
            n => format!("{n} users, by name and password"),
        }
    }

    fn again(&self) -> String {
        match self.retry.attempts.unwrap_or(Retry::default().attempts) {
            0 => "is answered with an error".into(),
            1 => "is sent once more, through another proxy".into(),
            n => format!("is sent up to {n} times more, each time through another proxy"),
        }
    }
}

impl File {
    fn state(&self) -> String {
        let kind = self.storage.kind();
        let without = match (kind, self.on_storage_error) {
            ("memory", _) => return "memory, and is gone with the process".into(),
            (_, OnError::Refuse) => "requests are refused while it does not answer",
            (_, OnError::Degrade) => "the process goes on alone while it does not answer",
        };
        format!("{kind}; {without}")
    }
}

fn policy(policy: StickyPolicy, scope: Scope) -> String {
    match (policy, scope) {
        (StickyPolicy::Disabled, _) => "does not stick: every request takes the next proxy".into(),
        (StickyPolicy::Domain { ttl }, scope) => {
            let scope = word(scope);
            format!("sticks to one proxy for {}, by {scope}", time(ttl))
        }
    }
}

fn ends(idle: Option<Duration>, max_requests: Option<u32>) -> Option<String> {
    let idle = idle.map(|idle| format!("{} without a request", time(idle)));
    let requests = max_requests.map(|requests| format!("{requests} requests"));
    let ends: Vec<String> = idle.into_iter().chain(requests).collect();
    (!ends.is_empty()).then(|| format!("after {}", ends.join(" or ")))
}

fn on_bad(on_bad: OnBad) -> String {
    match on_bad {
        OnBad::Rebind => "the next request gets a fresh one".into(),
        OnBad::Strict => "requests are refused until the session ends".into(),
    }
}

fn time(time: Duration) -> String {
    super::time::shown(time)
}

/// A variant as the file spells it.
fn word(variant: impl Debug) -> String {
    let mut word = String::new();
    for c in format!("{variant:?}").chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(c.to_lowercase());
    }
    word
}
