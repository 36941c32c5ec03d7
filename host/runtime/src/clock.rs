//! The time a plugin sees.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock for plugins.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; never less than an earlier answer (rule 12).
    fn now_ms(&self) -> u64;
}

/// The system's clock. While it is set back, the answer stands still until time has caught up.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: AtomicU64,
}

impl SystemClock {
    /// The system's clock, but never before this moment: state that was kept from an earlier process must not
    /// see a time that it has seen pass.
    pub fn not_before(ms: u64) -> Self {
        Self {
            latest: AtomicU64::new(ms),
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let latest = self.latest.load(Ordering::Relaxed);
        if now <= latest {
            return latest;
        }
        // Written once a millisecond, not once a call: calls on other threads only read it.
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// A clock that only moves when it is told to, for tests and replays.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn at(now_ms: u64) -> Self {
        Self {
            now: AtomicU64::new(now_ms),
        }
    }

    /// Moves it on by `ms` milliseconds.
    pub fn advance(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    /// Moves it on to `now_ms`; a clock never goes back, so an earlier moment changes nothing.
    pub fn set(&self, now_ms: u64) {
        self.now.fetch_max(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back() {
        let clock = SystemClock::default();
        let ahead = clock.now_ms() + 60_000;
        clock.latest.store(ahead, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), ahead);
        let manual = ManualClock::at(10);
        manual.set(5);
        assert_eq!(manual.now_ms(), 10);
    }
}
