//! The pick of a proxy for a request: rules 6, 9 and 13 (*probe*).

use alloc::string::String;

use super::acquire::ATTEMPTS;
use super::{Engine, Request};
use crate::breaker::{Admission, AdmissionToken, Breaker};
use crate::doubts::{self, Doubt};
use crate::draw::Draw;
use crate::end::End;
use crate::error::{AcquireError, KeyError};
use crate::gate;
use crate::key;
use crate::pool::ProxyId;
use crate::rotation::{self, Exclusions, Field, Probes};
use crate::storage::{Storage, StorageError};

/// A proxy that rotation has chosen.
pub(super) struct Choice {
    pub(super) proxy: usize,
    pub(super) ticket: u64,
    pub(super) token: AdmissionToken,
    /// Whether its target has an entry in the table of doubts.
    pub(super) is_doubted: bool,
}

impl<S: Storage> Engine<S> {
    /// Rules 6 and 9: picks a proxy, a fresh one while there is one.
    pub(super) fn choose(
        &self,
        now: u64,
        key: &str,
        previous: Option<(ProxyId, End)>,
        request: &Request<'_>,
    ) -> Result<Choice, AcquireError> {
        let wanted = self.pool.wanted(request.tags);
        let came_to_its_end = previous.is_some_and(|(_, end)| !end.is_bad());
        let place = place(key, request)?;
        let doubt = self.doubt(now, place.as_deref())?;
        let mut avoid = Exclusions {
            previous: previous.map(|(proxy, _)| proxy),
            tried: request.tried,
            aside: &self.aside,
            blocked_at: place.as_deref(),
        };
        for _ in 0..ATTEMPTS {
            let draw = Draw::look(&self.storage, now)?;
            let mut field = Field {
                storage: &self.storage,
                pool: &self.pool,
                draw: &draw,
                wanted: &wanted,
                avoid,
                now,
                window_ms: self.config.lease_timeout_ms,
                probes: self.probes(now, request, doubt.as_ref()),
                admitted: None,
                earliest: None,
                left_aside: false,
            };
            let picked = rotation::pick(self.config.strategy, &mut field)?;
            let (Some(proxy), Some(seen)) = (picked, field.admitted) else {
                if field.left_aside {
                    // Every other one is refused: an excluded one is better than none.
                    avoid.relax(came_to_its_end);
                    continue;
                }
                return Err(match field.earliest {
                    None => AcquireError::NoProxy,
                    Some(until) => AcquireError::Exhausted {
                        retry_after_ms: until - now,
                    },
                });
            };
            if !draw.commit(&self.storage, proxy)? {
                continue;
            }
            let token = match seen.breaker.admission(now) {
                Admission::Closed => Some(AdmissionToken {
                    era: seen.breaker.era,
                    probe: false,
                }),
                _ => {
                    let key = &self.pool.get(proxy).key;
                    gate::take_probe(&self.storage, key, &seen, now, &self.config.breaker)?
                }
            };
            if let Some(token) = token {
                return Ok(Choice {
                    proxy,
                    ticket: draw.ticket,
                    token,
                    is_doubted: doubt.is_some(),
                });
            }
        }
        Err(StorageError::Contended.into())
    }

    /// Whether the request is a good probe of a breaker that is due.
    pub(super) fn may_probe(
        &self,
        now: u64,
        key: &str,
        request: &Request<'_>,
        breaker: &Breaker,
    ) -> Result<bool, StorageError> {
        let Ok(place) = place(key, request) else {
            return Ok(false);
        };
        let doubt = self.doubt(now, place.as_deref())?;
        let from = breaker
            .refuses_until()
            .and_then(|until| self.probes(now, request, doubt.as_ref()).from(until));
        Ok(from.is_some_and(|from| from <= now))
    }

    /// The entry of a target in the table of doubts.
    pub(super) fn doubt(
        &self,
        now: u64,
        place: Option<&str>,
    ) -> Result<Option<Doubt>, StorageError> {
        match place {
            Some(place) => doubts::look(&self.storage, place, now),
            None => Ok(None),
        }
    }

    /// Rule 13: which breakers a request may probe.
    fn probes(&self, now: u64, request: &Request<'_>, doubt: Option<&Doubt>) -> Probes {
        let doubt_for = self.config.attribution.doubt_for_ms;
        let in_doubt = doubt.is_some_and(|doubt| doubt.is_in_doubt(now, doubt_for));
        match request.is_repeatable && !in_doubt {
            true => Probes::Due,
            // Nothing else may ever come.
            false => Probes::Overdue(self.config.breaker.half_open_after_ms),
        }
    }

    /// A choice that is not used after all: another request may take its probe.
    pub(super) fn give_back(
        &self,
        now: u64,
        proxy: usize,
        token: AdmissionToken,
    ) -> Result<(), StorageError> {
        if token.probe {
            let proxy = &self.pool.get(proxy).key;
            gate::report(&self.storage, proxy, |b| b.inconclusive(now, token))?;
        }
        Ok(())
    }

    /// Where something fails after the choice was made, no request gets it, and so none could release it.
    pub(super) fn or_give_back<T>(
        &self,
        now: u64,
        proxy: usize,
        token: AdmissionToken,
        answer: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if answer.is_err() {
            // The first error is the one to tell. A probe that cannot be given back is given up in time.
            let _ = self.give_back(now, proxy, token);
        }
        answer
    }
}

/// Where a request's target stands in the tables of doubts and blocks; `None` for a request without a target.
pub(super) fn place(key: &str, request: &Request<'_>) -> Result<Option<String>, KeyError> {
    if key.is_empty() {
        return Ok(None);
    }
    let mut host = String::new();
    key::push_host(&mut host, request.target)?;
    Ok(Some(doubts::place(key, &host, key::port(request.target))))
}
