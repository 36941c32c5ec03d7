//! The session table: look up, bind, end, and keep within bounds (rules 3, 5 and 10).

use alloc::string::String;
use alloc::vec::Vec;

use crate::session::{Mark, Session};
use crate::storage::{Cell, Exchange, Step, Storage, StorageError, Table, update};

/// How many entries are looked at to find one that makes room: the entry just written may be the
/// closest to expiry itself, and it is not the one to go.
const LOOKED_AT: u32 = 2;

/// How many entries a write removes at most, so that no request waits for a clean-up. More than it
/// adds, so that the table shrinks to its bound as work goes on.
const REMOVED_PER_WRITE: usize = 4;

/// A session as last seen, with the stored value to compare against.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) session: Option<Session>,
    cell: Option<Cell>,
}

impl Seen {
    pub(crate) fn new(cell: Option<Cell>) -> Result<Self, StorageError> {
        let session = cell.as_ref().map(Session::decode).transpose()?;
        Ok(Self { session, cell })
    }
}

pub(crate) fn load<S: Storage>(storage: &S, key: &str) -> Result<Seen, StorageError> {
    Seen::new(storage.load(Table::Sessions, key)?)
}

/// Replaces what was seen. `None` when it held; otherwise what is there instead.
pub(crate) fn replace<S: Storage>(
    storage: &S,
    key: &str,
    seen: &Seen,
    session: &Session,
) -> Result<Option<Seen>, StorageError> {
    let (expected, new) = (seen.cell.as_ref(), session.encode());
    match storage.compare_exchange(Table::Sessions, key, expected, Some(&new))? {
        Exchange::Stored => Ok(None),
        Exchange::Conflict(current) => Seen::new(current).map(Some),
    }
}

/// Binds, whatever was there.
pub(crate) fn overwrite<S: Storage>(
    storage: &S,
    key: &str,
    session: &Session,
) -> Result<(), StorageError> {
    update(storage, Table::Sessions, key, |_| {
        Ok(Step::Set(Some(session.encode()), ()))
    })
}

/// Removes a binding. Answers whether there was one that was live.
pub(crate) fn remove<S: Storage>(storage: &S, key: &str, now: u64) -> Result<bool, StorageError> {
    update(storage, Table::Sessions, key, |cell| match cell {
        None => Ok(Step::Keep(false)),
        Some(cell) => {
            let live = Session::decode(cell)?.end(now, None).is_none();
            Ok(Step::Set(None, live))
        }
    })
}

/// Ends the binding of that generation (rule 5). Answers whether it was there and live: one that has
/// come to its planned end does not turn into one whose proxy went bad.
pub(crate) fn end<S: Storage>(
    storage: &S,
    key: &str,
    generation: u64,
    now: u64,
    mark: Mark,
) -> Result<bool, StorageError> {
    update(storage, Table::Sessions, key, |cell| {
        let Some(session) = cell.map(Session::decode).transpose()? else {
            return Ok(Step::Keep(false));
        };
        if session.generation != generation || session.end(now, None).is_some() {
            return Ok(Step::Keep(false));
        }
        Ok(Step::Set(Some(session.ended(mark).encode()), true))
    })
}

/// Puts the session that a release has just ended as the one of `generation` on another proxy. Answers whether it was still
/// that one: another request may have bound the key anew.
pub(crate) fn move_ended<S: Storage>(
    storage: &S,
    key: &str,
    generation: u64,
    moved: impl Fn(&Session) -> Session,
) -> Result<bool, StorageError> {
    update(storage, Table::Sessions, key, |cell| {
        let Some(session) = cell.map(Session::decode).transpose()? else {
            return Ok(Step::Keep(false));
        };
        if session.generation != generation || session.mark == Mark::Live {
            return Ok(Step::Keep(false));
        }
        Ok(Step::Set(Some(moved(&session).encode()), true))
    })
}

/// Rule 13: from now on the answers of a key's session look at the table of doubts.
pub(crate) fn doubt<S: Storage>(storage: &S, key: &str) -> Result<(), StorageError> {
    update(storage, Table::Sessions, key, |cell| {
        Ok(match cell.map(Session::decode).transpose()? {
            Some(session) if !session.is_doubted => {
                let doubted = Session {
                    is_doubted: true,
                    ..session
                };
                Step::Set(Some(doubted.encode()), ())
            }
            _ => Step::Keep(()),
        })
    })
}

/// Rule 10, after `written` was added to a table: a few expired entries go, and if the table holds
/// more than `max` the entries closest to expiry make room.
pub(crate) fn make_room<S: Storage>(
    storage: &S,
    table: Table,
    written: &str,
    now: u64,
    max: u64,
) -> Result<(), StorageError> {
    if storage.bounds_itself() {
        return Ok(());
    }
    for _ in 0..REMOVED_PER_WRITE {
        let head = storage.first_to_expire(table, LOOKED_AT)?;
        let over = head.population > max;
        let goes = head
            .entries
            .iter()
            .find(|(key, cell)| key != written && (over || cell.expires_at <= now));
        let Some((key, cell)) = goes else {
            return Ok(());
        };
        // On a conflict somebody else has removed or renewed it: look again.
        storage.compare_exchange(table, key, Some(cell), None)?;
    }
    Ok(())
}

/// Rule 10 where the storage is full before a table is: does it once more if expired entries could make room. Live
/// ones stay, since nobody knows that they are what fills it.
pub(crate) fn with_room<S: Storage, T>(
    storage: &S,
    now: u64,
    store: impl Fn() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let answer = store();
    if !matches!(answer, Err(StorageError::Full)) || storage.bounds_itself() {
        return answer;
    }
    let mut removed = 0;
    for table in [
        Table::Sessions,
        Table::Blocks,
        Table::InFlight,
        Table::Doubts,
    ] {
        removed += purge_expired(storage, table, now, REMOVED_PER_WRITE as u32)?;
    }
    if removed > 0 { store() } else { answer }
}

/// Removes up to `limit` expired entries. Answers how many it removed.
pub(crate) fn purge_expired<S: Storage>(
    storage: &S,
    table: Table,
    now: u64,
    limit: u32,
) -> Result<u32, StorageError> {
    let head = storage.first_to_expire(table, limit)?;
    let mut removed = 0;
    for (key, cell) in &head.entries {
        if cell.expires_at <= now
            && storage.compare_exchange(table, key, Some(cell), None)? == Exchange::Stored
        {
            removed += 1;
        }
    }
    Ok(removed)
}

/// A page of the live sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// Keys and bindings, in no particular order.
    pub sessions: Vec<(String, Session)>,
    /// Where to go on; `None` after the last page.
    pub next: Option<u64>,
}

pub(crate) fn list<S: Storage>(
    storage: &S,
    now: u64,
    cursor: Option<u64>,
    limit: u32,
) -> Result<SessionPage, StorageError> {
    let page = storage.scan(Table::Sessions, cursor, limit)?;
    let mut sessions = Vec::with_capacity(page.entries.len());
    for (key, cell) in page.entries {
        let session = Session::decode(&cell)?;
        if session.end(now, None).is_none() {
            sessions.push((key, session));
        }
    }
    Ok(SessionPage {
        sessions,
        next: page.next,
    })
}
