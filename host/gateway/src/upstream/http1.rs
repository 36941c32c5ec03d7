//! An HTTP/1.1 connection to an upstream proxy, for one request after the other.
//!
//! The task of the client's connection drives it: a task of its own would be woken, and would wake the other one,
//! several times a request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::dial::Stream;
use crate::upload::ReplayableBody;

pub(crate) struct Http1Connection {
    sender: SendRequest<ReplayableBody>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<Stream>, ReplayableBody>>,
}

impl Http1Connection {
    pub(super) async fn new(stream: Stream) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            // RFC 9112 §5.2: a proxy unfolds a folded header before it passes it on.
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self {
            sender,
            connection: Some(connection),
        })
    }

    /// Moves the connection on. Errors come out of the request or the body that is waited for.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(ended) = Pin::new(connection).poll(context)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to an upstream proxy ended badly");
            }
            self.connection = None;
        }
    }

    /// Sends a request and waits for the head of its response. The body comes as long as the connection is driven.
    pub(super) async fn send(
        &mut self,
        request: Request<ReplayableBody>,
    ) -> hyper::Result<Response<Incoming>> {
        let mut answer = pin!(self.sender.send_request(request));
        let connection = &mut self.connection;
        poll_fn(|context| {
            if let Some(driven) = connection
                && Pin::new(driven).poll(context).is_ready()
            {
                *connection = None;
            }
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Whether it can take another request: its last response has been read, and it has not been closed.
    pub(super) async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            let ready = self.connection.is_some() && self.sender.is_ready();
            Poll::Ready(ready)
        })
        .await
    }
}
