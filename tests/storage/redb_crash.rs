//! kill -9 under load, again and again: what is left of the state.
//!
//! The writer is this test binary once more. It changes entries in one sequence, says on its standard output
//! what is on disk, and is killed at some moment. What the file holds then must be the state after some prefix
//! of that sequence, one that reaches at least as far as what it said.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use remora_host::storage::{Cell, Durability, Exchange, RedbOptions, RedbStore, Storage, Table};
use remora_host::{Clock, SystemClock};

const FILE: &str = "REMORA_TEST_STATE_FILE";
const LEVEL: &str = "REMORA_TEST_DURABILITY";

const KEYS: u64 = 97;
const KILLS: u64 = 50;
/// Every so many changes are short-lived: they have expired when the file is opened again.
const SHORT: u64 = 5;
const SHORT_MS: u64 = 30;

/// Change number `i` of the sequence: entry `i % KEYS` gets the value `i`; every seventh change removes it.
fn change(store: &RedbStore, i: u64) -> u64 {
    let key = format!("key-{}", i % KEYS);
    let now = SystemClock::default().now_ms();
    let life = if i.is_multiple_of(SHORT) {
        SHORT_MS
    } else {
        3_600_000
    };
    let value = Cell {
        words: [i, 0, 0, 0, 0, 0],
        expires_at: now + life,
    };
    let new = (!i.is_multiple_of(7)).then_some(value);
    let old = store.load(Table::Sessions, &key).unwrap();
    let exchanged = store.compare_exchange(Table::Sessions, &key, old.as_ref(), new.as_ref());
    assert_eq!(exchanged, Ok(Exchange::Stored));
    // The length of the sequence, beside it.
    let (mut seen, next) = (
        store.load(Table::Custom(9), "length").unwrap(),
        Cell {
            words: [i, 0, 0, 0, 0, 0],
            expires_at: Cell::NEVER,
        },
    );
    while let Ok(Exchange::Conflict(current)) =
        store.compare_exchange(Table::Custom(9), "length", seen.as_ref(), Some(&next))
    {
        seen = current;
    }
    value.expires_at
}

fn open(path: &Path, durability: Durability) -> RedbStore {
    let options = RedbOptions {
        durability,
        flush_every: Duration::from_millis(5),
        ..RedbOptions::default()
    };
    RedbStore::open(path, options).unwrap()
}

fn length(store: &RedbStore) -> u64 {
    let cell = store.load(Table::Custom(9), "length").unwrap();
    cell.map_or(0, |cell| cell.words[0])
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "the writer that the tests below start and kill"]
fn writer() {
    let path = env::var_os(FILE).unwrap();
    let immediate = env::var(LEVEL).unwrap() == "immediate";
    let durability = if immediate {
        Durability::Immediate
    } else {
        Durability::Relaxed
    };
    let store = open(Path::new(&path), durability);
    let mut out = std::io::stdout();
    for i in length(&store) + 1.. {
        let expires_at = change(&store, i);
        // Under `Relaxed` a change is on disk once a flush says so; in between, the writer thread flushes when it
        // likes, and the kill comes when it likes.
        if !immediate && i.is_multiple_of(50) {
            store.flush().unwrap();
        }
        if immediate || i.is_multiple_of(50) {
            writeln!(out, "durable {i} {expires_at}").unwrap();
            out.flush().unwrap();
        }
    }
}

/// Starts the writer, kills it after `after`, and answers with the last change that it said was on disk.
fn killed(path: &Path, level: &str, after: Duration) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "redb_crash::writer", "--ignored", "--nocapture"])
        .env(FILE, path)
        .env(LEVEL, level)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = |line: &str| {
        let rest = line.split("durable ").nth(1)?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    // The time runs from the first change on: it is to be killed at work, not at its start.
    let mut last = lines
        .by_ref()
        .find_map(|line| said(&line.unwrap()))
        .unwrap();
    let pid = child.id().to_string();
    let killer = thread::spawn(move || {
        thread::sleep(after);
        assert!(
            Command::new("kill")
                .args(["-9", &pid])
                .status()
                .unwrap()
                .success()
        );
    });
    for line in lines {
        last = said(&line.unwrap()).unwrap_or(last);
    }
    killer.join().unwrap();
    assert!(!child.wait().unwrap().success());
    last
}

/// What the entries must be after change `length`: the number of the last change of each.
fn wanted(length: u64) -> HashMap<String, u64> {
    let from = length.saturating_sub(KEYS - 1).max(1);
    let last = (from..=length).filter(|i| !i.is_multiple_of(7));
    last.map(|i| (format!("key-{}", i % KEYS), i)).collect()
}

fn survives(level: &str, durability: Durability) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let (mut survived, mut acknowledged) = (0, 0);
    for kill in 0..KILLS {
        // From at once to a while later, another moment every time.
        let said = killed(
            &path,
            level,
            Duration::from_micros(kill * kill % 41 * 1_000 + kill * 37),
        );
        thread::sleep(Duration::from_millis(SHORT_MS + 5));
        let before = SystemClock::default().now_ms();
        let store = open(&path, durability);
        let length = length(&store);
        assert!(
            said <= length,
            "kill {kill}: {said} was on disk, and {length} is left"
        );
        // With both kinds the length is written after the entry, so one more change may be there.
        let mut wanted_here = wanted(length);
        let next = format!("key-{}", (length + 1) % KEYS);
        let page = store.scan(Table::Sessions, None, 10_000).unwrap();
        assert_eq!(page.next, None);
        let mut held: HashMap<String, Cell> = page.entries.into_iter().collect();
        for cell in held.values() {
            assert!(
                cell.expires_at > before,
                "kill {kill}: {cell:?} is back from the dead"
            );
        }
        held.remove(&next);
        wanted_here.remove(&next);
        // What was short-lived has expired by now.
        wanted_here.retain(|_, i| !i.is_multiple_of(SHORT));
        let held: HashMap<String, u64> = held.into_iter().map(|(k, c)| (k, c.words[0])).collect();
        assert_eq!(held, wanted_here, "kill {kill}, after change {length}");
        survived += length - said;
        acknowledged = length;
    }
    println!(
        "{level}: {KILLS} kills, {acknowledged} changes; none that was on disk is lost, {survived} more were there"
    );
}

#[test]
fn a_kill_takes_back_the_last_moments_as_a_whole_and_nothing_that_was_flushed() {
    survives("relaxed", Durability::Relaxed);
}

#[test]
fn a_kill_takes_back_nothing_that_was_answered_when_every_change_waits_for_the_disk() {
    survives("immediate", Durability::Immediate);
}
