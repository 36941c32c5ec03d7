//! Managers with one of the plugins: on a store and a clock that tests share and move.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use remora_host::session::StickyPolicy;
use remora_host::storage::MemoryProxyStore;
use remora_host::{
    Error, ManualClock, Plugin, Proxy, ProxyConfig, ProxyHandle, ProxyManager, Request,
};
use uuid::Uuid;

/// Midnight.
pub const MIDNIGHT: u64 = 1_750_032_000_000;

/// Of every session.
pub const TTL: Duration = Duration::from_secs(86_400);

pub const THREADS: usize = 8;

pub struct Tenant {
    pub storage: Arc<MemoryProxyStore>,
    pub clock: Arc<ManualClock>,
    /// As processes would share them: a manager each, two instances each.
    pub managers: [ProxyManager; 2],
    /// In the order in which the pool has them.
    pub proxies: Vec<Uuid>,
}

impl Tenant {
    /// One proxy for each list of tags.
    pub fn new(plugin: Plugin, pool: &[&[&str]]) -> Self {
        let storage = Arc::new(MemoryProxyStore::default());
        let clock = Arc::new(ManualClock::at(MIDNIGHT));
        let managers = [(); 2].map(|()| {
            let builder = ProxyManager::builder().storage(storage.clone());
            let builder = builder.clock(clock.clone()).config(sticky());
            builder.plugin(plugin.clone()).instances(2).build().unwrap()
        });
        let pool = pool.iter().enumerate().map(|(i, tags)| Proxy {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Proxy::from_url(&format!("http://192.0.2.{}:8080", i + 1)).unwrap()
        });
        let pool: Vec<Proxy> = pool.collect();
        let [one, other] = &managers;
        let proxies = block_on(one.add_proxies(pool.clone())).unwrap();
        block_on(other.add_proxies(pool)).unwrap();
        Self {
            storage,
            clock,
            managers,
            proxies,
        }
    }

    pub fn acquire(&self, target: &str) -> Result<ProxyHandle, Error> {
        block_on(self.managers[0].acquire_for_domain(target))
    }

    /// A lease of this proxy, for a target that has no session.
    pub fn acquire_on(&self, proxy: Uuid, target: &str) -> ProxyHandle {
        let others = self.proxies.iter().copied().filter(|id| *id != proxy);
        let others: Vec<Uuid> = others.collect();
        let request = Request {
            target,
            tried: &others,
            ..Request::default()
        };
        let handle = block_on(self.managers[0].acquire(&request)).unwrap();
        assert_eq!(handle.proxy_id(), proxy);
        handle
    }

    /// Where a target's session is.
    pub fn place(&self, target: &str) -> Uuid {
        let handle = self.acquire(target).unwrap();
        handle.mark_success();
        handle.proxy_id()
    }

    /// Runs `f` on all threads at once, half of them with either manager, and collects the answers.
    pub fn at_once<T: Send>(&self, f: impl Fn(usize, &ProxyManager) -> T + Sync) -> Vec<T> {
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|i| {
                    let (barrier, f, manager) = (&barrier, &f, &self.managers[i % 2]);
                    scope.spawn(move || {
                        barrier.wait();
                        f(i, manager)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }
}

pub fn sticky() -> ProxyConfig {
    ProxyConfig {
        sticky_policy: StickyPolicy::domain(TTL),
        ..ProxyConfig::default()
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}
