//! A bound on what one tenant keeps in a store.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};

/// What an entry takes beside its key: the cell, and what a store needs to find it again.
const OVERHEAD: u64 = 128;

/// How often a store that is full is counted anew. Some drop entries on their own when they expire.
const RECOUNT: Duration = Duration::from_secs(10);

/// How many entries are counted at a time.
const PAGE: u32 = 1_024;

/// A store that answers [`StorageError::Full`] beyond so many bytes. An entry counts as the length of its key
/// and 128 bytes.
///
/// The inner store has to be the tenant's own (a [`MemoryProxyStore`](super::MemoryProxyStore) of its own, a
/// key prefix or a file of its own): that is what keeps tenants' keys apart. What is in it at the start is
/// counted when room first runs out (or with [`Quota::counted`]), and so is what others who share it have written.
pub struct Quota<S> {
    inner: S,
    limit: u64,
    used: AtomicU64,
    counted: Mutex<Option<Instant>>,
}

impl<S> fmt::Debug for Quota<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota")
            .field("limit", &self.limit)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl<S: Storage> Quota<S> {
    /// At most `bytes` in `store`.
    pub fn new(store: S, bytes: u64) -> Self {
        Self {
            inner: store,
            limit: bytes,
            used: AtomicU64::new(0),
            counted: Mutex::new(None),
        }
    }

    /// Counts what is there already now, rather than when room first runs out.
    #[must_use]
    pub fn counted(self) -> Self {
        // A store that does not answer is counted later.
        let _ = self.recount();
        // Nor does this count keep the next one waiting.
        *self.counted.lock() = None;
        self
    }

    /// How many bytes are in use, as far as they went through here.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn give(&self, bytes: u64) {
        let give = |used: u64| used.saturating_sub(bytes);
        self.used.update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// Counts what is really there, unless that was done a moment ago. Answers whether it was.
    fn recount(&self) -> Result<bool, StorageError> {
        let Some(mut counted) = self.counted.try_lock() else {
            return Ok(false);
        };
        if counted.is_some_and(|at| at.elapsed() < RECOUNT) {
            return Ok(false);
        }
        *counted = Some(Instant::now());
        let mut used = 0;
        for table in (0..Table::COUNT).filter_map(Table::from_index) {
            let mut cursor = None;
            loop {
                let page = self.inner.scan(table, cursor, PAGE)?;
                used += page.entries.iter().map(|(key, _)| size(key)).sum::<u64>();
                cursor = page.next;
                // More than there may be needs no exact number.
                if cursor.is_none() || used > self.limit {
                    break;
                }
            }
        }
        self.used.store(used, Ordering::Relaxed);
        Ok(true)
    }
}

fn size(key: &str) -> u64 {
    key.len() as u64 + OVERHEAD
}

impl<S: Storage> Storage for Quota<S> {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        self.inner.load(table, key)
    }

    fn load_pair(
        &self,
        first: (Table, &str),
        second: (Table, &str),
    ) -> Result<(Option<Cell>, Option<Cell>), StorageError> {
        self.inner.load_pair(first, second)
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let bytes = size(key);
        let creates = expected.is_none() && new.is_some();
        if creates && !self.take(bytes) && !(self.recount()? && self.take(bytes)) {
            return Err(StorageError::Full);
        }
        let answer = self.inner.compare_exchange(table, key, expected, new);
        let stored = matches!(answer, Ok(Exchange::Stored));
        let removes = expected.is_some() && new.is_none();
        if (creates && !stored) || (removes && stored) {
            self.give(bytes);
        }
        answer
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        self.inner.first_to_expire(table, limit)
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        self.inner.scan(table, cursor, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::storage::{MemoryProxyStore, conformance};

    const LATER: u64 = 4_102_444_800_000;

    fn cell(a: u64) -> Cell {
        Cell {
            words: [a; 6],
            expires_at: LATER,
        }
    }

    /// Fills it and answers how many entries it took.
    fn fill(store: &impl Storage, from: usize) -> usize {
        let create = |i: &usize| {
            store.compare_exchange(Table::Custom(7), &format!("{i:072}"), None, Some(&cell(1)))
        };
        (from..from + 1_000)
            .take_while(|i| create(i) == Ok(Exchange::Stored))
            .count()
    }

    #[test]
    fn a_store_with_a_quota_is_a_store() {
        for check in conformance::CHECKS {
            check
                .run(&Quota::new(MemoryProxyStore::compact(), 1 << 30))
                .unwrap();
        }
    }

    #[test]
    fn a_full_tenant_may_change_and_remove_but_not_add() {
        let store = Quota::new(MemoryProxyStore::default(), 2_000);
        assert_eq!(fill(&store, 0), 10);
        assert_eq!(fill(&store, 10), 0);
        let key = format!("{:072}", 3);
        let table = Table::Custom(7);
        let changed = store.compare_exchange(table, &key, Some(&cell(1)), Some(&cell(2)));
        assert_eq!(changed, Ok(Exchange::Stored));
        // A lost race takes no room and gives none back.
        let lost = store.compare_exchange(table, &key, Some(&cell(1)), None);
        assert_eq!(lost, Ok(Exchange::Conflict(Some(cell(2)))));
        assert_eq!(fill(&store, 10), 0);
        let removed = store.compare_exchange(table, &key, Some(&cell(2)), None);
        assert_eq!(removed, Ok(Exchange::Stored));
        assert_eq!(fill(&store, 10), 1);
        assert_eq!(store.used(), 2_000);
    }

    #[test]
    fn what_was_there_before_counts() {
        let inner = Arc::new(MemoryProxyStore::default());
        assert_eq!(fill(&Quota::new(&*inner, 2_000), 0), 10);
        let store = Quota::new(&*inner, 3_000).counted();
        assert_eq!(store.used(), 2_000);
        assert_eq!(fill(&store, 10), 5);
    }

    #[test]
    fn what_the_store_dropped_by_itself_makes_room() {
        let inner = Arc::new(MemoryProxyStore::default());
        let store = Quota::new(&*inner, 2_000);
        assert_eq!(fill(&store, 0), 10);
        for i in 0..4 {
            let key = format!("{i:072}");
            let dropped = inner.compare_exchange(Table::Custom(7), &key, Some(&cell(1)), None);
            assert_eq!(dropped, Ok(Exchange::Stored));
        }
        // Not at once: counting costs, and whoever is full asks again and again.
        assert_eq!(fill(&store, 10), 0);
        *store.counted.lock() = None;
        assert_eq!(fill(&store, 10), 4);
    }
}
