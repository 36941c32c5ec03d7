//! Faults: the reasons for which an attempt ends without a response, and what the client is told of each.

use alloc::borrow::Cow;
use alloc::format;
use core::fmt;

use crate::attempt_end::AttemptEnd;
use crate::status::ResponseSource;

/// The reason for which an attempt ended without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Connect,
    /// No connection within `timeouts.connect`.
    ConnectTimeout,
    /// A connection, and no answer to CONNECT (or SOCKS) within `timeouts.connect` of its begin.
    TunnelTimeout,
    /// This machine has no file descriptor or port left for a connection.
    Exhausted,
    /// No TLS with the upstream proxy: it does not speak TLS, or its certificate is invalid.
    Tls,
    /// The SOCKS5 proxy does not reach the target (replies 1 to 8).
    SocksRefused,
    /// The answer to CONNECT is not HTTP, or that in SOCKS is not SOCKS5.
    HandshakeMalformed,
    /// The upstream proxy's name does not resolve here now.
    ResolveProxy,
    /// The target's name, which a `socks5://` proxy wants resolved on this side, does not resolve.
    Resolve,
    /// The upstream proxy does not accept the credentials: its answer to CONNECT or in SOCKS.
    Credentials,
    /// A response of 407 in plain HTTP, which the upstream proxy or the target may have written.
    Challenge,
    /// No response head within `timeouts.head` of the end of the request.
    HeadTimeout,
    /// The client broke off its request, or sent an invalid body.
    ClientBroke,
    /// The client sent nothing more of its request's body for `timeouts.head`.
    ClientStalled,
    /// The connection ended before the response head.
    Reset,
    /// The response is not HTTP, or its head is too large.
    Malformed,
    /// The upstream proxy answered CONNECT with this status, which is not 2xx.
    ConnectRefused(u16),
}

// Inlined: a filter that answers with one fault carries the text of that one only.
impl Fault {
    /// The status that the client gets.
    #[inline]
    pub fn status(self) -> u16 {
        match self {
            Self::ConnectTimeout | Self::TunnelTimeout | Self::HeadTimeout => 504,
            Self::ClientBroke => 400,
            Self::ClientStalled => 408,
            Self::Exhausted => 503,
            _ => 502,
        }
    }

    /// The end of the attempt.
    pub fn attempt_end(self) -> AttemptEnd {
        match self {
            Self::Connect | Self::ConnectTimeout | Self::Tls => AttemptEnd::Unreachable,
            Self::TunnelTimeout | Self::HeadTimeout => AttemptEnd::Timeout,
            Self::SocksRefused => AttemptEnd::SocksRefused,
            Self::HandshakeMalformed => AttemptEnd::HandshakeMalformed,
            Self::Credentials => AttemptEnd::CredentialsRefused,
            Self::Challenge => AttemptEnd::Response(407, ResponseSource::ProxyOrTarget),
            Self::Reset => AttemptEnd::Reset,
            Self::Malformed => AttemptEnd::Malformed,
            Self::ConnectRefused(status) => AttemptEnd::ConnectRefused(status),
            Self::ClientBroke | Self::ClientStalled => AttemptEnd::Client,
            Self::Resolve | Self::ResolveProxy | Self::Exhausted => AttemptEnd::Local,
        }
    }

    /// Whether another exit may do better: neither the client nor this host caused the fault, or it is about the name of this
    /// proxy only.
    pub fn is_retriable(self) -> bool {
        self == Self::ResolveProxy
            || !matches!(self.attempt_end(), AttemptEnd::Client | AttemptEnd::Local)
    }

    /// Whether the target may have received a plain request: then only an idempotent one may be sent again.
    pub fn may_have_reached_target(self) -> bool {
        matches!(
            self,
            Self::HeadTimeout | Self::Reset | Self::Malformed | Self::Challenge
        )
    }

    /// The error type in `Proxy-Status` (RFC 9209 §2.3).
    #[inline]
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Connect => "connection_refused",
            Self::ConnectTimeout | Self::TunnelTimeout => "connection_timeout",
            Self::Exhausted => "proxy_internal_error",
            Self::Tls => "tls_protocol_error",
            Self::SocksRefused => "destination_unavailable",
            Self::Resolve | Self::ResolveProxy => "dns_error",
            Self::Credentials
            | Self::Challenge
            | Self::Malformed
            | Self::HandshakeMalformed
            | Self::ConnectRefused(_) => "http_protocol_error",
            Self::HeadTimeout => "http_response_timeout",
            Self::ClientBroke | Self::ClientStalled => "http_request_error",
            Self::Reset => "connection_terminated",
        }
    }

    /// One line for the client.
    #[inline]
    pub fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Connect => "the upstream proxy cannot be reached",
            Self::ConnectTimeout => "the upstream proxy did not accept the connection in time",
            Self::Exhausted => "remora has no file descriptor or port left for a connection",
            Self::TunnelTimeout => "the upstream proxy did not open the tunnel in time",
            Self::Tls => "TLS with the upstream proxy failed, or its certificate is invalid",
            Self::SocksRefused => "the SOCKS5 proxy does not reach the target",
            Self::HandshakeMalformed => {
                "the upstream proxy's answer to CONNECT is not HTTP, or that in SOCKS is not SOCKS5"
            }
            Self::ResolveProxy => "the upstream proxy's name does not resolve here",
            Self::Resolve => "the target's name does not resolve here",
            Self::Credentials => "the upstream proxy does not accept remora's credentials",
            Self::Challenge => {
                "407: the upstream proxy does not accept remora's credentials, or the target asks for some"
            }
            Self::HeadTimeout => "no response came through the upstream proxy in time",
            Self::ClientBroke => "the request's body broke off or is malformed",
            Self::ClientStalled => "the rest of the request's body did not come in time",
            Self::Reset => "the upstream proxy closed the connection before a response",
            Self::Malformed => "what came back through the upstream proxy is not an HTTP response",
            Self::ConnectRefused(status) => {
                return format!("the upstream proxy refused the tunnel with status {status}")
                    .into();
            }
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_is_the_proxys_the_clients_or_local_and_a_timeout_is_a_504() {
        for (fault, end, code) in [
            (Fault::Connect, AttemptEnd::Unreachable, 502),
            (Fault::ConnectTimeout, AttemptEnd::Unreachable, 504),
            (Fault::Tls, AttemptEnd::Unreachable, 502),
            (Fault::TunnelTimeout, AttemptEnd::Timeout, 504),
            (Fault::HeadTimeout, AttemptEnd::Timeout, 504),
            (Fault::SocksRefused, AttemptEnd::SocksRefused, 502),
            (
                Fault::HandshakeMalformed,
                AttemptEnd::HandshakeMalformed,
                502,
            ),
            (Fault::ResolveProxy, AttemptEnd::Local, 502),
            (Fault::Credentials, AttemptEnd::CredentialsRefused, 502),
            (
                Fault::Challenge,
                AttemptEnd::Response(407, ResponseSource::ProxyOrTarget),
                502,
            ),
            (Fault::Reset, AttemptEnd::Reset, 502),
            (Fault::Malformed, AttemptEnd::Malformed, 502),
            (
                Fault::ConnectRefused(403),
                AttemptEnd::ConnectRefused(403),
                502,
            ),
            (Fault::ClientBroke, AttemptEnd::Client, 400),
            (Fault::ClientStalled, AttemptEnd::Client, 408),
            (Fault::Resolve, AttemptEnd::Local, 502),
            (Fault::Exhausted, AttemptEnd::Local, 503),
        ] {
            assert_eq!((fault.attempt_end(), fault.status()), (end, code));
        }
    }

    #[test]
    fn fault_of_the_client_or_this_host_is_not_retriable() {
        for fault in [
            Fault::ClientBroke,
            Fault::ClientStalled,
            Fault::Resolve,
            Fault::Exhausted,
        ] {
            assert!(!fault.is_retriable(), "{fault}");
        }
        for fault in [
            Fault::Connect,
            Fault::Tls,
            Fault::SocksRefused,
            Fault::ResolveProxy,
            Fault::Reset,
        ] {
            assert!(fault.is_retriable(), "{fault}");
        }
    }

    #[test]
    fn target_may_have_received_a_request_whose_response_is_missing_or_unusable() {
        for fault in [
            Fault::HeadTimeout,
            Fault::Reset,
            Fault::Malformed,
            Fault::Challenge,
        ] {
            assert!(fault.may_have_reached_target(), "{fault}");
        }
        for fault in [
            Fault::Connect,
            Fault::ConnectTimeout,
            Fault::Tls,
            Fault::SocksRefused,
            Fault::HandshakeMalformed,
            Fault::TunnelTimeout,
            Fault::Credentials,
            Fault::ConnectRefused(502),
        ] {
            assert!(!fault.may_have_reached_target(), "{fault}");
        }
    }
}
