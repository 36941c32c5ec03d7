//! The sessions that this process has changed last: after a failover they tell what it took back.
//!
//! Only sessions: a generation is never used twice, so a session that is what it was before a change can only mean that
//! the change is gone. A breaker comes back to what it was by itself.

use std::collections::{HashMap, HashSet, VecDeque};

use compact_str::CompactString;
use parking_lot::Mutex;
use remora_core::Cell;

/// How many changes are kept: about a megabyte.
const KEPT: usize = 4_096;

#[derive(Clone, Debug)]
struct Change {
    key: CompactString,
    before: Option<Cell>,
    after: Option<Cell>,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    changes: Mutex<VecDeque<Change>>,
}

/// Changes in their order.
pub(super) struct Taken(VecDeque<Change>);

impl Recent {
    /// The server has said that it has stored this.
    pub(super) fn note(&self, key: &str, before: Option<Cell>, after: Option<Cell>) {
        let mut changes = self.changes.lock();
        if changes.len() == KEPT {
            changes.pop_front();
        }
        changes.push_back(Change {
            key: key.into(),
            before,
            after,
        });
    }

    pub(super) fn take(&self) -> Taken {
        Taken(std::mem::take(&mut *self.changes.lock()))
    }

    /// They could not be weighed; those that came meanwhile are the newer ones.
    pub(super) fn put_back(&self, taken: Taken) {
        let mut changes = self.changes.lock();
        let mut all = taken.0;
        all.append(&mut changes);
        let surplus = all.len().saturating_sub(KEPT);
        all.drain(..surplus);
        *changes = all;
    }
}

impl Taken {
    /// The keys of the sessions, each once.
    pub(super) fn keys(&self) -> Vec<CompactString> {
        let mut keys: Vec<_> = self.0.iter().map(|change| change.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// How many sessions have lost a change, by what the server has now. What has expired by `now` is no loss.
    pub(super) fn lost(&self, now: u64, current: &HashMap<CompactString, Option<Cell>>) -> u64 {
        // What each session has been, in order.
        let mut known: HashMap<&str, Vec<Option<Cell>>> = HashMap::new();
        let mut lost = HashSet::new();
        for change in &self.0 {
            let states = known.entry(&change.key).or_default();
            if is_back(states, change.before, now) {
                lost.insert(change.key.as_str());
            }
            states.extend([change.before, change.after]);
        }
        for (key, cell) in current {
            let states = known.get(key.as_str());
            if states.is_some_and(|states| is_back(states, *cell, now)) {
                lost.insert(key);
            }
        }
        lost.len() as u64
    }
}

/// Whether a session is found as it was before its last change, or an earlier one.
fn is_back(states: &[Option<Cell>], found: Option<Cell>, now: u64) -> bool {
    let Some(last) = states.last() else {
        return false;
    };
    let has_expired = last.is_some_and(|cell| cell.expires_at <= now);
    *last != found && !has_expired && states.contains(&found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn session(generation: u64) -> Option<Cell> {
        Some(Cell {
            words: [generation, 0, 0, 0, 0, 0],
            expires_at: NOW + 1,
        })
    }

    fn lost(changes: &[(&str, Option<Cell>, Option<Cell>)], now: &[(&str, Option<Cell>)]) -> u64 {
        let recent = Recent::default();
        for (key, before, after) in changes {
            recent.note(key, *before, *after);
        }
        let current = now.iter().map(|(key, cell)| ((*key).into(), *cell));
        recent.take().lost(NOW, &current.collect())
    }

    #[test]
    fn a_session_that_is_what_it_was_before_its_change_has_lost_it() {
        let bound = [("a", None, session(1)), ("b", session(1), session(2))];
        let kept = [("a", session(1)), ("b", session(2))];
        assert_eq!(lost(&bound, &kept), 0);
        assert_eq!(lost(&bound, &[("a", None), ("b", session(1))]), 2);
        // Somebody has changed it since.
        assert_eq!(lost(&bound, &[("a", session(7)), ("b", session(8))]), 0);
    }

    #[test]
    fn a_change_is_weighed_by_what_the_next_one_found() {
        let again = [("a", None, session(1)), ("a", None, session(2))];
        assert_eq!(lost(&again, &[("a", session(2))]), 1);
        let on = [("a", None, session(1)), ("a", session(1), session(2))];
        assert_eq!(lost(&on, &[("a", session(2))]), 0);
        assert_eq!(lost(&on, &[("a", session(1))]), 1);
    }

    #[test]
    fn all_changes_of_a_session_may_be_lost_at_once() {
        // Bound, ended, bound anew; and the server has never heard of it.
        let bound_anew = [
            ("a", None, session(1)),
            ("a", session(1), session(2)),
            ("a", session(2), session(3)),
        ];
        for (now, is) in [(None, 1), (session(1), 1), (session(2), 1), (session(3), 0)] {
            assert_eq!(lost(&bound_anew, &[("a", now)]), is, "{now:?}");
        }
    }

    #[test]
    fn what_has_expired_is_no_loss() {
        let old = session(1).map(|cell| Cell {
            expires_at: NOW,
            ..cell
        });
        assert_eq!(lost(&[("a", None, old)], &[("a", None)]), 0);
    }

    #[test]
    fn the_last_changes_are_kept_and_no_more() {
        let recent = Recent::default();
        for i in 0..=KEPT {
            recent.note(&format!("{i}"), None, session(1));
        }
        let taken = recent.take();
        assert_eq!((taken.0.len(), &*taken.0[0].key), (KEPT, "1"));
        recent.note("new", None, session(1));
        recent.put_back(taken);
        let all = recent.take();
        let ends = (&*all.0[0].key, &*all.0[KEPT - 1].key);
        assert_eq!((all.0.len(), ends), (KEPT, ("2", "new")));
    }
}
