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
    /// The `result` label of the acquire in the metrics.
    pub result: &'static str,
}

impl From<&AcquireError> for Refusal {
    fn from(error: &AcquireError) -> Self {
        let (status, kind, result) = match error {
            AcquireError::Key(_) => (400, "http_request_error", "invalid"),
            AcquireError::NoProxy => (503, "destination_unavailable", "no-proxy"),
            AcquireError::Exhausted { .. } => (503, "destination_unavailable", "exhausted"),
            AcquireError::SessionLost { .. } => (503, "destination_unavailable", "session-lost"),
            AcquireError::Storage(_) => (503, "proxy_internal_error", "storage"),
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
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_pool_says_when_to_come_back_in_whole_seconds() {
        let after = |retry_after_ms| {
            let refusal = Refusal::from(&AcquireError::Exhausted { retry_after_ms });
            assert_eq!(refusal.status, 503);
            assert!(
                refusal
                    .proxy_status
                    .starts_with("remora;error=destination_unavailable;details=\"every proxy's")
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
