//! What clients are told when there is no proxy: the same as by the gateway.

use remora_core::AcquireError;

/// A local response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u32,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<String>,
    /// `Proxy-Status` (RFC 9209).
    pub proxy_status: String,
    /// One line of text.
    pub body: String,
}

impl From<&AcquireError> for Refusal {
    fn from(error: &AcquireError) -> Self {
        let (status, kind) = match error {
            AcquireError::Key(_) => (400, "http_request_error"),
            AcquireError::NoProxy
            | AcquireError::Exhausted { .. }
            | AcquireError::SessionLost { .. } => (503, "destination_unavailable"),
            AcquireError::Storage(_) => (503, "proxy_internal_error"),
        };
        let wait = match error {
            AcquireError::Exhausted { retry_after_ms }
            | AcquireError::SessionLost { retry_after_ms, .. } => Some(*retry_after_ms),
            _ => None,
        };
        let line = error.to_string();
        // A structured field's string has its quotes and backslashes escaped.
        let details: String = line
            .chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .flat_map(|c| {
                matches!(c, '"' | '\\')
                    .then_some('\\')
                    .into_iter()
                    .chain([c])
            })
            .collect();
        Self {
            status,
            // Rounded up: a client that waits so long does not come too early.
            retry_after: wait.map(|ms| ms.div_ceil(1_000).max(1).to_string()),
            proxy_status: format!("remora;error={kind};details=\"{details}\""),
            body: format!("remora: {line}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_pool_says_when_to_come_back_in_whole_seconds() {
        let after = |retry_after_ms| {
            let error = AcquireError::Exhausted { retry_after_ms };
            let refusal = Refusal::from(&error);
            assert_eq!(refusal.status, 503);
            assert_eq!(
                refusal.proxy_status,
                format!("remora;error=destination_unavailable;details=\"{error}\"")
            );
            refusal.retry_after.unwrap()
        };
        assert_eq!(
            (after(1), after(1_000), after(1_001)),
            ("1".into(), "1".into(), "2".into())
        );
        assert_eq!(Refusal::from(&AcquireError::NoProxy).retry_after, None);
    }
}
