//! A small upstream proxy with an exit IP of its own.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::headers;
use crate::stdout::Failure;

type Body = Either<Incoming, Full<Bytes>>;

const USER: &str = "demo";
const PASSWORD: &str = "sesame";

/// A proxy that can be killed and started again on the same port.
pub(super) struct Exit {
    pub(super) ip: IpAddr,
    origin: SocketAddr,
    address: SocketAddr,
    running: JoinHandle<()>,
}

impl Exit {
    /// Starts one whose connections to the origin come from `ip`.
    pub(super) async fn start(ip: IpAddr, origin: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            ip,
            origin,
            address: listener.local_addr()?,
            running: tokio::spawn(accept(listener, ip, origin)),
        })
    }

    /// With its credentials.
    pub(super) fn url(&self) -> String {
        format!("http://{USER}:{PASSWORD}@{}", self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and every connection it has.
    pub(super) async fn kill(&mut self) {
        self.running.abort();
        let _ = (&mut self.running).await;
    }

    pub(super) async fn restart(&mut self) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        self.running = tokio::spawn(accept(socket.listen(64)?, self.ip, self.origin));
        Ok(())
    }
}

async fn accept(listener: TcpListener, ip: IpAddr, origin: SocketAddr) {
    // Dropped with this task, and with it every connection.
    let mut connections = JoinSet::new();
    let expected: Arc<str> =
        format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}"))).into();
    while let Ok((stream, _)) = listener.accept().await {
        let expected = expected.clone();
        let service = service_fn(move |request| {
            let expected = expected.clone();
            async move { Ok::<_, Infallible>(serve(request, ip, origin, &expected).await) }
        });
        connections.spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    ip: IpAddr,
    origin: SocketAddr,
    expected: &str,
) -> Response<Body> {
    let shown = request.headers().get(header::PROXY_AUTHORIZATION);
    if shown.is_none_or(|shown| shown != expected) {
        let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        return text(status, "who are you?".into());
    }
    let answer = match connect(ip, origin).await {
        Ok(stream) if request.method() == Method::CONNECT => Ok(tunnel(request, stream)),
        Ok(stream) => forward(request, stream).await,
        Err(error) => Err(Failure::from(error)),
    };
    answer.unwrap_or_else(|error| text(StatusCode::BAD_GATEWAY, error.to_string()))
}

fn text(status: StatusCode, line: String) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from(line)));
    *response.status_mut() = status;
    response
}

/// Every name resolves to the origin here.
async fn connect(ip: IpAddr, origin: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(ip, 0))?;
    socket.connect(origin).await
}

fn tunnel(request: Request<Incoming>, mut stream: TcpStream) -> Response<Body> {
    tokio::spawn(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut stream).await;
        }
    });
    text(StatusCode::OK, String::new())
}

async fn forward(
    mut request: Request<Incoming>,
    stream: TcpStream,
) -> Result<Response<Body>, Failure> {
    headers::strip(request.headers_mut());
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    Ok(response.map(Either::Left))
}
