//! On without the store: each process for itself, on what it remembers.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::health::Health;
use super::memory::MemoryProxyStore;
use super::remote::{Answer, Pair, RemoteStorage};

/// How long a call may take before the store counts as gone.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often a process that is on its own looks for the store.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How many entries of a table are remembered; beyond it those closest to expiry are forgotten.
const REMEMBERED: u64 = 100_000;

/// A store that a process can do without.
///
/// While the store answers, it alone decides, and this remembers what it said. When it does not, the process goes on
/// with what it remembers: sessions that it has seen go on, new ones are its own. When the store is back, it alone
/// decides again, and what was decided meanwhile is forgotten.
pub struct Degrading<R> {
    inner: Arc<Inner<R>>,
    runtime: Handle,
}

struct Inner<R> {
    store: Arc<R>,
    memory: MemoryProxyStore,
    /// Failing: on its own.
    health: Arc<Health>,
}

impl<R> fmt::Debug for Degrading<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Degrading")
            .field("health", &self.inner.health)
            .field("memory", &self.inner.memory)
            .finish_non_exhaustive()
    }
}

impl<R: RemoteStorage + 'static> Degrading<R> {
    /// `store` as long as it answers. Looks for it on `runtime` when it does not.
    pub fn new(store: Arc<R>, runtime: Handle) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                memory: MemoryProxyStore::default(),
                health: Arc::new(Health::new()),
            }),
            runtime,
        }
    }

    /// Failing while the process is on its own.
    pub fn health(&self) -> &Arc<Health> {
        &self.inner.health
    }

    /// What the store says, or `None` when the process is on its own.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Option<Result<T, StorageError>> {
        if self.inner.health.is_failing() {
            return None;
        }
        match timeout(PATIENCE, call).await {
            Ok(Err(StorageError::Unavailable)) | Err(_) => {
                self.part();
                None
            }
            Ok(answer) => Some(answer),
        }
    }

    /// The store is gone.
    fn part(&self) {
        if self.inner.health.failed() {
            tracing::warn!(
                "the storage is gone; this process goes on alone, with what it remembers"
            );
            self.runtime.spawn(look_for(Arc::downgrade(&self.inner)));
        }
    }
}

/// Waits for the store, and joins in again.
async fn look_for<R: RemoteStorage>(inner: Weak<Inner<R>>) {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        // A change of nothing: what takes no changes is not back.
        let look = inner
            .store
            .compare_exchange(Table::Breakers, "look", None, None);
        if matches!(timeout(PATIENCE, look).await, Ok(Ok(_))) {
            tracing::warn!("the storage is back; this process shares it again");
            inner.health.recovered();
            return;
        }
    }
}

impl<R> Inner<R> {
    /// The store has said so. A cursor is never remembered: the numbers of a process on its own begin anew, ahead of
    /// all that have been handed out.
    fn remember(&self, table: Table, key: &str, cell: Option<&Cell>) {
        if table == Table::Cursor {
            return;
        }
        let known = self.memory.load(table, key);
        let Ok(known) = known else { return };
        if known.as_ref() == cell {
            return;
        }
        // A conflict: somebody has just heard something newer.
        let _ = self
            .memory
            .compare_exchange(table, key, known.as_ref(), cell);
        if known.is_none() {
            self.forget_some(table);
        }
    }

    fn forget_some(&self, table: Table) {
        let Ok(head) = self.memory.first_to_expire(table, 2) else {
            return;
        };
        if head.population > REMEMBERED {
            for (key, cell) in &head.entries {
                let _ = self.memory.compare_exchange(table, key, Some(cell), None);
            }
        }
    }
}

impl<R: RemoteStorage + 'static> RemoteStorage for Degrading<R> {
    fn load<'a>(&'a self, table: Table, key: &'a str) -> Answer<'a, Option<Cell>> {
        Box::pin(async move {
            match self.ask(self.inner.store.load(table, key)).await {
                None => self.inner.memory.load(table, key),
                Some(answer) => {
                    let cell = answer?;
                    self.inner.remember(table, key, cell.as_ref());
                    Ok(cell)
                }
            }
        })
    }

    fn load_pair<'a>(
        &'a self,
        first: (Table, &'a str),
        second: (Table, &'a str),
    ) -> Answer<'a, Pair> {
        Box::pin(async move {
            match self.ask(self.inner.store.load_pair(first, second)).await {
                None => self.inner.memory.load_pair(first, second),
                Some(answer) => {
                    let (one, two) = answer?;
                    self.inner.remember(first.0, first.1, one.as_ref());
                    self.inner.remember(second.0, second.1, two.as_ref());
                    Ok((one, two))
                }
            }
        })
    }

    fn compare_exchange<'a>(
        &'a self,
        table: Table,
        key: &'a str,
        expected: Option<Cell>,
        new: Option<Cell>,
    ) -> Answer<'a, Exchange> {
        Box::pin(async move {
            let asked = self.inner.store.compare_exchange(table, key, expected, new);
            let Some(answer) = self.ask(asked).await else {
                let (expected, new) = (expected.as_ref(), new.as_ref());
                return self
                    .inner
                    .memory
                    .compare_exchange(table, key, expected, new);
            };
            let answer = answer?;
            match &answer {
                Exchange::Stored => self.inner.remember(table, key, new.as_ref()),
                Exchange::Conflict(current) => self.inner.remember(table, key, current.as_ref()),
            }
            Ok(answer)
        })
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Answer<'_, Head> {
        Box::pin(async move {
            match self
                .ask(self.inner.store.first_to_expire(table, limit))
                .await
            {
                None => self.inner.memory.first_to_expire(table, limit),
                Some(answer) => answer,
            }
        })
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Answer<'_, Page> {
        Box::pin(async move {
            // A cursor of the one is none of the other: a page that does not begin a scan ends with the store.
            match self.ask(self.inner.store.scan(table, cursor, limit)).await {
                None => self.inner.memory.scan(table, cursor, limit),
                Some(answer) => answer,
            }
        })
    }

    fn now_ms(&self) -> Option<u64> {
        self.inner.store.now_ms()
    }

    fn time_known(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // On its own from the start: by its own clock.
            self.ask(self.inner.store.time_known())
                .await
                .unwrap_or(Ok(()))
        })
    }
}
