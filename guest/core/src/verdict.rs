//! What the end of a request says about its proxy. The shells say what happened; this says whose fault it was.

use alloc::format;
use alloc::vec::Vec;

use crate::engine::Outcome;
use crate::error::Invalid;
use crate::pattern::Patterns;

/// Which statuses say something about the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statuses {
    /// The proxy is bad.
    failure: Vec<u16>,
    /// The target refuses this exit.
    blocked: Vec<u16>,
}

impl Default for Statuses {
    /// 502, 503 and 504 are what gateways say of themselves; 403 and 429 is how targets turn away an exit.
    fn default() -> Self {
        Self {
            failure: Vec::from([502, 503, 504]),
            blocked: Vec::from([403, 429]),
        }
    }
}

impl Statuses {
    /// These, but for the lists that are given. `at` names their table in the error.
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
                return Err(Invalid::new(&field, status, "statuses from 200 to 599"));
            }
        }
        let both = |status: &&u16| statuses.blocked.contains(status);
        match statuses.failure.iter().find(both) {
            None => Ok(statuses),
            Some(both) => {
                let accepted = "each status in one of `failure_statuses` and `blocked_statuses`";
                Err(Invalid::new(
                    format!("{at}.blocked_statuses"),
                    both,
                    accepted,
                ))
            }
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

/// Whom a response is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The upstream proxy, or the target by way of it: they speak in one stream, and nobody can tell.
    Either,
    /// The target: the proxy only passes bytes on.
    Target,
}

impl Origin {
    /// Whether this says that the upstream proxy does not accept the credentials (407). In answer to CONNECT it surely does; a
    /// plain response may be the target's, which nobody can tell ([`Ending`](crate::Ending)).
    pub fn refuses_credentials(self, status: u16) -> bool {
        self == Self::Either && status == 407
    }
}

/// The verdicts: the same everywhere, but for what some hosts mean by a status.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    general: Statuses,
    special: Patterns<Statuses>,
}

impl Verdicts {
    /// With these statuses where nothing else is said; a list that is `None` is as by default. `at` names their
    /// table in the error.
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
            special: Patterns::default(),
        })
    }

    /// With other statuses for the hosts that match; a list that is `None` is as for other hosts.
    ///
    /// # Errors
    ///
    /// [`Invalid`] as for [`Verdicts::new`], or when `pattern` is none, or is there already.
    pub fn with(
        mut self,
        at: &str,
        pattern: &str,
        failure: Option<Vec<u16>>,
        blocked: Option<Vec<u16>>,
    ) -> Result<Self, Invalid> {
        let statuses = self.general.with(at, failure, blocked)?;
        self.special.insert(at, pattern, statuses)?;
        Ok(self)
    }

    /// What the status of a response from `host` says.
    pub fn response(&self, host: &str, status: u16, from: Origin) -> Outcome {
        // Whatever the lists say.
        if from.refuses_credentials(status) {
            return Outcome::Failure;
        }
        self.special
            .find(host)
            .unwrap_or(&self.general)
            .outcome(status)
    }

    /// What it says that a tunnel to `host` was refused with this status.
    pub fn refused(&self, host: &str, status: u16) -> Outcome {
        match self.response(host, status, Origin::Either) {
            // Somebody has said what this host means, and this is no failure of the proxy: but the way is barred.
            Outcome::Success if self.special.find(host).is_some() => Outcome::Blocked,
            // Whatever else it is refused with, a tunnel that does not come about is a failure.
            Outcome::Success => Outcome::Failure,
            outcome => outcome,
        }
    }
}

/// How many proxies a request may try beyond the first, unless something else is said.
pub const ATTEMPTS: u32 = 2;

/// The most that can be said.
pub const MAX_ATTEMPTS: u32 = 10;

/// The proxies that one request fails over, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doubt {
    raised: bool,
}

impl Doubt {
    /// What to say of the next proxy. `of_the_target`: the target may have caused the failure as well, because the proxy
    /// could be talked to. The first time it is the proxy's; when a second one fails like that it is most likely the
    /// target's: the session moves, and one broken target does not open the breakers of all.
    pub fn verdict(&mut self, outcome: Outcome, of_the_target: bool) -> Outcome {
        let in_doubt = outcome == Outcome::Failure && of_the_target;
        if in_doubt && self.raised {
            return Outcome::Blocked;
        }
        self.raised |= in_doubt;
        outcome
    }
}

/// How a tunnel went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Whether a byte came from the client.
    pub sent: bool,
    /// Whether a byte came from the far side.
    pub received: bool,
    /// Whether it was the client that ended it.
    pub client_left: bool,
}

impl Flow {
    /// What a tunnel that has ended says about the proxy.
    pub fn outcome(self) -> Outcome {
        if self.received {
            Outcome::Success
        } else if self.client_left && !self.sent {
            // It never asked for anything: no answer is no fault.
            Outcome::Cancelled
        } else {
            Outcome::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_status_is_a_verdict_on_the_proxy_the_exit_or_nobody() {
        for (code, outcome) in [
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
            let verdict = Verdicts::default().response("a.example", code, Origin::Either);
            assert_eq!(verdict, outcome, "{code}");
        }
    }

    #[test]
    fn a_tunnel_that_is_refused_is_a_failure_unless_the_exit_is_blocked() {
        let verdict = |code| Verdicts::default().refused("a.example", code);
        for code in [200, 404, 407, 500, 502] {
            assert_eq!(verdict(code), Outcome::Failure, "{code}");
        }
        assert_eq!(verdict(403), Outcome::Blocked);
    }

    #[test]
    fn a_second_failure_that_the_target_may_have_caused_is_not_charged() {
        let mut doubt = Doubt::default();
        let mut verdict = |outcome, of_the_target| doubt.verdict(outcome, of_the_target);
        assert_eq!(verdict(Outcome::Success, true), Outcome::Success);
        assert_eq!(verdict(Outcome::Failure, false), Outcome::Failure);
        assert_eq!(verdict(Outcome::Failure, true), Outcome::Failure);
        assert_eq!(verdict(Outcome::Failure, true), Outcome::Blocked);
        // A proxy that cannot be reached is bad whatever the target does.
        assert_eq!(verdict(Outcome::Failure, false), Outcome::Failure);
        assert_eq!(verdict(Outcome::Blocked, true), Outcome::Blocked);
        assert_eq!(verdict(Outcome::Cancelled, true), Outcome::Cancelled);
    }

    #[test]
    fn a_407_is_the_proxys_unless_only_the_target_can_have_said_it() {
        let verdicts = Verdicts::new("outcome", Some(vec![]), Some(vec![407])).unwrap();
        let says = |from| verdicts.response("a.example", 407, from);
        assert_eq!(says(Origin::Either), Outcome::Failure);
        assert_eq!(says(Origin::Target), Outcome::Blocked);
        let says = |from| Verdicts::default().response("a.example", 407, from);
        assert_eq!(says(Origin::Target), Outcome::Success);
    }

    #[test]
    fn a_host_may_mean_something_else_by_a_status() {
        let verdicts = Verdicts::new("outcome", None, Some(vec![451]))
            .unwrap()
            .with("o[0]", "*.shop.example", Some(vec![]), Some(vec![503]))
            .unwrap()
            .with("o[1]", "half.example", Some(vec![500]), None)
            .unwrap();
        let says = |host: &str, code| verdicts.response(host, code, Origin::Either);
        assert_eq!(says("www.Shop.example:443", 503), Outcome::Blocked);
        assert_eq!(says("www.shop.example", 403), Outcome::Success);
        assert_eq!(says("other.example", 503), Outcome::Failure);
        assert_eq!(says("half.example", 500), Outcome::Failure);
        assert_eq!(says("half.example", 451), Outcome::Blocked);
        let refused = |host: &str, code| verdicts.refused(host, code);
        assert_eq!(refused("www.shop.example", 502), Outcome::Blocked);
        assert_eq!(refused("www.shop.example", 407), Outcome::Failure);
        assert_eq!(refused("half.example", 500), Outcome::Failure);
    }

    #[test]
    fn what_is_no_table_of_statuses_is_refused_by_its_name() {
        let field = |result: Result<Verdicts, Invalid>| result.unwrap_err().field;
        assert_eq!(
            field(Verdicts::new("outcome", Some(vec![99]), None)),
            "outcome.failure_statuses"
        );
        assert_eq!(
            field(Verdicts::new("outcome", None, Some(vec![502]))),
            "outcome.blocked_statuses"
        );
        let wrong = |pattern| field(Verdicts::default().with("o[0]", pattern, None, None));
        assert_eq!(wrong("*.*"), "o[0].match");
        let wrong = Verdicts::default().with("o[0]", "a.example", None, Some(vec![600]));
        assert_eq!(field(wrong), "o[0].blocked_statuses");
    }

    #[test]
    fn a_tunnel_without_one_byte_back_is_a_failure_unless_nothing_was_asked() {
        let flow = |sent, received, client_left| {
            let flow = Flow {
                sent,
                received,
                client_left,
            };
            flow.outcome()
        };
        assert_eq!(flow(true, false, false), Outcome::Failure);
        assert_eq!(flow(true, false, true), Outcome::Failure);
        assert_eq!(flow(false, false, false), Outcome::Failure);
        assert_eq!(flow(false, false, true), Outcome::Cancelled);
        assert_eq!(flow(true, true, true), Outcome::Success);
        assert_eq!(flow(false, true, false), Outcome::Success);
    }
}
