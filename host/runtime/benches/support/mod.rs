//! Pools and sessions to measure on.

#![allow(dead_code, unreachable_pub)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use remora_core::{Config, Engine, Mode, ProxySpec, Request, Sticky};
use remora_host::internals::Instance;
use remora_host::session::StickyPolicy;
use remora_host::storage::MemoryProxyStore;
use remora_host::{Plugin, Proxy, ProxyConfig, ProxyManager, SystemClock};
use uuid::Uuid;
use wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime::{Config as EngineConfig, InstanceAllocationStrategy, Store};

/// A component that does nothing, under the engine settings of the library.
pub struct Empty {
    store: Store<()>,
    call: TypedFunc<(), ()>,
}

impl Empty {
    pub fn new() -> Self {
        let text = r#"(component
            (core module $m (func (export "empty")))
            (core instance $i (instantiate $m))
            (func (export "empty") (canon lift (core func $i "empty"))))"#;
        let mut config = EngineConfig::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::pooling())
            .epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &component)
            .unwrap();
        let call = instance.get_typed_func(&mut store, "empty").unwrap();
        Self { store, call }
    }

    pub fn call(&mut self) {
        self.store.set_epoch_deadline(1_000);
        self.call.call(&mut self.store, ()).unwrap();
    }
}

pub fn request(target: &str) -> Request<'_> {
    Request {
        target,
        ..Request::default()
    }
}

pub fn config(max_sessions: u64) -> Config {
    Config {
        sticky: Sticky {
            mode: Mode::Domain,
            ttl_ms: 86_400_000,
            ..Sticky::default()
        },
        max_sessions,
        ..Config::default()
    }
}

pub fn proxies(count: usize) -> Vec<ProxySpec> {
    let ids = (0..count as u128).map(|i| Uuid::from_u128(i * 0x9e37_79b9_7f4a_7c15 + 1));
    ids.map(|id| ProxySpec {
        id,
        weight: 1,
        tags: Vec::new(),
    })
    .collect()
}

pub fn site(i: usize) -> String {
    let mut key = String::new();
    write_site(&mut key, i);
    key
}

/// A plugin with so many proxies and live sessions.
pub fn component(pool: usize, sessions: usize) -> Instance {
    component_on(Arc::new(MemoryProxyStore::default()), pool, sessions)
}

pub fn component_on(store: Arc<MemoryProxyStore>, pool: usize, sessions: usize) -> Instance {
    let plugin = Plugin::builtin().unwrap();
    let clock = Arc::new(SystemClock::default());
    let mut instance = Instance::new(&plugin, clock, store).unwrap();
    instance.set_up(&config(2_000_000), &proxies(pool)).unwrap();
    for i in 0..sessions {
        instance.acquire(&request(&site(i))).unwrap();
    }
    instance
}

/// The same core compiled for this machine.
pub fn native(pool: usize, sessions: usize) -> (Engine<MemoryProxyStore>, Arc<SystemClock>) {
    let clock = Arc::new(SystemClock::default());
    let mut engine = Engine::new(MemoryProxyStore::default());
    engine.configure(config(2_000_000)).unwrap();
    engine.add_proxies(&proxies(pool)).unwrap();
    for i in 0..sessions {
        let now = now(&clock);
        engine.acquire(now, &request(&site(i))).unwrap();
    }
    (engine, clock)
}

/// A manager as an embedder has it.
pub fn manager(pool: usize, sessions: usize) -> ProxyManager {
    let mgr = ProxyManager::builder()
        .config(ProxyConfig {
            sticky_policy: StickyPolicy::domain(Duration::from_secs(86_400)),
            max_sessions: 2_000_000,
            ..ProxyConfig::default()
        })
        .build()
        .unwrap();
    let proxies = (0..pool).map(|i| {
        Proxy::from_url(&format!("http://10.0.{}.{}:8080", i / 250, i % 250 + 1)).unwrap()
    });
    poll(mgr.add_proxies(proxies.collect())).unwrap();
    for i in 0..sessions {
        poll(mgr.acquire_for_domain(&site(i)))
            .unwrap()
            .mark_success();
    }
    mgr
}

/// Runs a future that never waits: with storage in memory none of the library's does.
pub fn poll<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waited"),
    }
}

pub fn now(clock: &SystemClock) -> u64 {
    remora_host::Clock::now_ms(clock)
}

/// The keys of so many sessions, over and over, in an order that caches do not like. Made on the spot: a
/// table of a million of them would be measured, too.
pub struct Keys {
    count: usize,
    at: usize,
    key: String,
}

impl Keys {
    pub fn new(count: usize) -> Self {
        Self {
            count,
            at: 0,
            key: String::new(),
        }
    }

    pub fn from(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    pub fn next(&mut self) -> &str {
        // A prime: no divisor in common with a power of ten.
        self.at = (self.at + 7_919) % self.count;
        self.key.clear();
        write_site(&mut self.key, self.at);
        &self.key
    }
}

fn write_site(key: &mut String, i: usize) {
    key.push_str("site-");
    for power in [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1] {
        key.push(char::from(b'0' + (i / power % 10) as u8));
    }
    key.push_str(".example");
}
