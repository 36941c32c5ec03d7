//! How a stream ended, from Envoy's words to the core's.

use remora_core::{Ending, Flow, Origin, Outcome, Verdicts};

/// How a stream ended, in Envoy's words.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
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

/// Envoy's names for a connection that ended before the head of the response.
const RESET_EARLY: &str = "upstream_reset_before";

/// The name of what `remora envoy` puts in the place of a 407.
const CHALLENGED: &str = "upstream_refuses_credentials";

impl Logged<'_> {
    /// Whether the target may have caused a failure as well.
    pub fn may_be_the_targets(&self) -> bool {
        self.ending().may_be_the_targets()
    }

    /// The outcome of a request to `host`.
    pub fn outcome(&self, verdicts: &Verdicts, host: &str) -> Outcome {
        self.ending().outcome(verdicts, host)
    }

    /// In the core's words.
    fn ending(&self) -> Ending {
        let details = self.details;
        let opened = self.tunnel && (200..300).contains(&self.status);
        if opened && !details.starts_with(RESET_EARLY) {
            return Ending::Tunnel(Flow {
                sent: self.sent,
                received: self.received,
                client_left: details.starts_with("downstream_"),
            });
        }
        if details == VIA_UPSTREAM {
            return if self.tunnel {
                Ending::Refused(self.status)
            } else {
                Ending::Response(self.status, Origin::Either)
            };
        }
        // Envoy has no room, or does not know the address (yet).
        let own = ["overflow", "cluster_not_found", "no_healthy_upstream"];
        if own.iter().any(|own| details.contains(own)) {
            return Ending::Own;
        }
        if details.starts_with(RESET_EARLY) && details.contains("protocol_error") {
            // What comes once a response has begun is of no doubt, and CONNECT the proxy alone answers.
            return if self.tunnel {
                Ending::Reset
            } else {
                Ending::Malformed
            };
        }
        let unreachable = ["connection_failure", "connection_timeout"];
        if unreachable.iter().any(|why| details.contains(why)) {
            return Ending::Unreachable;
        }
        match details {
            CHALLENGED if self.tunnel => Ending::Refused(407),
            CHALLENGED => Ending::Response(407, Origin::Either),
            // No answer to CONNECT, and nothing else that could be late: by the filter's limit, or Envoy's for what is idle.
            _ if self.tunnel && !opened && matches!(self.status, 408 | 504) => Ending::Timeout,
            "stream_idle_timeout" if self.status != 504 => Ending::Client,
            "stream_idle_timeout" | "response_timeout" | "upstream_per_try_timeout" => {
                Ending::Timeout
            }
            "connect_timeout" => Ending::Unreachable,
            _ if details.starts_with("upstream_") => Ending::Reset,
            _ if details.starts_with("response_payload_too_") => Ending::Reset,
            // The same words are used for what the client sent.
            _ if details.starts_with("http1.") && self.status != 400 => Ending::Malformed,
            // The client went away, or sent what is no request; or Envoy itself refused.
            _ => Ending::Client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(status: u16, details: &str) -> Outcome {
        let logged = Logged {
            status,
            details,
            tunnel: false,
            sent: false,
            received: false,
        };
        logged.outcome(&Verdicts::default(), "a.example")
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
            (502, CHALLENGED, true),
        ] {
            let ending = Logged {
                status,
                details,
                tunnel: false,
                sent: false,
                received: false,
            };
            assert_eq!(ending.may_be_the_targets(), targets, "{details}");
        }
        assert_eq!(plain(502, CHALLENGED), Outcome::Failure);
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
            (
                502,
                "upstream_reset_before_response_started{protocol_error}",
                Outcome::Blocked,
            ),
            (502, "http1.codec_error", Outcome::Blocked),
            // It had begun well.
            (
                200,
                "upstream_reset_after_response_started{protocol_error}",
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
            let logged = Logged {
                status,
                details,
                tunnel: true,
                sent,
                received,
            };
            logged.outcome(&Verdicts::default(), "a.example")
        };
        let (left, closed) = ("downstream_remote_disconnect", VIA_UPSTREAM);
        assert_eq!(ended(closed, 200, true, false), Outcome::Failure);
        assert_eq!(ended(left, 200, true, false), Outcome::Failure);
        assert_eq!(ended(closed, 200, false, false), Outcome::Failure);
        assert_eq!(ended(left, 200, false, false), Outcome::Cancelled);
        assert_eq!(ended(left, 200, true, true), Outcome::Success);
        assert_eq!(ended(closed, 200, false, true), Outcome::Success);
        let garbled = "upstream_reset_before_response_started{protocol_error}";
        assert_eq!(ended(garbled, 502, false, false), Outcome::Failure);
        assert_eq!(ended(VIA_UPSTREAM, 404, false, false), Outcome::Failure);
        assert_eq!(ended(VIA_UPSTREAM, 403, false, false), Outcome::Blocked);
        // No answer at all.
        assert_eq!(ended("", 504, false, false), Outcome::Failure);
        let idle = "stream_idle_timeout";
        assert_eq!(ended(idle, 408, true, false), Outcome::Failure);
    }
}
