//! The server's clock, as far as it is known here.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// What a look at the server's clock said, carried on by this machine's steady clock: how this machine's own
/// date is set does not matter.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    known: RwLock<Option<Known>>,
    /// Another server answers than the one that `known` is of, and none of its answers was as quick.
    unsettled: AtomicBool,
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
    /// and this one is kept; of another server than before (`other`), this one, unless both may be right: most often
    /// it is the same machine, and the first answer after a restart is slow.
    pub(super) fn looked(&self, at_ms: u64, asked: Instant, other: bool) {
        let error = asked.elapsed() / 2;
        let look = Known {
            at_ms,
            at: asked + error,
            error,
        };
        let mut known = self.known.write();
        let other = other || self.unsettled.load(Relaxed);
        let keep = known
            .is_some_and(|old| old.error_now() < error && (!other || old.may_agree_with(look)));
        // The next ones of that server may contradict the old look.
        self.unsettled.store(keep && other, Relaxed);
        if !keep {
            *known = Some(look);
        }
    }
}

impl Known {
    fn error_now(&self) -> Duration {
        self.error + self.at.elapsed().mul_f64(DRIFT)
    }

    /// Whether one time is within the errors of this look and of a later one.
    fn may_agree_with(self, later: Self) -> bool {
        let between = later.at.saturating_duration_since(self.at);
        let then = Duration::from_millis(self.at_ms) + between;
        then.abs_diff(Duration::from_millis(later.at_ms)) <= self.error_now() + later.error
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

    #[test]
    fn a_slow_answer_of_another_server_that_may_mean_the_same_time_changes_nothing() {
        let clock = ServerClock::default();
        clock.looked(5_000_000, Instant::now(), false);
        let slow = Instant::now().checked_sub(Duration::from_secs(4)).unwrap();
        clock.looked(5_001_900, slow, true);
        let now = clock.now_ms().unwrap();
        assert!((5_000_000..5_001_000).contains(&now), "{now}");
        // A quicker one shows that it is not the same time after all.
        let quicker = Instant::now().checked_sub(Duration::from_millis(100));
        clock.looked(5_001_500, quicker.unwrap(), false);
        assert!(clock.now_ms().unwrap() > 5_001_400);
    }
}
