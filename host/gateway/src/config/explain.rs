//! What a file means, for people.

use std::fmt::Debug;
use std::time::Duration;

use remora_host::session::StickyPolicy;
use remora_host::{OnBad, Scope};

use super::Addresses;
use super::file::File;

impl File {
    /// What the gateway will do, by subject.
    pub fn explain(&self, addresses: &Addresses) -> Vec<(String, String)> {
        let config = self.proxy_config();
        let breaker = config.breaker;
        let mut rows = vec![
            ("clients connect to".into(), addresses.listen.to_string()),
            (
                "admin interface".into(),
                addresses.admin.map_or("none".into(), |a| a.to_string()),
            ),
            (
                "a target".into(),
                policy(config.sticky_policy, config.sticky_scope),
            ),
        ];
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
            (
                "patience".into(),
                format!(
                    "{} to connect, {} for a response, {} at shutdown",
                    time(self.timeouts.connect),
                    time(self.timeouts.head),
                    time(addresses.shutdown_after)
                ),
            ),
        ]);
        rows
    }

    /// What is accepted and will surprise.
    pub fn caveat(&self) -> Option<&'static str> {
        let config = self.proxy_config();
        (config.sticky_scope == Scope::Session).then_some(
            "clients cannot send a session id yet, so with `sticky.scope = \"session\"` nothing sticks",
        )
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
    humantime::format_duration(time).to_string()
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
