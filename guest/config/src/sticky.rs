//! `[sticky]`

use alloc::string::String;
use alloc::vec::Vec;

use remora_core::{Config, Mode, OnBad, Override, Scope};
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;
use crate::duration::Time;

/// `[sticky]`: whether and how long requests share a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sticky {
    /// Whether requests stick; where it is left out, they do. `None`: there is no `[sticky]`, and they do not.
    #[serde(default = "domain", skip_serializing_if = "is_default")]
    pub mode: Option<Mode>,
    /// How long a session lasts, up to 366 days.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: Option<Time>,
    /// The requests that share a session: those of a host, a site, or the client's own session id.
    #[serde(skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// Ends a session that saw no request for so long.
    #[serde(skip_serializing_if = "is_default")]
    pub idle: Option<Time>,
    /// Ends a session after so many requests, 1 to 16,777,215.
    #[serde(skip_serializing_if = "is_default")]
    pub max_requests: Option<u32>,
    /// Whether a session whose proxy fails moves to another one.
    #[serde(skip_serializing_if = "is_default")]
    pub on_bad: OnBad,
    /// The most sessions on record.
    #[serde(skip_serializing_if = "is_default")]
    pub max_sessions: Option<u64>,
    /// How long a proxy is excluded for a target that blocked it.
    #[serde(skip_serializing_if = "is_default")]
    pub avoid_blocked_for: Option<Time>,
    /// What becomes of tunnels that were opened under a session that has ended. The gateway's.
    #[serde(skip_serializing_if = "is_default")]
    pub tunnels: Tunnels,
    /// How long a tunnel may last after the end of its session.
    #[serde(skip_serializing_if = "is_default")]
    pub tunnel_grace: Option<Time>,
    /// Other policies for some hosts.
    #[serde(rename = "override", skip_serializing_if = "is_default")]
    pub overrides: Vec<StickyOverride>,
}

/// What becomes of a tunnel whose session has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tunnels {
    /// It is closed in a quiet moment: nothing is on its way.
    #[default]
    Drain,
    /// It is closed at once.
    Close,
    /// It lasts as long as its two sides like.
    Keep,
}

/// `[[sticky.override]]`: a field that is left out is as in `[sticky]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StickyOverride {
    /// A host, or every host below one.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Whether requests stick; where it is left out, they do if there is a `ttl` here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Option<Mode>,
    /// As in `[sticky]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ttl: Option<Time>,
    /// As in `[sticky]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idle: Option<Time>,
    /// As in `[sticky]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_requests: Option<u32>,
    /// As in `[sticky]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_bad: Option<OnBad>,
}

/// The mode of a `[sticky]` table that does not name one.
fn domain() -> Option<Mode> {
    Some(Mode::Domain)
}

impl Sticky {
    /// Sets these fields of a configuration of the core; a field that is left out stays as it is there.
    pub(crate) fn set(&self, config: &mut Config) {
        let sticky = &mut config.sticky;
        sticky.mode = self.mode.unwrap_or(sticky.mode);
        sticky.ttl_ms = self.ttl.map_or(sticky.ttl_ms, Time::ms);
        sticky.idle_ms = self.idle.map(Time::ms);
        sticky.max_requests = self.max_requests;
        sticky.on_bad = self.on_bad;
        config.scope = self.scope;
        config.max_sessions = self.max_sessions.unwrap_or(config.max_sessions);
        let avoid = self.avoid_blocked_for.map(Time::ms);
        config.avoid_blocked_for_ms = avoid.unwrap_or(config.avoid_blocked_for_ms);
        config.overrides = self.overrides.iter().map(Override::from).collect();
    }
}

impl From<&StickyOverride> for Override {
    fn from(over: &StickyOverride) -> Self {
        Self {
            pattern: over.pattern.clone(),
            mode: over.mode,
            ttl_ms: over.ttl.map(Time::ms),
            idle_ms: over.idle.map(Time::ms),
            max_requests: over.max_requests,
            on_bad: over.on_bad,
        }
    }
}
