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
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::body::Body;
use crate::config::Limits;
use crate::gateway::Opened;
use crate::tenants::Tenants;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4_096;

/// How often it is looked for connections to upstream proxies that nobody uses any more.
const SWEEP: Duration = Duration::from_secs(20);

/// A client that is gone without a word is found out after so long.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// All that is served, listening.
#[derive(Debug)]
pub struct Server {
    tenants: Arc<Tenants>,
    limits: Limits,
    listener: TcpListener,
    admin: Option<(TcpListener, Admin)>,
}

impl Server {
    /// Starts to listen, and to record where that is asked for.
    ///
    /// # Errors
    ///
    /// What the system says, with the address or the file that it is about.
    pub fn bind(
        tenants: Arc<Tenants>,
        limits: Limits,
        listen: SocketAddr,
        admin: Option<(SocketAddr, Admin)>,
    ) -> io::Result<Self> {
        let server = Self {
            tenants,
            limits,
            listener: bind(listen, limits.idle)?,
            admin: match admin {
                Some((address, admin)) => Some((bind(address, limits.idle)?, admin)),
                None => None,
            },
        };
        // Not before: one that is started twice leaves no second file.
        server.tenants.begin_record().map_err(io::Error::other)?;
        Ok(server)
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
        let admin = self.admin.as_ref();
        admin.map(|(listener, _)| listener.local_addr()).transpose()
    }

    /// Serves until `stop`, then lets what has begun finish until `cut`. Answers whether all of it did. What did not
    /// has been ended, and its leases are given back.
    pub async fn run(self, stop: impl Future<Output = ()>, cut: impl Future<Output = ()>) -> bool {
        let (stopping, stopped) = watch::channel(false);
        let cutting = CancellationToken::new();
        let tenants = self.tenants.clone();
        let service = move |connection: TcpStream, stopped| {
            client(connection, tenants.clone(), self.limits, stopped)
        };
        let proxied = tokio::spawn(accept(
            self.listener,
            self.limits.max_connections,
            stopped.clone(),
            cutting.clone(),
            service,
        ));
        let admin = self.admin.map(|(listener, admin)| {
            let tenants = self.tenants.clone();
            let service = move |connection: TcpStream, stopped| {
                operator(connection, tenants.clone(), admin.clone(), stopped)
            };
            let cutting = cutting.clone();
            tokio::spawn(accept(listener, MAX_OPERATORS, stopped, cutting, service))
        });
        let tenants = self.tenants;
        let sweeping = tokio::spawn(async move {
            let mut ticks = interval(SWEEP);
            loop {
                ticks.tick().await;
                tenants.sweep();
            }
        });
        stop.await;
        sweeping.abort();
        // Every listener closes; connections get to finish the request they are at.
        let _ = stopping.send(true);
        let drained = async {
            let _ = proxied.await;
            if let Some(admin) = admin {
                let _ = admin.await;
            }
        };
        let mut drained = pin!(drained);
        tokio::select! {
            () = drained.as_mut() => return true,
            () = cut => cutting.cancel(),
        }
        drained.await;
        false
    }
}

/// How many connections the admin interface serves at a time.
const MAX_OPERATORS: usize = 64;

/// A socket that listens. What is set here, the sockets of the connections inherit.
fn bind(address: SocketAddr, idle: Duration) -> io::Result<TcpListener> {
    let listen = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        // Small writes should not wait for each other.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
        // Who leaves the window shut is gone, too: the kernel knows better than a timer beside every write.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(idle))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Accepts until it is stopped, then waits for the connections.
async fn accept<F, C>(
    listener: TcpListener,
    most: usize,
    mut stopped: watch::Receiver<bool>,
    cutting: CancellationToken,
    serve: F,
) where
    F: Fn(TcpStream, watch::Receiver<bool>) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &places) => accepted,
            _ = stopped.changed() => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: some come back when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let served = cutting
            .clone()
            .run_until_cancelled_owned(serve(stream, stopped.clone()));
        connections.spawn(async move {
            served.await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = match places.clone().try_acquire_owned() {
        Ok(place) => place,
        Err(_) => {
            tracing::warn!("as many connections as `limits.max_connections` allows: others wait");
            let place = places.clone().acquire_owned().await;
            place.map_err(|_| io::Error::from(io::ErrorKind::Other))?
        }
    };
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// Serves a client's connection: requests, and then the tunnel that it may become.
async fn client(
    stream: TcpStream,
    tenants: Arc<Tenants>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) {
    let all = tenants.clone();
    let _open = Counted::new(&all.traffic().connections);
    let opened = Arc::new(Opened::default());
    // In a box: it is moved several times before it runs, and an idle connection has no use for its room.
    let serve = |request| {
        let (tenants, opened) = (tenants.clone(), opened.clone());
        Box::pin(async move { tenants.serve(request, &opened).await })
    };
    requests(stream, limits, stopped, serve).await;
    let tunnel = opened.lock().take();
    if let Some(tunnel) = tunnel {
        let _open = Counted::new(&all.traffic().tunnels);
        tunnel.carry().await;
    }
}

/// Serves a connection to the admin interface.
async fn operator(
    stream: TcpStream,
    tenants: Arc<Tenants>,
    admin: Admin,
    stopped: watch::Receiver<bool>,
) {
    let limits = Limits {
        max_connections: MAX_OPERATORS,
        max_header_bytes: 16 << 10,
        client: Duration::from_secs(30),
        idle: Duration::from_secs(30),
    };
    let serve = |request| {
        let (tenants, admin) = (tenants.clone(), admin.clone());
        async move { admin.serve(&tenants, request).await }
    };
    requests(stream, limits, stopped, serve).await;
}

async fn requests<A>(
    stream: TcpStream,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    serve: impl Fn(Request<Incoming>) -> A,
) where
    A: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let answer = serve(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client)
        .max_buf_size(limits.max_header_bytes.max(8_192))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
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
}

/// One more, as long as it is there.
struct Counted<'a>(&'a prometheus_client::metrics::gauge::Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a prometheus_client::metrics::gauge::Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
