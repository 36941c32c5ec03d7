//! `steady`: new sessions go to exits that do not keep failing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use remora_host::storage::{Storage, Table};
use remora_host::{Outcome, Plugin, Reason};
use uuid::Uuid;

use super::build::STEADY;
use super::tenant::{THREADS, Tenant, block_on};

const POOL: [&[&str]; 3] = [&[]; 3];

/// What the plugin says in `share.rs`, in milliseconds.
const FRESH_FOR: u64 = 1_000;
const REMEMBERED_FOR: u64 = 600_000;

/// How many of 30 new sessions a proxy gets that has lost every third of its requests for a while, from all threads
/// and instances.
fn sessions_of_a_flaky_proxy(plugin: Plugin) -> usize {
    let tenant = Tenant::new(plugin, &POOL);
    let flaky = tenant.proxies[1];
    let turn = AtomicU64::new(0);
    tenant.at_once(|i, manager| {
        for n in 0..60 {
            let handle = block_on(manager.acquire_for_domain(&format!("{n}.{i}.example"))).unwrap();
            let lost = handle.proxy_id() == flaky && turn.fetch_add(1, Ordering::SeqCst) % 3 == 2;
            let outcome = if lost {
                Outcome::Failure
            } else {
                Outcome::Success
            };
            block_on(handle.release(outcome)).unwrap();
        }
    });
    tenant.clock.advance(FRESH_FOR);
    let new = (0..30).map(|n| tenant.place(&format!("{n}.new.example")));
    new.filter(|proxy| *proxy == flaky).count()
}

#[test]
fn new_sessions_leave_a_proxy_aside_that_loses_every_third_request() {
    // Its breaker never sees five failures in a row: without the plugin it has its third of the sessions.
    assert_eq!(sessions_of_a_flaky_proxy(Plugin::builtin().unwrap()), 10);
    assert_eq!(sessions_of_a_flaky_proxy(STEADY.clone()), 0);
}

/// Three failures: enough for the plugin, too few for the breaker.
fn spoil(tenant: &Tenant, proxy: Uuid) {
    for n in 0..3 {
        let handle = tenant.acquire_on(proxy, &format!("{n}.{proxy}.example"));
        block_on(handle.release(Outcome::Failure)).unwrap();
    }
    tenant.clock.advance(FRESH_FOR);
}

#[test]
fn a_live_session_stays_on_a_proxy_that_is_left_aside() {
    let tenant = Tenant::new(STEADY.clone(), &POOL);
    let [one, ..] = tenant.proxies[..] else {
        panic!()
    };
    tenant.acquire_on(one, "live.example").mark_success();
    spoil(&tenant, one);
    assert!((0..10).all(|n| tenant.place(&format!("{n}.new.example")) != one));
    let handle = tenant.acquire("live.example").unwrap();
    assert_eq!((handle.proxy_id(), handle.reason()), (one, Reason::Hit));
    handle.mark_success();
}

#[test]
fn when_all_are_left_aside_all_are_used() {
    let tenant = Tenant::new(STEADY.clone(), &POOL);
    for proxy in tenant.proxies.clone() {
        spoil(&tenant, proxy);
    }
    let mut used: Vec<Uuid> = (0..9)
        .map(|n| tenant.place(&format!("{n}.new.example")))
        .collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 3);
}

#[test]
fn what_nobody_has_added_to_for_ten_minutes_is_forgotten() {
    let tenant = Tenant::new(STEADY.clone(), &POOL);
    let [one, ..] = tenant.proxies[..] else {
        panic!()
    };
    spoil(&tenant, one);
    let gets_sessions =
        |turn: &str| (0..3).any(|n| tenant.place(&format!("{n}.{turn}.example")) == one);
    tenant.clock.advance(REMEMBERED_FOR - 2 * FRESH_FOR);
    assert!(!gets_sessions("before"));
    tenant.clock.advance(FRESH_FOR);
    assert!(gets_sessions("after"));
}

#[test]
fn successes_take_a_proxy_back_and_leave_nothing_in_the_store() {
    let tenant = Tenant::new(STEADY.clone(), &POOL);
    let [one, ..] = tenant.proxies[..] else {
        panic!()
    };
    tenant.acquire_on(one, "live.example").mark_success();
    spoil(&tenant, one);
    for _ in 0..100 {
        assert_eq!(tenant.place("live.example"), one);
    }
    assert_eq!(
        tenant.storage.load(Table::Custom(6), &one.to_string()),
        Ok(None)
    );
    tenant.clock.advance(FRESH_FOR);
    assert!((0..3).any(|n| tenant.place(&format!("{n}.new.example")) == one));
}

#[test]
fn no_verdict_is_lost_between_threads_and_instances() {
    let tenant = Tenant::new(STEADY.clone(), &POOL);
    let [one, ..] = tenant.proxies[..] else {
        panic!()
    };
    let each = 5;
    let leases: Vec<_> = (0..THREADS * each)
        .map(|n| Mutex::new(Some(tenant.acquire_on(one, &format!("{n}.example")))))
        .collect();
    tenant.at_once(|i, _| {
        for lease in &leases[i * each..][..each] {
            let lease = lease.lock().unwrap().take().unwrap();
            block_on(lease.release(Outcome::Failure)).unwrap();
        }
    });
    // The same verdict every time, so that the order does not matter.
    let expected = leases
        .iter()
        .fold(0, |share, _| share + (1_000_000 - share) / 8);
    let cell = tenant
        .storage
        .load(Table::Custom(6), &one.to_string())
        .unwrap();
    assert_eq!(cell.unwrap().words[0], expected);
}
