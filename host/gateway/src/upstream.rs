//! Connections to upstream proxies.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use remora_host::{Error, Proxy, ProxyHandle, ProxyType};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::classify::Fault;
use crate::config::Timeouts;
use crate::reply::Body;
use crate::upload::Upload;

/// How long an idle connection is kept. Shorter than the idle timeouts of common proxies, so that a
/// request rarely meets one that is just being closed.
const IDLE: Duration = Duration::from_secs(20);

/// How many idle connections are kept to one proxy.
const MAX_IDLE: usize = 128;

/// The upstream proxies, by id.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    all: RwLock<HashMap<Uuid, Arc<Upstream>>>,
}

impl Upstreams {
    /// The upstream of a lease; made at its first one.
    pub(crate) fn of(&self, handle: &ProxyHandle) -> Result<Arc<Upstream>, Error> {
        if let Some(upstream) = self.all.read().get(&handle.proxy_id()) {
            return Ok(upstream.clone());
        }
        let upstream = Arc::new(Upstream::new(handle.proxy())?);
        let mut all = self.all.write();
        Ok(all.entry(handle.proxy_id()).or_insert(upstream).clone())
    }
}

/// One upstream proxy.
pub(crate) struct Upstream {
    /// `host:port`.
    address: String,
    /// Marked as sensitive, so that no log shows it.
    authorization: Option<HeaderValue>,
    idle: Mutex<Vec<(SendRequest<Body>, Instant)>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Only `http://` proxies so far; the configuration refuses others.
    fn new(proxy: &Proxy) -> Result<Self, Error> {
        let invalid = |value: String, accepted: &str| {
            Error::Invalid(remora_host::Invalid {
                field: "proxy.url".into(),
                value,
                accepted: accepted.into(),
            })
        };
        if proxy.proxy_type != ProxyType::Http {
            let scheme = format!("{}://…", proxy.proxy_type.scheme());
            return Err(invalid(
                scheme,
                "http:// (others come with a later version)",
            ));
        }
        let authorization = match (&proxy.username, &proxy.password) {
            (None, _) => None,
            (Some(user), password) => {
                let pair = format!("{user}:{}", password.as_deref().unwrap_or(""));
                let value = format!("Basic {}", STANDARD.encode(pair));
                let value = HeaderValue::from_str(&value).map_err(|_| {
                    invalid("(credentials)".into(), "credentials that fit a header")
                })?;
                Some(value)
            }
        };
        Ok(Self {
            address: proxy.url.trim_start_matches("http://").to_owned(),
            authorization: authorization.map(|mut value| {
                value.set_sensitive(true);
                value
            }),
            idle: Mutex::default(),
        })
    }

    fn authorize<T>(&self, request: &mut Request<T>) {
        if let Some(value) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(header::PROXY_AUTHORIZATION, value.clone());
        }
    }

    /// Sends a request in absolute form. Answers with the response, and with the connection to hand back
    /// through [`Upstream::keep`] once the response has been read.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
        upload: &Upload,
        timeouts: &Timeouts,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), Fault> {
        self.authorize(&mut request);
        // An upstream may close an idle connection at any time, some do after every response without saying
        // so. Only what can be sent again goes out on one (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
        if let Some(again) = repeatable(&request)
            && let Some(mut sender) = self.take_idle()
        {
            let answer = sender.send_request(request);
            match upload.head(answer, timeouts.head).await? {
                Ok(response) => return Ok((response, sender)),
                Err(_) => request = again,
            }
        }
        let mut sender = self.connect(timeouts).await?;
        let answer = sender.send_request(request);
        match upload.head(answer, timeouts.head).await? {
            Ok(response) => Ok((response, sender)),
            Err(_) if upload.is_broken() => Err(Fault::ClientBroke),
            Err(_) => Err(Fault::Reset),
        }
    }

    /// Opens a tunnel to `authority` (`host:port`).
    pub(crate) async fn tunnel(
        &self,
        authority: &Uri,
        timeouts: &Timeouts,
    ) -> Result<Upgraded, Fault> {
        let mut request = Request::new(crate::reply::full(""));
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority.clone();
        let host = authority.to_string();
        let host = HeaderValue::from_str(&host).map_err(|_| Fault::Connect)?;
        request.headers_mut().insert(header::HOST, host);
        self.authorize(&mut request);
        let mut sender = self.connect(timeouts).await?;
        let answer = timeout(timeouts.connect, sender.send_request(request));
        let response = answer
            .await
            .map_err(|_| Fault::ConnectTimeout)?
            .map_err(|_| Fault::Reset)?;
        match response.status() {
            status if status.is_success() => {}
            status if status.as_u16() == 407 => return Err(Fault::Credentials),
            status => return Err(Fault::Refused(status)),
        }
        hyper::upgrade::on(response).await.map_err(|_| Fault::Reset)
    }

    async fn connect(&self, timeouts: &Timeouts) -> Result<SendRequest<Body>, Fault> {
        let stream = timeout(timeouts.connect, TcpStream::connect(&self.address));
        let stream = stream
            .await
            .map_err(|_| Fault::ConnectTimeout)?
            .map_err(|_| Fault::Connect)?;
        // Small writes should not wait for each other; a socket that cannot is as good as one that can.
        let _ = stream.set_nodelay(true);
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Fault::Connect)?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        while let Some((sender, since)) = idle.pop() {
            if since.elapsed() < IDLE && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request, once it is ready for one.
    pub(crate) async fn keep(&self, mut sender: SendRequest<Body>) {
        if sender.ready().await.is_err() {
            return;
        }
        let mut idle = self.idle.lock();
        idle.retain(|(sender, since)| since.elapsed() < IDLE && !sender.is_closed());
        if idle.len() < MAX_IDLE {
            idle.push((sender, Instant::now()));
        }
    }
}

/// A copy of a request that may be sent twice: nothing happens the second time that did not the first, and
/// there is no body that would be gone.
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(crate::reply::full(""));
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    again.headers_mut().clone_from(request.headers());
    Some(again)
}
