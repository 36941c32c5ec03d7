//! A Redis server: the conformance suite, and what is in the server.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use remora_host::storage::{
    Blocking, Cell, Degrading, Exchange, Storage, StorageError, Table, conformance,
};
use remora_host::{Clock, SystemClock};

use remora_test_support::relay::Relay;
use remora_test_support::server::Server;
use remora_test_support::until;

use crate::servers::{RUNTIME, blocking, open};

/// The year 2100.
const LATER: u64 = 4_102_444_800_000;

fn now() -> u64 {
    SystemClock::default().now_ms()
}

fn cell(a: u64, expires_at: u64) -> Cell {
    Cell {
        words: [a, 0, 0, 0, 0, 0],
        expires_at,
    }
}

fn put(store: &dyn Storage, table: Table, key: &str, value: Cell) {
    let stored = store.compare_exchange(table, key, None, Some(&value));
    assert_eq!(stored, Ok(Exchange::Stored));
}

#[test]
fn a_server_is_a_store() {
    let server = Server::new();
    for (i, check) in conformance::CHECKS.iter().enumerate() {
        let store = blocking(&server.url(&format!("?prefix=check-{i}")));
        check.run(&store).unwrap();
    }
}

#[test]
fn a_server_that_one_could_do_without_is_a_store() {
    let server = Server::new();
    for (i, check) in conformance::CHECKS.iter().enumerate() {
        let redis = open(&server.url(&format!("?prefix=check-{i}")));
        let degrading = Degrading::new(redis, RUNTIME.handle().clone());
        let store = Blocking::new(Arc::new(degrading), RUNTIME.handle().clone());
        check.run(&store).unwrap();
    }
}

#[test]
fn tenants_on_one_server_do_not_see_each_other() {
    let server = Server::new();
    let (a, b) = (
        blocking(&server.url("?prefix=a")),
        blocking(&server.url("?prefix=b")),
    );
    put(&a, Table::Sessions, "key", cell(1, now() + 60_000));
    assert_eq!(b.load(Table::Sessions, "key"), Ok(None));
    let head = b.first_to_expire(Table::Sessions, 10).unwrap();
    assert_eq!(head.population, 0);
    let keys = server.cli(&["KEYS", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("{a}:0")), "{keys}");
}

#[test]
fn tls_and_a_user_with_just_its_own_keys_are_enough() {
    let may =
        "+get +mget +eval +evalsha +del +set +zadd +zrem +zcount +zscan +zrangebyscore +time +info";
    let user = ["--user", "remora", "on", ">pw-S3cret", "~{team}:*", "-@all"];
    let others = ["--user", "default", "off"];
    let arguments: Vec<&str> = user
        .into_iter()
        .chain(may.split(' '))
        .chain(others)
        .collect();
    let server = Server::with_tls(&arguments);
    let ca = server.dir.path().join("cert.pem");
    let url = |user: &str, prefix: &str| {
        format!(
            "rediss://{user}@127.0.0.1:{}/?prefix={prefix}&ca={}",
            server.port,
            ca.display()
        )
    };
    let store = blocking(&url("remora:pw-S3cret", "team"));
    put(&store, Table::Sessions, "key", cell(1, now() + 60_000));
    assert_eq!(
        store.load(Table::Sessions, "key").unwrap().unwrap().words[0],
        1
    );
    assert_eq!(
        store
            .first_to_expire(Table::Sessions, 9)
            .unwrap()
            .population,
        1
    );
    assert_eq!(
        store.scan(Table::Sessions, None, 9).unwrap().entries.len(),
        1
    );
    let others = blocking(&url("remora:pw-S3cret", "other"));
    assert_eq!(
        others.load(Table::Sessions, "key"),
        Err(StorageError::Unavailable)
    );
    let wrong = blocking(&url("remora:wrong", "team"));
    assert_eq!(
        wrong.load(Table::Sessions, "key"),
        Err(StorageError::Unavailable)
    );
    let plain = blocking(&server.url("?prefix=team"));
    assert_eq!(
        plain.load(Table::Sessions, "key"),
        Err(StorageError::Unavailable)
    );
}

#[test]
fn the_server_drops_what_has_expired_a_minute_after_and_keeps_what_does_not_expire() {
    let server = Server::new();
    let store = blocking(&server.url(""));
    let expires_at = now() + 5_000;
    put(&store, Table::Sessions, "short", cell(1, expires_at));
    put(&store, Table::Sessions, "never", cell(2, Cell::NEVER));
    let dropped_at = server.cli(&["PEXPIRETIME", "{remora}:0:short"]);
    assert_eq!(dropped_at, (expires_at + 60_000).to_string());
    assert_eq!(server.cli(&["PEXPIRETIME", "{remora}:0:never"]), "-1");
    // Long expired: gone at once, and out of the index with the next change.
    put(&store, Table::Sessions, "long-gone", cell(3, 1_000));
    assert_eq!(store.load(Table::Sessions, "long-gone"), Ok(None));
    put(&store, Table::Sessions, "another", cell(4, expires_at));
    let index = server.cli(&["ZRANGE", "{remora}:0", "0", "-1"]);
    assert!(!index.contains("long-gone"), "{index}");
    let head = store.first_to_expire(Table::Sessions, 10).unwrap();
    assert_eq!(head.population, 2);
}

#[test]
fn a_change_whose_answer_is_lost_is_made_once_and_known_to_be_ours() {
    let server = Server::new();
    let relay = Arc::new(Relay::to(server.port));
    let store = blocking(&format!("redis://127.0.0.1:{}", relay.port));
    let direct = blocking(&server.url(""));
    for (i, wanted) in [Some(cell(1, LATER)), Some(cell(2, LATER)), None]
        .into_iter()
        .enumerate()
    {
        let key = "key";
        let held = store.load(Table::Sessions, key).unwrap();
        relay.lose_answers();
        let mender = {
            let relay = relay.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                relay.mend();
            })
        };
        let changed = store.compare_exchange(Table::Sessions, key, held.as_ref(), wanted.as_ref());
        assert_eq!(changed, Ok(Exchange::Stored), "change {i}");
        assert_eq!(direct.load(Table::Sessions, key), Ok(wanted));
        mender.join().unwrap();
    }
}

#[test]
fn the_same_change_of_two_writers_is_two_changes() {
    let server = Server::new();
    let (one, two) = (blocking(&server.url("")), blocking(&server.url("")));
    let value = cell(1, LATER);
    put(&one, Table::Sessions, "key", value);
    for store in [&one, &two] {
        let again = store.compare_exchange(Table::Sessions, "key", None, Some(&value));
        assert_eq!(again, Ok(Exchange::Conflict(Some(value))));
    }
}

#[test]
fn what_is_not_ours_is_corrupt_and_left_alone() {
    let server = Server::new();
    let store = blocking(&server.url(""));
    server.cli(&["SET", "{remora}:0:text", "hello"]);
    server.cli(&["LPUSH", "{remora}:0:list", "hello"]);
    for key in ["text", "list"] {
        assert_eq!(
            store.load(Table::Sessions, key),
            Err(StorageError::Corrupt),
            "{key}"
        );
        let new = cell(1, now() + 60_000);
        let changed = store.compare_exchange(Table::Sessions, key, None, Some(&new));
        assert_eq!(changed, Err(StorageError::Corrupt), "{key}");
    }
    assert_eq!(server.cli(&["GET", "{remora}:0:text"]), "hello");
}

#[test]
fn a_server_without_room_says_so_and_still_answers() {
    let server = Server::new();
    let store = blocking(&server.url(""));
    let value = cell(1, now() + 60_000);
    put(&store, Table::Sessions, "key", value);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let more = store.compare_exchange(Table::Sessions, "more", None, Some(&value));
    assert_eq!(more, Err(StorageError::Full));
    assert_eq!(store.load(Table::Sessions, "key"), Ok(Some(value)));
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    put(&store, Table::Sessions, "more", value);
}

/// What a process sees of a server that answers, but takes no changes while `fault` is on.
fn takes_no_changes(fault: &[&str], end: &[&str]) {
    let server = Server::new();
    let redis = open(&server.url(""));
    let store = Blocking::new(redis.clone(), RUNTIME.handle().clone());
    put(&store, Table::Sessions, "key", cell(1, LATER));
    server.cli(fault);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let new = cell(1, LATER);
        let refused = store.compare_exchange(Table::Sessions, "more", None, Some(&new));
        assert_eq!(refused, Err(StorageError::Unavailable), "{fault:?}");
        assert!(redis.health().is_failing(), "{fault:?}");
    }
    // Every outage is said once, and its end, too.
    assert_eq!(redis.health().failures(), 1, "{fault:?}");
    server.cli(end);
    // Nobody has to change anything for that.
    until("it is known to take changes again", || {
        !redis.health().is_failing()
    });
    put(&store, Table::Sessions, "more", cell(1, LATER));
    assert_eq!(redis.health().failures(), 1, "{fault:?}");
}

#[test]
fn a_server_that_has_become_a_replica_is_failing_until_it_takes_changes() {
    takes_no_changes(
        &["REPLICAOF", "127.0.0.1", "1"],
        &["REPLICAOF", "NO", "ONE"],
    );
}

#[test]
fn a_server_without_enough_replicas_is_failing_until_it_takes_changes() {
    let replicas = |n| ["CONFIG", "SET", "min-replicas-to-write", n];
    takes_no_changes(&replicas("1"), &replicas("0"));
}

#[test]
fn a_server_that_takes_no_changes_is_known_before_anybody_asks_for_one() {
    let server = Server::new();
    let redis = open(&server.url(""));
    let store = Blocking::new(redis.clone(), RUNTIME.handle().clone());
    put(&store, Table::Sessions, "key", cell(1, LATER));
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    until("it is looked at", || redis.health().is_failing());
    // What is there can be read as before.
    let held = store.load(Table::Sessions, "key");
    assert_eq!(held, Ok(Some(cell(1, LATER))));
}

#[test]
fn what_a_replica_holds_is_not_read() {
    let server = Server::new();
    let redis = open(&server.url(""));
    let store = Blocking::new(redis.clone(), RUNTIME.handle().clone());
    put(&store, Table::Sessions, "key", cell(1, LATER));
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    until("it is looked at", || redis.health().is_failing());
    let held = store.load(Table::Sessions, "key");
    assert_eq!(held, Err(StorageError::Unavailable));
}

#[test]
fn a_change_that_a_user_may_not_make_is_failing_until_he_may() {
    let server = Server::new();
    let redis = open(&server.url(""));
    let store = Blocking::new(redis.clone(), RUNTIME.handle().clone());
    put(&store, Table::Sessions, "key", cell(1, LATER));
    server.cli(&["ACL", "SETUSER", "default", "-zadd"]);
    let new = cell(1, LATER);
    let refused = store.compare_exchange(Table::Sessions, "more", None, Some(&new));
    assert_eq!(refused, Err(StorageError::Unavailable));
    // Longer than it takes to look.
    thread::sleep(Duration::from_millis(2_500));
    assert!(redis.health().is_failing());
    server.cli(&["ACL", "SETUSER", "default", "+zadd"]);
    put(&store, Table::Sessions, "another", new);
    assert!(!redis.health().is_failing());
    assert_eq!(redis.health().failures(), 1);
}

#[test]
fn a_process_that_may_go_on_alone_joins_in_again_when_changes_are_taken() {
    let server = Server::new();
    let redis = open(&server.url(""));
    let degrading = Arc::new(Degrading::new(redis, RUNTIME.handle().clone()));
    let store = Blocking::new(degrading.clone(), RUNTIME.handle().clone());
    put(&store, Table::Sessions, "key", cell(1, LATER));
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    for key in ["a", "b", "c"] {
        put(&store, Table::Sessions, key, cell(2, LATER));
        // Longer than it takes to look.
        thread::sleep(Duration::from_millis(400));
        assert!(degrading.health().is_failing());
    }
    assert_eq!(degrading.health().failures(), 1);
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    until("it joins in again", || !degrading.health().is_failing());
    assert_eq!(store.load(Table::Sessions, "a"), Ok(None));
}

#[test]
fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let server = Server::new();
    let store = blocking(&server.url(""));
    put(&store, Table::Sessions, "one", cell(1, now() + 60_000));
    server.cli(&["SCRIPT", "FLUSH"]);
    put(&store, Table::Sessions, "two", cell(1, now() + 60_000));
}

#[test]
fn a_server_that_comes_back_empty_is_noticed() {
    let mut server = Server::new();
    let redis = open(&server.url(""));
    let store = Blocking::new(redis.clone(), RUNTIME.handle().clone());
    put(&store, Table::Sessions, "key", cell(1, now() + 60_000));
    assert_eq!(redis.health().failovers(), 0);
    server.restart();
    until("the restart is noticed", || redis.health().failovers() == 1);
    assert_eq!(store.load(Table::Sessions, "key"), Ok(None));
}
