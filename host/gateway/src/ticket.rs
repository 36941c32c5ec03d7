//! A lease that is released exactly once, and the line in the log that goes with it.

use std::time::Instant;

use hyper::{Method, StatusCode};
use remora_host::{BreakerChange, Outcome, ProxyHandle};

/// A request on its way. Dropped without [`Ticket::finish`], the client has gone away.
pub(crate) struct Ticket {
    handle: Option<ProxyHandle>,
    method: Method,
    started: Instant,
    status: Option<StatusCode>,
}

impl Ticket {
    pub(crate) fn new(handle: ProxyHandle, method: Method) -> Self {
        Self {
            handle: Some(handle),
            method,
            started: Instant::now(),
            status: None,
        }
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
        let status = self.status.map(|status| status.as_u16());
        tracing::info!(
            target: "remora::access",
            key = handle.session_key(),
            proxy = handle.proxy_url(),
            proxy_id = %handle.proxy_id(),
            reason = %handle.reason(),
            probe = handle.is_probe(),
            method = %self.method,
            status,
            outcome = ?outcome,
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        let proxy = handle.proxy_url().to_owned();
        match handle.release(outcome) {
            Ok(released) => match released.breaker {
                BreakerChange::None | BreakerChange::ProbeReturned => {}
                change => tracing::warn!(proxy, ?change, "a circuit breaker changed"),
            },
            Err(error) => tracing::warn!(proxy, %error, "a release was lost"),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled);
    }
}
