//! Rule 2: `strict` never changes an exit silently.

use remora_core::{AcquireError, Config, End, OnBad, Outcome, Reason};

use crate::support::{World, domain, proxy};

fn strict(ttl_ms: u64) -> Config {
    let mut config = domain(ttl_ms);
    config.sticky.on_bad = OnBad::Strict;
    config
}

fn lost(end: End, retry_after_ms: u64) -> Result<Reason, AcquireError> {
    Err(AcquireError::SessionLost {
        end,
        retry_after_ms,
    })
}

/// How a session's proxy goes bad.
type Harm = fn(&mut crate::support::Client<'_>);

#[test]
fn strict_never_changes_an_exit_silently() {
    let harms: [(End, Harm); 5] = [
        (End::Failed, |client| {
            client.go("shop.example", Outcome::Failure);
        }),
        (End::Blocked, |client| {
            client.go("shop.example", Outcome::Blocked);
        }),
        (End::Removed, |client| {
            client.engine.remove_proxy(&proxy(1)).unwrap();
        }),
        (End::Removed, |client| {
            client.engine.set_health(&proxy(1), false);
        }),
        (End::Open, |client| client.trip(1)),
    ];
    for (end, harm) in harms {
        let world = World::new(strict(100), 3);
        let mut client = world.client();
        assert_eq!(client.acquire("shop.example").lease.proxy, proxy(1));
        harm(&mut client);
        let mut reason = || client.try_acquire("shop.example").map(|g| g.reason);
        assert_eq!(reason(), lost(end, 100));
        world.advance(60);
        assert_eq!(reason(), lost(end, 40));
        world.advance(39);
        assert_eq!(reason(), lost(end, 1));
        world.advance(1);
        assert_eq!(reason(), Ok(Reason::Rebound(End::Expired)), "{end}");
    }
}

#[test]
fn a_strict_session_that_comes_to_its_planned_end_gets_a_new_exit_at_once() {
    let mut config = strict(100);
    config.sticky.idle_ms = Some(10);
    config.sticky.max_requests = Some(2);
    let world = World::new(config, 3);
    let mut client = world.client();
    let mut reason = || client.acquire("shop.example").reason;
    assert_eq!(reason(), Reason::Bound);
    assert_eq!(reason(), Reason::Hit);
    assert_eq!(reason(), Reason::Rebound(End::MaxRequests));
    world.advance(10);
    assert_eq!(reason(), Reason::Rebound(End::Idle));
}

#[test]
fn a_strict_session_whose_proxy_comes_back_goes_on() {
    let world = World::new(strict(100), 3);
    let mut client = world.client();
    let first = client.acquire("shop.example").lease;
    client.engine.set_health(&first.proxy, false);
    assert!(client.try_acquire("shop.example").is_err());
    client.engine.set_health(&first.proxy, true);
    let again = client.acquire("shop.example");
    assert_eq!(again.reason, Reason::Hit);
    assert_eq!(again.lease.proxy, first.proxy);
}

/// Nobody hears from a lost session, so its idle time goes on: what the error promises must hold.
#[test]
fn a_strict_error_names_the_time_at_which_a_new_session_may_really_begin() {
    let mut config = strict(100);
    config.sticky.idle_ms = Some(30);
    let world = World::new(config, 3);
    let mut client = world.client();
    client.acquire("shop.example");
    client.engine.set_health(&proxy(1), false);
    world.advance(10);
    let mut reason = || client.try_acquire("shop.example").map(|g| g.reason);
    assert_eq!(reason(), lost(End::Removed, 20));
    world.advance(20);
    assert_eq!(reason(), Ok(Reason::Rebound(End::Idle)));
}

/// The request took longer than the idle time: the session was over before it failed.
#[test]
fn a_failure_after_the_idle_time_does_not_lock_a_strict_client_out() {
    let mut config = strict(100);
    config.sticky.idle_ms = Some(10);
    let world = World::new(config, 3);
    let mut client = world.client();
    let slow = client.acquire("shop.example").lease;
    world.advance(10);
    assert!(!client.fail(&slow).ended_session);
    let next = client.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Idle));
}
