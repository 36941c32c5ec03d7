//! The session table on its own.

use std::collections::BTreeSet;

use remora_core::{End, Error, KeyError, Outcome, Reason};

use crate::support::{T0, World, domain, proxy};

#[test]
fn what_is_bound_is_looked_up_until_it_expires() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    let table = &mut client.engine;
    table.bind(T0, "Shop.Example", proxy(7), 100).unwrap();
    assert_eq!(table.lookup(T0 + 99, "shop.example."), Ok(Some(proxy(7))));
    assert_eq!(table.lookup(T0 + 100, "shop.example"), Ok(None));
    assert_eq!(table.lookup(T0, "other.example"), Ok(None));
}

#[test]
fn a_bind_replaces_what_was_there_and_one_with_a_ttl_of_zero_removes_it() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    let table = &mut client.engine;
    table.bind(T0, "shop.example", proxy(1), 100).unwrap();
    table.bind(T0, "shop.example", proxy(2), 200).unwrap();
    assert_eq!(table.lookup(T0 + 150, "shop.example"), Ok(Some(proxy(2))));
    table.bind(T0, "shop.example", proxy(1), 0).unwrap();
    assert_eq!(table.lookup(T0, "shop.example"), Ok(None));
}

#[test]
fn an_acquire_stays_on_the_proxy_that_the_table_bound() {
    let world = World::new(domain(1_000), 5);
    let mut client = world.client();
    client
        .engine
        .bind(T0, "shop.example", proxy(4), 100)
        .unwrap();
    let grant = client.acquire("shop.example");
    assert_eq!(grant.reason, Reason::Hit);
    assert_eq!(grant.lease.proxy, proxy(4));
    world.advance(100);
    let next = client.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Expired));
}

#[test]
fn a_session_bound_by_hand_has_a_generation_that_no_old_lease_holds() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let old = client.acquire("shop.example").lease;
    client
        .engine
        .bind(T0, "shop.example", old.proxy, 100)
        .unwrap();
    assert!(!client.fail(&old).ended_session);
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
}

#[test]
fn a_bind_to_a_proxy_outside_the_pool_ends_at_the_next_acquire() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    client
        .engine
        .bind(T0, "shop.example", proxy(9), 100)
        .unwrap();
    let grant = client.acquire("shop.example");
    assert_eq!(grant.reason, Reason::Rebound(End::Removed));
}

#[test]
fn unbind_ends_a_session_at_once_and_says_whether_there_was_one() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    let lease = client.acquire("shop.example").lease;
    assert_eq!(client.engine.unbind(T0, "SHOP.example"), Ok(true));
    assert_eq!(client.engine.unbind(T0, "shop.example"), Ok(false));
    assert_eq!(client.acquire("shop.example").reason, Reason::Bound);
    assert!(!client.fail(&lease).ended_session);
    client.acquire("late.example");
    assert_eq!(client.engine.unbind(T0 + 1_000, "late.example"), Ok(false));
}

#[test]
fn purge_removes_what_has_expired_up_to_its_limit_and_nothing_else() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    for i in 0..10u64 {
        let key = format!("{i}.example");
        client.engine.bind(T0, &key, proxy(1), 100 + i).unwrap();
    }
    assert_eq!(client.engine.purge_expired(T0 + 99, 100), Ok(0));
    assert_eq!(client.engine.purge_expired(T0 + 105, 4), Ok(4));
    assert_eq!(client.engine.purge_expired(T0 + 105, 4), Ok(2));
    assert_eq!(client.engine.purge_expired(T0 + 105, 4), Ok(0));
    let count = client.engine.count_sessions(T0, None, 100);
    assert_eq!(count, Ok((4, None)));
}

#[test]
fn the_list_has_every_live_session_once_and_no_other_page_by_page() {
    let mut config = domain(1_000);
    config.breaker.open_threshold = 100;
    let world = World::new(config, 3);
    let mut client = world.client();
    for i in 0..25 {
        client.acquire(&format!("live-{i}.example"));
        client.go(&format!("dead-{i}.example"), Outcome::Failure);
        let key = format!("gone-{i}.example");
        client.engine.bind(T0, &key, proxy(1), 5).unwrap();
    }
    world.advance(5);
    let (mut keys, mut counted, mut cursor) = (BTreeSet::new(), 0, None);
    loop {
        let page = client.engine.list_sessions(world.now(), cursor, 7).unwrap();
        let (count, next) = client
            .engine
            .count_sessions(world.now(), cursor, 7)
            .unwrap();
        assert_eq!((count as usize, next), (page.sessions.len(), page.next));
        counted += count;
        for (key, session) in page.sessions {
            assert_eq!((session.bound_at, session.expires_at), (T0, T0 + 1_000));
            assert!(keys.insert(key));
        }
        match page.next {
            None => break,
            next => cursor = next,
        }
    }
    let expected: BTreeSet<_> = (0..25).map(|i| format!("live-{i}.example")).collect();
    assert_eq!(keys, expected);
    assert_eq!(counted, 25);
}

#[test]
fn a_malformed_key_is_a_typed_error() {
    let world = World::new(domain(1_000), 2);
    let mut client = world.client();
    let table = &mut client.engine;
    let empty = Error::Key(KeyError::Empty);
    assert_eq!(table.bind(T0, "", proxy(1), 1), Err(empty));
    assert_eq!(table.lookup(T0, "#"), Err(empty));
    let space = KeyError::Forbidden {
        byte: b' ',
        position: 1,
    };
    assert_eq!(table.unbind(T0, "a b"), Err(Error::Key(space)));
}
