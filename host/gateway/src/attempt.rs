//! The attempts of one request: `lease → upstream → classify → settle`, and once more through another proxy.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};
use remora_core::FailureAttribution;
use remora_host::{Error, Outcome, ProxyHandle, Request, internals};
use remora_http::{AttemptEnd, Fault};
use uuid::Uuid;

use crate::auth::RequestParams;
use crate::config::{Settings, Timeouts};
use crate::gateway::Gateway;
use crate::lease::{AttemptGuard, AttemptId, Event};
use crate::reply;
use crate::upstream::Upstream;

/// The body of the loop: how one attempt sends the request.
pub(crate) trait Exchange {
    /// What an upstream proxy answers with.
    type Answer;

    fn method(&self) -> &Method;

    /// The target's host.
    fn host(&self) -> &str;

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
    /// The lease of the attempt that answered, to be settled when the answer is through; `None` where it is settled.
    pub(crate) lease: Option<AnsweredLease>,
}

/// The lease of the attempt that answered.
#[derive(Debug)]
pub(crate) struct AnsweredLease {
    pub(crate) guard: AttemptGuard,
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
        request: gateway.count_request(),
        tried: Vec::new(),
        attribution: FailureAttribution::default(),
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
        let Some(end) = end else {
            let if_complete = None;
            let lease = AnsweredLease { guard, if_complete };
            return answered(sent, Some(lease));
        };
        let ended = attempts.judge(guard, end, fault);
        let again = attempts.calls_for_another(&ended) && exchange.is_repeatable(fault);
        if !again && fault.is_none() {
            // The attempt is over when the response's body is.
            let lease = AnsweredLease {
                guard: ended.guard,
                if_complete: Some(ended.charged),
            };
            return answered(sent, Some(lease));
        }
        attempts.settle(ended).await;
        let next = match again {
            true => attempts.another().await,
            false => None,
        };
        guard = match next {
            Some(next) => next,
            None => return answered(sent, None),
        };
    }
}

fn answered<A>(
    sent: Result<Answered<A>, Fault>,
    lease: Option<AnsweredLease>,
) -> Result<Settled<A>, Unanswered> {
    let answer = sent.map_err(Unanswered::Failed)?.answer;
    Ok(Settled { answer, lease })
}

/// An attempt that has ended, and what its end says about the proxy.
struct EndedAttempt {
    guard: AttemptGuard,
    /// `None`: there is a response.
    fault: Option<Fault>,
    /// The outcome by itself: it decides about a retry.
    seen: Outcome,
    /// The outcome in the light of the attempts before: the proxy is charged with it.
    charged: Outcome,
}

/// The attempts of one request so far.
struct Attempts<'a, E> {
    gateway: &'a Gateway,
    settings: &'a Settings,
    params: &'a RequestParams,
    exchange: &'a E,
    /// The number of the request.
    request: u64,
    tried: Vec<Uuid>,
    attribution: FailureAttribution,
}

impl<E: Exchange> Attempts<'_, E> {
    /// Classifies the end of an attempt.
    fn judge(
        &mut self,
        guard: AttemptGuard,
        end: AttemptEnd,
        fault: Option<Fault>,
    ) -> EndedAttempt {
        let seen = end.outcome(&self.settings.statuses, self.exchange.host());
        EndedAttempt {
            guard,
            fault,
            seen,
            charged: self.attribution.outcome(seen, end.target_may_be_at_fault()),
        }
    }

    /// Whether an attempt that ended so calls for another proxy.
    fn calls_for_another(&self, ended: &EndedAttempt) -> bool {
        let retry = self.settings.retry;
        self.tried.len() < retry.attempts as usize
            && match ended.seen {
                _ if ended.fault.is_some() => true,
                Outcome::Failure => true,
                Outcome::Blocked => retry.blocked,
                Outcome::Success | Outcome::Cancelled => false,
            }
    }

    /// Gives the lease of an ended attempt back. The next request of its session sees the outcome.
    async fn settle(&mut self, ended: EndedAttempt) {
        let EndedAttempt { guard, charged, .. } = ended;
        self.tried.extend(guard.handle().map(ProxyHandle::proxy_id));
        guard.finished(charged).await;
    }

    /// The lease of the next attempt; `None` when there is no proxy left that has not been tried. It follows
    /// [`Attempts::settle`], which moves the session.
    async fn another(&self) -> Option<AttemptGuard> {
        let guard = self.lease().await.ok()?;
        if !guard.is_used() {
            guard.finished(Outcome::Cancelled).await;
            return None;
        }
        Some(guard)
    }

    /// Asks for a proxy.
    async fn lease(&self) -> Result<AttemptGuard, Error> {
        let tags: Vec<&str> = self.params.tags.iter().map(String::as_str).collect();
        let host = self.exchange.host();
        let request = Request {
            target: host,
            session: self.params.session.as_deref(),
            tags: &tags,
            tried: &self.tried,
            ttl_ms: self.params.ttl_ms,
        };
        let tried = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        let attempt = AttemptId {
            request: self.request,
            number: tried.saturating_add(1),
        };
        let observers = self.gateway.observers();
        observers.tell(attempt, &Event::Asked { host });
        let acquired = if self.gateway.decides() {
            self.gateway.manager().acquire(&request).await
        } else {
            internals::unleased(self.gateway.manager()).ok_or(Error::NoProxy)
        };
        let handle = acquired.inspect_err(|error| {
            observers.tell(attempt, &Event::Refused { host, error });
        })?;
        // A proxy that failed before is better than none for a new request, but not for the same one again.
        let used = !self.tried.contains(&handle.proxy_id());
        let method = used.then(|| self.exchange.method().clone());
        let observers = observers.clone();
        Ok(AttemptGuard::new(handle, attempt, observers, method))
    }
}
