//! Rule 7, the probe.

use std::sync::Barrier;

use remora_core::{AcquireError, BreakerChange, Config, End, Grant, OnBad, Outcome, Reason};

use crate::support::{World, domain};

const WAIT: u64 = 30_000;

/// One proxy, whose breaker opens at the second failure.
fn config(sticky: Config) -> Config {
    let mut config = sticky;
    config.breaker.open_threshold = 2;
    config
}

/// A world whose only proxy has a probe due.
fn half_open(sticky: Config) -> World {
    let world = World::new(config(sticky), 1);
    world.client().trip(1);
    world.advance(WAIT);
    world
}

fn exhausted(retry_after_ms: u64) -> Result<Grant, AcquireError> {
    Err(AcquireError::Exhausted { retry_after_ms })
}

/// A hundred threads, each with an instance of its own, ask at once.
fn a_hundred(world: &World, target: impl Fn(usize) -> String + Sync) -> Vec<Grant> {
    let gate = Barrier::new(100);
    let request = |i| {
        let mut client = world.client();
        gate.wait();
        client.try_acquire(&target(i)).ok()
    };
    std::thread::scope(|scope| {
        let request = &request;
        let threads: Vec<_> = (0..100).map(|i| scope.spawn(move || request(i))).collect();
        threads
            .into_iter()
            .filter_map(|t| t.join().unwrap())
            .collect()
    })
}

#[test]
fn a_hundred_simultaneous_acquires_in_half_open_admit_one() {
    for sticky in [domain(1_000_000), Config::default()] {
        let world = half_open(sticky);
        for _ in 0..10 {
            let grants = a_hundred(&world, |i| format!("{i}.example"));
            assert_eq!(grants.len(), 1);
            assert!(grants[0].lease.probe);
            // The probe is lost, another one is due.
            world.advance(WAIT);
        }
    }
}

#[test]
fn a_hundred_simultaneous_acquires_of_one_key_in_half_open_send_one_probe() {
    let world = half_open(domain(1_000_000));
    for _ in 0..10 {
        let grants = a_hundred(&world, |_| "shop.example".to_owned());
        let probes = grants.iter().filter(|g| g.lease.probe).count();
        assert_eq!(probes, 1);
        let generation = grants[0].lease.generation;
        assert!(grants.iter().all(|g| g.lease.generation == generation));
        world.advance(WAIT);
    }
}

#[test]
fn a_probe_that_succeeds_closes_the_breaker() {
    let world = half_open(domain(1_000_000));
    let mut client = world.client();
    let probe = client.acquire("shop.example").lease;
    assert!(probe.probe);
    assert_eq!(probe.deadline, world.now() + WAIT);
    assert_eq!(client.try_acquire("other.example"), exhausted(WAIT));
    assert_eq!(
        client.release(&probe, Outcome::Success).breaker,
        BreakerChange::Closed
    );
    assert!(!client.acquire("other.example").lease.probe);
    // The session that the probe bound goes on.
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
    // And the count starts anew.
    client.go("a.example", Outcome::Failure);
    assert!(client.status(1).available);
}

#[test]
fn a_probe_that_fails_restarts_the_timer() {
    let world = half_open(domain(1_000_000));
    let mut client = world.client();
    for _ in 0..5 {
        let probe = client.acquire("shop.example").lease;
        world.advance(7);
        let released = client.fail(&probe);
        assert_eq!(released.breaker, BreakerChange::Reopened);
        assert_eq!(client.try_acquire("shop.example"), exhausted(WAIT));
        world.advance(WAIT - 1);
        assert_eq!(client.try_acquire("shop.example"), exhausted(1));
        world.advance(1);
    }
}

#[test]
fn the_wait_grows_with_every_failed_probe_up_to_the_cap_and_not_at_all_by_default() {
    let mut config = config(domain(1_000_000));
    config.breaker.growth = 3;
    config.breaker.max_half_open_after_ms = 200_000;
    let world = World::new(config, 1);
    let mut client = world.client();
    client.trip(1);
    for wait in [WAIT, 3 * WAIT, 200_000, 200_000] {
        assert_eq!(client.try_acquire("shop.example"), exhausted(wait));
        world.advance(wait);
        client.go("shop.example", Outcome::Failure);
    }
    world.advance(200_000);
    client.go("shop.example", Outcome::Success);
    client.trip(1);
    assert_eq!(client.try_acquire("x.example"), exhausted(WAIT));
}

#[test]
fn a_probe_that_is_never_released_frees_its_place() {
    let world = half_open(domain(1_000_000));
    let mut client = world.client();
    for i in 0..20 {
        let lost = client.acquire(&format!("{i}.example")).lease;
        assert!(lost.probe);
        assert_eq!(client.try_acquire("shop.example"), exhausted(WAIT));
        assert_eq!(client.stats().open, 1);
        world.advance(WAIT);
        assert_eq!(client.stats().healthy, 1);
    }
}

#[test]
fn of_two_probes_only_the_newer_is_heard() {
    let world = half_open(Config::default());
    let mut client = world.client();
    let lost = client.acquire("shop.example").lease;
    world.advance(WAIT);
    let probe = client.acquire("shop.example").lease;
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Cancelled] {
        assert_eq!(client.release(&lost, outcome).breaker, BreakerChange::None);
        assert_eq!(client.try_acquire("shop.example"), exhausted(WAIT));
    }
    assert_eq!(
        client.release(&probe, Outcome::Success).breaker,
        BreakerChange::Closed
    );
}

#[test]
fn a_probe_that_comes_back_late_is_heard_while_no_other_has_gone_out() {
    let world = half_open(Config::default());
    let mut client = world.client();
    let late = client.acquire("shop.example").lease;
    world.advance(10 * WAIT);
    assert_eq!(
        client.release(&late, Outcome::Success).breaker,
        BreakerChange::Closed
    );
}

#[test]
fn a_probe_that_says_nothing_of_the_proxy_gives_its_place_back_at_once() {
    for outcome in [Outcome::Cancelled, Outcome::Blocked] {
        let world = half_open(Config::default());
        let mut client = world.client();
        let first = client.acquire("shop.example").lease;
        let released = client.release(&first, outcome);
        assert_eq!(released.breaker, BreakerChange::ProbeReturned);
        assert_eq!(client.stats().healthy, 1);
        let second = client.acquire("shop.example").lease;
        assert!(second.probe);
        // What was given back is not given back again.
        assert_eq!(client.release(&first, outcome).breaker, BreakerChange::None);
        assert_eq!(client.stats().open, 1);
        assert_eq!(client.fail(&second).breaker, BreakerChange::Reopened);
    }
}

#[test]
fn requests_of_the_session_that_the_probe_bound_follow_it_and_do_not_move_the_breaker() {
    let world = half_open(domain(1_000_000));
    let (mut one, mut two) = (world.client(), world.client());
    let probe = one.acquire("shop.example").lease;
    for outcome in [Outcome::Success, Outcome::Cancelled] {
        let follower = two.acquire("shop.example");
        assert_eq!(follower.reason, Reason::Hit);
        assert!(!follower.lease.probe);
        assert_eq!(
            two.release(&follower.lease, outcome).breaker,
            BreakerChange::None
        );
        assert_eq!(two.try_acquire("other.example"), exhausted(WAIT));
    }
    let follower = two.acquire("shop.example").lease;
    let failed = two.fail(&follower);
    assert!(failed.ended_session);
    assert_eq!(failed.breaker, BreakerChange::None);
    assert_eq!(
        one.release(&probe, Outcome::Success).breaker,
        BreakerChange::Closed
    );
}

#[test]
fn a_session_does_not_outlive_its_lost_probe() {
    let world = half_open(domain(1_000_000));
    let mut client = world.client();
    client.acquire("shop.example");
    world.advance(WAIT);
    let next = client.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Open));
    assert!(next.lease.probe);
}

#[test]
fn a_probe_that_is_given_up_ends_no_session() {
    for strict in [false, true] {
        let mut config = domain(1_000_000);
        if strict {
            config.sticky.on_bad = OnBad::Strict;
        }
        let world = World::new(self::config(config), 2);
        let mut client = world.client();
        client.trip(1);
        world.advance(WAIT);
        // Round-robin comes to the first proxy once in two.
        let keys = ["a.example", "b.example"];
        let granted = keys.map(|key| client.acquire(key));
        let at = granted.iter().position(|g| g.lease.probe).unwrap();
        let (key, probe) = (keys[at], &granted[at]);
        let released = client.release(&probe.lease, Outcome::Cancelled);
        assert_eq!(released.breaker, BreakerChange::ProbeReturned);
        let again = client.acquire(key);
        assert_eq!(again.reason, Reason::Hit);
        assert_eq!(again.lease.proxy, probe.lease.proxy);
        assert_eq!(again.lease.generation, probe.lease.generation);
        assert!(again.lease.probe, "it is the next probe");
        // Its other requests follow it, nobody else comes in.
        let follower = client.acquire(key);
        assert_eq!(
            (follower.reason, follower.lease.probe),
            (Reason::Hit, false)
        );
        // What the first one might still say is not heard.
        let late = client.release(&probe.lease, Outcome::Success);
        assert_eq!(late.breaker, BreakerChange::None);
    }
}

#[test]
fn a_session_whose_probe_was_given_up_has_ended_once_somebody_else_probes() {
    let world = half_open(domain(1_000_000));
    let mut client = world.client();
    let given_up = client.acquire("shop.example").lease;
    client.release(&given_up, Outcome::Cancelled);
    let other = client.acquire("other.example").lease;
    assert!(other.probe);
    assert_eq!(client.try_acquire("shop.example"), exhausted(WAIT));
    client.release(&other, Outcome::Success);
    let next = client.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Open));
}
