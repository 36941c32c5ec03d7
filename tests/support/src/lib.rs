//! What the suites under `tests/` share: real Redis servers on loopback, networks that can be cut, and a program that
//! checks the rules on the history of a fleet.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::new_without_default
)]
#![forbid(unsafe_code)]

pub mod check;
pub mod cluster;
pub mod dice;
pub mod history;
pub mod namespace;
pub mod ports;
pub mod relay;
pub mod server;

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// This machine's time, in microseconds since the Unix epoch.
pub fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}
