//! `[breaker]`

use remora_core::{AttributionPolicy, BreakerPolicy, Invalid, check_max_half_open_after};
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
    /// Two exits that end ambiguous for a target within this time put it in doubt.
    #[serde(skip_serializing_if = "is_default")]
    pub doubt_for: Option<Time>,
    /// The most targets on record with ambiguous ends; at least 1.
    #[serde(skip_serializing_if = "is_default")]
    pub max_doubts: Option<u64>,
    /// The shortest time between two ambiguous ends of an exit that both count.
    #[serde(skip_serializing_if = "is_default")]
    pub strike_gap: Option<Time>,
    /// How much of the pool ambiguous ends leave closed, in percent: 0 to 100, and at least one proxy.
    #[serde(skip_serializing_if = "is_default")]
    pub min_available_percent: Option<u32>,
}

impl Breaker {
    /// Sets these fields of the core's policies.
    pub(crate) fn set(&self, policy: &mut BreakerPolicy, attribution: &mut AttributionPolicy) {
        let ms = |time: Option<Time>, default| time.map_or(default, Time::ms);
        attribution.doubt_for_ms = ms(self.doubt_for, attribution.doubt_for_ms);
        attribution.max_doubts = self.max_doubts.unwrap_or(attribution.max_doubts);
        attribution.strike_gap_ms = ms(self.strike_gap, attribution.strike_gap_ms);
        let percent = &mut attribution.min_available_percent;
        *percent = self.min_available_percent.unwrap_or(*percent);
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
