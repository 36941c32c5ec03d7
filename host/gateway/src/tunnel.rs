//! CONNECT: bytes in both directions, until one side has had enough.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio_util::task::TaskTracker;

use crate::classify::{self, Flow};
use crate::config::Timeouts;
use crate::forward::fail;
use crate::reply::{self, Body};
use crate::ticket::Ticket;
use crate::upstream::Upstream;

/// Opens a tunnel through the upstream; it goes on in a task of `tunnels`.
pub(crate) async fn tunnel(
    request: Request<Incoming>,
    authority: Uri,
    mut ticket: Ticket,
    upstream: Arc<Upstream>,
    timeouts: &Timeouts,
    tunnels: &TaskTracker,
) -> Response<Body> {
    let far = match upstream.tunnel(&authority, timeouts).await {
        Ok(far) => far,
        Err(fault) => return fail(ticket, fault),
    };
    ticket.set_status(StatusCode::OK);
    let client = hyper::upgrade::on(request);
    tunnels.spawn(carry(client, far, ticket));
    Response::new(reply::full(""))
}

async fn carry(client: OnUpgrade, far: Upgraded, ticket: Ticket) {
    let Ok(client) = client.await else {
        // Gone before it could be told; the ticket says so when it is dropped.
        return;
    };
    let left = AtomicBool::new(false);
    let mut client = Metered::new(client, Some(&left));
    let mut far = Metered::new(far, None);
    let carried = copy_bidirectional(&mut client, &mut far).await;
    tracing::debug!(?carried, "a tunnel ended");
    ticket.finish(classify::tunnel(Flow {
        sent: client.read,
        received: far.read,
        client_left: left.load(Ordering::Relaxed),
    }));
}

/// Counts what is read from one side, and notes when that side ends.
struct Metered<'a> {
    io: TokioIo<Upgraded>,
    read: u64,
    ended: Option<&'a AtomicBool>,
}

impl<'a> Metered<'a> {
    fn new(io: Upgraded, ended: Option<&'a AtomicBool>) -> Self {
        Self {
            io: TokioIo::new(io),
            read: 0,
            ended,
        }
    }
}

impl AsyncRead for Metered<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        if let Poll::Ready(read) = &polled {
            let count = (buffer.filled().len() - before) as u64;
            self.read += count;
            if let Some(ended) = self.ended.filter(|_| read.is_err() || count == 0) {
                ended.store(true, Ordering::Relaxed);
            }
        }
        polled
    }
}

impl AsyncWrite for Metered<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
