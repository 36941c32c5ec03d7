//! The upstream proxies: requests in absolute form, and tunnels.

mod dial;
mod idle;
mod link;
mod stream;
mod tls;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::Context;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use parking_lot::RwLock;
use remora_host::{Credentials, Proxy, ProxyHandle, ProxyType};
use remora_http::{Fault, ResponseSource};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::body::Body;
use crate::config::Timeouts;
use crate::outgoing::Outgoing;
use dial::Address;
use idle::{Idle, Kind};
use link::Link;

pub(crate) use dial::Far;
pub(crate) use stream::Stream;
pub use tls::Trust;

/// The upstream proxies, by id.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    trust: Trust,
    all: RwLock<HashMap<Uuid, Arc<Upstream>>>,
}

impl Upstreams {
    pub(crate) fn new(trust: Trust) -> Self {
        let all = RwLock::default();
        Self { trust, all }
    }

    /// The upstream of a lease; made at its first one.
    pub(crate) fn of(&self, handle: &ProxyHandle) -> Arc<Upstream> {
        let id = handle.proxy_id();
        if let Some(upstream) = self.all.read().get(&id)
            && upstream.proxy == *handle.proxy()
        {
            return upstream.clone();
        }
        // A new one, or one that has another password now.
        let upstream = Arc::new(Upstream::new(handle, &self.trust));
        self.all.write().insert(id, upstream.clone());
        upstream
    }

    /// Forgets a proxy that was removed.
    pub(crate) fn forget(&self, id: Uuid) {
        self.all.write().remove(&id);
    }

    /// Closes connections that nobody has used for a while.
    pub(crate) fn sweep(&self) {
        for upstream in self.all.read().values() {
            upstream.idle.sweep();
        }
    }
}

/// How an upstream proxy is spoken to.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Http,
    Socks { resolve_here: bool },
}

/// One upstream proxy.
pub(crate) struct Upstream {
    proxy: Proxy,
    address: Address,
    protocol: Protocol,
    /// Where the credentials are the same for every lease, what is said of them. Marked as sensitive, so
    /// that no log shows it.
    authorization: Option<HeaderValue>,
    is_template: bool,
    idle: Idle,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// A connection in use, and where it goes back to.
pub(crate) struct Shelf {
    upstream: Arc<Upstream>,
    kind: Kind,
    link: Link,
}

impl Shelf {
    /// Does what there is to do on the connection.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        self.link.drive(context);
    }

    /// Keeps the connection for the next request: its response has been read, its request has been sent.
    pub(crate) fn keep(self) {
        self.upstream.idle.keep(&self.kind, self.link);
    }
}

impl Upstream {
    fn new(handle: &ProxyHandle, trust: &Trust) -> Self {
        let proxy_type = handle.proxy().proxy_type;
        let is_template = handle.has_session_credentials();
        let credentials = handle.credentials().filter(|_| !is_template);
        Self {
            proxy: handle.proxy().clone(),
            address: Address {
                host: handle.proxy_host().trim_matches(['[', ']']).to_owned(),
                port: handle.proxy_port(),
                tls: (proxy_type == ProxyType::Https).then(|| trust.clone()),
            },
            protocol: match proxy_type {
                ProxyType::Socks5 => Protocol::Socks { resolve_here: true },
                ProxyType::Socks5h => Protocol::Socks {
                    resolve_here: false,
                },
                _ => Protocol::Http,
            },
            authorization: credentials.as_ref().and_then(basic),
            is_template,
            idle: Idle::default(),
        }
    }

    /// The source of responses through it.
    pub(crate) fn response_source(&self) -> ResponseSource {
        match self.protocol {
            Protocol::Http => ResponseSource::ProxyOrTarget,
            _ => ResponseSource::Target,
        }
    }

    fn authorization(&self, handle: &ProxyHandle) -> Option<HeaderValue> {
        if !self.is_template {
            return self.authorization.clone();
        }
        handle.credentials().as_ref().and_then(basic)
    }

    /// Sends a request. Answers with the response, and with the way to keep the connection.
    pub(crate) async fn send(
        self: &Arc<Self>,
        outgoing: &Outgoing,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<(Response<Incoming>, Shelf), Fault> {
        let kind = self.kind(outgoing, handle)?;
        let request = || {
            let mut request = outgoing.request().ok_or(Fault::Reset)?;
            self.address_to(&mut request, handle);
            Ok(request)
        };
        let upload = &outgoing.upload;
        // An upstream may close an idle connection at any time, some do after every response without saying
        // so. Only what can be sent again goes out on one (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
        if outgoing.is_always_repeatable()
            && let Some(mut link) = self.idle.take(&kind).await
        {
            let answer = link.send(request()?);
            if let Ok(response) = upload.head(answer, timeouts.head).await? {
                return Ok((response, self.clone().shelf(kind, link)));
            }
        }
        // Apart, since most requests find a connection, and none should hold the room for making one.
        let mut link = Box::pin(self.connect(&kind, handle, timeouts)).await?;
        let answer = link.send(request()?);
        match upload.head(answer, timeouts.head).await? {
            Ok(response) => Ok((response, self.clone().shelf(kind, link))),
            Err(_) if upload.is_broken() => Err(Fault::ClientBroke),
            Err(error) if error.is_parse() => Err(Fault::Malformed),
            Err(_) => Err(Fault::Reset),
        }
    }

    fn shelf(self: Arc<Self>, kind: Kind, link: Link) -> Shelf {
        Shelf {
            upstream: self,
            kind,
            link,
        }
    }

    /// Opens a tunnel to `target` (`host:port`).
    pub(crate) async fn tunnel(
        &self,
        target: &Authority,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<Far, Fault> {
        let deadline = Instant::now() + timeouts.connect;
        let stream = self.address.connect(timeouts.connect).await?;
        let opening = async {
            match self.protocol {
                Protocol::Http => dial::tunnel(stream, target, self.authorization(handle)).await,
                Protocol::Socks { resolve_here } => {
                    dial::socks(stream, target, handle.credentials(), resolve_here).await
                }
            }
        };
        timeout_at(deadline, opening)
            .await
            .map_err(|_| Fault::TunnelTimeout)?
    }

    /// A connection to send requests of this kind on.
    async fn connect(
        &self,
        kind: &Kind,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<Link, Fault> {
        let stream = match &kind.origin {
            None => self.address.connect(timeouts.connect).await?,
            Some(origin) => self.tunnel(origin, handle, timeouts).await?.io,
        };
        Link::new(stream).await.map_err(|_| Fault::Connect)
    }

    fn kind(&self, outgoing: &Outgoing, handle: &ProxyHandle) -> Result<Kind, Fault> {
        let credentials = || handle.credentials().filter(|_| self.is_template);
        Ok(Kind {
            credentials: credentials(),
            origin: match self.protocol {
                Protocol::Http => None,
                Protocol::Socks { .. } => Some(outgoing.origin().ok_or(Fault::Connect)?),
            },
        })
    }

    /// Puts a request into the form in which it is sent on the connection of its kind.
    fn address_to(&self, request: &mut Request<Body>, handle: &ProxyHandle) {
        match self.protocol {
            Protocol::Http => {
                if let Some(value) = self.authorization(handle) {
                    let headers = request.headers_mut();
                    headers.insert(header::PROXY_AUTHORIZATION, value);
                }
            }
            Protocol::Socks { .. } => {
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            }
        }
    }
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let password = credentials.password.as_deref().unwrap_or_default();
    let pair = format!("{}:{password}", credentials.username);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
