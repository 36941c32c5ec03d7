//! What a file means, for people.

use std::fmt::Debug;

use remora_config::{Time, shown};
use remora_core::Sticky;
use remora_host::{Mode, OnBad, Scope};

use super::file::File;
use super::pool::PoolFields;
use super::settings::{Addresses, Retry};
use super::storage::OnError;

impl File {
    /// What the gateway will do, by subject. `tenants`: how many there are.
    pub(crate) fn explain(&self, addresses: &Addresses, tenants: usize) -> Vec<(String, String)> {
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
                shown(self.timeouts.connect.0),
                shown(self.timeouts.head.0),
                shown(self.timeouts.idle.0),
                shown(addresses.shutdown_after)
            ),
        ));
        rows
    }

    fn explain_pool(&self) -> Vec<(String, String)> {
        let config = PoolFields::from(self).tables().core();
        let breaker = config.breaker;
        let mut rows = Vec::new();
        if let Some(plugin) = &self.plugin {
            let who = format!(
                "`plugin`: {}; what follows is what it is told",
                plugin.display()
            );
            rows.push(("who decides".into(), who));
        }
        rows.push(("a target".into(), policy(config.sticky, config.scope)));
        if config.sticky.sticks() {
            let early = ends(config.sticky.idle_ms, config.sticky.max_requests);
            rows.extend(early.map(|early| ("its session ends early".into(), early)));
            rows.push(("its proxy goes bad".into(), on_bad(config.sticky.on_bad)));
        }
        for over in &config.overrides {
            let general = config.sticky;
            let is_own = over.mode.is_some() || over.ttl_ms.is_some();
            let parts = [
                is_own.then(|| policy(over.over(&general), config.scope)),
                ends(over.idle_ms, over.max_requests),
                over.on_bad.map(on_bad),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            rows.push((over.pattern.clone(), parts.join("; ")));
        }
        rows.extend([
            ("new sessions".into(), word(config.strategy)),
            (
                "a proxy is left alone".into(),
                format!(
                    "after {} failures in a row, for {}",
                    breaker.open_threshold,
                    remora_core::time(breaker.half_open_after_ms)
                ),
            ),
            ("a request that fails".into(), self.again()),
        ]);
        rows
    }

    /// What is accepted and may surprise.
    pub(crate) fn caveats(&self) -> Vec<&'static str> {
        let sticky = &self.sticky;
        let zero = |mode, ttl: Option<Time>| {
            mode == Some(Mode::Domain) && ttl.is_some_and(|ttl| ttl.0.is_zero())
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
            ("admin_token", self.admin_token != old.admin_token),
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

fn policy(policy: Sticky, scope: Scope) -> String {
    if !policy.sticks() {
        return "does not stick: every request takes the next proxy".into();
    }
    let scope = word(scope);
    let ttl = remora_core::time(policy.ttl_ms);
    format!("sticks to one proxy for {ttl}, by {scope}")
}

fn ends(idle_ms: Option<u64>, max_requests: Option<u32>) -> Option<String> {
    let idle = idle_ms.map(|idle| format!("{} without a request", remora_core::time(idle)));
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
