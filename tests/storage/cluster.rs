//! A Redis Cluster of six processes on loopback: three masters, each with a replica.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use remora_host::storage::{Cell, Exchange, Storage, Table, conformance};

use crate::servers::{Server, blocking, until};

const NODES: usize = 6;

pub struct Cluster {
    nodes: Vec<Server>,
    down: Option<usize>,
}

impl Cluster {
    pub fn new() -> Self {
        let nodes: Vec<Server> = (0..NODES)
            .map(|_| {
                Server::with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1500",
                    "--cluster-replica-validity-factor",
                    "0",
                    "--repl-diskless-sync-delay",
                    "0",
                ])
            })
            .collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stdout)
        );
        let cluster = Self { nodes, down: None };
        until("the cluster is ready", || cluster.is_whole());
        cluster
    }

    /// Whether every node sees the cluster as good, with three replicas in step.
    fn is_whole(&self) -> bool {
        let good = self.nodes.iter().all(|node| {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
        });
        let replicas = self.nodes.iter().filter(|node| {
            let info = node.cli(&["INFO", "replication"]);
            info.contains("role:slave") && info.contains("master_link_status:up")
        });
        good && replicas.count() == NODES / 2
    }

    pub fn url(&self, rest: &str) -> String {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!("redis-cluster://{}/{rest}", nodes.join(","))
    }

    /// kill -9 of the node that decides over a key; its replica takes over. A tenth of a second before, the replica's
    /// connection is cut: it may not have caught up.
    pub fn kill_master_of(&mut self, key: &str) {
        let slot = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
        let slot: u32 = slot.parse().unwrap();
        let alive = self
            .nodes
            .iter()
            .enumerate()
            .find(|(i, _)| Some(*i) != self.down);
        let (_, any) = alive.unwrap();
        let nodes = any.cli(&["CLUSTER", "NODES"]);
        let nodes: Vec<Vec<&str>> = nodes
            .lines()
            .map(|line| line.split(' ').collect())
            .collect();
        let holds = |range: &&str| -> bool {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().ok();
            let range = number(from).zip(number(to));
            range.is_some_and(|(from, to)| (from..=to).contains(&slot))
        };
        // id address flags master … slots
        let live = nodes.iter().filter(|node| !node[2].contains("fail"));
        let master = live
            .clone()
            .find(|node| node[2].contains("master") && node[8..].iter().any(holds));
        let master = master.unwrap();
        let place = |node: &[&str]| {
            let port: u16 = node[1].split(['@', ':']).nth(1).unwrap().parse().unwrap();
            self.nodes
                .iter()
                .position(|server| server.port == port)
                .unwrap()
        };
        for replica in live.filter(|node| node[3] == master[0]) {
            self.nodes[place(replica)].cli(&["CLIENT", "KILL", "TYPE", "master"]);
        }
        thread::sleep(Duration::from_millis(100));
        let master = place(master);
        self.nodes[master].kill();
        self.down = Some(master);
    }

    /// The node that was killed comes back, as a replica.
    pub fn revive(&mut self) {
        if let Some(place) = self.down.take() {
            self.nodes[place].restart();
        }
        until("the cluster is whole again", || self.is_whole());
    }
}

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
