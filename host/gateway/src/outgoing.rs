//! A request on its way out: the parts that are passed on, and whether it can be sent again.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Uri, Version};
use remora_http::{Fault, is_idempotent};

use crate::headers;
use crate::upload::{ReplayableBody, Upload};

/// A request that may have to be sent more than once.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// In absolute form, without user information.
    uri: Uri,
    headers: HeaderMap,
    pub(crate) upload: Upload,
}

impl Outgoing {
    /// `target` is the request's URI without user information.
    pub(crate) fn new(request: Request<Incoming>, target: Uri) -> Self {
        let (mut head, body) = request.into_parts();
        headers::strip(&mut head.headers);
        // The gateway itself has told the client to go on.
        head.headers.remove(header::EXPECT);
        // RFC 9112 §3.2.2: what the request line says holds, whatever `Host` says.
        if let Some(authority) = target.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(header::HOST, host);
        }
        Self {
            method: head.method,
            uri: target,
            headers: head.headers,
            upload: Upload::of(body),
        }
    }

    /// The target, without a port.
    pub(crate) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// The target with its port.
    pub(crate) fn origin(&self) -> Option<Authority> {
        let authority = self.uri.authority()?;
        if authority.port().is_some() {
            return Some(authority.clone());
        }
        format!("{}:80", authority.host()).parse().ok()
    }

    /// The request to send; `None` once its body is gone.
    pub(crate) fn request(&self) -> Option<Request<ReplayableBody>> {
        let mut request = Request::new(self.upload.body()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().clone_from(&self.headers);
        if self.upload.is_of_unknown_length() {
            // Without a word hyper takes it that a GET has no body.
            let chunked = HeaderValue::from_static("chunked");
            let headers = request.headers_mut();
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        Some(request)
    }

    /// Whether it authenticates the connection that it is sent on, as NTLM does: nobody else may use that.
    pub(crate) fn owns_its_connection(&self) -> bool {
        headers::authenticate_a_connection(&self.headers, header::AUTHORIZATION)
    }

    /// Whether it may be sent twice: nothing happens the second time that did not the first
    /// (RFC 9110 §9.2.2), and its body is there.
    pub(crate) fn is_repeatable(&self) -> bool {
        is_idempotent(self.method.as_str()) && self.upload.is_whole()
    }

    /// Whether it may be sent twice however far it got the first time: there is no body that would be gone.
    pub(crate) fn is_always_repeatable(&self) -> bool {
        is_idempotent(self.method.as_str()) && self.upload.is_none()
    }

    /// Whether it may be sent through another exit after this fault.
    pub(crate) fn survives(&self, fault: Fault) -> bool {
        if fault.may_have_reached_target() {
            return self.is_repeatable();
        }
        fault.is_retriable() && self.upload.is_whole()
    }
}
