//! Counters for Prometheus. The Envoy filter has the same, under the same names.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use remora_host::{BreakerChange, Error, Outcome, PoolStats, Reason};

use crate::store::StoreState;

type Labels = [(&'static str, &'static str); 1];

/// What is counted.
pub(crate) struct Metrics {
    registry: Registry,
    acquires: Counters<11>,
    releases: Counters<4>,
    breakers: Counters<4>,
    pub(crate) retries: Counter,
    pub(crate) connections: Gauge,
    pub(crate) tunnels: Gauge,
    sessions: Gauge,
    proxies: [Gauge; 3],
    storage_up: Gauge,
    storage_failures: Counter,
    storage_failovers: Counter,
}

/// A counter for each value of a label, looked up by its place rather than by its name.
struct Counters<const N: usize>([Counter; N]);

const RESULTS: [&str; 11] = [
    "hit",
    "bound",
    "adopted",
    "rebound",
    "rotated",
    "exhausted",
    "no-proxy",
    "session-lost",
    "invalid",
    "storage",
    "plugin",
];

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let acquires = counters(
            &mut registry,
            "remora_acquires",
            "Decisions, by what came of them",
            "result",
            RESULTS,
        );
        let releases = counters(
            &mut registry,
            "remora_releases",
            "Leases taken back, by outcome",
            "outcome",
            [
                Outcome::Success,
                Outcome::Failure,
                Outcome::Blocked,
                Outcome::Cancelled,
            ]
            .map(Outcome::name),
        );
        let changes = [
            BreakerChange::Opened,
            BreakerChange::Reopened,
            BreakerChange::Closed,
            BreakerChange::ProbeReturned,
        ];
        let breakers = counters(
            &mut registry,
            "remora_breaker_transitions",
            "Changes of circuit breakers",
            "change",
            changes.map(BreakerChange::name),
        );
        let retries = Counter::default();
        registry.register(
            "remora_retries",
            "Requests sent once more through another proxy",
            retries.clone(),
        );
        let connections = gauge(
            &mut registry,
            "remora_connections",
            "Connections of clients that are open",
        );
        let tunnels = gauge(
            &mut registry,
            "remora_tunnels",
            "CONNECT tunnels that are open",
        );
        let sessions = gauge(&mut registry, "remora_sessions", "Live sessions");
        let family = Family::<Labels, Gauge>::default();
        registry.register(
            "remora_proxies",
            "Proxies in the pool, by state",
            family.clone(),
        );
        let proxies = ["healthy", "open", "off"]
            .map(|state| family.get_or_create(&[("state", state)]).clone());
        let storage_up = gauge(
            &mut registry,
            "remora_storage_up",
            "1 while the storage answers",
        );
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let storage_failures = counter(
            "remora_storage_failures",
            "How often the storage has stopped answering",
        );
        let storage_failovers = counter(
            "remora_storage_failovers",
            "How often another storage server has taken over",
        );
        Arc::new(Self {
            storage_up,
            storage_failures,
            storage_failovers,
            registry,
            acquires,
            releases,
            breakers,
            retries,
            connections,
            tunnels,
            sessions,
            proxies,
        })
    }

    pub(crate) fn granted(&self, reason: Reason) {
        self.acquires.count(match reason {
            Reason::Hit => 0,
            Reason::Bound => 1,
            Reason::Adopted => 2,
            Reason::Rebound(_) => 3,
            Reason::Rotated => 4,
        });
    }

    pub(crate) fn refused(&self, error: &Error) {
        self.acquires.count(match error {
            Error::Exhausted { .. } => 5,
            Error::NoProxy => 6,
            Error::SessionLost { .. } => 7,
            Error::Key(_) | Error::Domain(_) | Error::Invalid(_) => 8,
            Error::Storage(_) => 9,
            _ => 10,
        });
    }

    pub(crate) fn released(&self, outcome: Outcome) {
        self.releases.count(match outcome {
            Outcome::Success => 0,
            Outcome::Failure => 1,
            Outcome::Blocked => 2,
            Outcome::Cancelled => 3,
        });
    }

    pub(crate) fn breaker(&self, change: BreakerChange) {
        self.breakers.count(match change {
            BreakerChange::None => return,
            BreakerChange::Opened => 0,
            BreakerChange::Reopened => 1,
            BreakerChange::Closed => 2,
            BreakerChange::ProbeReturned => 3,
        });
    }

    /// Everything, as Prometheus reads it, with the pool as it is now; as it was when nobody knows.
    pub(crate) fn text(
        &self,
        pool: Option<PoolStats>,
        store: &StoreState,
    ) -> Result<String, std::fmt::Error> {
        if let Some(pool) = pool {
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            self.sessions.set(count(pool.active_sessions));
            let off = pool.total.saturating_sub(pool.healthy + pool.open);
            for (gauge, n) in self.proxies.iter().zip([pool.healthy, pool.open, off]) {
                gauge.set(count(n));
            }
        }
        self.storage_up.set(i64::from(store.state == "ok"));
        for (counter, n) in [
            (&self.storage_failures, store.failures),
            (&self.storage_failovers, store.failovers),
        ] {
            counter.inc_by(n.saturating_sub(counter.get()));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl<const N: usize> Counters<N> {
    fn count(&self, place: usize) {
        if let Some(counter) = self.0.get(place) {
            counter.inc();
        }
    }
}

fn counters<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: [&'static str; N],
) -> Counters<N> {
    let family = Family::<Labels, Counter>::default();
    registry.register(name, help, family.clone());
    Counters(values.map(|value| family.get_or_create(&[(label, value)]).clone()))
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}
