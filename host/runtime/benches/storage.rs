//! What a decision costs on each storage, as ratios to memory of the same run.
//!
//! `cargo bench --package remora-host --bench storage`; needs `redis-server`. The table at the end is what
//! `docs/storage.md` keeps.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use remora_host::session::StickyPolicy;
use remora_host::storage::{
    Durability, MemoryProxyStore, RedbOptions, RedbStore, RedisOptions, RedisStorage,
};
use remora_host::{Outcome, Proxy, ProxyConfig, ProxyManager, ProxyManagerBuilder};

const SITES: usize = 1_000;
/// Requests at the same moment, where it says so.
const AT_ONCE: usize = 64;
const TAKES: Duration = Duration::from_secs(4);

/// A server on loopback that keeps nothing on disk.
struct Redis(Child, u16);

impl Redis {
    fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Self(child, port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn manager(builder: ProxyManagerBuilder) -> ProxyManager {
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(Duration::from_secs(86_400)),
        max_sessions: 1_000_000,
        ..ProxyConfig::default()
    };
    let manager = builder.config(config).build().unwrap();
    let proxies = (1..=10).map(|i| Proxy::from_url(&format!("http://192.0.2.{i}:8080")).unwrap());
    manager.add_proxies(proxies.collect()).await.unwrap();
    for n in 0..SITES {
        let handle = manager.acquire_for_domain(&site(n)).await.unwrap();
        handle.release(Outcome::Success).await.unwrap();
    }
    manager
}

fn site(n: usize) -> String {
    format!("site-{n}.example")
}

/// Nanoseconds for an acquire and its release.
async fn one_at_a_time(manager: &ProxyManager, name: impl Fn(usize) -> String) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < TAKES {
        for _ in 0..50 {
            let handle = manager.acquire_for_domain(&name(done)).await.unwrap();
            handle.release(Outcome::Success).await.unwrap();
            done += 1;
        }
    }
    start.elapsed().as_nanos() as f64 / done as f64
}

/// The same with many under way at a time.
async fn at_once(manager: &ProxyManager) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| {
            let manager = manager.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while start.elapsed() < TAKES {
                    let n = (task * 7_919 + done * 13) % SITES;
                    let handle = manager.acquire_for_domain(&site(n)).await.unwrap();
                    handle.release(Outcome::Success).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    start.elapsed().as_nanos() as f64 / done as f64
}

/// A round trip to the server and back, and nothing else.
async fn round_trip(port: u16) -> f64 {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < TAKES / 2 {
        let pong: String = redis::cmd("PING")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(pong, "PONG");
        done += 1;
    }
    start.elapsed().as_nanos() as f64 / f64::from(done)
}

#[tokio::main]
async fn main() {
    let hits = |n: usize| site(n % SITES);
    let memory = manager(ProxyManager::builder().storage(Arc::new(MemoryProxyStore::default())));
    let memory = memory.await;
    let base = one_at_a_time(&memory, hits).await;
    let bind_base = one_at_a_time(&memory, |n| format!("memory-{n}.example")).await;

    println!(
        "\n| storage | acquire and release, a hit | ratio | a bind and its release | ratio |\n|---|---|---|---|---|"
    );
    let row = |what: &str, hit: f64, bind: Option<f64>| {
        let bind = bind.map_or("| ".into(), |bind| {
            format!("{:.1} µs | {:.1}", bind / 1e3, bind / bind_base)
        });
        println!(
            "| {what} | {:.1} µs | {:.1} | {bind} |",
            hit / 1e3,
            hit / base
        );
    };
    row("memory", base, Some(bind_base));

    let dir = tempfile::tempdir().unwrap();
    for (what, durability) in [
        ("redb, relaxed", Durability::Relaxed),
        ("redb, immediate", Durability::Immediate),
    ] {
        let options = RedbOptions {
            durability,
            ..RedbOptions::default()
        };
        let store = RedbStore::open(dir.path().join(what), options).unwrap();
        let manager = manager(ProxyManager::builder().storage(Arc::new(store))).await;
        let hit = one_at_a_time(&manager, hits).await;
        let bind = one_at_a_time(&manager, |n| format!("{}-{n}.example", what.len())).await;
        row(what, hit, Some(bind));
    }

    let server = Redis::start();
    let options = RedisOptions::parse(&format!("redis://127.0.0.1:{}", server.1)).unwrap();
    let store = Arc::new(RedisStorage::open(options).unwrap());
    store.reached().await;
    let manager = manager(ProxyManager::builder().remote_storage(store)).await;
    let hit = one_at_a_time(&manager, hits).await;
    let bind = one_at_a_time(&manager, |n| format!("redis-{n}.example")).await;
    row("Redis on loopback, one at a time", hit, Some(bind));
    let pipelined = at_once(&manager).await;
    row(
        &format!("Redis on loopback, {AT_ONCE} at a time"),
        pipelined,
        None,
    );
    let trip = round_trip(server.1).await;
    println!("\nA bare round trip (PING) takes {:.1} µs.", trip / 1e3);
}
