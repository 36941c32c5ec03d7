//! Whether a storage back end works, for those who watch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a process does when its storage does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStorageError {
    /// Requests fail, with an error that says so, until the storage is back.
    #[default]
    Refuse,
    /// The process goes on with what it has in memory, alone, and joins in again when the storage is back.
    Degrade,
}

/// Whether a storage back end works.
#[derive(Debug, Default)]
pub struct Health {
    /// Milliseconds since the Unix epoch; 0 while it works.
    failing_since: AtomicU64,
    failures: AtomicU64,
    failovers: AtomicU64,
    lost_sessions: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Since when it has not worked; `None` while it works.
    pub fn failing_since(&self) -> Option<SystemTime> {
        let since = self.failing_since.load(Ordering::SeqCst);
        (since != 0).then(|| UNIX_EPOCH + Duration::from_millis(since))
    }

    /// Whether it does not work at this moment: it does not answer, or takes no changes.
    pub fn is_failing(&self) -> bool {
        self.failing_since.load(Ordering::SeqCst) != 0
    }

    /// How often it has stopped working.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// How often another server, or the same one after a restart, has taken over. What had been changed in the
    /// moments before may be lost.
    pub fn failovers(&self) -> u64 {
        self.failovers.load(Ordering::SeqCst)
    }

    /// How many sessions have lost a change to a failover, of those that this process had changed last: they got another
    /// exit, or one back that had ended.
    pub fn lost_sessions(&self) -> u64 {
        self.lost_sessions.load(Ordering::SeqCst)
    }

    /// It has failed. Answers whether it worked before.
    pub(crate) fn failed(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(1, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let worked = self
            .failing_since
            .compare_exchange(0, now.max(1), Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if worked {
            self.failures.fetch_add(1, Ordering::SeqCst);
        }
        worked
    }

    /// It works. Answers whether it did not before.
    pub(crate) fn recovered(&self) -> bool {
        // Looked at first: as a rule there is nothing to write.
        self.is_failing() && self.failing_since.swap(0, Ordering::SeqCst) != 0
    }

    pub(crate) fn lost(&self, sessions: u64) {
        self.lost_sessions.fetch_add(sessions, Ordering::SeqCst);
    }

    pub(crate) fn failed_over(&self) {
        self.failovers.fetch_add(1, Ordering::SeqCst);
    }
}
