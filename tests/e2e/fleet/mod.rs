//! The fleet proof with gateways: three `remora serve` on one Redis, clients, faults, and a program that checks the rules
//! on what the gateways were told, and what they say against what the clients saw.

mod clients;
mod failover;
mod gateway;
mod log;
mod network;
mod weather;

use std::mem;
use std::thread;
use std::time::Duration;

use remora_test_support::check::{Broken, Checked, Settings, check};
use remora_test_support::cluster::Cluster;
use remora_test_support::history::Request;
use remora_test_support::server::Server;
use remora_test_support::{micros, until};

use crate::world::{PASSWORD, World, sticky};
use clients::{Clients, unexplained};
use gateway::Gateway;
use network::Network;
use weather::Weather;

/// By how many seconds the gateways' clocks are wrong.
const SKEWS: [i64; 3] = [0, 420, -180];

const EXITS: usize = 6;

const SETTINGS: Settings = Settings {
    ttl: 4_000_000,
    half_open_after: 800_000,
};

const TABLES: &str = r#"
avoid_blocked_for = "2s"
[breaker]
open_threshold = 4
half_open_after = "800ms"
[log]
format = "json"
"#;

/// What came of it.
struct Outcome {
    checked: Checked,
    broken: Vec<Broken>,
    /// Answers that clients got, and those of them that no gateway explains.
    seen: usize,
    unexplained: Vec<String>,
    deaths: usize,
}

struct Fleet {
    // Before the world, whose directory they write to.
    gateways: Vec<Gateway>,
    clients: Clients,
    weather: Weather,
    world: World,
}

impl Fleet {
    /// `storage`: the field of each gateway.
    fn new(storage: impl Fn(u8) -> String) -> Self {
        let mut world = World::with("", EXITS, &sticky("4s", TABLES), PASSWORD);
        // Its own gateway is not one of the fleet.
        world.remora.kill();
        let gateways: Vec<Gateway> = (0..)
            .zip(SKEWS)
            .map(|(i, skew)| Gateway::start(&world, &storage(i), skew))
            .collect();
        let ports: Vec<u16> = gateways.iter().map(|gateway| gateway.port).collect();
        Self {
            clients: Clients::start(&world, &ports),
            weather: Weather::over(mem::take(&mut world.exits)),
            gateways,
            world,
        }
    }

    /// Waits until every gateway serves again.
    fn recovers(&self, after: &str) {
        let before = self.clients.served();
        until(&format!("after {after} every gateway serves"), || {
            let now = self.clients.served();
            now.iter().zip(&before).all(|(now, then)| *now > then + 20)
        });
    }

    /// How often the gateways have seen another server take over, as they say themselves.
    fn failovers(&self) -> Vec<u64> {
        let metric = |gateway: &Gateway| gateway.metric("remora_storage_failovers_total");
        self.gateways.iter().map(metric).collect()
    }

    fn finish(mut self) -> Outcome {
        let seen = self.clients.finish();
        let (exits, deaths) = self.weather.finish();
        // What was said last is heard.
        thread::sleep(Duration::from_millis(500));
        let mut told: Vec<Vec<Request>> = Vec::new();
        for gateway in &mut self.gateways {
            gateway.kill();
            told.push(gateway.history(&exits));
        }
        let names: Vec<String> = exits.iter().map(|exit| exit.ip.clone()).collect();
        let count = seen.len();
        let unexplained = unexplained(seen, &told, &names);
        let all: Vec<Request> = told.into_iter().flatten().collect();
        let (checked, broken) = check(SETTINGS, &all);
        drop(self.world);
        Outcome {
            checked,
            broken,
            seen: count,
            unexplained,
            deaths,
        }
    }
}

fn a_while() {
    thread::sleep(Duration::from_millis(1_500));
}

#[test]
fn three_gateways_on_a_server_keep_the_rules_whatever_happens_to_them_and_to_it() {
    // Every change is on disk before it is answered: what a kill of such a server loses is nothing.
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let (network, mut server) = Network::new(3, &durable);
    let mut fleet = Fleet::new(|i| {
        let address = network.address(&server, i);
        format!("redis://{address}/?prefix=fleet")
    });
    fleet.recovers("the start");
    let mut faults = 0;
    for round in 0..3_u8 {
        let long = Duration::from_millis(700 + 900 * u64::from(round));
        fleet.gateways[usize::from(round)].replace();
        fleet.recovers("a gateway was killed");
        server.signal("STOP");
        thread::sleep(long);
        server.signal("CONT");
        fleet.recovers("the server hung");
        server.restart();
        fleet.recovers("the server was killed");
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        fleet.recovers("all connections were cut");
        network.cut((round + 1) % 3);
        thread::sleep(long);
        network.mend((round + 1) % 3);
        fleet.recovers("the network of a gateway was cut");
        faults += 5;
    }
    a_while();
    let outcome = fleet.finish();
    let Outcome {
        checked, deaths, ..
    } = outcome;
    println!(
        "{faults} faults and {deaths} deaths of exits; clocks off by {SKEWS:?} s; the server in {}; {checked:?}; broken: {}; \
         {} answers seen by clients, {} unexplained",
        network.name(),
        outcome.broken.len(),
        outcome.seen,
        outcome.unexplained.len()
    );
    assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
    assert!(outcome.unexplained.is_empty(), "{:#?}", outcome.unexplained);
    assert!(
        checked.stays > 1_000 && checked.ends > 20 && checked.probes > 0,
        "{checked:?}"
    );
}

#[test]
fn three_gateways_on_a_cluster_keep_the_rules_but_for_what_a_failover_loses() {
    let mut cluster = Cluster::new();
    let url = cluster.url("?prefix=fleet");
    let mut fleet = Fleet::new(|_| url.clone());
    fleet.recovers("the start");
    let from = micros();
    cluster.kill_master_of("{fleet}:0");
    fleet.recovers("a master was killed");
    let to = micros();
    until("every gateway has seen the failover", || {
        fleet.failovers().iter().all(|count| *count == 1)
    });
    fleet.gateways[0].replace();
    fleet.recovers("a gateway was killed");
    cluster.revive();
    a_while();
    let outcome = fleet.finish();
    let in_failover = |broken: &Broken| (from..to + 5_000_000).contains(&broken.at);
    let (lost, broken): (Vec<Broken>, Vec<Broken>) =
        outcome.broken.into_iter().partition(in_failover);
    println!(
        "a failover, over in {} ms, and a gateway killed; {} deaths of exits; {:?}; rules broken by what the failover lost: \
         {}; otherwise: {}; {} answers seen by clients, {} unexplained",
        (to - from) / 1_000,
        outcome.deaths,
        outcome.checked,
        lost.len(),
        broken.len(),
        outcome.seen,
        outcome.unexplained.len()
    );
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(outcome.unexplained.is_empty(), "{:#?}", outcome.unexplained);
    assert!(outcome.checked.stays > 500, "{:?}", outcome.checked);
}

#[test]
fn a_server_that_forgets_is_seen_in_what_gateways_say() {
    // The same program, on a server that comes back empty: were it blind, this would pass, too.
    let mut server = Server::new();
    let fleet = Fleet::new(|_| server.url("?prefix=fleet"));
    fleet.recovers("the start");
    server.restart();
    fleet.recovers("the server has forgotten everything");
    let outcome = fleet.finish();
    println!("{:?}; broken: {}", outcome.checked, outcome.broken.len());
    let moved = outcome.broken.iter().any(|broken| broken.rule == 4);
    assert!(moved, "{:#?}", outcome.broken);
}
