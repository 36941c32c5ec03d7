//! Leases that hosts hand back, and cells that somebody else wrote: an engine on a store that is being tampered with.
//! It may fail, but it answers with no proxy that is not in its pool, and an entry that is corrupt stays an error of
//! its own key.

use remora_core::{
    AcquireError, Attempt, AttributionPolicy, Cell, Config, Engine, Lease, Mode, OnBad, Outcome,
    Permit, ProxyId, ProxySpec, Request, Scope, Sticky, Storage, StrategyKind, Table,
};
use remora_host::storage::MemoryProxyStore;

use crate::{Bytes, Target};

pub(crate) const TARGET: Target = Target {
    name: "decisions",
    run,
    mutations: 100_000,
    words: &[
        "\u{0}\u{0}",
        "\u{1}\u{1}\u{1}",
        "\u{3}\u{0}\u{0}\u{7f}",
        "\u{4}~~~~",
    ],
};

const TARGETS: [&str; 4] = ["shop.example", "news.example:443", "x", "api.example"];
const SESSIONS: [Option<&str>; 3] = [None, Some("s"), Some("")];
const OUTCOMES: [Outcome; 6] = [
    Outcome::Success,
    Outcome::Failure,
    Outcome::Blocked,
    Outcome::Ambiguous,
    Outcome::TimedOut,
    Outcome::Cancelled,
];
const STRATEGIES: [StrategyKind; 4] = [
    StrategyKind::RoundRobin,
    StrategyKind::Random,
    StrategyKind::Weighted,
    StrategyKind::LeastUsed,
];
const POOL: u128 = 4;

struct World<'a> {
    bytes: Bytes<'a>,
    store: &'a MemoryProxyStore,
    engine: Engine<&'a MemoryProxyStore>,
    now: u64,
    leases: Vec<Lease>,
}

fn run(data: &[u8]) {
    let store = MemoryProxyStore::default();
    let mut world = World {
        bytes: Bytes(data),
        store: &store,
        engine: Engine::new(&store),
        now: 1_750_000_000_000,
        leases: Vec::new(),
    };
    let config = world.config();
    if world.engine.configure(config).is_err() {
        return;
    }
    let proxies: Vec<ProxySpec> = (0..POOL).map(proxy).collect();
    world.engine.add_proxies(&proxies).unwrap();
    while let Some(step) = world.bytes.byte() {
        match step % 8 {
            0 | 1 => world.acquire(),
            2 => match world.bytes.one_of(&[true, false]) {
                true => world.release(),
                false => world.settle(),
            },
            3 => world.forge(),
            4 => world.tamper(),
            5 => world.now = world.now.saturating_add(world.bytes.number()),
            6 => world.look(),
            _ => world.manage(),
        }
    }
}

impl World<'_> {
    fn config(&mut self) -> Config {
        let default = Config::default();
        let bytes = &mut self.bytes;
        Config {
            sticky: Sticky {
                mode: bytes.one_of(&[Mode::Domain, Mode::Disabled]),
                ttl_ms: bytes.number(),
                idle_ms: Some(bytes.number()).filter(|idle| *idle > 3),
                max_requests: u32::try_from(bytes.number()).ok().filter(|max| *max > 3),
                on_bad: bytes.one_of(&[OnBad::Rebind, OnBad::Strict]),
            },
            scope: bytes.one_of(&[Scope::Host, Scope::Session]),
            strategy: bytes.one_of(&STRATEGIES),
            max_sessions: bytes.number(),
            lease_timeout_ms: bytes.number(),
            avoid_blocked_for_ms: bytes.number(),
            attribution: AttributionPolicy {
                doubt_for_ms: bytes.number(),
                max_doubts: bytes.number().max(1),
                strike_gap_ms: bytes.number(),
                min_available_percent: (bytes.number() % 101) as u32,
            },
            ..default
        }
    }

    fn acquire(&mut self) {
        let tried = [id(u128::from(self.bytes.byte().unwrap_or(0)) % (2 * POOL))];
        let request = Request {
            target: self.bytes.one_of(&TARGETS),
            session: self.bytes.one_of(&SESSIONS),
            tags: self.bytes.one_of(&[&[][..], &["even"]]),
            tried: &tried[..usize::from(self.bytes.one_of(&[false, true]))],
            ttl_ms: Some(self.bytes.number()).filter(|ttl| *ttl > 3),
            is_repeatable: self.bytes.one_of(&[true, false]),
        };
        match self.engine.acquire(self.now, &request) {
            Ok(grant) => {
                let proxy = grant.lease.proxy;
                let all = self.engine.proxies(self.now, 0, u32::MAX);
                if let Ok(all) = all {
                    assert!(
                        all.iter().any(|one| one.id == proxy && one.healthy),
                        "{proxy}"
                    );
                }
                self.leases.push(grant.lease);
            }
            Err(AcquireError::Exhausted { retry_after_ms }) => assert!(retry_after_ms > 0),
            Err(_) => {}
        }
    }

    fn release(&mut self) {
        let outcome = self.bytes.one_of(&OUTCOMES);
        let target = self.bytes.one_of(&TARGETS);
        if let Some(lease) = self.leases.pop() {
            // What comes of it is the store's affair.
            let (permit, key) = (&lease.permit, &*lease.key);
            let released = self.engine.release(self.now, permit, key, target, outcome);
            released.ok();
        }
    }

    /// The attempts of a request through the exits of its lease and of its fallbacks. The lease stays out.
    fn settle(&mut self) {
        let Some(lease) = self.leases.last().cloned() else {
            return;
        };
        let bytes = &mut self.bytes;
        let request = Request {
            target: bytes.one_of(&TARGETS),
            ..Request::default()
        };
        let limit = usize::from(bytes.byte().unwrap_or(0) % 4);
        let others = self
            .engine
            .fallbacks(self.now, &request, &lease.key, &lease.permit, limit)
            .unwrap_or_default();
        assert!(others.len() <= limit);
        assert!(
            others
                .iter()
                .all(|permit| permit.proxy != lease.proxy && !permit.probe)
        );
        let permits = std::iter::once(lease.permit).chain(others);
        let attempts: Vec<Attempt> = permits
            .map(|permit| Attempt {
                permit,
                outcome: self.bytes.one_of(&OUTCOMES),
            })
            .collect();
        let target = request.target;
        let settled = self.engine.settle(self.now, &attempts, &lease.key, target);
        settled.ok();
    }

    /// A lease that was never given.
    fn forge(&mut self) {
        let bytes = &mut self.bytes;
        let key = bytes.one_of(&["", "shop.example", "\n", "shop.example#s", "#s", "x"]);
        let target = bytes.one_of(&["", "shop.example", "news.example:443", ":", "\n"]);
        let permit = Permit {
            proxy: id(u128::from(bytes.byte().unwrap_or(0)) % (2 * POOL)),
            generation: bytes.number(),
            era: bytes.number() as u32,
            probe: bytes.one_of(&[false, true]),
            acquired_at: bytes.number(),
            deadline: bytes.number(),
            is_doubted: bytes.one_of(&[false, true]),
        };
        let attempts: Vec<Attempt> = (0..bytes.byte().unwrap_or(0) % 4)
            .map(|_| Attempt {
                permit,
                outcome: bytes.one_of(&OUTCOMES),
            })
            .collect();
        let outcome = bytes.one_of(&OUTCOMES);
        self.engine.holds(self.now, &permit, key).ok();
        self.engine.settle(self.now, &attempts, key, target).ok();
        let released = self.engine.release(self.now, &permit, key, target, outcome);
        released.ok();
    }

    /// A cell of anybody's, where the engine keeps its own.
    fn tamper(&mut self) {
        let bytes = &mut self.bytes;
        let proxy = id(u128::from(bytes.byte().unwrap_or(0)) % POOL).to_string();
        let (table, key) = match bytes.byte().unwrap_or(0) % 7 {
            0 => (Table::Sessions, "shop.example".to_owned()),
            1 => (Table::Sessions, "x".to_owned()),
            2 => (Table::Breakers, proxy),
            3 => (Table::Blocks, format!("{proxy}/0/shop.example")),
            4 => (Table::InFlight, proxy),
            5 => (Table::Doubts, "0/shop.example".to_owned()),
            _ => (Table::Cursor, "cursor".to_owned()),
        };
        let seen = self.store.load(table, &key).unwrap();
        let mut cell = seen.unwrap_or(Cell {
            words: [0; 6],
            expires_at: Cell::NEVER,
        });
        // Some of its words, so that the rest can go on to mean something.
        let which = bytes.byte().unwrap_or(0);
        for (i, word) in cell.words.iter_mut().enumerate() {
            if which & (1 << i) != 0 {
                *word = bytes.number();
            }
        }
        if which & 0x40 != 0 {
            cell.expires_at = bytes.number();
        }
        let new = (which & 0x80 == 0).then_some(&cell);
        let changed = self.store.compare_exchange(table, &key, seen.as_ref(), new);
        assert!(changed.is_ok());
    }

    fn look(&mut self) {
        let limit = u32::from(self.bytes.byte().unwrap_or(0));
        let (engine, now) = (&mut self.engine, self.now);
        engine.stats(now).ok();
        engine.proxies(now, 0, limit).ok();
        engine.count_sessions(now, None, limit).ok();
        engine.list_sessions(now, None, limit).ok();
        engine.purge_expired(now, limit).ok();
        engine.lookup(now, "shop.example").ok();
        if let Some(lease) = self.leases.last() {
            engine.holds(now, &lease.permit, &lease.key).ok();
        }
    }

    fn manage(&mut self) {
        let proxy = id(u128::from(self.bytes.byte().unwrap_or(0)) % POOL);
        let ttl = self.bytes.number();
        match self.bytes.byte().unwrap_or(0) % 5 {
            0 => drop(self.engine.remove_proxy(&proxy)),
            1 => {
                self.engine.set_health(&proxy, ttl.is_multiple_of(2));
            }
            2 => drop(self.engine.bind(self.now, "shop.example", proxy, ttl)),
            3 => drop(self.engine.unbind(self.now, "x")),
            _ => {
                let config = self.config();
                self.engine.configure(config).ok();
            }
        }
    }
}

fn id(n: u128) -> ProxyId {
    ProxyId::from_u128(n + 1)
}

fn proxy(n: u128) -> ProxySpec {
    let even = n.is_multiple_of(2).then(|| "even".to_owned());
    ProxySpec {
        id: id(n),
        weight: 1,
        tags: even.into_iter().collect(),
    }
}
