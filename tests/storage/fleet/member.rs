//! A member of the fleet: a process with a manager of its own.

use std::env;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use remora_host::session::StickyPolicy;
use remora_host::storage::{RedisOptions, RedisStorage};
use remora_host::{
    BreakerChange, BreakerConfig, Clock, Error, Outcome, Proxy, ProxyConfig, ProxyManager, Reason,
    SystemClock,
};

use remora_test_support::check::Settings;
use remora_test_support::dice::Dice;
use remora_test_support::history::{Change, Line};
use remora_test_support::micros;

const URL: &str = "REMORA_TEST_FLEET_URL";
const SKEW: &str = "REMORA_TEST_FLEET_SKEW_MS";
const SEED: &str = "REMORA_TEST_FLEET_SEED";

pub const TTL: Duration = Duration::from_secs(4);
pub const HALF_OPEN_AFTER: Duration = Duration::from_millis(800);
const PROXIES: u64 = 6;
const KEYS: u64 = 24;
/// Requests that a member has under way at a time.
const WORKERS: u64 = 6;

pub fn settings() -> Settings {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap();
    Settings {
        ttl: micros(TTL),
        half_open_after: micros(HALF_OPEN_AFTER),
    }
}

/// A clock that is wrong.
struct Skewed(i64);

impl Clock for Skewed {
    fn now_ms(&self) -> u64 {
        let now = SystemClock::default().now_ms();
        now.checked_add_signed(self.0).unwrap()
    }
}

fn write(line: &Line) {
    let mut text = serde_json::to_string(line).unwrap();
    text.push('\n');
    // In one piece: a member that is killed leaves no half of a line.
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// A proxy is bad every now and then, for a while: all members see the same one.
fn is_bad(proxy: u64) -> bool {
    let second = micros() / 1_000_000;
    (second / 2) % (PROXIES * 2) == proxy * 2
}

/// Not a test: the process.
#[test]
#[ignore = "a member that the tests of the fleet start and kill"]
fn member() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work());
}

async fn work() {
    let text = |name: &str| env::var(name).unwrap();
    let options = RedisOptions::parse(&text(URL)).unwrap();
    let store = Arc::new(RedisStorage::open(options).unwrap());
    store.reached().await;
    let config = ProxyConfig {
        sticky_policy: StickyPolicy::domain(TTL),
        breaker: BreakerConfig {
            open_threshold: 4,
            half_open_after: HALF_OPEN_AFTER,
            ..BreakerConfig::default()
        },
        avoid_blocked_for: Duration::from_secs(2),
        ..ProxyConfig::default()
    };
    let manager = ProxyManager::builder()
        .remote_storage(store)
        .storage_timeout(Duration::from_secs(2))
        .clock(Arc::new(Skewed(text(SKEW).parse().unwrap())))
        .config(config)
        .build()
        .unwrap();
    let proxies =
        (0..PROXIES).map(|i| Proxy::from_url(&format!("http://192.0.2.1:{}", 8_000 + i)).unwrap());
    manager.add_proxies(proxies.collect()).await.unwrap();
    let seed: u64 = text(SEED).parse().unwrap();
    write(&Line::Ready);
    let next = Arc::new(Mutex::new(0_u64));
    for w in 0..WORKERS {
        let (manager, next) = (manager.clone(), next.clone());
        tokio::spawn(async move {
            let mut dice = Dice::new(seed << 8 | w);
            loop {
                request(&manager, &next, &mut dice).await;
            }
        });
    }
    // Until it is killed.
    std::future::pending::<()>().await;
}

async fn request(manager: &ProxyManager, next: &Mutex<u64>, dice: &mut Dice) {
    let key = format!("site-{}.example", dice.below(KEYS));
    let id = {
        let mut next = next.lock().unwrap();
        let id = *next;
        *next += 1;
        // Under the lock: lines come in the order of their numbers.
        write(&Line::Ask {
            id,
            at: micros(),
            key: key.clone(),
        });
        id
    };
    let handle = match manager.acquire_for_domain(&key).await {
        Ok(handle) => handle,
        Err(error) => {
            let at = micros();
            let known = matches!(error, Error::Exhausted { .. } | Error::NoProxy);
            write(&if known {
                Line::Refused { id, at }
            } else {
                Line::Unanswered { id, at }
            });
            tokio::time::sleep(Duration::from_millis(5 + dice.below(20))).await;
            return;
        }
    };
    let proxy = u64::from(handle.proxy_port()) - 8_000;
    let expires = handle
        .session_expires_at()
        .unwrap()
        .duration_since(UNIX_EPOCH)
        .unwrap();
    let probe = handle.is_probe();
    write(&Line::Granted {
        id,
        at: micros(),
        proxy,
        generation: handle.generation().unwrap(),
        hit: handle.reason() == Reason::Hit,
        probe,
        expires_at: u64::try_from(expires.as_millis()).unwrap(),
    });
    tokio::time::sleep(Duration::from_millis(dice.below(15))).await;
    let outcome = match dice.below(40) {
        _ if is_bad(proxy) => Outcome::Failure,
        0 => Outcome::Failure,
        1 => Outcome::Blocked,
        2 => Outcome::Cancelled,
        _ => Outcome::Success,
    };
    let bad = matches!(outcome, Outcome::Failure | Outcome::Blocked);
    write(&Line::Release {
        id,
        at: micros(),
        bad,
        probe,
    });
    let released = handle.release(outcome).await;
    let at = micros();
    write(&match released {
        Err(_) => Line::Unheard { id, at },
        Ok(released) => Line::Released {
            id,
            at,
            ended: released.ended_session,
            change: match released.breaker {
                BreakerChange::None => Change::None,
                BreakerChange::Opened | BreakerChange::Reopened => Change::Opened,
                BreakerChange::Closed => Change::Closed,
                BreakerChange::ProbeReturned => Change::Returned,
            },
        },
    });
}

/// A member, seen from outside.
pub struct Member {
    child: Child,
    reader: Option<JoinHandle<Vec<Line>>>,
    ready: Arc<AtomicBool>,
    granted: Arc<AtomicU64>,
}

impl Member {
    pub fn start(url: &str, seed: u64, skew_ms: i64) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "fleet::member::member",
                "--ignored",
                "--nocapture",
            ])
            .env(URL, url)
            .env(SEED, seed.to_string())
            .env(SKEW, skew_ms.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let (ready, granted) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (is_ready, count) = (ready.clone(), granted.clone());
        let reader = std::thread::spawn(move || {
            use std::io::{BufRead, BufReader};
            let mut lines = Vec::new();
            for line in BufReader::new(out).lines() {
                let line = line.unwrap();
                // The test harness says a word of its own first.
                let Some(start) = line.find(['{', '"']) else {
                    continue;
                };
                let Ok(line) = serde_json::from_str(&line[start..]) else {
                    continue;
                };
                match line {
                    Line::Ready => is_ready.store(true, Ordering::SeqCst),
                    Line::Granted { .. } => {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    _ => {}
                }
                lines.push(line);
            }
            lines
        });
        Self {
            child,
            reader: Some(reader),
            ready,
            granted,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// How many leases it has been granted so far.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::SeqCst)
    }

    /// kill -9; answers with what it did until then.
    pub fn kill(mut self) -> Vec<Line> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
