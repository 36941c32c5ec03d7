//! Rule 13, *strikes* and *open*: an exit that fails is out, and no traffic of clients or targets takes out one that works.

use remora_core::{BreakerChange, Config, Outcome};

use crate::support::{Client, World, domain, proxy};

const WORSE: [Outcome; 2] = [Outcome::Ambiguous, Outcome::Success];
const ALIKE: [Outcome; 3] = [Outcome::Ambiguous; 3];

fn alone(client: &mut Client<'_>, n: u128, target: &str) -> BreakerChange {
    let lease = client.acquire_on(n, target);
    client.release(&lease, Outcome::Ambiguous).breaker
}

/// Requests through proxy `n` that end ambiguous there and are answered through another exit.
fn worse(client: &mut Client<'_>, n: u128, target: &str) -> BreakerChange {
    let lease = client.acquire_on(n, target);
    client.settle(&lease, target, &WORSE).breaker
}

fn site(i: usize) -> String {
    format!("site-{i}.test")
}

#[test]
fn five_worse_ends_for_five_targets_open_an_exit() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..4 {
        assert_eq!(worse(&mut client, 1, &site(i)), BreakerChange::None);
        assert_eq!(client.status(1).breaker.strikes(), i as u32 + 1);
        world.advance(200);
    }
    assert_eq!(worse(&mut client, 1, &site(4)), BreakerChange::Opened);
}

#[test]
fn ends_for_one_target_open_nothing_however_many() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for _ in 0..50 {
        worse(&mut client, 1, "a.one.test");
        worse(&mut client, 1, "b.one.test");
        world.advance(1_000);
    }
    assert!(client.status(1).available);
    assert_eq!(client.status(1).breaker.strikes(), 1);
}

#[test]
fn burst_against_targets_of_an_attackers_own_opens_nothing() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..100 {
        for n in 1..=4 {
            worse(&mut client, n, &site(i));
        }
        world.advance(1);
    }
    assert!((1..=4).all(|n| client.status(n).available));
}

#[test]
fn ends_that_cannot_be_compared_open_only_with_a_witness() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..20 {
        assert_eq!(alone(&mut client, 1, &site(i)), BreakerChange::None);
        world.advance(200);
    }
    assert!(client.status(1).available);
    // Another exit answers for a target that this one did not answer for.
    let witness = client.acquire_on(2, &site(7));
    assert!(witness.is_doubted);
    let told = client.release(&witness, Outcome::Success);
    assert_eq!(told.others, [(proxy(1), BreakerChange::Opened)]);
    assert!(!client.status(1).available);
}

#[test]
fn witness_comes_too_late_after_ten_minutes() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..5 {
        alone(&mut client, 1, &site(i));
        world.advance(200);
    }
    world.advance(600_001);
    let late = client.acquire_on(2, &site(4));
    assert!(client.release(&late, Outcome::Success).others.is_empty());
    assert!(client.status(1).available);
}

#[test]
fn witness_is_one_only_against_exits_that_ended_within_ten_minutes() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..5 {
        alone(&mut client, 1, &site(i));
        world.advance(200);
    }
    world.advance(300_000);
    // The entry of the target stays for the second exit.
    alone(&mut client, 2, &site(4));
    world.advance(300_000);
    let late = client.acquire_on(3, &site(4));
    assert!(late.is_doubted);
    assert!(client.release(&late, Outcome::Success).others.is_empty());
    assert!(client.status(1).available);
}

#[test]
fn answer_through_the_exit_itself_is_no_witness_and_ends_its_row() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..20 {
        alone(&mut client, 1, &site(i));
        world.advance(200);
        let lease = client.acquire_on(1, &site(i));
        client.release(&lease, Outcome::Success);
        assert_eq!(client.status(1).breaker.strikes(), 0);
    }
}

#[test]
fn dead_targets_open_no_breaker() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    for i in 0..200 {
        client.request(&format!("dead{i}.test:443"), &ALIKE);
        client.request(&format!("post{i}.test"), &[Outcome::Ambiguous]);
        world.advance(300);
    }
    assert_eq!(client.stats().open, 0);
}

#[test]
fn strikes_leave_a_tenth_of_the_pool_and_at_least_one_exit() {
    for (proxies, left) in [(1, 1), (2, 1), (4, 1), (11, 2), (20, 2)] {
        let world = World::new(Config::default(), proxies);
        let mut client = world.client();
        // Every exit collects a row without a witness; then each answers for a target of all the others.
        for n in 1..=proxies {
            for i in 0..5 {
                alone(&mut client, n, &site(i + 10 * n as usize));
                world.advance(200);
            }
        }
        let mut opened = 0;
        for n in (1..=proxies).rev().chain(1..=proxies) {
            for other in (1..=proxies).filter(|other| *other != n) {
                if client.status(n).available {
                    let lease = client.acquire_on(n, &site(10 * other as usize));
                    let told = client.release(&lease, Outcome::Success);
                    opened += told.others.len() as u128;
                }
            }
        }
        let healthy = u128::from(client.stats().healthy);
        assert!(healthy >= left, "{healthy} of {proxies}");
        assert_eq!(opened, proxies - healthy);
    }
}

#[test]
fn failures_of_the_proxy_itself_open_without_a_floor() {
    let world = World::new(Config::default(), 2);
    let mut client = world.client();
    client.trip(1);
    client.trip(2);
    assert_eq!(client.stats().healthy, 0);
}

#[test]
fn strikes_and_failures_are_counted_apart() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    for i in 0..4 {
        worse(&mut client, 1, &site(i));
        let lease = client.acquire_on(1, &site(i));
        client.release(&lease, Outcome::Failure);
        world.advance(200);
    }
    let breaker = client.status(1).breaker;
    assert_eq!((breaker.strikes(), breaker.failures()), (4, 4));
}

#[test]
fn success_outweighs_every_end_that_was_told_before() {
    let world = World::new(Config::default(), 4);
    let mut client = world.client();
    let early = client.acquire_on(1, "good.test");
    for i in 0..4 {
        worse(&mut client, 1, &site(i));
        world.advance(200);
    }
    // A tunnel that was opened before tells its first byte now.
    client.release(&early, Outcome::Success);
    assert_eq!(client.status(1).breaker.strikes(), 0);
}
