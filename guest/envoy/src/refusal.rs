//! What clients are told when there is no proxy, as Envoy is to answer it.

use remora_core::{AcquireError, Refusal};

/// A local response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u32,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<String>,
    /// `Proxy-Status` (RFC 9209).
    pub proxy_status: String,
    /// One line of text.
    pub body: String,
}

impl From<&AcquireError> for Reply {
    fn from(error: &AcquireError) -> Self {
        let refusal = Refusal::from(*error);
        let line = error.to_string();
        // A structured field's string has its quotes and backslashes escaped. By hand: `sfv`, which the gateway takes for it,
        // would make the filter 8 KB (2 %) larger.
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
            status: refusal.status.into(),
            retry_after: refusal.retry_after().map(|seconds| seconds.to_string()),
            proxy_status: format!("remora;error={};details=\"{details}\"", refusal.error),
            body: format!("remora: {line}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_core::StorageError;

    #[test]
    fn a_refusal_says_of_what_kind_it_is_and_when_to_come_back() {
        let error = AcquireError::Exhausted {
            retry_after_ms: 1_001,
        };
        let reply = Reply::from(&error);
        assert_eq!((reply.status, reply.retry_after), (503, Some("2".into())));
        assert_eq!(
            reply.proxy_status,
            format!("remora;error=destination_unavailable;details=\"{error}\"")
        );
        assert_eq!(reply.body, format!("remora: {error}\n"));
        assert_eq!(Reply::from(&AcquireError::NoProxy).retry_after, None);
        let away = AcquireError::Storage(StorageError::Unavailable);
        assert_eq!(Reply::from(&away).retry_after, Some("1".into()));
    }
}
