//! Writes the record while a manager works.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Decision, Event, Line};
use crate::clock::Clock;
use crate::error::Error;

/// A clock that stands still while a recorded call runs, so that one line needs one time only.
pub(crate) struct PinnedClock {
    clock: Arc<dyn Clock>,
    now: AtomicU64,
}

impl PinnedClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let now = AtomicU64::new(clock.now_ms());
        Self { clock, now }
    }

    fn move_on(&self) -> u64 {
        let now = self.clock.now_ms();
        self.now.store(now, Ordering::SeqCst);
        now
    }
}

impl Clock for PinnedClock {
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
}

/// Writes a line for every call. Calls wait for each other: a record is one sequence.
pub(crate) struct Recorder {
    clock: Arc<PinnedClock>,
    out: Mutex<Option<Box<dyn Write + Send>>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    pub(crate) fn new(clock: Arc<PinnedClock>, out: Box<dyn Write + Send>) -> Self {
        Self {
            clock,
            out: Mutex::new(Some(out)),
        }
    }

    pub(crate) fn record<T: Clone + Into<Decision>>(
        &self,
        event: Event,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut out = self.out.lock();
        let now = self.clock.move_on();
        let answer = call();
        let line = Line {
            now,
            event,
            decision: Decision::of(&answer),
        };
        if let Some(writer) = out.as_mut() {
            let written = serde_json::to_string(&line)
                .map_err(std::io::Error::from)
                .and_then(|line| writeln!(writer, "{line}"));
            if let Err(error) = written {
                // A record with a hole in it would replay differently: it ends here. Traffic goes on.
                tracing::error!(%error, "the record cannot be written; recording stops");
                *out = None;
            }
        }
        answer
    }
}
