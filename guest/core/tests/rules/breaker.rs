//! Rule 7, up to the probe.

use remora_core::{AcquireError, BreakerChange, Config, End, Outcome, Reason};

use crate::support::{World, domain, proxy};

fn threshold(open_threshold: u32) -> Config {
    let mut config = domain(1_000_000);
    config.breaker.open_threshold = open_threshold;
    config
}

#[test]
fn by_default_five_failures_in_a_row_open_a_breaker_for_thirty_seconds() {
    let world = World::new(Config::default(), 1);
    let mut client = world.client();
    for _ in 0..4 {
        let lease = client.acquire("shop.example").lease;
        assert_eq!(client.fail(&lease).breaker, BreakerChange::None);
    }
    let lease = client.acquire("shop.example").lease;
    assert_eq!(client.fail(&lease).breaker, BreakerChange::Opened);
    assert_eq!(
        client.try_acquire("shop.example"),
        Err(AcquireError::Exhausted {
            retry_after_ms: 30_000
        })
    );
}

#[test]
fn a_success_in_between_resets_the_count() {
    let world = World::new(threshold(3), 1);
    let mut client = world.client();
    for _ in 0..10 {
        client.go("shop.example", Outcome::Failure);
        client.go("shop.example", Outcome::Failure);
        client.go("shop.example", Outcome::Success);
    }
    assert!(client.status(1).available);
}

#[test]
fn one_failure_in_a_thousand_never_opens_a_breaker() {
    let mut config = Config::default();
    config.breaker.open_threshold = 2;
    let world = World::new(config, 1);
    let mut client = world.client();
    for i in 0..100_000 {
        let outcome = match i % 1_000 {
            999 => Outcome::Failure,
            _ => Outcome::Success,
        };
        client.go("shop.example", outcome);
    }
    assert!(client.status(1).available);
    assert_eq!(client.status(1).breaker.failures(), 1);
}

#[test]
fn failures_are_counted_over_all_instances_and_keys() {
    let world = World::new(threshold(4), 1);
    let mut clients = [world.client(), world.client()];
    for i in 0..3 {
        let host = format!("{i}.example");
        clients[i % 2].go(&host, Outcome::Failure);
        assert!(clients[0].status(1).available);
    }
    clients[1].go("3.example", Outcome::Failure);
    assert!(clients.iter_mut().all(|c| !c.status(1).available));
}

#[test]
fn the_opening_of_its_breaker_ends_every_session_of_a_proxy_and_of_no_other() {
    let world = World::new(threshold(3), 2);
    let mut client = world.client();
    client.acquire_on(1, "a.example");
    client.acquire_on(1, "b.example");
    client.acquire_on(2, "c.example");
    client.trip(1);
    for host in ["a.example", "b.example"] {
        let grant = client.acquire(host);
        assert_eq!(grant.reason, Reason::Rebound(End::Open));
        assert_eq!(grant.lease.proxy, proxy(2));
    }
    assert_eq!(client.acquire("c.example").reason, Reason::Hit);
}

#[test]
fn a_session_that_an_opening_ended_stays_ended_after_the_breaker_has_closed() {
    let world = World::new(threshold(1), 2);
    let mut client = world.client();
    let old = client.acquire_on(1, "shop.example");
    client.trip(1);
    world.advance(30_000);
    let probe = client.acquire_on(1, "probe.example");
    let closed = client.release(&probe, Outcome::Success);
    assert_eq!(closed.breaker, BreakerChange::Closed);
    let grant = client.acquire("shop.example");
    assert_eq!(grant.reason, Reason::Rebound(End::Open));
    assert_ne!(grant.lease.proxy, old.proxy);
}

#[test]
fn a_late_success_never_closes_an_open_breaker() {
    let world = World::new(threshold(3), 1);
    let mut client = world.client();
    let late: Vec<_> = (0..3)
        .map(|i| client.acquire(&format!("{i}.example")).lease)
        .collect();
    client.trip(1);
    assert_eq!(
        client.release(&late[0], Outcome::Success).breaker,
        BreakerChange::None
    );
    assert!(!client.status(1).available);
    // Neither while the probe is out, nor does it reset a count.
    world.advance(30_000);
    let probe = client.acquire("probe.example").lease;
    assert_eq!(
        client.release(&late[1], Outcome::Success).breaker,
        BreakerChange::None
    );
    assert!(!client.status(1).available);
    client.release(&probe, Outcome::Success);
    client.go("other.example", Outcome::Failure);
    client.release(&late[2], Outcome::Success);
    assert_eq!(client.status(1).breaker.failures(), 1);
}

#[test]
fn a_late_failure_does_not_keep_an_open_breaker_open_for_longer() {
    let world = World::new(threshold(3), 1);
    let mut client = world.client();
    let late = client.acquire("late.example").lease;
    client.trip(1);
    world.advance(29_999);
    assert_eq!(client.fail(&late).breaker, BreakerChange::None);
    world.advance(1);
    assert!(client.status(1).available);
    assert!(client.acquire("shop.example").lease.probe);
}

#[test]
fn an_open_breaker_of_one_proxy_leaves_the_others_alone() {
    let world = World::new(threshold(2), 3);
    let mut client = world.client();
    client.trip(2);
    for i in 0..10 {
        let lease = client.go(&format!("{i}.example"), Outcome::Success).lease;
        assert_ne!(lease.proxy, proxy(2));
    }
    let stats = client.stats();
    assert_eq!((stats.total, stats.healthy, stats.open), (3, 2, 1));
}
