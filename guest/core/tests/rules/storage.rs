//! A storage that fails half-way.

use remora_core::{AcquireError, Config, Outcome, Reason, StorageError, StrategyKind, Table};

use crate::support::{World, domain};

const WAIT: u64 = 30_000;

#[test]
fn what_a_release_cannot_store_keeps_it_from_nothing_else() {
    let mut config = domain(1_000_000);
    config.breaker.open_threshold = 1;
    let world = World::new(config, 3);
    let mut client = world.client();
    let mut verdict = |broken, host: &str, outcome| {
        let lease = client.acquire(host).lease;
        world.storage.break_down(Some(broken));
        let released = client
            .engine
            .release(world.now(), &lease.permit, &lease.key, host, outcome);
        assert_eq!(released, Err(StorageError::Unavailable));
        world.storage.break_down(None);
        (lease.proxy, client.acquire(host))
    };
    // The session ends though the block is not remembered.
    let (_, next) = verdict(Table::Blocks, "a.example", Outcome::Blocked);
    assert!(matches!(next.reason, Reason::Rebound(_)));
    // The breaker hears of it though the session cannot be ended.
    let (bad, _) = verdict(Table::Sessions, "b.example", Outcome::Failure);
    let proxies = client.engine.proxies(world.now(), 0, u32::MAX).unwrap();
    assert!(!proxies.iter().find(|p| p.id == bad).unwrap().available);
}

#[test]
fn a_probe_of_an_acquire_that_failed_is_given_back() {
    let least_used = |config| Config {
        strategy: StrategyKind::LeastUsed,
        ..config
    };
    for (config, broken) in [
        (domain(1_000_000), Table::Sessions),
        (least_used(Config::default()), Table::InFlight),
    ] {
        let world = World::new(config, 1);
        let mut client = world.client();
        client.trip(1);
        world.advance(WAIT);
        world.storage.break_down(Some(broken));
        let failed = client.try_acquire("shop.example").unwrap_err();
        assert_eq!(failed, AcquireError::Storage(StorageError::Unavailable));
        world.storage.break_down(None);
        assert!(client.acquire("shop.example").lease.probe);
    }
}
