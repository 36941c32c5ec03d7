//! Which exits a target avoids.
//!
//! A `blocked` outcome says that this target refuses this exit while others may welcome it; rule 13 says the same of an exit
//! that ends ambiguous for one target in a row. It is remembered for the pair of them, for a while, and the breaker is left
//! alone.

use alloc::string::String;

use crate::storage::{Cell, Step, Storage, StorageError, Table, update};

fn key(proxy: &str, place: &str) -> String {
    let mut key = String::with_capacity(proxy.len() + 1 + place.len());
    key.push_str(proxy);
    key.push('/');
    key.push_str(place);
    key
}

/// Remembers until `until` that the target at [`place`](crate::doubts::place) avoids `proxy`. Answers with the key of the
/// entry.
pub(crate) fn block<S: Storage>(
    storage: &S,
    proxy: &str,
    place: &str,
    until: u64,
) -> Result<String, StorageError> {
    let key = key(proxy, place);
    update(storage, Table::Blocks, &key, |cell| {
        Ok(match cell {
            Some(cell) if cell.expires_at >= until => Step::Keep(()),
            _ => Step::Set(
                Some(Cell {
                    words: [1, 0, 0, 0, 0, 0],
                    expires_at: until,
                }),
                (),
            ),
        })
    })?;
    Ok(key)
}

/// Whether the target at `place` avoids `proxy`.
pub(crate) fn is_blocked<S: Storage>(
    storage: &S,
    proxy: &str,
    place: &str,
    now: u64,
) -> Result<bool, StorageError> {
    let cell = storage.load(Table::Blocks, &key(proxy, place))?;
    Ok(cell.is_some_and(|cell| now < cell.expires_at))
}
