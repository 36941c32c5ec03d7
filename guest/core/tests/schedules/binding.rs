//! Rules 3 and 4.

use std::collections::BTreeMap;

use remora_core::{Config, End, Grant, Outcome, Reason, StrategyKind};

use crate::fleet::{Fleet, T0, config, explore, explore_all};

/// All on one proxy and of one generation, and exactly one of them made the session.
fn assert_one_session(grants: &[Grant], made: Reason) {
    let first = &grants[0].lease;
    for grant in grants {
        assert_eq!(grant.lease.proxy, first.proxy);
        assert_eq!(grant.lease.generation, first.generation);
    }
    let makers = grants.iter().filter(|g| g.reason == made).count();
    assert_eq!(makers, 1, "{grants:?}");
    let joined = [Reason::Adopted, Reason::Hit];
    let others = grants.iter().filter(|g| joined.contains(&g.reason));
    assert_eq!(others.count(), grants.len() - 1, "{grants:?}");
}

#[test]
fn two_first_requests_of_a_key_never_split_under_any_schedule() {
    let schedules = explore_all(|| {
        let fleet = Fleet::new(config(), 2);
        let grants = fleet.at_once(2, T0, |_, one| one.acquire("shop.example"));
        assert_one_session(&grants, Reason::Bound);
    });

    assert!(schedules > 1_000, "only {schedules} schedules");
}

#[test]
fn first_requests_of_a_key_never_split_over_two_proxies() {
    for instances in 3..=4 {
        explore(move || {
            let fleet = Fleet::new(config(), 3);
            let grants = fleet.at_once(instances, T0, |_, one| one.acquire("shop.example"));
            assert_one_session(&grants, Reason::Bound);
        });
    }
}

#[test]
fn no_strategy_splits_a_key() {
    for strategy in [
        StrategyKind::Random,
        StrategyKind::Weighted,
        StrategyKind::LeastUsed,
    ] {
        explore(move || {
            let config = Config {
                strategy,
                ..config()
            };
            let fleet = Fleet::new(config, 3);
            let grants = fleet.at_once(3, T0, |_, one| one.acquire("shop.example"));
            assert_one_session(&grants, Reason::Bound);
            if strategy == StrategyKind::LeastUsed {
                let mut one = fleet.instance(T0);
                let in_flight: Vec<u64> = (1..=3).map(|n| one.status(n).in_flight).collect();
                assert_eq!(in_flight.iter().sum::<u64>(), 3);
                assert!(in_flight.contains(&3));
            }
        });
    }
}

#[test]
fn first_requests_after_the_end_of_a_session_never_split() {
    explore(|| {
        let fleet = Fleet::new(config(), 3);
        let old = fleet.instance(T0).acquire("shop.example").lease;
        let now = T0 + 3_600_000;
        let grants = fleet.at_once(3, now, |_, one| one.acquire("shop.example"));
        assert_one_session(&grants, Reason::Rebound(End::Expired));
        assert_ne!(grants[0].lease.proxy, old.proxy);
    });
}

#[test]
fn first_requests_that_race_for_two_probes_end_on_one_proxy_and_give_the_other_probe_back() {
    explore(|| {
        let fleet = Fleet::new(config(), 2);
        let now = fleet.trip_all();
        let grants = fleet.at_once(3, now, |_, one| one.try_acquire("shop.example").ok());
        let grants: Vec<Grant> = grants.into_iter().flatten().collect();
        let first = &grants[0].lease;
        assert!(
            grants
                .iter()
                .all(|g| g.lease.generation == first.generation)
        );
        assert_eq!(grants.iter().filter(|g| g.lease.probe).count(), 1);
        // The place of a probe that was not used is free.
        let stats = fleet.instance(now).engine.stats(now).unwrap();
        assert_eq!((stats.healthy, stats.open), (1, 1));
    });
}

#[test]
fn a_live_session_stays_while_others_come_and_go() {
    explore(|| {
        let fleet = Fleet::new(config(), 3);
        let mut one = fleet.instance(T0);
        let late = one.acquire("shop.example").lease;
        one.engine.unbind(T0, "shop.example").unwrap();
        let session = one.acquire("shop.example").lease;
        fleet.at_once(4, T0, |i, one| {
            match i {
                0 => {
                    one.release(&late, Outcome::Failure);
                }
                1 => {
                    one.release(&session, Outcome::Success);
                }
                2 => {
                    one.acquire("other.example");
                }
                _ => {}
            }
            let grant = one.acquire("shop.example");
            assert_eq!(grant.reason, Reason::Hit);
            assert_eq!(grant.lease.generation, session.generation);
            one.release(&grant.lease, Outcome::Cancelled);
        });
    });
}

#[test]
fn a_session_has_exactly_as_many_requests_as_it_may_have() {
    explore(|| {
        let mut config = config();
        config.sticky.max_requests = Some(2);
        let fleet = Fleet::new(config, 3);
        let grants = fleet.at_once(3, T0, |_, one| {
            [one.acquire("shop.example"), one.acquire("shop.example")]
        });
        let mut uses: BTreeMap<u64, usize> = BTreeMap::new();
        for grant in grants.iter().flatten() {
            *uses.entry(grant.lease.generation).or_default() += 1;
        }
        assert!(uses.values().eq(&[2, 2, 2]), "{uses:?}");
    });
}
