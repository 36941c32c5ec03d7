//! CONNECT: a tunnel through an upstream proxy, and the bytes in both directions until one side ends it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use crate::lease::AttemptGuard;
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
    guard: Option<AttemptGuard>,
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
        let moved = AtomicU64::new(0);
        let left = AtomicBool::new(false);
        let answered = Notify::new();
        let mut near = CountingIo::new(client.io.into_inner(), client.read_buf, &moved);
        near.ended = Some(&left);
        let mut far = CountingIo::new(self.upstream.io, self.upstream.early, &moved);
        let mut guard = self.guard;
        // A breaker waits for its probe, for `half_open_after` at most, and a tunnel lasts as long as it likes. Once
        // something has come back, nothing that follows changes the verdict.
        let probing = guard
            .as_ref()
            .and_then(AttemptGuard::handle)
            .is_some_and(ProxyHandle::is_probe);
        far.began = probing.then_some(&answered);
        {
            let mut copying = pin!(copy_bidirectional(&mut near, &mut far));
            loop {
                let before = moved.load(Ordering::Relaxed);
                tokio::select! {
                    () = answered.notified(), if probing => if let Some(guard) = guard.take() {
                        guard.finish(TunnelTraffic { received: true, ..TunnelTraffic::default() }.outcome());
                    },
                    carried = &mut copying => {
                        tracing::debug!(?carried, "a tunnel ended");
                        break;
                    }
                    () = sleep(self.idle) => if moved.load(Ordering::Relaxed) == before {
                        tracing::debug!("a tunnel ended: nothing moved");
                        // A client that has sent nothing is not a fault of the proxy.
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
        if let Some(guard) = guard {
            guard.finish(traffic.outcome());
        }
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
    ended: Option<&'a AtomicBool>,
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
            if let Some(ended) = self.ended.filter(|_| read.is_err() || count == 0) {
                ended.store(true, Ordering::Relaxed);
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
