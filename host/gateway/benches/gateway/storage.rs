//! The gateway on a file and on a Redis server beside itself on memory: `cargo bench --package remora --bench gateway --
//! storage`. The server shares the core of whoever asks.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::far;
use crate::measure::median;
use crate::subject::{OTHERS_CORE, Subject, free_port, on, wait_for};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(3);

pub fn compare() {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let far = far::start();
    let port = free_port();
    let mut command: Command = on(OTHERS_CORE, "redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ]);
    let mut redis = command.stdout(Stdio::null()).spawn().unwrap();
    wait_for(port);
    let file = format!("redb:{}", dir.path().join("state").display());
    let server = format!("redis://127.0.0.1:{port}");
    let subjects: Vec<Subject> = ["memory", &file, &server]
        .into_iter()
        .map(|storage| Subject::remora_on(storage, "plugin", dir.path(), far.port))
        .collect();
    let (mut costs, mut rates) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for round in 0..=ROUNDS {
        for (i, subject) in subjects.iter().enumerate() {
            let turn = subject.turn("requests", TURN);
            // The first round warms up.
            if round > 0 {
                costs[i].push(turn.cpu_us);
                rates[i].push(turn.rate);
            }
        }
    }
    println!(
        "\n| gateway | CPU time a request | by memory's | requests each second | by memory's |\n|---|---|---|---|---|"
    );
    let costs: Vec<f64> = costs.into_iter().map(median).collect();
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    for (i, subject) in subjects.iter().enumerate() {
        println!(
            "| {} | {:.1} µs | {:.2} | {:.0} | {:.2} |",
            subject.name,
            costs[i],
            costs[i] / costs[0],
            rates[i],
            rates[i] / rates[0]
        );
    }
    drop(subjects);
    let _ = redis.kill();
    let _ = redis.wait();
}
