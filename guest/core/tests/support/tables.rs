//! The plainest storage that keeps the contract: ordered maps behind one mutex, so that the order of
//! expiry is exact and ties are broken by key.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use remora_core::{Cell, Exchange, Head, MAX_KEY_LEN, Page, Storage, StorageError, Table};

#[derive(Debug, Default)]
struct Entries {
    cells: BTreeMap<String, (u64, Cell)>,
    by_expiry: BTreeSet<(u64, String)>,
    by_age: BTreeMap<u64, String>,
}

/// The tables, for whatever lock a test puts around them.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<Table, Entries>,
    entries_ever: u64,
    room: Option<usize>,
    broken: Option<Table>,
}

impl Tables {
    pub(crate) fn load(&self, table: Table, key: &str) -> Option<Cell> {
        check(key);
        Some(self.tables.get(&table)?.cells.get(key)?.1)
    }

    pub(crate) fn compare_exchange(
        &mut self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Exchange {
        let current = self.load(table, key);
        if current.as_ref() != expected {
            return Exchange::Conflict(current);
        }
        let entries = self.tables.entry(table).or_default();
        let age = match entries.cells.remove(key) {
            Some((age, old)) => {
                entries.by_expiry.remove(&(old.expires_at, key.to_owned()));
                entries.by_age.remove(&age);
                age
            }
            None => {
                self.entries_ever += 1;
                self.entries_ever
            }
        };
        if let Some(new) = new {
            entries.cells.insert(key.to_owned(), (age, *new));
            entries.by_age.insert(age, key.to_owned());
            if new.expires_at != Cell::NEVER {
                entries.by_expiry.insert((new.expires_at, key.to_owned()));
            }
        }
        Exchange::Stored
    }

    pub(crate) fn first_to_expire(&self, table: Table, limit: u32) -> Head {
        let Some(entries) = self.tables.get(&table) else {
            return Head::default();
        };
        let first = entries.by_expiry.iter().take(limit as usize);
        Head {
            population: entries.by_expiry.len() as u64,
            entries: first
                .map(|(_, key)| (key.clone(), entries.cells[key].1))
                .collect(),
        }
    }

    pub(crate) fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Page {
        let Some(entries) = self.tables.get(&table) else {
            return Page::default();
        };
        let mut rest = entries.by_age.range(cursor.unwrap_or(0)..);
        Page {
            entries: rest
                .by_ref()
                .take(limit as usize)
                .map(|(_, key)| (key.clone(), entries.cells[key].1))
                .collect(),
            next: rest.next().map(|(age, _)| *age),
        }
    }

    pub(crate) fn population(&self, table: Table) -> usize {
        self.tables.get(&table).map_or(0, |t| t.cells.len())
    }

    /// Whether the storage takes this change.
    fn takes(
        &self,
        table: Table,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<(), StorageError> {
        if self.broken == Some(table) {
            return Err(StorageError::Unavailable);
        }
        let held: usize = self.tables.values().map(|t| t.cells.len()).sum();
        match self.room {
            Some(room) if expected.is_none() && new.is_some() && held >= room => {
                Err(StorageError::Full)
            }
            _ => Ok(()),
        }
    }
}

/// What the contract promises a back end about keys.
fn check(key: &str) {
    assert!((1..=MAX_KEY_LEN).contains(&key.len()), "{key:?}");
    assert!(key.bytes().all(|b| b.is_ascii_graphic()), "{key:?}");
}

/// The tables behind a mutex; a clone is another handle to the same tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Tables>>);

impl Shared {
    pub(crate) fn population(&self, table: Table) -> usize {
        self.0.lock().unwrap().population(table)
    }

    /// From now on there is room for so many entries in all.
    pub(crate) fn limit(&self, room: usize) {
        self.0.lock().unwrap().room = Some(room);
    }

    /// From now on changes of this table fail; of none, with `None`.
    pub(crate) fn break_down(&self, table: Option<Table>) {
        self.0.lock().unwrap().broken = table;
    }
}

impl Storage for Shared {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        Ok(self.0.lock().unwrap().load(table, key))
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let mut tables = self.0.lock().unwrap();
        tables.takes(table, expected, new)?;
        Ok(tables.compare_exchange(table, key, expected, new))
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        Ok(self.0.lock().unwrap().first_to_expire(table, limit))
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        Ok(self.0.lock().unwrap().scan(table, cursor, limit))
    }
}
