//! The counters as Prometheus reads them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use remora_host::{PoolStats, names};

use super::{Counters, Metrics, Traffic};
use crate::store::StoreState;

/// One pool at the moment.
#[derive(Debug)]
pub(crate) struct Pool {
    /// `None`: the pool at the top of the file.
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) metrics: Arc<Metrics>,
    /// `None`: nobody knows.
    pub(crate) stats: Option<PoolStats>,
    pub(crate) store: StoreState,
    /// Requests in flight, where they are counted.
    pub(crate) in_flight: Option<usize>,
}

#[derive(Debug)]
struct Snapshot {
    pools: Vec<Pool>,
    connections: i64,
    tunnels: i64,
}

/// Everything. Of tenants, counters that are zero are left out: there may be a thousand. A gauge that went away at zero
/// could not be told from one that nobody knows.
pub(crate) fn text(pools: Vec<Pool>, traffic: &Traffic) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        pools,
        connections: traffic.connections.get(),
        tunnels: traffic.tunnels.get(),
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// A value of a metric, with its label beside the tenant's.
type Sample = (Option<(&'static str, &'static str)>, u64);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let to = &mut encoder;
        self.counters(
            to,
            names::ACQUIRES,
            "Decisions, by what came of them",
            |pool| labelled("result", &pool.metrics.acquires),
        )?;
        self.counters(
            to,
            names::RELEASES,
            "Leases taken back, by outcome",
            |pool| labelled("outcome", &pool.metrics.releases),
        )?;
        let help = "Changes of circuit breakers";
        self.counters(to, names::BREAKER_TRANSITIONS, help, |pool| {
            labelled("change", &pool.metrics.breakers)
        })?;
        let help = "Requests sent once more through another proxy";
        self.counters(to, "remora_retries", help, |pool| {
            vec![(None, pool.metrics.retries.load(Ordering::Relaxed))]
        })?;
        let help = "How often the storage has stopped answering";
        self.counters(to, "remora_storage_failures", help, |pool| {
            vec![(None, pool.store.failures)]
        })?;
        let help = "How often another storage server has taken over";
        self.counters(to, "remora_storage_failovers", help, |pool| {
            vec![(None, pool.store.failovers)]
        })?;
        let help = "Sessions that have lost a change of this process to a failover";
        self.counters(to, "remora_storage_lost_sessions", help, |pool| {
            vec![(None, pool.store.lost_sessions)]
        })?;
        let help = "Requests beyond a limit of their tenant";
        self.counters(to, "remora_limited", help, |pool| match pool.tenant {
            Some(_) => labelled("limit", &pool.metrics.limited),
            None => Vec::new(),
        })?;
        let help = "1 where the pool has said in time how it is: else its sessions and proxies are not known";
        self.gauges(to, "remora_pool_answers", help, |pool| {
            vec![(None, u64::from(pool.stats.is_some()))]
        })?;
        self.gauges(to, names::SESSIONS, "Live sessions", |pool| {
            let stats = pool.stats.as_ref();
            let sessions = stats.map(|stats| (None, stats.active_sessions as u64));
            sessions.into_iter().collect()
        })?;
        self.gauges(
            to,
            "remora_proxies",
            "Proxies in the pool, by state",
            |pool| {
                let Some(stats) = &pool.stats else {
                    return Vec::new();
                };
                let off = stats.total.saturating_sub(stats.healthy + stats.open);
                let counts = [
                    ("healthy", stats.healthy),
                    ("open", stats.open),
                    ("off", off),
                ];
                counts
                    .map(|(state, n)| (Some(("state", state)), n as u64))
                    .to_vec()
            },
        )?;
        self.gauges(
            to,
            "remora_storage_up",
            "1 while the storage answers",
            |pool| vec![(None, u64::from(pool.store.state == "ok"))],
        )?;
        self.gauges(
            to,
            "remora_in_flight",
            "Requests of a tenant in flight",
            |pool| {
                let in_flight = pool.in_flight.map(|n| (None, n as u64));
                in_flight.into_iter().collect()
            },
        )?;
        for (name, help, value) in [
            (
                "remora_connections",
                "Connections of clients that are open",
                self.connections,
            ),
            (
                "remora_tunnels",
                "CONNECT tunnels that are open",
                self.tunnels,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(to.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

impl Snapshot {
    fn counters(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        samples: impl Fn(&Pool) -> Vec<Sample>,
    ) -> Result<(), fmt::Error> {
        self.family(to, name, help, samples, ConstCounter::new)
    }

    fn gauges(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        samples: impl Fn(&Pool) -> Vec<Sample>,
    ) -> Result<(), fmt::Error> {
        let gauge = |n| ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX));
        self.family(to, name, help, samples, gauge)
    }

    /// One metric of every pool.
    fn family<M: EncodeMetric>(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        samples: impl Fn(&Pool) -> Vec<Sample>,
        metric: impl Fn(u64) -> M,
    ) -> Result<(), fmt::Error> {
        let kind = metric(0).metric_type();
        let is_counter = matches!(kind, MetricType::Counter);
        let mut family = to.encode_descriptor(name, help, None, kind)?;
        let mut alone = None;
        for pool in &self.pools {
            for (label, value) in samples(pool) {
                if is_counter && value == 0 && pool.tenant.is_some() {
                    continue;
                }
                let tenant = pool.tenant.as_deref().map(|tenant| ("tenant", tenant));
                let labels: Vec<(&str, &str)> = tenant.into_iter().chain(label).collect();
                if labels.is_empty() {
                    alone = Some(value);
                } else {
                    metric(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        match alone {
            Some(value) => metric(value).encode(family),
            None => Ok(()),
        }
    }
}

fn labelled(label: &'static str, counters: &Counters) -> Vec<Sample> {
    let samples = counters.0.iter().map(|(value, counter)| {
        let label = Some((label, *value));
        (label, counter.load(Ordering::Relaxed))
    });
    samples.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_host::Reason;

    fn pool(tenant: Option<&str>) -> Pool {
        let metrics = Arc::new(Metrics::default());
        metrics.granted(Reason::Hit);
        Pool {
            tenant: tenant.map(Arc::from),
            metrics,
            stats: Some(PoolStats::default()),
            store: StoreState {
                state: "unreachable".into(),
                ..StoreState::default()
            },
            in_flight: tenant.map(|_| 3),
        }
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn without_tenants_there_is_no_label_and_nothing_is_left_out() {
        let text = text(vec![pool(None)], &Traffic::default()).unwrap();
        has(
            &text,
            &[
                "remora_acquires_total{result=\"hit\"} 1",
                "remora_acquires_total{result=\"bound\"} 0",
                "remora_retries_total 0",
                "remora_sessions 0",
                "remora_connections 0",
            ],
        );
        assert!(!text.contains("tenant="), "{text}");
    }

    #[test]
    fn a_pool_that_does_not_answer_says_so() {
        let silent = Pool {
            stats: None,
            ..pool(None)
        };
        let text = text(vec![silent, pool(Some("a"))], &Traffic::default()).unwrap();
        let answers = [
            "remora_pool_answers 0",
            "remora_pool_answers{tenant=\"a\"} 1",
        ];
        has(&text, &answers);
        assert!(!text.contains("remora_sessions 0"), "{text}");
    }

    #[test]
    fn each_tenant_has_its_label_and_only_counters_that_are_not_zero() {
        let pools = vec![pool(None), pool(Some("a")), pool(Some("b"))];
        let text = text(pools, &Traffic::default()).unwrap();
        has(
            &text,
            &[
                "remora_acquires_total{result=\"hit\"} 1",
                "remora_acquires_total{tenant=\"a\",result=\"hit\"} 1",
                "remora_in_flight{tenant=\"b\"} 3",
                "remora_proxies{tenant=\"b\",state=\"healthy\"} 0",
                "remora_sessions{tenant=\"b\"} 0",
                "remora_storage_up{tenant=\"b\"} 0",
            ],
        );
        assert!(!text.contains("tenant=\"a\",result=\"bound\""), "{text}");
        let described = text.matches("# TYPE remora_acquires ").count();
        assert_eq!(described, 1, "{text}");
    }
}
