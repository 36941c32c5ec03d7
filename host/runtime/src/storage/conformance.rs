//! What every back end has to hold, as a suite that anybody can run on theirs.
//!
//! ```
//! use remora_host::storage::{MemoryProxyStore, conformance};
//!
//! for check in conformance::CHECKS {
//!     check.run(&MemoryProxyStore::default()).unwrap();
//! }
//! ```

mod bounds;
mod expiry;
mod races;

use std::collections::HashSet;
use std::fmt::Debug;

use remora_core::{Cell, Exchange, Storage, StorageError, Table};

/// One thing that a back end has to hold. Each check wants an empty store.
#[derive(Clone, Copy)]
pub struct Check {
    /// The rule that it checks.
    pub name: &'static str,
    check: fn(&(dyn Storage + Send + Sync)) -> Answer,
}

impl Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Check {
    /// Runs it on an empty store.
    ///
    /// # Errors
    ///
    /// What the store did, and what it should have done.
    pub fn run(&self, store: &(dyn Storage + Send + Sync)) -> Result<(), String> {
        (self.check)(store).map_err(|error| format!("{}: {error}", self.name))
    }
}

type Answer = Result<(), String>;

/// The suite.
pub const CHECKS: [Check; 14] = [
    Check {
        name: "what is stored is loaded, and only where it was stored",
        check: round_trip,
    },
    Check {
        name: "a compare-and-exchange changes nothing unless the value is the expected one",
        check: conflict,
    },
    Check {
        name: "of many writers at once exactly one wins each round",
        check: races::one_winner,
    },
    Check {
        name: "of many creators of an entry exactly one wins",
        check: races::one_creator,
    },
    Check {
        name: "the first to expire come first, and are counted",
        check: expiry::expiry_order,
    },
    Check {
        name: "an entry that does not expire is not in the queue for expiry",
        check: expiry::never,
    },
    Check {
        name: "a scan in pages answers every entry that stays",
        check: scan,
    },
    Check {
        name: "a pair is what two loads answer",
        check: pair,
    },
    Check {
        name: "an entry past its expiry is answered as it was or not at all, and gives way to a new one",
        check: expiry::expired,
    },
    Check {
        name: "a cell may hold every number",
        check: numbers,
    },
    Check {
        name: "a key may have every byte that the contract allows, at every place",
        check: bounds::every_byte,
    },
    Check {
        name: "a key may have every length that the contract allows",
        check: bounds::every_length,
    },
    Check {
        name: "a page may be asked for with any limit",
        check: bounds::every_limit,
    },
    Check {
        name: "nothing may be exchanged for nothing, and then there is nothing",
        check: bounds::nothing,
    },
];

/// A moment far enough ahead that no back end drops an entry during a check: the year 2100.
const LATER: u64 = 4_102_444_800_000;

fn cell(a: u64, expires_at: u64) -> Cell {
    Cell {
        words: [a, 1, 2, 3, 4, u64::MAX],
        expires_at,
    }
}

fn same<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Answer {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{what}: {got:?}, not {wanted:?}"))
}

fn failed(error: StorageError) -> String {
    format!("the store failed: {error}")
}

fn set(
    store: &dyn Storage,
    table: Table,
    key: &str,
    old: Option<&Cell>,
    new: Option<&Cell>,
) -> Result<Exchange, String> {
    store.compare_exchange(table, key, old, new).map_err(failed)
}

fn round_trip(store: &(dyn Storage + Send + Sync)) -> Answer {
    let tables: Vec<Table> = (0..Table::COUNT).filter_map(Table::from_index).collect();
    for (i, table) in tables.iter().enumerate() {
        let value = cell(i as u64, LATER + i as u64);
        same(
            "a new key",
            store.load(*table, "key").map_err(failed)?,
            None,
        )?;
        same(
            "store",
            set(store, *table, "key", None, Some(&value))?,
            Exchange::Stored,
        )?;
    }
    for (i, table) in tables.iter().enumerate() {
        let value = cell(i as u64, LATER + i as u64);
        same(
            "load",
            store.load(*table, "key").map_err(failed)?,
            Some(value),
        )?;
        same(
            "remove",
            set(store, *table, "key", Some(&value), None)?,
            Exchange::Stored,
        )?;
        same("removed", store.load(*table, "key").map_err(failed)?, None)?;
    }
    Ok(())
}

fn conflict(store: &(dyn Storage + Send + Sync)) -> Answer {
    let table = Table::Sessions;
    let (one, two) = (cell(1, LATER), cell(2, LATER));
    let gone = set(store, table, "key", Some(&one), Some(&two))?;
    same(
        "exchange of an absent entry",
        gone,
        Exchange::Conflict(None),
    )?;
    set(store, table, "key", None, Some(&one))?;
    let there = Exchange::Conflict(Some(one));
    same(
        "a second creation",
        set(store, table, "key", None, Some(&two))?,
        there,
    )?;
    let mut others = vec![cell(1, LATER + 1)];
    for word in 0..6 {
        let mut other = one;
        other.words[word] ^= 1;
        others.push(other);
    }
    for other in others {
        same(
            "another value",
            set(store, table, "key", Some(&other), Some(&two))?,
            there,
        )?;
        same(
            "its removal",
            set(store, table, "key", Some(&other), None)?,
            there,
        )?;
    }
    same(
        "the value",
        store.load(table, "key").map_err(failed)?,
        Some(one),
    )
}

fn scan(store: &(dyn Storage + Send + Sync)) -> Answer {
    let table = Table::Sessions;
    let keys: HashSet<String> = (0..500).map(|i| format!("stays-{i}")).collect();
    for key in &keys {
        set(store, table, key, None, Some(&cell(1, LATER)))?;
    }
    for limit in [1, 7, 10_000] {
        let mut seen = HashSet::new();
        let mut cursor = None;
        for page in 0.. {
            let answer = store.scan(table, cursor, limit).map_err(failed)?;
            seen.extend(answer.entries.into_iter().map(|(key, _)| key));
            cursor = answer.next;
            if cursor.is_none() {
                break;
            }
            if page > 10_000 {
                return Err("the scan does not end".into());
            }
            // What comes and goes meanwhile must not hide what stays.
            let passing = format!("passing-{page}");
            let value = cell(page, LATER);
            set(store, table, &passing, None, Some(&value))?;
            set(store, table, &passing, Some(&value), None)?;
        }
        seen.retain(|key| key.starts_with("stays"));
        same("entries seen", seen.len(), keys.len())?;
    }
    Ok(())
}

fn pair(store: &(dyn Storage + Send + Sync)) -> Answer {
    let (one, two) = (cell(1, LATER), cell(2, Cell::NEVER));
    set(store, Table::Sessions, "here", None, Some(&one))?;
    set(store, Table::Breakers, "here", None, Some(&two))?;
    let (sessions, breakers) = (Table::Sessions, Table::Breakers);
    for (first, second, wanted) in [
        (
            (sessions, "here"),
            (breakers, "here"),
            (Some(one), Some(two)),
        ),
        (
            (breakers, "here"),
            (sessions, "here"),
            (Some(two), Some(one)),
        ),
        ((sessions, "here"), (breakers, "gone"), (Some(one), None)),
        ((sessions, "gone"), (breakers, "here"), (None, Some(two))),
        ((sessions, "gone"), (breakers, "gone"), (None, None)),
        (
            (sessions, "here"),
            (sessions, "here"),
            (Some(one), Some(one)),
        ),
    ] {
        let loaded = store.load_pair(first, second).map_err(failed)?;
        same("a pair", loaded, wanted)?;
    }
    Ok(())
}

fn numbers(store: &(dyn Storage + Send + Sync)) -> Answer {
    let numbers = [
        0,
        1,
        u64::MAX,
        u64::MAX - 1,
        1 << 63,
        (1 << 53) + 1,
        0x0d0a_0d0a_0000_00ff,
    ];
    for (i, number) in numbers.into_iter().enumerate() {
        let mut words = numbers;
        words.rotate_left(i);
        let [a, b, c, d, e, f, _] = words;
        for expires_at in [LATER, (1 << 53) + 1, Cell::NEVER - 1, Cell::NEVER] {
            let (key, value) = (format!("key-{i}"), cell(number, expires_at));
            let value = Cell {
                words: [a, b, c, d, e, f],
                ..value
            };
            same(
                "store",
                set(store, Table::Sessions, &key, None, Some(&value))?,
                Exchange::Stored,
            )?;
            let held = store.load(Table::Sessions, &key).map_err(failed)?;
            same("load", held, Some(value))?;
            let removed = set(store, Table::Sessions, &key, Some(&value), None)?;
            same("remove", removed, Exchange::Stored)?;
        }
    }
    Ok(())
}
