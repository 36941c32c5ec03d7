//! Gives a plugin its imports where the storage is behind a network: a call of it is suspended meanwhile.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;
use remora_core::{Cell, StorageError, Table};
use tokio::time::{Instant, timeout_at};
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Result, StoreContextMut, StoreLimits};

use crate::bindings::storage as wit;
use crate::bindings::types::StorageError as WitError;
use crate::clock::Clock;
use crate::imports::{Allowance, Instantiated, MAX_ENTRIES, PROVIDED, link_clock, pair, read_key};
use crate::storage::{Answer, RemoteStorage};

/// What an instance can reach.
pub(crate) struct RemoteState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) storage: Arc<dyn RemoteStorage>,
    pub(crate) limits: StoreLimits,
    pub(crate) allowance: Allowance,
    /// When the call at hand has to be through.
    pub(crate) deadline: Instant,
    /// Set while a report is made.
    pub(crate) snapshot: Option<Snapshot>,
}

/// Entries of [`REPORTED`] as they were when a report began. A report looks at every proxy of the pool: a round trip
/// for each would take longer than anybody waits.
pub(crate) type Snapshot = HashMap<(u8, CompactString), Cell>;

/// The tables that reports look at.
pub(crate) const REPORTED: [Table; 2] = [Table::Breakers, Table::InFlight];

impl Instantiated for RemoteState {
    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }
}

impl RemoteState {
    /// What the snapshot says; `None` where it is not asked.
    fn reported(&self, table: u8, key: &str) -> Option<Option<Cell>> {
        let snapshot = self.snapshot.as_ref()?;
        REPORTED
            .iter()
            .any(|reported| reported.index() == table)
            .then(|| snapshot.get(&(table, CompactString::from(key))).copied())
    }
}

type Store<'a> = StoreContextMut<'a, RemoteState>;

/// What a storage call goes to, and until when.
struct Way {
    storage: Arc<dyn RemoteStorage>,
    deadline: Instant,
}

impl Way {
    /// For one use of an import; a call has only so many.
    fn of(store: &mut Store<'_>) -> Result<Self> {
        let state = store.data_mut();
        state.allowance.spend()?;
        Ok(Self {
            storage: state.storage.clone(),
            deadline: state.deadline,
        })
    }

    async fn ask<'a, T>(
        &'a self,
        table: u8,
        call: impl FnOnce(&'a dyn RemoteStorage, Table) -> Answer<'a, T>,
    ) -> std::result::Result<T, WitError> {
        let Some(table) = Table::from_index(table) else {
            return Err(StorageError::Unavailable.into());
        };
        let answer = timeout_at(self.deadline, call(&*self.storage, table)).await;
        Ok(answer.unwrap_or(Err(StorageError::Unavailable))?)
    }
}

fn owned(key: &WasmStr, store: &Store<'_>) -> Result<CompactString> {
    Ok(CompactString::from(read_key(store, key)?))
}

pub(crate) fn link(linker: &mut Linker<RemoteState>) -> Result<()> {
    link_clock(linker)?;
    let mut storage = linker.instance(PROVIDED[2])?;
    storage.func_wrap_async(
        "load",
        |mut store: Store<'_>, (table, key): (u8, WasmStr)| {
            let (way, key) = (Way::of(&mut store), owned(&key, &store));
            let reported = key
                .as_ref()
                .ok()
                .and_then(|key| store.data().reported(table, key));
            Box::new(async move {
                let (way, key) = (way?, key?);
                let loaded = match reported {
                    Some(cell) => Ok(cell),
                    None => way.ask(table, |s, table| s.load(table, &key)).await,
                };
                Ok((loaded.map(|cell| cell.map(wit::Cell::from)),))
            })
        },
    )?;
    storage.func_wrap_async(
        "load-pair",
        |mut store: Store<'_>, (one, key, two, other_key): (u8, WasmStr, u8, WasmStr)| {
            let way = Way::of(&mut store);
            let keys = owned(&key, &store).and_then(|key| Ok((key, owned(&other_key, &store)?)));
            Box::new(async move {
                let (way, (key, other_key)) = (way?, keys?);
                let Some(two) = Table::from_index(two) else {
                    return Ok((Err(WitError::Unavailable),));
                };
                let loaded = way.ask(one, |s, one| s.load_pair((one, &key), (two, &other_key)));
                Ok((loaded.await.map(pair),))
            })
        },
    )?;
    storage.func_wrap_async(
        "compare-exchange",
        |mut store: Store<'_>,
         (table, key, expected, new): (u8, WasmStr, Option<wit::Cell>, Option<wit::Cell>)| {
            let (way, key) = (Way::of(&mut store), owned(&key, &store));
            Box::new(async move {
                let (way, key) = (way?, key?);
                let (expected, new) = (expected.map(Into::into), new.map(Into::into));
                let exchanged = way.ask(table, |s, t| s.compare_exchange(t, &key, expected, new));
                Ok((exchanged.await.map(wit::Exchange::from),))
            })
        },
    )?;
    storage.func_wrap_async(
        "first-to-expire",
        |mut store: Store<'_>, (table, limit): (u8, u32)| {
            let way = Way::of(&mut store);
            Box::new(async move {
                let (way, limit) = (way?, limit.min(MAX_ENTRIES));
                let head = way
                    .ask(table, |s, table| s.first_to_expire(table, limit))
                    .await;
                Ok((head.map(wit::Head::from),))
            })
        },
    )?;
    storage.func_wrap_async(
        "scan",
        |mut store: Store<'_>, (table, cursor, limit): (u8, Option<u64>, u32)| {
            let way = Way::of(&mut store);
            Box::new(async move {
                let (way, limit) = (way?, limit.min(MAX_ENTRIES));
                let page = way
                    .ask(table, |s, table| s.scan(table, cursor, limit))
                    .await;
                Ok((page.map(wit::Page::from),))
            })
        },
    )
}
