//! What an answer or a fault says about the proxy it came through.

use hyper::StatusCode;
use remora_host::Outcome;

/// What can go wrong before a response is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Connect,
    /// No connection within `timeouts.connect`.
    ConnectTimeout,
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
    /// What it says about the proxy.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Refused(StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) => {
                Outcome::Blocked
            }
            Self::ClientBroke | Self::ClientStalled => Outcome::Cancelled,
            _ => Outcome::Failure,
        }
    }

    /// What the client gets.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientBroke => StatusCode::BAD_REQUEST,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// What the client is told.
    pub(crate) fn explain(self) -> String {
        match self {
            Self::Connect => "the upstream proxy cannot be reached".into(),
            Self::ConnectTimeout => {
                "the upstream proxy did not accept the connection in time".into()
            }
            Self::Credentials => "the upstream proxy does not accept remora's credentials".into(),
            Self::HeadTimeout => "no response came through the upstream proxy in time".into(),
            Self::ClientBroke => "the request's body broke off or is malformed".into(),
            Self::ClientStalled => "the rest of the request's body did not come in time".into(),
            Self::Reset => "the upstream proxy closed the connection before a response".into(),
            Self::Refused(status) => format!("the upstream proxy refused the tunnel with {status}"),
        }
    }
}

/// What the status of a response says about the proxy.
pub(crate) fn response(status: StatusCode) -> Outcome {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Failure
        }
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Outcome::Blocked,
        _ => Outcome::Success,
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
            assert_eq!(
                response(StatusCode::from_u16(code).unwrap()),
                outcome,
                "{code}"
            );
        }
    }

    #[test]
    fn a_fault_is_the_proxys_or_the_clients_and_a_timeout_is_a_504() {
        for (fault, status) in [
            (Fault::Connect, 502),
            (Fault::ConnectTimeout, 504),
            (Fault::Credentials, 502),
            (Fault::HeadTimeout, 504),
            (Fault::Reset, 502),
            (Fault::Refused(StatusCode::BAD_GATEWAY), 502),
        ] {
            assert_eq!(
                (fault.outcome(), fault.status().as_u16()),
                (Outcome::Failure, status)
            );
        }
        for (fault, status) in [(Fault::ClientBroke, 400), (Fault::ClientStalled, 408)] {
            assert_eq!(
                (fault.outcome(), fault.status().as_u16()),
                (Outcome::Cancelled, status)
            );
        }
        let refused = Fault::Refused(StatusCode::FORBIDDEN);
        assert_eq!(refused.outcome(), Outcome::Blocked);
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
