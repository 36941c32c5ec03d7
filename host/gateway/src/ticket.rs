//! A lease that is released exactly once, and what is said of it: a line in the log, and counters.

use std::sync::Arc;
use std::time::Instant;

use hyper::{Method, StatusCode};
use remora_host::{BreakerChange, Outcome, ProxyHandle};

use crate::metrics::Metrics;

/// A request on its way through one proxy. Dropped without [`Ticket::finish`], the client has gone away.
pub(crate) struct Ticket {
    handle: Option<ProxyHandle>,
    method: Method,
    /// Counted from 1.
    attempt: u32,
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
        method: Method,
        attempt: u32,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            handle: Some(handle),
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

    /// Says how it went.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        self.metrics.released(outcome);
        let status = self.status.map(|status| status.as_u16());
        tracing::info!(
            target: "remora::access",
            key = handle.session_key(),
            proxy = handle.proxy_url(),
            proxy_id = %handle.proxy_id(),
            reason = %handle.reason(),
            probe = handle.is_probe(),
            method = %self.method,
            attempt = self.attempt,
            status,
            outcome = outcome.name(),
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        let proxy = handle.proxy_id();
        match handle.release(outcome) {
            Ok(released) => {
                self.metrics.breaker(released.breaker);
                match released.breaker {
                    BreakerChange::None | BreakerChange::ProbeReturned => {}
                    change => {
                        tracing::warn!(%proxy, change = change.name(), "a circuit breaker changed");
                    }
                }
            }
            Err(error) => tracing::warn!(%proxy, %error, "a release was lost"),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled);
    }
}
