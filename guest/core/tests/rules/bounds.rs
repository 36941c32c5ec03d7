//! Rule 10.

use remora_core::{AcquireError, Config, Outcome, Reason, StorageError, Table};

use crate::support::{World, domain, proxy};

fn at_most(max_sessions: u64, ttl_ms: u64) -> Config {
    Config {
        max_sessions,
        ..domain(ttl_ms)
    }
}

#[test]
fn a_million_one_shot_domains_stay_within_max_sessions() {
    let world = World::new(at_most(1_000, 60_000), 10);
    let mut client = world.client();
    for i in 0..1_000_000u32 {
        // Every one fails or is blocked now and then, so that what those leave behind counts too.
        let outcome = match i % 10 {
            0 => Outcome::Failure,
            1 => Outcome::Blocked,
            _ => Outcome::Success,
        };
        client.go(&format!("{i}.example"), outcome);
        if i % 16 == 0 {
            world.advance(1);
        }
        if i % 1_000 == 999 {
            assert!(world.storage.population(Table::Sessions) <= 1_000);
            assert!(world.storage.population(Table::Blocks) <= 1_000);
        }
    }
    assert_eq!(world.storage.population(Table::Sessions), 1_000);
    assert_eq!(world.storage.population(Table::Blocks), 1_000);
    assert!(world.storage.population(Table::Breakers) <= 10);
    assert_eq!(world.storage.population(Table::InFlight), 0);
    assert_eq!(world.storage.population(Table::Cursor), 1);
}

#[test]
fn domains_that_do_not_stick_leave_nothing_behind() {
    let world = World::new(Config::default(), 3);
    let mut client = world.client();
    for i in 0..1_000 {
        client.go(&format!("{i}.example"), Outcome::Success);
    }
    assert_eq!(world.storage.population(Table::Sessions), 0);
    assert_eq!(world.storage.population(Table::Blocks), 0);
}

#[test]
fn at_the_cap_the_session_closest_to_expiry_makes_room() {
    let world = World::new(at_most(3, 1_000), 2);
    let mut client = world.client();
    for host in ["a.example", "b.example", "c.example"] {
        client.acquire(host);
        world.advance(10);
    }
    client.acquire("d.example");
    let mut live = |host: &str| {
        let found = client.engine.lookup(world.now(), host).unwrap();
        found.is_some()
    };
    assert!(!live("a.example"));
    assert!(live("b.example") && live("c.example") && live("d.example"));
}

#[test]
fn a_session_that_was_just_bound_is_not_the_one_that_makes_room() {
    let world = World::new(at_most(2, 1_000), 2);
    let mut client = world.client();
    let now = world.now();
    client
        .engine
        .bind(now, "long.example", proxy(1), 90_000)
        .unwrap();
    client
        .engine
        .bind(now, "longer.example", proxy(1), 99_000)
        .unwrap();
    // Closer to expiry than both that are there.
    assert_eq!(client.acquire("shop.example").reason, Reason::Bound);
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
    assert_eq!(client.engine.lookup(now, "long.example"), Ok(None));
    assert_eq!(
        client.engine.lookup(now, "longer.example"),
        Ok(Some(proxy(1)))
    );
}

#[test]
fn expired_sessions_are_reclaimed_as_work_goes_on_a_few_at_a_time() {
    let world = World::new(at_most(1_000, 1_000), 2);
    let mut client = world.client();
    for i in 0..100 {
        client.acquire(&format!("{i}.example"));
    }
    world.advance(1_000);
    let mut before = world.storage.population(Table::Sessions);
    assert_eq!(before, 100);
    let mut rounds = 0;
    while before > rounds + 1 {
        client.acquire(&format!("new-{rounds}.example"));
        rounds += 1;
        let after = world.storage.population(Table::Sessions);
        assert!(after < before, "no progress");
        assert!(before - after <= 4, "a request waits for a clean-up");
        before = after;
    }
    assert!(rounds < 50);
}

#[test]
fn a_smaller_cap_is_reached_as_work_goes_on() {
    let world = World::new(at_most(100, 1_000), 2);
    let mut client = world.client();
    for i in 0..100 {
        client.acquire(&format!("{i}.example"));
    }
    client.engine.configure(at_most(10, 1_000)).unwrap();
    for i in 0..30 {
        client.acquire(&format!("new-{i}.example"));
    }
    assert_eq!(world.storage.population(Table::Sessions), 10);
}

#[test]
fn where_the_storage_is_full_expired_entries_make_room_and_live_ones_stay() {
    let world = World::new(at_most(1_000, 1_000), 3);
    let mut client = world.client();
    client.go("blocked.example", Outcome::Blocked);
    world.storage.limit(20);
    let full = (0..20).find_map(|i| client.try_acquire(&format!("{i}.example")).err());
    assert_eq!(full, Some(AcquireError::Storage(StorageError::Full)));
    assert_eq!(client.acquire("0.example").reason, Reason::Hit);
    world.advance(1_000);
    for round in 0..100 {
        let host = format!("{round}.later.example");
        let grant = client.acquire(&host);
        let outcome = [Outcome::Failure, Outcome::Blocked, Outcome::Success][round % 3];
        client.release(&grant.lease, outcome);
        world.advance(500_000);
    }
}
