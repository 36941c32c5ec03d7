//! Connecting to an upstream proxy, and through it to a target.

use std::future::{self, Ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use remora_host::Credentials;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;

use super::stream::Stream;
use super::tls::Trust;
use crate::body::Body;
use crate::classify::Fault;

/// A tunnel through an upstream proxy, and what has already come out of it.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) io: Stream,
    pub(crate) early: hyper::body::Bytes,
}

/// Where a proxy is, and what it wants to hear.
#[derive(Debug)]
pub(super) struct Address {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `None`: in the clear.
    pub(super) tls: Option<Trust>,
}

impl Address {
    /// A connection to the proxy itself.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Stream, Fault> {
        let connecting = async {
            let stream = TcpStream::connect((&*self.host, self.port)).await;
            let stream = stream.map_err(|error| {
                tracing::debug!(%error, host = self.host, "no connection to an upstream proxy");
                if is_ours(&error) {
                    Fault::Exhausted
                } else {
                    Fault::Connect
                }
            })?;
            // Small writes should not wait for each other; a socket that cannot is as good as one that can.
            let _ = stream.set_nodelay(true);
            let Some(trust) = &self.tls else {
                return Ok(Stream::Tcp(stream));
            };
            let name = ServerName::try_from(self.host.clone()).map_err(|_| Fault::Tls)?;
            let stream = trust.connector().connect(name, stream).await;
            let stream = stream.map_err(|error| {
                tracing::debug!(%error, host = self.host, "no TLS with an upstream proxy");
                Fault::Tls
            })?;
            Ok(Stream::Tls(Box::new(stream)))
        };
        timeout(limit, connecting)
            .await
            .map_err(|_| Fault::ConnectTimeout)?
    }
}

/// Whether it is this machine that is at its limits: too many files open, in the process (EMFILE) or in all of the
/// system (ENFILE), or no port left.
fn is_ours(error: &std::io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Asks an HTTP proxy for a tunnel to `target` (`host:port`).
pub(super) async fn tunnel(
    stream: Stream,
    target: &Authority,
    authorization: Option<HeaderValue>,
) -> Result<Far, Fault> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::from(target.clone());
    let host = HeaderValue::from_str(target.as_str()).map_err(|_| Fault::Connect)?;
    request.headers_mut().insert(header::HOST, host);
    if let Some(value) = authorization {
        let headers = request.headers_mut();
        headers.insert(header::PROXY_AUTHORIZATION, value);
    }
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| Fault::Connect)?;
    // In this task rather than in one of its own: the connection's life as HTTP is one answer long.
    let mut connection = pin!(connection.without_shutdown());
    let mut answer = pin!(sender.send_request(request));
    let mut ended = None;
    let response = future::poll_fn(|context| {
        if ended.is_none()
            && let Poll::Ready(parts) = connection.as_mut().poll(context)
        {
            ended = Some(parts);
        }
        answer.as_mut().poll(context)
    });
    let response = response.await.map_err(|_| Fault::Reset)?;
    match response.status() {
        status if status.is_success() => {}
        status if status.as_u16() == 407 => return Err(Fault::Credentials),
        status => return Err(Fault::Refused(status)),
    }
    let parts = match ended {
        Some(parts) => parts,
        None => connection.await,
    };
    let parts = parts.map_err(|_| Fault::Reset)?;
    Ok(Far {
        io: parts.io.into_inner(),
        early: parts.read_buf,
    })
}

/// Asks a SOCKS5 proxy for a tunnel to `target` (`host:port`).
pub(super) async fn socks(
    stream: Stream,
    target: &Authority,
    credentials: Option<Credentials>,
    resolve_here: bool,
) -> Result<Far, Fault> {
    let target = if resolve_here {
        resolve(target).await?
    } else {
        Uri::from(target.clone())
    };
    let mut socks = SocksV5::new(Uri::default(), Connected(Some(stream)));
    if let Some(Credentials { username, password }) = credentials {
        socks = socks.with_auth(username, password.unwrap_or_default());
    }
    match socks.call(target).await {
        Ok(io) => Ok(Far {
            io: io.into_inner(),
            early: hyper::body::Bytes::new(),
        }),
        Err(error) => {
            tracing::debug!(%error, "a SOCKS5 proxy did not open a tunnel");
            Err(Fault::Socks)
        }
    }
}

async fn resolve(target: &Authority) -> Result<Uri, Fault> {
    let host = target.host().trim_matches(['[', ']']);
    let port = target.port_u16().unwrap_or(80);
    let ip: IpAddr = match host.parse() {
        Ok(ip) => ip,
        Err(_) => {
            let found = lookup_host((host, port)).await;
            let first = found.ok().and_then(|mut all| all.next());
            first.ok_or(Fault::Resolve)?.ip()
        }
    };
    let address = SocketAddr::new(ip, port).to_string();
    address.parse().map_err(|_| Fault::Resolve)
}

/// A connector that is connected already.
struct Connected(Option<Stream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        future::ready(stream.ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}
