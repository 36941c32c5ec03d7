//! A disk that is full. The process whose disk it is, is this test binary once more, under a limit on the size of its
//! files: the system refuses its writes as a full disk does.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use remora_host::storage::{
    Cell, Durability, Exchange, OnStorageError, RedbOptions, RedbStore, Storage, StorageError,
    Table,
};

use remora_test_support::until;

const FILE: &str = "REMORA_TEST_STATE_FILE";
const MODE: &str = "REMORA_TEST_ON_ERROR";

const CELL: Cell = Cell {
    words: [1; 6],
    expires_at: Cell::NEVER,
};

fn options(mode: &str) -> RedbOptions {
    RedbOptions {
        durability: match mode {
            "immediate" => Durability::Immediate,
            _ => Durability::Relaxed,
        },
        on_storage_error: match mode {
            "degrade" => OnStorageError::Degrade,
            _ => OnStorageError::Refuse,
        },
        ..RedbOptions::default()
    }
}

/// Not a test: the process with the full disk. Says `full`, and `well` once it can write again.
#[test]
#[ignore = "the process whose disk is full, which the tests below start"]
fn writer() {
    let mode = env::var(MODE).unwrap();
    let store = RedbStore::open(env::var_os(FILE).unwrap(), options(&mode)).unwrap();
    let put = |key: &str| store.compare_exchange(Table::Sessions, key, None, Some(&CELL));
    assert_eq!(put("first"), Ok(Exchange::Stored));
    store.flush().unwrap();
    let refused = (0..).find(|n| {
        let refused = put(&format!("key-{n}-{}", "k".repeat(200))).is_err();
        refused || store.health().is_failing()
    });
    assert!(refused.is_some());
    // What is refused is what changes; what is there is still answered.
    assert_eq!(store.load(Table::Sessions, "first"), Ok(Some(CELL)));
    match mode.as_str() {
        "degrade" => {
            assert_eq!(put("during"), Ok(Exchange::Stored));
            assert_eq!(store.flush(), Err(StorageError::Unavailable));
        }
        _ => {
            let mut keys = (0..).map(|n| format!("during-{n}"));
            let refused = keys.find(|key| put(key) == Err(StorageError::Unavailable));
            assert_eq!(store.load(Table::Sessions, &refused.unwrap()), Ok(None));
        }
    }
    println!("full");
    until("it can be written again", || {
        // Without a change there is nothing to find that out with.
        let _ = put("again");
        !store.health().is_failing()
    });
    let _ = put("after");
    store.flush().unwrap();
    println!("well");
}

fn fills_up(mode: &str) -> RedbStore {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let this = env::current_exe().unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -S -f 600; exec '{}' --exact redb_disk::writer --ignored --nocapture",
        this.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .env(FILE, &path)
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut says = |word: &str| lines.any(|line| line.unwrap().contains(word));
    assert!(says("full"), "{mode}");
    let pid = format!("--pid={}", child.id());
    let raised = Command::new("prlimit")
        .args([&pid, "--fsize=unlimited"])
        .status();
    assert!(raised.unwrap().success());
    assert!(says("well"), "{mode}");
    assert!(child.wait().unwrap().success(), "{mode}");
    reopened(&path)
}

fn reopened(path: &Path) -> RedbStore {
    let store = RedbStore::open(path, RedbOptions::default()).unwrap();
    for key in ["first", "after"] {
        assert_eq!(store.load(Table::Sessions, key), Ok(Some(CELL)), "{key}");
    }
    store
}

#[test]
fn on_a_full_disk_changes_are_refused_and_nothing_is_lost() {
    fills_up("refuse");
    fills_up("immediate");
}

#[test]
fn a_process_that_may_goes_on_in_memory_on_a_full_disk_and_writes_it_all_later() {
    let store = fills_up("degrade");
    assert_eq!(store.load(Table::Sessions, "during"), Ok(Some(CELL)));
}
