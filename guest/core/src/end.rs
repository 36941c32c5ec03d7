//! The ways in which a session ends (rule 4).

use core::fmt;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum End {
    /// Its time to live was over.
    Expired,
    /// It saw no request for as long as the policy's idle time.
    Idle,
    /// It had as many requests as the policy allows.
    MaxRequests,
    /// A request of it was released as failed.
    Failed,
    /// A request of it was released as blocked.
    Blocked,
    /// Its proxy was taken out of the pool or switched off.
    Removed,
    /// Its proxy's breaker opened.
    Open,
}

impl End {
    /// Whether the proxy went bad, rather than the session coming to its planned end.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Blocked | Self::Removed | Self::Open
        )
    }

    /// The name used in logs, metrics and the WIT interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::MaxRequests => "max-requests",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Removed => "removed",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
