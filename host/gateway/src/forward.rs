//! Plain HTTP: a request in absolute form goes on to an upstream proxy, its response comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, Version};
use remora_host::Outcome;

use crate::classify::{self, Fault};
use crate::config::Timeouts;
use crate::headers;
use crate::reply::{self, Body};
use crate::ticket::Ticket;
use crate::upload::Upload;
use crate::upstream::Upstream;

/// Sends the request through the upstream and answers with what comes back. `target` is the request's URI
/// without user information.
pub(crate) async fn forward(
    request: Request<Incoming>,
    target: Uri,
    mut ticket: Ticket,
    upstream: Arc<Upstream>,
    timeouts: &Timeouts,
) -> Response<Body> {
    let (request, upload) = outgoing(request, target);
    match upstream.send(request, &upload, timeouts).await {
        Ok((response, _)) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            // Meant for remora, not for the client: it is remora's credentials that are wrong.
            fail(ticket, Fault::Credentials)
        }
        Ok((response, sender)) => {
            let (mut head, body) = response.into_parts();
            headers::strip(&mut head.headers);
            head.version = Version::HTTP_11;
            ticket.set_status(head.status);
            let tracked = Tracked {
                body,
                outcome: classify::response(head.status),
                upload,
                rest: Some((ticket, upstream, sender)),
            };
            Response::from_parts(head, tracked.boxed_unsync())
        }
        Err(fault) => fail(ticket, fault),
    }
}

/// Answers a client whose request a fault has ended.
pub(crate) fn fail(mut ticket: Ticket, fault: Fault) -> Response<Body> {
    ticket.set_status(fault.status());
    ticket.finish(fault.outcome());
    reply::text(fault.status(), &fault.explain())
}

fn outgoing(request: Request<Incoming>, target: Uri) -> (Request<Body>, Upload) {
    let (mut head, body) = request.into_parts();
    headers::strip(&mut head.headers);
    // The gateway itself has told the client to go on.
    head.headers.remove(header::EXPECT);
    // RFC 9112 §3.2.2: what the request line says holds, whatever `Host` says.
    if let Some(Ok(host)) = target
        .authority()
        .map(|a| HeaderValue::from_str(a.as_str()))
    {
        head.headers.insert(header::HOST, host);
    }
    head.uri = target;
    head.version = Version::HTTP_11;
    let (body, upload) = Upload::of(body);
    (Request::from_parts(head, body), upload)
}

/// A response body that knows when it has been read, broken off or given up.
struct Tracked {
    body: Incoming,
    /// The outcome if all of it gets through.
    outcome: Outcome,
    /// The request body, which may still be on its way.
    upload: Upload,
    rest: Option<(Ticket, Arc<Upstream>, SendRequest<Body>)>,
}

impl Tracked {
    fn end(&mut self, outcome: Outcome) {
        let Some((ticket, upstream, sender)) = self.rest.take() else {
            return;
        };
        ticket.finish(outcome);
        if self.body.is_end_stream() {
            tokio::spawn(async move { upstream.keep(sender).await });
        }
    }
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Err(_))) if self.upload.is_broken() => self.end(Outcome::Cancelled),
            Poll::Ready(Some(Err(_))) => self.end(Outcome::Failure),
            Poll::Ready(None) => {
                let outcome = self.outcome;
                self.end(outcome);
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
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
        let outcome = if self.body.is_end_stream() {
            self.outcome
        } else {
            Outcome::Cancelled
        };
        self.end(outcome);
    }
}
