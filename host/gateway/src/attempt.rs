//! The attempts of one request: `lease → upstream → classify`, once more through another exit, and `settle` for all of them
//! together (rule 13).

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::RequestParams;
use crate::config::{Settings, Timeouts};
use crate::gateway::Gateway;
use crate::lease::{Asked, AttemptId, Event, RequestGuard};
use crate::reply;
use crate::upstream::Upstream;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};
use remora_host::{Error, Outcome, ProxyHandle, Request, internals};
use remora_http::{AttemptEnd, Fault};

/// The body of the loop: how one attempt sends the request.
pub(crate) trait Exchange {
    /// What an upstream proxy answers with.
    type Answer;

    fn method(&self) -> &Method;

    /// The target's host.
    fn host(&self) -> &str;

    /// The target: host and port.
    fn target(&self) -> Cow<'_, str>;

    /// Sends the request through an upstream proxy.
    async fn send(
        &self,
        upstream: &Arc<Upstream>,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<Answered<Self::Answer>, Fault>;

    /// Whether the request can be sent again: after this fault, or after a response.
    fn is_repeatable(&self, after: Option<Fault>) -> bool;
}

/// An attempt that was answered.
pub(crate) struct Answered<A> {
    pub(crate) answer: A,
    pub(crate) status: StatusCode,
    /// How the attempt ended; `None` for a tunnel, which ends later.
    pub(crate) end: Option<AttemptEnd>,
}

/// The answer to a request.
pub(crate) struct Settled<A> {
    pub(crate) answer: A,
    /// The leases of the request, to be settled when the answer is through; `None` where they are settled.
    pub(crate) lease: Option<AnsweredLease>,
}

/// The leases of a request that was answered.
#[derive(Debug)]
pub(crate) struct AnsweredLease {
    pub(crate) guard: RequestGuard,
    /// The outcome if all of the answer gets through; `None` for a tunnel, whose traffic decides.
    pub(crate) if_complete: Option<Outcome>,
}

/// Why a request has no answer.
pub(crate) enum Unanswered {
    /// There is no proxy for it.
    Refused(Error),
    /// The last attempt failed.
    Failed(Fault),
}

impl Unanswered {
    /// The response for the client.
    pub(crate) fn reply(&self) -> Response<Full<Bytes>> {
        match self {
            Self::Refused(error) => reply::refusal(error),
            Self::Failed(fault) => reply::fault(*fault),
        }
    }
}

/// Sends a request through one proxy after the other, until one answers or no other is left.
pub(crate) async fn run<E: Exchange>(
    gateway: &Gateway,
    settings: &Settings,
    params: &RequestParams,
    exchange: &E,
) -> Result<Settled<E::Answer>, Unanswered> {
    let mut attempts = Attempts {
        gateway,
        settings,
        params,
        exchange,
        fallbacks: None,
    };
    let mut guard = attempts.lease().await.map_err(Unanswered::Refused)?;
    loop {
        let Some(handle) = guard.handle() else {
            return Err(Unanswered::Failed(Fault::Connect));
        };
        let upstream = gateway.upstreams().of(handle);
        let sent = exchange.send(&upstream, handle, &settings.timeouts).await;
        let (status, end, fault) = match &sent {
            Ok(answered) => (answered.status, answered.end, None),
            Err(fault) => (
                reply::status(fault.status()),
                Some(fault.attempt_end()),
                Some(*fault),
            ),
        };
        guard.set_status(status);
        let outcome = end.map(|end| end.outcome(&settings.statuses, exchange.host()));
        if let Some(outcome) = outcome
            && attempts.calls_for_another(outcome, fault)
            && exchange.is_repeatable(fault)
            && let Some(next) = attempts.another(&guard).await
        {
            guard.next(outcome, next);
            continue;
        }
        let answer = match sent {
            Ok(answered) => answered.answer,
            Err(fault) => {
                guard.finished(outcome.unwrap_or(Outcome::Cancelled)).await;
                return Err(Unanswered::Failed(fault));
            }
        };
        // The attempt is over when the response's body is, or the tunnel.
        let if_complete = outcome;
        let lease = Some(AnsweredLease { guard, if_complete });
        return Ok(Settled { answer, lease });
    }
}

/// The attempts of one request so far.
struct Attempts<'a, E> {
    gateway: &'a Gateway,
    settings: &'a Settings,
    params: &'a RequestParams,
    exchange: &'a E,
    /// The exits that are left to try; `None` before they are asked for.
    fallbacks: Option<std::vec::IntoIter<ProxyHandle>>,
}

impl<E: Exchange> Attempts<'_, E> {
    /// Whether an attempt that ended so calls for another exit.
    fn calls_for_another(&self, outcome: Outcome, fault: Option<Fault>) -> bool {
        match outcome {
            Outcome::Failure | Outcome::Ambiguous | Outcome::TimedOut => true,
            Outcome::Blocked => self.settings.retry.blocked,
            // The name of one proxy, and not of the others.
            Outcome::Cancelled => fault.is_some_and(Fault::is_retriable),
            Outcome::Success | Outcome::Inconclusive => false,
        }
    }

    /// The next exit to try. The first one asks for all of them.
    async fn another(&mut self, guard: &RequestGuard) -> Option<ProxyHandle> {
        if self.fallbacks.is_none() {
            let (limit, manager) = (self.settings.retry.attempts, self.gateway.manager());
            let acquired = guard.acquired().filter(|_| limit > 0)?;
            let target = self.exchange.target();
            let tags = self.params.tags();
            let request = self.request(&target, &tags);
            let fallbacks = manager.fallbacks(acquired, &request, limit).await;
            let fallbacks = fallbacks.inspect_err(|error| {
                tracing::debug!(%error, "no fallbacks");
            });
            self.fallbacks = Some(fallbacks.unwrap_or_default().into_iter());
        }
        self.fallbacks.as_mut()?.next()
    }

    fn request<'a>(&'a self, target: &'a str, tags: &'a [&'a str]) -> Request<'a> {
        Request {
            target,
            session: self.params.session.as_deref(),
            tags,
            tried: &[],
            ttl_ms: self.params.ttl_ms,
            is_repeatable: self.exchange.is_repeatable(None),
        }
    }

    /// Asks for a proxy.
    async fn lease(&self) -> Result<RequestGuard, Error> {
        let target = self.exchange.target();
        let tags = self.params.tags();
        let request = self.request(&target, &tags);
        let attempt = AttemptId {
            request: self.gateway.count_request(),
            number: 1,
        };
        let (observers, host) = (self.gateway.observers(), self.exchange.host());
        let asked = Asked::tell(observers, attempt, host);
        let acquired = if self.gateway.decides() {
            self.gateway.manager().acquire(&request).await
        } else {
            internals::unleased(self.gateway.manager()).ok_or(Error::NoProxy)
        };
        asked.answered();
        let handle = acquired.inspect_err(|error| {
            observers.tell(attempt, &Event::Refused { host, error });
        })?;
        let method = self.exchange.method().clone();
        Ok(RequestGuard::new(
            handle,
            attempt,
            observers.clone(),
            method,
        ))
    }
}
