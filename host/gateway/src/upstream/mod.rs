//! The upstream proxies: requests in absolute form, and tunnels.

mod dial;
mod http1;
mod idle;
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

use crate::config::Timeouts;
use crate::outgoing::Outgoing;
use crate::upload::ReplayableBody;
use dial::Address;
use http1::Http1Connection;
use idle::{Idle, PoolKey};

pub(crate) use dial::UpstreamTunnel;
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

    /// The upstream proxy of a lease.
    pub(crate) fn of(&self, handle: &ProxyHandle) -> Arc<Upstream> {
        let id = handle.proxy_id();
        if let Some(upstream) = self.all.read().get(&id)
            && upstream.proxy == *handle.proxy()
        {
            return upstream.clone();
        }
        // Its first lease, or the proxy has another password now.
        let upstream = Arc::new(Upstream::new(handle, &self.trust));
        self.all.write().insert(id, upstream.clone());
        upstream
    }

    /// Forgets a proxy that was removed.
    pub(crate) fn forget(&self, id: Uuid) {
        self.all.write().remove(&id);
    }

    /// Closes the connections that were idle for too long.
    pub(crate) fn sweep(&self) {
        for upstream in self.all.read().values() {
            upstream.idle.sweep();
        }
    }
}

/// The protocol of an upstream proxy.
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
    /// `Proxy-Authorization`, where the credentials are the same for every lease. Marked as sensitive, so
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

/// A connection in use, taken out of the idle ones.
pub(crate) struct Checkout {
    upstream: Arc<Upstream>,
    key: PoolKey,
    connection: Http1Connection,
}

impl Checkout {
    /// Moves the connection on.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        self.connection.drive(context);
    }

    /// Keeps the connection for the next request: its response has been read, its request has been sent.
    pub(crate) fn keep(self) {
        self.upstream.idle.keep(&self.key, self.connection);
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

    /// Sends a request. Answers with the response, and with the connection to give back.
    pub(crate) async fn send(
        self: &Arc<Self>,
        outgoing: &Outgoing,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<(Response<Incoming>, Checkout), Fault> {
        let key = self.pool_key(outgoing, handle)?;
        let request = || {
            let mut request = outgoing.request().ok_or(Fault::Reset)?;
            self.address_to(&mut request, handle);
            Ok(request)
        };
        let upload = &outgoing.upload;
        // An upstream may close an idle connection at any time, some do after every response without saying
        // so. Only what can be sent again goes out on one (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
        if outgoing.is_always_repeatable()
            && let Some(mut connection) = self.idle.take(&key).await
        {
            let answer = connection.send(request()?);
            if let Ok(response) = upload.head(answer, timeouts.head).await? {
                return Ok((response, self.clone().checkout(key, connection)));
            }
        }
        // In a box, since most requests find a connection, and none should hold the room for making one.
        let mut connection = Box::pin(self.connect(&key, handle, timeouts)).await?;
        let answer = connection.send(request()?);
        match upload.head(answer, timeouts.head).await? {
            Ok(response) => Ok((response, self.clone().checkout(key, connection))),
            Err(_) if upload.is_broken() => Err(Fault::ClientBroke),
            Err(error) if error.is_parse() => Err(Fault::Malformed),
            Err(_) => Err(Fault::Reset),
        }
    }

    fn checkout(self: Arc<Self>, key: PoolKey, connection: Http1Connection) -> Checkout {
        Checkout {
            upstream: self,
            key,
            connection,
        }
    }

    /// Opens a tunnel to `target` (`host:port`).
    pub(crate) async fn tunnel(
        &self,
        target: &Authority,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<UpstreamTunnel, Fault> {
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

    /// A new connection for requests of this key.
    async fn connect(
        &self,
        key: &PoolKey,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<Http1Connection, Fault> {
        let stream = match &key.origin {
            None => self.address.connect(timeouts.connect).await?,
            Some(origin) => self.tunnel(origin, handle, timeouts).await?.io,
        };
        Http1Connection::new(stream)
            .await
            .map_err(|_| Fault::Connect)
    }

    fn pool_key(&self, outgoing: &Outgoing, handle: &ProxyHandle) -> Result<PoolKey, Fault> {
        let credentials = || handle.credentials().filter(|_| self.is_template);
        Ok(PoolKey {
            credentials: credentials(),
            origin: match self.protocol {
                Protocol::Http => None,
                Protocol::Socks { .. } => Some(outgoing.origin().ok_or(Fault::Connect)?),
            },
        })
    }

    /// Puts a request into the form that the protocol wants.
    fn address_to(&self, request: &mut Request<ReplayableBody>, handle: &ProxyHandle) {
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
