//! The file: its format, and how it is opened, read, written and compacted.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use remora_core::{Cell, Storage, Table};

use super::RedbError;
use super::journal::Batch;
use crate::storage::memory::MemoryProxyStore;

/// Table and key of an entry → the words of its cell and its expiry.
const CELLS: TableDefinition<'_, (u8, &str), [u64; 7]> = TableDefinition::new("cells");
/// The two numbers below.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// The latest moment at which something was written.
const SEEN_KEY: &str = "seen";

const FORMAT: u64 = 1;

/// Everything is in memory already; redb's own cache only has to hold what a commit touches.
const CACHE_BYTES: usize = 4 << 20;

/// A file below this size is not worth compacting.
const SMALL_BYTES: u64 = 1 << 20;

/// About what an entry takes in the file, beside its key.
const ENTRY_BYTES: u64 = 96;

/// What redb says, whatever the step. Boxed: it is large, and rare.
type Failed = Box<redb::Error>;

fn failed(error: impl Into<redb::Error>) -> Failed {
    Box::new(error.into())
}

/// An open state file.
pub(super) struct StateFile {
    path: PathBuf,
    /// `None` after an error of the disk: redb wants the file opened anew.
    database: Option<Database>,
}

impl StateFile {
    pub(super) fn open(path: &Path) -> Result<Self, RedbError> {
        let size = match fs::metadata(path) {
            Ok(meta) => Some(meta.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(path, &error)),
        };
        match size {
            None => create(path)?,
            // redb would make a new database of it. It is not ours to say that nothing was in there.
            Some(0) => return Err(damaged(path, "it is empty")),
            Some(_) => {}
        }
        let file = Self {
            path: path.to_owned(),
            database: Some(open(path)?),
        };
        file.check_format()?;
        Ok(file)
    }

    fn check_format(&self) -> Result<(), RedbError> {
        let read = || -> Result<Option<u64>, Failed> {
            let transaction = self.database()?.begin_read().map_err(failed)?;
            let meta = transaction.open_table(META).map_err(failed)?;
            let format = meta.get(FORMAT_KEY).map_err(failed)?;
            Ok(format.map(|format| format.value()))
        };
        match read().map_err(|error| damaged(&self.path, error))? {
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => Err(RedbError::Newer {
                path: self.path.display().to_string(),
                found,
                accepted: FORMAT,
            }),
            _ => Err(damaged(&self.path, "it does not say its format")),
        }
    }

    fn database(&self) -> Result<&Database, Failed> {
        let closed = || failed(redb::Error::DatabaseClosed);
        self.database.as_ref().ok_or_else(closed)
    }

    /// Fills an empty memory with what has not expired, drops the rest from the file, and compacts the file if it
    /// is mostly holes. Answers with the latest moment that the file knows.
    pub(super) fn load(&mut self, memory: &MemoryProxyStore, now: u64) -> Result<u64, RedbError> {
        let loaded = self.read_into(memory, now);
        let (seen, expired, bytes) = loaded.map_err(|error| damaged(&self.path, error))?;
        if !expired.is_empty() {
            let written = self.write(&expired, seen);
            written.map_err(|error| io(&self.path, &error))?;
        }
        let size = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if size > SMALL_BYTES && size > bytes.saturating_mul(4) {
            let database = self.database.as_mut();
            let compacted = database.map(|database| database.compact());
            if let Some(Err(error)) = compacted {
                tracing::warn!(path = %self.path.display(), %error, "the state file stays as large as it is");
            }
        }
        Ok(seen)
    }

    fn read_into(&self, memory: &MemoryProxyStore, now: u64) -> Result<(u64, Batch, u64), Failed> {
        let transaction = self.database()?.begin_read().map_err(failed)?;
        let meta = transaction.open_table(META).map_err(failed)?;
        let seen = meta.get(SEEN_KEY).map_err(failed)?;
        let seen = seen.map_or(0, |seen| seen.value()).max(now);
        let cells = transaction.open_table(CELLS).map_err(failed)?;
        let mut expired = Batch::default();
        let mut bytes = 0;
        for entry in cells.iter().map_err(failed)? {
            let (place, value) = entry.map_err(failed)?;
            let (index, key) = place.value();
            let cell = from_row(value.value());
            let Some(table) = Table::from_index(index) else {
                return Err(failed(redb::Error::Corrupted(format!("table {index}"))));
            };
            if cell.expires_at <= seen {
                expired.insert((index, key.into()), None);
                continue;
            }
            bytes += key.len() as u64 + ENTRY_BYTES;
            memory
                .compare_exchange(table, key, None, Some(&cell))
                .map_err(|error| failed(redb::Error::Corrupted(error.to_string())))?;
        }
        Ok((seen, expired, bytes))
    }

    /// Writes a batch: all of it is on disk when this answers, or none of it.
    pub(super) fn write(&mut self, batch: &Batch, now: u64) -> Result<(), Failed> {
        let written = self.commit(batch, now);
        if written.is_err() {
            // Once it has seen an error redb answers with nothing else.
            self.database = None;
        }
        written
    }

    fn commit(&mut self, batch: &Batch, now: u64) -> Result<(), Failed> {
        if self.database.is_none() {
            self.database = Some(reopen(&self.path)?);
        }
        let mut transaction = self.database()?.begin_write().map_err(failed)?;
        // A start after a crash need not look at every page.
        transaction.set_quick_repair(true);
        {
            let mut cells = transaction.open_table(CELLS).map_err(failed)?;
            for ((index, key), cell) in batch {
                let place = (*index, key.as_str());
                match cell {
                    Some(cell) => cells.insert(place, to_row(cell)).map_err(failed)?,
                    None => cells.remove(place).map_err(failed)?,
                };
            }
            let mut meta = transaction.open_table(META).map_err(failed)?;
            meta.insert(SEEN_KEY, now).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

/// Makes the file under another name, so that under its own there never is half of one.
fn create(path: &Path) -> Result<(), RedbError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    let made = || -> Result<(), Failed> {
        if unfinished.exists() {
            // From a process that ended while it made it; nothing was ever stored there.
            fs::remove_file(&unfinished).map_err(failed)?;
        }
        // It holds targets and session ids.
        let mut private = OpenOptions::new();
        let private = private.write(true).create_new(true).mode(0o600);
        private.open(&unfinished).map_err(failed)?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(&unfinished)
            .map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        {
            transaction.open_table(CELLS).map_err(failed)?;
            let mut meta = transaction.open_table(META).map_err(failed)?;
            meta.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        drop(database);
        // Not a rename, which would replace what another process has made meanwhile.
        fs::hard_link(&unfinished, path).map_err(failed)?;
        fs::remove_file(&unfinished).map_err(failed)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new("."))).map_err(failed)?;
        directory.sync_all().map_err(failed)
    };
    made().map_err(|error| io(path, &error))
}

fn open(path: &Path) -> Result<Database, RedbError> {
    let mut builder = Builder::new();
    // A file that something else has altered is refused now rather than trusted.
    let builder = builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder.open(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            RedbError::InUse {
                path: path.display().to_string(),
            }
        }
        DatabaseError::Storage(redb::StorageError::Io(error))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            io(path, &error)
        }
        other => damaged(path, other),
    })
}

/// After an error of the disk: the file was good before.
fn reopen(path: &Path) -> Result<Database, Failed> {
    let mut builder = Builder::new();
    let opened = builder.set_cache_size(CACHE_BYTES).open(path);
    opened.map_err(failed)
}

fn io(path: &Path, error: &dyn std::error::Error) -> RedbError {
    RedbError::Io {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

fn damaged(path: &Path, reason: impl ToString) -> RedbError {
    RedbError::Damaged {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn to_row(cell: &Cell) -> [u64; 7] {
    let [a, b, c, d, e, f] = cell.words;
    [a, b, c, d, e, f, cell.expires_at]
}

fn from_row([a, b, c, d, e, f, expires_at]: [u64; 7]) -> Cell {
    Cell {
        words: [a, b, c, d, e, f],
        expires_at,
    }
}
