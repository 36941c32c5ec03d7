//! How a stream ended, from Envoy's words to the core's: the table of `docs/envoy.md`.

use remora_core::{Flow, Origin, Outcome, Verdicts};

/// How a stream ended, in Envoy's words.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// The status that the client got, 0 for none.
    pub status: u16,
    /// `response.code_details`: who said so and why.
    pub details: &'a str,
    /// Whether it was a CONNECT.
    pub tunnel: bool,
    /// For a tunnel, whether a byte went to and came from the far side.
    pub sent: bool,
    /// See there.
    pub received: bool,
}

/// Envoy's name for a response that came from the upstream proxy.
pub const VIA_UPSTREAM: &str = "via_upstream";

impl Ending<'_> {
    /// Whether the target may have caused a failure as well: the proxy could be talked to.
    pub fn may_be_the_targets(&self) -> bool {
        let opened = self.tunnel && (200..300).contains(&self.status);
        let proxys = [
            "connection_failure",
            "connection_timeout",
            "refuses_credentials",
        ];
        !opened && !proxys.iter().any(|own| self.details.contains(own))
    }

    /// The outcome of a request to `host`.
    pub fn outcome(&self, verdicts: &Verdicts, host: &str) -> Outcome {
        let details = self.details;
        let opened = self.tunnel && (200..300).contains(&self.status);
        if opened && !details.starts_with("upstream_reset_before") {
            let flow = Flow {
                sent: self.sent,
                received: self.received,
                client_left: details.starts_with("downstream_"),
            };
            return flow.outcome();
        }
        if details == VIA_UPSTREAM {
            return if self.tunnel {
                verdicts.refused(host, self.status)
            } else {
                verdicts.response(host, self.status, Origin::Either)
            };
        }
        // Not the proxy's fault: Envoy has no room, or does not know the address (yet).
        let own = ["overflow", "cluster_not_found", "no_healthy_upstream"];
        if own.iter().any(|own| details.contains(own)) {
            return Outcome::Cancelled;
        }
        let faults = [
            "upstream_",
            "response_timeout",
            "response_payload_too_",
            "connect_timeout",
            "http1.",
        ];
        match details {
            // The same words are used for what the client sent.
            _ if details.starts_with("http1.") && self.status == 400 => Outcome::Cancelled,
            _ if faults.iter().any(|fault| details.starts_with(fault)) => Outcome::Failure,
            "stream_idle_timeout" if self.status == 504 => Outcome::Failure,
            // No answer to CONNECT, and nothing else that could be late: by the filter's limit, or Envoy's for what is idle.
            _ if self.tunnel && matches!(self.status, 408 | 504) => Outcome::Failure,
            // The client went away, or sent what is no request; or Envoy itself refused.
            _ => Outcome::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(status: u16, details: &str) -> Outcome {
        let ending = Ending {
            status,
            details,
            tunnel: false,
            sent: false,
            received: false,
        };
        ending.outcome(&Verdicts::default(), "a.example")
    }

    #[test]
    fn a_status_that_came_from_upstream_is_the_cores_to_judge() {
        assert_eq!(plain(404, VIA_UPSTREAM), Outcome::Success);
        assert_eq!(plain(403, VIA_UPSTREAM), Outcome::Blocked);
        assert_eq!(plain(502, VIA_UPSTREAM), Outcome::Failure);
    }

    #[test]
    fn a_proxy_that_could_be_talked_to_may_have_failed_because_of_the_target() {
        for (status, details, targets) in [
            (503, VIA_UPSTREAM, true),
            (504, "upstream_per_try_timeout", true),
            (
                503,
                "upstream_reset_before_response_started{connection_termination}",
                true,
            ),
            (
                503,
                "upstream_reset_before_response_started{remote_connection_failure|a}",
                false,
            ),
            (
                503,
                "upstream_reset_before_response_started{connection_timeout}",
                false,
            ),
            (502, "upstream_refuses_credentials", false),
        ] {
            let ending = Ending {
                status,
                details,
                tunnel: false,
                sent: false,
                received: false,
            };
            assert_eq!(ending.may_be_the_targets(), targets, "{details}");
        }
        assert_eq!(plain(502, "upstream_refuses_credentials"), Outcome::Failure);
    }

    #[test]
    fn an_ending_is_the_proxys_the_clients_or_envoys_own() {
        for (status, details, outcome) in [
            (
                503,
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
                Outcome::Failure,
            ),
            (
                503,
                "upstream_reset_before_response_started{connection_termination}",
                Outcome::Failure,
            ),
            (
                503,
                "upstream_reset_before_response_started{connection_timeout}",
                Outcome::Failure,
            ),
            (
                200,
                "upstream_reset_after_response_started{connection_termination}",
                Outcome::Failure,
            ),
            (504, "response_timeout", Outcome::Failure),
            (504, "upstream_per_try_timeout", Outcome::Failure),
            (
                503,
                "upstream_reset_before_response_started{overflow}",
                Outcome::Cancelled,
            ),
            (503, "no_healthy_upstream", Outcome::Cancelled),
            (0, "downstream_remote_disconnect", Outcome::Cancelled),
            (200, "downstream_remote_disconnect", Outcome::Cancelled),
            (408, "stream_idle_timeout", Outcome::Cancelled),
            (504, "stream_idle_timeout", Outcome::Failure),
            (400, "http1.codec_error", Outcome::Cancelled),
        ] {
            assert_eq!(plain(status, details), outcome, "{status} {details}");
        }
    }

    #[test]
    fn a_tunnel_without_one_byte_back_is_a_failure_unless_nothing_was_asked() {
        let ended = |details, status, sent, received| {
            let ending = Ending {
                status,
                details,
                tunnel: true,
                sent,
                received,
            };
            ending.outcome(&Verdicts::default(), "a.example")
        };
        let (left, closed) = ("downstream_remote_disconnect", VIA_UPSTREAM);
        assert_eq!(ended(closed, 200, true, false), Outcome::Failure);
        assert_eq!(ended(left, 200, true, false), Outcome::Failure);
        assert_eq!(ended(closed, 200, false, false), Outcome::Failure);
        assert_eq!(ended(left, 200, false, false), Outcome::Cancelled);
        assert_eq!(ended(left, 200, true, true), Outcome::Success);
        assert_eq!(ended(closed, 200, false, true), Outcome::Success);
        assert_eq!(ended(VIA_UPSTREAM, 404, false, false), Outcome::Failure);
        assert_eq!(ended(VIA_UPSTREAM, 403, false, false), Outcome::Blocked);
        // No answer at all.
        assert_eq!(ended("", 504, false, false), Outcome::Failure);
        let idle = "stream_idle_timeout";
        assert_eq!(ended(idle, 408, true, false), Outcome::Failure);
    }
}
