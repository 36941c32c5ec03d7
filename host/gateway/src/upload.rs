//! The body of a request on its way: its progress, and whether it can be sent to another proxy.
//!
//! A client that breaks off or stalls is not the proxy's fault. A body that no attempt has read from can be sent
//! to the next proxy.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use remora_http::Fault;
use tokio::time::{Instant, timeout, timeout_at};

/// A handle on a request's body; `None` for a request without one.
#[derive(Clone, Debug)]
pub(crate) struct Upload(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// When a part of it was last passed on, in milliseconds after `began`.
    moved: AtomicU64,
    state: AtomicU8,
    size: SizeHint,
    /// The body until an attempt reads from it.
    untouched: Mutex<Option<Incoming>>,
}

const MOVING: u8 = 0;
/// It is the client's turn.
const AWAITED: u8 = 1;
const BROKEN: u8 = 2;
const DONE: u8 = 3;

impl Upload {
    pub(crate) fn of(body: Incoming) -> Self {
        if body.is_end_stream() {
            return Self(None);
        }
        Self(Some(Arc::new(Shared {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            state: AtomicU8::new(MOVING),
            size: body.size_hint(),
            untouched: Mutex::new(Some(body)),
        })))
    }

    /// The body to pass on; `None` once an attempt has read from it.
    pub(crate) fn body(&self) -> Option<ReplayableBody> {
        self.is_whole().then(|| ReplayableBody {
            body: None,
            shared: self.0.clone(),
        })
    }

    /// Whether there is no body at all.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether there is a body, and the client has not said how long it is.
    pub(crate) fn is_of_unknown_length(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.size.exact().is_none())
    }

    /// Whether all of it can still be sent.
    pub(crate) fn is_whole(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_none_or(|shared| shared.untouched.lock().is_some())
    }

    /// Whether the client broke it off, or sent a malformed body.
    pub(crate) fn is_broken(&self) -> bool {
        self.state() == Some(BROKEN)
    }

    /// Whether it is the client's turn to send more of it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.state() == Some(AWAITED)
    }

    /// Whether there is nothing left to send.
    pub(crate) fn is_over(&self) -> bool {
        self.state().is_none_or(|state| state == DONE)
    }

    fn state(&self) -> Option<u8> {
        let shared = self.0.as_ref()?;
        Some(shared.state.load(Ordering::Relaxed))
    }

    /// Waits for the response head. The time runs from when a part of the body was last passed on: a large
    /// one may take as long as it takes.
    pub(crate) async fn head<T>(
        &self,
        answer: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<T, Fault> {
        let Some(shared) = &self.0 else {
            return timeout(limit, answer).await.map_err(|_| Fault::HeadTimeout);
        };
        // Connecting has a time of its own.
        shared.note(MOVING);
        let mut answer = std::pin::pin!(answer);
        loop {
            let deadline = shared.moved() + limit;
            if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
                return Ok(answer);
            }
            if shared.moved() + limit > deadline {
                continue;
            }
            return Err(match shared.state.load(Ordering::Relaxed) {
                AWAITED => Fault::ClientStalled,
                _ => Fault::HeadTimeout,
            });
        }
    }
}

impl Shared {
    fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    fn note(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
        if state != AWAITED {
            let millis = self.began.elapsed().as_millis();
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            self.moved.store(millis, Ordering::Relaxed);
        }
    }
}

/// The body of one attempt to send the request.
#[derive(Debug)]
pub(crate) struct ReplayableBody {
    /// Taken at the first read.
    body: Option<Incoming>,
    /// `None`: the request has no body.
    shared: Option<Arc<Shared>>,
}

impl hyper::body::Body for ReplayableBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, shared } = &mut *self;
        let Some(shared) = shared else {
            return Poll::Ready(None);
        };
        if body.is_none() {
            *body = shared.untouched.lock().take();
        }
        let Some(body) = body else {
            // Another attempt has it: this one was given up.
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(context);
        let over = body.is_end_stream();
        shared.note(match &polled {
            Poll::Pending => AWAITED,
            Poll::Ready(Some(Err(_))) => BROKEN,
            Poll::Ready(Some(Ok(_))) if !over => MOVING,
            Poll::Ready(_) => DONE,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => self.shared.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, &self.shared) {
            (Some(body), _) => body.size_hint(),
            (None, Some(shared)) => shared.size,
            (None, None) => SizeHint::with_exact(0),
        }
    }
}
