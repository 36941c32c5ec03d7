//! The rules that speak of concurrency, through the component, with many threads.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use remora_host::session::StickyPolicy;
use remora_host::storage::MemoryProxyStore;
use remora_host::{
    BreakerConfig, Error, ManualClock, Outcome, Proxy, ProxyConfig, ProxyHandle, ProxyManager,
    Reason,
};

const THREADS: usize = 8;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn acquire(mgr: &ProxyManager, domain: &str) -> Result<ProxyHandle, Error> {
    block_on(mgr.acquire_for_domain(domain))
}

fn config() -> ProxyConfig {
    ProxyConfig {
        sticky_policy: StickyPolicy::domain_default(),
        breaker: BreakerConfig {
            open_threshold: 2,
            half_open_after: Duration::from_secs(30),
            ..BreakerConfig::default()
        },
        ..ProxyConfig::default()
    }
}

/// Managers of their own that share a storage and a clock, as processes would.
fn managers(
    count: usize,
    proxies: usize,
    config: &ProxyConfig,
) -> (Vec<ProxyManager>, Arc<ManualClock>) {
    let storage = Arc::new(MemoryProxyStore::default());
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let make = |_| {
        let builder = ProxyManager::builder().storage(storage.clone());
        let builder = builder.clock(clock.clone()).config(config.clone());
        let mgr = builder.instances(2).build().unwrap();
        let proxy = |i| Proxy::from_url(&format!("http://192.0.2.{}:8080", i + 1)).unwrap();
        block_on(mgr.add_proxies((0..proxies).map(proxy).collect())).unwrap();
        mgr
    };
    ((0..count).map(make).collect(), clock)
}

/// Runs `f` on all threads at once and collects the answers.
fn at_once<T: Send>(f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let run = |i| {
            let (barrier, f) = (&barrier, &f);
            scope.spawn(move || {
                barrier.wait();
                f(i)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[test]
fn simultaneous_first_requests_of_a_key_never_split() {
    let (managers, _) = managers(3, 10, &config());
    for round in 0..300 {
        let domain = format!("site-{round}.example");
        let handles = at_once(|i| acquire(&managers[i % 3], &domain).unwrap());
        let proxies: HashSet<_> = handles.iter().map(ProxyHandle::proxy_id).collect();
        assert_eq!(proxies.len(), 1, "{domain} split");
        let bound = handles.iter().filter(|h| h.reason() == Reason::Bound);
        assert_eq!(bound.count(), 1);
        for handle in handles {
            handle.mark_success();
        }
    }
}

#[test]
fn a_key_stays_while_others_come_and_go() {
    let (managers, _) = managers(2, 5, &config());
    let first = acquire(&managers[0], "stay.example").unwrap();
    let proxy = first.proxy_id();
    first.mark_success();
    at_once(|i| {
        for n in 0..2_000 {
            let other = acquire(&managers[i % 2], &format!("other-{i}-{n}.example")).unwrap();
            other.mark_success();
            let handle = acquire(&managers[i % 2], "stay.example").unwrap();
            assert_eq!((handle.proxy_id(), handle.reason()), (proxy, Reason::Hit));
            handle.mark_success();
        }
    });
}

#[test]
fn a_half_open_breaker_admits_one_probe_over_all_threads_and_instances() {
    let (managers, clock) = managers(3, 1, &config());
    for round in 0..100 {
        // Two failures in a row open the only breaker.
        for mgr in &managers[..2] {
            drop(acquire(mgr, &format!("fail-{round}.example")).unwrap());
        }
        let refused = acquire(&managers[2], "refused.example").unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(30)));
        clock.advance(30_000);
        let answers = at_once(|i| acquire(&managers[i % 3], &format!("probe-{round}-{i}.example")));
        let (probes, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(probes.len(), 1);
        assert!(
            refused
                .iter()
                .all(|r| matches!(r, Err(Error::Exhausted { .. })))
        );
        let probe = probes.into_iter().next().unwrap().unwrap();
        assert!(probe.is_probe());
        probe.mark_success();
    }
}

#[test]
fn a_late_failure_does_not_kill_a_newer_binding_whoever_releases_it() {
    let (managers, _) = managers(2, 3, &config());
    let old = acquire(&managers[0], "a.example").unwrap();
    let failing = acquire(&managers[1], "a.example").unwrap();
    drop(failing);
    let new = acquire(&managers[1], "a.example").unwrap();
    assert_ne!(new.proxy_id(), old.proxy_id());
    let released = block_on(old.release(Outcome::Failure)).unwrap();
    assert!(!released.ended_session);
    let still = acquire(&managers[0], "a.example").unwrap();
    assert_eq!(
        (still.proxy_id(), still.reason()),
        (new.proxy_id(), Reason::Hit)
    );
    still.mark_success();
    new.mark_success();
}

#[test]
fn a_shared_table_stays_within_its_bound_under_many_writers() {
    let config = ProxyConfig {
        max_sessions: 500,
        ..config()
    };
    let (managers, _) = managers(2, 5, &config);
    at_once(|i| {
        for n in 0..2_000 {
            acquire(&managers[i % 2], &format!("s-{i}-{n}.example"))
                .unwrap()
                .mark_success();
        }
    });
    let held = block_on(managers[0].pool_stats()).unwrap().active_sessions;
    assert_eq!(held, 500);
}
