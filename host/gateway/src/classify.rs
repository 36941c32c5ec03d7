//! What an answer or a fault says about the proxy it came through.

use std::fmt;

use hyper::StatusCode;
use remora_host::{Invalid, Outcome, Patterns};

/// What can go wrong before a response is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Connect,
    /// No connection within `timeouts.connect`.
    ConnectTimeout,
    /// This machine has no file descriptor or port left for a connection.
    Exhausted,
    /// No TLS with the upstream proxy: it speaks none, or its certificate does not hold.
    Tls,
    /// The SOCKS5 proxy did not come to terms, or does not reach the target.
    Socks,
    /// The target's name, which a `socks5://` proxy wants resolved on this side, does not resolve.
    Resolve,
    /// The upstream proxy does not accept the credentials.
    Credentials,
    /// No response head within `timeouts.head` of all that the client sent.
    HeadTimeout,
    /// The client broke off its request, or sent what is no body.
    ClientBroke,
    /// The client sent nothing more of its request's body for `timeouts.head`.
    ClientStalled,
    /// The connection ended before the response head.
    Reset,
    /// The upstream proxy answered CONNECT with something else than 2xx.
    Refused(StatusCode),
}

impl Fault {
    /// What the client gets.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientBroke => StatusCode::BAD_REQUEST,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Its name in `Proxy-Status` (RFC 9209 §2.3).
    pub(crate) fn proxy_error(self) -> &'static str {
        match self {
            Self::Connect => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Exhausted => "proxy_internal_error",
            Self::Tls => "tls_protocol_error",
            Self::Socks => "destination_unavailable",
            Self::Resolve => "dns_error",
            Self::Credentials | Self::Refused(_) => "http_protocol_error",
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
            Self::Tls => "no TLS with the upstream proxy, or its certificate does not hold",
            Self::Socks => "the SOCKS5 proxy refused, or does not reach the target",
            Self::Resolve => "the target's name does not resolve here",
            Self::Credentials => "the upstream proxy does not accept remora's credentials",
            Self::HeadTimeout => "no response came through the upstream proxy in time",
            Self::ClientBroke => "the request's body broke off or is malformed",
            Self::ClientStalled => "the rest of the request's body did not come in time",
            Self::Reset => "the upstream proxy closed the connection before a response",
            Self::Refused(status) => {
                return write!(f, "the upstream proxy refused the tunnel with {status}");
            }
        })
    }
}

/// Which statuses say something about the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// The proxy is bad.
    pub failure: Vec<u16>,
    /// The target refuses this exit.
    pub blocked: Vec<u16>,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            failure: vec![502, 503, 504],
            blocked: vec![403, 429],
        }
    }
}

impl Statuses {
    fn outcome(&self, status: StatusCode) -> Outcome {
        let code = status.as_u16();
        if self.failure.contains(&code) {
            Outcome::Failure
        } else if self.blocked.contains(&code) {
            Outcome::Blocked
        } else {
            Outcome::Success
        }
    }
}

/// The verdicts: the same everywhere, but for what some hosts mean by a status.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    general: Statuses,
    special: Patterns<Statuses>,
}

impl Verdicts {
    /// With these statuses where nothing else is said.
    pub fn new(general: Statuses) -> Self {
        let special = Patterns::default();
        Self { general, special }
    }

    /// With other statuses for the hosts that match; `at` names the entry in the error.
    ///
    /// # Errors
    ///
    /// [`Invalid`] when `pattern` is none, or is there already.
    pub fn with(mut self, at: &str, pattern: &str, statuses: Statuses) -> Result<Self, Invalid> {
        self.special.insert(at, pattern, statuses)?;
        Ok(self)
    }

    /// What the status of a response from `host` says.
    pub(crate) fn response(&self, host: &str, status: StatusCode) -> Outcome {
        self.special
            .find(host)
            .unwrap_or(&self.general)
            .outcome(status)
    }

    /// What a fault on the way to `host` says.
    pub(crate) fn fault(&self, host: &str, fault: Fault) -> Outcome {
        match fault {
            // Whatever else it is refused with, a tunnel that does not come about is a failure.
            Fault::Refused(status) => match self.response(host, status) {
                Outcome::Blocked => Outcome::Blocked,
                _ => Outcome::Failure,
            },
            Fault::ClientBroke | Fault::ClientStalled | Fault::Resolve | Fault::Exhausted => {
                Outcome::Cancelled
            }
            _ => Outcome::Failure,
        }
    }
}

/// How a tunnel went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Bytes from the client.
    pub(crate) sent: u64,
    /// Bytes from the far side.
    pub(crate) received: u64,
    /// Whether it was the client that ended it.
    pub(crate) client_left: bool,
}

/// What a tunnel that has ended says about the proxy.
pub(crate) fn tunnel(flow: Flow) -> Outcome {
    if flow.received > 0 {
        Outcome::Success
    } else if flow.client_left && flow.sent == 0 {
        // It never asked for anything: no answer is no fault.
        Outcome::Cancelled
    } else {
        Outcome::Failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn a_status_is_a_verdict_on_the_proxy_the_exit_or_nobody() {
        for (code, outcome) in [
            (200, Outcome::Success),
            (301, Outcome::Success),
            (404, Outcome::Success),
            (500, Outcome::Success),
            (403, Outcome::Blocked),
            (429, Outcome::Blocked),
            (502, Outcome::Failure),
            (503, Outcome::Failure),
            (504, Outcome::Failure),
        ] {
            let verdict = Verdicts::default().response("a.example", status(code));
            assert_eq!(verdict, outcome, "{code}");
        }
    }

    #[test]
    fn a_host_may_mean_something_else_by_a_status() {
        let special = Statuses {
            failure: vec![],
            blocked: vec![503],
        };
        let verdicts = Verdicts::default()
            .with("outcome.override[0]", "*.shop.example", special)
            .unwrap();
        let says = |host: &str, code| verdicts.response(host, status(code));
        assert_eq!(says("www.Shop.example:443", 503), Outcome::Blocked);
        assert_eq!(says("www.shop.example", 403), Outcome::Success);
        assert_eq!(says("other.example", 503), Outcome::Failure);
        let error = verdicts
            .with("outcome.override[1]", "*.*", Statuses::default())
            .unwrap_err();
        assert_eq!(error.field, "outcome.override[1].match");
    }

    #[test]
    fn a_fault_is_the_proxys_or_the_clients_and_a_timeout_is_a_504() {
        let verdict = |fault| Verdicts::default().fault("a.example", fault);
        for (fault, code) in [
            (Fault::Connect, 502),
            (Fault::ConnectTimeout, 504),
            (Fault::Tls, 502),
            (Fault::Socks, 502),
            (Fault::Credentials, 502),
            (Fault::HeadTimeout, 504),
            (Fault::Reset, 502),
            (Fault::Refused(status(502)), 502),
            (Fault::Refused(status(404)), 502),
        ] {
            assert_eq!(
                (verdict(fault), fault.status().as_u16()),
                (Outcome::Failure, code)
            );
        }
        for (fault, code) in [
            (Fault::ClientBroke, 400),
            (Fault::ClientStalled, 408),
            (Fault::Resolve, 502),
            (Fault::Exhausted, 503),
        ] {
            assert_eq!(
                (verdict(fault), fault.status().as_u16()),
                (Outcome::Cancelled, code)
            );
        }
        assert_eq!(verdict(Fault::Refused(status(403))), Outcome::Blocked);
    }

    #[test]
    fn a_tunnel_without_one_byte_back_is_a_failure_unless_nothing_was_asked() {
        let flow = |sent, received, client_left| {
            tunnel(Flow {
                sent,
                received,
                client_left,
            })
        };
        assert_eq!(flow(500, 0, false), Outcome::Failure);
        assert_eq!(flow(500, 0, true), Outcome::Failure);
        assert_eq!(flow(0, 0, false), Outcome::Failure);
        assert_eq!(flow(0, 0, true), Outcome::Cancelled);
        assert_eq!(flow(500, 1, true), Outcome::Success);
        assert_eq!(flow(0, 1, false), Outcome::Success);
    }
}
