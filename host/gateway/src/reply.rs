//! What clients are told when something is wrong: the right status, one line of text, and `Proxy-Status`
//! (RFC 9209).

use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use remora_core::{AcquireError, Refusal, retry_after};
use remora_host::Error;
use sfv::{KeyRef, ListSerializer, StringRef, TokenRef};

use crate::body::Body;
use crate::classify::Fault;
use crate::tenants::Beyond;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A response of one line.
pub(crate) fn text(status: StatusCode, line: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("remora: {line}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// A response of one line, and the kind of error that it is.
fn error(status: StatusCode, kind: &'static str, line: &str) -> Response<Body> {
    let mut response = text(status, line);
    if let Some(value) = proxy_status(kind, line) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    response
}

/// `remora; error=KIND; details="LINE"`
fn proxy_status(kind: &'static str, line: &str) -> Option<HeaderValue> {
    let mut list = ListSerializer::new();
    let member = list.bare_item(TokenRef::from_str("remora").ok()?);
    let member = member.parameter(
        KeyRef::from_str("error").ok()?,
        TokenRef::from_str(kind).ok()?,
    );
    if let Ok(details) = StringRef::from_str(line) {
        member.parameter(KeyRef::from_str("details").ok()?, details);
    }
    HeaderValue::from_str(&list.finish()?).ok()
}

/// A request that is no request to a proxy.
pub(crate) fn malformed(line: &str) -> Response<Body> {
    error(StatusCode::BAD_REQUEST, "http_request_error", line)
}

/// A client that has to say who it is.
pub(crate) fn unknown_client() -> Response<Body> {
    let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    let line = "say who you are: the user name and password of this proxy are missing or wrong";
    let mut response = error(status, "http_request_denied", line);
    let basic = HeaderValue::from_static("Basic realm=\"remora\", charset=\"UTF-8\"");
    response
        .headers_mut()
        .insert(header::PROXY_AUTHENTICATE, basic);
    response
}

/// What went wrong on the way.
pub(crate) fn fault(fault: Fault) -> Response<Body> {
    error(fault.status(), fault.proxy_error(), &fault.to_string())
}

/// Why there is no proxy for a request.
pub(crate) fn refusal(refused: &Error) -> Response<Body> {
    let ms = |wait: Duration| wait.as_millis().try_into().unwrap_or(u64::MAX);
    let refusal = match *refused {
        Error::Key(error) => AcquireError::Key(error).into(),
        Error::Domain(_) => Refusal::MALFORMED,
        Error::NoProxy => AcquireError::NoProxy.into(),
        Error::Exhausted { retry_after } => {
            let retry_after_ms = ms(retry_after);
            AcquireError::Exhausted { retry_after_ms }.into()
        }
        Error::SessionLost { end, retry_after } => {
            let retry_after_ms = ms(retry_after);
            AcquireError::SessionLost {
                end,
                retry_after_ms,
            }
            .into()
        }
        Error::Storage(error) => AcquireError::Storage(error).into(),
        _ => Refusal::OUT_OF_ORDER.after(refused.retry_after().map(ms)),
    };
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = error(status, refusal.error, &refused.to_string());
    match refusal.retry_after_ms {
        Some(wait) => after(response, Duration::from_millis(wait)),
        None => response,
    }
}

/// A client whose tenant has asked for as much as it may.
pub(crate) fn beyond(beyond: Beyond) -> Response<Body> {
    let (status, wait) = match beyond {
        // When one of its requests will end, nobody knows.
        Beyond::Concurrent(_) => (StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(1)),
        Beyond::Rate { retry_after, .. } => (StatusCode::TOO_MANY_REQUESTS, retry_after),
    };
    let line = beyond.to_string();
    after(error(status, "http_request_denied", &line), wait)
}

/// A client whose tenant is not served.
pub(crate) fn absent_tenant() -> Response<Body> {
    let line = "your tenant is not served at the moment: it is being made, or its operator has been told what is wrong with it";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    after(
        error(status, "proxy_configuration_error", line),
        Duration::from_secs(5),
    )
}

/// A client that cannot be asked who it is, for so many are being asked.
pub(crate) fn busy() -> Response<Body> {
    let line = "too many clients are saying who they are; come back in a moment";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    after(
        error(status, "http_request_denied", line),
        Duration::from_secs(1),
    )
}

/// The same, to come back after a while.
fn after(mut response: Response<Body>, wait: Duration) -> Response<Body> {
    let ms = wait.as_millis().try_into().unwrap_or(u64::MAX);
    let seconds = retry_after(ms);
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
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
