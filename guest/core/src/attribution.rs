//! Rule 13, its parameters: when ambiguous ends say something about an exit.

use alloc::vec::Vec;

use crate::error::Invalid;

/// How ambiguous ends are attributed. The defaults come from a simulation; few deployments have a reason to change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AttributionPolicy {
    /// Two exits that ended ambiguous for a target within this time put the target in doubt, in milliseconds.
    pub doubt_for_ms: u64,
    /// The most targets with an entry in the table of doubts; the oldest makes room. At least 1.
    pub max_doubts: u64,
    /// The shortest time between two strikes of one exit that both count, in milliseconds.
    pub strike_gap_ms: u64,
    /// How much of the pool strikes leave closed, in percent of the proxies that are switched on; at least one proxy.
    pub min_available_percent: u32,
}

impl Default for AttributionPolicy {
    fn default() -> Self {
        Self {
            doubt_for_ms: 60_000,
            max_doubts: 1_024,
            strike_gap_ms: 200,
            min_available_percent: 10,
        }
    }
}

impl AttributionPolicy {
    /// Every invalid value.
    pub(crate) fn errors(&self) -> Vec<Invalid> {
        let mut errors = Vec::new();
        if self.max_doubts == 0 {
            errors.push(Invalid::new("breaker.max_doubts", 0, "at least 1"));
        }
        if self.min_available_percent > 100 {
            let value = self.min_available_percent;
            let accepted = "0 to 100 percent";
            errors.push(Invalid::new(
                "breaker.min_available_percent",
                value,
                accepted,
            ));
        }
        errors
    }

    /// How many of `proxies` strikes must leave closed.
    pub(crate) fn min_available(&self, proxies: usize) -> usize {
        let share = proxies as u64 * u64::from(self.min_available_percent);
        // A share of at most all proxies fits where the number of proxies does.
        share.div_ceil(100).max(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_a_tenth_of_the_pool_and_at_least_one_proxy() {
        let floor = |proxies| AttributionPolicy::default().min_available(proxies);
        assert_eq!(
            [0, 1, 4, 10, 11, 20, 200].map(floor),
            [1, 1, 1, 1, 2, 2, 20]
        );
    }
}
