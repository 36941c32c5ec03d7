//! Connections to upstream proxies, and tunnels through them to a target.

use std::future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use remora_host::Credentials;
use remora_http::{Fault, ResponseSource};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error, TargetAddr};
use tokio_util::either::Either;

use super::tls::Trust;

/// A connection to an upstream proxy, in the clear or by TLS.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A tunnel through an upstream proxy.
#[derive(Debug)]
pub(crate) struct UpstreamTunnel {
    pub(crate) io: Stream,
    /// Bytes that were read behind the answer to CONNECT.
    pub(crate) early: Bytes,
}

/// The address of a proxy.
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
        let addresses = self.addresses(limit).await?;
        let connecting = async {
            let stream = TcpStream::connect(&*addresses).await;
            let stream = stream.map_err(|error| {
                tracing::debug!(%error, host = self.host, "no connection to an upstream proxy");
                match error {
                    error if is_ours(&error) => Fault::Exhausted,
                    _ => Fault::Connect,
                }
            })?;
            // Small writes should not wait for each other; a socket that cannot is as good as one that can.
            let _ = stream.set_nodelay(true);
            let Some(trust) = &self.tls else {
                return Ok(Either::Left(stream));
            };
            let name = ServerName::try_from(self.host.clone()).map_err(|_| Fault::Tls)?;
            let stream = trust.connector().connect(name, stream).await;
            let stream = stream.map_err(|error| {
                tracing::debug!(%error, host = self.host, "no TLS with an upstream proxy");
                Fault::Tls
            })?;
            Ok(Either::Right(Box::new(stream)))
        };
        timeout(limit, connecting)
            .await
            .map_err(|_| Fault::ConnectTimeout)?
    }

    /// The addresses of the proxy. The resolver of this machine has a limit of its own: one that does not answer is no fault of
    /// the proxy.
    async fn addresses(&self, limit: Duration) -> Result<Vec<SocketAddr>, Fault> {
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let found = timeout(limit, lookup_host((&*self.host, self.port))).await;
        let found = found.map_err(|_| Fault::ResolveProxy)?;
        let found = found.map_err(|error| {
            tracing::debug!(%error, host = self.host, "the name of an upstream proxy does not resolve");
            match error {
                error if is_ours(&error) => Fault::Exhausted,
                error if is_resolver_down(&error) => Fault::ResolveProxy,
                _ => Fault::Connect,
            }
        })?;
        Ok(found.collect())
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

/// Whether the resolver of this machine does not answer (EAI_AGAIN). The standard library keeps the words of `gai_strerror` only;
/// they are those of the C locale, which this process never leaves.
fn is_resolver_down(error: &std::io::Error) -> bool {
    error.raw_os_error().is_none()
        && error
            .to_string()
            .contains("Temporary failure in name resolution")
}

/// Asks an HTTP proxy for a tunnel to `target` (`host:port`).
pub(super) async fn tunnel(
    stream: Stream,
    target: &Authority,
    authorization: Option<HeaderValue>,
) -> Result<UpstreamTunnel, Fault> {
    let mut request = Request::new(Empty::<Bytes>::new());
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
    let response = response.await.map_err(|error| match error.is_parse() {
        true => Fault::HandshakeMalformed,
        false => Fault::Reset,
    })?;
    match response.status() {
        status if status.is_success() => {}
        status if ResponseSource::ProxyOrTarget.refuses_credentials(status.as_u16()) => {
            return Err(Fault::Credentials);
        }
        status => return Err(Fault::ConnectRefused(status.as_u16())),
    }
    let parts = match ended {
        Some(parts) => parts,
        None => connection.await,
    };
    let parts = parts.map_err(|_| Fault::Reset)?;
    Ok(UpstreamTunnel {
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
) -> Result<UpstreamTunnel, Fault> {
    let host = target.host().trim_matches(['[', ']']);
    let port = target.port_u16().unwrap_or(80);
    let target = match host.parse() {
        Ok(ip) => TargetAddr::Ip(SocketAddr::new(ip, port)),
        Err(_) if resolve_here => TargetAddr::Ip(resolve(host, port).await?),
        Err(_) => TargetAddr::Domain(host.into(), port),
    };
    let opened = match &credentials {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some(Credentials { username, password }) => {
            let password = password.as_deref().unwrap_or_default();
            Socks5Stream::connect_with_password_and_socket(stream, target, username, password).await
        }
    };
    match opened {
        Ok(tunnel) => Ok(UpstreamTunnel {
            io: tunnel.into_inner(),
            early: Bytes::new(),
        }),
        Err(error) => {
            tracing::debug!(%error, "a SOCKS5 proxy did not open a tunnel");
            Err(match error {
                Error::PasswordAuthFailure(_)
                | Error::NoAcceptableAuthMethods
                | Error::AuthorizationRequired => Fault::Credentials,
                Error::GeneralSocksServerFailure
                | Error::ConnectionNotAllowedByRuleset
                | Error::NetworkUnreachable
                | Error::HostUnreachable
                | Error::ConnectionRefused
                | Error::TtlExpired
                | Error::CommandNotSupported
                | Error::AddressTypeNotSupported
                // A reply beyond those of RFC 1928, as Tor has them.
                | Error::UnknownAuthMethod => Fault::SocksRefused,
                // Closed before it answered, which a target may cause, too.
                Error::Io(_) => Fault::Reset,
                _ => Fault::HandshakeMalformed,
            })
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, Fault> {
    let found = lookup_host((host, port)).await;
    let first = found.ok().and_then(|mut all| all.next());
    first.ok_or(Fault::Resolve)
}
