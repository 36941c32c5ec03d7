//! From a file to the first answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use remora_artifacts::PLUGIN_PATH;
use remora_host::internals::Instance;
use remora_host::storage::MemoryProxyStore;
use remora_host::{CodeCache, Runtime, SystemClock};

use crate::median;
use crate::tenant::{request, runtime, tenant};

fn first_answer(runtime: &Runtime) {
    let plugin = runtime.load_file(PLUGIN_PATH).unwrap();
    request(&tenant(&plugin, 1), "shop.example");
}

fn timed(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

pub fn print() {
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache {
        directory: directory.path().join("code"),
        compiler: None,
    };
    let (bare, cached) = (runtime(None), runtime(Some(cache)));
    first_answer(&cached);

    let compiled = median((0..7).map(|_| timed(|| first_answer(&bare))).collect());
    let found = median((0..101).map(|_| timed(|| first_answer(&cached))).collect());
    let plugin = cached.load_file(PLUGIN_PATH).unwrap();
    let copy = median((0..101).map(|_| timed(|| first_answer(&cached))).collect());
    let another = || request(&tenant(&plugin, 1), "shop.example");
    let another = median((0..501).map(|_| timed(another)).collect());
    let clock = Arc::new(SystemClock::default());
    let store = Arc::new(MemoryProxyStore::default());
    let instantiate = || drop(Instance::new(&plugin, clock.clone(), store.clone()).unwrap());
    let instantiate = median((0..2_001).map(|_| timed(instantiate)).collect());

    let row = |what: &str, took: f64, goal: &str| {
        println!(
            "| {what} | {:.3?} | {:.4} | {goal} |",
            Duration::from_secs_f64(took),
            took / compiled
        );
    };
    row(
        "file → first answer, compiled in this process",
        compiled,
        "",
    );
    row("file → first answer, code from the cache", found, "");
    row(
        "file → first answer, another tenant has a copy of it",
        copy,
        "",
    );
    row(
        "another tenant of a plugin that is loaded → first answer",
        another,
        "",
    );
    row("instantiate, and take down", instantiate, "≤ 100 µs");
}
