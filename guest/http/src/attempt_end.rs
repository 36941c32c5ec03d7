//! The end of an attempt (a request through one exit): its outcome, and whether the target may be at fault.

use remora_core::Outcome;

use crate::status::{ResponseSource, StatusClassifier};
use crate::tunnel::TunnelTraffic;

/// The end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The head of a response: its status, and its source.
    Response(u16, ResponseSource),
    /// The end of an open tunnel.
    Tunnel(TunnelTraffic),
    /// The proxy answered CONNECT with this status, which is not 2xx.
    ConnectRefused(u16),
    /// No connection to the proxy, or no TLS with it.
    Unreachable,
    /// The proxy does not accept the credentials; the target cannot have written this answer.
    CredentialsRefused,
    /// The SOCKS handshake failed, or the proxy does not reach the target.
    SocksFailed,
    /// A connection, and no answer in time.
    Timeout,
    /// The connection ended before the answer did. Also an answer to CONNECT that is not HTTP: only the proxy writes it.
    Reset,
    /// The response is not HTTP, or its head is too large.
    Malformed,
    /// The client left, stalled, or sent an invalid request.
    Client,
    /// A limit of remora's own host, or an address that it does not know.
    Local,
}

impl AttemptEnd {
    /// The outcome for the proxy, of a request to `host`.
    pub fn outcome(self, statuses: &StatusClassifier, host: &str) -> Outcome {
        match self {
            Self::Response(status, source) => statuses.response(host, status, source),
            Self::Tunnel(traffic) => traffic.outcome(),
            Self::ConnectRefused(status) => statuses.refused_connect(host, status),
            // The proxy or the target wrote it. The session moves, and one odd target opens no breaker.
            Self::Malformed => Outcome::Blocked,
            Self::Client | Self::Local => Outcome::Cancelled,
            Self::Unreachable
            | Self::CredentialsRefused
            | Self::SocksFailed
            | Self::Timeout
            | Self::Reset => Outcome::Failure,
        }
    }

    /// Whether the target may have caused this end: the proxy was reached. See
    /// [`FailureAttribution`](remora_core::FailureAttribution).
    pub fn target_may_be_at_fault(self) -> bool {
        match self {
            // In one stream a 407 may be either's; only the proxy answers CONNECT.
            Self::Response(..) => true,
            Self::ConnectRefused(status) => {
                !ResponseSource::ProxyOrTarget.refuses_credentials(status)
            }
            Self::Tunnel(_) | Self::SocksFailed | Self::Timeout | Self::Reset | Self::Malformed => {
                true
            }
            Self::Unreachable | Self::CredentialsRefused | Self::Client | Self::Local => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: AttemptEnd) -> Outcome {
        end.outcome(&StatusClassifier::default(), "a.example")
    }

    #[test]
    fn end_is_the_proxys_failure_unless_the_client_or_this_host_caused_it() {
        for end in [
            AttemptEnd::Unreachable,
            AttemptEnd::CredentialsRefused,
            AttemptEnd::SocksFailed,
            AttemptEnd::Timeout,
            AttemptEnd::Reset,
            AttemptEnd::ConnectRefused(502),
            AttemptEnd::ConnectRefused(404),
            AttemptEnd::Response(502, ResponseSource::ProxyOrTarget),
            AttemptEnd::Tunnel(TunnelTraffic::default()),
        ] {
            assert_eq!(outcome(end), Outcome::Failure, "{end:?}");
        }
        for end in [AttemptEnd::Client, AttemptEnd::Local] {
            assert_eq!(outcome(end), Outcome::Cancelled, "{end:?}");
        }
        assert_eq!(outcome(AttemptEnd::ConnectRefused(403)), Outcome::Blocked);
    }

    #[test]
    fn malformed_response_moves_the_session_and_opens_no_breaker() {
        assert_eq!(outcome(AttemptEnd::Malformed), Outcome::Blocked);
    }

    #[test]
    fn target_may_be_at_fault_where_the_proxy_was_reached() {
        for end in [
            AttemptEnd::SocksFailed,
            AttemptEnd::Timeout,
            AttemptEnd::Reset,
            AttemptEnd::ConnectRefused(502),
            AttemptEnd::Response(502, ResponseSource::ProxyOrTarget),
        ] {
            assert!(end.target_may_be_at_fault(), "{end:?}");
        }
        for end in [AttemptEnd::Unreachable, AttemptEnd::CredentialsRefused] {
            assert!(!end.target_may_be_at_fault(), "{end:?}");
        }
    }

    #[test]
    fn refused_credentials_are_certainly_the_proxys_only_in_answer_to_connect() {
        let plain = AttemptEnd::Response(407, ResponseSource::ProxyOrTarget);
        let connect = AttemptEnd::ConnectRefused(407);
        assert_eq!(
            (outcome(plain), outcome(connect)),
            (Outcome::Failure, Outcome::Failure)
        );
        assert!(plain.target_may_be_at_fault());
        assert!(!connect.target_may_be_at_fault());
    }
}
