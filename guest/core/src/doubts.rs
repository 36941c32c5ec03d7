//! Rule 13, doubts: which exits ended ambiguous for a target and have not answered there since.
//!
//! The table says nothing about who is at fault. It limits what a doubtful target may cost (retries, probes), tells a
//! second ambiguous end in a row from a first one, and finds the witnesses: exits that answer where others did not.

use alloc::string::String;

use crate::pool::ProxyId;
use crate::storage::{Cell, Step, Storage, StorageError, Table, Words, update};

/// For how long an answer through another exit is a witness against a listed one, and an entry is kept.
const WITNESS_MS: u64 = 600_000;
/// The exits that an entry lists.
const EXITS: usize = 4;
/// Times are kept modulo this, in milliseconds: four and a half hours, and a listed exit is dropped long before.
const CYCLE_MS: u64 = 1 << 24;

/// An exit in an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Listed {
    exit: u32,
    /// How many ambiguous ends in a row; 0 for an empty place.
    count: u8,
    /// When the last one was, in milliseconds modulo [`CYCLE_MS`].
    at: u32,
    /// Whether another exit has answered since.
    witnessed: bool,
}

/// The entry of one target: the exit that ended ambiguous last comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt([Listed; EXITS]);

/// Thirty-two bits of a proxy's id.
fn short(id: ProxyId) -> u32 {
    let (high, low) = id.as_u64_pair();
    let folded = high ^ low;
    (folded ^ folded >> 32) as u32
}

impl Listed {
    fn is(&self, exit: u32) -> bool {
        self.count > 0 && self.exit == exit
    }

    fn age_ms(&self, now: u64) -> u64 {
        let age = (now % CYCLE_MS + CYCLE_MS - u64::from(self.at)) % CYCLE_MS;
        // Another machine's clock may be ahead.
        if age < CYCLE_MS / 2 { age } else { 0 }
    }

    fn is_fresh(&self, now: u64, within_ms: u64) -> bool {
        self.count > 0 && self.age_ms(now) <= within_ms
    }
}

impl Doubt {
    /// Whether two exits ended ambiguous within `doubt_for_ms`.
    pub(crate) fn is_in_doubt(&self, now: u64, doubt_for_ms: u64) -> bool {
        let fresh = self.0.iter().filter(|l| l.is_fresh(now, doubt_for_ms));
        fresh.count() >= 2
    }

    /// An attempt through `exit` ended ambiguous. Answers how many in a row that makes.
    fn ambiguous(&mut self, exit: ProxyId, now: u64) -> u8 {
        let exit = short(exit);
        for listed in &mut self.0 {
            if !listed.is_fresh(now, WITNESS_MS) {
                *listed = Listed::default();
            }
        }
        let before = self.0.iter().position(|l| l.is(exit));
        let count = before.map_or(0, |i| self.0[i].count).saturating_add(1);
        // Its own place, an empty one, or that of the exit that has been there for longest.
        let empty = || self.0.iter().position(|l| l.count == 0);
        let place = before.or_else(empty).unwrap_or(EXITS - 1);
        self.0[..=place].rotate_right(1);
        self.0[0] = Listed {
            exit,
            count,
            at: (now % CYCLE_MS) as u32,
            witnessed: false,
        };
        count
    }

    /// Whether an answer through `exit` shows that it was the target.
    fn lists(&self, exit: ProxyId) -> bool {
        self.0.iter().any(|l| l.is(short(exit)))
    }

    /// An exit that is not listed answered: it is a witness against those that it has not been a witness against yet.
    fn witness(&mut self, now: u64) -> Witnessed {
        let mut against = Witnessed::default();
        for (listed, found) in self.0.iter_mut().zip(&mut against.0) {
            if listed.is_fresh(now, WITNESS_MS) && !listed.witnessed {
                listed.witnessed = true;
                *found = Some(listed.exit);
            }
        }
        against
    }

    fn decode(cell: &Cell) -> Self {
        let mut exits = [Listed::default(); EXITS];
        let [flags, words @ .., _] = &cell.words;
        for (i, (listed, word)) in exits.iter_mut().zip(words).enumerate() {
            *listed = Listed {
                exit: (word >> 32) as u32,
                count: (word >> 24) as u8,
                at: (word % CYCLE_MS) as u32,
                witnessed: flags >> i & 1 == 1,
            };
        }
        Self(exits)
    }

    fn encode(&self, now: u64) -> Cell {
        let mut words = Words::default();
        let [flags, exits @ .., _] = &mut words;
        for (i, (listed, word)) in self.0.iter().zip(exits).enumerate() {
            *word =
                u64::from(listed.exit) << 32 | u64::from(listed.count) << 24 | u64::from(listed.at);
            *flags |= u64::from(listed.witnessed) << i;
        }
        Cell {
            words,
            expires_at: now.saturating_add(WITNESS_MS),
        }
    }
}

/// The exits that an answer is a witness against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witnessed([Option<u32>; EXITS]);

impl Witnessed {
    /// Whether the exit is among them.
    pub(crate) fn is_against(&self, exit: ProxyId) -> bool {
        self.0.contains(&Some(short(exit)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == Self::default().0
    }
}

/// The entry of the target at `place`, `None` where there is none.
pub(crate) fn look<S: Storage>(
    storage: &S,
    place: &str,
    now: u64,
) -> Result<Option<Doubt>, StorageError> {
    let cell = storage.load(Table::Doubts, place)?;
    let live = cell.filter(|cell| now < cell.expires_at);
    Ok(live.as_ref().map(Doubt::decode))
}

/// What a settlement did to the entry of its target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    /// The ambiguous ends in a row of the request's first exit, this one included; 0 where it did not end so.
    pub(crate) in_a_row: u8,
    /// The exits that the answer is a witness against.
    pub(crate) witnessed: Witnessed,
    /// Whether there is an entry now.
    pub(crate) is_listed: bool,
}

/// Notes how the attempts of a request ended, in their order: `ambiguous` exits first, then `answered`.
pub(crate) fn note<S: Storage>(
    storage: &S,
    place: &str,
    now: u64,
    ambiguous: impl Iterator<Item = ProxyId> + Clone,
    first: ProxyId,
    answered: Option<ProxyId>,
) -> Result<Noted, StorageError> {
    update(storage, Table::Doubts, place, |cell| {
        let live = cell.filter(|cell| now < cell.expires_at);
        let before = live.map(Doubt::decode).unwrap_or_default();
        let (mut doubt, mut noted) = (before, Noted::default());
        for exit in ambiguous.clone() {
            let in_a_row = doubt.ambiguous(exit, now);
            if exit == first {
                noted.in_a_row = in_a_row;
            }
        }
        match answered {
            // It was the target.
            Some(exit) if doubt.lists(exit) => return Ok(Step::Set(None, noted)),
            Some(_) => noted.witnessed = doubt.witness(now),
            None => {}
        }
        noted.is_listed = doubt != Doubt::default();
        Ok(match doubt == before {
            true => Step::Keep(noted),
            false => Step::Set(Some(doubt.encode(now)), noted),
        })
    })
}

/// Where a target stands in the tables of doubts and blocks: the session key, of this port. A key without a host (scope
/// `session`) gets the target's.
pub(crate) fn place(key: &str, host: &str, port: u16) -> String {
    let host = match key.as_bytes().first() {
        None | Some(b'#' | b'?') => host,
        Some(_) => "",
    };
    alloc::format!("{port}/{host}{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_750_000_000_000;

    fn exit(n: u128) -> ProxyId {
        ProxyId::from_u128(n)
    }

    #[test]
    fn an_entry_survives_the_round_trip() {
        let mut doubt = Doubt::default();
        for n in [1, 2, 1, u128::MAX, 3] {
            doubt.ambiguous(exit(n), T0);
            doubt.witness(T0);
            doubt.ambiguous(exit(7), T0 + 1_000);
            assert_eq!(Doubt::decode(&doubt.encode(T0)), doubt);
        }
    }

    #[test]
    fn two_exits_within_the_time_put_a_target_in_doubt() {
        let mut doubt = Doubt::default();
        doubt.ambiguous(exit(1), T0);
        doubt.ambiguous(exit(1), T0);
        assert!(!doubt.is_in_doubt(T0, 60_000));
        doubt.ambiguous(exit(2), T0 + 60_000);
        assert!(doubt.is_in_doubt(T0 + 60_000, 60_000));
        assert!(!doubt.is_in_doubt(T0 + 60_001, 60_000));
    }

    #[test]
    fn a_fifth_exit_takes_the_place_of_the_oldest() {
        let mut doubt = Doubt::default();
        for n in 1..=5 {
            assert_eq!(doubt.ambiguous(exit(n), T0 + n as u64 * 1_000), 1);
        }
        assert!(!doubt.lists(exit(1)));
        assert!((2..=5).all(|n| doubt.lists(exit(n))));
        assert_eq!(doubt.ambiguous(exit(5), T0 + 6_000), 2);
    }

    #[test]
    fn an_answer_is_a_witness_once_until_the_exit_ends_ambiguous_again() {
        let mut doubt = Doubt::default();
        doubt.ambiguous(exit(1), T0);
        assert!(doubt.witness(T0).is_against(exit(1)));
        assert!(doubt.witness(T0).is_empty());
        doubt.ambiguous(exit(1), T0);
        assert!(doubt.witness(T0 + WITNESS_MS).is_against(exit(1)));
        doubt.ambiguous(exit(1), T0);
        assert!(doubt.witness(T0 + WITNESS_MS + 1).is_empty());
    }

    #[test]
    fn a_row_is_over_when_it_is_too_old_for_a_witness() {
        let mut doubt = Doubt::default();
        doubt.ambiguous(exit(1), T0);
        assert_eq!(doubt.ambiguous(exit(1), T0 + WITNESS_MS), 2);
        assert_eq!(doubt.ambiguous(exit(1), T0 + 2 * WITNESS_MS + 1), 1);
    }

    #[test]
    fn a_clock_that_is_ahead_makes_no_exit_old() {
        let mut doubt = Doubt::default();
        doubt.ambiguous(exit(1), T0 + 5);
        doubt.ambiguous(exit(2), T0);
        assert!(doubt.is_in_doubt(T0, 60_000));
        assert_eq!(doubt.ambiguous(exit(1), T0), 2);
    }

    #[test]
    fn a_place_has_the_port_and_a_host() {
        assert_eq!(place("a.example?de", "a.example", 443), "443/a.example?de");
        assert_eq!(place("#alice", "a.example", 80), "80/a.example#alice");
        assert_eq!(place("", "a.example", 80), "80/a.example");
    }
}
