//! Listening sockets and the connections of clients: each request goes to the router, and a CONNECT that succeeds
//! becomes a tunnel.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::forward::ResponseBody;
use crate::router::{Answer, Router};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Idle time after which TCP probes whether a client is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A listening socket. The sockets of its connections inherit its options.
pub(crate) fn bind(address: SocketAddr, idle: Duration) -> io::Result<TcpListener> {
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
        // A client that leaves its window shut is gone, too: cheaper in the kernel than by a timer for every write.
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

/// When connections end: gracefully, and at once.
#[derive(Clone)]
pub(crate) struct Shutdown {
    /// Listeners close, and connections finish the request they are at.
    pub(crate) graceful: watch::Receiver<bool>,
    /// Every connection is dropped.
    pub(crate) immediate: CancellationToken,
}

/// The tasks of a listener.
#[derive(Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    immediate: CancellationToken,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let immediate = self.immediate.clone();
        self.tracker.spawn(async move {
            immediate.run_until_cancelled_owned(task).await;
        });
    }
}

/// An accepted connection.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    /// Held as long as the connection counts against `limits.max_connections`.
    pub(crate) slot: OwnedSemaphorePermit,
    /// For a task that outlives the one of the connection.
    pub(crate) tasks: Tasks,
    pub(crate) stopped: watch::Receiver<bool>,
}

/// Accepts connections until the shutdown, then waits for their tasks.
pub(crate) async fn accept<F, C>(
    listener: TcpListener,
    max_connections: usize,
    shutdown: Shutdown,
    serve: F,
) where
    F: Fn(Accepted) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let Shutdown {
        graceful: mut stopped,
        immediate,
    } = shutdown;
    let tracker = TaskTracker::new();
    let tasks = Tasks {
        tracker: tracker.clone(),
        immediate,
    };
    let slots = Arc::new(Semaphore::new(max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &slots) => accepted,
            _ = stopped.changed() => break,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: some come back when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        tasks.spawn(serve(Accepted {
            stream,
            slot,
            tasks: tasks.clone(),
            stopped: stopped.clone(),
        }));
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

/// The next connection, once there is a slot for it.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = match slots.clone().try_acquire_owned() {
        Ok(slot) => slot,
        Err(_) => {
            tracing::warn!("as many connections as `limits.max_connections` allows: others wait");
            let slot = slots.clone().acquire_owned().await;
            slot.map_err(|_| io::Error::from(io::ErrorKind::Other))?
        }
    };
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// A client's connection, until its last request or its tunnel is over.
struct Client {
    router: Arc<Router>,
    tasks: Tasks,
    _slot: OwnedSemaphorePermit,
    _open: Counted,
}

impl Client {
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        match self.router.serve(request).await {
            Answer::Response(response) => response,
            Answer::Tunnel(tunnel) => {
                let open = Counted::new(&self.router.traffic().tunnels);
                self.tasks.clone().spawn(async move {
                    tunnel.carry().await;
                    drop((open, self));
                });
                Response::new(Either::Left(Full::default()))
            }
        }
    }
}

/// Serves a client's connection.
pub(crate) async fn client(accepted: Accepted, router: Arc<Router>, limits: Limits) {
    let client = Arc::new(Client {
        _open: Counted::new(&router.traffic().connections),
        router,
        tasks: accepted.tasks,
        _slot: accepted.slot,
    });
    // In a box: it is moved several times before it runs, and an idle connection has no use for its room.
    let serve = |request| Box::pin(client.clone().serve(request));
    requests(accepted.stream, limits, accepted.stopped, serve).await;
}

/// Serves the requests of a connection, until it ends or becomes a tunnel.
pub(crate) async fn requests<A, B>(
    stream: TcpStream,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    serve: impl Fn(Request<Incoming>) -> A,
) where
    A: Future<Output = Response<B>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
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

/// Counts in a gauge as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
