//! Everything that can be set.

use std::time::Duration;

pub use remora_core::StrategyKind as Strategy;
use remora_core::{BreakerPolicy, Config, Mode, OnBad, Override, Scope, Sticky};

use crate::convert::millis;
use crate::session::StickyPolicy;

/// The settings of a [`ProxyManager`](crate::ProxyManager). Which strategy spreads new sessions over the
/// pool is said where the manager is made.
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

impl ProxyConfig {
    /// In the plugin's words. It is the plugin that checks them.
    pub(crate) fn for_plugin(&self, strategy: Strategy) -> Config {
        let sticky = Sticky {
            idle_ms: self.sticky_idle.map(millis),
            max_requests: self.sticky_max_requests,
            on_bad: self.sticky_on_bad,
            ..Sticky::default()
        };
        Config {
            sticky: match self.sticky_policy {
                StickyPolicy::Disabled => sticky,
                StickyPolicy::Domain { ttl } => Sticky {
                    mode: Mode::Domain,
                    ttl_ms: millis(ttl),
                    ..sticky
                },
            },
            scope: self.sticky_scope,
            overrides: self.sticky_overrides.iter().map(Override::from).collect(),
            strategy,
            breaker: BreakerPolicy {
                open_threshold: self.breaker.open_threshold,
                half_open_after_ms: millis(self.breaker.half_open_after),
                growth: self.breaker.growth,
                max_half_open_after_ms: millis(self.breaker.max_half_open_after),
            },
            avoid_blocked_for_ms: millis(self.avoid_blocked_for),
            max_sessions: self.max_sessions,
            lease_timeout_ms: millis(self.lease_timeout),
        }
    }
}

impl From<&StickyOverride> for Override {
    fn from(over: &StickyOverride) -> Self {
        let (mode, ttl_ms) = match over.policy {
            None => (None, None),
            Some(StickyPolicy::Disabled) => (Some(Mode::Disabled), None),
            Some(StickyPolicy::Domain { ttl }) => (Some(Mode::Domain), Some(millis(ttl))),
        };
        Self {
            pattern: over.pattern.clone(),
            mode,
            ttl_ms,
            idle_ms: over.idle.map(millis),
            max_requests: over.max_requests,
            on_bad: over.on_bad,
        }
    }
}
