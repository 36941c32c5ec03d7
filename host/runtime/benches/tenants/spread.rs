//! What it costs that requests are spread over ever more tenants: of one thread, with the same number of sessions
//! whatever the number of tenants. Beside it the same core compiled for this machine, each with a store of its own:
//! what no host of plugins could do without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use remora_artifacts::PLUGIN_PATH;
use remora_core::{Config, Engine, Mode, Outcome, ProxySpec, Request, Sticky};
use remora_host::storage::MemoryProxyStore;
use remora_host::{Clock, Runtime, SystemClock};
use uuid::Uuid;

use crate::at_work::{SESSIONS, site};
use crate::median;
use crate::tenant::{request, runtime, tenant};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(250);

pub fn print() {
    println!("\n| tenants | a request | by 1 tenant | native core | by 1 |\n|---|---|---|---|---|");
    let runtime = runtime(None);
    let mut first = None;
    for count in [1, 10, 30, 100, 300, 1_000] {
        let now = [plugins(&runtime, count), natives(count)];
        let one = *first.get_or_insert(now);
        let by = |i: usize| now[i] / one[i];
        println!(
            "| {count} | {:.0} ns | {:.2} | {:.0} ns | {:.2} |",
            now[0],
            by(0),
            now[1],
            by(1)
        );
    }
}

fn plugins(runtime: &Runtime, count: usize) -> f64 {
    let plugin = runtime.load_file(PLUGIN_PATH).unwrap();
    let mut tenants: Vec<_> = (0..count).map(|_| tenant(&plugin, 1)).collect();
    nanoseconds(&mut tenants, |tenant, site| request(tenant, site))
}

fn natives(count: usize) -> f64 {
    let clock = Arc::new(SystemClock::default());
    let mut cores: Vec<_> = (0..count).map(|_| native()).collect();
    nanoseconds(&mut cores, |core, target| {
        let asked = Request {
            target,
            ..Request::default()
        };
        let grant = core.acquire(clock.now_ms(), &asked).unwrap();
        let now = clock.now_ms();
        let (permit, key) = (&grant.lease.permit, &*grant.lease.key);
        core.release(now, permit, key, key, Outcome::Success)
            .unwrap();
    })
}

fn native() -> Engine<MemoryProxyStore> {
    let mut core = Engine::new(MemoryProxyStore::compact());
    let config = Config {
        sticky: Sticky {
            mode: Mode::Domain,
            ttl_ms: 86_400_000,
            ..Sticky::default()
        },
        ..Config::default()
    };
    core.configure(config).unwrap();
    let proxies = (1..=10).map(|n| ProxySpec {
        id: Uuid::from_u128(n * 0x9e37_79b9_7f4a_7c15),
        weight: 1,
        tags: Vec::new(),
    });
    core.add_proxies(&proxies.collect::<Vec<_>>()).unwrap();
    core
}

/// Of a request, once every session is bound.
fn nanoseconds<T>(tenants: &mut [T], request: impl Fn(&mut T, &str)) -> f64 {
    let count = tenants.len();
    for session in 0..SESSIONS {
        request(&mut tenants[session % count], &site(session));
    }
    let mut at = 0;
    let round = |_| {
        let (start, mut done) = (Instant::now(), 0_u32);
        while start.elapsed() < ROUND {
            for _ in 0..100 {
                // A prime: no divisor in common with a power of ten.
                at = (at + 7_919) % SESSIONS;
                request(&mut tenants[at % count], &site(at));
            }
            done += 100;
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(done)
    };
    median((0..ROUNDS).map(round).collect())
}
