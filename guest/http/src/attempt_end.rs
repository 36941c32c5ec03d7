//! The end of an attempt (a request through one exit), and its outcome (DESIGN rule 13, *attribution*).

use remora_core::Outcome;

use crate::status::{ResponseSource, StatusClassifier};
use crate::tunnel::TunnelTraffic;

/// The end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// A response: its status, and its source.
    Response(u16, ResponseSource),
    /// The body of a response broke after its head.
    BrokenBody,
    /// The body of a response stood still for too long.
    StalledBody,
    /// The end of an open tunnel.
    Tunnel(TunnelTraffic),
    /// The proxy answered CONNECT with this status, which is not 2xx.
    ConnectRefused(u16),
    /// The answer to CONNECT or in SOCKS is neither: only the proxy writes it.
    HandshakeMalformed,
    /// No connection to the proxy, or no TLS with it.
    Unreachable,
    /// The proxy does not accept the credentials; the target cannot have written this answer.
    CredentialsRefused,
    /// The SOCKS proxy does not reach the target (replies 1 to 8).
    SocksRefused,
    /// A connection, and no answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Reset,
    /// The response is not HTTP, or its head is too large.
    Malformed,
    /// The client left, stalled, or sent an invalid request.
    Client,
    /// A limit of remora's own host, or an address that its resolver does not know now.
    Local,
}

impl AttemptEnd {
    /// The outcome for the exit, of a request to `host`.
    pub fn outcome(self, statuses: &StatusClassifier, host: &str) -> Outcome {
        match self {
            Self::Response(status, source) => statuses.response(host, status, source),
            Self::Tunnel(traffic) => traffic.outcome(),
            Self::Client | Self::Local => Outcome::Cancelled,
            // Only the proxy itself can have caused these.
            Self::Unreachable | Self::CredentialsRefused | Self::HandshakeMalformed => {
                Outcome::Failure
            }
            Self::ConnectRefused(407) => Outcome::Failure,
            // Words about DNS do not acquit either: an exit whose own resolver is down says them for every name.
            Self::ConnectRefused(_)
            | Self::SocksRefused
            | Self::Reset
            | Self::Malformed
            | Self::BrokenBody => Outcome::Ambiguous,
            Self::Timeout | Self::StalledBody => Outcome::TimedOut,
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
    fn end_that_only_the_proxy_can_cause_is_its_failure() {
        for end in [
            AttemptEnd::Unreachable,
            AttemptEnd::CredentialsRefused,
            AttemptEnd::HandshakeMalformed,
            AttemptEnd::ConnectRefused(407),
        ] {
            assert_eq!(outcome(end), Outcome::Failure, "{end:?}");
        }
    }

    #[test]
    fn end_that_the_client_or_this_host_caused_says_nothing() {
        for end in [AttemptEnd::Client, AttemptEnd::Local] {
            assert_eq!(outcome(end), Outcome::Cancelled, "{end:?}");
        }
    }

    #[test]
    fn every_other_end_without_an_answer_is_ambiguous() {
        let either = ResponseSource::ProxyOrTarget;
        for end in [
            AttemptEnd::SocksRefused,
            AttemptEnd::Reset,
            AttemptEnd::Malformed,
            AttemptEnd::BrokenBody,
            AttemptEnd::ConnectRefused(403),
            AttemptEnd::ConnectRefused(404),
            AttemptEnd::ConnectRefused(502),
            AttemptEnd::Response(407, either),
            AttemptEnd::Response(502, either),
        ] {
            assert_eq!(outcome(end), Outcome::Ambiguous, "{end:?}");
        }
        for end in [AttemptEnd::Timeout, AttemptEnd::StalledBody] {
            assert_eq!(outcome(end), Outcome::TimedOut, "{end:?}");
        }
        assert_eq!(outcome(AttemptEnd::Response(403, either)), Outcome::Blocked);
    }
}
