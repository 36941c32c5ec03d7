//! Everything that can be set.

use std::time::Duration;

pub use remora_core::StrategyKind as Strategy;
use remora_core::{AttributionPolicy, BreakerPolicy, Config, Mode, OnBad, Override, Scope, Sticky};

use crate::convert::millis;
use crate::session::StickyPolicy;

/// The settings of a [`ProxyManager`](crate::ProxyManager), as an embedder writes them: with durations, and without the
/// strategy, which is given where the manager is made. A program that has a [`Config`] already gives that instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Whether and how long a target sticks to a proxy.
    pub sticky_policy: StickyPolicy,
    /// What shares a session: the host, the site or the client's own session id.
    pub sticky_scope: Scope,
    /// Ends a session that saw no request for so long.
    pub sticky_idle: Option<Duration>,
    /// Ends a session after so many requests, 1 to 16,777,215.
    pub sticky_max_requests: Option<u32>,
    /// What happens to a session whose proxy goes bad.
    pub sticky_on_bad: OnBad,
    /// Other policies for particular hosts.
    pub sticky_overrides: Vec<StickyOverride>,
    /// The most sessions on record; beyond it the one closest to expiry makes room.
    pub max_sessions: u64,
    /// The circuit breakers.
    pub breaker: BreakerConfig,
    /// How ambiguous ends are attributed.
    pub attribution: AttributionPolicy,
    /// How long a proxy is left aside for a target that blocked it.
    pub avoid_blocked_for: Duration,
    /// How long after its acquire a handle that was never dropped stops counting as in flight.
    pub lease_timeout: Duration,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        let core = Config::default();
        Self {
            sticky_policy: StickyPolicy::Disabled,
            sticky_scope: core.scope,
            sticky_idle: None,
            sticky_max_requests: None,
            sticky_on_bad: OnBad::Rebind,
            sticky_overrides: Vec::new(),
            max_sessions: core.max_sessions,
            breaker: BreakerConfig::default(),
            attribution: core.attribution,
            avoid_blocked_for: Duration::from_millis(core.avoid_blocked_for_ms),
            lease_timeout: Duration::from_millis(core.lease_timeout_ms),
        }
    }
}

/// Another policy for some hosts. What is `None` is as in the general policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickyOverride {
    /// A host (`api.example.com`) or every host below one (`*.example.com`). Of several that match, the
    /// most specific holds: the host itself, then the longest suffix.
    pub pattern: String,
    /// Whether and how long it sticks.
    pub policy: Option<StickyPolicy>,
    /// See [`ProxyConfig::sticky_idle`].
    pub idle: Option<Duration>,
    /// See [`ProxyConfig::sticky_max_requests`].
    pub max_requests: Option<u32>,
    /// See [`ProxyConfig::sticky_on_bad`].
    pub on_bad: Option<OnBad>,
}

/// When circuit breakers open, probe and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// How many failures in a row open a breaker; at least 1.
    pub open_threshold: u32,
    /// How long an open breaker admits nothing, and how long a probe may take; at least 1 ms.
    pub half_open_after: Duration,
    /// By how much that wait grows with every probe that fails; 1 keeps it the same.
    pub growth: u32,
    /// The longest the wait can grow.
    pub max_half_open_after: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        let core = BreakerPolicy::default();
        Self {
            open_threshold: core.open_threshold,
            half_open_after: Duration::from_millis(core.half_open_after_ms),
            growth: core.growth,
            max_half_open_after: Duration::from_millis(core.max_half_open_after_ms),
        }
    }
}

impl From<ProxyConfig> for Config {
    /// In the plugin's words, with the default strategy. It is the plugin that checks them.
    fn from(config: ProxyConfig) -> Self {
        let sticky = Sticky {
            idle_ms: config.sticky_idle.map(millis),
            max_requests: config.sticky_max_requests,
            on_bad: config.sticky_on_bad,
            ..Sticky::default()
        };
        Self {
            sticky: match config.sticky_policy {
                StickyPolicy::Disabled => sticky,
                StickyPolicy::Domain { ttl } => Sticky {
                    mode: Mode::Domain,
                    ttl_ms: millis(ttl),
                    ..sticky
                },
            },
            scope: config.sticky_scope,
            overrides: config.sticky_overrides.iter().map(Override::from).collect(),
            breaker: BreakerPolicy {
                open_threshold: config.breaker.open_threshold,
                half_open_after_ms: millis(config.breaker.half_open_after),
                growth: config.breaker.growth,
                max_half_open_after_ms: millis(config.breaker.max_half_open_after),
            },
            attribution: config.attribution,
            avoid_blocked_for_ms: millis(config.avoid_blocked_for),
            max_sessions: config.max_sessions,
            lease_timeout_ms: millis(config.lease_timeout),
            // The strategy, and what the core has and an embedder's settings have not.
            ..Self::default()
        }
    }
}

impl From<&StickyOverride> for Override {
    fn from(over: &StickyOverride) -> Self {
        let policy = match over.policy {
            None => Self::default(),
            Some(StickyPolicy::Disabled) => Self {
                mode: Some(Mode::Disabled),
                ..Self::default()
            },
            Some(StickyPolicy::Domain { ttl }) => Self {
                mode: Some(Mode::Domain),
                ttl_ms: Some(millis(ttl)),
                ..Self::default()
            },
        };
        Self {
            pattern: over.pattern.clone(),
            idle_ms: over.idle.map(millis),
            max_requests: over.max_requests,
            on_bad: over.on_bad,
            ..policy
        }
    }
}
