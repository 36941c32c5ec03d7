//! Rule 10.

use remora_core::{Outcome, Reason, Table};

use crate::fleet::{Fleet, T0, config, explore};

#[test]
fn the_table_is_never_over_its_bound_by_more_than_the_writes_under_way() {
    for instances in 2..=4 {
        explore(move || {
            let mut config = config();
            config.max_sessions = 2;
            let fleet = Fleet::new(config, 1);
            fleet.at_once(instances, T0, |i, one| {
                for n in 0..3 {
                    let host = format!("{i}-{n}.example");
                    assert_eq!(one.acquire(&host).reason, Reason::Bound);
                    assert!(fleet.population(Table::Sessions) <= 2 + instances);
                }
            });
            // Two that bind at once may each take the other's entry for the one that makes room.
            assert!((1..=2).contains(&fleet.population(Table::Sessions)));
        });
    }
}

#[test]
fn remembered_blocks_stay_within_the_bound() {
    explore(|| {
        let mut config = config();
        config.max_sessions = 2;
        let fleet = Fleet::new(config, 1);
        fleet.at_once(3, T0, |i, one| {
            for n in 0..2 {
                let lease = one.acquire(&format!("{i}-{n}.example")).lease;
                one.release(&lease, Outcome::Blocked);
                assert!(fleet.population(Table::Blocks) <= 2 + 3);
            }
        });
        assert!((1..=2).contains(&fleet.population(Table::Blocks)));
    });
}

#[test]
fn what_is_reclaimed_as_expired_is_never_a_session_that_was_renewed() {
    explore(|| {
        let mut config = config();
        config.sticky.ttl_ms = 10;
        let fleet = Fleet::new(config, 2);
        let mut one = fleet.instance(T0);
        one.acquire("shop.example");
        one.acquire("old.example");
        let now = T0 + 10;
        let renewed = fleet.at_once(3, now, |i, one| match i {
            0 => Some(one.acquire("shop.example").lease.generation),
            1 => {
                one.acquire("other.example");
                None
            }
            _ => {
                one.engine.purge_expired(now, 10).unwrap();
                None
            }
        });
        let after = fleet.instance(now).acquire("shop.example");
        assert_eq!(after.reason, Reason::Hit);
        assert_eq!(Some(after.lease.generation), renewed[0]);
        assert_eq!(fleet.population(Table::Sessions), 2);
    });
}
