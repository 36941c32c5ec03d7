//! The pick of a proxy for a request: rules 6 and 9.

use super::acquire::ATTEMPTS;
use super::{Engine, Request};
use crate::breaker::{Admission, Pass};
use crate::draw::Draw;
use crate::end::End;
use crate::error::AcquireError;
use crate::gate;
use crate::pool::ProxyId;
use crate::rotation::{self, Avoid, Field};
use crate::storage::{Storage, StorageError};

/// A proxy that rotation has chosen.
pub(super) struct Choice {
    pub(super) proxy: usize,
    pub(super) ticket: u64,
    pub(super) pass: Pass,
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
        let mut avoid = Avoid {
            previous: previous.map(|(proxy, _)| proxy),
            tried: request.tried,
            aside: &self.aside,
            blocked_for: (!key.is_empty()).then_some(key),
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
                probes: true,
                admitted: None,
                earliest: None,
                left_aside: false,
            };
            let picked = rotation::pick(self.config.strategy, &mut field)?;
            let (Some(proxy), Some(seen)) = (picked, field.admitted) else {
                if field.left_aside {
                    // Every other one is refused: an excluded one is better than none. First what a
                    // plugin would rather not have; then the proxy of a session that came to its planned end,
                    // which has done nothing wrong.
                    if !avoid.aside.is_empty() {
                        avoid.aside = &[];
                    } else if !came_to_its_end || avoid.previous.take().is_none() {
                        avoid = Avoid::default();
                    }
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
            let pass = match seen.breaker.admission(now) {
                Admission::Closed => Some(Pass {
                    era: seen.breaker.era,
                    probe: false,
                    since: now,
                }),
                _ => {
                    let key = &self.pool.get(proxy).key;
                    gate::take_probe(&self.storage, key, &seen, now, &self.config.breaker)?
                }
            };
            if let Some(pass) = pass {
                let ticket = draw.ticket;
                return Ok(Choice {
                    proxy,
                    ticket,
                    pass,
                });
            }
        }
        Err(StorageError::Contended.into())
    }

    /// A choice that is not used after all: another request may take its probe.
    pub(super) fn give_back(&self, now: u64, proxy: usize, pass: Pass) -> Result<(), StorageError> {
        if pass.probe {
            let proxy = &self.pool.get(proxy).key;
            gate::report(&self.storage, proxy, |b| b.said_nothing(now, pass))?;
        }
        Ok(())
    }

    /// Where something fails after the choice was made, no request gets it, and so none could release it.
    pub(super) fn or_give_back<T>(
        &self,
        now: u64,
        proxy: usize,
        pass: Pass,
        answer: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if answer.is_err() {
            // The first error is the one to tell. A probe that cannot be given back is given up in time.
            let _ = self.give_back(now, proxy, pass);
        }
        answer
    }
}
