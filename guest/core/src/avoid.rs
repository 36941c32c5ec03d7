//! Which exits a target has blocked.
//!
//! A `blocked` outcome says that this target refuses this exit while others may welcome it. So it is
//! remembered for the pair of them, for a while, and the breaker is left alone.

use alloc::string::String;

use crate::storage::{Cell, Step, Storage, StorageError, Table, update};

fn key(proxy: &str, session: &str) -> String {
    let mut key = String::with_capacity(proxy.len() + 1 + session.len());
    key.push_str(proxy);
    key.push('/');
    key.push_str(session);
    key
}

/// Remembers until `until` that the target of `session` blocked `proxy`. Answers with the key of the
/// entry.
pub(crate) fn block<S: Storage>(
    storage: &S,
    proxy: &str,
    session: &str,
    until: u64,
) -> Result<String, StorageError> {
    let key = key(proxy, session);
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

/// Whether the target of `session` has blocked `proxy`.
pub(crate) fn is_blocked<S: Storage>(
    storage: &S,
    proxy: &str,
    session: &str,
    now: u64,
) -> Result<bool, StorageError> {
    let cell = storage.load(Table::Blocks, &key(proxy, session))?;
    Ok(cell.is_some_and(|cell| now < cell.expires_at))
}
