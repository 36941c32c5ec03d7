//! A state file: what it keeps, and what it refuses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use remora_host::storage::{
    Cell, Durability, Exchange, RedbError, RedbOptions, RedbStore, Storage, Table, conformance,
};
use remora_host::{Clock, SystemClock};

fn relaxed() -> RedbOptions {
    RedbOptions::default()
}

fn immediate() -> RedbOptions {
    RedbOptions {
        durability: Durability::Immediate,
        ..RedbOptions::default()
    }
}

fn open(path: &Path) -> RedbStore {
    RedbStore::open(path, relaxed()).unwrap()
}

fn refusal(path: &Path) -> RedbError {
    RedbStore::open(path, relaxed()).unwrap_err()
}

fn cell(a: u64, expires_at: u64) -> Cell {
    Cell {
        words: [a, 0, 0, 0, 0, 0],
        expires_at,
    }
}

fn put(store: &RedbStore, table: Table, key: &str, value: Cell) {
    let stored = store.compare_exchange(table, key, None, Some(&value));
    assert_eq!(stored, Ok(Exchange::Stored));
}

fn now() -> u64 {
    SystemClock::default().now_ms()
}

fn wait_until(moment: u64) {
    while now() <= moment {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A file with so many sessions, which expire at that moment, and what is in it.
fn filled(path: &Path, sessions: u64, expires_at: u64) -> Vec<u8> {
    {
        let store = open(path);
        for i in 0..sessions {
            let key = format!("k{i}.example");
            put(&store, Table::Sessions, &key, cell(i, expires_at));
        }
    }
    fs::read(path).unwrap()
}

#[test]
fn a_file_is_a_store_at_both_levels_of_durability() {
    let dir = tempfile::tempdir().unwrap();
    for (level, options) in [("relaxed", relaxed()), ("immediate", immediate())] {
        for (i, check) in conformance::CHECKS.iter().enumerate() {
            let path = dir.path().join(format!("{level}-{i}"));
            let store = RedbStore::open(path, options).unwrap();
            check.run(&store).unwrap_or_else(|e| panic!("{level}: {e}"));
        }
    }
}

#[test]
fn what_was_stored_is_there_after_a_restart_and_what_was_removed_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for (level, options) in [("relaxed", relaxed()), ("immediate", immediate())] {
        let path = dir.path().join(level);
        let later = now() + 3_600_000;
        {
            let store = RedbStore::open(&path, options).unwrap();
            put(&store, Table::Sessions, "kept", cell(1, later));
            put(&store, Table::Breakers, "kept", cell(2, Cell::NEVER));
            put(&store, Table::Sessions, "removed", cell(3, later));
            let removed =
                store.compare_exchange(Table::Sessions, "removed", Some(&cell(3, later)), None);
            assert_eq!(removed, Ok(Exchange::Stored));
        }
        let store = RedbStore::open(&path, options).unwrap();
        let load = |table, key| store.load(table, key).unwrap();
        assert_eq!(load(Table::Sessions, "kept"), Some(cell(1, later)));
        assert_eq!(load(Table::Breakers, "kept"), Some(cell(2, Cell::NEVER)));
        assert_eq!(load(Table::Sessions, "removed"), None);
        assert_eq!(load(Table::Breakers, "removed"), None);
    }
}

#[test]
fn what_has_expired_meanwhile_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let soon = now() + 200;
    {
        let store = open(&path);
        put(&store, Table::Sessions, "short", cell(1, soon));
        put(&store, Table::Sessions, "long", cell(2, soon + 3_600_000));
    }
    wait_until(soon);
    let store = open(&path);
    assert_eq!(store.load(Table::Sessions, "short"), Ok(None));
    assert!(store.load(Table::Sessions, "long").unwrap().is_some());
    // A clock that begins here cannot see the moment before again.
    assert!(SystemClock::not_before(store.last_seen_ms()).now_ms() > soon);
}

#[test]
fn a_file_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let first = open(&path);
    assert!(matches!(refusal(&path), RedbError::InUse { .. }));
    drop(first);
    open(&path);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    drop(open(&path));
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let meta = redb::TableDefinition::<&str, u64>::new("meta");
            let mut meta = transaction.open_table(meta).unwrap();
            meta.insert("format", 7).unwrap();
        }
        transaction.commit().unwrap();
    }
    let error = refusal(&path);
    assert!(
        error
            .to_string()
            .ends_with("has format 7; this version reads format 1"),
        "{error}"
    );
    let again = refusal(&path);
    assert_eq!(again, error);
}

#[test]
fn a_torn_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(&dir.path().join("good"), 2_000, now() + 3_600_000);
    let torn: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("short", whole[..100].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("text", b"listen = \"127.0.0.1:8080\"\n".repeat(500)),
        ("zeros", vec![0; whole.len()]),
        ("head lost", {
            let mut bytes = whole.clone();
            bytes[..4_096].fill(0);
            bytes
        }),
    ];
    for (what, bytes) in torn {
        let path = dir.path().join(what);
        fs::write(&path, &bytes).unwrap();
        let error = refusal(&path);
        assert!(
            matches!(error, RedbError::Damaged { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what} was written to");
    }
}

#[test]
fn a_damaged_page_is_refused_rather_than_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(&dir.path().join("good"), 2_000, now() + 3_600_000);
    let needle = b"k1234";
    let at = whole.windows(5).rposition(|w| w == needle).unwrap();
    let mut bytes = whole;
    for byte in &mut bytes[at..at + 5] {
        *byte = b'x';
    }
    let path = dir.path().join("bad");
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(refusal(&path), RedbError::Damaged { .. }));
}

#[test]
fn a_file_that_is_mostly_holes_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let soon = now() + 1_500;
    let full = filled(&path, 40_000, soon).len() as u64;
    wait_until(soon);
    drop(open(&path));
    let empty = fs::metadata(&path).unwrap().len();
    assert!(empty < full / 4, "{full} bytes, then {empty}");
}
