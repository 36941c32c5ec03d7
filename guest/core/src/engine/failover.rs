//! The other exits of one request (rule 13, *settle*): which ones it may try, in which order.
//!
//! They are tried without touching the binding; what came of it is told by a [settlement](Engine::settle).

use alloc::vec::Vec;

use super::pick::place;
use super::{Engine, Permit, Request};
use crate::draw::Draw;
use crate::error::KeyError;
use crate::gate;
use crate::key;
use crate::policy::OnBad;
use crate::rotation::{self, Exclusions, Field, Probes, StrategyKind};
use crate::storage::{Storage, StorageError};

impl<S: Storage> Engine<S> {
    /// Leases on up to `limit` other exits for a request whose own one does not serve it, in the order in which they are to be
    /// tried. `key` is the request's session key.
    ///
    /// All requests of one session get the same ones while the pool stays as it is. Only proxies whose breaker is closed: a
    /// retry is never a probe. One at most while the target is in doubt, and none under a `strict` policy. They do not count as
    /// in flight. A lease that is not used need not be given back.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn fallbacks(
        &self,
        now: u64,
        request: &Request<'_>,
        key: &str,
        permit: &Permit,
        limit: usize,
    ) -> Result<Vec<Permit>, StorageError> {
        let mut fallbacks: Vec<Permit> = Vec::new();
        // A malformed request has no lease, and so no fallback.
        let (Ok(place), Ok(false)) = (place(key, request), self.is_strict(request, permit)) else {
            return Ok(fallbacks);
        };
        let limit = match self.is_in_doubt(now, permit, place.as_deref())? {
            true => limit.min(1),
            false => limit,
        };
        // Of the session's own, so that its requests agree on where to go.
        let number = match permit.generation {
            0 => now,
            generation => generation,
        };
        let draw = Draw::sketch(Draw::sketch(number).scramble(1));
        let wanted = self.pool.wanted(request.tags);
        let strategy = match self.config.strategy {
            // It compares the whole pool, and the order is to be the same for simultaneous requests.
            StrategyKind::LeastUsed => StrategyKind::RoundRobin,
            other => other,
        };
        let mut tried = alloc::vec![permit.proxy];
        tried.extend(request.tried);
        let mut blocked_at = place.as_deref();
        while fallbacks.len() < limit {
            let mut field = Field {
                storage: &self.storage,
                pool: &self.pool,
                draw: &draw,
                wanted: &wanted,
                avoid: Exclusions {
                    previous: None,
                    tried: &tried,
                    aside: &[],
                    blocked_at,
                },
                now,
                window_ms: self.config.lease_timeout_ms,
                probes: Probes::Never,
                admitted: None,
                earliest: None,
                left_aside: false,
            };
            let (Some(next), Some(seen)) = (rotation::pick(strategy, &mut field)?, field.admitted)
            else {
                // An exit that the target avoids is better than none.
                if blocked_at.take().is_some() {
                    continue;
                }
                break;
            };
            let proxy = self.pool.get(next).id;
            fallbacks.push(Permit {
                proxy,
                generation: 0,
                era: seen.breaker.era,
                probe: false,
                acquired_at: now,
                deadline: now.saturating_add(self.config.lease_timeout_ms),
                is_doubted: permit.is_doubted,
            });
            tried.push(proxy);
        }
        Ok(fallbacks)
    }

    /// Whether another exit than these would be admitted for the target now, one that is not avoided there.
    pub(super) fn has_another(
        &self,
        now: u64,
        place: &str,
        key: &str,
        but: &Permit,
    ) -> Result<bool, StorageError> {
        let tags: Vec<&str> = key::tags_of(key).collect();
        let wanted = self.pool.wanted(&tags);
        for (i, proxy) in self.pool.iter().enumerate() {
            if proxy.id != but.proxy
                && self.pool.serves(i, &wanted)
                && gate::look(&self.storage, &proxy.key)?.breaker.is_closed()
                && !crate::avoid::is_blocked(&self.storage, &proxy.key, place, now)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_in_doubt(
        &self,
        now: u64,
        permit: &Permit,
        place: Option<&str>,
    ) -> Result<bool, StorageError> {
        if !permit.is_doubted {
            return Ok(false);
        }
        let doubt_for = self.config.attribution.doubt_for_ms;
        let doubt = self.doubt(now, place)?;
        Ok(doubt.is_some_and(|doubt| doubt.is_in_doubt(now, doubt_for)))
    }

    fn is_strict(&self, request: &Request<'_>, permit: &Permit) -> Result<bool, KeyError> {
        if permit.generation == 0 {
            return Ok(false);
        }
        let mut host = alloc::string::String::new();
        key::push_host(&mut host, request.target)?;
        Ok(self.policies.of(&host).on_bad == OnBad::Strict)
    }
}
