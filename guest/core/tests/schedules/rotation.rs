//! Rule 11, and the numbers that rules 5 and 11 rest on.

use std::collections::{BTreeMap, BTreeSet};

use remora_core::ProxyId;

use crate::fleet::{Fleet, T0, config, explore, rotating};

#[test]
fn round_robin_is_exact_whoever_asks_at_the_same_time() {
    explore(|| {
        let fleet = Fleet::new(rotating(), 3);
        let picks = fleet.at_once(3, T0, |_, one| {
            [0, 1].map(|_| one.acquire("shop.example").lease.proxy)
        });
        let mut counts: BTreeMap<ProxyId, usize> = BTreeMap::new();
        for proxy in picks.into_iter().flatten() {
            *counts.entry(proxy).or_default() += 1;
        }
        assert!(counts.values().eq(&[2, 2, 2]), "{counts:?}");
    });
}

#[test]
fn no_two_sessions_share_a_generation() {
    explore(|| {
        let fleet = Fleet::new(config(), 2);
        let generations = fleet.at_once(4, T0, |i, one| {
            one.acquire(&format!("{i}.example")).lease.generation
        });
        let distinct: BTreeSet<u64> = generations.iter().copied().collect();
        assert_eq!(distinct.len(), 4, "{generations:?}");
    });
}
