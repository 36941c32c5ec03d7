//! Attribution of the failures of one request that goes through several proxies: the proxy's or the target's.

use crate::engine::Outcome;
use crate::pool::ProxyId;

/// Attributes the failures of one request, one proxy after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailureAttribution {
    ambiguous: bool,
}

impl FailureAttribution {
    /// The outcome to release the next proxy with. `target_may_be_at_fault`: the proxy was reached, so the target may have
    /// caused the failure. The first such failure is the proxy's. The second one is most likely the target's: the session
    /// moves, and one broken target does not open the breakers of all proxies.
    pub fn outcome(&mut self, outcome: Outcome, target_may_be_at_fault: bool) -> Outcome {
        let ambiguous = outcome == Outcome::Failure && target_may_be_at_fault;
        if ambiguous && self.ambiguous {
            return Outcome::Blocked;
        }
        self.ambiguous |= ambiguous;
        outcome
    }

    /// The same for a failover that the host did by itself, of which it knows only the end: the `passed` proxies that
    /// failed, and the outcome of the last one.
    ///
    /// If the last failure may be the target's, it is the second such failure at least. The host does not know how the
    /// `passed` ones ended, so none of them is charged.
    pub fn of_failover(
        passed: &[ProxyId],
        last: Outcome,
        target_may_be_at_fault: bool,
    ) -> (&[ProxyId], Outcome) {
        match last {
            Outcome::Failure if target_may_be_at_fault => (&[], Outcome::Blocked),
            last => (passed, last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_failure_that_may_be_the_targets_is_not_charged() {
        let mut attribution = FailureAttribution::default();
        let mut outcome = |outcome, target| attribution.outcome(outcome, target);
        assert_eq!(outcome(Outcome::Success, true), Outcome::Success);
        assert_eq!(outcome(Outcome::Failure, false), Outcome::Failure);
        assert_eq!(outcome(Outcome::Failure, true), Outcome::Failure);
        assert_eq!(outcome(Outcome::Failure, true), Outcome::Blocked);
        // An unreachable proxy is at fault whatever the target does.
        assert_eq!(outcome(Outcome::Failure, false), Outcome::Failure);
        assert_eq!(outcome(Outcome::Blocked, true), Outcome::Blocked);
        assert_eq!(outcome(Outcome::Cancelled, true), Outcome::Cancelled);
    }

    #[test]
    fn failover_that_ends_with_a_failure_of_the_target_charges_no_proxy() {
        let passed = [ProxyId::from_u128(1)];
        let failover = |last, target| FailureAttribution::of_failover(&passed, last, target);
        let none: &[ProxyId] = &[];
        assert_eq!(failover(Outcome::Failure, true), (none, Outcome::Blocked));
        for (last, target) in [
            (Outcome::Failure, false),
            (Outcome::Success, true),
            (Outcome::Blocked, true),
            (Outcome::Cancelled, true),
        ] {
            assert_eq!(failover(last, target), (&passed[..], last));
        }
    }
}
