//! Rules 1 and 2, plainly: what a session is keyed by, and which policy holds.

use std::collections::BTreeSet;

use remora_core::{Config, KeyError, Mode, OnBad, Scope, Sticky};

use crate::steps::{Asked, SESSIONS, TAGS, TARGETS};

/// Rule 1: the key, and the policy if the key sticks.
pub(crate) fn key(config: &Config, asked: &Asked) -> Result<(String, Option<Sticky>), KeyError> {
    let Some(target) = asked.target else {
        return Ok((String::new(), None));
    };
    let target = &TARGETS[target];
    let host = target.host?;
    let session = SESSIONS[asked.session];
    let mut key = match (config.scope, session) {
        (Scope::Host, _) | (Scope::Session, None) => host.to_owned(),
        (Scope::Site, _) => target.site.to_owned(),
        (Scope::Session, Some(_)) => String::new(),
    };
    let tags: BTreeSet<&str> = TAGS[asked.tags].iter().copied().collect();
    for (i, tag) in tags.into_iter().enumerate() {
        key.push_str(if i == 0 { "?" } else { "&" });
        key.push_str(tag);
    }
    if let Some(session) = session {
        key.push('#');
        key.push_str(session);
    }
    let mut policy = policy(config, host);
    policy.ttl_ms = asked.ttl_ms.unwrap_or(policy.ttl_ms);
    let sticks = policy.mode == Mode::Domain
        && policy.ttl_ms > 0
        && (config.scope != Scope::Session || session.is_some());
    Ok((key, sticks.then_some(policy)))
}

/// Rule 13: where the target of a request stands in the tables of doubts and blocks.
pub(crate) fn place(config: &Config, asked: &Asked) -> Option<String> {
    let target = &TARGETS[asked.target?];
    let (key, _) = key(config, asked).ok()?;
    let has_host = config.scope != Scope::Session || SESSIONS[asked.session].is_none();
    let host = if has_host { "" } else { target.host.ok()? };
    Some(format!("{}/{host}{key}", target.port))
}

/// Rule 13: what counts as one target for strikes.
pub(crate) fn site(asked: &Asked) -> String {
    let target = &TARGETS[asked.target.unwrap()];
    let host = target.host.unwrap();
    if cfg!(feature = "public-suffix-list") || host.contains(':') {
        return target.site.to_owned();
    }
    let mut labels: Vec<&str> = host.rsplit('.').take(2).collect();
    labels.reverse();
    labels.join(".")
}

/// Rule 2: whether the target's sessions are strict.
pub(crate) fn is_strict(config: &Config, asked: &Asked) -> bool {
    let host = asked.target.and_then(|i| TARGETS[i].host.ok());
    host.is_some_and(|host| policy(config, host).on_bad == OnBad::Strict)
}

/// Rule 2: the host's own override, else that of the longest suffix, else the general policy.
fn policy(config: &Config, host: &str) -> Sticky {
    let matches = |pattern: &str| match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        None => host == pattern,
    };
    let overrides = config.overrides.iter();
    let best = overrides
        .filter(|over| matches(&over.pattern))
        .max_by_key(|over| (!over.pattern.starts_with('*'), over.pattern.len()));
    let general = config.sticky;
    let Some(over) = best else { return general };
    let mode = match (over.mode, over.ttl_ms) {
        (Some(mode), _) => mode,
        (None, Some(_)) => Mode::Domain,
        (None, None) => general.mode,
    };
    Sticky {
        mode,
        ttl_ms: over.ttl_ms.unwrap_or(general.ttl_ms),
        idle_ms: over.idle_ms.or(general.idle_ms),
        max_requests: over.max_requests.or(general.max_requests),
        on_bad: over.on_bad.unwrap_or(general.on_bad),
    }
}
