//! A Redis Cluster of six processes on loopback: three masters, each with a replica.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::server::Server;
use crate::until;

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
