//! CONNECT: a tunnel through an upstream proxy, and the bytes in both directions until one side ends it.

use std::borrow::Cow;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::http::uri::Authority;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use remora_host::ProxyHandle;
use remora_http::{Fault, TunnelTraffic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::admission::InFlightPermit;
use crate::attempt::{Answered, AnsweredLease, Exchange, Settled};
use crate::config::Timeouts;
use crate::lease::RequestGuard;
use crate::upstream::{Upstream, UpstreamTunnel};

/// A CONNECT request.
pub(crate) struct Connect {
    /// The target with its port.
    pub(crate) target: Authority,
}

impl Exchange for Connect {
    type Answer = UpstreamTunnel;

    fn method(&self) -> &Method {
        &Method::CONNECT
    }

    fn host(&self) -> &str {
        self.target.host()
    }

    fn target(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.target.as_str())
    }

    async fn send(
        &self,
        upstream: &Arc<Upstream>,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<Answered<UpstreamTunnel>, Fault> {
        Ok(Answered {
            answer: upstream.tunnel(&self.target, handle, timeouts).await?,
            status: StatusCode::OK,
            end: None,
        })
    }

    fn is_repeatable(&self, after: Option<Fault>) -> bool {
        after.is_none_or(Fault::is_retriable)
    }
}

/// A tunnel that an upstream proxy has opened; the client's side follows once the client has its response.
#[derive(Debug)]
pub(crate) struct Tunnel {
    client: OnUpgrade,
    upstream: UpstreamTunnel,
    guard: Option<RequestGuard>,
    /// The tunnel ends when nothing has moved for so long.
    idle: Duration,
    _permit: Option<InFlightPermit>,
}

impl Tunnel {
    pub(crate) fn new(
        client: OnUpgrade,
        settled: Settled<UpstreamTunnel>,
        idle: Duration,
        permit: Option<InFlightPermit>,
    ) -> Self {
        Self {
            client,
            upstream: settled.answer,
            guard: settled.lease.map(|AnsweredLease { guard, .. }| guard),
            idle,
            _permit: permit,
        }
    }

    /// Carries bytes until it is over.
    pub(crate) async fn carry(self) {
        let Ok(client) = self.client.await else {
            // Gone before its response; the guard cancels the lease.
            return;
        };
        let Ok(client) = client.downcast::<TokioIo<TcpStream>>() else {
            return;
        };
        let (moved, first_end) = (AtomicU64::new(0), FirstEnd::default());
        let answered = Notify::new();
        let mut near = CountingIo::new(client.io.into_inner(), client.read_buf, &moved);
        near.ended = Some((&first_end, Side::Client));
        let mut far = CountingIo::new(self.upstream.io, self.upstream.early, &moved);
        far.ended = Some((&first_end, Side::Upstream));
        far.began = Some(&answered);
        let mut guard = self.guard;
        let (mut is_answered, mut timed_out) = (false, false);
        {
            let mut copying = pin!(copy_bidirectional(&mut near, &mut far));
            loop {
                let before = moved.load(Ordering::Relaxed);
                tokio::select! {
                    // A tunnel lasts as long as it likes; nothing that follows its first byte changes the outcome.
                    () = answered.notified(), if !is_answered => {
                        is_answered = true;
                        if let Some(guard) = &mut guard {
                            guard.succeed();
                        }
                    }
                    carried = &mut copying => {
                        tracing::debug!(?carried, "a tunnel ended");
                        break;
                    }
                    () = sleep(self.idle) => if moved.load(Ordering::Relaxed) == before {
                        tracing::debug!("a tunnel ended: nothing moved");
                        timed_out = true;
                        break;
                    }
                }
            }
        }
        let traffic = TunnelTraffic {
            sent: near.read > 0,
            received: far.read > 0,
            client_left: first_end.is(Side::Client),
            timed_out,
        };
        if let Some(guard) = guard {
            guard.finish(traffic.outcome());
        }
    }
}

/// A side of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client = 1,
    Upstream = 2,
}

/// The side of a tunnel that ended first.
#[derive(Debug, Default)]
struct FirstEnd(AtomicU8);

impl FirstEnd {
    fn note(&self, side: Side) {
        // The second end changes nothing.
        let _ = self
            .0
            .compare_exchange(0, side as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is(&self, side: Side) -> bool {
        self.0.load(Ordering::Relaxed) == side as u8
    }
}

/// One side of a tunnel: counts the bytes read, and notes the end.
struct CountingIo<'a, T> {
    io: T,
    /// Bytes that were read before the tunnel began.
    early: Bytes,
    read: u64,
    moved: &'a AtomicU64,
    /// Told when the first byte has been read.
    began: Option<&'a Notify>,
    ended: Option<(&'a FirstEnd, Side)>,
}

impl<'a, T> CountingIo<'a, T> {
    fn new(io: T, early: Bytes, moved: &'a AtomicU64) -> Self {
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

impl<T: AsyncRead + Unpin> AsyncRead for CountingIo<'_, T> {
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
            if let Some((first_end, side)) = self.ended.filter(|_| read.is_err() || count == 0) {
                first_end.note(side);
            }
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for CountingIo<'_, T> {
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
