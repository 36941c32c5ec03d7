//! Rule 13, *settle*: the other exits of a request, and what becomes of its session.

use proptest::prelude::*;
use remora_core::{BreakerChange, End, Lease, OnBad, Outcome, Reason, Request};

use crate::support::{Client, World, domain, proxy, spec};

const SHOP: &str = "shop.example";

fn fallbacks(client: &Client<'_>, lease: &Lease) -> Vec<u128> {
    let permits = client.fallbacks(lease, SHOP, 10);
    permits.iter().map(|p| p.proxy.as_u128()).collect()
}

#[test]
fn session_whose_proxy_failed_moves_to_the_exit_that_answered_and_lasts_as_long_again() {
    let world = World::new(domain(100), 3);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    let served = client.fallbacks(&lease, SHOP, 1)[0].proxy;
    world.advance(40);
    client.settle(&lease, SHOP, &[Outcome::Failure, Outcome::Success]);
    let mut other = world.client();
    let hit = other.acquire(SHOP);
    assert_eq!((hit.lease.proxy, hit.reason), (served, Reason::Hit));
    world.advance(99);
    assert_eq!(other.acquire(SHOP).reason, Reason::Hit);
    world.advance(1);
    assert_eq!(other.acquire(SHOP).reason, Reason::Rebound(End::Expired));
}

#[test]
fn only_an_answer_moves_a_session() {
    for outcome in [
        Outcome::Failure,
        Outcome::Blocked,
        Outcome::Ambiguous,
        Outcome::Inconclusive,
        Outcome::Cancelled,
    ] {
        let world = World::new(domain(100), 4);
        let mut client = world.client();
        client.request(SHOP, &[Outcome::Failure, outcome]);
        let next = client.acquire(SHOP);
        assert_eq!(next.reason, Reason::Rebound(End::Failed), "{outcome:?}");
    }
}

#[test]
fn late_settlement_does_not_move_a_newer_session() {
    let world = World::new(domain(100), 4);
    let mut client = world.client();
    let late = client.acquire(SHOP).lease;
    client.go(SHOP, Outcome::Failure);
    let newer = client.acquire(SHOP).lease;
    let settled = client.settle(&late, SHOP, &[Outcome::Failure, Outcome::Success]);
    assert!(!settled.ended_session);
    let next = client.acquire(SHOP);
    assert_eq!((next.lease.proxy, next.reason), (newer.proxy, Reason::Hit));
}

#[test]
fn every_breaker_that_a_settlement_opens_is_named() {
    let mut config = domain(100);
    config.breaker.open_threshold = 1;
    let world = World::new(config, 4);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    let others = client.fallbacks(&lease, SHOP, 2);
    let ends = [Outcome::Failure, Outcome::Failure, Outcome::Success];
    let settled = client.settle(&lease, SHOP, &ends);
    assert!(settled.ended_session);
    assert_eq!(settled.breaker, BreakerChange::Opened);
    assert_eq!(settled.others, [(others[0].proxy, BreakerChange::Opened)]);
    assert_eq!(client.stats().open, 2);
}

#[test]
fn proxy_that_the_target_blocked_is_its_last_fallback_on_this_port() {
    for n in 1..=4 {
        let world = World::new(domain(100), 4);
        let mut client = world.client();
        let blocked = client.acquire_on(n, SHOP);
        client.release(&blocked, Outcome::Blocked);
        let next = client.acquire(SHOP).lease;
        assert_eq!(fallbacks(&client, &next).last(), Some(&n));
        let elsewhere = client.fallbacks(&next, "shop.example:8443", 10);
        let order = |n| {
            let world = World::new(domain(100), 4);
            let mut client = world.client();
            let failed = client.acquire_on(n, SHOP);
            client.release(&failed, Outcome::Failure);
            let next = client.acquire(SHOP).lease;
            client.fallbacks(&next, SHOP, 10)
        };
        let proxies = |permits: Vec<remora_core::Permit>| -> Vec<_> {
            permits.iter().map(|permit| permit.proxy).collect()
        };
        assert_eq!(proxies(elsewhere), proxies(order(n)));
    }
}

#[test]
fn strict_session_has_no_fallback() {
    let mut config = domain(100);
    config.sticky.on_bad = OnBad::Strict;
    let world = World::new(config, 3);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    assert!(fallbacks(&client, &lease).is_empty());
}

#[test]
fn probe_has_fallbacks_and_no_fallback_is_a_probe() {
    let world = World::new(domain(100_000), 1);
    let mut client = world.client();
    client.trip(1);
    world.advance(30_000);
    client.engine.add_proxies(&[spec(2)]).unwrap();
    let leases = [0, 1].map(|i| client.acquire(&format!("{i}.example")).lease);
    for lease in leases {
        let expected: &[u128] = if lease.probe { &[2] } else { &[] };
        assert_eq!(fallbacks(&client, &lease), expected);
    }
}

#[test]
fn retry_tries_an_avoided_exit_before_one_that_it_has_tried() {
    let world = World::new(domain(100_000), 2);
    let mut client = world.client();
    for n in [1, 2] {
        let lease = client.acquire_on(n, SHOP);
        client.release(&lease, Outcome::Blocked);
    }
    let lease = client.acquire(SHOP).lease;
    let request = Request {
        target: SHOP,
        tried: &[lease.proxy],
        ..Request::default()
    };
    client.engine.unbind(world.now(), SHOP).unwrap();
    let again = client.try_request(&request).unwrap().lease;
    assert_ne!(again.proxy, lease.proxy);
}

proptest! {
    #[test]
    fn fallbacks_are_closed_and_other_and_the_same_for_all_of_a_session(
        proxies in 1..12_u128,
        open in proptest::collection::vec(1..12_u128, 0..8),
        due: bool,
    ) {
        let world = World::new(domain(1_000_000), proxies);
        let mut client = world.client();
        let mut admitted: Vec<u128> = (1..=proxies).collect();
        for n in open {
            if admitted.len() > 1 && admitted.contains(&n) {
                client.trip(n);
                admitted.retain(|a| *a != n);
            }
        }
        let lease = client.acquire(SHOP).lease;
        if due {
            // An open breaker that wants a probe is none of a fallback's business.
            world.advance(30_000);
        }
        let mut got = fallbacks(&client, &lease);
        // The next request of the session, a little later.
        world.advance(1);
        let mut other = world.client();
        let again = other.acquire(SHOP).lease;
        prop_assert_eq!(&fallbacks(&other, &again), &got);
        got.sort_unstable();
        admitted.retain(|n| proxy(*n) != lease.proxy);
        prop_assert_eq!(got, admitted);
    }
}
