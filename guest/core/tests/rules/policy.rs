//! Rule 2, but for `strict`.

use remora_core::{Config, End, Mode, Outcome, Override, Reason, Request, Span, Sticky};

use crate::support::{T0, World, domain};

#[test]
fn by_default_nothing_sticks_and_a_session_would_last_five_minutes() {
    let default = Config::default();
    assert_eq!(default.sticky.mode, Mode::Disabled);
    assert_eq!(default.sticky.ttl_ms, 5 * 60 * 1_000);
    let world = World::new(default, 3);
    let mut client = world.client();
    let mut seen: Vec<_> = (0..3)
        .map(|_| {
            let grant = client.acquire("shop.example");
            assert_eq!(grant.reason, Reason::Rotated);
            assert_eq!(grant.lease.generation, 0);
            grant.lease.proxy
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_client_may_say_how_long_its_session_lasts_where_keys_stick() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let ask = |ttl_ms| Request {
        target: "shop.example",
        ttl_ms,
        ..Request::default()
    };
    let span = |bound_at, ttl| {
        let expires_at = bound_at + ttl;
        Some(Span {
            bound_at,
            expires_at,
        })
    };
    let first = client.try_request(&ask(Some(50))).unwrap();
    assert_eq!(first.session, span(T0, 50));
    // A live session keeps its own.
    let second = client.try_request(&ask(Some(90))).unwrap();
    assert_eq!(
        (second.reason, second.session),
        (Reason::Hit, first.session)
    );
    world.advance(50);
    let third = client.try_request(&ask(None)).unwrap();
    assert_eq!(third.reason, Reason::Rebound(End::Expired));
    assert_eq!(third.session, span(T0 + 50, 1_000));

    let world = World::new(Config::default(), 3);
    let granted = world.client().try_request(&ask(Some(50))).unwrap();
    assert_eq!((granted.reason, granted.session), (Reason::Rotated, None));
}

#[test]
fn a_ttl_of_zero_never_sticks() {
    let world = World::new(domain(0), 2);
    let mut client = world.client();
    let first = client.go("shop.example", Outcome::Success);
    let second = client.go("shop.example", Outcome::Success);
    assert_eq!(
        (first.reason, second.reason),
        (Reason::Rotated, Reason::Rotated)
    );
    assert_ne!(first.lease.proxy, second.lease.proxy);
    let sessions = client.engine.count_sessions(T0, None, 10);
    assert_eq!(sessions, Ok((0, None)));
}

#[test]
fn the_ttl_runs_from_the_bind_and_a_hit_does_not_extend_it() {
    let world = World::new(domain(100), 2);
    let mut client = world.client();
    let first = client.go("shop.example", Outcome::Success);
    for _ in 0..99 {
        world.advance(1);
        let grant = client.go("shop.example", Outcome::Success);
        assert_eq!(grant.reason, Reason::Hit);
        assert_eq!(grant.lease.proxy, first.lease.proxy);
    }
    world.advance(1);
    let next = client.go("shop.example", Outcome::Success);
    assert_eq!(next.reason, Reason::Rebound(End::Expired));
    assert_ne!(next.lease.generation, first.lease.generation);
}

#[test]
fn a_session_unused_for_the_idle_time_ends_and_a_request_keeps_it_alive_up_to_the_ttl() {
    let mut config = domain(100);
    config.sticky.idle_ms = Some(30);
    let world = World::new(config, 2);
    let mut client = world.client();
    assert_eq!(client.acquire("shop.example").reason, Reason::Bound);
    for _ in 0..2 {
        world.advance(29);
        assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
    }
    world.advance(30);
    let next = client.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Idle));
    for _ in 0..5 {
        world.advance(19);
        assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
    }
    world.advance(5);
    let next = client.acquire("shop.example");
    assert_eq!(next.reason, Reason::Rebound(End::Expired));
}

#[test]
fn a_session_ends_after_max_requests_counted_over_all_instances() {
    let mut config = domain(1_000);
    config.sticky.max_requests = Some(3);
    let world = World::new(config, 2);
    let (mut one, mut two) = (world.client(), world.client());
    for _ in 0..4 {
        let bound = one.acquire("shop.example");
        assert_ne!(bound.reason, Reason::Hit);
        assert_eq!(two.acquire("shop.example").reason, Reason::Hit);
        assert_eq!(one.acquire("shop.example").reason, Reason::Hit);
        let next = two.acquire("shop.example");
        assert_eq!(next.reason, Reason::Rebound(End::MaxRequests));
        assert_ne!(next.lease.proxy, bound.lease.proxy);
        // Two more use this one up.
        one.acquire("shop.example");
        one.acquire("shop.example");
    }
}

#[test]
fn an_override_changes_the_policy_of_the_hosts_it_names_and_of_no_other() {
    let over = |pattern: &str, mode, ttl_ms| Override {
        pattern: pattern.to_owned(),
        mode,
        ttl_ms,
        ..Override::default()
    };
    let config = Config {
        sticky: Sticky {
            mode: Mode::Domain,
            ttl_ms: 100,
            ..Sticky::default()
        },
        overrides: vec![
            over("*.api.example", Some(Mode::Disabled), None),
            over("*.long.example", None, Some(1_000)),
            over("login.api.example", None, Some(50)),
        ],
        ..Config::default()
    };
    let world = World::new(config, 2);
    let mut client = world.client();
    for (host, first) in [
        ("v1.api.example", Reason::Rotated),
        ("api.example", Reason::Bound),
        ("login.api.example", Reason::Bound),
        ("www.long.example", Reason::Bound),
    ] {
        assert_eq!(client.acquire(host).reason, first, "{host}");
    }
    assert_eq!(client.acquire("V1.api.example:80").reason, Reason::Rotated);
    world.advance(50);
    let short = client.acquire("login.api.example");
    assert_eq!(short.reason, Reason::Rebound(End::Expired));
    assert_eq!(client.acquire("api.example").reason, Reason::Hit);
    world.advance(50);
    assert_eq!(client.acquire("www.long.example").reason, Reason::Hit);
}

#[test]
fn a_configuration_that_is_not_accepted_leaves_the_old_one_in_force() {
    let world = World::new(domain(100), 2);
    let mut client = world.client();
    client.acquire("shop.example");
    let mut wrong = domain(7);
    wrong.breaker.open_threshold = 0;
    let error = client.engine.configure(wrong).unwrap_err();
    assert_eq!(error.field, "breaker.open_threshold");
    assert_eq!(client.engine.config(), &domain(100));
    world.advance(99);
    assert_eq!(client.acquire("shop.example").reason, Reason::Hit);
}
