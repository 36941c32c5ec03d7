//! Rule 13, plainly: the other exits of a request, and what its attempts say.

use std::collections::BTreeSet;

use remora_core::{BreakerChange, End, Outcome, Permit, ProxyId, Released};

use crate::breakers::{Row, Verdict};
use crate::keys;
use crate::reached::Reached;
use crate::reference::{Held, Reference};
use crate::steps::{Asked, id};

#[derive(Clone, Debug)]
struct Attempt {
    exit: ProxyId,
    probe: bool,
    /// Its verdict no longer counts.
    stale: bool,
    outcome: Outcome,
}

/// What an ambiguous end is beside the other attempts of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Worse,
    Alone,
    Alike,
    /// The client has left, or there is no target to speak of.
    Nothing,
}

/// What a settlement has to do.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) released: Released,
    /// The exit that the session of the lease's key goes on with, of a generation that is to be observed.
    pub(crate) moved_to: Option<ProxyId>,
}

/// The exits that a request may try: so many, first from these, then from those.
#[derive(Debug)]
pub(crate) struct Others {
    pub(crate) count: usize,
    pub(crate) welcome: BTreeSet<ProxyId>,
    pub(crate) avoided: BTreeSet<ProxyId>,
}

impl Reference {
    /// The request of a lease as the instance sees it that fails over or settles.
    pub(crate) fn asked_of(&self, instance: usize, i: usize) -> Asked {
        Asked {
            instance,
            ..self.leases[i].asked.clone()
        }
    }

    fn is_strict(&self, held: &Held) -> bool {
        keys::is_strict(&self.config, &held.asked)
    }

    pub(crate) fn fallbacks(&self, instance: usize, i: usize, limit: usize) -> Others {
        let held = &self.leases[i];
        let asked = self.asked_of(instance, i);
        let tried: BTreeSet<ProxyId> = asked.tried.iter().copied().map(id).collect();
        let place = self.place(&asked);
        let others = self.would_do(&asked).into_iter().map(|m| m.id);
        let others = others
            .filter(|exit| *exit != held.lease.proxy && !tried.contains(exit))
            .filter(|exit| self.breaker(*exit).is_closed());
        let avoids = |exit: &ProxyId| {
            let place = place.as_deref();
            place.is_some_and(|place| self.is_avoided(*exit, place))
        };
        let (avoided, welcome): (BTreeSet<_>, BTreeSet<_>) = others.partition(avoids);
        let in_doubt = held.lease.is_doubted
            && place
                .and_then(|place| self.doubts.get(&place, self.now))
                .is_some_and(|d| d.is_in_doubt(self.now, self.config.attribution.doubt_for_ms));
        let most = match (held.lease.generation, in_doubt) {
            (1.., _) if self.is_strict(held) => 0,
            (_, true) => limit.min(1),
            (_, false) => limit,
        };
        let count = most.min(avoided.len() + welcome.len());
        if in_doubt && count < limit.min(avoided.len() + welcome.len()) {
            Reached::note("one exit more in doubt");
        }
        if welcome.len() < count {
            Reached::note("an avoided exit is tried last");
        }
        Others {
            count,
            welcome,
            avoided,
        }
    }

    /// Checks what an instance answered, and keeps it.
    pub(crate) fn failed_over(&mut self, i: usize, others: &Others, permits: Vec<Permit>) {
        assert_eq!(permits.len(), others.count, "{permits:?}");
        let first = others.count.min(others.welcome.len());
        let exits: Vec<ProxyId> = permits.iter().map(|permit| permit.proxy).collect();
        assert!(exits[..first].iter().all(|e| others.welcome.contains(e)));
        assert!(exits[first..].iter().all(|e| others.avoided.contains(e)));
        let distinct: BTreeSet<_> = exits.iter().collect();
        assert_eq!(distinct.len(), exits.len());
        for permit in &permits {
            let doubted = self.leases[i].lease.is_doubted;
            assert_eq!((permit.generation, permit.probe), (0, false));
            assert_eq!(permit.acquired_at, self.now);
            assert_eq!(permit.deadline, self.now + self.config.lease_timeout_ms);
            assert_eq!(permit.is_doubted, doubted);
        }
        self.leases[i].fallbacks = permits.into_iter().map(|permit| (permit, false)).collect();
    }

    /// Rules 5, 7, 8 and 13.
    pub(crate) fn settle(&mut self, instance: usize, i: usize, outcomes: &[Outcome]) -> Settled {
        self.leases[i].settled = true;
        let held = self.leases[i].clone();
        let own = (held.lease.permit, held.stale);
        let attempts: Vec<Attempt> = std::iter::once(own)
            .chain(held.fallbacks.iter().copied())
            .zip(outcomes)
            .map(|((permit, stale), outcome)| Attempt {
                exit: permit.proxy,
                probe: permit.probe,
                stale,
                outcome: *outcome,
            })
            .collect();
        assert_eq!(attempts.len(), outcomes.len());
        let place = self.place(&held.asked);
        let last = attempts.last().unwrap();
        let answered = (last.outcome == Outcome::Success).then_some(last.exit);
        let unclear: Vec<&Attempt> = attempts.iter().filter(|a| is_unclear(a.outcome)).collect();
        let comparison = match (unclear.len(), &place) {
            _ if matches!(last.outcome, Outcome::Cancelled | Outcome::Inconclusive) => {
                Comparison::Nothing
            }
            (0, _) | (_, None) => Comparison::Nothing,
            _ if answered.is_some() => Comparison::Worse,
            (1, _) => Comparison::Alone,
            _ => Comparison::Alike,
        };

        // Doubts.
        let (mut in_a_row, mut witnesses) = (0, Vec::new());
        if let Some(place) = &place {
            if comparison != Comparison::Nothing {
                for attempt in &unclear {
                    // A proxy that is gone is not spoken of.
                    if self.member(instance, attempt.exit).is_some() {
                        let row = self.doubts.ambiguous(place, attempt.exit, self.now);
                        if attempt.exit == held.lease.proxy {
                            in_a_row = row;
                        }
                    }
                }
            }
            if let Some(exit) = answered
                && (comparison == Comparison::Worse || held.lease.is_doubted)
            {
                witnesses = self.doubts.answered(place, exit, self.now);
            }
            if comparison != Comparison::Nothing && self.doubts.get(place, self.now).is_some() {
                let max = self.config.attribution.max_doubts;
                self.doubts.make_room(place, self.now, max);
                if held.lease.generation != 0 {
                    self.sessions.doubt(&held.lease.key);
                }
            }
        }

        // Blocks, and the session.
        for attempt in &attempts {
            if attempt.outcome == Outcome::Blocked
                && self.member(instance, attempt.exit).is_some()
                && let Some(place) = &place
            {
                self.avoid(attempt.exit, place);
            }
        }
        let first = attempts[0].outcome;
        let is_there = self.member(instance, held.lease.proxy).is_some();
        let moves = is_there && self.moves(instance, &held, first, comparison, in_a_row);
        if moves {
            self.avoid(held.lease.proxy, place.as_deref().unwrap());
        }
        let end = match first {
            Outcome::Failure => Some(End::Failed),
            Outcome::Blocked => Some(End::Blocked),
            _ => moves.then_some(End::Failed),
        };
        let end = end.filter(|_| is_there);
        let ended = end.is_some_and(|end| self.sessions.end(&held.lease, self.now, end));
        let moved_to = answered.filter(|exit| {
            let place = place.as_deref().unwrap_or_default();
            ended
                && self.member(instance, *exit).is_some()
                && self.breaker(*exit).is_closed()
                && !self.is_avoided(*exit, place)
        });
        if moves && ended {
            Reached::note(match (moved_to, first) {
                (None, _) => "moves: anywhere else",
                (_, Outcome::TimedOut) if in_a_row == 1 => "moves: time-out",
                _ => "moves: to the exit that answered",
            });
        }

        // Breakers.
        let mut released = Released {
            ended_session: ended,
            ..Released::default()
        };
        for (n, attempt) in attempts.iter().enumerate() {
            let change = self.report(instance, &held, attempt, comparison);
            if n == 0 {
                released.breaker = change;
            } else if change != BreakerChange::None {
                released.others.push((attempt.exit, change));
            }
        }
        let members = self.pools[instance].iter().map(|m| m.id);
        let seen: Vec<ProxyId> = members.filter(|exit| witnesses.contains(exit)).collect();
        for exit in seen {
            let change = self.strike(instance, exit, Row::witness);
            if change != BreakerChange::None {
                Reached::note("opens by a witness");
                released.others.push((exit, change));
            }
        }
        Settled { released, moved_to }
    }

    fn moves(
        &self,
        instance: usize,
        held: &Held,
        first: Outcome,
        comparison: Comparison,
        in_a_row: u32,
    ) -> bool {
        if held.lease.generation == 0 || !is_unclear(first) || self.is_strict(held) {
            return false;
        }
        let timed_out = first == Outcome::TimedOut && comparison == Comparison::Worse;
        let twice = in_a_row >= 2 && [Comparison::Worse, Comparison::Alone].contains(&comparison);
        if !timed_out && !twice {
            return false;
        }
        let asked = Asked {
            instance,
            ..held.asked.clone()
        };
        let place = self.place(&asked).unwrap();
        let elsewhere = self.would_do(&asked).into_iter().any(|m| {
            m.id != held.lease.proxy
                && self.breaker(m.id).is_closed()
                && !self.is_avoided(m.id, &place)
        });
        if !elsewhere {
            Reached::note("stays: all others are avoided or open");
        }
        elsewhere
    }

    fn report(
        &mut self,
        instance: usize,
        held: &Held,
        attempt: &Attempt,
        comparison: Comparison,
    ) -> BreakerChange {
        let Attempt { exit, probe, .. } = *attempt;
        if attempt.stale || self.member(instance, exit).is_none() {
            return BreakerChange::None;
        }
        let worse = comparison == Comparison::Worse;
        match attempt.outcome {
            Outcome::Success => self.verdict(exit, probe, Verdict::Serves),
            Outcome::Failure => self.verdict(exit, probe, Verdict::Fails),
            Outcome::Ambiguous | Outcome::TimedOut if worse || comparison == Comparison::Alone => {
                if !self.breaker(exit).is_closed() {
                    return self.verdict(exit, probe, Verdict::Fails);
                }
                let (now, site) = (self.now, keys::site(&held.asked));
                let gap = self.config.attribution.strike_gap_ms;
                let change = self.strike(instance, exit, |row| row.strike(now, site, worse, gap));
                Reached::note(match change {
                    BreakerChange::None => "struck",
                    _ => "opens by strikes",
                });
                change
            }
            _ => self.verdict(exit, probe, Verdict::Neither),
        }
    }

    /// Strikes or witnesses: opens a breaker that is closed, unless too few others would stay closed.
    fn strike(
        &mut self,
        instance: usize,
        exit: ProxyId,
        how: impl FnOnce(&mut Row),
    ) -> BreakerChange {
        let mut breaker = self.breaker(exit).clone();
        if !breaker.is_closed() {
            return BreakerChange::None;
        }
        how(&mut breaker.row);
        let enough = breaker.has_enough_strikes(&self.config.breaker);
        self.put_breaker(exit, breaker.clone());
        if !enough {
            return BreakerChange::None;
        }
        let on: Vec<ProxyId> = self.pools[instance]
            .iter()
            .filter(|m| m.healthy)
            .map(|m| m.id)
            .collect();
        let stay = on
            .iter()
            .filter(|other| **other != exit && self.breaker(**other).is_closed())
            .count();
        let percent = self.config.attribution.min_available_percent as usize;
        if stay < 1 || stay * 100 < on.len() * percent {
            Reached::note("kept by the floor");
            return BreakerChange::None;
        }
        breaker.open(self.now, &self.config.breaker);
        let gate = breaker.gate;
        self.put_breaker(exit, breaker);
        self.change_gate(exit, gate);
        BreakerChange::Opened
    }

    /// Rule 4, *an end is an end*.
    pub(crate) fn holds(&self, instance: usize, i: usize) -> bool {
        let lease = &self.leases[i].lease;
        let serves = self
            .member(instance, lease.proxy)
            .is_some_and(|m| m.healthy);
        if lease.generation == 0 || !serves {
            return serves;
        }
        let session = self.sessions.get(&lease.key);
        session.is_some_and(|session| {
            let goes_on = !session.opened && self.breaker(lease.proxy).lets_its_session(self.now);
            session.generation == lease.generation
                && session.lasts_for_connections(self.now)
                && (goes_on || session.awaits_probe)
        })
    }
}

fn is_unclear(outcome: Outcome) -> bool {
    [Outcome::Ambiguous, Outcome::TimedOut].contains(&outcome)
}
