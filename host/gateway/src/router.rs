//! The way of a request to its pool: target, authentication, route, admission, and then the attempts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, Uri};

use crate::admission::{Admission, InFlightPermit, LimitExceeded};
use crate::attempt;
use crate::auth::{AuthError, RequestParams, Users};
use crate::forward::{self, ResponseBody};
use crate::gateway::Gateway;
use crate::log_limiter::LogLimiter;
use crate::metrics::Traffic;
use crate::outgoing::Outgoing;
use crate::password::Inspector;
use crate::reply;
use crate::tunnel::{Connect, SessionWatch, Tunnel};

/// The answer to a request.
pub(crate) enum Answer {
    Response(Response<ResponseBody>),
    /// The client gets 200, and its connection becomes this tunnel.
    Tunnel(Box<Tunnel>),
}

impl From<Response<Full<Bytes>>> for Answer {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Self::Response(response.map(Either::Left))
    }
}

/// The pool of an authenticated client.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// The default pool, or a tenant's.
    Ready(Arc<RoutedPool>),
    /// The tenant of this name has no pool yet, or its file has none that can be built.
    Pending(Arc<str>),
}

/// A pool, and the limits of the tenant that owns it.
#[derive(Debug)]
pub(crate) struct RoutedPool {
    pub(crate) gateway: Arc<Gateway>,
    /// `None`: the default pool, which has no limits.
    pub(crate) admission: Option<Admission>,
}

impl RoutedPool {
    fn admit(&self) -> Result<Option<InFlightPermit>, LimitExceeded> {
        let Some(admission) = &self.admission else {
            return Ok(None);
        };
        let admitted = admission.admit();
        admitted
            .map(Some)
            .inspect_err(|exceeded| self.gateway.metrics().limited(exceeded.name()))
    }
}

/// Leads each request to its pool. The users change while it serves: tenants publish theirs, and so does a reload.
#[derive(Debug)]
pub(crate) struct Router {
    users: ArcSwap<Users<Route>>,
    inspector: Inspector,
    malformed: LogLimiter,
    traffic: Traffic,
}

impl Router {
    pub(crate) fn new(users: Arc<Users<Route>>, inspector: Inspector) -> Self {
        Self {
            users: ArcSwap::new(users),
            inspector,
            malformed: LogLimiter::default(),
            traffic: Traffic::default(),
        }
    }

    /// Replaces the users, from the next request on.
    pub(crate) fn publish(&self, users: Arc<Users<Route>>) {
        self.users.store(users);
    }

    /// Counters of client connections.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Serves one request of a client.
    pub(crate) async fn serve(&self, mut request: Request<Incoming>) -> Answer {
        let target = match target(request.method(), request.uri()) {
            Ok(target) => target,
            Err(line) => return self.malformed(line),
        };
        let pending = {
            let users = self.users.load();
            users.authenticate(request.headers_mut(), &self.inspector)
        };
        let authenticated = match pending {
            Ok(pending) => pending.verify(&self.inspector).await,
            Err(error) => Err(error),
        };
        let host = target.host();
        let (pool, params) = match authenticated {
            Ok((Route::Ready(pool), params)) => (pool, params),
            Ok((Route::Pending(tenant), _)) => {
                tracing::info!(target: "remora::access", %tenant, host, "the tenant is not there");
                return reply::absent_tenant().into();
            }
            Err(error) => return self.unauthenticated(&error, host),
        };
        match pool.admit() {
            Ok(permit) => dispatch(&pool.gateway, request, target, &params, permit).await,
            Err(exceeded) => {
                let tenant = pool.gateway.tenant().map(|name| &**name);
                tracing::info!(target: "remora::access", tenant, host, limit = exceeded.name(), "limited");
                reply::limit_exceeded(exceeded).into()
            }
        }
    }

    fn unauthenticated(&self, error: &AuthError, host: Option<&str>) -> Answer {
        match error {
            AuthError::Unknown => {
                tracing::info!(target: "remora::access", host, "unknown client");
                reply::unknown_client().into()
            }
            AuthError::Malformed(line) => self.malformed(line),
            AuthError::Busy => {
                tracing::warn!(target: "remora::access", "too many clients say who they are for the first time");
                reply::busy().into()
            }
        }
    }

    /// A request that its client has to mend: the operator's log shows one a minute.
    fn malformed(&self, line: &str) -> Answer {
        if self.malformed.is_due() {
            tracing::warn!(target: "remora::access", line, "refused with 400; others like it are said once a minute");
        }
        tracing::debug!(target: "remora::access", line, "malformed");
        reply::malformed(line).into()
    }
}

/// Sends an admitted request through its pool. `permit`: held until the request or its tunnel is over.
async fn dispatch(
    gateway: &Gateway,
    request: Request<Incoming>,
    target: Uri,
    params: &RequestParams,
    permit: Option<InFlightPermit>,
) -> Answer {
    let settings = gateway.settings();
    let idle = settings.timeouts.idle;
    if request.method() != Method::CONNECT {
        let outgoing = Outgoing::new(request, target);
        return match attempt::run(gateway, &settings, params, &outgoing).await {
            Ok(settled) => Answer::Response(forward::response(outgoing, settled, idle, permit)),
            Err(unanswered) => unanswered.reply().into(),
        };
    }
    let Some(target) = target.into_parts().authority else {
        return reply::malformed("CONNECT needs a host and a port").into();
    };
    match attempt::run(gateway, &settings, params, &Connect { target }).await {
        Ok(settled) => {
            let client = hyper::upgrade::on(request);
            let session = SessionWatch::new(settings.drain, gateway.manager().is_networked());
            Answer::Tunnel(Box::new(Tunnel::new(
                client, settled, idle, session, permit,
            )))
        }
        Err(unanswered) => unanswered.reply().into(),
    }
}

/// The target of a request: `host:port` for CONNECT, an absolute URI without user information else.
fn target(method: &Method, uri: &Uri) -> Result<Uri, &'static str> {
    let Some(authority) = uri.authority() else {
        return Err(
            "this is a forward proxy: set it as your client's proxy (`curl -x`), do not send requests to it",
        );
    };
    // A proxy that refuses it would be charged for the refusal.
    if authority.host().is_empty() {
        return Err("the request's target has no host");
    }
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
    fn target_is_read_from_the_request_line() {
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
        for (method, uri) in [
            (Method::CONNECT, ":443"),
            (Method::CONNECT, "user:pw@:443"),
            (Method::GET, "http://:80/x"),
            (Method::GET, "http://user:pw@:80/x"),
        ] {
            // hyper refuses an invalid URI before.
            if let Ok(uri) = uri.parse() {
                assert!(target(&method, &uri).is_err(), "{method} {uri}");
            }
        }
        assert!(read(Method::CONNECT, ":443").unwrap_err().contains("host"));
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
