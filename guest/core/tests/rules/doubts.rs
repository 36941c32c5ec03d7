//! Rule 13, *doubts*, *move* and *probe*.

use remora_core::{BreakerChange, Config, End, OnBad, Outcome, Reason, Request, Table};

use crate::support::{World, domain, proxy};

const SHOP: &str = "shop.example:443";
const WORSE: [Outcome; 2] = [Outcome::Ambiguous, Outcome::Success];
const ALIKE: [Outcome; 3] = [Outcome::Ambiguous; 3];

#[test]
fn second_worse_end_in_a_row_moves_the_session_to_the_exit_that_answered() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    let (first, settled) = client.request(SHOP, &WORSE);
    assert!(!settled.ended_session);
    assert_eq!(client.acquire(SHOP).reason, Reason::Hit);
    let served = client.fallbacks(&first, SHOP, 1)[0].proxy;
    let (_, settled) = client.request(SHOP, &WORSE);
    assert!(settled.ended_session);
    let moved = client.acquire(SHOP);
    assert_eq!((moved.lease.proxy, moved.reason), (served, Reason::Hit));
    assert_ne!(moved.lease.generation, first.generation);
    assert_eq!(world.storage.population(Table::Blocks), 1);
}

#[test]
fn answer_through_the_same_exit_in_between_starts_the_row_anew() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    for _ in 0..10 {
        assert!(!client.request(SHOP, &WORSE).1.ended_session);
        client.request(SHOP, &[Outcome::Success]);
        assert_eq!(world.storage.population(Table::Doubts), 0);
    }
}

#[test]
fn answer_through_a_listed_exit_drops_the_entry_because_it_was_the_target() {
    let world = World::new(domain(1_000_000), 4);
    let mut client = world.client();
    client.request(SHOP, &ALIKE);
    assert_eq!(world.storage.population(Table::Doubts), 1);
    // The second exit of the session's order is listed, too.
    let (_, settled) = client.request(SHOP, &WORSE);
    // Two in a row for the session's own exit, the second of them worse.
    assert!(settled.ended_session);
    assert_eq!(world.storage.population(Table::Doubts), 0);
}

#[test]
fn time_out_moves_the_session_at_once_where_another_exit_answers() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    let ends = [Outcome::TimedOut, Outcome::Success];
    assert!(client.request(SHOP, &ends).1.ended_session);
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    assert!(!client.request(SHOP, &[Outcome::TimedOut]).1.ended_session);
}

#[test]
fn second_end_in_a_row_of_requests_that_cannot_be_sent_again_moves_the_session() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    let (first, settled) = client.request(SHOP, &[Outcome::Ambiguous]);
    assert!(!settled.ended_session);
    assert!(client.request(SHOP, &[Outcome::Ambiguous]).1.ended_session);
    let moved = client.acquire(SHOP);
    assert_eq!(moved.reason, Reason::Rebound(End::Failed));
    assert_ne!(moved.lease.proxy, first.proxy);
}

#[test]
fn dead_target_moves_no_session_strikes_no_exit_and_is_avoided_by_none() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    let session = client.acquire(SHOP).lease;
    for _ in 0..20 {
        world.advance(1_000);
        let lease = client.acquire(SHOP).lease;
        let limit = client.fallbacks(&lease, SHOP, 2).len();
        client.request(SHOP, &vec![Outcome::Ambiguous; 1 + limit]);
    }
    assert_eq!(client.acquire(SHOP).lease.generation, session.generation);
    assert!((1..=3).all(|n| client.status(n).breaker.strikes() == 0));
    assert_eq!(world.storage.population(Table::Blocks), 0);
}

#[test]
fn target_in_doubt_gets_one_more_exit_instead_of_two() {
    let world = World::new(domain(1_000_000), 4);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    assert_eq!(client.fallbacks(&lease, SHOP, 2).len(), 2);
    client.settle(&lease, SHOP, &ALIKE);
    let lease = client.acquire(SHOP).lease;
    assert!(lease.is_doubted);
    assert_eq!(client.fallbacks(&lease, SHOP, 2).len(), 1);
    assert_eq!(client.fallbacks(&lease, "shop.example:80", 2).len(), 2);
    world.advance(60_001);
    assert_eq!(client.fallbacks(&lease, SHOP, 2).len(), 2);
}

#[test]
fn session_moves_only_to_an_exit_that_is_not_avoided_there() {
    let world = World::new(domain(1_000_000), 2);
    let mut client = world.client();
    let mut moves = 0;
    for i in 0..100 {
        world.advance(1_000);
        let ends: &[Outcome] = if i % 2 == 0 {
            &WORSE
        } else {
            &[Outcome::Ambiguous]
        };
        moves += u32::from(client.request(SHOP, ends).1.ended_session);
    }
    assert_eq!(moves, 1, "one exit less than there are");
}

#[test]
fn strict_session_is_ended_by_no_ambiguous_end() {
    let mut config = domain(1_000_000);
    config.sticky.on_bad = OnBad::Strict;
    let world = World::new(config, 3);
    let mut client = world.client();
    client.acquire(SHOP);
    for _ in 0..10 {
        for outcome in [Outcome::Ambiguous, Outcome::TimedOut] {
            assert!(!client.request(SHOP, &[outcome]).1.ended_session);
        }
    }
    assert_eq!(client.acquire(SHOP).reason, Reason::Hit);
}

#[test]
fn client_that_leaves_or_an_answer_of_unknown_origin_cancels_what_was_ambiguous_before() {
    for last in [Outcome::Cancelled, Outcome::Inconclusive] {
        let world = World::new(domain(1_000_000), 3);
        let mut client = world.client();
        for _ in 0..10 {
            let (_, settled) = client.request(SHOP, &[Outcome::Ambiguous, last]);
            assert_eq!(settled, remora_core::Released::default());
        }
        assert_eq!(world.storage.population(Table::Doubts), 0);
    }
}

#[test]
fn answer_of_unknown_origin_is_a_witness_against_no_exit() {
    let world = World::new(domain(1_000_000), 3);
    let mut client = world.client();
    client.request(SHOP, &[Outcome::Ambiguous]);
    let listed = world.storage.population(Table::Doubts);
    assert_eq!(listed, 1);
    let tried = [proxy(1)];
    let request = Request {
        target: SHOP,
        tried: &tried,
        ..Request::default()
    };
    let lease = client.try_request(&request).unwrap().lease;
    let settled = client.settle(&lease, SHOP, &[Outcome::Inconclusive]);
    assert_eq!(settled, remora_core::Released::default());
    assert_eq!(world.storage.population(Table::Doubts), listed);
}

#[test]
fn request_without_a_session_makes_its_target_avoid_no_exit() {
    let world = World::new(Config::default(), 3);
    let mut client = world.client();
    for _ in 0..3 {
        let lease = client.acquire_on(1, SHOP);
        assert!(!client.settle(&lease, SHOP, &WORSE).ended_session);
    }
    assert_eq!(world.storage.population(Table::Blocks), 0);
}

#[test]
fn session_that_follows_another_looks_at_the_doubts_of_its_key() {
    let world = World::new(domain(1_000), 4);
    let mut client = world.client();
    client.request(SHOP, &ALIKE);
    world.advance(1_000);
    // Nothing is known of the port whose request binds the new session.
    let bound = client.acquire("shop.example:80");
    assert_eq!(bound.reason, Reason::Rebound(End::Expired));
    assert!(!bound.lease.is_doubted);
    assert!(client.acquire(SHOP).lease.is_doubted);
}

#[test]
fn doubts_are_bounded_and_the_oldest_goes() {
    let mut config = domain(1_000_000);
    config.attribution.max_doubts = 3;
    let world = World::new(config, 3);
    let mut client = world.client();
    for i in 0..20 {
        world.advance(1);
        client.request(&format!("{i}.example"), &WORSE);
        assert!(world.storage.population(Table::Doubts) <= 3);
    }
    // The newest is there: its second end in a row moves.
    assert!(client.request("19.example", &WORSE).1.ended_session);
    assert!(!client.request("0.example", &WORSE).1.ended_session);
}

/// Proxy 1 is open and due for a probe, and a session of [`SHOP`] that has ended is in doubt or not.
fn with_probe_due(world: &World) -> crate::support::Client<'_> {
    let mut client = world.client();
    client.trip(1);
    world.advance(30_000);
    client
}

fn probe(client: &mut crate::support::Client<'_>, repeatable: bool) -> bool {
    let request = Request {
        target: SHOP,
        is_repeatable: repeatable,
        tried: &[proxy(2), proxy(3), proxy(4)],
        ..Request::default()
    };
    client.try_request(&request).unwrap().lease.probe
}

#[test]
fn probe_rides_on_requests_that_can_be_sent_again_and_on_any_once_overdue() {
    let world = World::new(Config::default(), 4);
    let mut client = with_probe_due(&world);
    assert!(!probe(&mut client, false));
    world.advance(29_999);
    assert!(!probe(&mut client, false));
    world.advance(1);
    assert!(probe(&mut client, false));
    let world = World::new(Config::default(), 4);
    assert!(probe(&mut with_probe_due(&world), true));
}

#[test]
fn probe_does_not_ride_to_a_target_in_doubt_until_it_is_overdue() {
    let world = World::new(Config::default(), 4);
    let mut client = with_probe_due(&world);
    client.request(SHOP, &ALIKE);
    assert!(!probe(&mut client, true));
    world.advance(30_000);
    assert!(probe(&mut client, true));
}

#[test]
fn probe_ends_by_what_its_request_says_beside_the_other_attempts() {
    for (ends, change) in [
        (&[Outcome::Success][..], BreakerChange::Closed),
        (&[Outcome::Failure], BreakerChange::Reopened),
        (
            &[Outcome::Failure, Outcome::Success],
            BreakerChange::Reopened,
        ),
        (&WORSE, BreakerChange::Reopened),
        (&[Outcome::Ambiguous], BreakerChange::Reopened),
        (&ALIKE, BreakerChange::ProbeReturned),
        (
            &[Outcome::Ambiguous, Outcome::Cancelled],
            BreakerChange::ProbeReturned,
        ),
        (&[Outcome::Inconclusive], BreakerChange::ProbeReturned),
        (&[Outcome::Blocked], BreakerChange::ProbeReturned),
    ] {
        let world = World::new(Config::default(), 4);
        let mut client = with_probe_due(&world);
        let request = Request {
            target: SHOP,
            tried: &[proxy(2), proxy(3), proxy(4)],
            ..Request::default()
        };
        let lease = client.try_request(&request).unwrap().lease;
        assert!(lease.probe);
        assert_eq!(
            client.settle(&lease, SHOP, ends).breaker,
            change,
            "{ends:?}"
        );
    }
}

#[test]
fn all_exits_waiting_for_a_probe_tell_an_unrepeatable_request_when_it_may_ride() {
    let world = World::new(Config::default(), 1);
    let mut client = with_probe_due(&world);
    let request = Request {
        target: SHOP,
        is_repeatable: false,
        ..Request::default()
    };
    assert_eq!(
        client.try_request(&request),
        Err(remora_core::AcquireError::Exhausted {
            retry_after_ms: 30_000
        })
    );
}
