//! Accepts connections, and stops gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::gateway::Gateway;
use crate::reply::Body;

/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);

/// A gateway that is listening.
#[derive(Debug)]
pub struct Server {
    gateway: Arc<Gateway>,
    listener: TcpListener,
    admin: Option<TcpListener>,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// What the system says, with the address that it is about.
    pub async fn bind(
        gateway: Gateway,
        listen: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> io::Result<Self> {
        Ok(Self {
            gateway: Arc::new(gateway),
            listener: bind(listen).await?,
            admin: match admin {
                Some(address) => Some(bind(address).await?),
                None => None,
            },
        })
    }

    /// Where clients connect.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where the admin interface is.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `stop`, then lets what has begun finish for up to `patience`. Answers whether all of it
    /// did.
    pub async fn run(self, stop: impl Future<Output = ()>, patience: Duration) -> bool {
        let (stopping, stopped) = watch::channel(false);
        let gateway = self.gateway.clone();
        let proxied = tokio::spawn(accept(self.listener, stopped.clone(), move |request| {
            let gateway = gateway.clone();
            async move { gateway.serve(request).await }
        }));
        let admin = self.admin.map(|listener| {
            let manager = self.gateway.manager().clone();
            tokio::spawn(accept(listener, stopped, move |request| {
                let manager = manager.clone();
                async move { admin::serve(&manager, &request).await }
            }))
        });
        stop.await;
        // Every listener closes; connections get to finish the request they are at.
        let _ = stopping.send(true);
        let drained = async {
            let _ = proxied.await;
            if let Some(admin) = admin {
                let _ = admin.await;
            }
            self.gateway.tunnels.close();
            self.gateway.tunnels.wait().await;
        };
        timeout(patience, drained).await.is_ok()
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Accepts until it is stopped, then waits for the connections.
async fn accept<F, A>(listener: TcpListener, mut stopped: watch::Receiver<bool>, serve: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: some come back when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Small writes should not wait for each other; a socket that cannot is as good as one that can.
        let _ = stream.set_nodelay(true);
        let serve = serve.clone();
        let service = service_fn(move |request| {
            let answer = serve(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut stopped = stopped.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopped.changed() => {
                    // The request at hand is answered, no other one is read.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a client's connection ended badly");
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}
