//! The slot table in the suite that every storage has to pass, as two workers over shared data with Envoy's own
//! rules for the CAS.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use model::Model;
use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};
use remora_envoy::slots::SlotTable;
use remora_host::storage::conformance;

/// Each worker does one thing at a time, and keeps its own copies.
struct Workers {
    workers: [Mutex<SlotTable<Model>>; 2],
    turn: AtomicUsize,
}

impl Workers {
    fn new() -> Self {
        let model = Model::default();
        Self {
            workers: [(); 2].map(|()| Mutex::new(SlotTable::new(model.clone(), 100_000))),
            turn: AtomicUsize::default(),
        }
    }

    fn next(&self) -> MutexGuard<'_, SlotTable<Model>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.workers[turn % 2].lock().unwrap()
    }
}

impl Storage for Workers {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        self.next().load(table, key)
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        self.next().compare_exchange(table, key, expected, new)
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        self.next().first_to_expire(table, limit)
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        self.next().scan(table, cursor, limit)
    }
}

#[test]
fn two_workers_over_shared_data_hold_what_every_storage_has_to() {
    for check in conformance::CHECKS {
        check.run(&Workers::new()).unwrap();
    }
}

#[test]
fn a_million_domains_leave_no_more_entries_than_the_table_has_places() {
    let model = Model::default();
    let table = SlotTable::new(model.clone(), 1_000);
    let cell = |expires_at| Cell {
        words: [1; 6],
        expires_at,
    };
    for i in 0..1_000_000 {
        let key = format!("host-{i}.example");
        let stored = table.compare_exchange(Table::Sessions, &key, None, Some(&cell(1 + i)));
        assert_eq!(stored.unwrap(), Exchange::Stored);
        // The newest is never the one to go.
        assert!(table.load(Table::Sessions, &key).unwrap().is_some());
    }
    let (keys, bytes) = model.size();
    assert_eq!(keys, 125, "a key for each slot");
    assert!(bytes <= 125 * 16 * 100, "{bytes} bytes");
}
