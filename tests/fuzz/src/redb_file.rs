//! A state file that something else has written into. It is refused with a reason or opens; it does not end the
//! process. The input says which bytes of a good file are others: three for the place, one for the value.

use std::fs;
use std::sync::LazyLock;

use remora_core::{Cell, Storage, Table};
use remora_host::storage::{RedbOptions, RedbStore};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "redb_file",
    run,
    mutations: 120,
    words: &[
        "\u{0}\u{0}\u{0}\u{0}",
        "\u{0}\u{0}\u{9}\u{2}",
        "\u{0}\u{10}\u{0}\u{1}",
    ],
};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let store = RedbStore::open(&path, RedbOptions::default()).unwrap();
    for n in 0..20 {
        let cell = Cell {
            words: [n; 6],
            expires_at: Cell::NEVER,
        };
        let key = format!("site-{n}.example");
        store
            .compare_exchange(Table::Sessions, &key, None, Some(&cell))
            .unwrap();
    }
    drop(store);
    fs::read(path).unwrap()
});

fn run(data: &[u8]) {
    let mut bytes = GOOD.clone();
    for change in data.chunks_exact(4) {
        let place =
            usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let size = bytes.len();
        bytes[place % size] = change[3];
    }
    if data.len() % 4 == 1 {
        bytes.truncate(bytes.len() / 256 * usize::from(data[data.len() - 1]));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    fs::write(&path, &bytes).unwrap();
    match RedbStore::open(&path, RedbOptions::default()) {
        Ok(store) => {
            store.load(Table::Sessions, "site-7.example").unwrap();
        }
        Err(error) => assert!(error.to_string().contains("state.redb"), "{error}"),
    }
}
