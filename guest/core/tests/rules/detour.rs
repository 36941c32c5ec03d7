//! A request that a host served through another proxy on its own.

use proptest::prelude::*;
use remora_core::{BreakerChange, Detour, Detoured, End, Lease, OnBad, Outcome, Reason, Request};

use crate::support::{Client, World, domain, proxy};

const SHOP: &str = "shop.example";

fn fallbacks(client: &Client<'_>, world: &World, lease: &Lease) -> Vec<u128> {
    let request = Request {
        target: SHOP,
        ..Request::default()
    };
    let ids = client
        .engine
        .fallbacks(world.now(), &request, &lease.permit, 10)
        .unwrap();
    ids.iter().map(|id| id.as_u128()).collect()
}

fn detour(
    world: &World,
    client: &mut Client<'_>,
    lease: &Lease,
    way: &[u128],
    outcome: Outcome,
) -> Detoured {
    let way: Vec<_> = way.iter().map(|n| proxy(*n)).collect();
    let (served, passed) = way.split_last().unwrap();
    let detour = Detour {
        passed,
        served: *served,
    };
    let now = world.now();
    client
        .engine
        .detour(now, &lease.permit, &lease.key, detour, outcome)
        .unwrap()
}

#[test]
fn a_session_moves_to_the_proxy_that_served_and_lasts_as_long_again() {
    let world = World::new(domain(100), 3);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    world.advance(40);
    detour(&world, &mut client, &lease, &[3], Outcome::Success);
    let mut other = world.client();
    let hit = other.acquire(SHOP);
    assert_eq!((hit.lease.proxy, hit.reason), (proxy(3), Reason::Hit));
    world.advance(99);
    assert_eq!(other.acquire(SHOP).reason, Reason::Hit);
    world.advance(1);
    assert_eq!(other.acquire(SHOP).reason, Reason::Rebound(End::Expired));
}

#[test]
fn only_a_success_moves_a_session() {
    for outcome in [Outcome::Failure, Outcome::Blocked, Outcome::Cancelled] {
        let world = World::new(domain(100), 4);
        let mut client = world.client();
        let lease = client.acquire(SHOP).lease;
        detour(&world, &mut client, &lease, &[4], outcome);
        let next = client.acquire(SHOP);
        assert_eq!(next.reason, Reason::Rebound(End::Failed), "{outcome:?}");
    }
}

#[test]
fn a_late_detour_does_not_move_a_newer_session() {
    let world = World::new(domain(100), 4);
    let mut client = world.client();
    let late = client.acquire(SHOP).lease;
    client.go(SHOP, Outcome::Failure);
    let newer = client.acquire(SHOP).lease;
    detour(&world, &mut client, &late, &[4], Outcome::Success);
    let next = client.acquire(SHOP);
    assert_eq!((next.lease.proxy, next.reason), (newer.proxy, Reason::Hit));
}

#[test]
fn every_proxy_that_was_passed_has_failed_and_the_one_that_served_has_not() {
    let mut config = domain(100);
    config.breaker.open_threshold = 1;
    let world = World::new(config, 4);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    detour(&world, &mut client, &lease, &[2, 3], Outcome::Success);
    let open: Vec<bool> = (1..=4).map(|n| !client.status(n).available).collect();
    assert_eq!(open, [true, true, false, false]);
    detour(&world, &mut client, &lease, &[3, 4], Outcome::Failure);
    let open: Vec<bool> = (1..=4).map(|n| !client.status(n).available).collect();
    assert_eq!(open, [true, true, true, true]);
}

#[test]
fn every_breaker_that_a_detour_opens_is_told_of() {
    let mut config = domain(100);
    config.breaker.open_threshold = 1;
    let world = World::new(config, 4);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    let opened = |n| (proxy(n), BreakerChange::Opened);
    let first = detour(&world, &mut client, &lease, &[2, 3], Outcome::Success);
    assert_eq!(first.breakers, [opened(1), opened(2)]);
    assert!(first.ended_session);
    let second = detour(&world, &mut client, &lease, &[2, 3], Outcome::Failure);
    assert_eq!(second.breakers, [opened(3)], "the others are open already");
    assert!(!second.ended_session);
}

#[test]
fn a_proxy_that_served_a_refusal_is_avoided_for_the_target() {
    let world = World::new(domain(100), 3);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    detour(&world, &mut client, &lease, &[2], Outcome::Blocked);
    let next = client.acquire(SHOP).lease;
    assert_eq!(next.proxy, proxy(3));
    assert_eq!(fallbacks(&client, &world, &next), [1]);
}

#[test]
fn a_strict_session_and_a_probe_have_no_fallback() {
    let mut config = domain(100);
    config.sticky.on_bad = OnBad::Strict;
    let world = World::new(config, 3);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    assert!(fallbacks(&client, &world, &lease).is_empty());

    let world = World::new(domain(100_000), 1);
    let mut client = world.client();
    client.trip(1);
    world.advance(30_000);
    client
        .engine
        .add_proxies(&[crate::support::spec(2)])
        .unwrap();
    let probe = (0..2)
        .map(|i| client.acquire(&format!("{i}.example")).lease)
        .find(|lease| lease.probe)
        .unwrap();
    assert!(fallbacks(&client, &world, &probe).is_empty());
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
        let mut got = fallbacks(&client, &world, &lease);
        // The next request of the session, a little later.
        world.advance(1);
        let mut other = world.client();
        let again = other.acquire(SHOP).lease;
        prop_assert_eq!(&fallbacks(&other, &world, &again), &got);
        got.sort_unstable();
        admitted.retain(|n| proxy(*n) != lease.proxy);
        prop_assert_eq!(got, admitted);
    }
}
