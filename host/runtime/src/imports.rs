//! Gives a plugin its imports: a clock and storage, and nothing else.
//!
//! Linked by hand rather than through the generated traits, because those would copy every key into
//! a `String`; here a key is read where it lies in the plugin's memory.

use std::sync::Arc;

use remora_core::{Exchange, Storage, StorageError, Table};
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Result, StoreContextMut, StoreLimits};

use crate::bindings::storage as wit;
use crate::bindings::types::StorageError as WitError;
use crate::clock::Clock;

/// What an instance can reach.
pub(crate) struct HostState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) storage: Arc<dyn Storage + Send + Sync>,
    pub(crate) limits: StoreLimits,
}

/// The interfaces that a plugin may import, with their versions.
pub(crate) const PROVIDED: [&str; 3] = [
    "remora:egress/types@0.1.0",
    "remora:egress/clock@0.1.0",
    "remora:egress/storage@0.1.0",
];

type Store<'a> = StoreContextMut<'a, HostState>;

pub(crate) fn link(linker: &mut Linker<HostState>) -> Result<()> {
    linker
        .instance(PROVIDED[1])?
        .func_wrap("now", |store: Store<'_>, ()| {
            Ok((store.data().clock.now_ms(),))
        })?;
    let mut storage = linker.instance(PROVIDED[2])?;
    storage.func_wrap("load", |store: Store<'_>, (table, key): (u8, WasmStr)| {
        let key = key.to_str(&store)?;
        let loaded = with_table(table, |t| store.data().storage.load(t, &key));
        Ok((loaded
            .map(|cell| cell.map(wit::Cell::from))
            .map_err(WitError::from),))
    })?;
    storage.func_wrap(
        "load-pair",
        |store: Store<'_>, (one, key, two, other_key): (u8, WasmStr, u8, WasmStr)| {
            let (key, other_key) = (key.to_str(&store)?, other_key.to_str(&store)?);
            let storage = &store.data().storage;
            let loaded = with_table(one, |one| {
                with_table(two, |two| storage.load_pair((one, &key), (two, &other_key)))
            });
            let loaded = loaded.map(|(a, b)| (a.map(wit::Cell::from), b.map(wit::Cell::from)));
            Ok((loaded.map_err(WitError::from),))
        },
    )?;
    storage.func_wrap(
        "compare-exchange",
        |store: Store<'_>,
         (table, key, expected, new): (u8, WasmStr, Option<wit::Cell>, Option<wit::Cell>)| {
            let key = key.to_str(&store)?;
            let expected = expected.map(remora_core::Cell::from);
            let new = new.map(remora_core::Cell::from);
            let exchanged = with_table(table, |t| {
                let storage = &store.data().storage;
                storage.compare_exchange(t, &key, expected.as_ref(), new.as_ref())
            });
            Ok((exchanged.map(wit::Exchange::from).map_err(WitError::from),))
        },
    )?;
    storage.func_wrap(
        "first-to-expire",
        |store: Store<'_>, (table, limit): (u8, u32)| {
            let head = with_table(table, |t| store.data().storage.first_to_expire(t, limit));
            let head = head.map(|head| wit::Head {
                population: head.population,
                entries: entries(head.entries),
            });
            Ok((head.map_err(WitError::from),))
        },
    )?;
    storage.func_wrap(
        "scan",
        |store: Store<'_>, (table, cursor, limit): (u8, Option<u64>, u32)| {
            let page = with_table(table, |t| store.data().storage.scan(t, cursor, limit));
            let page = page.map(|page| wit::Page {
                entries: entries(page.entries),
                next: page.next,
            });
            Ok((page.map_err(WitError::from),))
        },
    )
}

fn with_table<T>(
    index: u8,
    f: impl FnOnce(Table) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    f(Table::from_index(index).ok_or(StorageError::Unavailable)?)
}

pub(crate) fn entries(entries: Vec<(String, remora_core::Cell)>) -> Vec<wit::Entry> {
    let entries = entries.into_iter().map(|(key, cell)| wit::Entry {
        key,
        value: cell.into(),
    });
    entries.collect()
}

impl From<wit::Cell> for remora_core::Cell {
    fn from(cell: wit::Cell) -> Self {
        Self {
            words: [cell.a, cell.b, cell.c, cell.d, cell.e, cell.f],
            expires_at: cell.expires_at,
        }
    }
}

impl From<remora_core::Cell> for wit::Cell {
    fn from(cell: remora_core::Cell) -> Self {
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

impl From<Exchange> for wit::Exchange {
    fn from(exchange: Exchange) -> Self {
        match exchange {
            Exchange::Stored => Self::Stored,
            Exchange::Conflict(current) => Self::Conflict(current.map(Into::into)),
        }
    }
}
