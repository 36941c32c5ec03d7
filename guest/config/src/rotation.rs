//! `[rotation]`

use remora_core::{Config, StrategyKind};
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;
use crate::duration::Time;

/// `[rotation]`: how new sessions are spread over the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How new sessions are spread.
    #[serde(skip_serializing_if = "is_default")]
    pub strategy: StrategyKind,
    /// How long a request counts as in flight at most.
    #[serde(skip_serializing_if = "is_default")]
    pub lease_timeout: Option<Time>,
}

impl Rotation {
    /// Sets these fields of a configuration of the core.
    pub(crate) fn set(&self, config: &mut Config) {
        config.strategy = self.strategy;
        let timeout = self.lease_timeout.map(Time::ms);
        config.lease_timeout_ms = timeout.unwrap_or(config.lease_timeout_ms);
    }
}
