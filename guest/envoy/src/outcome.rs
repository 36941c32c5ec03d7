//! The end of a stream: from Envoy's words to those of [`remora_http`].

use remora_http::{AttemptEnd, ResponseSource, TunnelTraffic};

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

/// Envoy's name for a stream in which nothing has moved for too long.
const IDLE: &str = "stream_idle_timeout";

/// The name of what `remora envoy` puts in the place of a 407.
const CHALLENGED: &str = "upstream_refuses_credentials";

impl Logged<'_> {
    /// The end of the attempt.
    pub fn attempt_end(&self) -> AttemptEnd {
        let details = self.details;
        let opened = self.tunnel && (200..300).contains(&self.status);
        if opened && !details.starts_with(RESET_EARLY) {
            return AttemptEnd::Tunnel(TunnelTraffic {
                sent: self.sent,
                received: self.received,
                client_left: details.starts_with("downstream_"),
                timed_out: details == IDLE,
            });
        }
        if details == VIA_UPSTREAM {
            return self.answer(self.status);
        }
        // Envoy has no room, or does not know the address (yet).
        let own = ["overflow", "cluster_not_found", "no_healthy_upstream"];
        if own.iter().any(|own| details.contains(own)) {
            return AttemptEnd::Local;
        }
        if details.starts_with(RESET_EARLY) && details.contains("protocol_error") {
            // Only the proxy answers CONNECT.
            return if self.tunnel {
                AttemptEnd::HandshakeMalformed
            } else {
                AttemptEnd::Malformed
            };
        }
        let unreachable = ["connection_failure", "connection_timeout"];
        if unreachable.iter().any(|why| details.contains(why)) {
            return AttemptEnd::Unreachable;
        }
        match details {
            CHALLENGED => self.answer(407),
            // No answer to CONNECT, and nothing else that could be late: by the filter's limit, or Envoy's for what is idle.
            _ if self.tunnel && !opened && matches!(self.status, 408 | 504) => AttemptEnd::Timeout,
            IDLE if self.status == 408 => AttemptEnd::Client,
            // The head was there. (Envoy says the same of a client that stops reading.)
            IDLE if self.status != 504 => AttemptEnd::StalledBody,
            IDLE | "response_timeout" | "upstream_per_try_timeout" => AttemptEnd::Timeout,
            "connect_timeout" => AttemptEnd::Unreachable,
            _ if details.starts_with("upstream_reset_after") => AttemptEnd::BrokenBody,
            _ if details.starts_with("upstream_") => AttemptEnd::Reset,
            _ if details.starts_with("response_payload_too_") => AttemptEnd::Reset,
            // The same words are used for what the client sent.
            _ if details.starts_with("http1.") && self.status != 400 => AttemptEnd::Malformed,
            // The client went away, or sent what is no request; or Envoy itself refused.
            _ => AttemptEnd::Client,
        }
    }

    /// An answer of the upstream proxy.
    fn answer(&self, status: u16) -> AttemptEnd {
        if self.tunnel {
            AttemptEnd::ConnectRefused(status)
        } else {
            AttemptEnd::Response(status, ResponseSource::ProxyOrTarget)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_core::Outcome;
    use remora_http::StatusClassifier;

    fn plain(status: u16, details: &str) -> Outcome {
        let logged = Logged {
            status,
            details,
            tunnel: false,
            sent: false,
            received: false,
        };
        logged
            .attempt_end()
            .outcome(&StatusClassifier::default(), "a.example")
    }

    #[test]
    fn upstream_status_has_the_outcome_of_the_classifier() {
        assert_eq!(plain(404, VIA_UPSTREAM), Outcome::Success);
        assert_eq!(plain(403, VIA_UPSTREAM), Outcome::Blocked);
        assert_eq!(plain(502, VIA_UPSTREAM), Outcome::Ambiguous);
        assert_eq!(plain(502, CHALLENGED), Outcome::Ambiguous);
    }

    #[test]
    fn end_is_the_proxys_ambiguous_the_clients_or_envoys_own() {
        for (status, details, outcome) in [
            (
                503,
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
                Outcome::Failure,
            ),
            (
                503,
                "upstream_reset_before_response_started{connection_termination}",
                Outcome::Ambiguous,
            ),
            (
                503,
                "upstream_reset_before_response_started{connection_timeout}",
                Outcome::Failure,
            ),
            (
                200,
                "upstream_reset_after_response_started{connection_termination}",
                Outcome::Ambiguous,
            ),
            (
                502,
                "upstream_reset_before_response_started{protocol_error}",
                Outcome::Ambiguous,
            ),
            (502, "http1.codec_error", Outcome::Ambiguous),
            // It had begun well.
            (
                200,
                "upstream_reset_after_response_started{protocol_error}",
                Outcome::Ambiguous,
            ),
            (504, "response_timeout", Outcome::TimedOut),
            (504, "upstream_per_try_timeout", Outcome::TimedOut),
            (
                503,
                "upstream_reset_before_response_started{overflow}",
                Outcome::Cancelled,
            ),
            (503, "no_healthy_upstream", Outcome::Cancelled),
            (0, "downstream_remote_disconnect", Outcome::Cancelled),
            (200, "downstream_remote_disconnect", Outcome::Cancelled),
            (408, "stream_idle_timeout", Outcome::Cancelled),
            (504, "stream_idle_timeout", Outcome::TimedOut),
            (200, "stream_idle_timeout", Outcome::TimedOut),
            (400, "http1.codec_error", Outcome::Cancelled),
        ] {
            assert_eq!(plain(status, details), outcome, "{status} {details}");
        }
    }

    #[test]
    fn tunnel_without_a_byte_back_is_ambiguous_where_the_client_had_sent_and_was_still_there() {
        let ended = |details, status, sent, received| {
            let logged = Logged {
                status,
                details,
                tunnel: true,
                sent,
                received,
            };
            logged
                .attempt_end()
                .outcome(&StatusClassifier::default(), "a.example")
        };
        let (left, closed) = ("downstream_remote_disconnect", VIA_UPSTREAM);
        assert_eq!(ended(closed, 200, true, false), Outcome::Ambiguous);
        assert_eq!(ended(left, 200, true, false), Outcome::Cancelled);
        assert_eq!(ended(closed, 200, false, false), Outcome::Cancelled);
        assert_eq!(ended(left, 200, false, false), Outcome::Cancelled);
        assert_eq!(ended(left, 200, true, true), Outcome::Success);
        assert_eq!(ended(closed, 200, false, true), Outcome::Success);
        let garbled = "upstream_reset_before_response_started{protocol_error}";
        assert_eq!(ended(garbled, 502, false, false), Outcome::Failure);
        assert_eq!(ended(VIA_UPSTREAM, 404, false, false), Outcome::Ambiguous);
        assert_eq!(ended(VIA_UPSTREAM, 403, false, false), Outcome::Ambiguous);
        // No answer at all.
        assert_eq!(ended("", 504, false, false), Outcome::TimedOut);
        let idle = "stream_idle_timeout";
        assert_eq!(ended(idle, 408, true, false), Outcome::TimedOut);
        assert_eq!(ended(idle, 200, true, false), Outcome::TimedOut);
        assert_eq!(ended(idle, 200, false, false), Outcome::Cancelled);
    }
}
