//! The time of a networked storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::storage::RemoteStorage;

/// The clock of a storage that a fleet shares: all its members see the same time, however their own clocks are set.
pub(crate) struct FleetClock {
    storage: Arc<dyn RemoteStorage>,
    /// As long as the storage has not been reached.
    own: Arc<dyn Clock>,
    latest: AtomicU64,
}

impl FleetClock {
    pub(crate) fn new(storage: Arc<dyn RemoteStorage>, own: Arc<dyn Clock>) -> Self {
        Self {
            storage,
            own,
            latest: AtomicU64::new(0),
        }
    }
}

impl Clock for FleetClock {
    fn now_ms(&self) -> u64 {
        let Some(now) = self.storage.now_ms() else {
            // Not remembered: nothing has been stored yet, and this clock may be far ahead.
            return self.own.now_ms().max(self.latest.load(Ordering::Relaxed));
        };
        let latest = self.latest.load(Ordering::Relaxed);
        if now <= latest {
            return latest;
        }
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }
}
