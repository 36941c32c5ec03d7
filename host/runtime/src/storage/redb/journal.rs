//! What has changed and is not on disk yet, between those who change it and the thread that writes.

use std::mem;
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use remora_core::{Cell, Exchange, StorageError, Table};

use super::{Durability, RedbOptions};
use crate::storage::health::OnStorageError;

/// The latest value of every entry that has changed; `None`: it was removed. Bounded by the number of entries,
/// however long the disk takes.
pub(super) type Batch = HashMap<(u8, CompactString), Option<Cell>>;

/// A compare-and-exchange that waits for the disk.
pub(super) struct Question {
    pub(super) table: Table,
    pub(super) key: CompactString,
    pub(super) expected: Option<Cell>,
    pub(super) new: Option<Cell>,
    ticket: u64,
}

#[derive(Default)]
struct State {
    /// Changes that memory has and the file has not.
    changed: Batch,
    questions: Vec<Question>,
    answers: HashMap<u64, Result<Exchange, StorageError>>,
    /// How many questions have been asked, and the last flush that was asked for and done.
    asked: u64,
    flush_wanted: u64,
    flush_done: u64,
    flush_failed: u64,
    failing: bool,
    closed: bool,
}

/// The meeting place.
pub(super) struct Journal {
    options: RedbOptions,
    state: Mutex<State>,
    /// There is something to write.
    work: Condvar,
    /// Something has been written, or could not be.
    done: Condvar,
}

/// What the writer takes away to write.
pub(super) enum Work {
    /// What memory has already, and the last flush that asked for it.
    Changes(Batch, u64),
    /// Questions to decide, in this order.
    Questions(Vec<Question>),
    /// Nothing came for a while.
    Idle,
    /// The store is closed; there is nothing left.
    Closed,
}

impl Journal {
    pub(super) fn new(options: RedbOptions) -> Self {
        Self {
            options,
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// Whether changes are welcome while the disk fails.
    pub(super) fn accepts(&self) -> Result<(), StorageError> {
        let refuses = self.options.on_storage_error == OnStorageError::Refuse;
        if refuses && self.state.lock().failing {
            return Err(StorageError::Unavailable);
        }
        Ok(())
    }

    /// Memory has changed.
    pub(super) fn note(&self, table: Table, key: &str, new: Option<&Cell>) {
        let mut state = self.state.lock();
        state
            .changed
            .insert((table.index(), key.into()), new.copied());
    }

    /// Asks for a change and waits until it is on disk.
    pub(super) fn ask(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let mut state = self.state.lock();
        state.asked += 1;
        let ticket = state.asked;
        state.questions.push(Question {
            table,
            key: key.into(),
            expected: expected.copied(),
            new: new.copied(),
            ticket,
        });
        self.work.notify_one();
        loop {
            if let Some(answer) = state.answers.remove(&ticket) {
                return answer;
            }
            self.done.wait(&mut state);
        }
    }

    /// Waits until all that memory has is on disk.
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.flush_wanted += 1;
        let flush = state.flush_wanted;
        self.work.notify_one();
        while state.flush_done < flush {
            if state.flush_failed >= flush {
                return Err(StorageError::Unavailable);
            }
            self.done.wait(&mut state);
        }
        Ok(())
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }

    /// For the writer: waits for work, at most for `patience`.
    pub(super) fn take(&self, patience: Duration) -> Work {
        let mut state = self.state.lock();
        let patience = match self.options.durability {
            Durability::Relaxed => self.options.flush_every.min(patience),
            Durability::Immediate => patience,
        };
        if state.questions.is_empty() && !state.closed && !wants_flush(&state) {
            self.work.wait_for(&mut state, patience);
        }
        if !state.questions.is_empty() {
            return Work::Questions(mem::take(&mut state.questions));
        }
        if !state.changed.is_empty() || wants_flush(&state) {
            return Work::Changes(mem::take(&mut state.changed), state.flush_wanted);
        }
        if state.closed {
            return Work::Closed;
        }
        Work::Idle
    }

    /// The changes that [`Journal::take`] gave away are on disk.
    pub(super) fn written(&self, flushes: u64) {
        let mut state = self.state.lock();
        state.failing = false;
        state.flush_done = state.flush_done.max(flushes);
        self.done.notify_all();
    }

    /// They are not: they wait for the next attempt, unless something newer does. Answers whether there will be
    /// one: a store that is closed gives up.
    pub(super) fn not_written(&self, batch: Batch, flushes: u64) -> bool {
        let mut state = self.state.lock();
        state.failing = true;
        for (place, cell) in batch {
            state.changed.entry(place).or_insert(cell);
        }
        state.flush_failed = state.flush_failed.max(flushes);
        self.done.notify_all();
        !state.closed
    }

    pub(super) fn answer(
        &self,
        answers: impl Iterator<Item = (Question, Result<Exchange, StorageError>)>,
    ) {
        let mut state = self.state.lock();
        for (question, answer) in answers {
            state.answers.insert(question.ticket, answer);
        }
        self.done.notify_all();
    }
}

fn wants_flush(state: &State) -> bool {
    state.flush_wanted > state.flush_done.max(state.flush_failed)
}
