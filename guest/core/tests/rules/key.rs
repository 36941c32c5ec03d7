//! Rule 1.

use remora_core::{AcquireError, Config, KeyError, Reason, Request, Scope};

use crate::support::{World, domain};

#[test]
fn spellings_of_one_host_share_a_session() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let first = client.acquire("Shop.Example.COM.:443");
    assert_eq!(first.lease.key, "shop.example.com");
    for spelling in [
        "shop.example.com",
        "SHOP.example.com:80",
        "shop.example.com.",
    ] {
        let grant = client.acquire(spelling);
        assert_eq!(grant.reason, Reason::Hit, "{spelling}");
        assert_eq!(grant.lease.proxy, first.lease.proxy);
    }
    let six = client.acquire("[2001:DB8::1]:443");
    assert_eq!(six.lease.key, "2001:db8::1");
    assert_eq!(client.acquire("2001:db8:0::1").reason, Reason::Hit);
}

#[test]
fn a_malformed_target_is_a_typed_error_and_binds_nothing() {
    let world = World::new(domain(1_000), 3);
    let mut client = world.client();
    let long = "a".repeat(254);
    for (target, error) in [
        ("", KeyError::Empty),
        (".:443", KeyError::Empty),
        (long.as_str(), KeyError::TooLong { limit: 253 }),
        (
            "a\nb",
            KeyError::Forbidden {
                byte: b'\n',
                position: 1,
            },
        ),
        ("b\u{fc}cher.example", KeyError::NotAscii { position: 1 }),
        ("shop.example:https", KeyError::Port),
    ] {
        assert_eq!(client.try_acquire(target), Err(AcquireError::Key(error)));
    }
    let sessions = client.engine.count_sessions(world.now(), None, 10);
    assert_eq!(sessions, Ok((0, None)));
}

#[test]
fn a_session_id_and_tags_are_part_of_the_key_whatever_their_order() {
    let world = World::with_pool(
        domain(1_000),
        vec![crate::support::tagged(1, &["de", "fast"])],
    );
    let mut client = world.client();
    let mut key = |session, tags| {
        let request = Request {
            target: "shop.example",
            session,
            tags,
            ..Request::default()
        };
        let grant = client.try_request(&request).unwrap();
        (grant.lease.key, grant.reason)
    };
    let bound = |key: &str| (key.to_owned(), Reason::Bound);
    assert_eq!(key(None, &[]), bound("shop.example"));
    assert_eq!(key(Some("Al"), &[]), bound("shop.example#Al"));
    assert_eq!(key(None, &["fast", "de"]), bound("shop.example?de&fast"));
    let (same, reason) = key(None, &["de", "fast", "de"]);
    assert_eq!(
        (same.as_str(), reason),
        ("shop.example?de&fast", Reason::Hit)
    );
    assert_eq!(key(Some("al"), &["de"]), bound("shop.example?de#al"));
}

#[test]
fn in_scope_session_the_id_alone_is_the_key_and_without_one_nothing_sticks() {
    let config = Config {
        scope: Scope::Session,
        ..domain(1_000)
    };
    let world = World::new(config, 3);
    let mut client = world.client();
    let mut go = |target, session| {
        let request = Request {
            target,
            session,
            ..Request::default()
        };
        client.try_request(&request).unwrap()
    };
    let first = go("a.example", Some("7"));
    assert_eq!(first.lease.key, "#7");
    let second = go("b.example", Some("7"));
    assert_eq!(second.reason, Reason::Hit);
    assert_eq!(second.lease.proxy, first.lease.proxy);
    assert_eq!(go("a.example", None).reason, Reason::Rotated);
    assert_eq!(go("a.example", None).reason, Reason::Rotated);
}

#[cfg(feature = "public-suffix-list")]
#[test]
fn in_scope_site_hosts_of_one_registrable_domain_share_a_session() {
    let config = Config {
        scope: Scope::Site,
        ..domain(1_000)
    };
    let world = World::new(config, 3);
    let mut client = world.client();
    let first = client.acquire("login.shop.co.uk");
    assert_eq!(first.lease.key, "shop.co.uk");
    assert_eq!(client.acquire("static.shop.co.uk").reason, Reason::Hit);
    assert_eq!(client.acquire("other.co.uk").reason, Reason::Bound);
}
