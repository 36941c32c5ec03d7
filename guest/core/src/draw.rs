//! The rotation cursor: one stored entry that gives every pick a number of its own.
//!
//! The number serves three ends: it moves the round-robin on, it is the only source of variety for
//! the `random` and `weighted` strategies (the core has no randomness), and as the generation of a
//! binding it is never used twice, which is what the fence of rule 5 rests on.

use crate::storage::{Cell, Exchange, Step, Storage, StorageError, Table, update};

const KEY: &str = "cursor";

/// A look at the cursor.
pub(crate) struct Draw {
    /// A number that no other pick gets, if [`Draw::commit`] succeeds.
    pub(crate) ticket: u64,
    /// The place in the pool that the round-robin has reached.
    pub(crate) position: u64,
    seen: Option<Cell>,
}

impl Draw {
    pub(crate) fn look<S: Storage>(storage: &S, now: u64) -> Result<Self, StorageError> {
        Ok(Self::read(storage.load(Table::Cursor, KEY)?, now))
    }

    fn read(seen: Option<Cell>, now: u64) -> Self {
        let (ticket, position) = match &seen {
            Some(cell) => (cell.words[0], cell.words[1]),
            // A store that lost its state must not hand out numbers again that old leases hold: the
            // clock is ahead of any number of picks it could have seen (2^20 each millisecond).
            None => (now << 20, 0),
        };
        Self {
            ticket: ticket.max(1),
            position,
            seen,
        }
    }

    fn next(&self, position: u64) -> Cell {
        Cell {
            words: [self.ticket.wrapping_add(1), position, 0, 0, 0, 0],
            expires_at: Cell::NEVER,
        }
    }

    /// Takes the ticket and moves the round-robin behind `chosen`. `false`: somebody else was faster,
    /// look again.
    pub(crate) fn commit<S: Storage>(
        &self,
        storage: &S,
        chosen: usize,
    ) -> Result<bool, StorageError> {
        let next = self.next(chosen as u64 + 1);
        let taken =
            storage.compare_exchange(Table::Cursor, KEY, self.seen.as_ref(), Some(&next))?;
        Ok(taken == Exchange::Stored)
    }

    /// Takes a ticket without picking a proxy: the round-robin stays where it is.
    pub(crate) fn take<S: Storage>(storage: &S, now: u64) -> Result<u64, StorageError> {
        update(storage, Table::Cursor, KEY, |cell| {
            let draw = Self::read(cell.copied(), now);
            Ok(Step::Set(Some(draw.next(draw.position)), draw.ticket))
        })
    }

    /// A draw that is not kept: its numbers are as good as any, and others may have the same.
    pub(crate) fn sketch(number: u64) -> Self {
        Self {
            ticket: number,
            position: number,
            seen: None,
        }
    }

    /// A number that looks random, from the ticket and a salt.
    pub(crate) fn scramble(&self, salt: u64) -> u64 {
        scramble(self.ticket ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// The finaliser of SplitMix64.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Rule 11, striped: key and first value of a cursor that one member of a fleet keeps to itself in
/// [`Table::Cursor`]. With a random `seed` no other member hands out the same numbers, and the members begin
/// their rounds at different proxies.
pub fn cursor_of_a_member(seed: u64) -> (&'static str, Cell) {
    let cell = Cell {
        words: [seed.max(1), scramble(seed) >> 16, 0, 0, 0, 0],
        expires_at: Cell::NEVER,
    };
    (KEY, cell)
}
