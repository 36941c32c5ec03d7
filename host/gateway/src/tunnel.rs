//! CONNECT: bytes in both directions, until one side has had enough.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use remora_host::ProxyHandle;
use remora_http::TunnelTraffic;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::tenants::Place;
use crate::ticket::Ticket;
use crate::upstream::{Far, Stream};

/// A tunnel that is open at the far side; the client's side follows once it has been told.
#[derive(Debug)]
pub(crate) struct Tunnel {
    client: OnUpgrade,
    far: Far,
    ticket: Ticket,
    /// It ends when nothing has moved for so long.
    idle: Duration,
    /// What it occupies until it is over.
    _place: Option<Place>,
}

impl Tunnel {
    pub(crate) fn new(
        client: OnUpgrade,
        far: Far,
        ticket: Ticket,
        idle: Duration,
        place: Option<Place>,
    ) -> Self {
        Self {
            client,
            far,
            ticket,
            idle,
            _place: place,
        }
    }

    /// Carries bytes until it is over.
    pub(crate) async fn carry(self) {
        let Ok(client) = self.client.await else {
            // Gone before it could be told; the ticket says so when it is dropped.
            return;
        };
        let Ok(client) = client.downcast::<TokioIo<TcpStream>>() else {
            return;
        };
        let moved = AtomicU64::new(0);
        let left = AtomicBool::new(false);
        let answered = Notify::new();
        let near = Stream::Tcp(client.io.into_inner());
        let mut near = Metered::new(near, client.read_buf, &moved);
        near.ended = Some(&left);
        let mut far = Metered::new(self.far.io, self.far.early, &moved);
        let mut ticket = Some(self.ticket);
        // A breaker waits for its probe, for `half_open_after` at most, and a tunnel lasts as long as it likes. Once
        // something has come back, nothing that follows changes the verdict.
        let probing = ticket
            .as_ref()
            .and_then(Ticket::handle)
            .is_some_and(ProxyHandle::is_probe);
        far.began = probing.then_some(&answered);
        {
            let mut copying = pin!(copy_bidirectional(&mut near, &mut far));
            loop {
                let before = moved.load(Ordering::Relaxed);
                tokio::select! {
                    () = answered.notified(), if probing => if let Some(ticket) = ticket.take() {
                        ticket.finish(TunnelTraffic { received: true, ..TunnelTraffic::default() }.outcome());
                    },
                    carried = &mut copying => {
                        tracing::debug!(?carried, "a tunnel ended");
                        break;
                    }
                    () = sleep(self.idle) => if moved.load(Ordering::Relaxed) == before {
                        tracing::debug!("a tunnel ended: nothing moved");
                        // Where it has not even asked for anything, nobody is to blame.
                        left.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }
        let traffic = TunnelTraffic {
            sent: near.read > 0,
            received: far.read > 0,
            client_left: left.load(Ordering::Relaxed),
        };
        if let Some(ticket) = ticket {
            ticket.finish(traffic.outcome());
        }
    }
}

/// One side: counts what is read from it, and notes when it ends.
struct Metered<'a> {
    io: Stream,
    /// What was read from it before it was a tunnel's.
    early: Bytes,
    read: u64,
    moved: &'a AtomicU64,
    /// Told when the first byte has been read.
    began: Option<&'a Notify>,
    ended: Option<&'a AtomicBool>,
}

impl<'a> Metered<'a> {
    fn new(io: Stream, early: Bytes, moved: &'a AtomicU64) -> Self {
        Self {
            io,
            early,
            read: 0,
            moved,
            began: None,
            ended: None,
        }
    }

    fn count(&mut self, bytes: usize) {
        if bytes > 0
            && let Some(began) = self.began.take()
        {
            began.notify_one();
        }
        self.read += bytes as u64;
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl AsyncRead for Metered<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(count));
            self.count(count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        if let Poll::Ready(read) = &polled {
            let count = buffer.filled().len() - before;
            self.count(count);
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
