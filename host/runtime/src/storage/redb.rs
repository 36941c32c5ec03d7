//! State in a file of this machine: it outlives the process.

mod file;
mod journal;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use remora_core::{Cell, Exchange, Head, Page, Storage, StorageError, Table};
use thiserror::Error;

use super::health::{Health, OnStorageError};
use super::memory::MemoryProxyStore;
use crate::clock::{Clock, SystemClock};
use file::StateFile;
use journal::Journal;

/// When a change is safe from the end of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A moment later: a request never waits for the disk. A crash takes back what was changed in the last
    /// [`RedbOptions::flush_every`], as a whole: never a part of it.
    #[default]
    Relaxed,
    /// At once: what was answered is on disk. A request that changes something waits for one `fsync`, which
    /// it shares with all others that wait at that moment.
    Immediate,
}

/// How a [`RedbStore`] works.
#[derive(Clone, Copy, Debug)]
pub struct RedbOptions {
    /// When a change is safe from the end of the process.
    pub durability: Durability,
    /// How long changes may wait for the disk under [`Durability::Relaxed`].
    pub flush_every: Duration,
    /// What happens when the disk fails under [`Durability::Relaxed`]: changes are refused until it works again, or
    /// the process goes on in memory. Under [`Durability::Immediate`] they are refused.
    pub on_storage_error: OnStorageError,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Relaxed,
            flush_every: Duration::from_millis(100),
            on_storage_error: OnStorageError::Refuse,
        }
    }
}

/// Why a file cannot be used. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedbError {
    /// Another process has it open.
    #[error("{path} is in use by another process; a file serves one process at a time")]
    InUse {
        /// The file.
        path: String,
    },
    /// A newer version of remora wrote it.
    #[error("{path} has format {found}; this version reads format {accepted}")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u64,
        /// The only one that this version reads.
        accepted: u64,
    },
    /// It is not a state file, or a damaged one.
    #[error(
        "{path} is not a state file of remora, or it is damaged ({reason}); move it away to begin with a new one"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refuses.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
}

/// State in one file, for one process at a time.
///
/// All of it is in memory, too, and that is where it is read: a hit costs what it costs in memory. A thread of the
/// store's own brings changes to the file.
pub struct RedbStore {
    path: PathBuf,
    durability: Durability,
    memory: Arc<MemoryProxyStore>,
    journal: Arc<Journal>,
    health: Arc<Health>,
    last_seen_ms: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the file, or makes it. Entries that have expired meanwhile are dropped, and a file that is mostly
    /// holes is compacted.
    ///
    /// # Errors
    ///
    /// [`RedbError`] says why the file cannot be used; it is left as it is.
    pub fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, RedbError> {
        let path = path.as_ref().to_owned();
        let memory = Arc::new(MemoryProxyStore::default());
        let mut file = StateFile::open(&path)?;
        let last_seen_ms = file.load(&memory, SystemClock::default().now_ms())?;
        let journal = Arc::new(Journal::new(options));
        let health = Arc::new(Health::new());
        let writer = writer::Writer {
            file,
            clock: SystemClock::not_before(last_seen_ms),
            memory: memory.clone(),
            journal: journal.clone(),
            health: health.clone(),
        };
        let writer = thread::Builder::new()
            .name("remora-redb".into())
            .spawn(move || writer.run())
            .map_err(|error| RedbError::Io {
                path: path.display().to_string(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            path,
            durability: options.durability,
            memory,
            journal,
            health,
            last_seen_ms,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Waits until everything that has been changed so far is on disk.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] when the disk refuses; what is not on disk is still tried again later.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.journal.flush()
    }

    /// The latest moment that the file knew when it was opened, in milliseconds since the Unix epoch. A clock
    /// that starts no earlier ([`SystemClock::not_before`]) keeps what has expired from coming back after the
    /// system's clock was set back.
    pub fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms
    }

    /// Whether the disk works.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.journal.close();
        if let Some(writer) = self.writer.lock().take() {
            // It has caught its own errors; a panic in it has been reported by its thread.
            let _ = writer.join();
        }
    }
}

impl Storage for RedbStore {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        self.memory.load(table, key)
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        match self.durability {
            Durability::Relaxed => {
                self.journal.accepts()?;
                let note = || self.journal.note(table, key, expected, new);
                self.memory.exchange(table, key, expected, new, note)
            }
            Durability::Immediate => self.journal.ask(table, key, expected, new),
        }
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        self.memory.first_to_expire(table, limit)
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        self.memory.scan(table, cursor, limit)
    }
}
