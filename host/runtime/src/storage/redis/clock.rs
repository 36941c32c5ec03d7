//! The server's clock, as far as it is known here.

use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// What a look at the server's clock said, carried on by this machine's steady clock: how this machine's own
/// date is set does not matter.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    known: RwLock<Option<Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// What the server said, in milliseconds since the Unix epoch.
    at_ms: u64,
    /// When that was, by the steady clock.
    at: Instant,
    /// By how much it may be off: half the time that the question was under way.
    error: Duration,
}

/// How much a look's error counts for more with every second that passes: steady clocks drift apart by less.
const DRIFT: f64 = 200e-6;

impl ServerClock {
    pub(super) fn now_ms(&self) -> Option<u64> {
        let known = (*self.known.read())?;
        let since = u64::try_from(known.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(known.at_ms.saturating_add(since))
    }

    /// The server said `at_ms` to a question that was sent at `asked` and answered now. The better of the old look
    /// and this one is kept; of another server than before (`other`), this one.
    pub(super) fn looked(&self, at_ms: u64, asked: Instant, other: bool) {
        let error = asked.elapsed() / 2;
        let look = Known {
            at_ms,
            at: asked + error,
            error,
        };
        let mut known = self.known.write();
        let worse = known.is_some_and(|old| old.error_now() < error);
        if other || !worse {
            *known = Some(look);
        }
    }
}

impl Known {
    fn error_now(&self) -> Duration {
        self.error + self.at.elapsed().mul_f64(DRIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_answer_is_not_replaced_by_a_slow_one() {
        let clock = ServerClock::default();
        assert_eq!(clock.now_ms(), None);
        clock.looked(5_000_000, Instant::now(), false);
        let slow = Instant::now().checked_sub(Duration::from_secs(4)).unwrap();
        clock.looked(9_000_000, slow, false);
        assert!((5_000_000..5_100_000).contains(&clock.now_ms().unwrap()));
        clock.looked(9_000_000, slow, true);
        assert!(clock.now_ms().unwrap() > 9_000_000);
    }
}
