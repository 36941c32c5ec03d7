//! A thousand of them. What is measured is printed, not asserted.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{directory, tenant, write};
use crate::parts::until;
use crate::world::{HOSTS, World, sticky};

#[test]
fn a_thousand_tenants_stand_in_a_directory() {
    const TENANTS: usize = 1_000;
    let start = Instant::now();
    let world = directory(1, "", |place, exits| {
        for i in 0..TENANTS {
            write(
                place,
                &format!("t{i}"),
                &tenant(&format!("user{i}"), exits, &sticky("10m", "")),
            );
        }
    });
    let ready = world.log();
    let took = ready
        .lines()
        .find(|line| line.contains("tenants are there"))
        .unwrap();
    println!("{took}");
    println!(
        "listening after {:?}; resident {} MiB",
        start.elapsed(),
        world.remora.memory() >> 20
    );
    for i in [0, 7, 500, TENANTS - 1] {
        assert_eq!(world.exit_as(&format!("user{i}"), HOSTS[0]), "127.0.0.11");
    }
    let listed: Vec<Value> = serde_json::from_str(&world.admin("/tenants").1).unwrap();
    assert_eq!(listed.len(), TENANTS);
    let sessions: u64 = listed
        .iter()
        .map(|row| row["sessions"].as_u64().unwrap())
        .sum();
    assert_eq!(sessions, 4);
    // One more, among a thousand.
    let cpu = cpu_ms(&world);
    thread::sleep(Duration::from_secs(2));
    println!(
        "watching takes {} ms of a processor in two seconds",
        cpu_ms(&world) - cpu
    );
    write(&world.place(), "one-more", &tenant("zoe", &world.exits, ""));
    until("zoe is heard", || {
        world.ask_as("zoe", &world.http(HOSTS[0], "/")).status == 200
    });
    println!(
        "with sessions: resident {} MiB",
        world.remora.memory() >> 20
    );
}

/// How much time on processors the gateway has taken.
fn cpu_ms(world: &World) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", world.remora.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<u64> = fields
        .split(' ')
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    (fields[11] + fields[12]) * 10
}
