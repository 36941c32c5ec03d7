//! A storage, a clock that tests move, a pool, and any number of instances that share them.

use std::sync::atomic::{AtomicU64, Ordering};

use remora_core::{
    AcquireError, Attempt, Config, Engine, Grant, Lease, Mode, Outcome, Permit, ProxyId, ProxySpec,
    ProxyStatus, Released, Request, Stats, Sticky,
};

use super::Shared;

/// When every test begins.
pub(crate) const T0: u64 = 1_750_000_000_000;

/// The `n`th proxy.
pub(crate) fn proxy(n: u128) -> ProxyId {
    ProxyId::from_u128(n)
}

/// The `n`th proxy, of weight 1 and without tags.
pub(crate) fn spec(n: u128) -> ProxySpec {
    weighted(n, 1)
}

pub(crate) fn weighted(n: u128, weight: u32) -> ProxySpec {
    ProxySpec {
        id: proxy(n),
        weight,
        tags: Vec::new(),
    }
}

pub(crate) fn tagged(n: u128, tags: &[&str]) -> ProxySpec {
    ProxySpec {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..spec(n)
    }
}

/// The target of a session key, where it has one.
pub(crate) fn target_of(key: &str) -> &str {
    match key.split(['?', '#']).next() {
        None | Some("") => "shop.example",
        Some(host) => host,
    }
}

/// Every host sticks for so long.
pub(crate) fn domain(ttl_ms: u64) -> Config {
    Config {
        sticky: Sticky {
            mode: Mode::Domain,
            ttl_ms,
            ..Sticky::default()
        },
        ..Config::default()
    }
}

/// Milliseconds since the epoch, moved by hand.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) storage: Shared,
    pub(crate) clock: Clock,
    config: Config,
    pool: Vec<ProxySpec>,
}

impl World {
    /// A world whose pool is proxies 1 to `proxies`.
    pub(crate) fn new(config: Config, proxies: u128) -> Self {
        Self::with_pool(config, (1..=proxies).map(spec).collect())
    }

    pub(crate) fn with_pool(config: Config, pool: Vec<ProxySpec>) -> Self {
        Self {
            storage: Shared::default(),
            clock: Clock(AtomicU64::new(T0)),
            config,
            pool,
        }
    }

    /// Another instance.
    pub(crate) fn client(&self) -> Client<'_> {
        let mut engine = Engine::new(&self.storage);
        engine.configure(self.config.clone()).unwrap();
        engine.add_proxies(&self.pool).unwrap();
        Client {
            engine,
            clock: &self.clock,
        }
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }
}

/// An instance, and the clock it is called with.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) engine: Engine<&'a Shared>,
    clock: &'a Clock,
}

impl Client<'_> {
    pub(crate) fn try_request(&mut self, request: &Request<'_>) -> Result<Grant, AcquireError> {
        self.engine.acquire(self.clock.now(), request)
    }

    pub(crate) fn try_acquire(&mut self, target: &str) -> Result<Grant, AcquireError> {
        self.try_request(&Request {
            target,
            ..Request::default()
        })
    }

    pub(crate) fn acquire(&mut self, target: &str) -> Grant {
        self.try_acquire(target).unwrap()
    }

    pub(crate) fn release(&mut self, lease: &Lease, outcome: Outcome) -> Released {
        let now = self.clock.now();
        let (permit, key) = (&lease.permit, &*lease.key);
        self.engine
            .release(now, permit, key, target_of(key), outcome)
            .unwrap()
    }

    pub(crate) fn fail(&mut self, lease: &Lease) -> Released {
        self.release(lease, Outcome::Failure)
    }

    /// Up to so many other exits for a request of this lease to `target`.
    pub(crate) fn fallbacks(&self, lease: &Lease, target: &str, limit: usize) -> Vec<Permit> {
        let request = Request {
            target,
            ..Request::default()
        };
        let now = self.clock.now();
        self.engine
            .fallbacks(now, &request, &lease.key, &lease.permit, limit)
            .unwrap()
    }

    /// A request to `target` whose attempts end like this: the first one through its own exit, the others through its
    /// fallbacks. Answers with its lease and what the settlement did.
    pub(crate) fn request(&mut self, target: &str, ends: &[Outcome]) -> (Lease, Released) {
        let lease = self.acquire(target).lease;
        let released = self.settle(&lease, target, ends);
        (lease, released)
    }

    /// The same for a lease that is there.
    pub(crate) fn settle(&mut self, lease: &Lease, target: &str, ends: &[Outcome]) -> Released {
        let others = self.fallbacks(lease, target, ends.len() - 1);
        assert_eq!(others.len(), ends.len() - 1, "too few exits");
        let permits = std::iter::once(lease.permit).chain(others);
        let attempts: Vec<Attempt> = permits
            .zip(ends)
            .map(|(permit, outcome)| Attempt {
                permit,
                outcome: *outcome,
            })
            .collect();
        let now = self.clock.now();
        let settled = self.engine.settle(now, &attempts, &lease.key, target);
        settled.unwrap()
    }

    /// A lease on exactly this proxy, for a request to `target`.
    pub(crate) fn acquire_on(&mut self, n: u128, target: &str) -> Lease {
        let all = self.engine.proxies(self.clock.now(), 0, u32::MAX).unwrap();
        let others: Vec<ProxyId> = all
            .iter()
            .map(|p| p.id)
            .filter(|p| *p != proxy(n))
            .collect();
        let request = Request {
            target,
            tried: &others,
            ..Request::default()
        };
        let lease = self.try_request(&request).unwrap().lease;
        assert_eq!(lease.proxy, proxy(n), "the proxy is not admitted");
        lease
    }

    /// Opens the breaker of a proxy that is closed and has no failures yet.
    pub(crate) fn trip(&mut self, n: u128) {
        let threshold = self.engine.config().breaker.open_threshold;
        let leases: Vec<Lease> = (0..threshold)
            .map(|i| self.acquire_on(n, &format!("trip-{i}-{n}.test")))
            .collect();
        for lease in leases {
            self.fail(&lease);
        }
        assert!(!self.status(n).available);
    }

    pub(crate) fn status(&mut self, n: u128) -> ProxyStatus {
        let all = self.engine.proxies(self.clock.now(), 0, u32::MAX).unwrap();
        all.into_iter().find(|p| p.id == proxy(n)).unwrap()
    }

    /// One request to `target` that goes like this.
    pub(crate) fn go(&mut self, target: &str, outcome: Outcome) -> Grant {
        let grant = self.acquire(target);
        self.release(&grant.lease, outcome);
        grant
    }

    pub(crate) fn stats(&mut self) -> Stats {
        self.engine.stats(self.clock.now()).unwrap()
    }
}
