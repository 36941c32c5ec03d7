//! A request body that says how it is doing: a client that breaks off or dawdles is not the proxy's fault.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout_at};

use crate::classify::Fault;
use crate::reply::Body;

/// How a request body is doing, as seen from beside it.
#[derive(Clone, Debug)]
pub(crate) struct Upload(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// When a part of it was last passed on, in milliseconds after `began`.
    moved: AtomicU64,
    state: AtomicU8,
}

const MOVING: u8 = 0;
/// It is the client's turn.
const AWAITED: u8 = 1;
const BROKEN: u8 = 2;

impl Upload {
    /// The body to pass on, and the view of it.
    pub(crate) fn of(body: Incoming) -> (Body, Self) {
        let upload = Self(Arc::new(Shared {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            state: AtomicU8::new(MOVING),
        }));
        let observed = Observed {
            body,
            upload: upload.clone(),
        };
        (observed.boxed_unsync(), upload)
    }

    /// Whether the client broke it off, or sent what is no body.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == BROKEN
    }

    /// Waits for the response head. The time runs from when a part of the body was last passed on: a large
    /// one may take as long as it takes.
    pub(crate) async fn head<T>(
        &self,
        answer: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<T, Fault> {
        // Connecting has a time of its own.
        self.note(MOVING);
        let mut answer = std::pin::pin!(answer);
        loop {
            let deadline = self.moved() + limit;
            if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
                return Ok(answer);
            }
            if self.moved() + limit > deadline {
                continue;
            }
            return Err(match self.0.state.load(Ordering::Relaxed) {
                MOVING => Fault::HeadTimeout,
                _ => Fault::ClientStalled,
            });
        }
    }

    fn moved(&self) -> Instant {
        self.0.began + Duration::from_millis(self.0.moved.load(Ordering::Relaxed))
    }

    fn note(&self, state: u8) {
        self.0.state.store(state, Ordering::Relaxed);
        if state == MOVING {
            let millis = self.0.began.elapsed().as_millis();
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            self.0.moved.store(millis, Ordering::Relaxed);
        }
    }
}

struct Observed {
    body: Incoming,
    upload: Upload,
}

impl hyper::body::Body for Observed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.upload.note(match &polled {
            Poll::Pending => AWAITED,
            Poll::Ready(Some(Err(_))) => BROKEN,
            Poll::Ready(_) => MOVING,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
