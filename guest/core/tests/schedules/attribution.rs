//! Rule 13.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use remora_core::{BreakerChange, Config, Lease, Outcome, Request, Table};

use crate::fleet::{Fleet, Instance, T0, config, explore, explore_all, proxy, rotating};

const AMBIGUOUS: Outcome = Outcome::Ambiguous;
const SUCCESS: Outcome = Outcome::Success;

/// Nothing sticks, and every strike counts.
fn striking(open_threshold: u32) -> Config {
    let mut config = rotating();
    config.breaker.open_threshold = open_threshold;
    config.attribution.strike_gap_ms = 0;
    config
}

fn site(n: u128, i: usize) -> String {
    format!("site-{i}-of-{n}.test")
}

/// Strikes without a witness against proxy `n`.
fn strike(fleet: &Fleet, n: u128, count: usize) {
    for i in 0..count {
        let target = site(n, i);
        let lease = fleet.lease_to(n, &target);
        fleet.instance(T0).release(&lease, AMBIGUOUS);
    }
}

/// A witness against proxy `n`, which has strikes: proxy `by` answers for its first target.
fn witness(fleet: &Fleet, n: u128, by: u128) {
    let target = site(n, 0);
    let lease = fleet.lease_to(by, &target);
    assert!(lease.is_doubted);
    fleet.instance(T0).release(&lease, SUCCESS);
}

fn opened(fleet: &Fleet, proxies: u128) -> usize {
    let mut one = fleet.instance(T0);
    let open = (1..=proxies).filter(|n| !one.status(*n).available);
    open.count()
}

#[test]
fn no_strike_is_lost_and_the_last_one_opens_once() {
    for threshold in [3, 4, 5] {
        explore(move || {
            let fleet = Fleet::new(striking(threshold), 2);
            let own = [0, 1, 2, 3].map(|i| fleet.lease_to(1, &site(1, i)));
            let other = fleet.lease(2);
            let changes = fleet.at_once(4, T0, |i, one| {
                let attempts = [(&own[i], AMBIGUOUS), (&other, SUCCESS)];
                one.settle(&site(1, i), &attempts).breaker
            });
            let opened = changes.iter().filter(|c| **c == BreakerChange::Opened);
            assert_eq!(opened.count(), usize::from(threshold < 5), "{changes:?}");
            let status = fleet.instance(T0).status(1);
            assert_eq!(status.available, threshold == 5);
            let left = if threshold == 5 { 4 } else { 0 };
            assert_eq!(status.breaker.strikes(), left);
        });
    }
}

#[test]
fn two_strikes_count_two_under_any_schedule() {
    let schedules = explore_all(|| {
        let fleet = Fleet::new(striking(5), 2);
        let leases = [0, 1].map(|i| fleet.lease_to(1, &site(1, i)));
        fleet.at_once(2, T0, |i, one| one.release(&leases[i], AMBIGUOUS));
        assert_eq!(fleet.instance(T0).status(1).breaker.strikes(), 2);
    });

    assert!(schedules > 500, "only {schedules} schedules");
}

/// So many exits, each one strike with a witness below the threshold; one more answered for their targets, and is switched
/// off in the instance that asks.
fn at_the_edge(exits: u128) -> (Fleet, Vec<Lease>) {
    let fleet = Fleet::new(striking(2), exits + 1);
    for n in 1..=exits {
        strike(&fleet, n, 1);
        witness(&fleet, n, exits + 1);
    }
    let leases = (1..=exits).map(|n| fleet.lease_to(n, &site(n, 9)));
    let leases = leases.collect();
    (fleet, leases)
}

fn last_strike(exits: u128, lease: &Lease, one: &mut Instance) -> BreakerChange {
    one.engine.set_health(&proxy(exits + 1), false);
    one.release(lease, AMBIGUOUS).breaker
}

#[test]
fn each_of_several_exits_alone_opens_at_its_last_strike() {
    explore_all(|| {
        for exits in [2, 3] {
            for i in 0..exits as usize {
                let (fleet, leases) = at_the_edge(exits);
                let change = last_strike(exits, &leases[i], &mut fleet.instance(T0));
                assert_eq!(change, BreakerChange::Opened);
                assert_eq!(opened(&fleet, exits), 1);
            }
        }
    });
}

#[test]
fn two_exits_of_two_never_both_open_under_any_schedule() {
    let opens = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&opens);
    let schedules = explore_all(move || {
        let (mut fleet, leases) = at_the_edge(2);
        // Their targets differ: only the breakers are shared.
        fleet.schedule_only(Table::Breakers);
        let changes = fleet.at_once(2, T0, |i, one| last_strike(2, &leases[i], one));
        let open = opened(&fleet, 2);
        assert!(open < 2, "{changes:?}");
        let told = changes.iter().filter(|c| **c == BreakerChange::Opened);
        assert_eq!(told.count(), open);
        opens.fetch_add(open, Ordering::SeqCst);
    });

    assert!(schedules > 200, "only {schedules} schedules");
    assert!(told.load(Ordering::SeqCst) > 0, "nothing ever opened");
}

#[test]
fn all_exits_of_a_pool_never_open_together_by_strikes() {
    explore(|| {
        let (fleet, leases) = at_the_edge(3);
        let changes = fleet.at_once(3, T0, |i, one| last_strike(3, &leases[i], one));
        let open = opened(&fleet, 3);
        assert!(open < 3, "{changes:?}");
        let told = changes.iter().filter(|c| **c == BreakerChange::Opened);
        assert_eq!(told.count(), open);
    });
}

#[test]
fn two_exits_that_each_do_worse_than_the_other_never_both_open() {
    explore(|| {
        let fleet = Fleet::new(striking(2), 2);
        let leases = [1, 2].map(|n| {
            strike(&fleet, n, 1);
            fleet.lease_to(n, &site(n, 9))
        });
        fleet.at_once(2, T0, |i, one| {
            let attempts = [(&leases[i], AMBIGUOUS), (&leases[1 - i], SUCCESS)];
            one.settle(&site(i as u128 + 1, 9), &attempts)
        });
        assert!(opened(&fleet, 2) < 2);
    });
}

#[test]
fn exits_that_end_ambiguous_at_the_same_moment_are_both_listed() {
    let schedules = explore_all(|| {
        let fleet = Fleet::new(striking(5), 4);
        let target = site(0, 0);
        let leases = [1, 2].map(|n| fleet.lease_to(n, &target));
        fleet.at_once(2, T0, |i, one| one.release(&leases[i], AMBIGUOUS));
        let mut one = fleet.instance(T0);
        let lease = one.acquire(&target).lease;
        assert!(lease.is_doubted);
        let request = Request {
            target: &target,
            ..Request::default()
        };
        // The target is in doubt: one exit instead of two.
        let permit = &lease.permit;
        let others = one.engine.fallbacks(T0, &request, &lease.key, permit, 2);
        assert_eq!(others.unwrap().len(), 1);
        // An answer is a witness against both.
        witness_against(&fleet, &target, &[1, 2]);
    });

    assert!(schedules > 500, "only {schedules} schedules");
}

fn witness_against(fleet: &Fleet, target: &str, exits: &[u128]) {
    let answered = fleet.lease_to(3, target);
    fleet.instance(T0).release(&answered, SUCCESS);
    for n in exits {
        // Four more of their own, and each of them opens.
        strike(fleet, *n, 4);
        assert!(!fleet.instance(T0).status(*n).available, "proxy {n}");
    }
}

#[test]
fn of_two_ends_in_a_row_one_is_the_second_and_moves_the_session() {
    explore(|| {
        let mut config = config();
        config.breaker.open_threshold = 5;
        let fleet = Fleet::new(config, 3);
        let mut one = fleet.instance(T0);
        let leases = [0, 1].map(|_| one.acquire("shop.example").lease);
        let ended = fleet.at_once(2, T0, |i, one| {
            one.release(&leases[i], AMBIGUOUS).ended_session
        });
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        let moved = fleet.instance(T0).acquire("shop.example").lease;
        assert_ne!(moved.proxy, leases[0].proxy);
    });
}

#[test]
fn witness_and_success_of_one_exit_open_it_or_end_its_row_under_any_schedule() {
    for own in [site(1, 0), "other.example".to_owned()] {
        let schedules = explore_all(move || {
            let fleet = Fleet::new(striking(2), 2);
            strike(&fleet, 1, 2);
            let leases = [fleet.lease_to(2, &site(1, 0)), fleet.lease_to(1, &own)];
            let done = fleet.at_once(2, T0, |i, one| one.release(&leases[i], SUCCESS));
            let opened = done[0].others == [(proxy(1), BreakerChange::Opened)];
            assert!(opened || done[0].others.is_empty());
            let status = fleet.instance(T0).status(1);
            assert_eq!(status.available, !opened);
            assert_eq!(status.breaker.strikes(), 0);
        });

        assert!(schedules > 50, "only {schedules} schedules");
    }
}
