//! The outcome of a tunnel (DESIGN rule 13, *attribution*).

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
    /// Whether the tunnel ended because nothing had moved for too long.
    pub timed_out: bool,
}

impl TunnelTraffic {
    /// The outcome of a tunnel that has ended.
    pub fn outcome(self) -> Outcome {
        if self.received {
            Outcome::Success
        } else if self.client_left || !self.sent {
            // The client did not wait for an answer, or asked for nothing.
            Outcome::Cancelled
        } else if self.timed_out {
            Outcome::TimedOut
        } else {
            Outcome::Ambiguous
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_without_a_byte_back_is_ambiguous_where_the_client_had_sent_and_was_still_there() {
        let outcome = |sent, received, client_left, timed_out| {
            let traffic = TunnelTraffic {
                sent,
                received,
                client_left,
                timed_out,
            };
            traffic.outcome()
        };
        assert_eq!(outcome(true, false, false, false), Outcome::Ambiguous);
        assert_eq!(outcome(true, false, false, true), Outcome::TimedOut);
        // A ClientHello, and gone before the answer.
        assert_eq!(outcome(true, false, true, false), Outcome::Cancelled);
        // Opened ahead and never used.
        assert_eq!(outcome(false, false, false, false), Outcome::Cancelled);
        assert_eq!(outcome(false, false, false, true), Outcome::Cancelled);
        assert_eq!(outcome(false, false, true, false), Outcome::Cancelled);
        for end in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(outcome(end.0, true, end.1, false), Outcome::Success);
        }
    }
}
