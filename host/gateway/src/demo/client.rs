//! An HTTP client that goes through a proxy.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::stdout::Failure;

/// How a request reaches the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In absolute form.
    Plain,
    /// Through a tunnel.
    Connect,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

pub(super) struct Client {
    proxy: SocketAddr,
}

impl Client {
    pub(super) fn new(proxy: SocketAddr) -> Self {
        Self { proxy }
    }

    /// Sends a request through the proxy.
    pub(super) async fn send(
        &self,
        method: Method,
        host: &str,
        path: &str,
        way: Way,
    ) -> Result<Answer, Failure> {
        let mut sender = self.connect().await?;
        if way == Way::Plain {
            return send(sender, method, host, &format!("http://{host}{path}")).await;
        }
        let connect = request(
            Method::CONNECT,
            &format!("{host}:80"),
            &format!("{host}:80"),
        )?;
        let response = sender.send_request(connect).await?;
        if !response.status().is_success() {
            return Ok(Answer {
                status: response.status(),
                body: String::new(),
            });
        }
        let tunnel = hyper::upgrade::on(response).await?;
        let (sender, connection) = handshake(tunnel).await?;
        tokio::spawn(connection);
        send(sender, method, host, path).await
    }

    /// Asks a server directly.
    pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Answer, Failure> {
        let sender = Self::new(address).connect().await?;
        send(sender, Method::GET, &address.to_string(), path).await
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        let stream = TcpStream::connect(self.proxy).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }
}

async fn send(
    mut sender: SendRequest<Empty<Bytes>>,
    method: Method,
    host: &str,
    uri: &str,
) -> Result<Answer, Failure> {
    let response = sender.send_request(request(method, host, uri)?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn request(method: Method, host: &str, uri: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let builder = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, host);
    Ok(builder.body(Empty::new())?)
}
