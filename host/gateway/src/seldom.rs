//! What clients cause and the log says now and then: they must not be able to flood it.

use std::fmt;
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Once a minute.
pub(crate) struct Seldom(DefaultDirectRateLimiter);

impl Default for Seldom {
    fn default() -> Self {
        Self(RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN)))
    }
}

impl fmt::Debug for Seldom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seldom")
    }
}

impl Seldom {
    /// Whether it is time to say it once more.
    pub(crate) fn is_due(&self) -> bool {
        self.0.check().is_ok()
    }
}
