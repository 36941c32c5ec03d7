//! What clients are told when something is wrong: the right status and one line of text.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use remora_host::Error;

/// The body of every response.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A response of one line.
pub(crate) fn text(status: StatusCode, line: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("remora: {line}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// Why there is no proxy for a request.
pub(crate) fn refusal(error: &Error) -> Response<Body> {
    let status = match error {
        Error::Key(_) | Error::Domain(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = text(status, &error.to_string());
    if let Some(wait) = error.retry_after() {
        // Whole seconds, rounded up: a client that waits so long does not come too early.
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_says_when_to_come_back_in_whole_seconds() {
        let after = |ms| {
            let retry_after = Duration::from_millis(ms);
            let response = refusal(&Error::Exhausted { retry_after });
            assert_eq!(response.status(), 503);
            response.headers()[header::RETRY_AFTER]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            (after(1), after(1_000), after(1_001)),
            ("1".into(), "1".into(), "2".into())
        );
        assert!(
            !refusal(&Error::NoProxy)
                .headers()
                .contains_key(header::RETRY_AFTER)
        );
    }
}
