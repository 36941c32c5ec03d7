//! What happens with a request.

use std::fmt;

use hyper::body::Incoming;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use remora_host::{Error, ProxyManager};
use tokio_util::task::TaskTracker;

use crate::config::Timeouts;
use crate::forward::forward;
use crate::reply::{self, Body};
use crate::ticket::Ticket;
use crate::tunnel::tunnel;
use crate::upstream::Upstreams;

/// A pool, and the way to it.
pub struct Gateway {
    manager: ProxyManager,
    timeouts: Timeouts,
    upstreams: Upstreams,
    /// The tunnels that are open: they outlive the connection they began on.
    pub(crate) tunnels: TaskTracker,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("manager", &self.manager)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that sends requests where `manager` says.
    pub fn new(manager: ProxyManager, timeouts: Timeouts) -> Self {
        Self {
            manager,
            timeouts,
            upstreams: Upstreams::default(),
            tunnels: TaskTracker::new(),
        }
    }

    /// The pool.
    pub fn manager(&self) -> &ProxyManager {
        &self.manager
    }

    /// Serves one request of a client.
    pub async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        match target(request.method(), request.uri()) {
            Ok(target) => self.pass_on(request, target).await,
            Err(line) => reply::text(StatusCode::BAD_REQUEST, line),
        }
    }

    async fn pass_on(&self, request: Request<Incoming>, target: Uri) -> Response<Body> {
        let host = target.host().unwrap_or_default();
        let handle = match self.manager.acquire_for_domain(host).await {
            Ok(handle) => handle,
            Err(error) => {
                tracing::warn!(target: "remora::access", host, %error, "no proxy");
                return reply::refusal(&error);
            }
        };
        let upstream = self.upstreams.of(&handle);
        let ticket = Ticket::new(handle, request.method().clone());
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(error) => return unusable(ticket, &error),
        };
        if request.method() == Method::CONNECT {
            let tunnels = &self.tunnels;
            tunnel(request, target, ticket, upstream, &self.timeouts, tunnels).await
        } else {
            forward(request, target, ticket, upstream, &self.timeouts).await
        }
    }
}

fn unusable(ticket: Ticket, error: &Error) -> Response<Body> {
    drop(ticket);
    reply::text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

/// Where a request wants to go: `host:port` for CONNECT, an absolute URI without user information else.
fn target(method: &Method, uri: &Uri) -> Result<Uri, &'static str> {
    let Some(authority) = uri.authority() else {
        return Err(
            "this is a forward proxy: set it as your client's proxy (`curl -x`), do not send requests to it",
        );
    };
    let malformed = "the request's target is malformed";
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    let authority: Authority = host_and_port.parse().map_err(|_| malformed)?;
    if *method == Method::CONNECT {
        if authority.port_u16().is_none() {
            return Err("CONNECT needs a port");
        }
        return Uri::builder()
            .authority(authority)
            .build()
            .map_err(|_| malformed);
    }
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err("only http:// can be passed on in the clear; for https:// use CONNECT");
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority);
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
