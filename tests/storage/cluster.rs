//! A cluster: the conformance suite, and what a failover loses.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use remora_host::storage::{Cell, Exchange, Storage, Table, conformance};
use remora_test_support::cluster::Cluster;
use remora_test_support::until;

use crate::servers::blocking;

#[test]
fn a_cluster_is_a_store() {
    let cluster = Cluster::new();
    for (i, check) in conformance::CHECKS.iter().enumerate() {
        // Other prefixes, other slots, other nodes.
        let store = blocking(&cluster.url(&format!("?prefix=check-{i}")));
        check.run(&store).unwrap();
    }
}

#[test]
fn what_a_replica_has_survives_the_master() {
    let mut cluster = Cluster::new();
    let store = Arc::new(blocking(&cluster.url("?prefix=t")));
    let value = |a| Cell {
        words: [a, 0, 0, 0, 0, 0],
        expires_at: Cell::NEVER,
    };
    for i in 0..200 {
        let stored =
            store.compare_exchange(Table::Sessions, &format!("k{i}"), None, Some(&value(i)));
        assert_eq!(stored, Ok(Exchange::Stored));
    }
    thread::sleep(Duration::from_millis(500));
    cluster.kill_master_of("{t}:0");
    until("the replica answers", || {
        store.load(Table::Sessions, "k0").is_ok()
    });
    for i in 0..200 {
        assert_eq!(
            store.load(Table::Sessions, &format!("k{i}")),
            Ok(Some(value(i)))
        );
    }
}

#[test]
fn what_a_failover_loses_is_of_the_last_moments() {
    let mut cluster = Cluster::new();
    let store = blocking(&cluster.url("?prefix=t"));
    let value = Cell {
        words: [1; 6],
        expires_at: Cell::NEVER,
    };
    // What was answered, and when, until the master is gone.
    let (answered, killed_at) = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|w| {
                let store = &store;
                scope.spawn(move || {
                    let mut answered = Vec::new();
                    for n in 0.. {
                        let key = format!("w{w}-{n}");
                        match store.compare_exchange(Table::Sessions, &key, None, Some(&value)) {
                            Ok(_) => answered.push((key, Instant::now())),
                            Err(_) => break,
                        }
                    }
                    answered
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(2));
        let killed_at = Instant::now();
        cluster.kill_master_of("{t}:0");
        let joined = writers.into_iter().map(|writer| writer.join().unwrap());
        (joined.flatten().collect::<Vec<_>>(), killed_at)
    });
    until("the replica answers", || {
        store.load(Table::Sessions, "w0-0").is_ok()
    });
    let lost: Vec<Duration> = answered
        .iter()
        .filter(|(key, _)| store.load(Table::Sessions, key).unwrap().is_none())
        .map(|(_, at)| killed_at.saturating_duration_since(*at))
        .collect();
    let oldest = lost.iter().max();
    println!(
        "{} changes answered, {} of them lost; the oldest {oldest:?} before the kill",
        answered.len(),
        lost.len()
    );
    assert!(lost.len() < answered.len() / 2);
    assert!(oldest.is_none_or(|oldest| *oldest < Duration::from_secs(1)));
}
