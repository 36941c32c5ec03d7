//! A Redis Cluster of six processes on loopback: three masters, each with a replica.

use std::process::Command;
use std::sync::Arc;

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

    /// kill -9 of the node that decides over a key; its replica takes over.
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
        let holds = |range: &str| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().ok();
            number(from)
                .zip(number(to))
                .is_some_and(|(from, to)| (from..=to).contains(&slot))
        };
        let master = nodes
            .lines()
            .find(|line| {
                line.contains("master")
                    && !line.contains("fail")
                    && line.split(' ').skip(8).any(holds)
            })
            .unwrap();
        let port: u16 = master
            .split(' ')
            .nth(1)
            .and_then(|address| address.split(['@', ':']).nth(1)?.parse().ok())
            .unwrap();
        let place = self
            .nodes
            .iter()
            .position(|node| node.port == port)
            .unwrap();
        self.nodes[place].kill();
        self.down = Some(place);
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
    std::thread::sleep(std::time::Duration::from_millis(500));
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
