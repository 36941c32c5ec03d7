//! Instances whose every storage operation is a point at which another one may go first.

use std::sync::{Arc, Mutex, MutexGuard};

use remora_core::{
    AcquireError, Attempt, Cell, Config, Engine, Exchange, Grant, Head, Lease, Mode, Outcome, Page,
    ProxyId, ProxySpec, ProxyStatus, Released, Request, Sticky, Storage, StorageError, Table,
};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{Runner, thread};

use crate::tables::Tables;

pub(crate) const T0: u64 = 1_750_000_000_000;

const SEED: u64 = 0x7265_6d6f_7261;
const RANDOM: usize = 1_500;
/// Schedules with few, well-placed switches, which a fair coin hardly ever makes.
const FEW_SWITCHES: usize = 1_500;
const SWITCHES: usize = 4;

fn settings() -> shuttle::Config {
    let mut settings = shuttle::Config::new();
    settings.stack_size = 0x2_0000;
    settings
}

/// Runs a case under many schedules.
pub(crate) fn explore(case: impl Fn() + Send + Sync + 'static) {
    let case = Arc::new(case);
    let again = Arc::clone(&case);
    let random = RandomScheduler::new_from_seed(SEED, RANDOM);
    Runner::new(random, settings()).run(move || case());
    let pct = PctScheduler::new_from_seed(SEED, SWITCHES, FEW_SWITCHES);
    Runner::new(pct, settings()).run(move || again());
}

/// Runs a case under every schedule there is. Answers how many that were.
pub(crate) fn explore_all(case: impl Fn() + Send + Sync + 'static) -> usize {
    Runner::new(DfsScheduler::new(None, false), settings()).run(case)
}

/// The tables, shared under shuttle's eyes. An operation is atomic and has one point at which others may
/// go first: the touch of shuttle's atomic. (Its mutex would have several, all of them equivalent, and
/// nobody could wait for the last schedule.) The lock is never contended, since one thread runs at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduled {
    shared: Arc<(AtomicUsize, Mutex<Tables>)>,
    /// The only table whose operations others may go before, where a case has too many schedules otherwise and its
    /// instances share nothing else.
    only: Option<Table>,
}

impl Scheduled {
    fn tables(&self, table: Table) -> MutexGuard<'_, Tables> {
        if self.only.is_none_or(|only| only == table) {
            self.shared.0.fetch_add(1, Ordering::SeqCst);
        }
        self.peek()
    }

    fn peek(&self) -> MutexGuard<'_, Tables> {
        self.shared.1.try_lock().unwrap()
    }
}

impl Storage for Scheduled {
    fn load(&self, table: Table, key: &str) -> Result<Option<Cell>, StorageError> {
        Ok(self.tables(table).load(table, key))
    }

    fn compare_exchange(
        &self,
        table: Table,
        key: &str,
        expected: Option<&Cell>,
        new: Option<&Cell>,
    ) -> Result<Exchange, StorageError> {
        Ok(self
            .tables(table)
            .compare_exchange(table, key, expected, new))
    }

    fn first_to_expire(&self, table: Table, limit: u32) -> Result<Head, StorageError> {
        Ok(self.tables(table).first_to_expire(table, limit))
    }

    fn scan(&self, table: Table, cursor: Option<u64>, limit: u32) -> Result<Page, StorageError> {
        Ok(self.tables(table).scan(table, cursor, limit))
    }
}

pub(crate) fn proxy(n: u128) -> ProxyId {
    ProxyId::from_u128(n)
}

/// Everything sticks for an hour; two failures open a breaker for a minute.
pub(crate) fn config() -> Config {
    let mut config = Config {
        sticky: Sticky {
            mode: Mode::Domain,
            ttl_ms: 3_600_000,
            ..Sticky::default()
        },
        ..Config::default()
    };
    config.breaker.open_threshold = 2;
    config.breaker.half_open_after_ms = 60_000;
    config
}

/// Nothing sticks.
pub(crate) fn rotating() -> Config {
    Config {
        sticky: Sticky::default(),
        ..config()
    }
}

pub(crate) struct Fleet {
    storage: Scheduled,
    config: Config,
    proxies: u128,
}

impl Fleet {
    pub(crate) fn new(config: Config, proxies: u128) -> Self {
        Self {
            storage: Scheduled::default(),
            config,
            proxies,
        }
    }

    /// From now on schedules differ in nothing but the order of the operations on this table.
    pub(crate) fn schedule_only(&mut self, table: Table) {
        self.storage.only = Some(table);
    }

    /// Another instance, for which it is `now`.
    pub(crate) fn instance(&self, now: u64) -> Instance {
        let mut engine = Engine::new(self.storage.clone());
        engine.configure(self.config.clone()).unwrap();
        let spec = |n| ProxySpec {
            id: proxy(n),
            weight: 1,
            tags: Vec::new(),
        };
        let pool: Vec<ProxySpec> = (1..=self.proxies).map(spec).collect();
        engine.add_proxies(&pool).unwrap();
        Instance { engine, now }
    }

    /// A lease on this proxy, for a request without a session.
    pub(crate) fn lease(&self, n: u128) -> Lease {
        let others: Vec<ProxyId> = (1..=self.proxies).filter(|o| *o != n).map(proxy).collect();
        let request = Request {
            tried: &others,
            ..Request::default()
        };
        let grant = self.instance(T0).engine.acquire_any(T0, &request).unwrap();
        assert_eq!(grant.lease.proxy, proxy(n));
        grant.lease
    }

    /// A lease on this proxy, for a request to this target.
    pub(crate) fn lease_to(&self, n: u128, target: &str) -> Lease {
        let others: Vec<ProxyId> = (1..=self.proxies).filter(|o| *o != n).map(proxy).collect();
        let request = Request {
            target,
            tried: &others,
            ..Request::default()
        };
        let grant = self.instance(T0).engine.acquire(T0, &request).unwrap();
        assert_eq!(grant.lease.proxy, proxy(n));
        grant.lease
    }

    /// Opens every breaker at [`T0`]; answers when the probes are due.
    pub(crate) fn trip_all(&self) -> u64 {
        let mut one = self.instance(T0);
        for n in 1..=self.proxies {
            let lease = self.lease(n);
            for _ in 0..self.config.breaker.open_threshold {
                one.release(&lease, Outcome::Failure);
            }
        }
        T0 + self.config.breaker.half_open_after_ms
    }

    pub(crate) fn population(&self, table: Table) -> usize {
        self.storage.peek().population(table)
    }

    /// Runs `work` on so many instances at the same time.
    pub(crate) fn at_once<T: Send>(
        &self,
        instances: usize,
        now: u64,
        work: impl Fn(usize, &mut Instance) -> T + Sync,
    ) -> Vec<T> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..instances)
                .map(|i| {
                    let mut instance = self.instance(now);
                    scope.spawn(move || work(i, &mut instance))
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }
}

pub(crate) struct Instance {
    pub(crate) engine: Engine<Scheduled>,
    pub(crate) now: u64,
}

impl Instance {
    pub(crate) fn try_acquire(&mut self, target: &str) -> Result<Grant, AcquireError> {
        let request = Request {
            target,
            ..Request::default()
        };
        self.engine.acquire(self.now, &request)
    }

    pub(crate) fn acquire(&mut self, target: &str) -> Grant {
        self.try_acquire(target).unwrap()
    }

    pub(crate) fn release(&mut self, lease: &Lease, outcome: Outcome) -> Released {
        let (permit, key) = (&lease.permit, &*lease.key);
        let released = self.engine.release(self.now, permit, key, key, outcome);
        released.unwrap()
    }

    /// Settles the attempts of a request to a target, each with the proxy of its lease.
    pub(crate) fn settle(&mut self, target: &str, attempts: &[(&Lease, Outcome)]) -> Released {
        let key = &attempts[0].0.key;
        let attempts: Vec<Attempt> = attempts
            .iter()
            .map(|(lease, outcome)| Attempt {
                permit: lease.permit,
                outcome: *outcome,
            })
            .collect();
        let settled = self.engine.settle(self.now, &attempts, key, target);
        settled.unwrap()
    }

    pub(crate) fn status(&mut self, n: u128) -> ProxyStatus {
        let all = self.engine.proxies(self.now, 0, 100).unwrap();
        all.into_iter().find(|p| p.id == proxy(n)).unwrap()
    }
}
