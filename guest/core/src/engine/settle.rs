//! What the attempts of a request say about their exits and about its session (rules 5, 7 and 13).

use alloc::string::String;

use super::{Engine, Outcome, Permit, Released};
use crate::avoid;
use crate::breaker::{Change, Strike};
use crate::doubts::{self, Noted};
use crate::draw::Draw;
use crate::gate::{self, Floor};
use crate::key;
use crate::policy::OnBad;
use crate::pool::ProxyId;
use crate::session::Mark;
use crate::storage::{Storage, StorageError, Table};
use crate::strikes::SiteHash;
use crate::table;

/// An attempt of a request that has ended, or whose success is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Attempt {
    /// The lease on its exit, apart from its key.
    pub permit: Permit,
    /// How it ended.
    pub outcome: Outcome,
}

/// What an ambiguous end is beside the other attempts of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    /// Another exit answered.
    Worse,
    /// There was no other ambiguous end, and no answer: nothing to compare it with.
    Alone,
    /// No exit answered.
    Alike,
}

/// All attempts of one request.
struct Settlement<'a> {
    now: u64,
    attempts: &'a [Attempt],
    key: &'a str,
    /// The normalised host of its target.
    host: String,
    /// Where its target stands in the tables of doubts and blocks; empty for a request without a target.
    place: String,
}

impl Settlement<'_> {
    fn last(&self) -> Option<Outcome> {
        self.attempts.last().map(|last| last.outcome)
    }

    /// The exit that answered: always the last one.
    fn answered(&self) -> Option<ProxyId> {
        let last = self.attempts.last()?;
        (last.outcome == Outcome::Success).then_some(last.permit.proxy)
    }

    /// The exits whose ambiguous end says something: none where the client has left, this machine has failed, or the
    /// answer may be the exit's or the target's.
    fn ambiguous(&self) -> impl Iterator<Item = ProxyId> + Clone {
        let says_nothing = matches!(
            self.last(),
            Some(Outcome::Cancelled | Outcome::Inconclusive)
        );
        let counts = !says_nothing && !self.place.is_empty();
        let attempts = self.attempts.iter().filter(move |_| counts);
        attempts
            .filter(|attempt| attempt.outcome.is_ambiguous())
            .map(|attempt| attempt.permit.proxy)
    }

    /// What an ambiguous end is beside the others; `None` where it says nothing.
    fn compare(&self) -> Option<Comparison> {
        match self.ambiguous().count() {
            0 => None,
            _ if self.answered().is_some() => Some(Comparison::Worse),
            1 => Some(Comparison::Alone),
            _ => Some(Comparison::Alike),
        }
    }
}

/// The first error is the one to tell; no step keeps another one from being made.
#[derive(Default)]
struct FirstError(Option<StorageError>);

impl FirstError {
    fn or_default<T: Default>(&mut self, result: Result<T, StorageError>) -> T {
        result.unwrap_or_else(|error| {
            self.0.get_or_insert(error);
            T::default()
        })
    }
}

impl<S: Storage> Engine<S> {
    /// Judges the attempts of one request, in their order, once its last one has ended or has certainly succeeded. The first
    /// one is that of its [acquire](Engine::acquire), the others of its [fallbacks](Engine::fallbacks). Gives no lease back.
    ///
    /// `key` is the session key, `target` the host and port asked for. Both may be empty for a single success or cancelled
    /// request whose lease [is not doubted](Permit::is_doubted).
    ///
    /// # Errors
    ///
    /// [`StorageError`] when a change could not be stored. What could be stored was stored.
    pub fn settle(
        &mut self,
        now: u64,
        attempts: &[Attempt],
        key: &str,
        target: &str,
    ) -> Result<Released, StorageError> {
        let mut host = String::new();
        let key = if key::is_well_formed(key) { key } else { "" };
        let has_target = !key.is_empty() && key::push_host(&mut host, target).is_ok();
        let settlement = Settlement {
            now,
            attempts,
            key,
            place: match has_target {
                true => doubts::place(key, &host, key::port(target)),
                false => String::new(),
            },
            host,
        };
        let mut errors = FirstError::default();
        let mut released = Released::default();
        let noted = self.note(&settlement, &mut errors);
        released.ended_session = self.settle_session(&settlement, &noted, &mut errors);
        for (i, attempt) in attempts.iter().enumerate() {
            let change = errors.or_default(self.report(&settlement, attempt));
            match i {
                0 => released.breaker = change,
                _ if change != Change::None => {
                    released.others.push((attempt.permit.proxy, change));
                }
                _ => {}
            }
        }
        self.bear_witness(&settlement, &noted, &mut released, &mut errors);
        match errors.0 {
            Some(error) => Err(error),
            None => Ok(released),
        }
    }

    /// Rule 13, *doubts*.
    fn note(&self, settlement: &Settlement<'_>, errors: &mut FirstError) -> Noted {
        let Settlement { now, place, .. } = settlement;
        let Some(first) = settlement.attempts.first() else {
            return Noted::default();
        };
        let answered = settlement.answered();
        let has_ambiguous = settlement.ambiguous().next().is_some();
        let may_be_listed = has_ambiguous || (answered.is_some() && first.permit.is_doubted);
        if place.is_empty() || !may_be_listed {
            return Noted::default();
        }
        // Nothing is noted of a proxy that is gone (rule 8).
        let exits = settlement.ambiguous();
        let exits = exits.filter(|exit| self.pool.find(exit).is_some());
        let noted = errors.or_default(table::with_room(&self.storage, *now, || {
            doubts::note(
                &self.storage,
                place,
                *now,
                exits.clone(),
                first.permit.proxy,
                answered,
            )
        }));
        if noted.is_listed && has_ambiguous {
            let max = self.config.attribution.max_doubts;
            errors.or_default(table::make_room(
                &self.storage,
                Table::Doubts,
                place,
                *now,
                max,
            ));
            // Whatever the lease says: the key may have a newer session.
            if first.permit.generation != 0 {
                errors.or_default(table::doubt(&self.storage, settlement.key));
            }
        }
        noted
    }

    /// What happens to the session: rule 5, and rule 13, *move*. Answers whether it ended or moved.
    fn settle_session(
        &self,
        settlement: &Settlement<'_>,
        noted: &Noted,
        errors: &mut FirstError,
    ) -> bool {
        // Before the session ends, so that the next acquire cannot miss it.
        for attempt in settlement.attempts {
            if attempt.outcome == Outcome::Blocked {
                errors.or_default(self.avoid(settlement, &attempt.permit));
            }
        }
        let Some(first) = settlement.attempts.first() else {
            return false;
        };
        let mark = match first.outcome {
            Outcome::Failure => Mark::Failed,
            Outcome::Blocked => Mark::Blocked,
            _ if errors.or_default(self.moves(settlement, first, noted)) => {
                errors.or_default(self.avoid(settlement, &first.permit));
                Mark::Failed
            }
            _ => return false,
        };
        if self.pool.find(&first.permit.proxy).is_none() {
            return false;
        }
        errors.or_default(self.end_session(settlement, &first.permit, mark))
    }

    /// Rule 13, *move*: whether the first exit's ambiguous end moves the session, and the target avoids the exit.
    fn moves(
        &self,
        settlement: &Settlement<'_>,
        first: &Attempt,
        noted: &Noted,
    ) -> Result<bool, StorageError> {
        // A request without a session has nothing to move.
        if !first.outcome.is_ambiguous()
            || first.permit.generation == 0
            || self.pool.find(&first.permit.proxy).is_none()
        {
            return Ok(false);
        }
        let is_due = match settlement.compare() {
            Some(Comparison::Worse) => noted.in_a_row >= 2 || first.outcome == Outcome::TimedOut,
            Some(Comparison::Alone) => noted.in_a_row >= 2,
            Some(Comparison::Alike) | None => false,
        };
        if !is_due || self.policies.of(&settlement.host).on_bad == OnBad::Strict {
            return Ok(false);
        }
        let Settlement {
            now, place, key, ..
        } = settlement;
        self.has_another(*now, place, key, &first.permit)
    }

    /// Ends the session of a lease, or moves it to the exit that answered. Answers whether it was live and the lease's.
    fn end_session(
        &self,
        settlement: &Settlement<'_>,
        permit: &Permit,
        mark: Mark,
    ) -> Result<bool, StorageError> {
        let Settlement { now, key, .. } = *settlement;
        if permit.generation == 0 || key.is_empty() {
            return Ok(false);
        }
        let ended = table::end(&self.storage, key, permit.generation, now, mark)?;
        if ended
            && let Some(served) = settlement.answered()
            && let Some(era) = self.closed(settlement, &served)?
        {
            let ticket = Draw::take(&self.storage, now)?;
            table::move_ended(&self.storage, key, permit.generation, |session| {
                session.moved(served, ticket, era, now)
            })?;
        }
        Ok(ended)
    }

    /// The era of a proxy's breaker if it is closed and the target does not avoid the proxy; `None` for a proxy that is gone.
    fn closed(
        &self,
        settlement: &Settlement<'_>,
        proxy: &ProxyId,
    ) -> Result<Option<u32>, StorageError> {
        let Some(i) = self.pool.find(proxy) else {
            return Ok(None);
        };
        let key = &self.pool.get(i).key;
        let breaker = gate::look(&self.storage, key)?.breaker;
        let Settlement { now, place, .. } = settlement;
        let is_avoided = avoid::is_blocked(&self.storage, key, place, *now)?;
        Ok((breaker.is_closed() && !is_avoided).then_some(breaker.era))
    }

    /// Tells an attempt's breaker how it ended. Nothing that is said of a proxy that is gone matters any more (rule 8).
    fn report(
        &self,
        settlement: &Settlement<'_>,
        attempt: &Attempt,
    ) -> Result<Change, StorageError> {
        let Some(i) = self.pool.find(&attempt.permit.proxy) else {
            return Ok(Change::None);
        };
        let proxy = &self.pool.get(i).key;
        let (now, token) = (settlement.now, attempt.permit.token());
        let policy = &self.config.breaker;
        match (attempt.outcome, settlement.compare()) {
            (Outcome::Success, _) => gate::report(&self.storage, proxy, |b| b.succeeded(token)),
            (Outcome::Failure, _) => table::with_room(&self.storage, now, || {
                gate::report(&self.storage, proxy, |b| b.failed(now, token, policy))
            }),
            (
                Outcome::Ambiguous | Outcome::TimedOut,
                Some(comparison @ (Comparison::Worse | Comparison::Alone)),
            ) => {
                let strike = Strike {
                    site: SiteHash::of(&settlement.host),
                    worse: comparison == Comparison::Worse,
                    gap_ms: self.config.attribution.strike_gap_ms,
                };
                table::with_room(&self.storage, now, || {
                    gate::strike(&self.storage, &self.floor(i), |b| {
                        b.struck(now, token, strike, policy)
                    })
                })
            }
            // Only a probe has something to give back.
            _ if token.probe => gate::report(&self.storage, proxy, |b| b.inconclusive(now, token)),
            _ => Ok(Change::None),
        }
    }

    /// Rule 13, *open*: an answer is a witness against the exits that did not answer for its target.
    fn bear_witness(
        &self,
        settlement: &Settlement<'_>,
        noted: &Noted,
        released: &mut Released,
        errors: &mut FirstError,
    ) {
        if noted.witnessed.is_empty() {
            return;
        }
        let (now, policy) = (settlement.now, &self.config.breaker);
        for (i, proxy) in self.pool.iter().enumerate() {
            if !noted.witnessed.is_against(proxy.id) {
                continue;
            }
            let struck = gate::strike(&self.storage, &self.floor(i), |b| {
                b.seen_by_witness(now, policy)
            });
            let change = errors.or_default(struck);
            if change != Change::None {
                released.others.push((proxy.id, change));
            }
        }
    }

    fn floor(&self, proxy: usize) -> Floor<'_> {
        let switched_on = self.pool.iter().filter(|proxy| proxy.healthy).count();
        Floor {
            pool: &self.pool,
            proxy,
            min_available: self.config.attribution.min_available(switched_on),
        }
    }

    /// Remembers that the target avoids a proxy.
    fn avoid(&self, settlement: &Settlement<'_>, permit: &Permit) -> Result<(), StorageError> {
        let Settlement { now, place, .. } = settlement;
        let until = now.saturating_add(self.config.avoid_blocked_for_ms);
        let Some(i) = self.pool.find(&permit.proxy) else {
            return Ok(());
        };
        if until == *now || place.is_empty() {
            return Ok(());
        }
        let proxy = &self.pool.get(i).key;
        let written = table::with_room(&self.storage, *now, || {
            avoid::block(&self.storage, proxy, place, until)
        })?;
        let max = self.config.max_sessions;
        table::make_room(&self.storage, Table::Blocks, &written, *now, max)
    }
}
