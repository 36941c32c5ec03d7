//! The right to use a proxy for one request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use remora_core::{Grant, Lease, Outcome, Reason, Released, Span};
use uuid::Uuid;

use crate::credentials::{Credentials, Parts};
use crate::error::Error;
use crate::manager::{Member, View, time};
use crate::proxy::Proxy;

/// The right to use a proxy for one request.
///
/// Say how it went before it is dropped: [`mark_success`](Self::mark_success),
/// [`mark_blocked`](Self::mark_blocked) or [`cancel`](Self::cancel). A handle that is dropped without a mark
/// counts as a failure of the proxy: its breaker is charged and the session moves. A manager can be built with
/// another default ([`ProxyManagerBuilder::unmarked`](crate::ProxyManagerBuilder::unmarked)).
#[must_use = "a handle that is dropped without `mark_success` counts as a failure of its proxy"]
pub struct ProxyHandle {
    view: Arc<View>,
    /// The proxy's place in the view.
    place: usize,
    /// `None` once it is released.
    lease: Option<Lease>,
    reason: Reason,
    session: Option<Span>,
    /// What this lease puts into a template's place; only where there is one.
    parts: Option<Parts>,
    /// The outcome of a drop, as [`code`] writes it.
    outcome: AtomicU8,
}

/// An outcome as a number that fits an atomic.
const fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failure => 0,
        Outcome::Success => 1,
        Outcome::Blocked => 2,
        Outcome::Cancelled => 3,
    }
}

impl fmt::Debug for ProxyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyHandle")
            .field("proxy_id", &self.proxy_id())
            .field("proxy_url", &self.proxy_url())
            .field("session_key", &self.session_key())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl ProxyHandle {
    /// `unmarked`: the outcome of a handle that is dropped without a mark.
    pub(crate) fn new(
        view: Arc<View>,
        place: usize,
        grant: Grant,
        tags: &[&str],
        unmarked: Outcome,
    ) -> Self {
        let templated = view.member(place).endpoint.is_template();
        Self {
            parts: templated.then(|| Parts::of(&grant, tags)),
            session: grant.session,
            view,
            place,
            lease: Some(grant.lease),
            reason: grant.reason,
            outcome: AtomicU8::new(code(unmarked)),
        }
    }

    /// A handle that nobody has decided about and that is not released, for benchmarks.
    pub(crate) fn unleased(view: Arc<View>) -> Self {
        Self {
            view,
            place: 0,
            lease: None,
            reason: Reason::Rotated,
            session: None,
            parts: None,
            outcome: AtomicU8::new(code(Outcome::Success)),
        }
    }

    fn member(&self) -> &Member {
        self.view.member(self.place)
    }

    /// The proxy's id.
    pub fn proxy_id(&self) -> Uuid {
        self.member().id
    }

    /// The proxy's URL without credentials, `scheme://host:port`; for one exit of several behind an address
    /// ([`Proxy::exits`]) with `#` and its number.
    pub fn proxy_url(&self) -> &str {
        &self.member().address
    }

    /// The proxy's host, an IPv6 address in brackets.
    pub fn proxy_host(&self) -> &str {
        &self.member().endpoint.host
    }

    /// The proxy's port.
    pub fn proxy_port(&self) -> u16 {
        self.member().endpoint.port
    }

    /// Whether the credentials are a template, and so differ from session to session.
    pub fn has_session_credentials(&self) -> bool {
        self.member().endpoint.is_template()
    }

    /// The proxy's URL with credentials, percent-encoded, as HTTP clients take it. Not for logs.
    pub fn proxy_url_with_credentials(&self) -> String {
        self.member().endpoint.url(self.credentials())
    }

    /// The user name and password for this lease: templates are filled in. `None` for a proxy that asks for
    /// none.
    pub fn credentials(&self) -> Option<Credentials> {
        self.member().endpoint.credentials(self.parts.as_ref())
    }

    /// When the session that the request belongs to is over, unless something ends it early; `None` for a
    /// request that belongs to no session.
    pub fn session_expires_at(&self) -> Option<SystemTime> {
        self.session.map(|session| time(session.expires_at))
    }

    /// The proxy as it was added. What its `url` leaves open (the port) is filled in, credentials that
    /// stood in the URL are in its `username` and `password`.
    pub fn proxy(&self) -> &Proxy {
        &self.member().proxy
    }

    /// The session key, `None` for a request without a target.
    pub fn session_key(&self) -> Option<&str> {
        let key = self.lease.as_ref().map(|lease| lease.key.as_str());
        key.filter(|key| !key.is_empty())
    }

    /// Tells this session from every other one of its key; `None` for a request that belongs to no session.
    pub fn generation(&self) -> Option<u64> {
        let generation = self.lease.as_ref().map(|lease| lease.generation);
        generation.filter(|generation| *generation != 0)
    }

    /// Why it is this proxy.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether this request is the one probe of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.probe)
    }

    /// The request went well. Takes effect when the handle is dropped.
    pub fn mark_success(&self) {
        self.mark(Outcome::Success);
    }

    /// The target refuses this exit: the session moves, this proxy is left aside for this target for a
    /// while, and the breaker is left alone. Takes effect when the handle is dropped.
    pub fn mark_blocked(&self) {
        self.mark(Outcome::Blocked);
    }

    fn mark(&self, outcome: Outcome) {
        self.outcome.store(code(outcome), Ordering::Relaxed);
    }

    /// The outcome with which a drop of the handle releases it: the last mark, or the manager's default.
    pub fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::Relaxed) {
            1 => Outcome::Success,
            2 => Outcome::Blocked,
            3 => Outcome::Cancelled,
            _ => Outcome::Failure,
        }
    }

    /// The request was given up, and the proxy is not to blame: neither session nor breaker change.
    pub fn cancel(self) {
        self.finish(Outcome::Cancelled);
    }

    /// Releases it with an outcome, and says what that did. Waits only where the storage is behind a network, or calls
    /// run apart ([`ProxyManagerBuilder::on_blocking_threads`](crate::ProxyManagerBuilder::on_blocking_threads)); given up
    /// while it waits, the release goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`]; the handle is gone all the same.
    pub async fn release(mut self, outcome: Outcome) -> Result<Released, Error> {
        match self.lease.take() {
            Some(lease) => self.view.shared.decisions.release(lease, outcome).await,
            None => Ok(Released::default()),
        }
    }

    /// [`ProxyHandle::release`] where nobody can wait: `then` hears how it went, at once or, where
    /// [`ProxyHandle::release`] would wait, later on another thread.
    pub fn release_then(
        mut self,
        outcome: Outcome,
        then: impl FnOnce(Result<Released, Error>) + Send + 'static,
    ) {
        match self.lease.take() {
            Some(lease) => self
                .view
                .shared
                .decisions
                .release_then(lease, outcome, then),
            None => then(Ok(Released::default())),
        }
    }

    fn finish(mut self, outcome: Outcome) {
        self.let_go(outcome);
    }

    fn let_go(&mut self, outcome: Outcome) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let proxy = self.proxy_id();
        let decisions = &self.view.shared.decisions;
        decisions.release_then(lease, outcome, move |released| {
            if let Err(error) = released {
                // A destructor has nobody to answer to.
                tracing::warn!(%error, %proxy, ?outcome, "a release was lost");
            }
        });
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        self.let_go(self.outcome());
    }
}
