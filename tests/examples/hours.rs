//! `hours`: sessions only in opening hours, in JavaScript.

use std::collections::HashSet;
use std::time::Duration;

use remora_host::{End, Error, Outcome, Plugin, Proxy, ProxyConfig, ProxyManager, Reason, Scope};
use uuid::Uuid;

use super::build::HOURS;
use super::tenant::{MIDNIGHT, TTL, Tenant, block_on, sticky};

const HOUR: u64 = 3_600_000;
const DAY: &[&str] = &["hours=8-20"];
const NIGHT: &[&str] = &["hours=22-6"];
const ALWAYS: &[&str] = &[];

#[test]
fn new_sessions_go_to_proxies_that_are_open() {
    let tenant = Tenant::new(HOURS.clone(), &[DAY, NIGHT, ALWAYS]);
    let [day, night, always] = tenant.proxies[..] else {
        panic!()
    };
    for (hour, open) in [
        (0, vec![night, always]),
        (5, vec![night, always]),
        (6, vec![always]),
        (7, vec![always]),
        (8, vec![day, always]),
        (19, vec![day, always]),
        (20, vec![always]),
        (21, vec![always]),
        (22, vec![night, always]),
        (23, vec![night, always]),
    ] {
        tenant.clock.set(MIDNIGHT + hour * HOUR);
        let used = (0..4).map(|n| tenant.place(&format!("{n}.{hour}.example")));
        let used: HashSet<Uuid> = used.collect();
        assert_eq!(used, HashSet::from_iter(open), "at {hour} o'clock");
        let stats = block_on(tenant.managers[0].pool_stats()).unwrap();
        assert_eq!((stats.total, stats.healthy), (3, used.len()));
    }
}

#[test]
fn when_no_proxy_is_open_the_error_says_when_one_will_be() {
    let tenant = Tenant::new(HOURS.clone(), &[DAY, NIGHT]);
    tenant.clock.set(MIDNIGHT + 6 * HOUR + HOUR / 2);
    let error = tenant.acquire("shop.example").unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5_400)));
}

#[test]
fn a_live_session_stays_after_hours_until_its_time_is_over() {
    let tenant = Tenant::new(HOURS.clone(), &[DAY, NIGHT]);
    let [day, night] = tenant.proxies[..] else {
        panic!()
    };
    tenant.clock.set(MIDNIGHT + 19 * HOUR);
    assert_eq!(tenant.place("shop.example"), day);
    tenant.clock.set(MIDNIGHT + 23 * HOUR);
    assert_eq!(tenant.place("other.example"), night);
    let handle = tenant.acquire("shop.example").unwrap();
    assert_eq!((handle.proxy_id(), handle.reason()), (day, Reason::Hit));
    handle.mark_success();
    tenant
        .clock
        .advance(u64::try_from(TTL.as_millis()).unwrap());
    let handle = tenant.acquire("shop.example").unwrap();
    assert_eq!(handle.proxy_id(), night);
    assert_eq!(handle.reason(), Reason::Rebound(End::Expired));
    handle.mark_success();
}

#[test]
fn simultaneous_first_requests_of_a_key_never_split() {
    let tenant = Tenant::new(HOURS.clone(), &[ALWAYS; 5]);
    for key in 0..50 {
        let target = format!("{key}.example");
        let bound = tenant.at_once(|_, manager| {
            let handle = block_on(manager.acquire_for_domain(&target)).unwrap();
            handle.mark_success();
            (handle.proxy_id(), handle.generation(), handle.reason())
        });
        let sessions: HashSet<_> = bound
            .iter()
            .map(|(proxy, generation, _)| (proxy, generation))
            .collect();
        assert_eq!(sessions.len(), 1, "{bound:?}");
        assert_eq!(
            bound
                .iter()
                .filter(|(.., reason)| *reason == Reason::Bound)
                .count(),
            1
        );
    }
}

#[test]
fn a_failure_ends_the_session_and_a_late_one_leaves_the_newer_session_alone() {
    let tenant = Tenant::new(HOURS.clone(), &[ALWAYS; 3]);
    let [first, late] = [(); 2].map(|()| tenant.acquire("shop.example").unwrap());
    let lost = first.proxy_id();
    assert!(
        block_on(first.release(Outcome::Failure))
            .unwrap()
            .ended_session
    );
    let moved = tenant.place("shop.example");
    assert_ne!(moved, lost);
    assert!(
        !block_on(late.release(Outcome::Blocked))
            .unwrap()
            .ended_session
    );
    assert_eq!(tenant.place("shop.example"), moved);
}

#[test]
fn keys_are_those_of_the_plugin_built_in() {
    let ours = Tenant::new(HOURS.clone(), &[ALWAYS]);
    let builtin = Tenant::new(Plugin::builtin().unwrap(), &[ALWAYS]);
    for target in [
        "shop.example",
        "Shop.Example.COM.:443",
        "192.0.2.7:80",
        "[2001:db8::1]:443",
        "2001:db8::1",
        "a b.example",
        "x.example:http",
        "...",
        "bücher.example",
    ] {
        let [one, other] = [&ours, &builtin].map(|tenant| {
            let acquired = tenant.acquire(target).map_err(|error| error.to_string());
            acquired.map(|handle| {
                handle.mark_success();
                handle.session_key().map(str::to_owned)
            })
        });
        assert_eq!(one, other, "{target}");
    }
}

#[test]
fn the_table_of_sessions_can_be_read_and_changed() {
    let tenant = Tenant::new(HOURS.clone(), &[ALWAYS; 2]);
    let manager = &tenant.managers[1];
    let place = tenant.place("shop.example");
    let listed = block_on(manager.sessions()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].key.as_str(), listed[0].proxy_id),
        ("shop.example", place)
    );
    assert!(block_on(manager.end_session("Shop.example:443")).unwrap());
    assert!(block_on(manager.sessions()).unwrap().is_empty());
}

#[test]
fn the_table_of_sessions_is_bounded() {
    let tenant = Tenant::new(HOURS.clone(), &[ALWAYS]);
    let config = ProxyConfig {
        max_sessions: 100,
        ..sticky()
    };
    block_on(tenant.managers[0].reconfigure(config)).unwrap();
    for n in 0..300 {
        tenant.place(&format!("{n}.example"));
    }
    let listed = block_on(tenant.managers[0].sessions()).unwrap();
    assert_eq!(listed.len(), 100);
}

#[test]
fn what_it_cannot_do_is_refused_with_the_field_and_what_would_do() {
    let config = ProxyConfig {
        sticky_scope: Scope::Session,
        ..sticky()
    };
    let builder = ProxyManager::builder().plugin(HOURS.clone()).config(config);
    let error = builder.build().unwrap_err().to_string();
    assert_eq!(error, "`sticky.scope` is `session`; accepted: host");

    let tenant = Tenant::new(HOURS.clone(), &[]);
    let proxy = Proxy {
        tags: vec!["hours=late".into()],
        ..Proxy::from_url("http://192.0.2.1:8080").unwrap()
    };
    let error = block_on(tenant.managers[0].add_proxy(proxy))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("`proxy.tags` is `hours=late`; accepted: hours=FROM-TO"),
        "{error}"
    );
}
