//! The table at the end of a run: ratios, beside what was aimed for.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use remora_host::storage::MemoryProxyStore;

use crate::support::component_on;

const PROBE: &str = "REMORA_BENCH_MEMORY_PROBE";
const SESSIONS: usize = 1_000_000;

/// The median that criterion has just measured, in nanoseconds.
fn median(id: &str) -> Option<f64> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let path = target.join("criterion").join(id).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

/// Prints the table. What a filter left out of the run has no row.
pub(crate) fn print() {
    println!("\n| what | measured | ratio | goal |\n|---|---|---|---|");
    let row = |what: &str, this: &str, that: &str, goal: &str| {
        if let (Some(a), Some(b)) = (median(this), median(that)) {
            println!("| {what} | {a:.0} ns / {b:.0} ns | {:.2} | {goal} |", a / b);
        }
    };
    let empty = "call/empty";
    row(
        "acquire, a hit / empty call",
        "call/acquire-hit",
        empty,
        "≤ 4",
    );
    row(
        "release, success / empty call",
        "call/release-success",
        empty,
        "≤ 2.5",
    );
    row("set-health / empty call", "call/set-health", empty, "");
    row(
        "acquire, a hit / native core",
        "call/acquire-hit",
        "native/acquire-hit",
        "",
    );
    row(
        "release / native core",
        "call/release-success",
        "native/release-success",
        "",
    );
    row(
        "hit, 10,000 proxies / 10",
        "pool/hit-10000",
        "pool/hit-10",
        "≤ 1.2",
    );
    row(
        "bind, 10,000 proxies / 10",
        "pool/bind-10000",
        "pool/bind-10",
        "",
    );
    row(
        "hit, 1,000,000 sessions / 1,000",
        "sessions/hit-1000000",
        "sessions/hit-1000",
        "≤ 2",
    );
    if let (Some(one), Some(two)) = (median("threads/1"), median("threads/2")) {
        let (one, two) = (1e3 / one, 2e3 / two);
        let ratio = two / one;
        println!(
            "| requests by 2 threads / 1 | {two:.2} M/s / {one:.2} M/s | {ratio:.2} | ≥ 1.7 |"
        );
    }
    let probe = env::current_exe().and_then(|exe| Command::new(exe).env(PROBE, "1").output());
    if let Ok(output) = probe {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

pub(crate) fn is_memory_probe() -> bool {
    env::var_os(PROBE).is_some()
}

/// In a process of its own: how much memory a million sessions take.
pub(crate) fn probe_memory() {
    let store = Arc::new(MemoryProxyStore::default());
    let mut instance = component_on(store, 10, 0);
    let before = resident();
    for i in 0..SESSIONS {
        let site = crate::support::site(i);
        instance.acquire(&crate::support::request(&site)).unwrap();
    }
    let bytes = (resident() - before) / SESSIONS as f64;
    println!("| memory of a live session, at 1,000,000 | {bytes:.0} bytes | | ≤ 200 |");
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096.0
}
