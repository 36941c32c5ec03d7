//! What a client hears that gets no proxy. The shells write it down as HTTP.

use crate::error::AcquireError;
use crate::storage::StorageError;

/// What a client hears that gets no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The kind of error, in `Proxy-Status` (RFC 9209 §2.3).
    pub error: &'static str,
    /// When to come back, in milliseconds; `None` when that will not help, or when nobody knows.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// The request is one that cannot be decided about.
    pub const MALFORMED: Self = Self {
        status: 400,
        error: "http_request_error",
        retry_after_ms: None,
    };

    /// What decides, or what it keeps its state in, is out of order.
    pub const OUT_OF_ORDER: Self = Self {
        status: 503,
        error: "proxy_internal_error",
        retry_after_ms: None,
    };

    /// No proxy would do.
    const NO_PROXY: Self = Self {
        status: 503,
        error: "destination_unavailable",
        retry_after_ms: None,
    };

    /// The same, to come back after so many milliseconds.
    pub fn after(self, retry_after_ms: Option<u64>) -> Self {
        Self {
            retry_after_ms,
            ..self
        }
    }

    /// The value of `Retry-After`, in seconds.
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after_ms.map(retry_after)
    }
}

/// The value of `Retry-After`, in whole seconds, for a wait in milliseconds. Rounded up: a client that waits so long does
/// not come too early.
pub fn retry_after(ms: u64) -> u64 {
    ms.div_ceil(1_000).max(1)
}

impl From<AcquireError> for Refusal {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Key(_) => Self::MALFORMED,
            AcquireError::NoProxy => Self::NO_PROXY,
            AcquireError::Exhausted { retry_after_ms }
            | AcquireError::SessionLost { retry_after_ms, .. } => {
                Self::NO_PROXY.after(Some(retry_after_ms))
            }
            // When the disk or the server is back, nobody knows.
            AcquireError::Storage(StorageError::Unavailable) => {
                Self::OUT_OF_ORDER.after(Some(1_000))
            }
            AcquireError::Storage(_) => Self::OUT_OF_ORDER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::KeyError;
    use crate::session::End;

    #[test]
    fn a_refusal_says_whose_fault_it_is_and_when_to_come_back() {
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
            let refusal = Refusal::from(error);
            let told = (refusal.status, refusal.error, refusal.retry_after());
            assert_eq!(told, (status, kind, seconds), "{error}");
        }
    }

    #[test]
    fn a_wait_is_said_in_whole_seconds_rounded_up() {
        assert_eq!([0, 1, 1_000, 1_001].map(retry_after), [1, 1, 1, 2]);
    }
}
