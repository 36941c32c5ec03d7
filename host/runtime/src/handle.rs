//! The right to use a proxy for one request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use remora_core::{Attempt, Grant, Lease, Outcome, Permit, Reason, Released, Span};
use uuid::Uuid;

use crate::credentials::{Credentials, Parts};
use crate::error::Error;
use crate::manager::{Member, View, time};
use crate::proxy::Proxy;
use crate::settlement::Settlement;

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
    /// The host and port asked for.
    target: Box<str>,
    /// Whether the lease is one of a request's fallbacks: it is told with the request's own, and not given back.
    is_fallback: bool,
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
        Outcome::Ambiguous => 4,
        Outcome::TimedOut => 5,
        Outcome::Inconclusive => 6,
    }
}

/// The outcome has been told: what is left is to give the lease back.
const TOLD: u8 = u8::MAX;

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
        target: &str,
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
            target: target.into(),
            is_fallback: false,
            reason: grant.reason,
            outcome: AtomicU8::new(code(unmarked)),
        }
    }

    /// A handle on another exit for the same request.
    pub(crate) fn fallback(
        &self,
        view: Arc<View>,
        place: usize,
        permit: Permit,
        tags: &[&str],
    ) -> Self {
        let grant = Grant {
            lease: Lease {
                key: self.session_key().unwrap_or_default().to_owned(),
                permit,
            },
            reason: Reason::Rotated,
            session: None,
        };
        let unmarked = Outcome::Cancelled;
        let mut fallback = Self::new(view, place, grant, &self.target, tags, unmarked);
        fallback.is_fallback = true;
        fallback
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// A handle that nobody has decided about and that is not released, for benchmarks.
    pub(crate) fn unleased(view: Arc<View>) -> Self {
        Self {
            view,
            place: 0,
            lease: None,
            target: Box::default(),
            is_fallback: false,
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

    /// The target answered through the exit. Takes effect at once, since a success outweighs every failure before it: call it
    /// at the first byte of a tunnel, and at the end of a response or when it takes long. The lease stays until the handle is
    /// dropped.
    pub fn mark_success(&self) {
        if self.outcome.swap(TOLD, Ordering::Relaxed) == TOLD {
            return;
        }
        if let Some(settlement) = self.told(Outcome::Success, Vec::new()) {
            self.tell(settlement);
        }
    }

    /// The target refuses this exit: the session moves, this proxy is left aside for this target for a
    /// while, and the breaker is left alone. Takes effect when the handle is dropped.
    pub fn mark_blocked(&self) {
        self.mark(Outcome::Blocked);
    }

    /// The exit or the target failed, and the end does not tell which: no answer in time (`timed_out`), a reset, a 502, 503 or
    /// 504, a body that broke. Takes effect when the handle is dropped.
    pub fn mark_ambiguous(&self, timed_out: bool) {
        self.mark(match timed_out {
            true => Outcome::TimedOut,
            false => Outcome::Ambiguous,
        });
    }

    /// Dropped from here on, the request counts as cancelled.
    pub(crate) fn mark_cancelled(&self) {
        self.mark(Outcome::Cancelled);
    }

    /// A success that has been told stays.
    fn mark(&self, outcome: Outcome) {
        let told = |now| (now != TOLD).then(|| code(outcome));
        let _ = self
            .outcome
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, told);
    }

    fn told(&self, outcome: Outcome, others: Vec<Attempt>) -> Option<Settlement> {
        Some(Settlement {
            lease: self.lease.clone()?,
            target: self.target.to_string(),
            outcome,
            others,
            gives_back: false,
        })
    }

    fn tell(&self, settlement: Settlement) {
        let proxy = self.proxy_id();
        let decisions = &self.view.shared.decisions;
        decisions.settle_then(settlement, move |settled| {
            if let Err(error) = settled {
                // The caller has not waited.
                tracing::warn!(%error, %proxy, "settlement lost");
            }
        });
    }

    /// The outcome with which a drop of the handle releases it: the last mark, or the manager's default; `Cancelled` once a
    /// success has been told.
    pub fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::Relaxed) {
            1 => Outcome::Success,
            2 => Outcome::Blocked,
            3 | TOLD => Outcome::Cancelled,
            4 => Outcome::Ambiguous,
            5 => Outcome::TimedOut,
            6 => Outcome::Inconclusive,
            _ => Outcome::Failure,
        }
    }

    /// The exit failed: it could not be reached, or refused its credentials.
    pub fn fail(self) {
        self.finish(Outcome::Failure);
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
        match self.taken(outcome) {
            Some(settlement) => self.view.shared.decisions.settle(settlement).await,
            None => Ok(Released::default()),
        }
    }

    /// Judges a request that went through several exits: this handle's attempt, and those of its
    /// [fallbacks](crate::ProxyManager::fallbacks) in their order. Called once, when the last attempt has ended or is certain to
    /// succeed. The lease stays until the handle is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`]; the lease counts as told all the same.
    pub async fn settle(
        &self,
        outcome: Outcome,
        others: &[(&ProxyHandle, Outcome)],
    ) -> Result<Released, Error> {
        if self.outcome.swap(TOLD, Ordering::Relaxed) == TOLD {
            return Ok(Released::default());
        }
        match self.told(outcome, attempts(others)) {
            Some(settlement) => self.view.shared.decisions.settle(settlement).await,
            None => Ok(Released::default()),
        }
    }

    /// [`ProxyHandle::settle`] where the caller cannot wait: `then` hears how it went.
    pub fn settle_then(
        &self,
        outcome: Outcome,
        others: &[(&ProxyHandle, Outcome)],
        then: impl FnOnce(Result<Released, Error>) + Send + 'static,
    ) {
        let told = self.outcome.swap(TOLD, Ordering::Relaxed) == TOLD;
        match self.told(outcome, attempts(others)) {
            Some(settlement) if !told => self.view.shared.decisions.settle_then(settlement, then),
            _ => then(Ok(Released::default())),
        }
    }

    /// Whether the handle's session is still the one of its key: what a connection that was opened under it asks before it
    /// serves on.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub fn holds(&self) -> impl Future<Output = Result<bool, Error>> + Send + use<> {
        let (view, lease) = (self.view.clone(), self.lease.clone());
        async move {
            match lease {
                Some(lease) => view.shared.decisions.holds(lease).await,
                None => Ok(true),
            }
        }
    }

    /// [`ProxyHandle::release`] where nobody can wait: `then` hears how it went, at once or, where
    /// [`ProxyHandle::release`] would wait, later on another thread.
    pub fn release_then(
        mut self,
        outcome: Outcome,
        then: impl FnOnce(Result<Released, Error>) + Send + 'static,
    ) {
        match self.taken(outcome) {
            Some(settlement) => self.view.shared.decisions.settle_then(settlement, then),
            None => then(Ok(Released::default())),
        }
    }

    /// The end of the lease. A fallback's has none of its own.
    fn taken(&mut self, outcome: Outcome) -> Option<Settlement> {
        let told = self.outcome.load(Ordering::Relaxed) == TOLD;
        let mut lease = self.lease.take().filter(|_| !self.is_fallback)?;
        // The settlement speaks of the probe, also where it arrives after this.
        lease.permit.probe &= !told;
        Some(Settlement {
            outcome: if told { Outcome::Cancelled } else { outcome },
            target: core::mem::take(&mut self.target).into(),
            ..Settlement::unused(lease)
        })
    }

    fn finish(mut self, outcome: Outcome) {
        self.let_go(outcome);
    }

    fn let_go(&mut self, outcome: Outcome) {
        if let Some(settlement) = self.taken(outcome) {
            self.tell(settlement);
        }
    }
}

/// The attempts of a request's fallbacks.
fn attempts(others: &[(&ProxyHandle, Outcome)]) -> Vec<Attempt> {
    let known = others.iter().filter_map(|(handle, outcome)| {
        let lease = handle.lease()?;
        Some(Attempt {
            permit: lease.permit,
            outcome: *outcome,
        })
    });
    known.collect()
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        self.let_go(self.outcome());
    }
}
