//! Plain HTTP: a request through an upstream proxy, and its response on the way back.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::{Method, Response, Version, header};
use remora_host::{Outcome, ProxyHandle};
use remora_http::{AttemptEnd, Fault};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::admission::InFlightPermit;
use crate::attempt::{Answered, AnsweredLease, Exchange, Settled};
use crate::config::Timeouts;
use crate::headers;
use crate::outgoing::Outgoing;
use crate::upload::Upload;
use crate::upstream::{Checkout, Upstream};

/// A response's body: whole, or as it comes through an upstream proxy.
pub(crate) type ResponseBody = Either<Full<Bytes>, Box<LeasedBody>>;

/// A response that has been coming for so long is told as a success before it is over (rule 7).
const SUCCESS_AFTER: Duration = Duration::from_secs(10);

type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl Exchange for Outgoing {
    type Answer = (Response<Incoming>, Checkout);

    fn method(&self) -> &Method {
        &self.method
    }

    fn host(&self) -> &str {
        self.host()
    }

    fn target(&self) -> Cow<'_, str> {
        match self.origin() {
            Some(origin) => Cow::Owned(origin.to_string()),
            None => Cow::Borrowed(self.host()),
        }
    }

    async fn send(
        &self,
        upstream: &Arc<Upstream>,
        handle: &ProxyHandle,
        timeouts: &Timeouts,
    ) -> Result<Answered<Self::Answer>, Fault> {
        let source = upstream.response_source();
        let (response, checkout) = upstream.send(self, handle, timeouts).await?;
        let status = response.status();
        if source.refuses_credentials(status.as_u16()) {
            // To the client it would say that its own credentials, for remora, are wrong.
            return Err(Fault::Challenge);
        }
        Ok(Answered {
            answer: (response, checkout),
            status,
            end: Some(AttemptEnd::Response(status.as_u16(), source)),
        })
    }

    fn is_repeatable(&self, after: Option<Fault>) -> bool {
        match after {
            Some(fault) => self.survives(fault),
            None => self.is_repeatable(),
        }
    }
}

/// The body of a response, with the lease of the attempt that it came by. It settles the lease when it has been
/// read, broken off or given up.
pub(crate) struct LeasedBody {
    body: Incoming,
    /// The request body, which may still be on its way.
    upload: Upload,
    /// The connection, which is kept once all of the body has been read.
    checkout: Option<Checkout>,
    /// `None` once it is settled.
    lease: Option<AnsweredLease>,
    /// The body is given up when nothing has come for so long.
    idle: Duration,
    complete: bool,
    /// Whether the connection is authenticated, and so the client's alone.
    is_owned: bool,
    _permit: Option<InFlightPermit>,
    /// When the head was there.
    began: Instant,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for LeasedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedBody")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// The response for the client.
pub(crate) fn response(
    outgoing: Outgoing,
    settled: Settled<(Response<Incoming>, Checkout)>,
    idle: Duration,
    permit: Option<InFlightPermit>,
) -> Response<ResponseBody> {
    let (response, checkout) = settled.answer;
    let (mut head, body) = response.into_parts();
    let is_owned = outgoing.owns_its_connection()
        || headers::authenticate_a_connection(&head.headers, header::WWW_AUTHENTICATE);
    headers::strip(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = LeasedBody {
        body,
        upload: outgoing.upload,
        checkout: Some(checkout),
        lease: settled.lease,
        idle,
        complete: false,
        is_owned,
        _permit: permit,
        began: Instant::now(),
        waiting_since: None,
        timer: None,
    };
    Response::from_parts(head, Either::Right(Box::new(body)))
}

impl LeasedBody {
    /// Tells a success that takes long before it is over: it outweighs the failures that were counted meanwhile.
    fn tell_long_success(&mut self) {
        if let Some(AnsweredLease { guard, if_complete }) = &mut self.lease
            && *if_complete == Some(Outcome::Success)
            && self.began.elapsed() >= SUCCESS_AFTER
        {
            guard.succeed();
        }
    }

    /// Settles the leases. `outcome`: `None` when all of the body got through.
    fn end(&mut self, outcome: Option<Outcome>) {
        if let Some(AnsweredLease { guard, if_complete }) = self.lease.take() {
            guard.finish(outcome.or(if_complete).unwrap_or(Outcome::Success));
        }
        if let Some(checkout) = self.checkout.take()
            && (self.complete || self.body.is_end_stream())
            && self.upload.is_over()
            && !self.is_owned
        {
            checkout.keep();
        }
    }

    /// Waits for the idle timeout. The timer is checked when it fires, rather than set anew with every frame.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = since + self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(timer.as_mut().poll(context));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl hyper::body::Body for LeasedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(checkout) = &mut self.checkout {
            checkout.drive(context);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                if self.wait(context).is_pending() {
                    return Poll::Pending;
                }
                // The target may wait for the rest of the request.
                let is_awaited = self.upload.is_awaited();
                self.end(Some(match is_awaited {
                    true => Outcome::Cancelled,
                    false => Outcome::TimedOut,
                }));
                let error = io::Error::from(io::ErrorKind::TimedOut);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting_since = None;
                self.tell_long_success();
                if frame.is_trailers() {
                    // Nothing follows them, and hyper does not poll again.
                    self.complete = true;
                    self.end(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let clients = self.upload.is_broken();
                self.end(Some(if clients {
                    Outcome::Cancelled
                } else {
                    Outcome::Ambiguous
                }));
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.end(None);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LeasedBody {
    fn drop(&mut self) {
        // hyper does not poll a body again whose end is known in advance.
        let complete = self.body.is_end_stream();
        self.end((!complete).then_some(Outcome::Cancelled));
    }
}
