//! Rule 13, the table of doubts, plainly.

use std::collections::BTreeMap;

use remora_core::ProxyId;

use crate::reached::Reached;
use crate::sessions::make_room;

const TEN_MINUTES: u64 = 600_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    exit: ProxyId,
    in_a_row: u32,
    at: u64,
    witnessed: bool,
}

/// The exits that ended ambiguous for a target, the last one at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    exits: Vec<Listed>,
    written_at: u64,
}

impl Doubt {
    pub(crate) fn is_in_doubt(&self, now: u64, doubt_for_ms: u64) -> bool {
        let fresh = self.exits.iter().filter(|l| now - l.at <= doubt_for_ms);
        fresh.count() >= 2
    }
}

#[derive(Debug, Default)]
pub(crate) struct Doubts(pub(crate) BTreeMap<String, Doubt>);

impl Doubts {
    pub(crate) fn get(&self, place: &str, now: u64) -> Option<&Doubt> {
        let entry = self.0.get(place);
        entry.filter(|entry| now < entry.written_at + TEN_MINUTES)
    }

    fn put(&mut self, place: &str, exits: Vec<Listed>, now: u64) {
        let written_at = now;
        self.0.insert(place.to_owned(), Doubt { exits, written_at });
    }

    /// An attempt through an exit ended ambiguous. Answers how many in a row that makes.
    pub(crate) fn ambiguous(&mut self, place: &str, exit: ProxyId, now: u64) -> u32 {
        let entry = self.get(place, now).cloned().unwrap_or_default();
        let mut exits = entry.exits;
        exits.retain(|l| now - l.at <= TEN_MINUTES);
        let before = exits.iter().position(|l| l.exit == exit);
        let in_a_row = 1 + before.map_or(0, |i| exits.remove(i).in_a_row);
        exits.push(Listed {
            exit,
            in_a_row,
            at: now,
            witnessed: false,
        });
        if exits.len() > 4 {
            Reached::note("a fifth exit is listed");
            exits.remove(0);
        }
        self.put(place, exits, now);
        in_a_row
    }

    /// An exit answered. Answers against which others that is a witness.
    pub(crate) fn answered(&mut self, place: &str, exit: ProxyId, now: u64) -> Vec<ProxyId> {
        let Some(entry) = self.get(place, now) else {
            return Vec::new();
        };
        let mut exits = entry.exits.clone();
        if exits.iter().any(|l| l.exit == exit) {
            Reached::note("it was the target");
            self.0.remove(place);
            return Vec::new();
        }
        let mut against = Vec::new();
        for listed in &mut exits {
            if now - listed.at <= TEN_MINUTES && !listed.witnessed {
                listed.witnessed = true;
                against.push(listed.exit);
            }
        }
        if !against.is_empty() {
            self.put(place, exits, now);
        }
        against
    }

    pub(crate) fn make_room(&mut self, written: &str, now: u64, max: u64) {
        let before = self.0.len();
        make_room(
            &mut self.0,
            |entry| entry.written_at + TEN_MINUTES,
            written,
            now,
            max,
        );
        if self.0.len() < before {
            Reached::note("a doubt makes room");
        }
    }
}
