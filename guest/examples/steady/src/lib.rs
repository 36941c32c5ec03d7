//! Steady exits first: new sessions go to proxies that do not keep failing.
//!
//! A breaker opens after failures in a row. A proxy that loses every third request never has so many in a row,
//! and goes on spoiling sessions. This plugin keeps a moving share of failures for each proxy and leaves those
//! aside that lose too many, while there is a better one. All the rest is remora's own.

mod share;

use std::cell::Cell;

use remora_component::{Addition, HostStorage, Shell};
use remora_core::{Engine, Outcome, Permit, ProxyId, Storage, StorageError};

use share::{TABLE, Verdict};

/// How old an instance's list of the unsteady may be, in milliseconds: a request must not pay for a scan.
const FRESH_FOR_MS: u64 = 1_000;

struct Steady;

type Plugin = Shell<Steady>;
remora_component::export!(Plugin with_types_in remora_component::bindings);

thread_local! {
    // One instance's own. It may be lost at any time, and is then made anew from storage.
    static READ_AT: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Addition for Steady {
    fn before_acquire(engine: &mut Engine<HostStorage>, now: u64) {
        let fresh = |at: u64| now.saturating_sub(at) < FRESH_FOR_MS;
        if READ_AT.get().is_some_and(fresh) {
            return;
        }
        READ_AT.set(Some(now));
        // Advice, not a rule: while the storage fails, the last list holds.
        if let Ok(proxies) = unsteady(now) {
            engine.leave_aside(proxies);
        }
    }

    fn after_attempt(permit: &Permit, outcome: Outcome) {
        let verdict = match outcome {
            Outcome::Success => Verdict::Good,
            Outcome::Failure => Verdict::Bad,
            // The target's, the client's, or not known whose: says nothing about the proxy.
            Outcome::Blocked
            | Outcome::Ambiguous
            | Outcome::TimedOut
            | Outcome::Inconclusive
            | Outcome::Cancelled => return,
        };
        // The release itself is done; a share that is one request behind harms nobody.
        share::note(&HostStorage, permit.proxy, verdict, remora_component::now()).ok();
    }
}

/// The proxies that lose too many of their requests.
fn unsteady(now: u64) -> Result<Vec<ProxyId>, StorageError> {
    let (mut proxies, mut cursor) = (Vec::new(), None);
    loop {
        let page = HostStorage.scan(TABLE, cursor, 1_024)?;
        let bad = page
            .entries
            .iter()
            .filter(|(_, cell)| share::is_too_much(cell, now));
        proxies.extend(bad.filter_map(|(key, _)| key.parse::<ProxyId>().ok()));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(proxies);
        }
    }
}
