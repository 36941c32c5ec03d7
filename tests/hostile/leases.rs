//! Leases that are somebody else's, or were one's own.

use std::sync::Arc;

use remora_core::{Config, Mode, ProxySpec, Sticky};
use remora_host::internals::Instance;
use remora_host::storage::{Cell, MemoryProxyStore, Storage, Table};
use remora_host::{BreakerState, Error, ManualClock, Outcome, Plugin, Proxy, Request};
use uuid::Uuid;

use super::guest::Guest;
use super::neighbour::Neighbour;
use super::{PROXY, alone, block_on, limits, tenant};

const TARGET: &str = "login.example.com";

/// A plugin that grants this proxy to every request.
fn granting(proxy: Uuid) -> Guest {
    let (high, low) = proxy.as_u64_pair();
    let acquire = format!(
        "(i64.store (i32.const 1032) (i64.const {high:#x}))
         (i64.store (i32.const 1040) (i64.const {low:#x}))"
    );
    Guest {
        acquire: acquire.leak(),
        ..Guest::default()
    }
}

#[test]
fn a_lease_of_another_tenants_proxy_is_not_served() {
    let _alone = alone();
    let neighbour = Neighbour::new();
    let ask = |proxy| {
        let tenant = tenant(&granting(proxy).component(), limits()).unwrap();
        let handle = block_on(tenant.manager.acquire_for_domain(TARGET))?;
        let granted = handle.proxy_id();
        block_on(handle.release(Outcome::Failure))?;
        Ok(granted)
    };
    // Its own, granted in the same way, is.
    let own = Proxy::from_url(PROXY).unwrap().id().unwrap();
    assert_eq!(ask(own), Ok(own));
    neighbour.during(|| {
        for proxy in neighbour.proxies() {
            assert_eq!(ask(proxy.id), Err(Error::NoProxy), "{proxy:?}");
        }
    });
    let untouched = BreakerState::Closed { failures: 0 };
    let breakers = neighbour.proxies().into_iter().map(|proxy| proxy.breaker);
    assert!(breakers.into_iter().all(|breaker| breaker == untouched));
}

/// The plugin built in, on a store of its own.
struct Pool {
    store: Arc<MemoryProxyStore>,
    instance: Instance,
}

impl Pool {
    fn new() -> Self {
        let store = Arc::new(MemoryProxyStore::default());
        let clock = Arc::new(ManualClock::at(1_000_000));
        let mut instance =
            Instance::new(&Plugin::builtin().unwrap(), clock, store.clone()).unwrap();
        let sticky = Sticky {
            mode: Mode::Domain,
            ttl_ms: 600_000,
            ..Sticky::default()
        };
        let config = Config {
            sticky,
            ..Config::default()
        };
        let proxies = (1..=3).map(|i| ProxySpec {
            id: Uuid::from_u128(i),
            weight: 1,
            tags: Vec::new(),
        });
        instance
            .set_up(&config, &proxies.collect::<Vec<_>>())
            .unwrap();
        Self { store, instance }
    }

    fn acquire(&mut self) -> remora_host::Lease {
        let request = Request {
            target: TARGET,
            ..Request::default()
        };
        self.instance.acquire(&request).unwrap().lease
    }

    /// Whether that ended a session.
    fn fail(&mut self, lease: &remora_host::Lease) -> bool {
        let released = self.instance.release(lease, Outcome::Failure);
        released.unwrap().ended_session
    }

    fn session(&self) -> Option<Cell> {
        self.store.load(Table::Sessions, TARGET).unwrap()
    }
}

#[test]
fn a_lease_that_is_released_again_or_elsewhere_ends_no_session() {
    let _alone = alone();
    let (mut one, mut other) = (Pool::new(), Pool::new());
    let first = one.acquire();
    assert!(one.fail(&first));
    // Of the same key, the same proxies and the same moment.
    let elsewhere = other.acquire();
    assert_eq!((&elsewhere.key, elsewhere.proxy), (&first.key, first.proxy));
    let second = one.acquire();
    let bound = one.session();
    for replayed in [&first, &elsewhere] {
        assert!(!one.fail(replayed), "{replayed:?}");
        assert_eq!(one.session(), bound, "{replayed:?}");
    }
    assert!(one.fail(&second));
}
