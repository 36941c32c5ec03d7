//! Which answers a run has seen: a generator that no longer reaches a rule would pass for ever.

use std::collections::BTreeMap;
use std::sync::Mutex;

use remora_core::{AcquireError, Grant, Outcome, Released};

static SEEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// Every answer there is, but `adopted`, which takes two at the same moment (see `schedules`), and a
/// back end that fails.
const ANSWERS: [&str; 49] = [
    "hit",
    "bound",
    "rotated",
    "probe",
    "rebound {expired}",
    "rebound {idle}",
    "rebound {max-requests}",
    "rebound {failed}",
    "rebound {blocked}",
    "rebound {removed}",
    "rebound {open}",
    "lost {failed}",
    "lost {blocked}",
    "lost {removed}",
    "lost {open}",
    "exhausted",
    "no proxy",
    "malformed",
    "opened",
    "reopened",
    "closed",
    "probe-returned",
    "another opened",
    "fallback: success",
    "fallback: ambiguous",
    "fallback: timed-out",
    "fallback: failure",
    "fallback: blocked",
    "fallback: cancelled",
    "struck",
    "opens by strikes",
    "opens by a witness",
    "kept by the floor",
    "moves: time-out",
    "moves: to the exit that answered",
    "moves: anywhere else",
    "stays: all others are avoided or open",
    "it was the target",
    "a fifth exit is listed",
    "a doubt makes room",
    "one exit more in doubt",
    "an avoided exit is tried last",
    "no probe: in doubt",
    "no probe: unrepeatable",
    "overdue probe",
    "told early",
    "given back after it was told",
    "holds",
    "no longer holds",
];

pub(crate) struct Reached;

impl Reached {
    pub(crate) fn note(what: &str) {
        let mut seen = SEEN.lock().unwrap();
        match seen.get_mut(what) {
            Some(times) => *times += 1,
            None => drop(seen.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn answer(answer: &Result<Grant, AcquireError>) {
        Self::note(&match answer {
            Ok(grant) => {
                if grant.lease.probe {
                    Self::note("probe");
                }
                grant.reason.to_string()
            }
            Err(AcquireError::Key(_)) => "malformed".to_owned(),
            Err(AcquireError::NoProxy) => "no proxy".to_owned(),
            Err(AcquireError::Exhausted { .. }) => "exhausted".to_owned(),
            Err(AcquireError::SessionLost { end, .. }) => format!("lost {{{end}}}"),
            Err(AcquireError::Storage(error)) => panic!("{error}"),
        });
    }

    pub(crate) fn settled(outcomes: &[Outcome], settled: &Released) {
        Self::note(settled.breaker.name());
        for (_, change) in &settled.others {
            Self::note(&format!("another {}", change.name()));
        }
        for outcome in &outcomes[1..] {
            Self::note(&format!("fallback: {}", outcome.name()));
        }
    }

    /// Every answer came at least a few times.
    pub(crate) fn everything() {
        let seen = SEEN.lock().unwrap();
        for answer in ANSWERS {
            let times = seen.get(answer).copied().unwrap_or(0);
            assert!(
                times >= 10,
                "`{answer}` was reached {times} times: {seen:?}"
            );
        }
        println!("{seen:#?}");
    }
}
