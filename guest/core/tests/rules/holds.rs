//! Rule 4, *an end is an end*: what a connection asks that was opened under a session.

use remora_core::{Outcome, Reason};

use crate::support::{Client, World, domain, proxy};

const SHOP: &str = "shop.example";

/// What ends a session.
type End = fn(&World, &mut Client<'_>);

#[test]
fn lease_holds_until_its_session_ends_in_any_way() {
    let ends: [(&str, End); 7] = [
        ("time", |world, _| world.advance(100)),
        ("unbind", |world, client| {
            client.engine.unbind(world.now(), SHOP).unwrap();
        }),
        ("failure", |_, client| {
            client.go(SHOP, Outcome::Failure);
        }),
        ("block", |_, client| {
            client.go(SHOP, Outcome::Blocked);
        }),
        ("removal", |_, client| {
            client.engine.remove_proxy(&proxy(1)).unwrap();
        }),
        ("switched off", |_, client| {
            client.engine.set_health(&proxy(1), false);
        }),
        ("breaker", |_, client| client.trip(1)),
    ];
    for (name, end) in ends {
        let world = World::new(domain(100), 3);
        let mut client = world.client();
        let lease = client.acquire(SHOP).lease;
        assert_eq!(lease.proxy, proxy(1));
        world.advance(99);
        let holds = |client: &Client<'_>| {
            let held = client.engine.holds(world.now(), &lease.permit, &lease.key);
            held.unwrap()
        };
        assert!(holds(&client), "{name}");
        end(&world, &mut client);
        assert!(!holds(&client), "{name}");
    }
}

#[test]
fn lease_of_an_older_session_does_not_hold_under_a_newer_one() {
    let world = World::new(domain(100), 3);
    let mut client = world.client();
    let old = client.acquire(SHOP).lease;
    world.advance(100);
    assert!(matches!(client.acquire(SHOP).reason, Reason::Rebound(_)));
    let held = client.engine.holds(world.now(), &old.permit, &old.key);
    assert_eq!(held, Ok(false));
}

#[test]
fn lease_without_a_session_holds_while_its_proxy_is_in_the_pool() {
    let world = World::new(remora_core::Config::default(), 1);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    let held = client.engine.holds(world.now(), &lease.permit, &lease.key);
    assert_eq!(held, Ok(true));
    client.engine.remove_proxy(&proxy(1)).unwrap();
    let held = client.engine.holds(world.now(), &lease.permit, &lease.key);
    assert_eq!(held, Ok(false));
}

#[test]
fn last_request_that_a_session_may_have_holds() {
    let mut config = domain(100);
    config.sticky.max_requests = Some(1);
    let world = World::new(config, 2);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    let held = client.engine.holds(world.now(), &lease.permit, &lease.key);
    assert_eq!(held, Ok(true));
}

/// What moves in a tunnel is use that the session's table does not see.
#[test]
fn lease_holds_though_its_session_was_idle() {
    let mut config = domain(100);
    config.sticky.idle_ms = Some(10);
    let world = World::new(config, 3);
    let mut client = world.client();
    let lease = client.acquire(SHOP).lease;
    let holds = |client: &Client<'_>| {
        let held = client.engine.holds(world.now(), &lease.permit, &lease.key);
        held.unwrap()
    };
    world.advance(50);
    assert!(holds(&client));
    // Another request begins the next session.
    assert_ne!(client.acquire(SHOP).lease.generation, lease.generation);
    assert!(!holds(&client));
}
