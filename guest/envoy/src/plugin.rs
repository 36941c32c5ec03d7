//! One configuration of the filter: its engine, and what comes with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use remora_core::{
    AcquireError, Attempt, BreakerChange, Engine, Outcome, Permit, ProxyId, Request, StorageError,
    Table,
};
use remora_http::{Fault, StatusClassifier};

use crate::config::{self, Checked};
use crate::host::{self, Shared};
use crate::metrics::Metrics;
use crate::slots::SlotTable;
use crate::steering::Addresses;
use crate::stream::Stream;

/// How often counters are told to Envoy.
const TICK: Duration = Duration::from_secs(1);

/// How many slots are counted with each tick.
const COUNTED: u32 = 1_024;

/// What the streams of one configuration share.
pub(crate) struct Plugin {
    engine: RefCell<Engine<SlotTable<Shared>>>,
    /// The same table once more, to count in.
    table: SlotTable<Shared>,
    shared: Shared,
    addresses: Addresses,
    pub(crate) statuses: StatusClassifier,
    pub(crate) attempts: usize,
    pub(crate) session_header: Option<String>,
    metrics: Metrics,
    /// The latest time seen: it never goes back (rule 12).
    latest: Cell<u64>,
    counting: Cell<Counting>,
    connect_ms: u64,
    unanswered: RefCell<Vec<Unanswered>>,
}

/// A tunnel whose proxy has not answered, as far as is known.
struct Unanswered {
    context: u32,
    since: u64,
    due: u64,
}

/// How far the count of sessions has come.
#[derive(Clone, Copy, Default)]
struct Counting {
    next: u32,
    live: u64,
}

/// A request that has its proxy.
pub(crate) struct Leased {
    pub(crate) key: String,
    pub(crate) permit: Permit,
    pub(crate) fallbacks: Vec<Permit>,
}

impl Plugin {
    fn new(checked: Checked) -> Result<Self, String> {
        let max_sessions = checked.core.max_sessions;
        let shared = Shared::default();
        let mut engine = Engine::new(SlotTable::new(shared.clone(), max_sessions));
        let wrong = |invalid: remora_core::Invalid| invalid.to_string();
        engine.configure(checked.core).map_err(wrong)?;
        engine.add_proxies(&checked.pool).map_err(wrong)?;
        Ok(Self {
            engine: RefCell::new(engine),
            table: SlotTable::new(shared.clone(), max_sessions),
            shared,
            addresses: Addresses::new(&checked.addresses),
            statuses: checked.statuses,
            attempts: checked.attempts as usize,
            session_header: checked.session_header,
            metrics: Metrics::new(),
            latest: Cell::new(0),
            counting: Cell::default(),
            connect_ms: checked.connect_ms,
            unanswered: RefCell::default(),
        })
    }

    fn now(&self) -> u64 {
        let now = host::now().max(self.latest.get());
        self.latest.set(now);
        now
    }

    /// Decides, and answers with the lease and the list for Envoy.
    pub(crate) fn acquire(&self, request: &Request<'_>) -> Result<(Leased, String), AcquireError> {
        self.decide(request)
            .inspect_err(|error| self.metrics.refused(error))
    }

    fn decide(&self, request: &Request<'_>) -> Result<(Leased, String), AcquireError> {
        self.shared.begin();
        let now = self.now();
        let mut engine = self.engine.borrow_mut();
        let decided = engine.permit(now, request)?;
        let permit = decided.permit;
        // The lease is there, and nobody but this request would give it back: better without fallbacks than not at all.
        let fallbacks = engine
            .fallbacks(now, request, engine.last_key(), &permit, self.attempts)
            .unwrap_or_default();
        // Every proxy of the pool has an address: the configuration was checked.
        let list = self.addresses.list(&permit.proxy, &fallbacks);
        let list = list.ok_or(StorageError::Corrupt)?;
        self.metrics.acquired(decided.reason);
        let leased = Leased {
            key: engine.last_key().to_owned(),
            permit,
            fallbacks,
        };
        Ok((leased, list))
    }

    /// Takes a lease back. `served`: the address that Envoy tried last. Of the exits before that one Envoy says only that they
    /// did not serve the request: ambiguous.
    pub(crate) fn release(
        &self,
        leased: &Leased,
        target: &str,
        served: Option<&str>,
        outcome: Outcome,
    ) {
        self.shared.begin();
        let place = served.and_then(|at| self.addresses.place(at, &leased.fallbacks));
        let (permit, key) = (leased.permit, &*leased.key);
        let mut engine = self.engine.borrow_mut();
        let released = match place {
            Some(last) => {
                self.metrics.released(Outcome::Ambiguous);
                let tried = [permit].into_iter().chain(leased.fallbacks.iter().copied());
                let mut attempts: Vec<Attempt> = tried
                    .take(last + 2)
                    .map(|permit| Attempt {
                        permit,
                        outcome: Outcome::Ambiguous,
                    })
                    .collect();
                if let Some(last) = attempts.last_mut() {
                    last.outcome = outcome;
                }
                let now = self.now();
                let settled = engine.settle(now, &attempts, key, target);
                let given_back = engine.release(now, &permit, key, target, Outcome::Cancelled);
                settled.and_then(|settled| given_back.map(|_| settled))
            }
            None => {
                self.metrics.released(outcome);
                let now = if engine.looks_at_time(&permit, outcome) {
                    self.now()
                } else {
                    0
                };
                engine.release(now, &permit, key, target, outcome)
            }
        };
        match released {
            Ok(released) => {
                self.changed(permit.proxy, released.breaker);
                for (proxy, change) in released.others {
                    self.changed(proxy, change);
                }
            }
            Err(error) => host::log_error(&format!("remora: release lost: {error}")),
        }
    }

    fn changed(&self, proxy: ProxyId, change: BreakerChange) {
        if change != BreakerChange::None {
            self.metrics.changed(change);
            let change = change.name();
            host::log_warning(&format!("remora: proxy {proxy}: circuit breaker {change}"));
        }
    }

    fn tick(&self) {
        self.metrics.flush();
        let Counting { mut next, mut live } = self.counting.get();
        let now = self.now();
        let slots = self.table.slots(Table::Sessions);
        for _ in 0..COUNTED.min(slots) {
            live += self
                .table
                .count_in(Table::Sessions, next, |cell| now < cell.expires_at);
            next += 1;
            if next == slots {
                self.metrics.sessions(live);
                (next, live) = (0, 0);
            }
        }
        self.counting.set(Counting { next, live });
        self.end_silent_tunnels(now);
    }

    /// A tunnel begins.
    pub(crate) fn awaits_answer(&self, context: u32) {
        // Its lease has just asked for the time.
        let since = self.latest.get();
        self.unanswered.borrow_mut().push(Unanswered {
            context,
            since,
            due: since + self.connect_ms,
        });
    }

    /// Envoy's limits begin with the end of a request, and a CONNECT has none: so a proxy that accepts and stays
    /// silent would hold a tunnel until it is idle for too long.
    fn end_silent_tunnels(&self, now: u64) {
        self.unanswered.borrow_mut().retain_mut(|tunnel| {
            if now < tunnel.due {
                return true;
            }
            let code = ["response", "code"];
            if !host::enter(tunnel.context) || host::number(&code).is_some_and(|code| code > 0) {
                return false;
            }
            // Each proxy that Envoy has tried for it had its own time.
            let tries = host::number(&["upstream", "request_attempt_count"]);
            tunnel.due = tunnel.since + tries.unwrap_or(1).max(1) * self.connect_ms;
            if now < tunnel.due {
                return true;
            }
            host::respond(&Fault::TunnelTimeout.into());
            false
        });
    }
}

/// What Envoy configures.
#[derive(Default)]
pub(crate) struct Root {
    plugin: Option<Rc<Plugin>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match config::read(&host::configuration()).and_then(Plugin::new) {
            Ok(plugin) => {
                self.plugin = Some(Rc::new(plugin));
                let _ = proxy_wasm::hostcalls::set_tick_period(TICK);
                true
            }
            Err(line) => {
                host::log_error(&format!("remora: configuration: {line}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(plugin) = &self.plugin {
            plugin.tick();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, self.plugin.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
