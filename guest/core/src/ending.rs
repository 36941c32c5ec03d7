//! How the way of a request over a proxy ended, and whose fault that was. Each shell says in its own words what
//! happened; which of these that was is all that it decides.

use crate::engine::Outcome;
use crate::verdict::{Flow, Origin, Verdicts};

/// How the way of a request over a proxy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the head of a response: its status, and whom it is from.
    Response(u16, Origin),
    /// With a tunnel that was open.
    Tunnel(Flow),
    /// The proxy answered CONNECT with this status, which is no 2xx.
    Refused(u16),
    /// No connection to the proxy, or no TLS with it.
    Unreachable,
    /// The proxy does not accept the credentials, and nobody else can have said so.
    Credentials,
    /// A SOCKS proxy that does not come to terms, or does not reach the target.
    NoWay,
    /// There is a connection, and no answer came in time.
    Timeout,
    /// The connection ended before the answer did. Also for an answer to CONNECT that is no HTTP: that is the proxy's own.
    Reset,
    /// The response is no HTTP, or its head is larger than anybody's should be.
    Malformed,
    /// The client left, stalled, or sent what is no request.
    Client,
    /// This side could not: it is at a limit of its own, or does not know an address.
    Own,
}

impl Ending {
    /// What it says about the proxy, on the way to `host`.
    pub fn outcome(self, verdicts: &Verdicts, host: &str) -> Outcome {
        match self {
            Self::Response(status, from) => verdicts.response(host, status, from),
            Self::Tunnel(flow) => flow.outcome(),
            Self::Refused(status) => verdicts.refused(host, status),
            // Nobody can tell whether the proxy or the target wrote it. The session moves, and one odd target opens
            // no breaker.
            Self::Malformed => Outcome::Blocked,
            Self::Client | Self::Own => Outcome::Cancelled,
            Self::Unreachable | Self::Credentials | Self::NoWay | Self::Timeout | Self::Reset => {
                Outcome::Failure
            }
        }
    }

    /// Whether the target may have caused it as well: the proxy could be talked to. See [`Doubt`](crate::Doubt).
    pub fn may_be_the_targets(self) -> bool {
        match self {
            // In one stream nobody can tell who wants credentials; a CONNECT the proxy alone answers.
            Self::Response(..) => true,
            Self::Refused(status) => !Origin::Either.refuses_credentials(status),
            Self::Tunnel(_) | Self::NoWay | Self::Timeout | Self::Reset | Self::Malformed => true,
            Self::Unreachable | Self::Credentials | Self::Client | Self::Own => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ending: Ending) -> Outcome {
        ending.outcome(&Verdicts::default(), "a.example")
    }

    #[test]
    fn an_ending_is_the_proxys_unless_the_client_or_this_side_caused_it() {
        for ending in [
            Ending::Unreachable,
            Ending::Credentials,
            Ending::NoWay,
            Ending::Timeout,
            Ending::Reset,
            Ending::Refused(502),
            Ending::Refused(404),
            Ending::Response(502, Origin::Either),
            Ending::Tunnel(Flow::default()),
        ] {
            assert_eq!(outcome(ending), Outcome::Failure, "{ending:?}");
        }
        for ending in [Ending::Client, Ending::Own] {
            assert_eq!(outcome(ending), Outcome::Cancelled, "{ending:?}");
        }
        assert_eq!(outcome(Ending::Refused(403)), Outcome::Blocked);
    }

    #[test]
    fn what_is_no_http_moves_the_session_and_opens_no_breaker() {
        assert_eq!(outcome(Ending::Malformed), Outcome::Blocked);
    }

    #[test]
    fn an_ending_may_be_the_targets_where_the_proxy_could_be_talked_to() {
        for ending in [
            Ending::NoWay,
            Ending::Timeout,
            Ending::Reset,
            Ending::Refused(502),
            Ending::Response(502, Origin::Either),
        ] {
            assert!(ending.may_be_the_targets(), "{ending:?}");
        }
        for ending in [Ending::Unreachable, Ending::Credentials] {
            assert!(!ending.may_be_the_targets(), "{ending:?}");
        }
    }

    #[test]
    fn a_407_is_surely_the_proxys_only_where_it_answers_connect() {
        let (plain, connect) = (Ending::Response(407, Origin::Either), Ending::Refused(407));
        assert_eq!(
            (outcome(plain), outcome(connect)),
            (Outcome::Failure, Outcome::Failure)
        );
        assert!(plain.may_be_the_targets());
        assert!(!connect.may_be_the_targets());
    }
}
