//! A limiter for log lines that clients cause: a client cannot flood the log.

use std::fmt;
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets one log line a minute through.
pub(crate) struct LogLimiter(DefaultDirectRateLimiter);

impl Default for LogLimiter {
    fn default() -> Self {
        Self(RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN)))
    }
}

impl fmt::Debug for LogLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLimiter")
    }
}

impl LogLimiter {
    /// Whether the next line may be logged.
    pub(crate) fn is_due(&self) -> bool {
        self.0.check().is_ok()
    }
}
