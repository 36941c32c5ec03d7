//! The verdicts `blocked` and `cancelled` (DESIGN §3).

use remora_core::{BreakerChange, Config, End, Outcome, Reason, Table};

use crate::support::{World, domain, proxy};

fn avoiding(ttl_ms: u64, avoid_blocked_for_ms: u64) -> Config {
    Config {
        avoid_blocked_for_ms,
        ..domain(ttl_ms)
    }
}

#[test]
fn blocked_moves_the_session_avoids_that_proxy_for_that_key_and_leaves_its_breaker_alone() {
    let mut config = avoiding(10, 100);
    config.breaker.open_threshold = 1;
    let world = World::new(config, 3);
    let mut client = world.client();
    let lease = client.acquire_on(1, "shop.example");
    let released = client.release(&lease, Outcome::Blocked);
    assert!(released.ended_session);
    assert_eq!(released.breaker, BreakerChange::None);
    let status = client.status(1);
    assert!(status.available);
    assert_eq!(status.breaker.failures(), 0);
    let moved = client.acquire("shop.example");
    assert_eq!(moved.reason, Reason::Rebound(End::Blocked));
    assert_ne!(moved.lease.proxy, proxy(1));
    // Session after session, for as long as the block is remembered.
    for _ in 0..9 {
        world.advance(10);
        assert_ne!(client.acquire("shop.example").lease.proxy, proxy(1));
    }
    // Other targets may well have it.
    client.acquire_on(1, "other.example");
    world.advance(10);
    client.acquire_on(1, "shop.example");
}

#[test]
fn a_blocked_proxy_is_better_than_none() {
    let world = World::new(avoiding(10, 100), 2);
    let mut client = world.client();
    for n in [1, 2] {
        let lease = client.acquire_on(n, "shop.example");
        client.release(&lease, Outcome::Blocked);
    }
    let grant = client.acquire("shop.example");
    assert_eq!(grant.reason, Reason::Rebound(End::Blocked));
}

#[test]
fn the_proxy_of_a_session_that_merely_expired_is_better_than_a_blocked_one() {
    let world = World::new(avoiding(10, 1_000), 2);
    let mut client = world.client();
    let lease = client.acquire_on(1, "shop.example");
    client.release(&lease, Outcome::Blocked);
    for _ in 0..5 {
        assert_eq!(client.acquire("shop.example").lease.proxy, proxy(2));
        world.advance(10);
    }
}

#[test]
fn a_block_is_remembered_for_requests_that_do_not_stick_too() {
    let world = World::new(Config::default(), 3);
    let mut client = world.client();
    let blocked = client.acquire("shop.example").lease;
    let released = client.release(&blocked, Outcome::Blocked);
    assert!(!released.ended_session);
    for _ in 0..10 {
        let lease = client.acquire("shop.example").lease;
        assert_ne!(lease.proxy, blocked.proxy);
    }
}

#[test]
fn with_a_memory_of_zero_a_block_ends_the_session_and_is_forgotten() {
    let world = World::new(avoiding(100, 0), 2);
    let mut client = world.client();
    let lease = client.acquire_on(1, "shop.example");
    assert!(client.release(&lease, Outcome::Blocked).ended_session);
    assert_eq!(world.storage.population(Table::Blocks), 0);
}

#[test]
fn blocks_are_bounded_and_the_newest_is_kept_even_within_one_millisecond() {
    let mut config = avoiding(1_000, 1_000);
    config.max_sessions = 3;
    let world = World::new(config, 2);
    let mut client = world.client();
    // Backwards, so that in the order of ties the newest is the first to go.
    for i in (0..50).rev() {
        let host = format!("{i:02}.example");
        let lease = client.acquire_on(1, &host);
        client.release(&lease, Outcome::Blocked);
        assert!(world.storage.population(Table::Blocks) <= 3);
        client.engine.unbind(world.now(), &host).unwrap();
        for _ in 0..2 {
            assert_eq!(client.acquire(&host).lease.proxy, proxy(2), "{host}");
            client.engine.unbind(world.now(), &host).unwrap();
        }
    }
}

#[test]
fn cancelled_is_nobodys_fault() {
    let mut config = domain(1_000);
    config.breaker.open_threshold = 2;
    let world = World::new(config, 2);
    let mut client = world.client();
    let first = client.acquire("shop.example").lease;
    client.fail(&first);
    let kept = client.acquire_on(1, "third.example");
    for _ in 0..10 {
        let released = client.release(&kept, Outcome::Cancelled);
        assert_eq!(released, remora_core::Released::default());
    }
    // Neither reset nor counted: the next failure is the second in a row.
    assert_eq!(client.status(1).breaker.failures(), 1);
    assert_eq!(client.acquire("third.example").reason, Reason::Hit);
    assert_eq!(client.fail(&kept).breaker, BreakerChange::Opened);
}
