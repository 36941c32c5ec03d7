//! Rule 11.

use std::collections::BTreeMap;

use remora_core::{Config, Outcome, ProxyId, Request, StrategyKind};

use crate::support::{Client, World, domain, proxy, tagged, weighted};

fn rotating(strategy: StrategyKind) -> Config {
    Config {
        strategy,
        ..Config::default()
    }
}

fn picks(client: &mut Client<'_>, n: usize) -> Vec<ProxyId> {
    (0..n)
        .map(|_| client.go("shop.example", Outcome::Success).lease.proxy)
        .collect()
}

fn counts(picks: &[ProxyId]) -> BTreeMap<ProxyId, usize> {
    let mut counts = BTreeMap::new();
    for id in picks {
        *counts.entry(*id).or_insert(0) += 1;
    }
    counts
}

#[test]
fn round_robin_takes_each_proxy_in_turn_over_all_instances() {
    let world = World::new(rotating(StrategyKind::RoundRobin), 3);
    let mut clients = [world.client(), world.client()];
    for i in 0..30u128 {
        let grant = clients[i as usize % 2].acquire("shop.example");
        assert_eq!(grant.lease.proxy, proxy(i % 3 + 1));
    }
}

#[test]
fn round_robin_moves_on_only_when_a_session_is_bound() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    for i in 0..9u128 {
        let host = format!("{i}.example");
        assert_eq!(client.acquire(&host).lease.proxy, proxy(i % 3 + 1));
        client.acquire(&host);
        client.acquire(&host);
    }
}

#[test]
fn round_robin_is_even_with_an_open_breaker_in_the_pool() {
    let world = World::new(rotating(StrategyKind::RoundRobin), 4);
    let mut client = world.client();
    client.trip(2);
    let picks = picks(&mut client, 30);
    for three in picks.chunks(3) {
        assert_eq!(counts(three).len(), 3, "{three:?}");
    }
    assert!(!picks.contains(&proxy(2)));
}

#[test]
fn random_gives_each_proxy_about_as_much_and_no_pattern() {
    let world = World::new(rotating(StrategyKind::Random), 10);
    let mut client = world.client();
    let picks = picks(&mut client, 20_000);
    let counts = counts(&picks);
    // Six standard deviations of a fair die around 2,000 are 255.
    assert!(
        counts.values().all(|n| (1_745..2_255).contains(n)),
        "{counts:?}"
    );
    assert_eq!(counts.len(), 10);
    // The same proxy twice in a row as often as chance has it: 2,000 of 20,000.
    let repeats = picks.windows(2).filter(|two| two[0] == two[1]).count();
    assert!((1_745..2_255).contains(&repeats), "{repeats}");
}

#[test]
fn random_never_takes_what_is_not_admitted() {
    let world = World::new(rotating(StrategyKind::Random), 20);
    let mut client = world.client();
    for n in 2..=19 {
        client.engine.set_health(&proxy(n), false);
    }
    let counts = counts(&picks(&mut client, 200));
    assert_eq!(
        counts.into_keys().collect::<Vec<_>>(),
        [proxy(1), proxy(20)]
    );
}

#[test]
fn weighted_gives_each_proxy_exactly_its_weight_a_round_and_spreads_it() {
    let pool = vec![weighted(1, 6), weighted(2, 3), weighted(3, 1)];
    let world = World::with_pool(rotating(StrategyKind::Weighted), pool);
    let mut client = world.client();
    let picks = picks(&mut client, 200);
    for round in picks.chunks(10) {
        let counts = counts(round);
        assert_eq!(counts[&proxy(1)], 6);
        assert_eq!(counts[&proxy(2)], 3);
        assert_eq!(counts[&proxy(3)], 1);
    }
    // Smooth: six in ten never means six in a row.
    let longest = picks.chunk_by(|a, b| a == b).map(<[_]>::len).max();
    assert!(longest <= Some(2), "{longest:?}");
}

#[test]
fn weighted_passes_the_share_of_a_refused_proxy_to_the_others_by_their_weights() {
    let pool = vec![weighted(1, 1), weighted(2, 3), weighted(3, 16)];
    let world = World::with_pool(rotating(StrategyKind::Weighted), pool);
    let mut client = world.client();
    client.engine.set_health(&proxy(3), false);
    let counts = counts(&picks(&mut client, 10_000));
    // Six standard deviations around 2,500 and 7,500 are 260.
    assert!((2_240..2_760).contains(&counts[&proxy(1)]), "{counts:?}");
    assert_eq!(counts[&proxy(1)] + counts[&proxy(2)], 10_000);
}

#[test]
fn least_used_takes_the_proxy_with_the_fewest_requests_in_flight() {
    let world = World::new(rotating(StrategyKind::LeastUsed), 3);
    let (mut one, mut two) = (world.client(), world.client());
    let mut out = Vec::new();
    for round in 1..=4 {
        // Three acquires level the three proxies, whichever instance asks.
        out.push(one.acquire("shop.example").lease);
        out.push(two.acquire("shop.example").lease);
        out.push(one.acquire("shop.example").lease);
        assert!((1..=3).all(|n| two.status(n).in_flight == round));
    }
    let freed = out.pop().unwrap();
    two.release(&freed, Outcome::Cancelled);
    assert_eq!(one.acquire("shop.example").lease.proxy, freed.proxy);
}

#[test]
fn least_used_counts_the_requests_of_a_session_too() {
    let config = Config {
        strategy: StrategyKind::LeastUsed,
        ..domain(1_000)
    };
    let world = World::new(config, 2);
    let mut client = world.client();
    let busy = client.acquire("busy.example").lease;
    for _ in 0..10 {
        assert_eq!(client.acquire("busy.example").lease.proxy, busy.proxy);
    }
    for i in 0..10 {
        let lease = client.acquire(&format!("{i}.example")).lease;
        assert_ne!(lease.proxy, busy.proxy);
    }
}

#[test]
fn least_used_forgets_leases_that_were_never_released() {
    let config = Config {
        lease_timeout_ms: 100,
        ..rotating(StrategyKind::LeastUsed)
    };
    let world = World::new(config, 2);
    let mut client = world.client();
    let lost: Vec<_> = (0..10)
        .map(|_| client.acquire_on(1, "shop.example"))
        .collect();
    assert_eq!(client.status(1).in_flight, 10);
    world.advance(100);
    assert_eq!(client.status(1).in_flight, 10);
    world.advance(100);
    assert_eq!(client.status(1).in_flight, 0);
    // Coming back after all, they do not take away from others.
    client.acquire_on(1, "shop.example");
    for lease in &lost {
        client.release(lease, Outcome::Success);
    }
    assert_eq!(client.status(1).in_flight, 1);
}

#[test]
fn least_used_counts_anew_after_the_lease_timeout_has_changed() {
    let config = |lease_timeout_ms| Config {
        lease_timeout_ms,
        ..rotating(StrategyKind::LeastUsed)
    };
    let world = World::new(config(60_000), 2);
    let mut client = world.client();
    for longer in [600_000, 60_000] {
        let early = client.acquire_on(1, "shop.example");
        client.engine.configure(config(longer)).unwrap();
        assert_eq!(client.status(1).in_flight, 0);
        for _ in 0..10 {
            let lease = client.acquire_on(1, "shop.example");
            assert_eq!(client.status(1).in_flight, 1);
            client.release(&lease, Outcome::Success);
            world.advance(1_000);
        }
        client.release(&early, Outcome::Success);
        assert_eq!(client.status(1).in_flight, 0);
    }
}

#[test]
fn a_request_gets_a_proxy_that_carries_all_its_tags() {
    for strategy in [
        StrategyKind::RoundRobin,
        StrategyKind::Random,
        StrategyKind::Weighted,
        StrategyKind::LeastUsed,
    ] {
        let pool = vec![
            tagged(1, &["de"]),
            tagged(2, &["de", "fast"]),
            tagged(3, &["fast"]),
            tagged(4, &["fast", "us", "de"]),
        ];
        let world = World::with_pool(rotating(strategy), pool);
        let mut client = world.client();
        let mut taken = |tags| {
            let mut picks: Vec<_> = (0..40)
                .map(|_| {
                    let request = Request {
                        target: "shop.example",
                        tags,
                        ..Request::default()
                    };
                    client.try_request(&request).unwrap().lease.proxy
                })
                .collect();
            picks.sort_unstable();
            picks.dedup();
            picks
        };
        assert_eq!(taken(&["de"]), [proxy(1), proxy(2), proxy(4)]);
        assert_eq!(taken(&["fast", "de"]), [proxy(2), proxy(4)]);
        assert_eq!(taken(&["us"]), [proxy(4)]);
    }
}

#[test]
fn a_proxy_that_is_added_joins_the_rotation_and_one_that_is_removed_leaves_it() {
    let world = World::new(rotating(StrategyKind::RoundRobin), 2);
    let mut client = world.client();
    client.engine.add_proxies(&[weighted(3, 1)]).unwrap();
    assert_eq!(counts(&picks(&mut client, 3)).len(), 3);
    client.engine.remove_proxy(&proxy(1)).unwrap();
    let counts = counts(&picks(&mut client, 10));
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [(proxy(2), 5), (proxy(3), 5)]
    );
}
