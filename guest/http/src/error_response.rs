//! The response to a client whose request fails: status, one line of text, `Proxy-Status` (RFC 9209) and `Retry-After`.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use remora_core::{AcquireError, StorageError};

use crate::fault::Fault;

/// The `Content-Type` of an error response.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// The `Proxy-Authenticate` of [`ErrorResponse::authentication_required`].
pub const CHALLENGE: &str = "Basic realm=\"remora\", charset=\"UTF-8\"";

/// An error response. Each shell writes it in its own way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The status.
    pub status: u16,
    /// The error type in `Proxy-Status` (RFC 9209 §2.3).
    pub error_type: &'static str,
    /// One line of text.
    pub text: Cow<'static, str>,
    /// Milliseconds until another request may succeed; `None` if waiting does not help, or for an unknown time.
    pub retry_after_ms: Option<u64>,
}

impl ErrorResponse {
    /// A response without `Retry-After`.
    pub fn new(status: u16, error_type: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            error_type,
            text: text.into(),
            retry_after_ms: None,
        }
    }

    /// 400: the request is invalid.
    pub fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "http_request_error", text)
    }

    /// 407, to be sent with [`CHALLENGE`]: the client has to authenticate.
    pub fn authentication_required() -> Self {
        let text = "proxy authentication required: missing or invalid credentials";
        Self::new(407, "http_request_denied", text)
    }

    /// 503: the plugin or the storage does not work.
    pub fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, "proxy_internal_error", text)
    }

    /// The same with `Retry-After`.
    pub fn after(self, retry_after_ms: Option<u64>) -> Self {
        Self {
            retry_after_ms,
            ..self
        }
    }

    /// The value of `Retry-After` in whole seconds, rounded up: a client that waits so long does not come too early.
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1))
    }

    /// The body.
    pub fn body(&self) -> String {
        format!("remora: {}\n", self.text)
    }

    /// The value of `Proxy-Status`: `remora;error=TYPE;details="TEXT"`.
    ///
    /// By hand: the crate `sfv` would make the filter 8 KB (2 %) larger. The tests read the value with it.
    pub fn proxy_status(&self) -> String {
        let mut value = format!("remora;error={};details=\"", self.error_type);
        // A string of structured fields (RFC 9651 §3.3.3) is printable ASCII.
        for c in self.text.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                value.push('\\');
            }
            value.push(c);
        }
        value.push('"');
        value
    }
}

impl From<Fault> for ErrorResponse {
    #[inline]
    fn from(fault: Fault) -> Self {
        Self::new(fault.status(), fault.error_type(), fault.text())
    }
}

impl From<AcquireError> for ErrorResponse {
    fn from(error: AcquireError) -> Self {
        let text = error.to_string();
        let no_proxy = |text| Self::new(503, "destination_unavailable", text);
        match error {
            AcquireError::Key(_) => Self::malformed(text),
            AcquireError::NoProxy => no_proxy(text),
            AcquireError::Exhausted { retry_after_ms }
            | AcquireError::SessionLost { retry_after_ms, .. } => {
                no_proxy(text).after(Some(retry_after_ms))
            }
            // The storage may be back at any time.
            AcquireError::Storage(StorageError::Unavailable) => {
                Self::internal(text).after(Some(1_000))
            }
            AcquireError::Storage(_) => Self::internal(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remora_core::{End, KeyError};
    use sfv::{BareItem, List, ListEntry, Parser};

    /// The name, the error type and the details that a reader of `Proxy-Status` finds.
    fn read(value: &str) -> (String, String, String) {
        let list = Parser::new(value).parse::<List>().unwrap();
        let [ListEntry::Item(item)] = &list[..] else {
            panic!("{value}")
        };
        let token = |item: &BareItem| item.as_token().unwrap().as_str().to_string();
        let parameter = |name: &str| item.params.get(name).unwrap();
        let details = parameter("details").as_string().unwrap();
        (
            token(&item.bare_item),
            token(parameter("error")),
            details.as_str().to_string(),
        )
    }

    #[test]
    fn refusal_has_its_status_its_error_type_and_the_time_to_wait() {
        let lost = AcquireError::SessionLost {
            end: End::Failed,
            retry_after_ms: 1_001,
        };
        for (error, status, kind, seconds) in [
            (KeyError::Empty.into(), 400, "http_request_error", None),
            (AcquireError::NoProxy, 503, "destination_unavailable", None),
            (lost, 503, "destination_unavailable", Some(2)),
            (
                StorageError::Unavailable.into(),
                503,
                "proxy_internal_error",
                Some(1),
            ),
            (StorageError::Full.into(), 503, "proxy_internal_error", None),
        ] {
            let response = ErrorResponse::from(error);
            let told = (response.status, response.error_type, response.retry_after());
            assert_eq!(told, (status, kind, seconds), "{error}");
            assert_eq!(response.body(), format!("remora: {error}\n"));
            let read = read(&response.proxy_status());
            assert_eq!(read, ("remora".into(), kind.into(), error.to_string()));
        }
    }

    #[test]
    fn retry_after_is_in_whole_seconds_rounded_up() {
        let seconds = |ms| {
            let response = ErrorResponse::from(AcquireError::NoProxy);
            response.after(Some(ms)).retry_after()
        };
        assert_eq!([0, 1, 1_000, 1_001].map(seconds), [1, 1, 1, 2].map(Some));
    }

    #[test]
    fn fault_has_the_error_type_of_rfc_9209() {
        let response = ErrorResponse::from(Fault::HeadTimeout);
        assert_eq!(response.status, 504);
        assert_eq!(
            response.proxy_status(),
            "remora;error=http_response_timeout;details=\"no response came through the upstream proxy in time\""
        );
    }

    proptest! {
        #[test]
        fn proxy_status_can_be_read_whatever_the_text(text in "\\PC*|[ -~]*") {
            let response = ErrorResponse::malformed(text.clone());
            let printable: String = text.chars().filter(|c| matches!(c, ' '..='~')).collect();
            let read = read(&response.proxy_status());
            prop_assert_eq!(read, ("remora".into(), "http_request_error".into(), printable));
        }
    }
}
