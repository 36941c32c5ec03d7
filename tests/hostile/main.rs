//! What a hostile plugin costs its own tenant, and what the tenant next to it sees of it: nothing.
//!
//! The times are printed, not asserted: `cargo test -p remora-host --test hostile -- --nocapture`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod apart;
mod cases;
mod endless;
mod guest;
mod leases;
mod loading;
mod neighbour;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use remora_host::session::StickyPolicy;
use remora_host::storage::{MemoryProxyStore, Quota};
use remora_host::{Error, Limits, Plugin, PluginError, Proxy, ProxyConfig, ProxyManager};

use cases::{At, CASES, Case};
use neighbour::Neighbour;

/// The one that a tenant has.
const PROXY: &str = "http://192.0.2.1:8080";

/// What a tenant may store.
const STORAGE: u64 = 1 << 20;

/// How long a hostile tenant goes on.
const SIEGE: Duration = Duration::from_millis(400);

/// No call is longer than its limit, with generous room for a machine that is busy.
const LONGEST: Duration = Duration::from_secs(2);

fn limits() -> Limits {
    Limits {
        call_timeout: Duration::from_millis(50),
        // Every case goes on for the whole siege; the budget has a test of its own.
        processor_percent: None,
        ..Limits::untrusted()
    }
}

/// What a case may use.
fn limits_of(case: &Case) -> Limits {
    // Time would end it before the limit does that is tried.
    let tries_another = case.error.contains("imports");
    Limits {
        call_timeout: if tries_another {
            Duration::from_secs(60)
        } else {
            limits().call_timeout
        },
        ..limits()
    }
}

/// One test at a time: the memory of the process and the time of its neighbour are measured.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

struct Tenant {
    manager: ProxyManager,
    storage: Arc<Quota<MemoryProxyStore>>,
}

fn tenant(component: &[u8], limits: Limits) -> Result<Tenant, Error> {
    let plugin = Plugin::from_bytes(component)?.with_limits(limits);
    let storage = Arc::new(Quota::new(MemoryProxyStore::default(), STORAGE));
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain_default(),
        ..ProxyConfig::default()
    };
    let builder = ProxyManager::builder().plugin(plugin).config(config);
    let manager = builder.storage(storage.clone()).instances(1).build()?;
    block_on(manager.add_proxy(Proxy::from_url(PROXY)?))?;
    Ok(Tenant { manager, storage })
}

/// What the tenant itself gets: the error of one request, and how long the request took.
fn attempt(case: &Case, component: &[u8], tenant: Option<&Tenant>) -> (Option<String>, Duration) {
    let start = Instant::now();
    let outcome = match (case.at, tenant) {
        (At::Build, _) | (_, None) => self::tenant(component, limits_of(case)).map(|_| ()),
        (At::List, Some(tenant)) => block_on(tenant.manager.sessions()).map(|_| ()),
        (_, Some(tenant)) => {
            let acquired = block_on(tenant.manager.acquire_for_domain("shop.example.com"));
            acquired.and_then(|handle| {
                // Whatever the plugin says of the time, it can be asked for.
                handle.session_expires_at();
                block_on(handle.release(remora_host::Outcome::Failure)).map(|_| ())
            })
        }
    };
    (
        outcome.err().map(|error| error.to_string()),
        start.elapsed(),
    )
}

#[test]
fn a_hostile_plugin_costs_its_own_tenant_and_nobody_else() {
    let _alone = alone();
    let neighbour = Neighbour::new();
    let quiet = neighbour.during(|| std::thread::sleep(SIEGE));
    println!("quiet: {quiet}");
    let before = resident();
    for case in &CASES {
        let component = case.guest.component();
        let mut longest = Duration::ZERO;
        let mut attempts = 0_u32;
        let seen = neighbour.during(|| {
            let tenant =
                (case.at != At::Build).then(|| tenant(&component, limits_of(case)).unwrap());
            let start = Instant::now();
            while attempts == 0 || start.elapsed() < SIEGE {
                let (error, took) = attempt(case, &component, tenant.as_ref());
                match (&error, case.at) {
                    (None, At::Nowhere) => {}
                    (Some(error), at) if at != At::Nowhere => {
                        assert!(error.contains(case.error), "{}: {error}", case.name);
                    }
                    _ => panic!("{}: {error:?}", case.name),
                }
                longest = longest.max(took);
                attempts += 1;
            }
            if let Some(tenant) = &tenant {
                assert!(tenant.storage.used() <= STORAGE, "{}", case.name);
            }
        });
        println!(
            "{}: {attempts} attempts, the longest {longest:?}; the neighbour: {seen}, p99 {:.2} of quiet",
            case.name,
            seen.p99().as_secs_f64() / quiet.p99().as_secs_f64()
        );
        assert!(longest < LONGEST, "{}: {longest:?}", case.name);
    }
    let (before, after) = (before / 1024, resident() / 1024);
    println!("resident: {before} MiB before, {after} MiB after");
    // The code of what was compiled is gone with it; what is left is the allocator's own.
    assert!(
        after < before + 64,
        "{before} MiB before, {after} MiB after"
    );
}

#[test]
fn a_trap_in_every_call_is_an_error_of_every_call() {
    let _alone = alone();
    let guest = guest::Guest {
        every: "unreachable",
        ..guest::Guest::default()
    };
    let manager = tenant(&guest.component(), limits()).unwrap().manager;
    let id = Proxy::from_url(PROXY).unwrap().id().unwrap();
    let errors = block_on(async {
        [
            manager.acquire_proxy().await.map(|_| ()).err(),
            manager.sessions().await.map(|_| ()).err(),
            manager.pool_stats().await.map(|_| ()).err(),
            manager.proxies().await.map(|_| ()).err(),
            manager.remove_proxy(id).await.map(|_| ()).err(),
        ]
    });
    for error in &errors {
        let error = error.as_ref().map(ToString::to_string);
        assert!(
            error.as_ref().is_some_and(|e| e.contains("unreachable")),
            "{errors:?}"
        );
    }
}

#[test]
fn a_plugin_that_takes_more_than_its_share_has_to_wait() {
    let _alone = alone();
    let guest = guest::Guest {
        acquire: "(loop $l (br $l))",
        ..guest::Guest::default()
    };
    let limits = Limits {
        processor_percent: Some(5),
        ..limits()
    };
    let tenant = tenant(&guest.component(), limits).unwrap();
    // A second is saved up; every attempt takes 50 ms of it and more.
    let error = (0..200)
        .map(|_| block_on(tenant.manager.acquire_for_domain("shop.example.com")).unwrap_err())
        .find(|error| matches!(error, Error::Plugin(PluginError::OverBudget { .. })));
    let retry_after = error.expect("it never had to wait").retry_after();
    assert!(retry_after.is_some_and(|after| after > Duration::ZERO));
}

#[test]
fn what_was_granted_can_be_released_and_the_pool_changed_when_the_share_is_used_up() {
    let _alone = alone();
    let guest = guest::Guest {
        acquire: "(loop $l
                    (global.set $n (i64.add (global.get $n) (i64.const 1)))
                    (br_if $l (i64.ne (i64.rem_u (global.get $n) (i64.const 10000000)) (i64.const 0))))",
        ..guest::Guest::default()
    };
    let limits = Limits {
        call_timeout: Duration::from_secs(5),
        processor_percent: Some(1),
        ..limits()
    };
    let Tenant { manager, .. } = tenant(&guest.component(), limits).unwrap();
    let acquire = || block_on(manager.acquire_for_domain("shop.example.com"));
    let is_over = |error: &Error| matches!(error, Error::Plugin(PluginError::OverBudget { .. }));
    let mut handles = Vec::new();
    let error = loop {
        match acquire() {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
    };
    assert!(is_over(&error), "{error}");
    assert!(!handles.is_empty());
    for handle in handles {
        block_on(handle.release(remora_host::Outcome::Failure)).unwrap();
    }
    let proxy = Proxy::from_url("http://192.0.2.2:8080").unwrap();
    let id = block_on(manager.add_proxy(proxy)).unwrap();
    assert!(block_on(manager.set_health(id, false)).unwrap());
    let error = acquire().unwrap_err();
    assert!(is_over(&error), "{error}");
}

#[test]
fn releases_that_run_to_their_limit_are_made_up_for_before_the_next_acquire() {
    let _alone = alone();
    let guest = guest::Guest {
        release: "(loop $l (br $l))",
        ..guest::Guest::default()
    };
    let limits = Limits {
        processor_percent: Some(5),
        ..limits()
    };
    let Tenant { manager, .. } = tenant(&guest.component(), limits).unwrap();
    let mut handles = Vec::new();
    for _ in 0..40 {
        handles.push(block_on(manager.acquire_for_domain("shop.example.com")).unwrap());
    }
    for handle in handles {
        let error = block_on(handle.release(remora_host::Outcome::Success)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("it ran longer than a call may"), "{error}");
    }
    // A second was saved up, and two were taken: what is missing takes twenty times as long.
    let error = block_on(manager.acquire_for_domain("shop.example.com")).unwrap_err();
    let retry_after = error.retry_after().expect("it did not have to wait");
    assert!(retry_after > Duration::from_secs(10), "{retry_after:?}");
}

/// KiB of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}
