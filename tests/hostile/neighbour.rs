//! The tenant next door: it has a session, keeps it, and measures how long its requests take.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use remora_host::session::StickyPolicy;
use remora_host::{Proxy, ProxyConfig, ProxyInfo, ProxyManager};
use uuid::Uuid;

use super::block_on;

pub struct Neighbour {
    manager: ProxyManager,
    bound: Uuid,
}

/// How long requests took, sorted.
pub struct Seen(Vec<Duration>);

impl Seen {
    fn at(&self, part: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }

    pub fn p99(&self) -> Duration {
        self.at(0.99)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, p99, most) = (self.at(0.5), self.p99(), self.at(1.0));
        write!(
            f,
            "{} requests, p50 {half:?}, p99 {p99:?}, most {most:?}",
            self.0.len()
        )
    }
}

impl Neighbour {
    pub fn new() -> Self {
        let config = ProxyConfig {
            sticky_policy: StickyPolicy::domain(Duration::from_secs(86_400)),
            ..ProxyConfig::default()
        };
        let manager = ProxyManager::builder().config(config).build().unwrap();
        for i in 1..=10 {
            let proxy = Proxy::from_url(&format!("http://198.51.100.{i}:8080")).unwrap();
            block_on(manager.add_proxy(proxy)).unwrap();
        }
        let handle = block_on(manager.acquire_for_domain("login.example.com")).unwrap();
        handle.mark_success();
        Self {
            bound: handle.proxy_id(),
            manager,
        }
    }

    pub fn proxies(&self) -> Vec<ProxyInfo> {
        block_on(self.manager.proxies()).unwrap()
    }

    /// What it sees while something else goes on. It gets no error and stays on its proxy, or this panics.
    pub fn during(&self, f: impl FnOnce()) -> Seen {
        let over = AtomicBool::new(false);
        let mut times = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) || times.is_empty() {
                    let start = Instant::now();
                    let acquire = self.manager.acquire_for_domain("login.example.com");
                    let handle = runtime.block_on(acquire);
                    let handle = handle.expect("the neighbour got an error");
                    assert_eq!(
                        handle.proxy_id(),
                        self.bound,
                        "the neighbour lost its session"
                    );
                    handle.mark_success();
                    drop(handle);
                    times.push(start.elapsed());
                    // As a tenant does that has other things to do.
                    thread::sleep(Duration::from_micros(200));
                }
                times
            });
            let guard = Over(&over);
            f();
            drop(guard);
            watching.join().unwrap()
        });
        times.sort_unstable();
        Seen(times)
    }
}

/// Ends the watch, also when what went on panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
