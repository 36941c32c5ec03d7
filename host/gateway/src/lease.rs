//! The lease of an attempt: a guard that gives it back once, and the events that its observers are told.
//!
//! | observer | subscribes for |
//! |---|---|
//! | lease events | programs that check the rules: lines at level `debug` under the target `remora::history` |
//! | metrics | counters for Prometheus |
//! | access log | lines under the target `remora::access`, and changes of circuit breakers |

use std::sync::Arc;
use std::time::Instant;

use hyper::{Method, StatusCode};
use remora_host::{BreakerChange, Error, Outcome, ProxyHandle, Released};
use uuid::Uuid;

use crate::metrics::Metrics;

/// Identifies an attempt in events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptId {
    /// Counted in each process.
    pub(crate) request: u64,
    /// Counted from 1.
    pub(crate) number: u32,
}

/// A step in the life of a lease.
pub(crate) enum Event<'a> {
    /// A request asks for a proxy.
    Asked { host: &'a str },
    /// A lease is granted. Not `used`: the request has tried this proxy already and gives it back at once.
    Granted { handle: &'a ProxyHandle, used: bool },
    /// No lease is granted, by a decision or because nothing could decide.
    Refused { host: &'a str, error: &'a Error },
    /// The attempt is over.
    Ended {
        handle: &'a ProxyHandle,
        outcome: Outcome,
        /// The request; `None` for a lease that is not used.
        sent: Option<&'a SentRequest>,
    },
    /// The release has been answered.
    Released {
        proxy: Uuid,
        result: &'a Result<Released, Error>,
        used: bool,
    },
}

/// The request that an attempt sends, as the access log shows it.
#[derive(Debug)]
pub(crate) struct SentRequest {
    method: Method,
    started: Instant,
    status: Option<StatusCode>,
}

/// The observers of a pool's leases.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    /// The tenant that owns the pool; `None` for the default pool.
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Observers {
    pub(crate) fn tell(&self, attempt: AttemptId, event: &Event<'_>) {
        lease_event(attempt, event);
        self.count(attempt, event);
        self.log(attempt, event);
    }

    fn count(&self, attempt: AttemptId, event: &Event<'_>) {
        match event {
            Event::Granted { handle, used: true } => {
                self.metrics.granted(handle.reason());
                if attempt.number > 1 {
                    self.metrics.retried();
                }
            }
            // A retry without another proxy keeps the answer of the attempt before.
            Event::Refused { error, .. } if attempt.number == 1 => self.metrics.refused(error),
            Event::Ended {
                outcome,
                sent: Some(_),
                ..
            } => self.metrics.released(*outcome),
            Event::Released {
                result: Ok(released),
                used: true,
                ..
            } => self.metrics.breaker(released.breaker),
            _ => {}
        }
    }

    fn log(&self, attempt: AttemptId, event: &Event<'_>) {
        let tenant = self.tenant.as_deref();
        match event {
            Event::Refused { host, error } if attempt.number == 1 => {
                tracing::warn!(target: "remora::access", tenant, host, %error, "no proxy");
            }
            Event::Ended {
                handle,
                outcome,
                sent: Some(sent),
            } => tracing::info!(
                target: "remora::access",
                tenant,
                key = handle.session_key(),
                proxy = handle.proxy_url(),
                proxy_id = %handle.proxy_id(),
                reason = %handle.reason(),
                probe = handle.is_probe(),
                method = %sent.method,
                request = attempt.request,
                attempt = attempt.number,
                status = sent.status.map(|status| status.as_u16()),
                outcome = outcome.name(),
                ms = u64::try_from(sent.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            ),
            Event::Released {
                proxy,
                result,
                used: true,
            } => match result {
                Ok(Released {
                    breaker: BreakerChange::None | BreakerChange::ProbeReturned,
                    ..
                }) => {}
                Ok(Released { breaker, .. }) => {
                    let change = breaker.name();
                    tracing::warn!(tenant, %proxy, change, "a circuit breaker changed");
                }
                Err(error) => tracing::warn!(tenant, %proxy, %error, "a release was lost"),
            },
            _ => {}
        }
    }
}

fn lease_event(attempt: AttemptId, event: &Event<'_>) {
    macro_rules! line {
        ($($fields:tt)*) => {
            tracing::debug!(
                target: "remora::history",
                request = attempt.request,
                attempt = attempt.number,
                $($fields)*
            )
        };
    }
    match event {
        Event::Asked { host } => line!(host, "asks"),
        Event::Granted { handle, .. } => line!(
            key = handle.session_key(),
            proxy = handle.proxy_url(),
            generation = handle.generation(),
            reason = %handle.reason(),
            probe = handle.is_probe(),
            // Formatted only where the line is enabled.
            until = handle
                .session_expires_at()
                .map(|at| tracing::field::display(humantime::format_rfc3339_millis(at))),
            "leased"
        ),
        Event::Refused { error, .. } => match error {
            Error::Storage(_) | Error::Plugin(_) => line!(%error, "unanswered"),
            _ => line!(%error, "refused"),
        },
        Event::Ended { outcome, .. } => line!(outcome = outcome.name(), "releases"),
        Event::Released { result, .. } => match result {
            Ok(released) => line!(
                ended_session = released.ended_session,
                breaker = released.breaker.name(),
                "released"
            ),
            Err(error) => line!(%error, "unheard"),
        },
    }
}

/// Gives the lease of an attempt back exactly once, and tells the observers. Dropped before
/// [`AttemptGuard::finish`], the lease counts as its [`ProxyHandle`] was built to count.
pub(crate) struct AttemptGuard {
    handle: Option<ProxyHandle>,
    attempt: AttemptId,
    observers: Arc<Observers>,
    /// `None`: the lease is not used.
    sent: Option<SentRequest>,
}

impl std::fmt::Debug for AttemptGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptGuard")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

impl AttemptGuard {
    /// Guards a lease. `method`: the request's; `None` for a lease that is given back unused.
    pub(crate) fn new(
        handle: ProxyHandle,
        attempt: AttemptId,
        observers: Arc<Observers>,
        method: Option<Method>,
    ) -> Self {
        let event = Event::Granted {
            handle: &handle,
            used: method.is_some(),
        };
        observers.tell(attempt, &event);
        Self {
            handle: Some(handle),
            attempt,
            observers,
            sent: method.map(|method| SentRequest {
                method,
                started: Instant::now(),
                status: None,
            }),
        }
    }

    /// The lease; `None` once the attempt is finished.
    pub(crate) fn handle(&self) -> Option<&ProxyHandle> {
        self.handle.as_ref()
    }

    /// Whether the request is sent through the lease's proxy.
    pub(crate) fn is_used(&self) -> bool {
        self.sent.is_some()
    }

    /// Notes the status that the client gets if this attempt is the last one.
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        if let Some(sent) = &mut self.sent {
            sent.status = Some(status);
        }
    }

    /// Gives the lease back. With a networked storage the release is still on its way afterwards.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.release(outcome);
    }

    /// Gives the lease back, and waits until the next request of its session sees the outcome.
    pub(crate) async fn finished(mut self, outcome: Outcome) {
        if let Some(handle) = self.end(outcome) {
            let (proxy, used) = (handle.proxy_id(), self.is_used());
            let result = &handle.release(outcome).await;
            let event = Event::Released {
                proxy,
                result,
                used,
            };
            self.observers.tell(self.attempt, &event);
        }
    }

    fn release(&mut self, outcome: Outcome) {
        if let Some(handle) = self.end(outcome) {
            let (observers, attempt) = (self.observers.clone(), self.attempt);
            let (proxy, used) = (handle.proxy_id(), self.is_used());
            handle.release_then(outcome, move |result| {
                let result = &result;
                let event = Event::Released {
                    proxy,
                    result,
                    used,
                };
                observers.tell(attempt, &event);
            });
        }
    }

    /// Takes the lease out, unless it was given back before.
    fn end(&mut self, outcome: Outcome) -> Option<ProxyHandle> {
        let handle = self.handle.take()?;
        let event = Event::Ended {
            handle: &handle,
            outcome,
            sent: self.sent.as_ref(),
        };
        self.observers.tell(self.attempt, &event);
        Some(handle)
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if let Some(outcome) = self.handle.as_ref().map(ProxyHandle::outcome) {
            self.release(outcome);
        }
    }
}
