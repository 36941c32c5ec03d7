//! What the end of a stream says about the proxy: the table of `docs/envoy.md`.

use remora_core::{Invalid, Outcome, Patterns};

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
    pub(crate) fn check(&self, at: &str) -> Result<(), Invalid> {
        for (name, list) in [
            ("failure_statuses", &self.failure),
            ("blocked_statuses", &self.blocked),
        ] {
            if let Some(status) = list.iter().find(|status| !(200..=599).contains(*status)) {
                return Err(Invalid {
                    field: format!("{at}.{name}"),
                    value: status.to_string(),
                    accepted: "statuses from 200 to 599".into(),
                });
            }
        }
        match self.failure.iter().find(|s| self.blocked.contains(s)) {
            None => Ok(()),
            Some(both) => Err(Invalid {
                field: format!("{at}.blocked_statuses"),
                value: both.to_string(),
                accepted: "each status in one of `failure_statuses` and `blocked_statuses`".into(),
            }),
        }
    }

    fn outcome(&self, status: u16) -> Outcome {
        if self.failure.contains(&status) {
            Outcome::Failure
        } else if self.blocked.contains(&status) {
            Outcome::Blocked
        } else {
            Outcome::Success
        }
    }
}

/// The verdicts: the same everywhere, but for what some hosts mean by a status.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// Where nothing else is said.
    pub general: Statuses,
    /// By host.
    pub special: Patterns<Statuses>,
}

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

impl Verdicts {
    /// The outcome of a request to `host`.
    pub fn of(&self, host: &str, ending: &Ending<'_>) -> Outcome {
        let opened = ending.tunnel && (200..300).contains(&ending.status);
        if opened && !ending.details.starts_with("upstream_reset_before") {
            return tunnel(ending);
        }
        let details = ending.details;
        if details == VIA_UPSTREAM {
            return self.status(host, ending);
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
            _ if details.starts_with("http1.") && ending.status == 400 => Outcome::Cancelled,
            _ if faults.iter().any(|fault| details.starts_with(fault)) => Outcome::Failure,
            "stream_idle_timeout" if ending.status == 504 => Outcome::Failure,
            // The client went away, or sent what is no request; or Envoy itself refused.
            _ => Outcome::Cancelled,
        }
    }

    fn status(&self, host: &str, ending: &Ending<'_>) -> Outcome {
        // The upstream proxy does not accept the credentials, whatever the table says.
        if ending.status == 407 {
            return Outcome::Failure;
        }
        let statuses = self.special.find(host).unwrap_or(&self.general);
        match statuses.outcome(ending.status) {
            // Whatever else it is refused with, a tunnel that does not come about is a failure.
            Outcome::Success if ending.tunnel => Outcome::Failure,
            outcome => outcome,
        }
    }
}

fn tunnel(ending: &Ending<'_>) -> Outcome {
    let client_left = ending.details.starts_with("downstream_");
    if ending.received {
        Outcome::Success
    } else if client_left && !ending.sent {
        // It never asked for anything: no answer is no fault.
        Outcome::Cancelled
    } else {
        Outcome::Failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(status: u16, details: &str) -> Outcome {
        Verdicts::default().of(
            "a.example",
            &Ending {
                status,
                details,
                tunnel: false,
                sent: false,
                received: false,
            },
        )
    }

    #[test]
    fn a_status_is_a_verdict_on_the_proxy_the_exit_or_nobody() {
        for (status, outcome) in [
            (200, Outcome::Success),
            (301, Outcome::Success),
            (404, Outcome::Success),
            (500, Outcome::Success),
            (403, Outcome::Blocked),
            (429, Outcome::Blocked),
            (407, Outcome::Failure),
            (502, Outcome::Failure),
            (503, Outcome::Failure),
            (504, Outcome::Failure),
        ] {
            assert_eq!(plain(status, VIA_UPSTREAM), outcome, "{status}");
        }
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
            Verdicts::default().of("a.example", &ending)
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
    }

    #[test]
    fn a_host_may_mean_something_else_by_a_status() {
        let mut verdicts = Verdicts::default();
        let special = Statuses {
            failure: vec![],
            blocked: vec![503],
        };
        verdicts
            .special
            .insert("outcome.override[0]", "*.shop.example", special)
            .unwrap();
        let says = |host: &str, status| {
            let ending = Ending {
                status,
                details: VIA_UPSTREAM,
                tunnel: false,
                sent: false,
                received: false,
            };
            verdicts.of(host, &ending)
        };
        assert_eq!(says("www.Shop.example:443", 503), Outcome::Blocked);
        assert_eq!(says("www.shop.example", 403), Outcome::Success);
        assert_eq!(says("other.example", 503), Outcome::Failure);
    }
}
