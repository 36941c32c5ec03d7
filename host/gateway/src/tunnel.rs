//! CONNECT: a tunnel through an upstream proxy, and the bytes in both directions until one side ends it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use hyper::http::uri::Authority;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use remora_config::Tunnels;
use remora_host::{Error, Outcome, ProxyHandle};
use remora_http::{Fault, TunnelTraffic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::admission::InFlightPermit;
use crate::attempt::{Answered, AnsweredLease, Exchange, Settled};
use crate::config::{Drain, Timeouts};
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
    session: SessionWatch,
    _permit: Option<InFlightPermit>,
}

impl Tunnel {
    pub(crate) fn new(
        client: OnUpgrade,
        settled: Settled<UpstreamTunnel>,
        idle: Duration,
        mut session: SessionWatch,
        permit: Option<InFlightPermit>,
    ) -> Self {
        let guard = settled.lease.map(|AnsweredLease { guard, .. }| guard);
        let acquired = guard.as_ref().and_then(RequestGuard::acquired);
        session.expires_at = acquired.and_then(|handle| instant(handle.session_expires_at()?));
        Self {
            client,
            upstream: settled.answer,
            guard,
            idle,
            session,
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
        let progress = Progress::default();
        let client_io = client.io.into_inner();
        let mut near = CountingIo::new(client_io, client.read_buf, Side::Client, &progress);
        let (io, early) = (self.upstream.io, self.upstream.early);
        let mut far = CountingIo::new(io, early, Side::Upstream, &progress);
        let (mut guard, mut session) = (self.guard, self.session);
        let mut is_answered = false;
        let end = {
            let mut copying = pin!(copy_bidirectional(&mut near, &mut far));
            let (mut seen, mut quiet_since) = (0, Instant::now());
            let mut timer = pin!(sleep_until(session.next_check(quiet_since, self.idle)));
            loop {
                tokio::select! {
                    // A tunnel lasts as long as it likes; nothing that follows its first byte changes the outcome.
                    () = progress.answered.notified(), if !is_answered => {
                        is_answered = true;
                        if let Some(guard) = &mut guard {
                            guard.succeed();
                        }
                    }
                    carried = &mut copying => {
                        tracing::debug!(?carried, "a tunnel ended");
                        break End::OfItself;
                    }
                    () = session.looked() => {}
                    () = &mut timer => {
                        let now = Instant::now();
                        timer.as_mut().reset(session.next_check(now, self.idle));
                        if progress.has_moved(&mut seen) {
                            quiet_since = now;
                        }
                        if now - quiet_since >= self.idle {
                            tracing::debug!("a tunnel ended: nothing moved");
                            break End::Idle;
                        }
                        if let Some(guard) = &guard {
                            session.look(now, now - quiet_since >= QUIET, guard);
                        }
                    }
                }
                if session.has_ended() {
                    let now = Instant::now();
                    if progress.has_moved(&mut seen) {
                        quiet_since = now;
                    }
                    // The client waits for nothing, and nothing is on its way.
                    let is_between = now - quiet_since >= QUIET && progress.is_between();
                    if session.is_over(now, is_between) {
                        tracing::debug!("a tunnel ended: its session has");
                        break End::OfSession;
                    }
                }
            }
        };
        let traffic = TunnelTraffic {
            sent: near.read > 0,
            received: far.read > 0,
            client_left: progress.first_end.get() == Some(Side::Client),
            timed_out: end == End::Idle,
        };
        if let Some(guard) = guard {
            guard.finish(match end {
                // The far side might have answered yet.
                End::OfSession if !traffic.received => Outcome::Cancelled,
                _ => traffic.outcome(),
            });
        }
    }
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One of its sides closed it.
    OfItself,
    /// Nothing moved for `timeouts.idle`.
    Idle,
    /// Its session has ended (rule 4, *an end is an end*).
    OfSession,
}

/// How long nothing has moved in a tunnel that is closed between two requests.
const QUIET: Duration = Duration::from_secs(1);

/// The time between two lookups of a session in a storage behind a network.
const NETWORKED_LOOKUPS: Duration = Duration::from_secs(5);

/// The time between two lookups for a tunnel that is never quiet.
const BUSY_LOOKUPS: Duration = Duration::from_secs(5);

/// Watches whether the session that a tunnel was opened under lasts.
pub(crate) struct SessionWatch {
    policy: Drain,
    /// The time between two lookups.
    interval: Duration,
    looked_at: Instant,
    /// When the session's time to live is over.
    expires_at: Option<Instant>,
    /// The lookup on its way.
    lookup: Option<Lookup>,
    /// When the session was first seen ended.
    ended_at: Option<Instant>,
}

type Lookup = Pin<Box<dyn Future<Output = Result<bool, Error>> + Send>>;

impl fmt::Debug for SessionWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionWatch")
            .field("policy", &self.policy)
            .field("ended_at", &self.ended_at)
            .finish_non_exhaustive()
    }
}

impl SessionWatch {
    pub(crate) fn new(policy: Drain, is_networked: bool) -> Self {
        Self {
            policy,
            interval: match is_networked {
                true => NETWORKED_LOOKUPS,
                false => QUIET,
            },
            looked_at: Instant::now(),
            expires_at: None,
            lookup: None,
            ended_at: None,
        }
    }

    /// When to look again at a tunnel that may be idle for so long.
    fn next_check(&self, now: Instant, idle: Duration) -> Instant {
        if self.policy.tunnels == Tunnels::Keep {
            return now + idle;
        }
        let next = now + QUIET.min(idle);
        match self.expires_at {
            Some(expires_at) if expires_at > now => next.min(expires_at),
            _ => next,
        }
    }

    fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Begins a lookup where one is due. One that is never quiet is looked up less often.
    ///
    /// A tunnel that failed over serves a session that has moved to its exit since, or that is still on the one that failed: it
    /// lasts for the time of the session that it was asked for under, while its own exit is there.
    fn look(&mut self, now: Instant, is_quiet: bool, guard: &RequestGuard) {
        let interval = match self.policy.tunnels {
            Tunnels::Keep => return,
            Tunnels::Drain if !is_quiet => self.interval.max(BUSY_LOOKUPS),
            Tunnels::Drain | Tunnels::Close => self.interval,
        };
        if self.lookup.is_some() || self.ended_at.is_some() {
            return;
        }
        let is_over_time = self.expires_at.is_some_and(|at| now >= at);
        if is_over_time && guard.has_failed_over() {
            self.ended_at = Some(now);
            return;
        }
        let is_first_after_it = self.expires_at.is_some_and(|at| self.looked_at < at);
        if now - self.looked_at >= interval || (is_over_time && is_first_after_it) {
            self.looked_at = now;
            self.lookup = guard
                .handle()
                .map(|handle| Box::pin(handle.holds()) as Lookup);
        }
    }

    /// Waits for the lookup on its way, for ever where there is none. A storage that fails ends no tunnel.
    async fn looked(&mut self) {
        let Some(lookup) = &mut self.lookup else {
            return std::future::pending().await;
        };
        let holds = lookup.await.unwrap_or(true);
        self.lookup = None;
        if !holds {
            self.ended_at = Some(Instant::now());
        }
    }

    /// Whether the tunnel is to be closed now. `is_between`: between two requests.
    fn is_over(&self, now: Instant, is_between: bool) -> bool {
        self.ended_at.is_some_and(|ended_at| {
            is_between
                || self.policy.tunnels == Tunnels::Close
                || now - ended_at >= self.policy.grace
        })
    }
}

/// A moment of the wall clock, which counts milliseconds, by the steady one and a little later; `None` where that is beyond its
/// end.
fn instant(at: SystemTime) -> Option<Instant> {
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now().checked_add(left + Duration::from_millis(5))
}

/// A side of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client = 1,
    Upstream = 2,
}

/// A side, or none yet.
#[derive(Debug, Default)]
struct SideCell(AtomicU8);

impl SideCell {
    fn set(&self, side: Side) {
        self.0.store(side as u8, Ordering::Relaxed);
    }

    fn set_first(&self, side: Side) {
        // The second one changes nothing.
        let _ = self
            .0
            .compare_exchange(0, side as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Side> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Side::Client),
            _ => Some(Side::Upstream),
        }
    }
}

/// What has moved in a tunnel.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes, in both directions.
    moved: AtomicU64,
    /// The side that the last byte came from.
    last: SideCell,
    /// The side that ended first.
    first_end: SideCell,
    /// How many sides do not take what is there for them.
    blocked: AtomicU8,
    /// Told when the first byte has come from the far side.
    answered: Notify,
}

impl Progress {
    /// Whether the last byte came from the target, and none waits for a side that does not read.
    fn is_between(&self) -> bool {
        self.last.get() != Some(Side::Client) && self.blocked.load(Ordering::Relaxed) == 0
    }

    /// Whether bytes have moved since `seen` was noted; it is noted anew.
    fn has_moved(&self, seen: &mut u64) -> bool {
        let moved = self.moved.load(Ordering::Relaxed);
        std::mem::replace(seen, moved) != moved
    }
}

/// One side of a tunnel: counts the bytes read, and notes the end.
struct CountingIo<'a, T> {
    io: T,
    /// Bytes that were read before the tunnel began.
    early: Bytes,
    read: u64,
    side: Side,
    is_blocked: bool,
    progress: &'a Progress,
}

impl<'a, T> CountingIo<'a, T> {
    fn new(io: T, early: Bytes, side: Side, progress: &'a Progress) -> Self {
        Self {
            io,
            early,
            read: 0,
            side,
            is_blocked: false,
            progress,
        }
    }

    fn set_blocked(&mut self, is_blocked: bool) {
        if std::mem::replace(&mut self.is_blocked, is_blocked) == is_blocked {
            return;
        }
        let blocked = &self.progress.blocked;
        match is_blocked {
            true => blocked.fetch_add(1, Ordering::Relaxed),
            false => blocked.fetch_sub(1, Ordering::Relaxed),
        };
    }

    fn count(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if self.read == 0 && self.side == Side::Upstream {
            self.progress.answered.notify_one();
        }
        self.read += bytes as u64;
        self.progress.last.set(self.side);
        self.progress
            .moved
            .fetch_add(bytes as u64, Ordering::Relaxed);
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
            if read.is_err() || count == 0 {
                self.progress.first_end.set_first(self.side);
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
        let polled = Pin::new(&mut self.io).poll_write(context, buffer);
        self.set_blocked(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
