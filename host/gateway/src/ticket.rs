//! A lease that is released exactly once, and what is said of it: a line in the log, and counters.

use std::sync::Arc;
use std::time::Instant;

use hyper::{Method, StatusCode};
use remora_host::{BreakerChange, Error, Outcome, ProxyHandle, Released};
use uuid::Uuid;

use crate::history::{self, Attempt};
use crate::metrics::Metrics;

/// A request on its way through one proxy. Dropped without [`Ticket::finish`], the client has gone away.
pub(crate) struct Ticket {
    handle: Option<ProxyHandle>,
    tenant: Option<Arc<str>>,
    method: Method,
    attempt: Attempt,
    started: Instant,
    status: Option<StatusCode>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

impl Ticket {
    pub(crate) fn new(
        handle: ProxyHandle,
        tenant: Option<Arc<str>>,
        method: Method,
        attempt: Attempt,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            handle: Some(handle),
            tenant,
            method,
            attempt,
            started: Instant::now(),
            status: None,
            metrics,
        }
    }

    /// The lease; there until the ticket is finished.
    pub(crate) fn handle(&self) -> Option<&ProxyHandle> {
        self.handle.as_ref()
    }

    /// What the client was answered.
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Says how it went. Where the storage is behind a network, the verdict is on its way there.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    /// Says how it went, and waits until the next request of its session sees the verdict.
    pub(crate) async fn finished(mut self, outcome: Outcome) {
        if let Some(handle) = self.end(outcome) {
            let (proxy, attempt) = (handle.proxy_id(), self.attempt);
            let released = handle.release(outcome).await;
            history::released(attempt, &released);
            note(&self.metrics, self.tenant.as_deref(), proxy, released);
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(handle) = self.end(outcome) {
            let (metrics, tenant) = (self.metrics.clone(), self.tenant.clone());
            let (proxy, attempt) = (handle.proxy_id(), self.attempt);
            handle.release_then(outcome, move |released| {
                history::released(attempt, &released);
                note(&metrics, tenant.as_deref(), proxy, released);
            });
        }
    }

    /// The lease, unless it is finished already.
    fn end(&mut self, outcome: Outcome) -> Option<ProxyHandle> {
        let handle = self.handle.take()?;
        self.metrics.released(outcome);
        history::releases(self.attempt, outcome);
        let status = self.status.map(|status| status.as_u16());
        tracing::info!(
            target: "remora::access",
            tenant = self.tenant.as_deref(),
            key = handle.session_key(),
            proxy = handle.proxy_url(),
            proxy_id = %handle.proxy_id(),
            reason = %handle.reason(),
            probe = handle.is_probe(),
            method = %self.method,
            request = self.attempt.request,
            attempt = self.attempt.number,
            status,
            outcome = outcome.name(),
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        Some(handle)
    }
}

fn note(metrics: &Metrics, tenant: Option<&str>, proxy: Uuid, released: Result<Released, Error>) {
    match released {
        Ok(released) => {
            metrics.breaker(released.breaker);
            match released.breaker {
                BreakerChange::None | BreakerChange::ProbeReturned => {}
                change => {
                    tracing::warn!(tenant, %proxy, change = change.name(), "a circuit breaker changed");
                }
            }
        }
        Err(error) => tracing::warn!(tenant, %proxy, %error, "a release was lost"),
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled);
    }
}
