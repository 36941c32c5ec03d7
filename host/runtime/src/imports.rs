//! Gives a plugin its imports: a clock and storage, and nothing else.
//!
//! Linked by hand rather than through the generated traits, because those would copy every key into
//! a `String`; here a key is read where it lies in the plugin's memory.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remora_core::{
    Exchange, Head, MAX_KEY_LEN, Page, Storage, StorageError, Table, is_storage_key,
};
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Result, StoreContextMut, StoreLimits, bail};

use crate::bindings::storage as wit;
use crate::bindings::types::StorageError as WitError;
use crate::clock::Clock;
use crate::limits::Limits;

/// What an instance can reach.
pub(crate) struct HostState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) storage: Arc<dyn Storage + Send + Sync>,
    pub(crate) limits: StoreLimits,
    pub(crate) allowance: Allowance,
}

/// What instances have in common, wherever their storage is.
pub(crate) trait Instantiated: 'static {
    fn clock(&self) -> &dyn Clock;
    fn allowance(&mut self) -> &mut Allowance;
}

impl Instantiated for HostState {
    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }
}

/// How often a call may use its imports, and how long it may run.
pub(crate) struct Allowance {
    calls: u32,
    left: u32,
    time: Duration,
    /// When somebody first looked whether this call still runs: a call that is short is spared the look.
    running_since: Option<Instant>,
}

/// For how long a call has been running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    /// Nobody has seen it run before.
    Shortly,
    /// Somebody has.
    Long,
    /// Longer than it may.
    TooLong,
}

impl Allowance {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: limits.import_calls,
            left: limits.import_calls,
            time: limits.call_timeout,
            running_since: None,
        }
    }

    /// A call begins.
    pub(crate) fn renew(&mut self) {
        self.left = self.calls;
        self.running_since = None;
    }

    /// It is looked whether a call still runs.
    pub(crate) fn look(&mut self) -> Running {
        match self.running_since {
            None => {
                self.running_since = Some(Instant::now());
                Running::Shortly
            }
            Some(since) if since.elapsed() < self.time => Running::Long,
            Some(_) => Running::TooLong,
        }
    }

    /// An import is used.
    pub(crate) fn spend(&mut self) -> Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => bail!(
                "it used its imports more than {} times in a call",
                self.calls
            ),
        }
        Ok(())
    }
}

/// The most entries that one call of `scan` or `first-to-expire` answers with: the time of an import is not
/// the plugin's to choose.
pub(crate) const MAX_ENTRIES: u32 = 1_024;

/// The interfaces that a plugin may import, with their versions.
pub(crate) const PROVIDED: [&str; 3] = [
    "remora:egress/types@0.1.0",
    "remora:egress/clock@0.1.0",
    "remora:egress/storage@0.1.0",
];

type Store<'a> = StoreContextMut<'a, HostState>;

pub(crate) fn link_clock<T: Instantiated>(linker: &mut Linker<T>) -> Result<()> {
    linker
        .instance(PROVIDED[1])?
        .func_wrap("now", |mut store: StoreContextMut<'_, T>, ()| {
            store.data_mut().allowance().spend()?;
            Ok((store.data().clock().now_ms(),))
        })
}

pub(crate) fn link(linker: &mut Linker<HostState>) -> Result<()> {
    link_clock(linker)?;
    let mut storage = linker.instance(PROVIDED[2])?;
    storage.func_wrap(
        "load",
        |mut store: Store<'_>, (table, key): (u8, WasmStr)| {
            store.data_mut().allowance.spend()?;
            let key = read_key(&store, &key)?;
            let loaded = with_table(table, |t| store.data().storage.load(t, &key));
            Ok((loaded
                .map(|cell| cell.map(wit::Cell::from))
                .map_err(WitError::from),))
        },
    )?;
    storage.func_wrap(
        "load-pair",
        |mut store: Store<'_>, (one, key, two, other_key): (u8, WasmStr, u8, WasmStr)| {
            store.data_mut().allowance.spend()?;
            let (key, other_key) = (read_key(&store, &key)?, read_key(&store, &other_key)?);
            let storage = &store.data().storage;
            let loaded = with_table(one, |one| {
                with_table(two, |two| storage.load_pair((one, &key), (two, &other_key)))
            });
            Ok((loaded.map(pair).map_err(WitError::from),))
        },
    )?;
    storage.func_wrap(
        "compare-exchange",
        |mut store: Store<'_>,
         (table, key, expected, new): (u8, WasmStr, Option<wit::Cell>, Option<wit::Cell>)| {
            store.data_mut().allowance.spend()?;
            let key = read_key(&store, &key)?;
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
        |mut store: Store<'_>, (table, limit): (u8, u32)| {
            store.data_mut().allowance.spend()?;
            let limit = limit.min(MAX_ENTRIES);
            let head = with_table(table, |t| store.data().storage.first_to_expire(t, limit));
            Ok((head.map(wit::Head::from).map_err(WitError::from),))
        },
    )?;
    storage.func_wrap(
        "scan",
        |mut store: Store<'_>, (table, cursor, limit): (u8, Option<u64>, u32)| {
            store.data_mut().allowance.spend()?;
            let limit = limit.min(MAX_ENTRIES);
            let page = with_table(table, |t| store.data().storage.scan(t, cursor, limit));
            Ok((page.map(wit::Page::from).map_err(WitError::from),))
        },
    )
}

/// A back end may count on keys being what the contract says.
pub(crate) fn read_key<'a, T: 'static>(
    store: &'a StoreContextMut<'_, T>,
    key: &WasmStr,
) -> Result<Cow<'a, str>> {
    let key = key.to_str(store)?;
    if !is_storage_key(&key) {
        bail!(
            "a storage key of {} bytes; accepted: 1 to {MAX_KEY_LEN} bytes of printable ASCII",
            key.len()
        );
    }
    Ok(key)
}

fn with_table<T>(
    index: u8,
    f: impl FnOnce(Table) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    f(Table::from_index(index).ok_or(StorageError::Unavailable)?)
}

fn entries(entries: Vec<(String, remora_core::Cell)>) -> Vec<wit::Entry> {
    let entries = entries.into_iter().map(|(key, cell)| wit::Entry {
        key,
        value: cell.into(),
    });
    entries.collect()
}

pub(crate) fn pair(
    (one, two): (Option<remora_core::Cell>, Option<remora_core::Cell>),
) -> (Option<wit::Cell>, Option<wit::Cell>) {
    (one.map(Into::into), two.map(Into::into))
}

impl From<Head> for wit::Head {
    fn from(head: Head) -> Self {
        Self {
            population: head.population,
            entries: entries(head.entries),
        }
    }
}

impl From<Page> for wit::Page {
    fn from(page: Page) -> Self {
        Self {
            entries: entries(page.entries),
            next: page.next,
        }
    }
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
