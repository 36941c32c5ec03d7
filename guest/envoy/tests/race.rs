//! Two workers that change one slot of shared data at the same time. What is wrong here splits a session over two
//! proxies (rule 3).

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model;

use std::cell::RefCell;

use model::Model;
use remora_core::{Cell, Exchange, Storage, Table};
use remora_envoy::slots::{SharedData, SlotTable};

/// A worker's shared data; between its look at a slot and its next write, something else happens.
struct Interrupted {
    data: Model,
    meanwhile: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl SharedData for Interrupted {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.data.get(key)
    }

    fn cas(&self, key: &[u8]) -> u32 {
        self.data.cas(key)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: u32) -> bool {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile();
        }
        self.data.set(key, value, cas)
    }

    fn moment(&self) -> u64 {
        self.data.moment()
    }
}

const SESSIONS: u64 = 1_000;

fn cell(word: u64) -> Cell {
    Cell {
        words: [word; 6],
        expires_at: 1_000,
    }
}

/// One worker writes `key` from `expected` to 1, and another one to 2 in the midst of it. Answers with what the first
/// one was told, and with what is there afterwards.
fn raced(data: &Model, key: &'static str, expected: Option<Cell>) -> (Exchange, Option<Cell>) {
    let other = SlotTable::new(data.clone(), SESSIONS);
    let meanwhile = move || {
        let stored =
            other.compare_exchange(Table::Sessions, key, expected.as_ref(), Some(&cell(2)));
        assert_eq!(stored.unwrap(), Exchange::Stored);
    };
    let one = SlotTable::new(
        Interrupted {
            data: data.clone(),
            meanwhile: RefCell::new(Some(Box::new(meanwhile))),
        },
        SESSIONS,
    );
    let told = one.compare_exchange(Table::Sessions, key, expected.as_ref(), Some(&cell(1)));
    (told.unwrap(), one.load(Table::Sessions, key).unwrap())
}

#[test]
fn of_two_workers_that_create_one_slot_at_once_the_second_is_told_who_was_first() {
    let (told, there) = raced(&Model::default(), "a.example", None);
    assert_eq!(told, Exchange::Conflict(Some(cell(2))));
    assert_eq!(there, Some(cell(2)));
}

#[test]
fn of_two_workers_that_change_one_slot_at_once_the_second_is_told_who_was_first() {
    let data = Model::default();
    let table = SlotTable::new(data.clone(), SESSIONS);
    let old = cell(3);
    let stored = table.compare_exchange(Table::Sessions, "a.example", None, Some(&old));
    assert_eq!(stored.unwrap(), Exchange::Stored);
    let (told, there) = raced(&data, "a.example", Some(old));
    assert_eq!(told, Exchange::Conflict(Some(cell(2))));
    assert_eq!(there, Some(cell(2)));
}
