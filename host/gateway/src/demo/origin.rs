//! A site that treats the IP address as part of the session, as most do.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// Who logged in from where, by host.
type Logins = Arc<Mutex<HashMap<String, IpAddr>>>;

/// Starts it; it runs as long as the process.
pub(super) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let logins = Logins::default();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let logins = logins.clone();
            let service = service_fn(move |request| {
                let response = serve(&request, peer.ip(), &logins);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

/// Answers with the address that the request came from.
fn serve(request: &Request<Incoming>, from: IpAddr, logins: &Logins) -> Response<Full<Bytes>> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default().to_owned();
    let mut response = Response::new(Full::new(from.to_string().into()));
    match request.uri().path() {
        "/login" => {
            logins.lock().insert(host, from);
        }
        "/session" | "/account" if logins.lock().get(&host) != Some(&from) => {
            // The login came from another address: suspicious.
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        _ => {}
    }
    response
}
