//! The outcome of a tunnel.

use remora_core::Outcome;

/// The traffic of a tunnel that was open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelTraffic {
    /// Whether a byte came from the client.
    pub sent: bool,
    /// Whether a byte came from the far side.
    pub received: bool,
    /// Whether the client ended the tunnel.
    pub client_left: bool,
}

impl TunnelTraffic {
    /// The outcome of a tunnel that has ended.
    pub fn outcome(self) -> Outcome {
        if self.received {
            Outcome::Success
        } else if self.client_left && !self.sent {
            // The client asked for nothing: no answer is no failure.
            Outcome::Cancelled
        } else {
            Outcome::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_without_a_byte_back_is_a_failure_unless_the_client_sent_nothing() {
        let outcome = |sent, received, client_left| {
            let traffic = TunnelTraffic {
                sent,
                received,
                client_left,
            };
            traffic.outcome()
        };
        assert_eq!(outcome(true, false, false), Outcome::Failure);
        assert_eq!(outcome(true, false, true), Outcome::Failure);
        assert_eq!(outcome(false, false, false), Outcome::Failure);
        assert_eq!(outcome(false, false, true), Outcome::Cancelled);
        assert_eq!(outcome(true, true, true), Outcome::Success);
        assert_eq!(outcome(false, true, false), Outcome::Success);
    }
}
