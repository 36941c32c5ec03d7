//! Rules 8 and 9, health, and what the pool says of itself.

use remora_core::{
    AcquireError, BreakerChange, Config, End, Outcome, Reason, Released, Request, Stats,
};

use crate::support::{World, domain, proxy, spec, tagged, weighted};

fn one_strike(ttl_ms: u64) -> Config {
    let mut config = domain(ttl_ms);
    config.breaker.open_threshold = 1;
    config
}

#[test]
fn removal_ends_the_sessions_of_a_proxy_at_their_next_acquire() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    client.acquire_on(1, "a.example");
    client.acquire_on(2, "b.example");
    assert_eq!(client.engine.remove_proxy(&proxy(1)), Ok(true));
    assert_eq!(client.engine.remove_proxy(&proxy(1)), Ok(false));
    let moved = client.acquire("a.example");
    assert_eq!(moved.reason, Reason::Rebound(End::Removed));
    assert_ne!(moved.lease.proxy, proxy(1));
    assert_eq!(client.acquire("b.example").reason, Reason::Hit);
}

#[test]
fn leases_that_are_out_during_a_removal_release_as_no_ops() {
    let world = World::new(one_strike(1_000), 2);
    let mut client = world.client();
    let outcomes = [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Blocked,
        Outcome::Cancelled,
    ];
    let leases = outcomes.map(|_| client.acquire_on(1, "shop.example"));
    client.engine.remove_proxy(&proxy(1)).unwrap();
    for (lease, outcome) in leases.iter().zip(outcomes) {
        assert_eq!(client.release(lease, outcome), Released::default());
    }
    let moved = client.acquire("shop.example");
    assert_eq!(moved.reason, Reason::Rebound(End::Removed));
    for (lease, outcome) in leases.iter().zip(outcomes) {
        assert_eq!(client.release(lease, outcome), Released::default());
    }
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
}

#[test]
fn a_proxy_that_was_removed_comes_back_with_a_closed_breaker() {
    let world = World::new(one_strike(1_000), 1);
    let mut client = world.client();
    client.trip(1);
    client.engine.remove_proxy(&proxy(1)).unwrap();
    assert_eq!(client.try_acquire("a.example"), Err(AcquireError::NoProxy));
    client.engine.add_proxies(&[spec(1)]).unwrap();
    assert!(!client.acquire("a.example").lease.probe);
}

/// What was known of the breaker goes with the removal; what old leases and sessions may not do stays.
#[test]
fn a_removal_does_not_make_old_verdicts_count_again() {
    let world = World::new(one_strike(1_000_000), 2);
    let mut client = world.client();
    client.acquire_on(1, "ended.example");
    client.trip(1);
    world.advance(30_000);
    let old_probe = client.acquire_on(1, "old.example");
    client.engine.remove_proxy(&proxy(1)).unwrap();
    client.engine.add_proxies(&[spec(1)]).unwrap();
    let ended = client.acquire("ended.example");
    assert_eq!(ended.reason, Reason::Rebound(End::Open));
    client.trip(1);
    world.advance(30_000);
    let probe = client.acquire_on(1, "new.example");
    for outcome in [Outcome::Cancelled, Outcome::Failure, Outcome::Success] {
        let released = client.release(&old_probe, outcome);
        assert_eq!(released.breaker, BreakerChange::None);
    }
    let closed = client.release(&probe, Outcome::Success);
    assert_eq!(closed.breaker, BreakerChange::Closed);
}

#[test]
fn a_proxy_that_is_switched_off_gets_nothing_and_its_sessions_move() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    client.acquire_on(1, "shop.example");
    assert!(client.engine.set_health(&proxy(1), false));
    assert!(!client.engine.set_health(&proxy(9), false));
    let moved = client.acquire("shop.example");
    assert_eq!(moved.reason, Reason::Rebound(End::Removed));
    for i in 0..5 {
        assert_eq!(
            client.acquire(&format!("{i}.example")).lease.proxy,
            proxy(2)
        );
    }
    client.engine.set_health(&proxy(2), false);
    assert_eq!(client.try_acquire("x.example"), Err(AcquireError::NoProxy));
    assert!(client.engine.set_health(&proxy(1), true));
    assert_eq!(client.acquire("x.example").lease.proxy, proxy(1));
}

#[test]
fn an_update_leaves_sessions_and_breakers_alone() {
    let world = World::with_pool(one_strike(1_000), vec![tagged(1, &["de"]), spec(2)]);
    let mut client = world.client();
    let request = Request {
        target: "shop.example",
        tags: &["de"],
        ..Request::default()
    };
    client.try_request(&request).unwrap();
    client.trip(2);
    client
        .engine
        .add_proxies(&[tagged(1, &["us"]), weighted(2, 7)])
        .unwrap();
    assert_eq!(client.try_request(&request).unwrap().reason, Reason::Hit);
    let second = client.status(2);
    assert_eq!((second.weight, second.available), (7, false));
    assert_eq!(client.status(1).tags, ["us"]);
    assert_eq!(client.stats().total, 2);
}

#[test]
fn a_wrong_proxy_in_a_list_is_named_and_nothing_of_the_list_is_applied() {
    let world = World::new(domain(1_000), 1);
    let mut client = world.client();
    let error = client
        .engine
        .add_proxies(&[spec(2), weighted(3, 0)])
        .unwrap_err();
    assert_eq!(error.field, "proxy[1].weight");
    let error = client
        .engine
        .add_proxies(&[tagged(2, &["a&b"])])
        .unwrap_err();
    assert_eq!(error.field, "proxy[0].tags");
    assert_eq!(client.stats().total, 1);
}

#[test]
fn exhausted_names_the_time_until_the_first_breaker_half_opens() {
    let world = World::new(one_strike(1_000), 3);
    let mut client = world.client();
    for n in [2, 3, 1] {
        client.trip(n);
        world.advance(100);
    }
    // Proxy 2 opened first, 300 ms ago.
    let retry = |ms| Err(AcquireError::Exhausted { retry_after_ms: ms });
    assert_eq!(client.try_acquire("shop.example"), retry(29_700));
    world.advance(29_699);
    assert_eq!(client.try_acquire("shop.example"), retry(1));
    world.advance(1);
    let grant = client.acquire("shop.example");
    assert_eq!(grant.lease.proxy, proxy(2));
    assert!(grant.lease.probe);
    // Next comes proxy 3, 100 ms after it.
    assert_eq!(client.try_acquire("other.example"), retry(100));
}

#[test]
fn exhausted_looks_only_at_the_proxies_that_would_do() {
    let world = World::with_pool(
        one_strike(1_000),
        vec![tagged(1, &["de"]), tagged(2, &["us"]), spec(3)],
    );
    let mut client = world.client();
    client.trip(1);
    world.advance(50);
    client.trip(2);
    let mut reason = |tags| {
        let request = Request {
            target: "shop.example",
            tags,
            ..Request::default()
        };
        client.try_request(&request).map(|g| g.lease.proxy)
    };
    let retry = |ms| Err(AcquireError::Exhausted { retry_after_ms: ms });
    assert_eq!(reason(&["de"]), retry(29_950));
    assert_eq!(reason(&["us"]), retry(30_000));
    assert_eq!(reason(&["fr"]), Err(AcquireError::NoProxy));
    assert_eq!(reason(&["de", "us"]), Err(AcquireError::NoProxy));
    assert_eq!(reason(&[]), Ok(proxy(3)));
}

#[test]
fn what_the_stats_say_is_available_is_what_the_next_acquire_takes() {
    let mut config = Config::default();
    config.breaker.open_threshold = 1;
    let world = World::new(config, 4);
    let mut client = world.client();
    client.engine.set_health(&proxy(4), false);
    client.trip(1);
    world.advance(10);
    client.trip(2);
    // Proxy 1 is open, then due; proxy 2 follows 10 ms later; 3 is never bad; 4 is switched off.
    for (at, available) in [(10, vec![3]), (30_000, vec![1, 3]), (30_010, vec![1, 2, 3])] {
        world.advance(crate::support::T0 + at - world.now());
        let all = client.engine.proxies(world.now(), 0, 10).unwrap();
        let told: Vec<_> = all.iter().filter(|p| p.available).map(|p| p.id).collect();
        let expected: Vec<_> = available.into_iter().map(proxy).collect();
        assert_eq!(told, expected);
        let stats = Stats {
            total: 4,
            healthy: told.len() as u32,
            open: 3 - told.len() as u32,
        };
        assert_eq!(client.stats(), stats);
        let mut taken: Vec<_> = (0..told.len())
            .map(|_| {
                let lease = client.acquire("shop.example").lease;
                client.release(&lease, Outcome::Cancelled);
                lease.proxy
            })
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, told);
    }
}

#[test]
fn the_pool_is_listed_by_pages_in_the_order_of_adding() {
    let world = World::new(Config::default(), 5);
    let mut client = world.client();
    let mut page = |offset, limit| -> Vec<_> {
        let page = client.engine.proxies(world.now(), offset, limit).unwrap();
        page.iter().map(|p| p.id).collect()
    };
    assert_eq!(page(0, 2), [proxy(1), proxy(2)]);
    assert_eq!(page(2, 2), [proxy(3), proxy(4)]);
    assert_eq!(page(4, 2), [proxy(5)]);
    assert!(page(5, 2).is_empty());
}
