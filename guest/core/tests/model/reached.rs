//! Which answers a run has seen: a generator that no longer reaches a rule would pass for ever.

use std::collections::BTreeMap;
use std::sync::Mutex;

use remora_core::{AcquireError, Grant, Released};

static SEEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// Every answer there is, but `adopted`, which takes two at the same moment (see `schedules`), and a
/// back end that fails.
const ANSWERS: [&str; 22] = [
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
    "Opened",
    "Reopened",
    "Closed",
    "ProbeReturned",
];

pub(crate) struct Reached;

impl Reached {
    fn note(what: String) {
        *SEEN.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn answer(answer: &Result<Grant, AcquireError>) {
        Self::note(match answer {
            Ok(grant) => {
                if grant.lease.probe {
                    Self::note("probe".to_owned());
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

    pub(crate) fn released(released: &Released) {
        Self::note(format!("{:?}", released.breaker));
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
