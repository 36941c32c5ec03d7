//! The bodies that the gateway sends, without a box for each.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{Either, Empty, Full};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

use crate::forward::Tracked;
use crate::upload::Observed;

/// A request's or a response's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// There already, or nothing at all.
    Ready(Either<Full<Bytes>, Empty<Bytes>>),
    /// A request's, as it comes from a client.
    Upload(Observed),
    /// A response's, as it comes from an upstream proxy.
    Download(Box<Tracked>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Ready(Either::Right(Empty::new()))
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Ready(Either::Left(Full::new(bytes.into())))
    }
}

/// What can end a body early.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Ready(body) => Pin::new(body).poll_frame(context),
            Self::Upload(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Download(body) => Pin::new(&mut **body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(body) => body.is_end_stream(),
            Self::Upload(body) => body.is_end_stream(),
            Self::Download(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(body) => body.size_hint(),
            Self::Upload(body) => body.size_hint(),
            Self::Download(body) => body.size_hint(),
        }
    }
}
