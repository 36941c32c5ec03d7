//! A thousand tenants at work, beside one that does it all: the same number of sessions, requests and threads.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use remora_artifacts::PLUGIN_PATH;
use remora_host::ProxyManager;

use crate::median;
use crate::tenant::{request, runtime, tenant};

const TENANTS: usize = 1_000;
pub const SESSIONS: usize = 100_000;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(700);

pub fn print() {
    let runtime = runtime(None);
    let plugin = runtime.load_file(PLUGIN_PATH).unwrap();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let one = [tenant(&plugin, threads)];
    let many: Vec<_> = (0..TENANTS).map(|_| tenant(&plugin, 1)).collect();
    for tenants in [&one[..], &many] {
        for n in 0..SESSIONS {
            request(&tenants[n % tenants.len()], &site(n));
        }
    }
    // In bursts: a client that asks for a page asks for what is on it.
    for burst in [1, 10] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (rates, tenants) in rates.iter_mut().zip([&one[..], &many]) {
                rates.push(rate(tenants, threads, burst));
            }
        }
        let [one, many] = rates.map(median);
        println!(
            "| requests by {TENANTS} tenants / by 1, {burst} at a time | {:.2} M/s / {:.2} M/s | {:.2} | ≥ 0.9 |",
            many / 1e6,
            one / 1e6,
            many / one
        );
    }
}

/// Requests in a second, by all threads, each on its own part of the tenants.
fn rate(tenants: &[ProxyManager], threads: usize, burst: usize) -> f64 {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let work = |t: usize| {
            let barrier = &barrier;
            scope.spawn(move || {
                // Tenants and sessions of one thread only.
                let mut at = t;
                let mut count = 0;
                barrier.wait();
                let start = Instant::now();
                while start.elapsed() < ROUND {
                    for _ in 0..100 / burst {
                        // A prime: no divisor in common with a power of ten.
                        at = (at + 7_919 * threads) % SESSIONS;
                        for n in 0..burst {
                            // Sessions of the same tenant, whichever the number of tenants.
                            let session = (at + n * TENANTS) % SESSIONS;
                            request(&tenants[session % tenants.len()], &site(session));
                        }
                    }
                    count += 100;
                }
                count as f64 / start.elapsed().as_secs_f64()
            })
        };
        let running: Vec<_> = (0..threads).map(work).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

pub fn site(n: usize) -> String {
    format!("site-{n}.example")
}
