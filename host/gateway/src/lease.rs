//! The lease of an attempt: a guard that gives it back once, and the events that its observers are told.
//!
//! | observer | subscribes for |
//! |---|---|
//! | lease events | programs that check the rules: lines at level `debug` under the target `remora::history` |
//! | metrics | counters for Prometheus |
//! | access log | lines under the target `remora::access`, and changes of circuit breakers |

use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// The client has left before there was an answer.
    Abandoned,
    /// A lease is granted.
    Granted { handle: &'a ProxyHandle },
    /// No lease is granted, by a decision or because nothing could decide.
    Refused { host: &'a str, error: &'a Error },
    /// The outcome of the attempt is known; it may go on.
    Judged { outcome: Outcome },
    /// The attempt is over.
    Over {
        handle: &'a ProxyHandle,
        outcome: Outcome,
        sent: &'a SentRequest,
    },
    /// The settlement of the request has been answered. `proxy`: that of its first attempt.
    Released {
        proxy: Uuid,
        result: &'a Result<Released, Error>,
    },
}

/// The request that an attempt sends, as the access log shows it.
#[derive(Debug)]
pub(crate) struct SentRequest {
    method: Method,
    started: Instant,
    /// How long it took, once it is over.
    took: Option<Duration>,
    status: Option<StatusCode>,
}

impl SentRequest {
    fn took(&self) -> Duration {
        self.took.unwrap_or_else(|| self.started.elapsed())
    }
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
            // A further attempt is no decision of its own.
            Event::Granted { .. } if attempt.number > 1 => self.metrics.retried(),
            Event::Granted { handle } => self.metrics.granted(handle.reason()),
            Event::Refused { error, .. } => self.metrics.refused(error),
            Event::Judged { outcome } => self.metrics.released(*outcome),
            Event::Released {
                result: Ok(released),
                ..
            } => {
                self.metrics.breaker(released.breaker);
                for (_, change) in &released.others {
                    self.metrics.breaker(*change);
                }
            }
            _ => {}
        }
    }

    fn log(&self, attempt: AttemptId, event: &Event<'_>) {
        let tenant = self.tenant.as_deref();
        match event {
            Event::Refused { host, error } => {
                tracing::warn!(target: "remora::access", tenant, host, %error, "no proxy");
            }
            Event::Over {
                handle,
                outcome,
                sent,
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
                ms = u64::try_from(sent.took().as_millis()).unwrap_or(u64::MAX),
            ),
            Event::Released { proxy, result } => match result {
                Ok(released) => {
                    let own = (*proxy, released.breaker);
                    for (proxy, change) in [own].iter().chain(&released.others) {
                        self.log_change(*proxy, *change);
                    }
                }
                Err(error) => tracing::warn!(tenant, %proxy, %error, "a release was lost"),
            },
            _ => {}
        }
    }

    fn log_change(&self, proxy: Uuid, change: BreakerChange) {
        match change {
            BreakerChange::None | BreakerChange::ProbeReturned => {}
            change => {
                let (tenant, change) = (self.tenant.as_deref(), change.name());
                tracing::warn!(tenant, %proxy, change, "a circuit breaker changed");
            }
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
        Event::Abandoned => line!("abandoned"),
        Event::Granted { handle } => line!(
            key = handle.session_key(),
            proxy = handle.proxy_url(),
            proxy_id = %handle.proxy_id(),
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
        Event::Judged { outcome } => line!(outcome = outcome.name(), "releases"),
        Event::Over { .. } => {}
        Event::Released { result, .. } => match result {
            Ok(released) => {
                for (proxy, change) in &released.others {
                    line!(proxy_id = %proxy, breaker = change.name(), "changed");
                }
                line!(
                    ended_session = released.ended_session,
                    breaker = released.breaker.name(),
                    "released"
                );
            }
            Err(error) => line!(%error, "unheard"),
        },
    }
}

/// A request that has asked for a proxy: tells that it was abandoned, unless it is answered.
pub(crate) struct Asked<'a> {
    observers: &'a Observers,
    attempt: AttemptId,
    answered: bool,
}

impl<'a> Asked<'a> {
    /// Tells that a request for `host` asks.
    pub(crate) fn tell(observers: &'a Observers, attempt: AttemptId, host: &str) -> Self {
        observers.tell(attempt, &Event::Asked { host });
        Self {
            observers,
            attempt,
            answered: false,
        }
    }

    /// The request is answered; the caller tells the observers how.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.observers.tell(self.attempt, &Event::Abandoned);
        }
    }
}

/// An attempt of a request: the lease on its exit, and how it ended.
struct Attempt {
    handle: ProxyHandle,
    id: AttemptId,
    sent: SentRequest,
    /// `None` while it goes on.
    outcome: Option<Outcome>,
}

/// Guards the leases of a request: settles its attempts together and tells the observers. Dropped before
/// [`RequestGuard::finish`], the attempt that goes on counts as cancelled. The leases are given back by their handles.
pub(crate) struct RequestGuard {
    /// The first one is that of the request's acquire, the others of its fallbacks.
    attempts: Vec<Attempt>,
    observers: Arc<Observers>,
    is_settled: bool,
}

impl std::fmt::Debug for RequestGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let handles = self.attempts.iter().map(|attempt| &attempt.handle);
        f.debug_list().entries(handles).finish()
    }
}

impl RequestGuard {
    /// Guards the lease of a request's acquire.
    pub(crate) fn new(
        handle: ProxyHandle,
        id: AttemptId,
        observers: Arc<Observers>,
        method: Method,
    ) -> Self {
        let mut guard = Self {
            attempts: Vec::with_capacity(1),
            observers,
            is_settled: false,
        };
        guard.begin(handle, id, method);
        guard
    }

    fn begin(&mut self, handle: ProxyHandle, id: AttemptId, method: Method) {
        self.observers.tell(id, &Event::Granted { handle: &handle });
        self.attempts.push(Attempt {
            handle,
            id,
            sent: SentRequest {
                method,
                started: Instant::now(),
                took: None,
                status: None,
            },
            outcome: None,
        });
    }

    /// The present attempt has ended like this, and another one begins.
    pub(crate) fn next(&mut self, outcome: Outcome, handle: ProxyHandle) {
        let Some(last) = self.attempts.last_mut() else {
            return;
        };
        last.outcome = Some(outcome);
        last.sent.took = Some(last.sent.started.elapsed());
        let method = last.sent.method.clone();
        let id = AttemptId {
            number: last.id.number.saturating_add(1),
            ..last.id
        };
        self.begin(handle, id, method);
    }

    /// The lease of the present attempt.
    pub(crate) fn handle(&self) -> Option<&ProxyHandle> {
        self.attempts.last().map(|attempt| &attempt.handle)
    }

    /// Whether the present attempt goes through another exit than the acquired one.
    pub(crate) fn has_failed_over(&self) -> bool {
        self.attempts.len() > 1
    }

    /// The lease of the request's acquire.
    pub(crate) fn acquired(&self) -> Option<&ProxyHandle> {
        self.attempts.first().map(|attempt| &attempt.handle)
    }

    /// Notes the status that the client gets if the present attempt is the last one.
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        if let Some(last) = self.attempts.last_mut() {
            last.sent.status = Some(status);
        }
    }

    /// The present attempt is certain to succeed: told at once, since that outweighs every failure before. The request goes on.
    pub(crate) fn succeed(&mut self) {
        if self.judge(Outcome::Success)
            && let Some((first, others)) = self.attempts.split_first()
        {
            let (outcome, others) = (first.outcome(), outcomes(others));
            first.handle.settle_then(outcome, &others, self.told(first));
        }
    }

    /// The request is over. With a networked storage its settlement is still on its way afterwards.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// The request is over. Waits until the next request of its session sees the settlement.
    pub(crate) async fn finished(mut self, outcome: Outcome) {
        if !self.judge(outcome) {
            return;
        }
        self.over();
        let mut attempts = std::mem::take(&mut self.attempts).into_iter();
        let Some(first) = attempts.next() else {
            return;
        };
        let (then, outcome) = (self.told(&first), first.outcome());
        let others = attempts.as_slice();
        then(match others.is_empty() {
            true => first.handle.release(outcome).await,
            false => first.handle.settle(outcome, &outcomes(others)).await,
        });
    }

    fn end(&mut self, outcome: Outcome) {
        let is_judged = self.judge(outcome);
        self.over();
        let mut attempts = std::mem::take(&mut self.attempts).into_iter();
        if let Some(first) = attempts.next().filter(|_| is_judged) {
            let (then, outcome) = (self.told(&first), first.outcome());
            match attempts.as_slice() {
                [] => first.handle.release_then(outcome, then),
                others => first.handle.settle_then(outcome, &outcomes(others), then),
            }
        }
    }

    /// The outcome of every attempt is known. Answers whether it was not before.
    fn judge(&mut self, outcome: Outcome) -> bool {
        if std::mem::replace(&mut self.is_settled, true) {
            return false;
        }
        for attempt in &mut self.attempts {
            let outcome = *attempt.outcome.get_or_insert(outcome);
            self.observers.tell(attempt.id, &Event::Judged { outcome });
        }
        true
    }

    /// No attempt goes on.
    fn over(&self) {
        for attempt in &self.attempts {
            let event = Event::Over {
                handle: &attempt.handle,
                outcome: attempt.outcome(),
                sent: &attempt.sent,
            };
            self.observers.tell(attempt.id, &event);
        }
    }

    /// Tells the observers what the settlement did.
    fn told(&self, first: &Attempt) -> impl FnOnce(Result<Released, Error>) + Send + use<> {
        let (observers, id, proxy) = (self.observers.clone(), first.id, first.handle.proxy_id());
        move |result| {
            let result = &result;
            observers.tell(id, &Event::Released { proxy, result });
        }
    }
}

impl Attempt {
    /// Cancelled while it goes on.
    fn outcome(&self) -> Outcome {
        self.outcome.unwrap_or(Outcome::Cancelled)
    }
}

fn outcomes(attempts: &[Attempt]) -> Vec<(&ProxyHandle, Outcome)> {
    let ended = attempts.iter();
    ended
        .map(|attempt| (&attempt.handle, attempt.outcome()))
        .collect()
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if !self.attempts.is_empty() {
            self.end(Outcome::Cancelled);
        }
    }
}
