//! The outcome of a response's status, in general and for some hosts.

use alloc::format;
use alloc::vec::Vec;

use remora_core::{Invalid, Outcome, Patterns};

/// The statuses that are not a success for the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statuses {
    /// The proxy or the target failed: ambiguous.
    failure: Vec<u16>,
    /// The target refuses this exit.
    blocked: Vec<u16>,
}

impl Default for Statuses {
    /// Gateways answer 502, 503 and 504 for themselves; targets turn an exit away with 403 and 429.
    fn default() -> Self {
        Self {
            failure: Vec::from([502, 503, 504]),
            blocked: Vec::from([403, 429]),
        }
    }
}

impl Statuses {
    /// These with the given lists in place of their own. `at`: the table's name in errors.
    fn with(
        &self,
        at: &str,
        failure: Option<Vec<u16>>,
        blocked: Option<Vec<u16>>,
    ) -> Result<Self, Invalid> {
        let statuses = Self {
            failure: failure.unwrap_or_else(|| self.failure.clone()),
            blocked: blocked.unwrap_or_else(|| self.blocked.clone()),
        };
        for (name, list) in [
            ("failure_statuses", &statuses.failure),
            ("blocked_statuses", &statuses.blocked),
        ] {
            if let Some(status) = list.iter().find(|status| !(200..=599).contains(*status)) {
                let field = format!("{at}.{name}");
                return Err(Invalid::new(field, status, "statuses from 200 to 599"));
            }
        }
        let in_both = |status: &&u16| statuses.blocked.contains(status);
        match statuses.failure.iter().find(in_both) {
            None => Ok(statuses),
            Some(status) => {
                let field = format!("{at}.blocked_statuses");
                let accepted = "each status in one of `failure_statuses` and `blocked_statuses`";
                Err(Invalid::new(field, status, accepted))
            }
        }
    }

    fn outcome(&self, status: u16) -> Outcome {
        if self.failure.contains(&status) {
            Outcome::Ambiguous
        } else if self.blocked.contains(&status) {
            Outcome::Blocked
        } else {
            Outcome::Success
        }
    }
}

/// The source of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseSource {
    /// The upstream proxy, or the target through it: both write into one stream.
    ProxyOrTarget,
    /// The target: the proxy only passes bytes on.
    Target,
}

impl ResponseSource {
    /// Whether this status says that the upstream proxy does not accept the credentials (407). In answer to CONNECT it
    /// certainly does; a plain response may be the target's ([`AttemptEnd`](crate::AttemptEnd)).
    pub fn refuses_credentials(self, status: u16) -> bool {
        self == Self::ProxyOrTarget && status == 407
    }
}

/// Classifies statuses: the same lists for every host, except those with an override.
#[derive(Clone, Debug, Default)]
pub struct StatusClassifier {
    general: Statuses,
    overrides: Patterns<Statuses>,
}

impl StatusClassifier {
    /// A classifier with these lists for every host without an override; `None`: the default list. `at`: the table's
    /// name in errors.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a status outside of 200 to 599, or one in both lists.
    pub fn new(
        at: &str,
        failure: Option<Vec<u16>>,
        blocked: Option<Vec<u16>>,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            general: Statuses::default().with(at, failure, blocked)?,
            overrides: Patterns::default(),
        })
    }

    /// Adds other lists for the hosts that match `pattern`; `None`: the list of the other hosts.
    ///
    /// # Errors
    ///
    /// [`Invalid`] as for [`StatusClassifier::new`], and for a pattern that is invalid or has been added already. Nothing
    /// has changed then.
    pub fn insert(
        &mut self,
        at: &str,
        pattern: &str,
        failure: Option<Vec<u16>>,
        blocked: Option<Vec<u16>>,
    ) -> Result<(), Invalid> {
        let statuses = self.general.with(at, failure, blocked)?;
        self.overrides.insert(at, pattern, statuses)
    }

    /// [`StatusClassifier::insert`] by value.
    ///
    /// # Errors
    ///
    /// As for [`StatusClassifier::insert`].
    pub fn with(
        mut self,
        at: &str,
        pattern: &str,
        failure: Option<Vec<u16>>,
        blocked: Option<Vec<u16>>,
    ) -> Result<Self, Invalid> {
        self.insert(at, pattern, failure, blocked)?;
        Ok(self)
    }

    /// The outcome of a response from `host`. A 5xx that is in no list may be the words of a proxy that does not reach its
    /// target (tinyproxy says 500), as well as the target's own: one that the target certainly wrote is an answer.
    pub fn response(&self, host: &str, status: u16, source: ResponseSource) -> Outcome {
        // Whatever the lists say: the proxy's, or the target's that asks for credentials by a proxy's status.
        if source.refuses_credentials(status) {
            return Outcome::Ambiguous;
        }
        let statuses = self.overrides.find(host).unwrap_or(&self.general);
        match statuses.outcome(status) {
            Outcome::Success if source == ResponseSource::ProxyOrTarget && status >= 500 => {
                Outcome::Inconclusive
            }
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ResponseSource::{ProxyOrTarget, Target};
    use alloc::vec;

    #[test]
    fn status_is_ambiguous_a_block_of_the_exit_or_a_success() {
        for (code, outcome) in [
            (200, Outcome::Success),
            (301, Outcome::Success),
            (404, Outcome::Success),
            (500, Outcome::Inconclusive),
            (501, Outcome::Inconclusive),
            (403, Outcome::Blocked),
            (429, Outcome::Blocked),
            (407, Outcome::Ambiguous),
            (502, Outcome::Ambiguous),
            (503, Outcome::Ambiguous),
            (504, Outcome::Ambiguous),
        ] {
            let found = StatusClassifier::default().response("a.example", code, ProxyOrTarget);
            assert_eq!(found, outcome, "{code}");
        }
    }

    #[test]
    fn server_error_that_the_target_certainly_wrote_is_an_answer() {
        let statuses = StatusClassifier::new("outcome", Some(vec![504]), None).unwrap();
        let outcome = |code, source| statuses.response("a.example", code, source);
        for code in [500, 503, 520] {
            assert_eq!(outcome(code, Target), Outcome::Success, "{code}");
            assert_eq!(
                outcome(code, ProxyOrTarget),
                Outcome::Inconclusive,
                "{code}"
            );
        }
        assert_eq!(outcome(504, Target), Outcome::Ambiguous);
    }

    #[test]
    fn refused_credentials_are_ambiguous_unless_the_response_is_the_targets() {
        let statuses = StatusClassifier::new("outcome", Some(vec![]), Some(vec![407])).unwrap();
        let outcome = |source| statuses.response("a.example", 407, source);
        assert_eq!(outcome(ProxyOrTarget), Outcome::Ambiguous);
        assert_eq!(outcome(Target), Outcome::Blocked);
        let outcome = |source| StatusClassifier::default().response("a.example", 407, source);
        assert_eq!(outcome(Target), Outcome::Success);
    }

    #[test]
    fn override_changes_the_outcome_for_its_hosts_only() {
        let statuses = StatusClassifier::new("outcome", None, Some(vec![451]))
            .unwrap()
            .with("o[0]", "*.shop.example", Some(vec![]), Some(vec![503]))
            .unwrap()
            .with("o[1]", "half.example", Some(vec![500]), None)
            .unwrap();
        let outcome = |host: &str, code| statuses.response(host, code, ProxyOrTarget);
        assert_eq!(outcome("www.Shop.example:443", 503), Outcome::Blocked);
        assert_eq!(outcome("www.shop.example", 403), Outcome::Success);
        assert_eq!(outcome("other.example", 503), Outcome::Ambiguous);
        assert_eq!(outcome("half.example", 500), Outcome::Ambiguous);
        assert_eq!(outcome("half.example", 451), Outcome::Blocked);
    }

    #[test]
    fn invalid_list_is_refused_by_its_name() {
        let field = |result: Result<StatusClassifier, Invalid>| result.unwrap_err().field;
        assert_eq!(
            field(StatusClassifier::new("outcome", Some(vec![99]), None)),
            "outcome.failure_statuses"
        );
        assert_eq!(
            field(StatusClassifier::new("outcome", None, Some(vec![502]))),
            "outcome.blocked_statuses"
        );
        let wrong = |pattern| field(StatusClassifier::default().with("o[0]", pattern, None, None));
        assert_eq!(wrong("*.*"), "o[0].match");
        let wrong = StatusClassifier::default().with("o[0]", "a.example", None, Some(vec![600]));
        assert_eq!(field(wrong), "o[0].blocked_statuses");
    }
}
