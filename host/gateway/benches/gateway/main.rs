//! What the gateway costs, beside itself without a decision and beside HAProxy. `make bench-gateway` runs it and
//! prints a table for `docs/benchmarks.md`.
//!
//! The server under test has one core for itself; whoever asks and whoever answers share the other. What is
//! counted is the CPU time of the server under test, by request or by tunnel, over rounds that take turns.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod envoy;
mod far;
mod load;
mod measure;
mod storage;
mod subject;
mod tenants;

use std::time::Duration;

use measure::{Table, median};
use subject::Subject;

/// How often every subject has its turn.
const ROUNDS: usize = 7;

/// How long a turn lasts.
const TURN: Duration = Duration::from_secs(3);

/// How many connections are held idle, and how many tunnels.
const IDLE: usize = 5_000;
const TUNNELS: usize = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let role: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match role[..] {
        // The benchmark runs itself again in other parts.
        ["serve", how, config] => return subject::serve(how, config),
        ["far", port] => return far::run(port.parse().unwrap()),
        ["requests", port, seconds] => {
            let (port, seconds) = (port.parse().unwrap(), seconds.parse().unwrap());
            return load::requests(port, seconds, load::to_host);
        }
        [tenants::ONE, port, seconds] => {
            let (port, seconds) = (port.parse().unwrap(), seconds.parse().unwrap());
            return load::requests(port, seconds, |i| tenants::request(0, i));
        }
        [tenants::ALL, port, seconds] => {
            let (port, seconds) = (port.parse().unwrap(), seconds.parse().unwrap());
            return load::requests(port, seconds, |i| tenants::request(i, i));
        }
        ["domains", port, first, count] => {
            let (first, count) = (first.parse().unwrap(), count.parse().unwrap());
            return load::domains(port.parse().unwrap(), first, count);
        }
        ["tunnels", port, seconds] => {
            return load::tunnels(port.parse().unwrap(), seconds.parse().unwrap());
        }
        ["tenants", ..] => return tenants::compare(),
        ["storage", ..] => return storage::compare(),
        ["envoy", "domains", ..] => return envoy::domains(),
        ["envoy", "kept", ..] => return envoy::compare(true),
        ["envoy", ..] => return envoy::compare(false),
        _ => {}
    }
    rlimit::increase_nofile_limit(20_000).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let far = far::start();
    let mut subjects = vec![
        Subject::haproxy(dir.path(), far.port),
        Subject::remora("fixed", dir.path(), far.port),
        Subject::remora("plugin", dir.path(), far.port),
    ];
    // This benchmark as other revisions have built it: in one run with this one.
    if let Some(others) = std::env::var_os("BESIDE") {
        let others = std::env::split_paths(&others);
        subjects.extend(others.map(|other| Subject::built_elsewhere(&other, dir.path(), far.port)));
    }
    let mut table = Table::new();
    for kind in ["requests", "tunnels"] {
        let mut costs = vec![Vec::new(); subjects.len()];
        let mut rates = vec![Vec::new(); subjects.len()];
        for round in 0..=ROUNDS {
            for (i, subject) in subjects.iter().enumerate() {
                let turn = subject.turn(kind, TURN);
                eprintln!(
                    "{kind}, round {round} of {ROUNDS}, {}: {:.1} µs, {:.0}/s",
                    subject.name, turn.cpu_us, turn.rate
                );
                // The first round warms up.
                if round > 0 {
                    costs[i].push(turn.cpu_us);
                    rates[i].push(turn.rate);
                }
            }
        }
        let costs: Vec<f64> = costs.into_iter().map(median).collect();
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        table.add(kind, &subjects, &costs, &rates);
    }
    for subject in &subjects[..] {
        let (connection, tunnel) = subject.held(IDLE, TUNNELS);
        table.memory(&subject.name, connection, tunnel);
    }
    print!("{table}");
}
