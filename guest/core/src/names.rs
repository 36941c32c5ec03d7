//! The names of what is counted: the same in every shell's metrics.

use crate::breaker::Change;
use crate::engine::Outcome;
use crate::error::AcquireError;
use crate::session::Reason;

/// Decisions, by `result`. (Prometheus adds `_total` to the name of a counter.)
pub const ACQUIRES: &str = "remora_acquires";
/// Leases taken back, by `outcome`.
pub const RELEASES: &str = "remora_releases";
/// Changes of circuit breakers, by `change`.
pub const BREAKER_TRANSITIONS: &str = "remora_breaker_transitions";
/// Live sessions.
pub const SESSIONS: &str = "remora_sessions";

/// Every `result` of an acquire.
pub const RESULTS: [&str; 10] = [
    "hit",
    "bound",
    "adopted",
    "rebound",
    "rotated",
    "exhausted",
    "no-proxy",
    "session-lost",
    "invalid",
    "storage",
];

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Failure,
        Self::Blocked,
        Self::Ambiguous,
        Self::TimedOut,
        Self::Inconclusive,
        Self::Cancelled,
    ];
}

impl Change {
    /// All that are one.
    pub const ALL: [Self; 4] = [
        Self::Opened,
        Self::Reopened,
        Self::Closed,
        Self::ProbeReturned,
    ];
}

impl Reason {
    /// The `result` of an acquire that found a proxy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Bound => "bound",
            Self::Adopted => "adopted",
            Self::Rebound(_) => "rebound",
            Self::Rotated => "rotated",
        }
    }
}

impl AcquireError {
    /// The `result` of an acquire that found none.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "exhausted",
            Self::NoProxy => "no-proxy",
            Self::SessionLost { .. } => "session-lost",
            Self::Key(_) => "invalid",
            Self::Storage(_) => "storage",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end::End;
    use crate::error::KeyError;
    use crate::storage::StorageError;

    #[test]
    fn every_result_has_its_name_in_the_list_once() {
        let retry_after_ms = 0;
        let end = End::Expired;
        let found = [
            Reason::Hit,
            Reason::Bound,
            Reason::Adopted,
            Reason::Rebound(end),
            Reason::Rotated,
        ];
        let refused = [
            AcquireError::Exhausted { retry_after_ms },
            AcquireError::NoProxy,
            AcquireError::SessionLost {
                end,
                retry_after_ms,
            },
            AcquireError::Key(KeyError::Empty),
            AcquireError::Storage(StorageError::Full),
        ];
        let names = found.map(Reason::name).into_iter();
        let names = names.chain(refused.iter().map(AcquireError::name));
        assert!(names.eq(RESULTS));
    }
}
