//! An upstream proxy and its targets in one: it answers every request, and in a tunnel, too.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

use crate::subject::{OTHERS_CORE, free_port, myself, wait_for};

pub struct Far {
    pub port: u16,
    process: Child,
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn start() -> Far {
    let port = free_port();
    let mut command = myself(OTHERS_CORE);
    let process = command
        .args(["far", &port.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(port);
    Far { port, process }
}

pub fn run(port: u16) {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket
            .bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            .unwrap();
        let listener = socket.listen(4_096).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let served = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .with_upgrades();
                let _ = served.await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::CONNECT {
        return Ok(Response::new(Full::from("hello from the far side\n")));
    }
    tokio::spawn(async move {
        let Ok(stream) = hyper::upgrade::on(request).await else {
            return;
        };
        let served = http1::Builder::new().serve_connection(stream, service_fn(inside));
        let _ = served.await;
    });
    Ok(Response::new(Full::default()))
}

async fn inside(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello from inside\n")))
}
