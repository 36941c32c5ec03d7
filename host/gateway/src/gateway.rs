//! What happens with a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use remora_host::{Error, PoolStats, ProxyManager};
use uuid::Uuid;

use crate::attempt::{Attempts, Retry};
use crate::body::Body;
use crate::classify::{Fault, Verdicts};
use crate::client::{Clients, Refused, Wishes};
use crate::forward;
use crate::metrics::Metrics;
use crate::outgoing::Outgoing;
use crate::reply;
use crate::store::Store;
use crate::tunnel::Tunnel;
use crate::upstream::{Trust, Upstreams};

/// How long the gateway waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting to an upstream proxy, and for a tunnel its answer to CONNECT.
    pub connect: Duration,
    /// From the request to the head of the response.
    pub head: Duration,
    /// A tunnel or a response's body in which nothing moves.
    pub idle: Duration,
}

/// What can change while it serves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long it waits.
    pub timeouts: Timeouts,
    /// What an answer says about a proxy.
    pub verdicts: Verdicts,
    /// How often a request is sent once more.
    pub retry: Retry,
    /// Who is heard.
    pub clients: Clients,
}

/// A pool, and the way to it.
pub struct Gateway {
    manager: ProxyManager,
    settings: ArcSwap<Settings>,
    upstreams: Upstreams,
    metrics: Arc<Metrics>,
    decides: bool,
    store: Store,
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
            upstreams: Upstreams::new(trust),
            metrics: Metrics::new(),
            decides: true,
            store: Store::default(),
        }
    }

    pub(crate) fn with_store(self, store: Store) -> Self {
        Self { store, ..self }
    }

    /// The storage, as its operator sees it.
    pub(crate) fn store(&self) -> &Store {
        &self.store
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

    pub(crate) fn decides(&self) -> bool {
        self.decides
    }

    /// Other settings, from the next request on.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Takes a proxy out. Answers whether it was in the pool.
    ///
    /// # Errors
    ///
    /// As [`ProxyManager::remove_proxy`].
    pub async fn remove_proxy(&self, id: Uuid) -> Result<bool, Error> {
        let found = self.manager.remove_proxy(id).await?;
        self.upstreams.forget(id);
        Ok(found)
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The counters as Prometheus reads them.
    pub(crate) fn metrics_text(&self, pool: Option<PoolStats>) -> Result<String, fmt::Error> {
        self.metrics.text(pool, &self.store.state())
    }

    /// Closes connections to upstream proxies that nobody has used for a while.
    pub(crate) fn sweep(&self) {
        self.upstreams.sweep();
    }

    /// Serves one request of a client.
    pub(crate) async fn serve(
        &self,
        mut request: Request<Incoming>,
        opened: &Opened,
    ) -> Response<Body> {
        let target = match target(request.method(), request.uri()) {
            Ok(target) => target,
            Err(line) => return reply::malformed(line),
        };
        let settings = self.settings.load_full();
        let wishes = match settings.clients.hear(request.headers_mut()) {
            Ok(wishes) => wishes,
            Err(Refused::Unknown) => return reply::unknown_client(),
            Err(Refused::Malformed(line)) => return reply::malformed(line),
        };
        if request.method() == Method::CONNECT {
            self.tunnel(request, target, &wishes, &settings, opened)
                .await
        } else {
            self.forward(request, target, &wishes, &settings).await
        }
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        target: Uri,
        wishes: &Wishes,
        settings: &Settings,
    ) -> Response<Body> {
        let Settings {
            timeouts, verdicts, ..
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
            let sent = upstream.send(&outgoing, handle, timeouts).await;
            let fault = match sent {
                // Meant for remora, not for the client: it is remora's credentials that are wrong.
                Ok((response, _))
                    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
                        && upstream.answers_itself() =>
                {
                    Fault::Credentials
                }
                Ok((response, shelf)) => {
                    ticket.set_status(response.status());
                    let outcome = verdicts.response(host, response.status());
                    let upload = outgoing.upload.clone();
                    let mut verdict = Some((ticket, outcome));
                    if outgoing.is_repeatable()
                        && attempts.calls_for_another(outcome)
                        && let Some((ended, outcome)) = verdict.take()
                        && let Some(next) = attempts.next(ended, outcome).await
                    {
                        ticket = next;
                        continue;
                    }
                    let owned = outgoing.owns_its_connection();
                    return forward::answer(response, shelf, upload, verdict, timeouts.idle, owned);
                }
                Err(fault) => fault,
            };
            ticket.set_status(fault.status());
            let outcome = verdicts.fault(host, fault);
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
        opened: &Opened,
    ) -> Response<Body> {
        let Settings {
            timeouts, verdicts, ..
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
                    let tunnel = Tunnel::new(client, far, ticket, timeouts.idle);
                    *opened.lock() = Some(tunnel);
                    return Response::new(Body::empty());
                }
                Err(fault) => fault,
            };
            ticket.set_status(fault.status());
            let outcome = verdicts.fault(host, fault);
            match attempts
                .after(
                    ticket,
                    outcome,
                    !matches!(fault, Fault::Resolve | Fault::Exhausted),
                )
                .await
            {
                Some(next) => ticket = next,
                None => return reply::fault(fault),
            }
        }
    }
}

/// Where a request wants to go: `host:port` for CONNECT, an absolute URI without user information else.
fn target(method: &Method, uri: &Uri) -> Result<Uri, &'static str> {
    let Some(authority) = uri.authority() else {
        return Err(
            "this is a forward proxy: set it as your client's proxy (`curl -x`), do not send requests to it",
        );
    };
    let malformed = "the request's target is malformed";
    let has_user = authority.as_str().contains('@');
    let authority = || match authority.as_str().rsplit_once('@') {
        Some((_, host_and_port)) => host_and_port.parse().map_err(|_| malformed),
        None => Ok(authority.clone()),
    };
    if *method == Method::CONNECT {
        let authority: Authority = authority()?;
        if authority.port_u16().is_none() {
            return Err("CONNECT needs a port");
        }
        return Ok(Uri::from(authority));
    }
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err("only http:// can be passed on in the clear; for https:// use CONNECT");
    }
    if !has_user {
        return Ok(uri.clone());
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority()?);
    Uri::from_parts(parts).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_from_the_request_line() {
        let read = |method: Method, uri: &str| {
            target(&method, &uri.parse().unwrap()).map(|uri| uri.to_string())
        };
        assert_eq!(
            read(Method::GET, "http://user:pw@a.example:81/x?y"),
            Ok("http://a.example:81/x?y".into())
        );
        assert_eq!(
            read(Method::CONNECT, "a.example:443"),
            Ok("a.example:443".into())
        );
        assert_eq!(
            read(Method::CONNECT, "user:pw@[::1]:443"),
            Ok("[::1]:443".into())
        );
        assert!(read(Method::CONNECT, "a.example").is_err());
        assert!(
            read(Method::GET, "/x")
                .unwrap_err()
                .contains("forward proxy")
        );
        assert!(
            read(Method::GET, "https://a.example/")
                .unwrap_err()
                .contains("CONNECT")
        );
    }
}
