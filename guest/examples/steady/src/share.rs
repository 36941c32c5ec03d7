//! The share of its requests that a proxy has lost lately, in a cell of its own.

use remora_core::{Cell, ProxyId, Step, Storage, StorageError, Table, update};

/// Ours: the tables from 6 on are free. A proxy that has not failed has no entry.
pub(crate) const TABLE: Table = Table::Custom(6);

/// All requests. Shares are whole numbers, so that every instance reckons alike.
const ALL: u64 = 1_000_000;

/// A request counts for an eighth of the share, those before it for the rest: one failure alone is 12.5 %.
const WEIGHT: u64 = 8;

/// From then on a proxy is left aside: two failures in a row (23.4 %) are forgiven, three (33 %) are not.
const TOO_MUCH: u64 = ALL / 4;

/// Below it, a share is forgotten.
const NOTHING: u64 = ALL / 100;

/// A proxy that is left aside has few requests that could speak for it. So a share that nobody has added to for so
/// long, in milliseconds, is forgotten, too.
const REMEMBERED_FOR_MS: u64 = 600_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Bad,
}

/// Adds a verdict. Other instances do the same at the same moment, so it is stored by compare-exchange: `update`
/// looks again and reckons again when another one was faster, and no verdict is lost.
pub(crate) fn note<S: Storage>(
    storage: &S,
    proxy: ProxyId,
    verdict: Verdict,
    now: u64,
) -> Result<(), StorageError> {
    update(storage, TABLE, &proxy.to_string(), |seen| {
        let share = seen.map_or(0, |cell| share(cell, now));
        let next = match verdict {
            Verdict::Good => share - share / WEIGHT,
            Verdict::Bad => share + (ALL - share) / WEIGHT,
        };
        Ok(match (seen, next) {
            // What most releases come to: a good proxy, nothing to write.
            (None, 0) => Step::Keep(()),
            (_, next) if next < NOTHING => Step::Set(None, ()),
            _ => Step::Set(Some(cell(next, now)), ()),
        })
    })
}

/// Whether a proxy with this entry is to be left aside.
pub(crate) fn is_too_much(cell: &Cell, now: u64) -> bool {
    share(cell, now) >= TOO_MUCH
}

/// An entry that is over may still be answered: the storage drops it when it likes.
fn share(cell: &Cell, now: u64) -> u64 {
    // Another version of this plugin may have written there: never more than all.
    if now < cell.expires_at {
        cell.words[0].min(ALL)
    } else {
        0
    }
}

fn cell(share: u64, now: u64) -> Cell {
    Cell {
        words: [share, 0, 0, 0, 0, 0],
        expires_at: now.saturating_add(REMEMBERED_FOR_MS),
    }
}
