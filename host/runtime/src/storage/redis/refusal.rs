//! Whether a server that answers takes changes, too.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;

const NONE: u8 = 0;
/// Calls have been refused, for a reason that looks do not see.
const OF_CALLS: u8 = 1;
/// Looks see it, so they see its end, too.
const OF_LOOKS: u8 = 2;

/// What servers say that take nobody's changes: as a replica, without enough replicas, without a disk that works. A
/// server before version 7 says it somewhere inside another error.
const OF_ALL: [&str; 3] = ["READONLY", "NOREPLICAS", "MISCONF"];

/// Whether changes are refused. That ends with one that is not, and for what looks see with a look: that the server
/// answers is no sign of it.
#[derive(Debug, Default)]
pub(super) struct Refusal(AtomicU8);

impl Refusal {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(SeqCst) != NONE
    }

    /// A call was refused, with this reason.
    pub(super) fn met_by_a_call(&self, reason: &str) {
        let new = if is_of_all(reason) {
            OF_LOOKS
        } else {
            OF_CALLS
        };
        self.0.fetch_max(new, SeqCst);
    }

    /// A look was refused for this reason, or not (an empty one). Answers whether all changes are.
    pub(super) fn looked_at(&self, reason: &str) -> bool {
        let all = is_of_all(reason);
        if all {
            self.0.store(OF_LOOKS, SeqCst);
        } else {
            // An end that calls have to see is not this one.
            let _ = self.0.compare_exchange(OF_LOOKS, NONE, SeqCst, SeqCst);
        }
        all
    }

    /// A change was taken. Answers whether they had been refused.
    pub(super) fn over(&self) -> bool {
        // Looked at first: as a rule there is nothing to write.
        self.is_on() && self.0.swap(NONE, SeqCst) != NONE
    }
}

fn is_of_all(reason: &str) -> bool {
    OF_ALL.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_only_what_looks_see() {
        for (reason, ends) in [
            ("NOREPLICAS Not enough good replicas to write", true),
            ("ERR Error running script: -READONLY You can't write", true),
            ("NOPERM this user has no permissions to run zadd", false),
        ] {
            let refusal = Refusal::default();
            refusal.met_by_a_call(reason);
            assert!(!refusal.looked_at(""));
            assert_eq!(refusal.is_on(), !ends, "{reason}");
            // A user who may not remove keys says nothing of all changes.
            assert_eq!(refusal.looked_at(reason), ends);
            refusal.looked_at("");
            assert_eq!(refusal.is_on(), !ends, "{reason}");
        }
    }

    #[test]
    fn a_change_that_is_taken_ends_it() {
        let refusal = Refusal::default();
        assert!(!refusal.over());
        refusal.met_by_a_call("NOPERM");
        assert!(refusal.over() && !refusal.is_on());
    }
}
