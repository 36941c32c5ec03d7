//! Many at once.

use std::thread;

use remora_core::{Cell, Exchange, Storage, Table};

use super::{Answer, LATER, cell, failed, same, set};

const WRITERS: u64 = 8;

pub(super) fn one_winner(store: &(dyn Storage + Send + Sync)) -> Answer {
    const ROUNDS: u64 = 500;
    let table = Table::Breakers;
    set(store, table, "counter", None, Some(&cell(0, Cell::NEVER)))?;
    let count = || -> Answer {
        for _ in 0..ROUNDS {
            let mut seen = store.load(table, "counter").map_err(failed)?;
            loop {
                let Some(current) = seen else {
                    return Err("the entry is gone".into());
                };
                let next = cell(current.words[0] + 1, Cell::NEVER);
                match set(store, table, "counter", Some(&current), Some(&next))? {
                    Exchange::Stored => break,
                    Exchange::Conflict(other) => seen = other,
                }
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(count)).collect();
        writers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| "a writer panicked".to_owned())?)
    })?;
    let value = store.load(table, "counter").map_err(failed)?;
    same(
        "increments",
        value,
        Some(cell(ROUNDS * WRITERS, Cell::NEVER)),
    )
}

pub(super) fn one_creator(store: &(dyn Storage + Send + Sync)) -> Answer {
    for round in 0..200 {
        let key = format!("round-{round}");
        let create = |i: u64| set(store, Table::Sessions, &key, None, Some(&cell(i, LATER)));
        let answers: Vec<Exchange> = thread::scope(|scope| {
            let creators: Vec<_> = (0..WRITERS)
                .map(|i| scope.spawn(move || create(i)))
                .collect();
            let joined = creators.into_iter().map(|c| c.join());
            joined
                .map(|answer| answer.map_err(|_| "a creator panicked".to_owned())?)
                .collect::<Result<_, String>>()
        })?;
        let winners = answers.iter().filter(|a| **a == Exchange::Stored).count();
        same("winners", winners, 1)?;
        let held = store.load(Table::Sessions, &key).map_err(failed)?;
        for answer in answers {
            if let Exchange::Conflict(seen) = answer {
                same("what a loser was shown", seen, held)?;
            }
        }
    }
    Ok(())
}
