//! The way of one request over one proxy, and over the next one when that fails.

use std::sync::Arc;

use hyper::Method;
use remora_host::{Error, Outcome, ProxyManager, Request, internals};
use uuid::Uuid;

use crate::client::Wishes;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::ticket::Ticket;

/// How often a request is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many more proxies it may try.
    pub attempts: u32,
    /// Whether an answer that says that the target refuses this exit is a reason, too.
    pub blocked: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            blocked: false,
        }
    }
}

/// The proxies that a request tries, one after the other.
pub(crate) struct Attempts<'a> {
    decides: bool,
    manager: &'a ProxyManager,
    metrics: &'a Arc<Metrics>,
    retry: Retry,
    method: Method,
    host: &'a str,
    wishes: &'a Wishes,
    tried: Vec<Uuid>,
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
            retry,
            method: method.clone(),
            host,
            wishes,
            tried: Vec::new(),
        }
    }

    /// A lease for the first attempt.
    pub(crate) async fn first(&self) -> Result<Ticket, Error> {
        let acquired = self.acquire().await;
        if let Err(error) = &acquired {
            tracing::warn!(target: "remora::access", host = self.host, %error, "no proxy");
        }
        acquired
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
        let ticket = self.acquire().await.ok()?;
        let id = ticket.handle()?.proxy_id();
        if self.tried.contains(&id) {
            // Better than nothing for a request of its own, but not for the same one again.
            return None;
        }
        self.metrics.retries.inc();
        Some(ticket)
    }

    async fn acquire(&self) -> Result<Ticket, Error> {
        let tags: Vec<&str> = self.wishes.tags.iter().map(String::as_str).collect();
        let request = Request {
            target: self.host,
            session: self.wishes.session.as_deref(),
            tags: &tags,
            tried: &self.tried,
            ttl_ms: self.wishes.ttl_ms,
        };
        let acquired = if self.decides {
            self.manager.acquire(&request).await
        } else {
            internals::unleased(self.manager).ok_or(Error::NoProxy)
        };
        let handle = acquired.inspect_err(|error| self.metrics.refused(error))?;
        self.metrics.granted(handle.reason());
        let attempt = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        let (method, metrics) = (self.method.clone(), self.metrics.clone());
        Ok(Ticket::new(handle, method, attempt + 1, metrics))
    }
}
