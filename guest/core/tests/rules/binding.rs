//! Rules 3, 4, 5, 6 and 12.

use std::sync::Barrier;

use remora_core::{BreakerChange, End, Grant, Lease, Outcome, Reason, Released, Request};

use crate::support::{World, domain, proxy};

#[test]
fn a_hundred_simultaneous_first_requests_of_a_key_never_split() {
    let world = World::new(domain(1_000), 10);
    let gate = Barrier::new(100);
    let grants: Vec<Grant> = std::thread::scope(|scope| {
        let request = || {
            let mut client = world.client();
            gate.wait();
            client.acquire("shop.example")
        };
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(request)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let first = &grants[0].lease;
    assert!(grants.iter().all(|g| g.lease.proxy == first.proxy));
    assert!(
        grants
            .iter()
            .all(|g| g.lease.generation == first.generation)
    );
    let bound = grants.iter().filter(|g| g.reason == Reason::Bound).count();
    assert_eq!(bound, 1);
}

#[test]
fn a_session_stays_whatever_the_instance_and_however_requests_go_unless_they_fail() {
    let world = World::new(domain(1_000), 5);
    let (mut one, mut two) = (world.client(), world.client());
    let first = one.acquire("shop.example").lease;
    for i in 0..100 {
        let outcome = [Outcome::Success, Outcome::Cancelled][i % 2];
        let client = if i % 3 == 0 { &mut one } else { &mut two };
        // Other keys rotate on meanwhile.
        client.acquire(&format!("{i}.example"));
        let grant = client.go("shop.example", outcome);
        assert_eq!(grant.reason, Reason::Hit);
        assert_eq!(grant.lease.proxy, first.proxy);
        assert_eq!(grant.lease.generation, first.generation);
        world.advance(1);
    }
}

#[test]
fn a_failure_moves_the_session_to_a_fresh_proxy() {
    let mut config = domain(1_000);
    config.breaker.open_threshold = 100;
    let world = World::new(config, 2);
    let mut client = world.client();
    for i in 0..20 {
        let host = format!("{i}.example");
        let first = client.acquire(&host).lease;
        // The other proxy has its turn, so that the next in turn is the one that fails.
        let between = client.acquire(&format!("between-{i}.example")).lease;
        assert_ne!(between.proxy, first.proxy);
        assert!(client.fail(&first).ended_session);
        let second = client.acquire(&host);
        assert_eq!(second.reason, Reason::Rebound(End::Failed));
        assert_ne!(second.lease.proxy, first.proxy);
        client.release(&second.lease, Outcome::Success);
    }
}

#[test]
fn the_proxy_that_failed_is_taken_again_where_no_other_is_admitted() {
    let world = World::new(domain(1_000), 1);
    let mut client = world.client();
    let first = client.acquire("shop.example").lease;
    client.fail(&first);
    let second = client.acquire("shop.example");
    assert_eq!(second.reason, Reason::Rebound(End::Failed));
    assert_eq!(second.lease.proxy, first.proxy);
    assert_ne!(second.lease.generation, first.generation);
}

#[test]
fn a_late_failure_does_not_kill_a_newer_binding() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let early = client.acquire("shop.example").lease;
    let late = client.acquire("shop.example").lease;
    let late_block = client.acquire("shop.example").lease;
    assert!(client.fail(&early).ended_session);
    let newer = client.acquire("shop.example").lease;
    assert_ne!(newer.proxy, late.proxy);
    assert!(!client.fail(&late).ended_session);
    assert!(!client.release(&late_block, Outcome::Blocked).ended_session);
    let grant = client.acquire("shop.example");
    assert_eq!(grant.reason, Reason::Hit);
    assert_eq!(grant.lease.generation, newer.generation);
}

#[test]
fn a_late_failure_does_not_kill_a_newer_binding_to_the_same_proxy() {
    let world = World::new(domain(10), 1);
    let mut client = world.client();
    let late = client.acquire("shop.example").lease;
    world.advance(10);
    let newer = client.acquire("shop.example").lease;
    assert_eq!(newer.proxy, late.proxy);
    assert!(!client.fail(&late).ended_session);
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
}

#[test]
fn a_second_failure_of_one_session_ends_nothing_more() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let one = client.acquire("shop.example").lease;
    let two = client.acquire("shop.example").lease;
    assert!(client.fail(&one).ended_session);
    assert!(!client.fail(&two).ended_session);
}

#[test]
fn the_fence_holds_while_the_clock_stands_still() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    let mut old = Vec::new();
    for i in 0..200 {
        let lease = client.acquire("shop.example").lease;
        assert!(old.iter().all(|o: &Lease| o.generation != lease.generation));
        // Every lease of the past fails again, in the same millisecond, to no effect.
        for late in old.iter().rev().take(3) {
            assert!(!client.fail(late).ended_session);
        }
        let hit = client.acquire("shop.example");
        assert_eq!(hit.lease.generation, lease.generation, "round {i}");
        // A success after each failure keeps both breakers closed.
        client.release(&hit.lease, Outcome::Success);
        let done = client.fail(&lease);
        assert!(done.ended_session);
        assert_eq!(done.breaker, BreakerChange::None);
        old.push(lease);
    }
}

#[test]
fn a_lease_is_released_from_another_instance_than_the_one_that_acquired_it() {
    let world = World::new(domain(1_000), 2);
    let (mut one, mut two) = (world.client(), world.client());
    let lease = one.acquire("shop.example").lease;
    let released = two.fail(&lease);
    assert_eq!(
        released,
        Released {
            others: Vec::new(),
            ended_session: true,
            breaker: BreakerChange::None
        }
    );
    assert_eq!(two.status(1).breaker.failures(), 1);
    let next = one.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Failed));
    assert_eq!(next.lease.proxy, proxy(2));
}

#[test]
fn what_a_request_has_tried_is_left_aside_while_another_proxy_is_admitted() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let mut host = 0;
    let mut pick = |tried: &[_]| {
        host += 1;
        let request = Request {
            target: &format!("{host}.example"),
            tried,
            ..Request::default()
        };
        client.try_request(&request).unwrap().lease.proxy
    };
    let [one, two, three] = [proxy(1), proxy(2), proxy(3)];
    // Each time the first in turn is one that was tried.
    assert_eq!(pick(&[one]), two);
    assert_eq!(pick(&[three, one]), two);
    assert_eq!(pick(&[three]), one);
    assert_eq!(pick(&[two, three]), one);
    // All of them: better one of those than none.
    assert_eq!(pick(&[one, two, three]), two);
}

#[test]
fn what_a_plugin_leaves_aside_gets_no_session_while_another_proxy_is_admitted() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    let [one, two] = [proxy(1), proxy(2)];
    assert_eq!(client.acquire("live.example").lease.proxy, one);
    client.engine.leave_aside(vec![one]);
    for host in ["a.example", "b.example", "c.example"] {
        assert_eq!(client.acquire(host).lease.proxy, two);
    }
    // The session that is there stays.
    assert_eq!(client.acquire("live.example").reason, Reason::Hit);
    // The only one left besides is one that this request has tried: that is the worse of the two.
    let request = Request {
        target: "d.example",
        tried: &[two],
        ..Request::default()
    };
    assert_eq!(client.try_request(&request).unwrap().lease.proxy, one);
    // All of them: better one of those than none.
    client.engine.leave_aside(vec![one, two]);
    let [last, other] = ["e.example", "f.example"].map(|host| client.acquire(host).lease.proxy);
    assert_ne!(last, other);
}

/// The fence must hold across a store that was lost, too: generations come from the clock then.
#[test]
fn a_lease_from_before_the_store_was_lost_kills_nothing() {
    let before = World::new(domain(1_000), 2);
    let after = World::new(domain(1_000), 2);
    let late = before.client().acquire("shop.example").lease;
    after.advance(1);
    let mut client = after.client();
    let newer = client.acquire("shop.example").lease;
    assert_ne!(newer.generation, late.generation);
    assert!(!client.fail(&late).ended_session);
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
}
