//! What a decision costs, as ratios to an empty component call of the same run.
//!
//! `make bench` runs it. The criterion groups give the single numbers; the table at the end gives the
//! ratios that `docs/benchmarks.md` keeps.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use remora_core::Outcome;
use support::{Empty, component, manager, native, request};

fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("call");
    let mut empty = Empty::new();
    group.bench_function("empty", |b| b.iter(|| empty.call()));

    let mut plugin = component(10, 1_000);
    let id = uuid::Uuid::nil();
    group.bench_function("set-health", |b| {
        b.iter(|| plugin.set_health(id, true).unwrap())
    });
    let lease = plugin.acquire(&request("site-7.example")).unwrap().lease;
    group.bench_function("acquire-hit", |b| {
        b.iter(|| {
            plugin
                .acquire(black_box(&request("site-7.example")))
                .unwrap()
        })
    });
    group.bench_function("release-success", |b| {
        b.iter(|| plugin.release(black_box(&lease), Outcome::Success).unwrap())
    });
    group.finish();

    let mut group = c.benchmark_group("native");
    let (mut engine, clock) = native(10, 1_000);
    let now = || remora_host::Clock::now_ms(&*clock);
    group.bench_function("acquire-hit", |b| {
        b.iter(|| {
            engine
                .acquire(now(), black_box(&request("site-7.example")))
                .unwrap()
        })
    });
    group.bench_function("release-success", |b| {
        b.iter(|| {
            engine
                .release(now(), black_box(&lease), Outcome::Success)
                .unwrap()
        })
    });
    group.finish();

    let mut group = c.benchmark_group("manager");
    let (runtime, mgr) = manager(10, 1_000);
    group.bench_function("acquire-and-release", |b| {
        b.iter(|| {
            let acquired = runtime.block_on(mgr.acquire_for_domain("site-7.example"));
            acquired.unwrap().mark_success();
        })
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
