//! What an idle tenant holds.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use remora_artifacts::PLUGIN_PATH;
use remora_host::internals::Instance;
use remora_host::storage::MemoryProxyStore;
use remora_host::{CodeCache, SystemClock};

use crate::tenant::{request, runtime, tenant};

pub const PROBE: &str = "REMORA_BENCH_TENANTS_PROBE";
const TENANTS: usize = 1_000;
/// How many plugins of different bytes: each has to be compiled first.
const PLUGINS: usize = 100;

pub fn print() {
    let directory = tempfile::tempdir().unwrap();
    // Compiles what the last probe finds in the cache: compiling leaves memory behind.
    run("plugins", directory.path());
    for (probe, count, what, goal) in [
        ("instances", TENANTS, "resident, an instance alone", ""),
        (
            "tenants",
            TENANTS,
            "resident, an idle tenant of a plugin that others have, too",
            "≤ 300 KB",
        ),
        (
            "copies",
            TENANTS,
            "resident, an idle tenant with a copy of a plugin that others have, too",
            "≤ 300 KB",
        ),
        (
            "plugins",
            PLUGINS,
            "resident, an idle tenant with a plugin of its own",
            "≤ 300 KB",
        ),
    ] {
        let [all, anonymous] = run(probe, directory.path()).map(|bytes| bytes / 1_000.0);
        println!("| {what}, of {count} | {all:.0} KB, {anonymous:.0} of it anonymous | | {goal} |");
    }
}

/// Bytes of each: resident, and the part of it that is nowhere but in memory.
fn run(probe: &str, cache: &Path) -> [f64; 2] {
    let mut process = Command::new(env::current_exe().unwrap());
    let process = process.env(PROBE, probe).env("REMORA_BENCH_CACHE", cache);
    let output = process.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let bytes: Vec<f64> = said.split_whitespace().flat_map(str::parse).collect();
    bytes.try_into().unwrap_or_else(|_| panic!("{output:?}"))
}

/// Prints bytes of each.
pub fn probe(probe: &str) {
    let directory = env::var_os("REMORA_BENCH_CACHE").unwrap();
    let cache = CodeCache {
        directory: directory.into(),
        compiler: None,
    };
    let runtime = runtime(Some(cache));
    let plugin = runtime.load_file(PLUGIN_PATH).unwrap();
    // What is made once is there before it counts.
    request(&tenant(&plugin, 1), "shop.example");
    let before = resident();
    match probe {
        "instances" => {
            let make = |_| {
                let clock = Arc::new(SystemClock::default());
                Instance::new(&plugin, clock, Arc::new(MemoryProxyStore::default())).unwrap()
            };
            say(before, &(0..TENANTS).map(make).collect::<Vec<_>>());
        }
        "tenants" => {
            let make = |_| used(&plugin);
            say(before, &(0..TENANTS).map(make).collect::<Vec<_>>());
        }
        "copies" => {
            let make = |_| used(&runtime.load_file(PLUGIN_PATH).unwrap());
            say(before, &(0..TENANTS).map(make).collect::<Vec<_>>());
        }
        _ => {
            let make = |n| used(&runtime.load(&another(n)).unwrap());
            say(before, &(0..PLUGINS).map(make).collect::<Vec<_>>());
        }
    }
}

/// A tenant that has had a few requests.
fn used(plugin: &remora_host::Plugin) -> remora_host::ProxyManager {
    let manager = tenant(plugin, 1);
    for n in 0..10 {
        request(&manager, &format!("site-{n}.example"));
    }
    manager
}

/// The plugin built in, with a custom section that says a number: other bytes, the same code.
fn another(n: usize) -> Vec<u8> {
    let mut bytes = remora_artifacts::PLUGIN.to_vec();
    let content = [&b"\x06number"[..], &n.to_le_bytes()].concat();
    bytes.extend([0, content.len() as u8]);
    bytes.extend(content);
    bytes
}

fn say<T>(before: [f64; 2], kept: &[T]) {
    let [all, anonymous] = resident();
    let each = |now: f64, before: f64| (now - before) / kept.len() as f64;
    println!("{} {}", each(all, before[0]), each(anonymous, before[1]));
}

/// Bytes of this process: resident, and the anonymous ones of them.
fn resident() -> [f64; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    ["VmRSS:", "RssAnon:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().split_whitespace().next().unwrap();
        kib.parse::<f64>().unwrap() * 1_024.0
    })
}
