//! Plain HTTP: what comes back through an upstream proxy goes on to the client.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::{Response, Version, header};
use remora_host::Outcome;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Body, BodyError};
use crate::headers;
use crate::tenants::Place;
use crate::ticket::Ticket;
use crate::upload::Upload;
use crate::upstream::Shelf;

/// A response body that knows when it has been read, broken off or given up.
pub(crate) struct Tracked {
    body: Incoming,
    /// The request body, which may still be on its way.
    upload: Upload,
    /// What to do with the connection once all of it has been read.
    shelf: Option<Shelf>,
    /// The lease, and the outcome if all of it gets through; `None` where the verdict is out already.
    verdict: Option<(Ticket, Outcome)>,
    /// It is given up when nothing has come for so long.
    idle: Duration,
    complete: bool,
    /// Whether the connection is authenticated, and so the client's alone.
    is_owned: bool,
    /// What the request occupies until it is over.
    _place: Option<Place>,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

/// The response for the client.
pub(crate) fn answer(
    response: Response<Incoming>,
    shelf: Shelf,
    upload: Upload,
    verdict: Option<(Ticket, Outcome)>,
    idle: Duration,
    is_owned: bool,
    place: Option<Place>,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let is_owned =
        is_owned || headers::authenticate_a_connection(&head.headers, header::WWW_AUTHENTICATE);
    headers::strip(&mut head.headers);
    head.version = Version::HTTP_11;
    let tracked = Tracked {
        body,
        upload,
        shelf: Some(shelf),
        verdict,
        idle,
        complete: false,
        is_owned,
        _place: place,
        waiting_since: None,
        timer: None,
    };
    Response::from_parts(head, Body::Download(Box::new(tracked)))
}

impl Tracked {
    /// All of it has been read, or nothing more of it is wanted.
    fn end(&mut self, outcome: Option<Outcome>) {
        if let Some((ticket, if_complete)) = self.verdict.take() {
            ticket.finish(outcome.unwrap_or(if_complete));
        }
        if let Some(shelf) = self.shelf.take()
            && (self.complete || self.body.is_end_stream())
            && self.upload.is_over()
            && !self.is_owned
        {
            shelf.keep();
        }
    }

    /// Nothing is there: how long that may last. The timer is looked at when it fires, rather than set anew
    /// with every frame.
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

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(shelf) = &mut self.shelf {
            shelf.drive(context);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                if self.wait(context).is_pending() {
                    return Poll::Pending;
                }
                self.end(Some(Outcome::Failure));
                let error = io::Error::from(io::ErrorKind::TimedOut);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting_since = None;
                if frame.is_trailers() {
                    // Nothing follows them, and nobody asks again.
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
                    Outcome::Failure
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

impl Drop for Tracked {
    fn drop(&mut self) {
        // A body whose end is known in advance is not polled once more to hear of it.
        let complete = self.body.is_end_stream();
        self.end((!complete).then_some(Outcome::Cancelled));
    }
}
