//! What expires, and in which order.

use std::collections::HashMap;

use remora_core::{Cell, Exchange, Storage, Table};

use super::{Answer, LATER, cell, failed, same, set};

pub(super) fn expiry_order(store: &(dyn Storage + Send + Sync)) -> Answer {
    let table = Table::Blocks;
    let mut held = HashMap::new();
    for i in 0..300_u64 {
        // In no order: 7 has no divisor in common with 300.
        let value = cell(i, LATER + i * 7 % 300);
        set(store, table, &format!("key-{i}"), None, Some(&value))?;
        held.insert(format!("key-{i}"), value);
    }
    for i in (0..300_u64).step_by(3) {
        let key = format!("key-{i}");
        let (old, new) = (held[&key], cell(i, LATER + 1_000 + i));
        let new = (i % 2 == 0).then_some(new);
        set(store, table, &key, Some(&old), new.as_ref())?;
        match new {
            Some(new) => held.insert(key, new),
            None => held.remove(&key),
        };
    }
    let mut wanted: Vec<(u64, String)> = held
        .iter()
        .map(|(key, cell)| (cell.expires_at, key.clone()))
        .collect();
    wanted.sort();
    for limit in [0, 1, 5, 1_000] {
        let head = store.first_to_expire(table, limit).map_err(failed)?;
        same("population", head.population, held.len() as u64)?;
        let got = head
            .entries
            .iter()
            .map(|(key, cell)| (cell.expires_at, key.clone()));
        let first: Vec<_> = wanted.iter().take(limit as usize).cloned().collect();
        same("the first to expire", got.collect::<Vec<_>>(), first)?;
    }
    Ok(())
}

pub(super) fn never(store: &(dyn Storage + Send + Sync)) -> Answer {
    let table = Table::Sessions;
    let (kept, expiring) = (cell(1, Cell::NEVER), cell(1, LATER));
    set(store, table, "kept", None, Some(&kept))?;
    let head = store.first_to_expire(table, 10).map_err(failed)?;
    same("head", (head.population, head.entries.len()), (0, 0))?;
    set(store, table, "kept", Some(&kept), Some(&expiring))?;
    let head = store.first_to_expire(table, 10).map_err(failed)?;
    same(
        "head once it expires",
        (head.population, head.entries.len()),
        (1, 1),
    )?;
    set(store, table, "kept", Some(&expiring), Some(&kept))?;
    let head = store.first_to_expire(table, 10).map_err(failed)?;
    same(
        "head once it does not",
        (head.population, head.entries.len()),
        (0, 0),
    )
}

pub(super) fn expired(store: &(dyn Storage + Send + Sync)) -> Answer {
    for (i, expires_at) in [0, 1, 1_000_000_000_000].into_iter().enumerate() {
        let (key, old) = (format!("key-{i}"), cell(1, expires_at));
        let new = cell(2, LATER);
        set(store, Table::Sessions, &key, None, Some(&old))?;
        let mut seen = store.load(Table::Sessions, &key).map_err(failed)?;
        if seen.is_some() {
            same("an expired entry", seen, Some(old))?;
        }
        // It may be dropped in between.
        while let Exchange::Conflict(current) =
            set(store, Table::Sessions, &key, seen.as_ref(), Some(&new))?
        {
            if current == seen || current.is_some_and(|current| current != old) {
                return Err(format!(
                    "{seen:?} was seen, and it is {current:?} that is there"
                ));
            }
            seen = current;
        }
        let held = store.load(Table::Sessions, &key).map_err(failed)?;
        same("the new entry", held, Some(new))?;
    }
    Ok(())
}
