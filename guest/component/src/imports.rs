//! The host's storage, as the core wants it.

use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};

use crate::bindings::remora::egress::storage as host;

/// The storage that the host gives to the plugin.
#[derive(Clone, Copy, Debug)]
pub struct HostStorage;

impl Storage for HostStorage {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        let value = host::load(table.index(), key)?;
        Ok(value.map(Cell::from))
    }

    fn load_pair(
        &self,
        first: (Table, &str),
        second: (Table, &str),
    ) -> Result<(Option<Cell>, Option<Cell>), StorageError> {
        let (table, key) = first;
        let (other_table, other_key) = second;
        let (one, two) = host::load_pair(table.index(), key, other_table.index(), other_key)?;
        Ok((one.map(Cell::from), two.map(Cell::from)))
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let expected = expected.map(host::Cell::from);
        let new = new.map(host::Cell::from);
        Ok(
            match host::compare_exchange(table.index(), key, expected, new)? {
                host::Exchange::Stored => Exchange::Stored,
                host::Exchange::Conflict(current) => Exchange::Conflict(current.map(Cell::from)),
            },
        )
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        let head = host::first_to_expire(table.index(), limit)?;
        Ok(Head {
            population: head.population,
            entries: entries(head.entries),
        })
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        let page = host::scan(table.index(), cursor, limit)?;
        Ok(Page {
            entries: entries(page.entries),
            next: page.next,
        })
    }
}

fn entries(entries: Vec<host::Entry>) -> Vec<(String, Cell)> {
    let pairs = entries.into_iter().map(|e| (e.key, Cell::from(e.value)));
    pairs.collect()
}

impl From<host::Cell> for Cell {
    fn from(cell: host::Cell) -> Self {
        Self {
            words: [cell.a, cell.b, cell.c, cell.d, cell.e, cell.f],
            expires_at: cell.expires_at,
        }
    }
}

impl From<&Cell> for host::Cell {
    fn from(cell: &Cell) -> Self {
        let [a, b, c, d, e, f] = cell.words;
        Self {
            a,
            b,
            c,
            d,
            e,
            f,
            expires_at: cell.expires_at,
        }
    }
}
