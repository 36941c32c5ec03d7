//! What a decision costs, as ratios to an empty component call of the same run.
//!
//! `make bench` runs it. Criterion measures; the table at the end gives the ratios that
//! `docs/benchmarks.md` keeps.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod report;
mod support;

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use remora_core::Outcome;
use remora_host::ProxyManager;
use support::{Empty, Keys, component, manager, native, now, request};

/// Single calls on a pool of 10 and 1,000 live sessions.
fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("call");
    let mut empty = Empty::new();
    group.bench_function("empty", |b| b.iter(|| empty.call()));

    let mut plugin = component(10, 1_000);
    let id = uuid::Uuid::nil();
    group.bench_function("set-health", |b| {
        b.iter(|| plugin.set_health(id, true).unwrap())
    });
    let lease = plugin
        .acquire(&request("site-0000007.example"))
        .unwrap()
        .lease;
    group.bench_function("acquire-hit", |b| {
        b.iter(|| {
            plugin
                .acquire(black_box(&request("site-0000007.example")))
                .unwrap()
        })
    });
    group.bench_function("release-success", |b| {
        b.iter(|| plugin.release(black_box(&lease), Outcome::Success).unwrap())
    });
    group.finish();

    let mut group = c.benchmark_group("native");
    let (mut engine, clock) = native(10, 1_000);
    group.bench_function("acquire-hit", |b| {
        b.iter(|| {
            let request = black_box(request("site-0000007.example"));
            engine.acquire(now(&clock), &request).unwrap()
        })
    });
    group.bench_function("release-success", |b| {
        b.iter(|| {
            engine
                .release(0, black_box(&lease), "", "", Outcome::Success)
                .unwrap()
        })
    });
    group.finish();
}

/// The same hit on larger and larger pools and tables, every time for another key.
fn flat(c: &mut Criterion) {
    let mut group = c.benchmark_group("pool");
    for pool in [10, 10_000] {
        let mut plugin = component(pool, 1_000);
        let mut keys = Keys::new(1_000);
        group.bench_function(format!("hit-{pool}"), |b| {
            b.iter(|| plugin.acquire(&request(keys.next())).unwrap())
        });
        let mut fresh = 0_u64;
        group.bench_function(format!("bind-{pool}"), |b| {
            b.iter(|| {
                fresh += 1;
                plugin
                    .acquire(&request(&format!("one-shot-{fresh}.example")))
                    .unwrap()
            })
        });
    }
    group.finish();
    let mut group = c.benchmark_group("sessions");
    for sessions in [1_000, 1_000_000] {
        let mut plugin = component(10, sessions);
        let mut keys = Keys::new(sessions);
        group.bench_function(format!("hit-{sessions}"), |b| {
            b.iter(|| plugin.acquire(&request(keys.next())).unwrap())
        });
    }
    group.finish();
}

/// A manager as an embedder uses it: acquire, mark, drop; one thread and two, on 1,000 domains.
fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("threads");
    let mgr = manager(10, 1_000);
    for count in [1, 2] {
        group.bench_function(count.to_string(), |b| {
            b.iter_custom(|iterations| at_once(&mgr, count, iterations))
        });
    }
    group.finish();
}

/// How long `count` threads take for `iterations` requests each.
fn at_once(mgr: &ProxyManager, count: usize, iterations: u64) -> Duration {
    let barrier = Barrier::new(count + 1);
    let work = |offset: usize| {
        let mut keys = Keys::new(1_000).from(offset * 500);
        barrier.wait();
        for _ in 0..iterations {
            let handle = support::poll(mgr.acquire_for_domain(keys.next()));
            handle.unwrap().mark_success();
        }
    };
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || work(i))).collect();
        barrier.wait();
        let start = Instant::now();
        for thread in threads {
            thread.join().unwrap();
        }
        start.elapsed()
    })
}

fn main() {
    if report::is_memory_probe() {
        return report::probe_memory();
    }
    let mut criterion = Criterion::default().configure_from_args();
    calls(&mut criterion);
    flat(&mut criterion);
    threads(&mut criterion);
    criterion.final_summary();
    report::print();
}
