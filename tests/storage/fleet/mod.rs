//! The fleet proof: three members on one store, faults, and a program that checks what they were told.

mod member;

use std::thread;
use std::time::Duration;

use remora_test_support::check::{Broken, Checked, check};
use remora_test_support::cluster::Cluster;
use remora_test_support::history::{Line, Request, requests};
use remora_test_support::relay::Relay;
use remora_test_support::server::Server;
use remora_test_support::{micros, until};

use member::{Member, settings};

/// By how many milliseconds the members' own clocks are wrong.
const SKEWS: [i64; 3] = [0, 180_000, -240_000];

/// Members, and all that those did that are gone.
struct Fleet {
    /// The store, as each member reaches it.
    urls: [String; 3],
    members: Vec<Member>,
    past: Vec<Vec<Line>>,
    started: u64,
}

impl Fleet {
    fn new(url: String) -> Self {
        Self::with([url.clone(), url.clone(), url])
    }

    fn with(urls: [String; 3]) -> Self {
        let mut fleet = Self {
            urls,
            members: Vec::new(),
            past: Vec::new(),
            started: 0,
        };
        fleet.members = (0..SKEWS.len()).map(|i| fleet.start(i)).collect();
        until("the fleet is ready", || {
            fleet.members.iter().all(Member::is_ready)
        });
        fleet
    }

    fn start(&mut self, i: usize) -> Member {
        self.started += 1;
        Member::start(&self.urls[i], self.started, SKEWS[i])
    }

    /// kill -9 of a member; another one takes its place.
    fn replace(&mut self, i: usize) {
        let new = self.start(i);
        until("a new member is ready", || new.is_ready());
        let old = std::mem::replace(&mut self.members[i], new);
        self.past.push(old.kill());
    }

    /// Waits until every member gets leases again.
    fn recovers(&self, after: &str) {
        let before: Vec<u64> = self.members.iter().map(Member::granted).collect();
        until(&format!("after {after} every member works"), || {
            let members = self.members.iter().zip(&before);
            members
                .into_iter()
                .all(|(member, before)| member.granted() > before + 50)
        });
    }

    fn finish(mut self) -> (Checked, Vec<Broken>) {
        for member in self.members.drain(..) {
            self.past.push(member.kill());
        }
        let all: Vec<Request> = self.past.iter().flat_map(|lines| requests(lines)).collect();
        check(settings(), &all)
    }
}

fn a_while() {
    thread::sleep(Duration::from_millis(1_500));
}

#[test]
fn three_members_on_a_server_keep_the_rules_whatever_happens_to_them_and_to_it() {
    // Every change is on disk before it is answered: what a kill of such a server loses is nothing.
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let relay = Relay::to(server.port);
    let cut_off = format!("redis://127.0.0.1:{}/?prefix=fleet", relay.port);
    let url = server.url("?prefix=fleet");
    let mut fleet = Fleet::with([url.clone(), url, cut_off]);
    let mut faults = 0;
    a_while();
    for round in 0..3 {
        fleet.replace(round % SKEWS.len());
        fleet.recovers("a member was killed");
        server.signal("STOP");
        thread::sleep(Duration::from_millis(700 + 1_100 * round as u64));
        server.signal("CONT");
        fleet.recovers("the server hung");
        a_while();
        server.restart();
        fleet.recovers("the server was killed");
        a_while();
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        fleet.recovers("all connections were cut");
        relay.cut();
        thread::sleep(Duration::from_millis(700 + 1_100 * round as u64));
        relay.mend();
        fleet.recovers("the network of a member was cut");
        relay.lose_answers();
        a_while();
        relay.mend();
        fleet.recovers("a member did not hear the server");
        faults += 6;
    }
    a_while();
    let (checked, broken) = fleet.finish();
    println!(
        "{faults} faults; members' clocks off by {SKEWS:?} ms; {checked:?}; broken: {}",
        broken.len()
    );
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(
        checked.stays > 1_000 && checked.ends > 20 && checked.probes > 0,
        "{checked:?}"
    );
}

#[test]
fn a_server_that_forgets_is_seen() {
    // The same program, on a server that comes back empty: were the checks blind, this would pass, too.
    let mut server = Server::new();
    let fleet = Fleet::new(server.url("?prefix=fleet"));
    a_while();
    server.restart();
    fleet.recovers("the server has forgotten everything");
    let (checked, broken) = fleet.finish();
    println!("{checked:?}; broken: {}", broken.len());
    assert!(broken.iter().any(|broken| broken.rule == 4), "{broken:#?}");
}

#[test]
fn what_a_failover_of_a_cluster_loses_is_seen_and_everything_else_holds() {
    let mut cluster = Cluster::new();
    let mut fleet = Fleet::new(cluster.url("?prefix=fleet"));
    let mut failovers = Vec::new();
    a_while();
    for _ in 0..2 {
        let from = micros();
        cluster.kill_master_of("{fleet}:0");
        fleet.recovers("a master was killed");
        failovers.push((from, micros()));
        a_while();
        cluster.revive();
        a_while();
    }
    fleet.replace(0);
    fleet.recovers("a member was killed");
    let (checked, broken) = fleet.finish();
    // Replication is asynchronous: the last changes before a failover may be lost, and with them what rested on them.
    let in_failover = |broken: &Broken| {
        let reach = |(from, to): &(u64, u64)| (*from..to + 5_000_000).contains(&broken.at);
        failovers.iter().any(reach)
    };
    let (lost, broken): (Vec<Broken>, Vec<Broken>) = broken.into_iter().partition(in_failover);
    println!(
        "{} failovers, each over in {:?} ms; {checked:?}; rules broken by what failovers lost: {}; otherwise: {}",
        failovers.len(),
        failovers
            .iter()
            .map(|(from, to)| (to - from) / 1_000)
            .collect::<Vec<_>>(),
        lost.len(),
        broken.len()
    );
    assert!(broken.is_empty(), "{broken:#?}");
}
