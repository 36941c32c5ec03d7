//! The way of one request over one proxy, and over the next one when that fails.

use std::sync::Arc;

use hyper::Method;
use remora_core::FailureAttribution;
use remora_host::{Error, Outcome, ProxyHandle, ProxyManager, Request, internals};
use uuid::Uuid;

use crate::client::Wishes;
use crate::config::Retry;
use crate::gateway::Gateway;
use crate::history::{self, Attempt};
use crate::metrics::Metrics;
use crate::ticket::Ticket;

/// The proxies that a request tries, one after the other.
pub(crate) struct Attempts<'a> {
    decides: bool,
    manager: &'a ProxyManager,
    metrics: &'a Arc<Metrics>,
    tenant: Option<&'a Arc<str>>,
    retry: Retry,
    method: Method,
    host: &'a str,
    wishes: &'a Wishes,
    tried: Vec<Uuid>,
    attribution: FailureAttribution,
    /// The number of the request.
    number: u64,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(
        gateway: &'a Gateway,
        retry: Retry,
        method: &Method,
        host: &'a str,
        wishes: &'a Wishes,
    ) -> Self {
        Self {
            decides: gateway.decides(),
            manager: gateway.manager(),
            metrics: gateway.metrics(),
            tenant: gateway.tenant(),
            retry,
            method: method.clone(),
            host,
            wishes,
            tried: Vec::new(),
            attribution: FailureAttribution::default(),
            number: gateway.count_request(),
        }
    }

    /// A lease for the first attempt.
    pub(crate) async fn first(&self) -> Result<Ticket, Error> {
        match self.acquire().await {
            Ok(handle) => Ok(self.ticket(handle)),
            Err(error) => {
                self.metrics.refused(&error);
                let tenant = self.tenant.map(|tenant| &**tenant);
                tracing::warn!(target: "remora::access", tenant, host = self.host, %error, "no proxy");
                Err(error)
            }
        }
    }

    /// The outcome for the present proxy, given those of the proxies before.
    pub(crate) fn attribute(&mut self, outcome: Outcome, target_may_be_at_fault: bool) -> Outcome {
        self.attribution.outcome(outcome, target_may_be_at_fault)
    }

    /// Ends an attempt that a fault has brought to nothing, and begins the next one, where the request can be sent
    /// again.
    pub(crate) async fn after(
        &mut self,
        ended: Ticket,
        outcome: Outcome,
        can_be_repeated: bool,
    ) -> Option<Ticket> {
        if can_be_repeated && self.has_another() {
            return self.next(ended, outcome).await;
        }
        ended.finished(outcome).await;
        None
    }

    /// Whether a response that says so much about its proxy calls for another one.
    pub(crate) fn calls_for_another(&self, outcome: Outcome) -> bool {
        self.has_another()
            && match outcome {
                Outcome::Failure => true,
                Outcome::Blocked => self.retry.blocked,
                Outcome::Success | Outcome::Cancelled => false,
            }
    }

    fn has_another(&self) -> bool {
        self.tried.len() < self.retry.attempts as usize
    }

    /// Ends an attempt and begins the next one; `None` when there is no proxy left that has not been tried.
    pub(crate) async fn next(&mut self, ended: Ticket, outcome: Outcome) -> Option<Ticket> {
        self.tried
            .extend(ended.handle().map(|handle| handle.proxy_id()));
        // First the verdict: it is what moves the session.
        ended.finished(outcome).await;
        let handle = self.acquire().await.ok()?;
        if self.tried.contains(&handle.proxy_id()) {
            // Better than nothing for a request of its own, but not for the same one again.
            let (attempt, outcome) = (self.attempt(), Outcome::Cancelled);
            history::releases(attempt, outcome);
            history::released(attempt, &handle.release(outcome).await);
            return None;
        }
        self.metrics.retried();
        Some(self.ticket(handle))
    }

    async fn acquire(&self) -> Result<ProxyHandle, Error> {
        let tags: Vec<&str> = self.wishes.tags.iter().map(String::as_str).collect();
        let request = Request {
            target: self.host,
            session: self.wishes.session.as_deref(),
            tags: &tags,
            tried: &self.tried,
            ttl_ms: self.wishes.ttl_ms,
        };
        let attempt = self.attempt();
        history::asks(attempt, self.host);
        let acquired = if self.decides {
            self.manager.acquire(&request).await
        } else {
            internals::unleased(self.manager).ok_or(Error::NoProxy)
        };
        match &acquired {
            Ok(handle) => history::leased(attempt, handle),
            Err(error) => history::refused(attempt, error),
        }
        acquired
    }

    fn attempt(&self) -> Attempt {
        let tried = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        Attempt {
            request: self.number,
            number: tried.saturating_add(1),
        }
    }

    fn ticket(&self, handle: ProxyHandle) -> Ticket {
        self.metrics.granted(handle.reason());
        let (method, metrics) = (self.method.clone(), self.metrics.clone());
        let tenant = self.tenant.cloned();
        Ticket::new(handle, tenant, method, self.attempt(), metrics)
    }
}
