//! A tenant.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use remora_host::session::StickyPolicy;
use remora_host::storage::{MemoryProxyStore, Quota};
use remora_host::{
    CodeCache, Limits, Plugin, Proxy, ProxyConfig, ProxyManager, Runtime, RuntimeConfig,
};

/// The places there are: for a thousand tenants, and some.
const INSTANCES: u32 = 2_000;

pub fn runtime(cache: Option<CodeCache>) -> Runtime {
    let config = RuntimeConfig {
        instances: INSTANCES,
        cache,
        ..RuntimeConfig::default()
    };
    Runtime::new(config).unwrap()
}

/// What a stranger's plugin may use, but as much of the processor as there is.
pub fn limits() -> Limits {
    Limits {
        processor_percent: None,
        ..Limits::untrusted()
    }
}

/// With ten proxies, and nothing asked yet.
pub fn tenant(plugin: &Plugin, instances: usize) -> ProxyManager {
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(Duration::from_secs(86_400)),
        ..ProxyConfig::default()
    };
    let store = match instances {
        1 => MemoryProxyStore::compact(),
        _ => MemoryProxyStore::default(),
    };
    let storage = Arc::new(Quota::new(store, 64 << 20));
    let builder = ProxyManager::builder().plugin(plugin.clone().with_limits(limits()));
    let builder = builder.config(config).storage(storage);
    let manager = builder.instances(instances).build().unwrap();
    let proxies = (1..=10).map(|n| Proxy::from_url(&format!("http://10.0.0.{n}:8080")).unwrap());
    poll(manager.add_proxies(proxies.collect())).unwrap();
    manager
}

/// One request of a session.
pub fn request(manager: &ProxyManager, site: &str) {
    poll(manager.acquire_for_domain(site))
        .unwrap()
        .mark_success();
}

/// Runs a future that never waits: with storage in memory none of the library's does.
fn poll<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waited"),
    }
}
