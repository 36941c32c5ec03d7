//! Error responses as hyper sends them, and those that only the gateway has.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use remora_core::AcquireError;
use remora_host::Error;
use remora_http::{CHALLENGE, CONTENT_TYPE, ErrorResponse, Fault};

use crate::admission::LimitExceeded;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A response of one line.
pub(crate) fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    body(status, format!("remora: {line}\n"))
}

fn body(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn error(error: &ErrorResponse) -> Response<Full<Bytes>> {
    let mut response = body(status(error.status), error.body());
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(error.proxy_status()) {
        headers.insert(PROXY_STATUS, value);
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A status as hyper has it.
pub(crate) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A request that is not a request to a proxy.
pub(crate) fn malformed(line: &str) -> Response<Full<Bytes>> {
    error(&ErrorResponse::malformed(line.to_owned()))
}

/// A client that has to authenticate.
pub(crate) fn unknown_client() -> Response<Full<Bytes>> {
    let mut response = error(&ErrorResponse::authentication_required());
    let basic = HeaderValue::from_static(CHALLENGE);
    response
        .headers_mut()
        .insert(header::PROXY_AUTHENTICATE, basic);
    response
}

/// A fault on the way.
pub(crate) fn fault(fault: Fault) -> Response<Full<Bytes>> {
    error(&fault.into())
}

/// The reason for which there is no proxy for a request.
pub(crate) fn refusal(refused: &Error) -> Response<Full<Bytes>> {
    let acquire = match *refused {
        Error::Key(error) => Some(AcquireError::Key(error)),
        Error::NoProxy => Some(AcquireError::NoProxy),
        Error::Exhausted { retry_after } => Some(AcquireError::Exhausted {
            retry_after_ms: ms(retry_after),
        }),
        Error::SessionLost { end, retry_after } => Some(AcquireError::SessionLost {
            end,
            retry_after_ms: ms(retry_after),
        }),
        Error::Storage(error) => Some(AcquireError::Storage(error)),
        _ => None,
    };
    // The library has words of its own.
    let line = refused.to_string();
    let response = match (acquire, refused) {
        (Some(error), _) => ErrorResponse {
            text: line.into(),
            ..error.into()
        },
        (None, Error::Domain(_)) => ErrorResponse::malformed(line),
        (None, _) => ErrorResponse::internal(line).after(refused.retry_after().map(ms)),
    };
    error(&response)
}

/// A client whose tenant has reached a limit.
pub(crate) fn limit_exceeded(exceeded: LimitExceeded) -> Response<Full<Bytes>> {
    let (status, wait) = match exceeded {
        // Nothing says when one of its requests will end.
        LimitExceeded::Concurrent(_) => (503, Duration::from_secs(1)),
        LimitExceeded::Rate { retry_after, .. } => (429, retry_after),
    };
    let response = ErrorResponse::new(status, "http_request_denied", exceeded.to_string());
    error(&response.after(Some(ms(wait))))
}

/// A client whose tenant is not served.
pub(crate) fn absent_tenant() -> Response<Full<Bytes>> {
    let line = "your tenant is not served at the moment: it is being made, or its operator has been told what is wrong with it";
    let response = ErrorResponse::new(503, "proxy_configuration_error", line);
    error(&response.after(Some(5_000)))
}

/// A client that cannot be authenticated now, because too many others are.
pub(crate) fn busy() -> Response<Full<Bytes>> {
    let line = "too many clients are authenticating; come back in a moment";
    let response = ErrorResponse::new(503, "http_request_denied", line);
    error(&response.after(Some(1_000)))
}

fn ms(wait: Duration) -> u64 {
    wait.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_host::StorageError;

    #[test]
    fn a_refusal_says_when_to_come_back_in_whole_seconds() {
        let refused = |error| {
            let response = refusal(&error);
            assert_eq!(response.status(), 503);
            response.headers()[header::RETRY_AFTER]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let after = |ms| {
            let retry_after = Duration::from_millis(ms);
            refused(Error::Exhausted { retry_after })
        };
        assert_eq!(refused(Error::Storage(StorageError::Unavailable)), "1");
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

    #[test]
    fn an_error_says_its_kind_as_rfc_9209_wants_it() {
        let response = fault(Fault::HeadTimeout);
        assert_eq!(response.status(), 504);
        assert_eq!(
            response.headers()["proxy-status"],
            "remora;error=http_response_timeout;details=\"no response came through the upstream proxy in time\""
        );
    }
}
