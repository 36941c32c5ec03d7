//! What happens with a request.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use remora_host::{Config, Error, Proxy, ProxyManager};
use remora_http::{AttemptEnd, Fault};
use uuid::Uuid;

use crate::attempt::Attempts;
use crate::body::Body;
use crate::client::Wishes;
use crate::config::{Settings, Timeouts};
use crate::forward;
use crate::metrics::Metrics;
use crate::outgoing::Outgoing;
use crate::record::Record;
use crate::reply;
use crate::store::Store;
use crate::tenants::Place;
use crate::tunnel::Tunnel;
use crate::upstream::{Trust, Upstreams};

/// A pool, and the way to it.
pub struct Gateway {
    manager: ProxyManager,
    settings: ArcSwap<Settings>,
    upstreams: Arc<Upstreams>,
    metrics: Arc<Metrics>,
    /// How many requests have asked for a proxy.
    requests: AtomicU64,
    decides: bool,
    store: Arc<Store>,
    record: Option<Record>,
    /// The proxies that a file has put into the pool; what an operator has added is not among them.
    owned: Mutex<HashSet<Uuid>>,
    /// Whether a change has not come to its end: the pool may be as no file says.
    is_between: AtomicBool,
    /// `None`: it is nobody's in particular.
    tenant: Option<Arc<str>>,
}

/// Where a request leaves the tunnel that its connection becomes once the client has been told.
pub(crate) type Opened = Mutex<Option<Tunnel>>;

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("manager", &self.manager)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that sends requests where `manager` says.
    pub fn new(manager: ProxyManager, settings: Settings, trust: Trust) -> Self {
        Self {
            manager,
            settings: ArcSwap::from_pointee(settings),
            upstreams: Arc::new(Upstreams::new(trust)),
            metrics: Arc::default(),
            requests: AtomicU64::new(0),
            decides: true,
            store: Arc::default(),
            record: None,
            owned: Mutex::default(),
            is_between: AtomicBool::new(false),
            tenant: None,
        }
    }

    pub(crate) fn with_store(self, store: Arc<Store>) -> Self {
        Self { store, ..self }
    }

    pub(crate) fn with_record(self, record: Option<Record>) -> Self {
        Self { record, ..self }
    }

    /// With these proxies of its pool as those of a file: they leave when it does not name them any more.
    pub(crate) fn owning(self, proxies: Vec<Uuid>) -> Self {
        Self {
            owned: Mutex::new(proxies.into_iter().collect()),
            ..self
        }
    }

    /// The same for a tenant.
    pub(crate) fn of(self, tenant: &str) -> Self {
        Self {
            tenant: Some(tenant.into()),
            ..self
        }
    }

    /// Goes on with the connections and the counters of another one.
    pub(crate) fn following(self, before: &Self) -> Self {
        Self {
            upstreams: before.upstreams.clone(),
            metrics: before.metrics.clone(),
            ..self
        }
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }

    /// The storage, as its operator sees it.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Where its decisions are written to, if anywhere.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Before the process ends: every release is through, and what has changed is on disk.
    pub(crate) async fn settled(&self) {
        self.manager.settled().await;
        self.store.flush();
    }

    /// The pool.
    pub fn manager(&self) -> &ProxyManager {
        &self.manager
    }

    /// From now on every request takes the first proxy, and nobody is asked: for benchmarks.
    #[doc(hidden)]
    pub fn decide_nothing(&mut self) {
        self.decides = false;
    }

    /// The next request's number.
    pub(crate) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn decides(&self) -> bool {
        self.decides
    }

    /// Other settings, from the next request on.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// How long it waits.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.settings.load().timeouts
    }

    /// Takes over what a file says now; what an operator has added stays. Answers how many proxies have left.
    ///
    /// Where that fails, what is left to do is done by the next change, whatever that one says.
    pub(crate) async fn change(
        &self,
        config: Config,
        proxies: Vec<Proxy>,
        settings: Settings,
    ) -> Result<usize, Error> {
        // Also when this is dropped on the way.
        self.is_between.store(true, Ordering::Release);
        self.manager.reconfigure(config).await?;
        let stay = self.manager.add_proxies(proxies).await?;
        let gone: Vec<Uuid> = {
            let mut owned = self.owned.lock();
            owned.extend(&stay);
            let gone = owned.iter().filter(|id| !stay.contains(id));
            gone.copied().collect()
        };
        self.set(settings);
        // One that cannot leave now keeps no other one.
        let mut left = Ok(gone.len());
        for id in gone {
            if let Err(error) = self.remove_proxy(id).await {
                let tenant = self.tenant.as_deref();
                tracing::warn!(tenant, %id, %error, "a proxy that is to go is still in the pool; the next change tries again");
                left = left.and(Err(error));
            }
        }
        self.is_between.store(left.is_err(), Ordering::Release);
        left
    }

    /// Whether a change has failed since the last one that did not: the pool may be as no file says.
    pub(crate) fn is_between(&self) -> bool {
        self.is_between.load(Ordering::Acquire)
    }

    /// The proxies of its pool that are a file's.
    pub(crate) fn owned(&self) -> HashSet<Uuid> {
        self.owned.lock().clone()
    }

    /// From the next request on.
    pub(crate) fn set_timeouts(&self, timeouts: Timeouts) {
        let settings = self.settings.load();
        if settings.timeouts != timeouts {
            self.set(Settings {
                timeouts,
                ..(**settings).clone()
            });
        }
    }

    /// Takes a proxy out. Answers whether it was in the pool.
    ///
    /// # Errors
    ///
    /// As [`ProxyManager::remove_proxy`].
    pub async fn remove_proxy(&self, id: Uuid) -> Result<bool, Error> {
        let found = self.manager.remove_proxy(id).await?;
        self.owned.lock().remove(&id);
        self.forget(id);
        Ok(found)
    }

    /// Closes the connections to a proxy that is not in the pool any more.
    pub(crate) fn forget(&self, id: Uuid) {
        self.upstreams.forget(id);
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Closes connections to upstream proxies that nobody has used for a while.
    pub(crate) fn sweep(&self) {
        self.upstreams.sweep();
    }

    /// Serves one request of a client that has been heard. `place`: what it occupies until it is over.
    pub(crate) async fn serve(
        &self,
        request: Request<Incoming>,
        target: Uri,
        wishes: &Wishes,
        place: Option<Place>,
        opened: &Opened,
    ) -> Response<Body> {
        let settings = self.settings.load_full();
        if request.method() == Method::CONNECT {
            self.tunnel(request, target, wishes, &settings, place, opened)
                .await
        } else {
            self.forward(request, target, wishes, &settings, place)
                .await
        }
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        target: Uri,
        wishes: &Wishes,
        settings: &Settings,
        place: Option<Place>,
    ) -> Response<Body> {
        let Settings {
            timeouts, statuses, ..
        } = settings;
        let outgoing = Outgoing::new(request, target);
        let host = outgoing.host();
        let mut attempts = Attempts::new(self, settings.retry, &outgoing.method, host, wishes);
        let mut ticket = match attempts.first().await {
            Ok(ticket) => ticket,
            Err(error) => return reply::refusal(&error),
        };
        loop {
            let Some(handle) = ticket.handle() else {
                return reply::fault(Fault::Connect);
            };
            let upstream = self.upstreams.of(handle);
            let source = upstream.response_source();
            let sent = upstream.send(&outgoing, handle, timeouts).await;
            let fault = match sent {
                // To the client it would say that its own credentials, for remora, are wrong.
                Ok((response, _)) if source.refuses_credentials(response.status().as_u16()) => {
                    Fault::Challenge
                }
                Ok((response, shelf)) => {
                    ticket.set_status(response.status());
                    let end = AttemptEnd::Response(response.status().as_u16(), source);
                    let outcome = end.outcome(statuses, host);
                    let upload = outgoing.upload.clone();
                    let judged = attempts.attribute(outcome, end.target_may_be_at_fault());
                    let mut verdict = Some((ticket, judged));
                    if outgoing.is_repeatable()
                        && attempts.calls_for_another(outcome)
                        && let Some((ended, outcome)) = verdict.take()
                        && let Some(next) = attempts.next(ended, outcome).await
                    {
                        ticket = next;
                        continue;
                    }
                    let owned = outgoing.owns_its_connection();
                    let idle = timeouts.idle;
                    return forward::answer(response, shelf, upload, verdict, idle, owned, place);
                }
                Err(fault) => fault,
            };
            ticket.set_status(reply::status(fault.status()));
            let end = fault.attempt_end();
            let outcome = end.outcome(statuses, host);
            let outcome = attempts.attribute(outcome, end.target_may_be_at_fault());
            match attempts
                .after(ticket, outcome, outgoing.survives(fault))
                .await
            {
                Some(next) => ticket = next,
                None => return reply::fault(fault),
            }
        }
    }

    async fn tunnel(
        &self,
        request: Request<Incoming>,
        target: Uri,
        wishes: &Wishes,
        settings: &Settings,
        place: Option<Place>,
        opened: &Opened,
    ) -> Response<Body> {
        let Settings {
            timeouts, statuses, ..
        } = settings;
        let Some(authority) = target.authority() else {
            return reply::malformed("CONNECT needs a host and a port");
        };
        let host = authority.host();
        let mut attempts = Attempts::new(self, settings.retry, request.method(), host, wishes);
        let mut ticket = match attempts.first().await {
            Ok(ticket) => ticket,
            Err(error) => return reply::refusal(&error),
        };
        loop {
            let Some(handle) = ticket.handle() else {
                return reply::fault(Fault::Connect);
            };
            let upstream = self.upstreams.of(handle);
            let fault = match upstream.tunnel(authority, handle, timeouts).await {
                Ok(far) => {
                    ticket.set_status(StatusCode::OK);
                    let client = hyper::upgrade::on(request);
                    let tunnel = Tunnel::new(client, far, ticket, timeouts.idle, place);
                    *opened.lock() = Some(tunnel);
                    return Response::new(Body::empty());
                }
                Err(fault) => fault,
            };
            ticket.set_status(reply::status(fault.status()));
            let end = fault.attempt_end();
            let outcome = end.outcome(statuses, host);
            let outcome = attempts.attribute(outcome, end.target_may_be_at_fault());
            match attempts.after(ticket, outcome, fault.is_retriable()).await {
                Some(next) => ticket = next,
                None => return reply::fault(fault),
            }
        }
    }
}
