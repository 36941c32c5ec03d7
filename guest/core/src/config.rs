//! Everything that can be set, with its defaults.

use alloc::vec::Vec;

use crate::attribution::AttributionPolicy;
use crate::breaker::BreakerPolicy;
use crate::error::Invalid;
use crate::key::Scope;
use crate::policy::{Override, Policies, Sticky};
use crate::rotation::StrategyKind;

/// The configuration of an [`Engine`](crate::Engine).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// The policy of every host that no override names.
    pub sticky: Sticky,
    /// What shares a session.
    pub scope: Scope,
    /// Policies of particular hosts.
    pub overrides: Vec<Override>,
    /// How new sessions are spread over the pool.
    pub strategy: StrategyKind,
    /// When breakers open, probe and close.
    pub breaker: BreakerPolicy,
    /// How ambiguous ends are attributed (rule 13).
    #[cfg_attr(feature = "serde", serde(default))]
    pub attribution: AttributionPolicy,
    /// How long a proxy is left aside for a target that blocked it, in milliseconds.
    pub avoid_blocked_for_ms: u64,
    /// The most sessions on record (rule 10), and the most remembered blocks.
    pub max_sessions: u64,
    /// How long after its acquire a lease that was not released stops counting as in flight, in
    /// milliseconds.
    pub lease_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sticky: Sticky::default(),
            scope: Scope::Host,
            overrides: Vec::new(),
            strategy: StrategyKind::RoundRobin,
            breaker: BreakerPolicy::default(),
            attribution: AttributionPolicy::default(),
            avoid_blocked_for_ms: 600_000,
            max_sessions: 100_000,
            lease_timeout_ms: 600_000,
        }
    }
}

impl Config {
    /// Every invalid value, but for a scope that this build does not have.
    pub fn errors(&self) -> Vec<Invalid> {
        self.check().1
    }

    fn check(&self) -> (Policies, Vec<Invalid>) {
        let mut errors = self.breaker.errors();
        errors.extend(self.attribution.errors());
        if self.max_sessions == 0 {
            errors.push(Invalid::new("sticky.max_sessions", 0, "at least 1"));
        }
        if self.lease_timeout_ms == 0 {
            errors.push(Invalid::new("rotation.lease_timeout", 0, "at least 1 ms"));
        }
        let policies = Policies::read(self.sticky, &self.overrides, &mut errors);
        (policies, errors)
    }

    /// Checks every field; answers with the policies ready for use.
    pub(crate) fn compile(&self) -> Result<Policies, Invalid> {
        #[cfg(not(feature = "public-suffix-list"))]
        if self.scope == Scope::Site {
            let accepted =
                "`host` or `session` (this plugin was built without the public suffix list)";
            return Err(Invalid::new("sticky.scope", "site", accepted));
        }
        let (policies, errors) = self.check();
        errors.into_iter().next().map_or(Ok(policies), Err)
    }
}
