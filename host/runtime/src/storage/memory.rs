//! State in this process's memory.

use std::array;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parking_lot::RwLock;
use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};
use slab::Slab;

/// How many locks a table is spread over. Loads share a lock, so this only has to keep writers of
/// different keys apart.
const SHARDS: usize = 64;

/// The same for a store that few threads use.
const FEW_SHARDS: usize = 4;

/// State in memory: fast, and gone with the process.
///
/// Loads of different keys never wait for each other, whatever shard they are in; a write holds the
/// lock of one of 64 shards for well under a microsecond.
pub struct MemoryProxyStore {
    hasher: FixedState,
    shards: usize,
    tables: [Shards; Table::COUNT as usize],
}

impl Default for MemoryProxyStore {
    fn default() -> Self {
        Self::with_seed(secret_seed())
    }
}

/// A client chooses the keys: the seed has to be one that it cannot guess.
fn secret_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

impl fmt::Debug for MemoryProxyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.tables.iter().map(|shards| {
            let sizes = shards
                .all()
                .iter()
                .map(|shard| shard.rows.read().cells.len());
            sizes.sum::<usize>()
        });
        f.debug_struct("MemoryProxyStore")
            .field("entries_by_table", &sizes.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A table. Most stores use a few of the 16 that they may, and a process may have a thousand stores: it is
/// made when it is first written to.
#[derive(Default)]
struct Shards(OnceLock<Box<[Shard]>>);

impl Shards {
    /// None of them while nothing was ever written.
    fn all(&self) -> &[Shard] {
        self.0.get().map_or(&[], |shards| shards)
    }

    fn made(&self, count: usize) -> &[Shard] {
        let make = || (0..count).map(|_| Shard::default()).collect();
        self.0.get_or_init(make)
    }
}

/// A part of a table. What [`Storage::first_to_expire`] needs of every shard is beside the lock, so
/// that it takes the locks of those shards only whose entries it answers with.
#[repr(align(128))]
struct Shard {
    rows: RwLock<Rows>,
    /// How many entries there are. Most proxies have no breaker on record: who asks for it finds this
    /// zero, and takes no lock.
    entries: AtomicU64,
    expiring: AtomicU64,
    first_expiry: AtomicU64,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            rows: RwLock::default(),
            entries: AtomicU64::new(0),
            expiring: AtomicU64::new(0),
            first_expiry: AtomicU64::new(Cell::NEVER),
        }
    }
}

#[derive(Default)]
struct Rows {
    cells: Slab<Row>,
    /// Places in `cells`, by the hash of the key.
    by_key: HashTable<u32>,
    /// Places in `cells` of those that expire, soonest first.
    by_expiry: BTreeSet<(u64, u32)>,
}

struct Row {
    /// Up to 24 bytes stand here, which most hosts need no more than: one cache miss less for a hit.
    key: CompactString,
    cell: Cell,
}

impl Rows {
    fn find(&self, hash: u64, key: &str) -> Option<u32> {
        let found = self
            .by_key
            .find(hash, |&i| *self.cells[i as usize].key == *key);
        found.copied()
    }

    fn set(
        &mut self,
        hasher: &FixedState,
        hash: u64,
        key: &str,
        place: Option<u32>,
        new: Option<&Cell>,
    ) -> Result<(), StorageError> {
        if let Some(i) = place {
            let expiry = self.cells[i as usize].cell.expires_at;
            if expiry != Cell::NEVER && new.is_none_or(|new| new.expires_at != expiry) {
                self.by_expiry.remove(&(expiry, i));
            }
        }
        let i = match (place, new) {
            (None, None) => return Ok(()),
            (Some(i), None) => {
                self.cells.remove(i as usize);
                if let Ok(entry) = self.by_key.find_entry(hash, |&j| j == i) {
                    entry.remove();
                }
                return Ok(());
            }
            (Some(i), Some(new)) => {
                self.cells[i as usize].cell = *new;
                i
            }
            (None, Some(new)) => {
                let vacant = self.cells.vacant_entry();
                let i = u32::try_from(vacant.key()).map_err(|_| StorageError::Full)?;
                vacant.insert(Row {
                    key: key.into(),
                    cell: *new,
                });
                let cells = &self.cells;
                self.by_key
                    .insert_unique(hash, i, |&j| hasher.hash_one(&*cells[j as usize].key));
                i
            }
        };
        let expiry = self.cells[i as usize].cell.expires_at;
        if expiry != Cell::NEVER {
            self.by_expiry.insert((expiry, i));
        }
        Ok(())
    }
}

impl MemoryProxyStore {
    /// An empty store that spreads its keys by this seed. Which of several entries with the same expiry
    /// is answered first depends on it; a replay needs the seed of the record.
    pub fn with_seed(seed: u64) -> Self {
        Self::spread(seed, SHARDS)
    }

    /// An empty store for one tenant among many, whom a thread or two serve: 4 locks rather than 64. It holds
    /// less when it is hardly used, and more of it is in the processor's caches.
    pub fn compact() -> Self {
        Self::spread(secret_seed(), FEW_SHARDS)
    }

    fn spread(seed: u64, shards: usize) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            shards,
            tables: array::from_fn(|_| Shards::default()),
        }
    }

    fn table(&self, table: Table) -> Result<&Shards, StorageError> {
        let shards = self.tables.get(usize::from(table.index()));
        shards.ok_or(StorageError::Unavailable)
    }

    fn hash(&self, key: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(key);
        // The table inside the shard uses the hash's upper and lowest bits; these are others.
        ((hash >> 32) as usize % self.shards, hash)
    }

    /// [`Storage::compare_exchange`] that runs `note` once the new value is stored, before anybody else can
    /// change the entry again: notes of one key come in the order of its values.
    pub(crate) fn exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
        note: impl FnOnce(),
    ) -> Result<Exchange, StorageError> {
        let (shard, hash) = self.hash(key);
        let shard = &self.table(table)?.made(self.shards)[shard];
        let mut rows = shard.rows.write();
        let place = rows.find(hash, key);
        let current = place.map(|i| rows.cells[i as usize].cell);
        if current.as_ref() != expected {
            return Ok(Exchange::Conflict(current));
        }
        rows.set(&self.hasher, hash, key, place, new)?;
        // Before the lock is released, so before anybody can know of this change.
        shard
            .entries
            .store(rows.cells.len() as u64, Ordering::SeqCst);
        let first = rows.by_expiry.first().map_or(Cell::NEVER, |(at, _)| *at);
        shard.first_expiry.store(first, Ordering::Release);
        shard
            .expiring
            .store(rows.by_expiry.len() as u64, Ordering::Release);
        note();
        Ok(Exchange::Stored)
    }
}

impl Storage for MemoryProxyStore {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        let (shard, hash) = self.hash(key);
        let Some(shard) = self.table(table)?.all().get(shard) else {
            return Ok(None);
        };
        if shard.entries.load(Ordering::SeqCst) == 0 {
            return Ok(None);
        }
        let rows = shard.rows.read();
        Ok(rows.find(hash, key).map(|i| rows.cells[i as usize].cell))
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        self.exchange(table, key, expected, new, || {})
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        let shards = self.table(table)?.all();
        let mut population = 0;
        let mut soonest = Vec::with_capacity(shards.len());
        for shard in shards {
            population += shard.expiring.load(Ordering::Acquire);
            let first = shard.first_expiry.load(Ordering::Acquire);
            if first != Cell::NEVER {
                soonest.push((first, shard));
            }
        }
        soonest.sort_unstable_by_key(|(first, _)| *first);
        let limit = limit as usize;
        let mut entries: Vec<(String, Cell)> = Vec::new();
        for (first, shard) in soonest {
            // Every further shard begins later than the last entry that is still among the first.
            if entries.len() == limit && entries.last().is_none_or(|(_, c)| c.expires_at <= first) {
                break;
            }
            let rows = shard.rows.read();
            for (_, i) in rows.by_expiry.iter().take(limit) {
                let row = &rows.cells[*i as usize];
                entries.push((String::from(&*row.key), row.cell));
            }
            entries.sort_by_key(|(_, cell)| cell.expires_at);
            entries.truncate(limit);
        }
        Ok(Head {
            population,
            entries,
        })
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        let shards = self.table(table)?.all();
        // The shard in the upper half, the place in its slab in the lower: an entry keeps its place.
        let cursor = cursor.unwrap_or(0);
        let (mut shard, mut place) = ((cursor >> 32) as usize, cursor as u32 as usize);
        let limit = (limit as usize).max(1);
        let mut entries = Vec::new();
        while shard < shards.len() {
            let rows = shards[shard].rows.read();
            while place < rows.cells.capacity() {
                if entries.len() == limit {
                    let next = Some((shard as u64) << 32 | place as u64);
                    return Ok(Page { entries, next });
                }
                if let Some(row) = rows.cells.get(place) {
                    entries.push((String::from(&*row.key), row.cell));
                }
                place += 1;
            }
            (shard, place) = (shard + 1, 0);
        }
        Ok(Page {
            entries,
            next: None,
        })
    }
}
