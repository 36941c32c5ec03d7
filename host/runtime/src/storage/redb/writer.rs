//! The thread that brings changes to the file.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use remora_core::{Cell, Exchange, Storage, StorageError, Table};

use super::file::StateFile;
use super::journal::{Batch, Journal, Question, Work};
use crate::clock::{Clock, SystemClock};
use crate::storage::health::Health;
use crate::storage::memory::MemoryProxyStore;

/// How often expired entries are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How many a table gives up at a time.
const SWEPT: u32 = 1_024;

pub(super) struct Writer {
    pub(super) file: StateFile,
    pub(super) clock: SystemClock,
    pub(super) memory: Arc<MemoryProxyStore>,
    pub(super) journal: Arc<Journal>,
    pub(super) health: Arc<Health>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut swept_at = self.clock.now_ms();
        loop {
            let now = self.clock.now_ms();
            if now.saturating_sub(swept_at) >= SWEEP.as_millis() as u64 {
                self.sweep(now);
                swept_at = now;
            }
            match self.journal.take(SWEEP) {
                Work::Idle => {}
                Work::Closed => return,
                Work::Questions(questions) => self.decide(questions),
                Work::Changes(batch, flushes) => {
                    if self.write(&batch).is_ok() {
                        self.journal.written(&batch, flushes);
                    } else if !self.journal.not_written(batch, flushes) {
                        return;
                    }
                }
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.file.write(batch, self.clock.now_ms()) {
            Ok(()) => {
                if self.health.recovered() {
                    tracing::info!("the state file can be written again");
                }
                Ok(())
            }
            Err(error) => {
                if self.health.failed() {
                    let meanwhile = self.journal.meanwhile();
                    tracing::error!(%error, "the state file cannot be written; {meanwhile}");
                }
                Err(StorageError::Unavailable)
            }
        }
    }

    /// Decides compare-and-exchanges in their order, on memory and what this batch has decided so far, and makes
    /// them known once they are on disk: nobody can act on what a crash could take back.
    fn decide(&mut self, questions: Vec<Question>) {
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(questions.len());
        for question in &questions {
            let place = (question.table.index(), question.key.clone());
            let current = match batch.get(&place) {
                Some(decided) => Ok(*decided),
                None => self.memory.load(question.table, &question.key),
            };
            answers.push(current.map(|current| {
                if current != question.expected {
                    return Exchange::Conflict(current);
                }
                batch.insert(place, question.new);
                Exchange::Stored
            }));
        }
        let written = self.write(&batch);
        if written.is_ok() {
            self.journal.overtaken(&batch);
            for ((index, key), cell) in &batch {
                self.put(*index, key, cell.as_ref());
            }
        }
        // What rests on a batch that is not on disk has not happened.
        let answers = answers.into_iter().map(|answer| written.and(answer));
        self.journal.answer(questions.into_iter().zip(answers));
    }

    /// Memory follows the file. Nobody else changes it under [`super::Durability::Immediate`].
    fn put(&self, index: u8, key: &CompactString, cell: Option<&Cell>) {
        let Some(table) = Table::from_index(index) else {
            return;
        };
        if let Ok(current) = self.memory.load(table, key) {
            let put = self
                .memory
                .compare_exchange(table, key, current.as_ref(), cell);
            if let Err(error) = put {
                tracing::error!(%error, "an entry is on disk and not in memory");
            }
        }
    }

    /// Takes out what has expired and nobody asks for.
    fn sweep(&self, now: u64) {
        for table in (0..Table::COUNT).filter_map(Table::from_index) {
            let Ok(head) = self.memory.first_to_expire(table, SWEPT) else {
                continue;
            };
            for (key, cell) in &head.entries {
                if cell.expires_at > now {
                    break;
                }
                let note = || self.journal.note(table, key, Some(cell), None);
                // A conflict: somebody has renewed it.
                let _ = self.memory.exchange(table, key, Some(cell), None, note);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::storage::redb::{Durability, RedbOptions};

    const TABLE: Table = Table::Sessions;

    fn cell(expires_at: u64) -> Cell {
        Cell {
            words: [1; 6],
            expires_at,
        }
    }

    /// What [`Writer::run`] does once.
    fn work(writer: &mut Writer, patience: Duration) {
        match writer.journal.take(patience) {
            Work::Questions(questions) => writer.decide(questions),
            Work::Changes(batch, flushes) => {
                writer.write(&batch).unwrap();
                writer.journal.written(&batch, flushes);
            }
            Work::Idle | Work::Closed => panic!("nothing to do"),
        }
    }

    #[test]
    fn what_was_swept_and_came_again_stays_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.redb");
        let journal = Arc::new(Journal::new(RedbOptions {
            durability: Durability::Immediate,
            ..RedbOptions::default()
        }));
        let mut writer = Writer {
            file: StateFile::open(&path).unwrap(),
            clock: SystemClock::default(),
            memory: Arc::default(),
            journal: journal.clone(),
            health: Arc::new(Health::new()),
        };
        let now = writer.clock.now_ms();
        let (old, new) = (cell(now - 1), cell(now + 3_600_000));
        let ask = |writer: &mut Writer, key: &'static str, cell: Cell| {
            let journal = journal.clone();
            let asker = thread::spawn(move || journal.ask(TABLE, key, None, Some(&cell)));
            work(writer, Duration::from_secs(60));
            assert_eq!(asker.join().unwrap(), Ok(Exchange::Stored));
        };
        ask(&mut writer, "again", old);
        ask(&mut writer, "gone", old);
        writer.sweep(now);
        ask(&mut writer, "again", new);
        // What the sweep took out, and nobody has put there again.
        work(&mut writer, Duration::ZERO);
        drop(writer);
        let memory = MemoryProxyStore::default();
        // The time does not matter: nothing is dropped.
        StateFile::open(&path).unwrap().load(&memory, 0).unwrap();
        assert_eq!(memory.load(TABLE, "again"), Ok(Some(new)));
        assert_eq!(memory.load(TABLE, "gone"), Ok(None));
    }
}
