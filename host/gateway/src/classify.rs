//! What can go wrong on the way, and what the client hears of it.

use std::fmt;

use hyper::StatusCode;
use remora_core::{Ending, Origin};

/// What can go wrong before a response is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Connect,
    /// No connection within `timeouts.connect`.
    ConnectTimeout,
    /// A connection, and no answer to CONNECT (or SOCKS) within `timeouts.connect` of its begin.
    TunnelTimeout,
    /// This machine has no file descriptor or port left for a connection.
    Exhausted,
    /// No TLS with the upstream proxy: it speaks none, or its certificate does not hold.
    Tls,
    /// The SOCKS5 proxy did not come to terms, or does not reach the target.
    Socks,
    /// The target's name, which a `socks5://` proxy wants resolved on this side, does not resolve.
    Resolve,
    /// The upstream proxy does not accept the credentials: it has said so to CONNECT, or in SOCKS.
    Credentials,
    /// A response of 407 in plain HTTP, which the upstream proxy or the target may have written.
    Challenge,
    /// No response head within `timeouts.head` of all that the client sent.
    HeadTimeout,
    /// The client broke off its request, or sent what is no body.
    ClientBroke,
    /// The client sent nothing more of its request's body for `timeouts.head`.
    ClientStalled,
    /// The connection ended before the response head.
    Reset,
    /// What came back is no HTTP response, or its head is larger than anybody's should be.
    Malformed,
    /// The upstream proxy answered CONNECT with something else than 2xx.
    Refused(StatusCode),
}

impl Fault {
    /// What the client gets.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::TunnelTimeout | Self::HeadTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::ClientBroke => StatusCode::BAD_REQUEST,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// What it is to the core, which knows whose fault that is.
    pub(crate) fn ending(self) -> Ending {
        match self {
            Self::Connect | Self::ConnectTimeout | Self::Tls => Ending::Unreachable,
            Self::TunnelTimeout | Self::HeadTimeout => Ending::Timeout,
            Self::Socks => Ending::NoWay,
            Self::Credentials => Ending::Credentials,
            Self::Challenge => Ending::Response(407, Origin::Either),
            Self::Reset => Ending::Reset,
            Self::Malformed => Ending::Malformed,
            Self::Refused(status) => Ending::Refused(status.as_u16()),
            Self::ClientBroke | Self::ClientStalled => Ending::Client,
            Self::Resolve | Self::Exhausted => Ending::Own,
        }
    }

    /// Its name in `Proxy-Status` (RFC 9209 §2.3).
    pub(crate) fn proxy_error(self) -> &'static str {
        match self {
            Self::Connect => "connection_refused",
            Self::ConnectTimeout | Self::TunnelTimeout => "connection_timeout",
            Self::Exhausted => "proxy_internal_error",
            Self::Tls => "tls_protocol_error",
            Self::Socks => "destination_unavailable",
            Self::Resolve => "dns_error",
            Self::Credentials | Self::Challenge | Self::Malformed | Self::Refused(_) => {
                "http_protocol_error"
            }
            Self::HeadTimeout => "http_response_timeout",
            Self::ClientBroke | Self::ClientStalled => "http_request_error",
            Self::Reset => "connection_terminated",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the upstream proxy cannot be reached",
            Self::ConnectTimeout => "the upstream proxy did not accept the connection in time",
            Self::Exhausted => "remora has no file descriptor or port left for a connection",
            Self::TunnelTimeout => "the upstream proxy did not open the tunnel in time",
            Self::Tls => "no TLS with the upstream proxy, or its certificate does not hold",
            Self::Socks => "the SOCKS5 proxy refused, or does not reach the target",
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
            Self::Refused(status) => {
                return write!(f, "the upstream proxy refused the tunnel with {status}");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_the_proxys_or_the_clients_and_a_timeout_is_a_504() {
        let forbidden = StatusCode::FORBIDDEN;
        for (fault, ending, code) in [
            (Fault::Connect, Ending::Unreachable, 502),
            (Fault::ConnectTimeout, Ending::Unreachable, 504),
            (Fault::Tls, Ending::Unreachable, 502),
            (Fault::TunnelTimeout, Ending::Timeout, 504),
            (Fault::HeadTimeout, Ending::Timeout, 504),
            (Fault::Socks, Ending::NoWay, 502),
            (Fault::Credentials, Ending::Credentials, 502),
            (Fault::Challenge, Ending::Response(407, Origin::Either), 502),
            (Fault::Reset, Ending::Reset, 502),
            (Fault::Malformed, Ending::Malformed, 502),
            (Fault::Refused(forbidden), Ending::Refused(403), 502),
            (Fault::ClientBroke, Ending::Client, 400),
            (Fault::ClientStalled, Ending::Client, 408),
            (Fault::Resolve, Ending::Own, 502),
            (Fault::Exhausted, Ending::Own, 503),
        ] {
            assert_eq!((fault.ending(), fault.status().as_u16()), (ending, code));
        }
    }
}
