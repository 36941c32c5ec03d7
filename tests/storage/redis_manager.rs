//! Managers on a Redis server: they decide as one, wait for nothing too long, and lose nothing on the way.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use remora_core::MAX_KEY_LEN;
use remora_host::session::StickyPolicy;
use remora_host::storage::{Degrading, RemoteStorage};
use remora_host::{
    BreakerConfig, BreakerState, Error, Limits, ManualClock, Outcome, Plugin, Proxy, ProxyConfig,
    ProxyManager, ProxyManagerBuilder, Reason, StorageError,
};

use remora_test_support::server::Server;
use remora_test_support::until;

use crate::guest::Guest;
use crate::servers::{RUNTIME, open};

const PROXIES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

fn config(ttl: Duration) -> ProxyConfig {
    ProxyConfig {
        sticky_policy: StickyPolicy::domain(ttl),
        breaker: BreakerConfig {
            open_threshold: 2,
            half_open_after: Duration::from_millis(300),
            ..BreakerConfig::default()
        },
        ..ProxyConfig::default()
    }
}

fn builder<S: RemoteStorage + 'static>(store: Arc<S>, ttl: Duration) -> ProxyManagerBuilder {
    ProxyManager::builder()
        .remote_storage(store)
        .config(config(ttl))
}

async fn with_proxies(builder: ProxyManagerBuilder) -> ProxyManager {
    let manager = builder.build().unwrap();
    let proxies =
        (0..PROXIES).map(|i| Proxy::from_url(&format!("http://192.0.2.{i}:8080")).unwrap());
    manager.add_proxies(proxies.collect()).await.unwrap();
    manager
}

async fn manager(server: &Server) -> ProxyManager {
    with_proxies(builder(open(&server.url("")), Duration::from_secs(3_600))).await
}

/// A request of one session, with its release.
async fn ask_for_a(manager: &ProxyManager) {
    let handle = manager.acquire_for_domain("a.example").await.unwrap();
    handle.mark_success();
    drop(handle);
    manager.settled().await;
}

#[test]
fn a_plugin_that_loops_lets_other_tasks_run_until_its_time_is_up() {
    let server = Server::new();
    let looping = Guest {
        acquire: "(loop $l (br $l))",
        ..Guest::default()
    };
    let limits = Limits {
        call_timeout: Duration::from_millis(500),
        ..Limits::untrusted()
    };
    let plugin = Plugin::from_bytes(&looping.component()).unwrap();
    // One thread for all tasks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open(&server.url(""));
        let builder = builder(store, Duration::from_secs(60)).storage_timeout(PATIENCE);
        let manager = with_proxies(builder.plugin(plugin.with_limits(limits))).await;
        let asked = tokio::spawn(async move { manager.acquire_proxy().await.map(|_| ()) });
        let mut ticks = 0;
        while !asked.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            ticks += 1;
        }
        // Without a turn there would be one before the call and one after it.
        assert!(ticks > 5, "{ticks}");
        let error = asked.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("it ran longer than a call may"), "{error}");
    });
}

#[test]
fn a_plugin_that_asks_for_a_key_that_is_none_is_ended_before_the_storage_is_asked() {
    let server = Server::new();
    // None, one byte too many, and bytes that are no printable ASCII: what is at 0 is zeroes.
    for (at, length) in [(256, 0), (65_536, MAX_KEY_LEN + 1), (0, 3)] {
        let key = format!("(i32.const {at}) (i32.const {length})");
        let load = format!("(call $load (i32.const 0) {key} (i32.const 4096))");
        let exchange = format!("(call $exchange {key})");
        for call in [load, exchange] {
            let fill = "(memory.fill (i32.const 65536) (i32.const 97) (i32.const 1000))";
            let guest = Guest {
                acquire: format!("{fill} {call}").leak(),
                ..Guest::default()
            };
            let plugin = Plugin::from_bytes(&guest.component()).unwrap();
            RUNTIME.block_on(async {
                let here = ProxyManager::builder().plugin(plugin.clone());
                let there = builder(open(&server.url("")), Duration::from_secs(60)).plugin(plugin);
                for builder in [here, there] {
                    let manager = with_proxies(builder).await;
                    let error = manager.acquire_proxy().await.unwrap_err().to_string();
                    let refused = format!("a storage key of {length} bytes");
                    assert!(error.contains(&refused), "{call}: {error}");
                }
            });
        }
    }
}

#[test]
fn managers_on_one_server_decide_as_one() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let (a, b) = (manager(&server).await, manager(&server).await);
        for n in 0..50 {
            let site = format!("site-{n}.example");
            // First requests of a key at the same moment, from both.
            let all = (0..8).map(|i| {
                let (manager, site) = ([&a, &b][i % 2].clone(), site.clone());
                tokio::spawn(async move { manager.acquire_for_domain(&site).await.unwrap() })
            });
            let mut ids = Vec::new();
            for task in all.collect::<Vec<_>>() {
                let handle = task.await.unwrap();
                ids.push(handle.proxy_id());
                handle.mark_success();
            }
            ids.dedup();
            assert_eq!(ids.len(), 1, "{site}");
            let handle = b.acquire_for_domain(&site).await.unwrap();
            assert_eq!((handle.reason(), handle.proxy_id()), (Reason::Hit, ids[0]));
            // A failure that one of them reports moves the session of both.
            handle.release(Outcome::Failure).await.unwrap();
            let moved = a.acquire_for_domain(&site).await.unwrap();
            assert_ne!(moved.proxy_id(), ids[0]);
            moved.mark_success();
        }
        assert_eq!(b.pool_stats().await.unwrap().active_sessions, 50);
        assert_eq!(b.sessions().await.unwrap().len(), 50);
        assert!(a.end_session("site-7.example").await.unwrap());
        assert_eq!(b.pool_stats().await.unwrap().active_sessions, 49);
    });
}

#[test]
fn a_hit_is_one_round_trip_and_so_is_its_release() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let manager = manager(&server).await;
        for _ in 0..2 {
            ask_for_a(&manager).await;
        }
        let commands = || ["get", "mget", "evalsha", "eval"].map(|name| server.calls(name));
        let before = commands();
        for _ in 0..10 {
            let handle = manager.acquire_for_domain("a.example").await.unwrap();
            assert_eq!(handle.reason(), Reason::Hit);
            handle.release(Outcome::Success).await.unwrap();
        }
        let after = commands();
        let spent: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        // Looks at the server's clock are scripts, too: one or two may fall in between.
        assert_eq!(spent[..2], [10, 10], "{spent:?}");
        assert!(spent[2] <= 2 && spent[3] == 0, "{spent:?}");
    });
}

#[test]
fn a_handle_that_is_dropped_does_not_block_and_its_release_arrives() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let manager = manager(&server).await;
        let handle = manager.acquire_for_domain("a.example").await.unwrap();
        let proxy = handle.proxy_id();
        server.signal("STOP");
        let dropped = Instant::now();
        drop(handle);
        let took = dropped.elapsed();
        server.signal("CONT");
        manager.settled().await;
        assert!(took < Duration::from_millis(200), "{took:?}");
        let next = manager.acquire_for_domain("a.example").await.unwrap();
        assert_ne!(next.proxy_id(), proxy);
        next.mark_success();
    });
}

#[test]
fn a_client_that_goes_away_while_it_waits_takes_no_probe_with_it() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let mut config = config(Duration::from_secs(3_600));
        // Long enough that a busy machine does not see it pass.
        config.breaker.half_open_after = Duration::from_secs(2);
        let builder = ProxyManager::builder().remote_storage(open(&server.url("")));
        let manager = builder.config(config).build().unwrap();
        let proxy = Proxy::from_url("http://192.0.2.1:8080").unwrap();
        manager.add_proxy(proxy).await.unwrap();
        for _ in 0..2 {
            let handle = manager.acquire_for_domain("a.example").await.unwrap();
            handle.release(Outcome::Failure).await.unwrap();
        }
        let refused = manager.acquire_for_domain("a.example").await.unwrap_err();
        assert!(matches!(refused, Error::Exhausted { .. }), "{refused}");
        tokio::time::sleep(Duration::from_millis(2_050)).await;
        // The probe is due; who asks for it gives up before the server answers.
        server.signal("STOP");
        let patience = Duration::from_millis(50);
        let asked = tokio::time::timeout(patience, manager.acquire_for_domain("a.example"));
        assert!(asked.await.is_err());
        server.signal("CONT");
        tokio::time::sleep(Duration::from_millis(500)).await;
        manager.settled().await;
        let probe = manager.acquire_for_domain("a.example").await.unwrap();
        assert!(probe.is_probe());
        probe.mark_success();
    });
}

#[test]
fn while_the_server_hangs_nothing_waits_longer_than_its_deadline() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let builder = builder(open(&server.url("")), Duration::from_secs(3_600));
        let manager = with_proxies(builder.storage_timeout(Duration::from_secs(1))).await;
        ask_for_a(&manager).await;
        server.signal("STOP");
        let asked = Instant::now();
        // More calls than there are instances.
        let all: Vec<_> = (0..100)
            .map(|i| {
                let manager = manager.clone();
                tokio::spawn(async move {
                    let site = format!("site-{i}.example");
                    manager
                        .acquire_for_domain(&site)
                        .await
                        .map(|_| ())
                        .unwrap_err()
                })
            })
            .collect();
        for task in all {
            assert_eq!(
                task.await.unwrap(),
                Error::Storage(StorageError::Unavailable)
            );
        }
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "{:?}",
            asked.elapsed()
        );
        // After a while nobody waits for it at all.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let asked = Instant::now();
        manager.acquire_for_domain("a.example").await.unwrap_err();
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "{:?}",
            asked.elapsed()
        );
        server.signal("CONT");
        let start = Instant::now();
        while manager
            .acquire_for_domain("a.example")
            .await
            .map(|h| h.mark_success())
            .is_err()
        {
            assert!(start.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_server_that_is_gone_for_a_moment_is_waited_for() {
    let mut server = Server::new();
    let manager = RUNTIME.block_on(manager(&server));
    RUNTIME.block_on(async {
        ask_for_a(&manager).await;
    });
    server.kill();
    let waiting = {
        let manager = manager.clone();
        RUNTIME.spawn(async move {
            let handle = manager.acquire_for_domain("b.example").await;
            handle.map(|handle| handle.mark_success())
        })
    };
    thread::sleep(Duration::from_millis(300));
    server.restart();
    RUNTIME.block_on(waiting).unwrap().unwrap();
}

#[test]
fn a_process_that_may_go_on_alone_keeps_its_sessions_and_joins_in_again() {
    let mut server = Server::new();
    let degrading = Arc::new(Degrading::new(
        open(&server.url("")),
        RUNTIME.handle().clone(),
    ));
    let health = degrading.health().clone();
    let (a, b) = RUNTIME.block_on(async {
        let a = with_proxies(builder(degrading.clone(), Duration::from_secs(3_600))).await;
        (a, manager(&server).await)
    });
    let proxy_of = |manager: &ProxyManager, site: &str| {
        RUNTIME.block_on(async {
            let handle = manager.acquire_for_domain(site).await.unwrap();
            handle.mark_success();
            (handle.proxy_id(), handle.reason())
        })
    };
    let shared: Vec<_> = (0..20)
        .map(|n| proxy_of(&a, &format!("s{n}.example")).0)
        .collect();
    server.kill();
    for (n, proxy) in shared.iter().enumerate() {
        assert_eq!(
            proxy_of(&a, &format!("s{n}.example")),
            (*proxy, Reason::Hit)
        );
    }
    assert!(health.is_failing());
    // New sessions are its own, and stick.
    let own = proxy_of(&a, "own.example");
    assert_eq!(proxy_of(&a, "own.example"), (own.0, Reason::Hit));
    server.restart();
    until("it joins in again", || !health.is_failing());
    // The server came back empty: whoever binds first decides for both.
    let decided = proxy_of(&b, "own.example");
    assert_eq!(proxy_of(&a, "own.example"), (decided.0, Reason::Hit));
    assert_eq!(health.failures(), 1);
}

#[test]
fn machines_whose_clocks_disagree_see_a_session_end_at_the_same_moment() {
    let server = Server::new();
    let ttl = Duration::from_secs(2);
    RUNTIME.block_on(async {
        let now = remora_host::Clock::now_ms(&remora_host::SystemClock::default());
        let mut managers = Vec::new();
        for minutes in [-10_i64, 0, 10] {
            let clock = ManualClock::at(now.checked_add_signed(minutes * 60_000).unwrap());
            let store = open(&server.url(""));
            store.reached().await;
            let builder = builder(store, ttl).clock(Arc::new(clock));
            managers.push(with_proxies(builder).await);
        }
        let bound = Instant::now();
        let first = managers[0].acquire_for_domain("a.example").await.unwrap();
        first.mark_success();
        for manager in &managers {
            let handle = manager.acquire_for_domain("a.example").await.unwrap();
            handle.mark_success();
            let hit = handle.reason() == Reason::Hit && handle.proxy_id() == first.proxy_id();
            assert!(hit || bound.elapsed() > ttl, "{handle:?}");
        }
        tokio::time::sleep_until((bound + ttl + Duration::from_millis(100)).into()).await;
        let reasons = [2, 0, 1].map(|i| managers[i].acquire_for_domain("a.example"));
        let [late, hits @ ..] = reasons;
        let late = late.await.unwrap();
        assert!(matches!(late.reason(), Reason::Rebound(_)), "{late:?}");
        late.mark_success();
        for hit in hits {
            let hit = hit.await.unwrap();
            assert_eq!(hit.reason(), Reason::Hit);
            hit.mark_success();
        }
    });
}

#[test]
fn what_is_said_to_one_manager_holds_for_all_its_instances() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let manager = manager(&server).await;
        let ids: Vec<_> = manager
            .proxies()
            .await
            .unwrap()
            .iter()
            .map(|p| p.id)
            .collect();
        for n in 0..100 {
            let site = format!("s{n}.example");
            manager
                .acquire_for_domain(&site)
                .await
                .unwrap()
                .mark_success();
        }
        assert!(manager.remove_proxy(ids[0]).await.unwrap());
        assert!(manager.set_health(ids[1], false).await.unwrap());
        for n in 0..100 {
            let handle = manager
                .acquire_for_domain(&format!("s{n}.example"))
                .await
                .unwrap();
            assert!(!ids[..2].contains(&handle.proxy_id()));
            handle.mark_success();
        }
        let bad = ProxyConfig {
            sticky_max_requests: Some(0),
            ..config(Duration::from_secs(1))
        };
        assert!(matches!(
            manager.reconfigure(bad).await,
            Err(Error::Invalid(_))
        ));
        assert_eq!(manager.plugin_traps(), 0);
        assert_eq!(manager.pool_stats().await.unwrap().healthy, PROXIES - 2);
    });
}

#[test]
fn a_report_does_not_ask_for_every_proxy() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let manager = manager(&server).await;
        let more = (0..2_000)
            .map(|i| Proxy::from_url(&format!("http://192.0.2.1:{}", 10_000 + i)).unwrap());
        manager.add_proxies(more.collect()).await.unwrap();
        for n in 0..2 {
            let handle = manager
                .acquire_for_domain(&format!("s{n}.example"))
                .await
                .unwrap();
            handle.release(Outcome::Failure).await.unwrap();
        }
        let before = server.calls("get");
        let stats = manager.pool_stats().await.unwrap();
        assert_eq!((stats.total, stats.healthy), (2_005, 2_005));
        let failures = manager.proxies().await.unwrap().into_iter();
        let failed = failures.filter(|proxy| proxy.breaker != BreakerState::Closed { failures: 0 });
        assert_eq!(failed.count(), 2);
        let asked = server.calls("get") - before;
        assert!(asked < 100, "{asked}");
    });
}

#[test]
fn the_sessions_of_a_fleet_stay_within_their_bound() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let config = ProxyConfig {
            max_sessions: 50,
            ..config(Duration::from_secs(3_600))
        };
        let mut managers = Vec::new();
        for _ in 0..2 {
            let builder = ProxyManager::builder().remote_storage(open(&server.url("")));
            managers.push(with_proxies(builder.config(config.clone())).await);
        }
        for n in 0..300 {
            let handle = managers[n % 2]
                .acquire_for_domain(&format!("s{n}.example"))
                .await
                .unwrap();
            handle.mark_success();
        }
        for manager in &managers {
            assert_eq!(manager.pool_stats().await.unwrap().active_sessions, 50);
        }
    });
}

#[test]
fn nobody_decides_by_a_clock_of_its_own_before_the_servers_time_is_known() {
    let server = Server::new();
    RUNTIME.block_on(async {
        let hour = Duration::from_secs(3_600);
        let before = manager(&server).await;
        let bound = before.acquire_for_domain("a.example").await.unwrap();
        bound.mark_success();
        before.settled().await;
        // A process that starts while the server hangs, and whose own date is two hours ahead.
        server.signal("STOP");
        let now = remora_host::Clock::now_ms(&remora_host::SystemClock::default());
        let ahead = Arc::new(ManualClock::at(now + 2 * 3_600_000));
        let late = with_proxies(builder(open(&server.url("")), hour).clock(ahead)).await;
        let asked = tokio::spawn(async move { late.acquire_for_domain("a.example").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.signal("CONT");
        let hit = asked.await.unwrap().unwrap();
        hit.mark_success();
        assert_eq!(
            (hit.reason(), hit.proxy_id()),
            (Reason::Hit, bound.proxy_id())
        );
    });
}
