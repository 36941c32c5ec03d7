//! A failover that loses what had been answered: the replica had not heard of it for a while.

use std::collections::BTreeMap;

use remora_test_support::relay::Relay;
use remora_test_support::server::Server;
use remora_test_support::until;

use super::gateway::Gateway;
use crate::parts::Answer;
use crate::world::{HOSTS, PASSWORD, World, sticky};

/// A master, a replica that hears it through a line of its own, and the address that stands for the one in charge.
struct Pair {
    master: Server,
    replica: Server,
    replication: Relay,
    address: Relay,
}

impl Pair {
    fn new() -> Self {
        let master = Server::new();
        let replication = Relay::to(master.port);
        let port = replication.port.to_string();
        let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
        until("the replica follows", || {
            replica
                .cli(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        Self {
            address: Relay::to(master.port),
            master,
            replica,
            replication,
        }
    }

    /// The master dies, and the replica takes its place and its address.
    fn fail_over(&mut self) {
        self.master.kill();
        assert_eq!(self.replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
        self.address.turn_to(self.replica.port);
    }
}

/// The exit of a session, as its target sees it.
fn exit(world: &World, gateway: &Gateway, host: &str, session: usize) -> String {
    let proxy = format!("http://u-session-{session}:x@127.0.0.1:{}", gateway.port);
    let url = world.http(host, "/");
    let answer = Answer::read(world.curl(&url, &["-x", &proxy]).output().unwrap());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

type Exits = BTreeMap<(&'static str, usize), String>;

#[test]
fn what_a_failover_takes_back_is_counted_by_those_who_had_been_told() {
    let mut pair = Pair::new();
    let mut world = World::with("", 5, &sticky("1h", ""), PASSWORD);
    world.remora.kill();
    let storage = format!("redis://127.0.0.1:{}/?prefix=pair", pair.address.port);
    let gateways = [0, 0].map(|skew| Gateway::start(&world, &storage, skew));
    let ask = |world: &World, sessions: &[(&'static str, usize)]| -> Exits {
        let asked = sessions.iter().enumerate().map(|(i, (host, session))| {
            let exit = exit(world, &gateways[i % 2], host, *session);
            ((*host, *session), exit)
        });
        asked.collect()
    };
    let sessions = |numbers: &[usize]| -> Vec<(&'static str, usize)> {
        let all = numbers.iter().flat_map(|n| HOSTS.map(|host| (host, *n)));
        all.collect()
    };
    let (old, new) = (sessions(&[0]), sessions(&[1, 2]));

    let before = ask(&world, &old);
    assert_eq!(pair.master.cli(&["WAIT", "1", "5000"]), "1");
    // From here on the replica hears nothing, and nobody is told.
    pair.replication.cut();
    let dead = before[&old[0]].clone();
    world.exit_of(&dead).kill();
    let told: Exits = ask(&world, &[&old[..], &new[..]].concat());
    let moved = before.iter().filter(|(key, exit)| told[*key] != **exit);
    let moved = moved.count();
    assert!(moved > 0 && !told.values().any(|exit| *exit == dead));
    world.exit_of(&dead).restart();

    pair.fail_over();
    let counts = |name: &str| -> Vec<u64> {
        let name = format!("remora_storage_{name}_total");
        gateways
            .iter()
            .map(|gateway| gateway.metric(&name))
            .collect()
    };
    until("both gateways have seen it and weighed it", || {
        counts("failovers") == [1, 1] && counts("lost_sessions").iter().all(|lost| *lost > 0)
    });
    let lost: u64 = counts("lost_sessions").iter().sum();
    let after = ask(&world, &[&old[..], &new[..]].concat());
    let back = old.iter().filter(|key| after[*key] == before[*key]).count();
    let elsewhere = new.iter().filter(|key| after[*key] != told[*key]).count();
    println!(
        "while the replica heard nothing {} sessions were bound and {moved} moved; all of these changes are lost, and the \
         gateways count {lost}; {back} of {} older sessions are as before the cut, {elsewhere} of the new ones have another exit",
        new.len(),
        old.len()
    );
    assert_eq!(lost, (new.len() + moved) as u64);
    // What the replica had is what counts: sessions that had moved are back.
    assert_eq!(back, old.len());
    // And from here on sessions stay again.
    assert_eq!(
        ask(&world, &new),
        new.iter().map(|key| (*key, after[key].clone())).collect()
    );
    for gateway in &gateways {
        assert!(gateway.log().contains("some have lost a change"));
    }
}
