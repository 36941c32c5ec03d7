//! What a store may be asked: every key, and every number of entries. Other keys it does not see: who asks for one is
//! refused before (`read_key` of the imports, [`remora_core::SessionKey`]).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use remora_core::{Cell, Exchange, MAX_KEY_LEN, Storage, StorageError, Table};

use super::{Answer, LATER, cell, failed, same, set};

/// What keys are made of: printable ASCII.
const BYTES: RangeInclusive<u8> = 0x21..=0x7e;

type Entries = HashMap<String, Cell>;

/// A key of this length; of all 94 turns each has another byte at every place.
fn key(length: usize, turn: usize) -> String {
    let bytes = BYTES.cycle().skip(turn).take(length);
    bytes.map(char::from).collect()
}

/// Whether each of them is kept, and found in every way there is.
fn are_kept(store: &dyn Storage, keys: impl Iterator<Item = String>) -> Answer {
    let table = Table::Sessions;
    let mut held = Entries::new();
    for (key, i) in keys.zip(0..) {
        let value = cell(i, LATER + i);
        let stored = set(store, table, &key, None, Some(&value))?;
        same("store", stored, Exchange::Stored)?;
        held.insert(key, value);
    }
    for (key, value) in &held {
        let loaded = store.load(table, key).map_err(failed)?;
        same("load", loaded, Some(*value))?;
    }
    let head = store.first_to_expire(table, u32::MAX).map_err(failed)?;
    same_entries(
        "the first to expire",
        &head.entries.into_iter().collect(),
        &held,
    )?;
    same_entries("a scan", &scan(store, table, 100)?, &held)?;
    for (key, value) in &held {
        let removed = set(store, table, key, Some(value), None)?;
        same("remove", removed, Exchange::Stored)?;
    }
    same("what is left", scan(store, table, 100)?.len(), 0)
}

fn same_entries(what: &str, got: &Entries, wanted: &Entries) -> Answer {
    for (key, value) in wanted {
        same(&format!("{what}, {key}"), got.get(key), Some(value))?;
    }
    same(what, got.len(), wanted.len())
}

fn scan(store: &dyn Storage, table: Table, limit: u32) -> Result<Entries, String> {
    let (mut seen, mut cursor) = (Entries::new(), None);
    for _ in 0..10_000 {
        let page = store.scan(table, cursor, limit).map_err(failed)?;
        seen.extend(page.entries);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(seen);
        }
    }
    Err("the scan does not end".into())
}

pub(super) fn every_byte(store: &(dyn Storage + Send + Sync)) -> Answer {
    are_kept(store, (0..BYTES.len()).map(|turn| key(MAX_KEY_LEN, turn)))
}

pub(super) fn every_length(store: &(dyn Storage + Send + Sync)) -> Answer {
    // Each the beginning of the next.
    are_kept(store, (1..=MAX_KEY_LEN).map(|length| key(length, 0)))
}

pub(super) fn every_limit(store: &(dyn Storage + Send + Sync)) -> Answer {
    let table = Table::Blocks;
    for i in 0..5 {
        set(store, table, &key(5, i), None, Some(&cell(0, LATER)))?;
    }
    for limit in [0, 1, 4, 5, 6, 1 << 31, u32::MAX] {
        let head = store.first_to_expire(table, limit).map_err(failed)?;
        let wanted = (5, limit.min(5) as usize);
        same("head", (head.population, head.entries.len()), wanted)?;
        same("a scan", scan(store, table, limit)?.len(), 5)?;
    }
    Ok(())
}

pub(super) fn nothing(store: &(dyn Storage + Send + Sync)) -> Answer {
    let (table, value) = (Table::Breakers, cell(1, LATER));
    same(
        "of nothing",
        set(store, table, "key", None, None)?,
        Exchange::Stored,
    )?;
    same(
        "a load",
        store.load(table, "key"),
        Ok::<_, StorageError>(None),
    )?;
    same("a scan", scan(store, table, 10)?.len(), 0)?;
    set(store, table, "key", None, Some(&value))?;
    let there = Exchange::Conflict(Some(value));
    same("of something", set(store, table, "key", None, None)?, there)
}
