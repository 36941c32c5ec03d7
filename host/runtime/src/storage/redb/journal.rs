//! What has changed and is not on disk yet, between those who change it and the thread that writes.

use std::mem;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Condvar, Mutex};
use remora_core::{Cell, Exchange, StorageError, Table};

use super::{Durability, RedbOptions};
use crate::storage::health::OnStorageError;

/// Table and key of an entry.
pub(super) type Place = (u8, CompactString);

/// The latest value of every entry that has changed; `None`: it was removed.
pub(super) type Batch = HashMap<Place, Option<Cell>>;

/// How long a caller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a flush may take: all that has changed, at once.
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);

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
    /// Changes that memory has and the file has not. Bounded by the number of entries, however long the disk fails.
    changed: Batch,
    /// Entries that the file does not have: when they are gone before they were written, there is nothing to write.
    new: HashSet<Place>,
    /// The writer has a batch, and nobody knows yet whether the file has it.
    writing: bool,
    questions: Vec<Question>,
    answers: HashMap<u64, Result<Exchange, StorageError>>,
    /// Questions whose callers have gone.
    given_up: HashSet<u64>,
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
    patience: Duration,
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
            patience: PATIENCE,
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// What becomes of changes while the disk fails, for the log.
    pub(super) fn meanwhile(&self) -> &'static str {
        let options = &self.options;
        if options.durability == Durability::Immediate
            || options.on_storage_error == OnStorageError::Refuse
        {
            "changes are refused until it can; sessions that are there go on"
        } else {
            "what changes is in memory only until it can"
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
    pub(super) fn note(&self, table: Table, key: &str, old: Option<&Cell>, new: Option<&Cell>) {
        let state = &mut *self.state.lock();
        let place: Place = (table.index(), key.into());
        // Memory is what the file is, but for what has changed.
        let unknown = old.is_none() && !state.writing && !state.changed.contains_key(&place);
        if unknown {
            state.new.insert(place.clone());
        }
        state.changed.insert(place.clone(), new.copied());
        if !state.writing {
            state.drop_if_gone(&place);
        }
    }

    /// Asks for a change and waits until it is on disk; a disk that hangs is not waited for.
    pub(super) fn ask(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        let deadline = Instant::now() + self.patience;
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
            if Instant::now() >= deadline {
                state.give_up(ticket);
                return Err(StorageError::Unavailable);
            }
            self.done.wait_until(&mut state, deadline);
        }
    }

    /// Waits until all that memory has is on disk.
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.flush_wanted += 1;
        let flush = state.flush_wanted;
        self.work.notify_one();
        let deadline = Instant::now() + FLUSH_PATIENCE;
        while state.flush_done < flush {
            if state.flush_failed >= flush || Instant::now() >= deadline {
                return Err(StorageError::Unavailable);
            }
            self.done.wait_until(&mut state, deadline);
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
            state.writing = true;
            return Work::Changes(mem::take(&mut state.changed), state.flush_wanted);
        }
        if state.closed {
            return Work::Closed;
        }
        Work::Idle
    }

    /// The changes that [`Journal::take`] gave away are on disk.
    pub(super) fn written(&self, batch: &Batch, flushes: u64) {
        let state = &mut *self.state.lock();
        state.failing = false;
        state.writing = false;
        for (place, cell) in batch {
            state.new.remove(place);
            if cell.is_none() && state.changed.contains_key(place) {
                // Gone from the file, and there again in memory.
                state.new.insert(place.clone());
                state.drop_if_gone(place);
            }
        }
        state.flush_done = state.flush_done.max(flushes);
        self.done.notify_all();
    }

    /// Answers to questions are on disk: what was to be written there before, a sweep's removal, is not any more.
    pub(super) fn overtaken(&self, batch: &Batch) {
        let state = &mut *self.state.lock();
        for place in batch.keys() {
            state.changed.remove(place);
            state.new.remove(place);
        }
    }

    /// They are not: they wait for the next attempt, unless something newer does. Answers whether there will be
    /// one: a store that is closed gives up.
    pub(super) fn not_written(&self, batch: Batch, flushes: u64) -> bool {
        let state = &mut *self.state.lock();
        state.failing = true;
        state.writing = false;
        for (place, cell) in batch {
            state.changed.entry(place.clone()).or_insert(cell);
            state.drop_if_gone(&place);
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
            if !state.given_up.remove(&question.ticket) {
                state.answers.insert(question.ticket, answer);
            }
        }
        self.done.notify_all();
    }
}

impl State {
    /// Nobody waits for that answer any more.
    fn give_up(&mut self, ticket: u64) {
        let asked = self.questions.len();
        self.questions.retain(|question| question.ticket != ticket);
        if self.questions.len() == asked {
            // It is with the disk already: whether it happens, nobody knows.
            self.given_up.insert(ticket);
        }
    }

    fn drop_if_gone(&mut self, place: &Place) {
        if self.changed.get(place) == Some(&None) && self.new.remove(place) {
            self.changed.remove(place);
        }
    }
}

fn wants_flush(state: &State) -> bool {
    state.flush_wanted > state.flush_done.max(state.flush_failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table::Sessions;
    const CELL: Cell = Cell {
        words: [1; 6],
        expires_at: 2,
    };

    /// What would be written now.
    fn batch(journal: &Journal) -> (Batch, u64) {
        match journal.take(Duration::ZERO) {
            Work::Changes(batch, flushes) => (batch, flushes),
            _ => (Batch::default(), 0),
        }
    }

    #[test]
    fn the_log_says_what_becomes_of_changes() {
        let says = |durability, on_storage_error| {
            let options = RedbOptions {
                durability,
                on_storage_error,
                ..RedbOptions::default()
            };
            Journal::new(options).meanwhile()
        };
        use Durability::{Immediate, Relaxed};
        use OnStorageError::{Degrade, Refuse};
        assert!(says(Relaxed, Degrade).starts_with("what changes is in memory only"));
        for (durability, on_storage_error) in
            [(Relaxed, Refuse), (Immediate, Refuse), (Immediate, Degrade)]
        {
            assert!(says(durability, on_storage_error).starts_with("changes are refused"));
        }
    }

    #[test]
    fn what_comes_and_goes_while_the_disk_fails_is_not_kept() {
        let journal = Journal::new(RedbOptions::default());
        journal.note(TABLE, "on-disk", Some(&CELL), None);
        for i in 0..1_000 {
            let key = format!("once-{i}");
            journal.note(TABLE, &key, None, Some(&CELL));
            let (batch, flushes) = batch(&journal);
            // Goes while the disk is being tried, and after.
            if i % 2 == 0 {
                journal.note(TABLE, &key, Some(&CELL), None);
            }
            assert!(journal.not_written(batch, flushes));
            if i % 2 == 1 {
                journal.note(TABLE, &key, Some(&CELL), None);
            }
        }
        let state = journal.state.lock();
        assert_eq!((state.changed.len(), state.new.len()), (1, 0));
    }

    #[test]
    fn what_the_file_has_is_taken_out_of_it() {
        let journal = Journal::new(RedbOptions::default());
        journal.note(TABLE, "a", None, Some(&CELL));
        let (first, flushes) = batch(&journal);
        // Removed before anybody knows whether the file has it: it has.
        journal.note(TABLE, "a", Some(&CELL), None);
        journal.written(&first, flushes);
        let (second, flushes) = batch(&journal);
        let place: Place = (TABLE.index(), "a".into());
        assert_eq!(
            (first.get(&place), second.get(&place)),
            (Some(&Some(CELL)), Some(&None))
        );
        // There again while it is taken out, and gone once more: the file has nothing of it.
        journal.note(TABLE, "a", None, Some(&CELL));
        journal.note(TABLE, "a", Some(&CELL), None);
        journal.written(&second, flushes);
        assert!(batch(&journal).0.is_empty());
    }

    #[test]
    fn a_disk_that_hangs_is_not_waited_for() {
        let mut journal = Journal::new(RedbOptions {
            durability: Durability::Immediate,
            ..RedbOptions::default()
        });
        journal.patience = Duration::from_millis(20);
        let asked = journal.ask(TABLE, "a", None, Some(&CELL));
        assert_eq!(asked, Err(StorageError::Unavailable));
        assert!(journal.state.lock().questions.is_empty());
        // One that is with the disk already: its answer is heard by nobody, and not kept.
        journal.patience = Duration::from_secs(1);
        let journal = std::sync::Arc::new(journal);
        let asker = {
            let journal = journal.clone();
            std::thread::spawn(move || journal.ask(TABLE, "a", None, Some(&CELL)))
        };
        let Work::Questions(questions) = journal.take(Duration::from_secs(60)) else {
            panic!("nothing was asked");
        };
        assert_eq!(asker.join().unwrap(), Err(StorageError::Unavailable));
        let answers = questions.into_iter().map(|q| (q, Ok(Exchange::Stored)));
        journal.answer(answers);
        let state = journal.state.lock();
        assert!(state.answers.is_empty() && state.given_up.is_empty());
    }
}
