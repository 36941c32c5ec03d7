//! `[breaker]`

use remora_core::{BreakerPolicy, Invalid, check_max_half_open_after};
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;
use crate::duration::Time;

/// `[breaker]`: when circuit breakers open, probe and close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// How many consecutive failures open a breaker; at least 1.
    #[serde(skip_serializing_if = "is_default")]
    pub open_threshold: Option<u32>,
    /// How long an open breaker admits nothing; at least 1 ms.
    #[serde(skip_serializing_if = "is_default")]
    pub half_open_after: Option<Time>,
    /// By how much that wait grows with every probe that fails; at least 1.
    #[serde(skip_serializing_if = "is_default")]
    pub growth: Option<u32>,
    /// The longest the wait can grow; at least `half_open_after`.
    #[serde(skip_serializing_if = "is_default")]
    pub max_half_open_after: Option<Time>,
}

impl Breaker {
    /// Sets these fields of the core's policy.
    pub(crate) fn set(&self, policy: &mut BreakerPolicy) {
        let ms = |time: Option<Time>, default| time.map_or(default, Time::ms);
        policy.open_threshold = self.open_threshold.unwrap_or(policy.open_threshold);
        policy.half_open_after_ms = ms(self.half_open_after, policy.half_open_after_ms);
        policy.growth = self.growth.unwrap_or(policy.growth);
        policy.max_half_open_after_ms = ms(self.max_half_open_after, policy.max_half_open_after_ms);
    }

    /// A `max_half_open_after` below the `half_open_after` of a policy with these fields.
    pub fn error(&self, policy: &BreakerPolicy) -> Option<Invalid> {
        let max = self.max_half_open_after?;
        check_max_half_open_after(max.ms(), policy.half_open_after_ms).err()
    }
}
